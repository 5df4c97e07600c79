//! A little-endian reader over bytes: every read checks that the bytes exist.

use super::error::GgufError;

/// Reads values one after another, remembering the position for error messages.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// How many bytes have been read.
    pub(super) fn position(&self) -> usize {
        self.position
    }

    /// How many bytes are left.
    pub(super) fn available(&self) -> usize {
        self.bytes.len() - self.position
    }

    /// The next `N` bytes; `what` names them if they are not there.
    pub(super) fn array<const N: usize>(&mut self, what: impl FnOnce() -> String) -> Result<[u8; N], GgufError> {
        match self.bytes[self.position..].first_chunk::<N>() {
            Some(chunk) => {
                self.position += N;
                Ok(*chunk)
            }
            None => Err(GgufError::Truncated {
                what: what(),
                offset: self.position,
                needed: N,
                available: self.available(),
            }),
        }
    }

    pub(super) fn u32(&mut self, what: impl FnOnce() -> String) -> Result<u32, GgufError> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, what: impl FnOnce() -> String) -> Result<u64, GgufError> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// A count of entries that take at least `smallest` bytes each: never more than the rest of the file can hold, so
    /// that the result may size an allocation.
    pub(super) fn count(&mut self, smallest: usize, what: impl Fn() -> String) -> Result<usize, GgufError> {
        let count = self.u64(&what)?;
        let most = self.available() / smallest;
        usize::try_from(count).ok().filter(|count| *count <= most).ok_or_else(|| GgufError::CountTooLarge {
            what: what(),
            count,
            available: self.available(),
            most,
        })
    }

    /// A length in bytes, then as many bytes of UTF-8.
    pub(super) fn string(&mut self, what: impl Fn() -> String) -> Result<&'a str, GgufError> {
        let length = self.u64(|| format!("the length of {}", what()))?;
        let offset = self.position;
        let rest = &self.bytes[offset..];
        let bytes = usize::try_from(length)
            .ok()
            .and_then(|length| rest.get(..length))
            .ok_or_else(|| GgufError::StringTooLong { what: what(), length, available: rest.len() })?;
        self.position += bytes.len();
        std::str::from_utf8(bytes).map_err(|_| GgufError::InvalidUtf8 { what: what(), offset })
    }
}
