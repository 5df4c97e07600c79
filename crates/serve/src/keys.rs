//! API keys.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The keys of which a request must have one. Only their hashes are kept.
#[derive(Clone, Default)]
pub struct Keys {
    hashes: Vec<[u8; 32]>,
}

impl Keys {
    /// The keys of a file: one on every line; empty lines and lines that begin with `#` are left out.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self { hashes: lines.map(|key| Sha256::digest(key).into()).collect() }
    }

    /// Whether there is none, so that anyone may ask.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Whether the head `authorization` of a request has one of the keys. How long this takes says nothing about the keys.
    pub fn admit(&self, authorization: Option<&str>) -> bool {
        let key = authorization.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        let hash: [u8; 32] = Sha256::digest(key).into();
        let same = self.hashes.iter().fold(0u8, |same, known| same | known.ct_eq(&hash).unwrap_u8());
        self.is_empty() || same == 1
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys", self.hashes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_keys_are_admitted() {
        let keys = Keys::parse("# keys\nfirst\n\n  second  \n");
        assert!(keys.admit(Some("Bearer first")) && keys.admit(Some("Bearer second")));
        for wrong in [None, Some(""), Some("first"), Some("Bearer "), Some("Bearer firs"), Some("Bearer # keys")] {
            assert!(!keys.admit(wrong), "{wrong:?}");
        }
        assert!(Keys::parse("\n# none\n").admit(None));
        assert!(!format!("{keys:?}").contains("first"));
    }
}
