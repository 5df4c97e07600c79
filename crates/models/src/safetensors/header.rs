//! One safetensors file: a `u64` header length, the header in JSON, the tensor data.
//!
//! The header maps names to `{"dtype", "shape", "data_offsets": [start, end]}`, offsets counted from the start of the
//! data, and `"__metadata__"` to strings. Tensors must cover the data without holes or overlaps. The `safetensors`
//! crate defines the types and their JSON form; the checks are made here because its own do not say which tensor is
//! wrong, let the last of two equal names win, and overflow on sums of offsets near 2^64.

use std::collections::HashMap;
use std::fmt;

use ::safetensors::tensor::TensorInfo;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use super::TensorView;
use super::error::HeaderError;
use crate::mapped::Mapped;

/// The longest header read, as in the reference implementation.
pub(super) const MAX_HEADER_BYTES: usize = 100_000_000;

/// Every tensor of `file`, in the order of the data.
pub(super) fn read(file: &Mapped) -> Result<Vec<(String, TensorView)>, HeaderError> {
    let bytes = file.bytes();
    let (length, rest) = bytes.split_first_chunk().ok_or(HeaderError::NoLength { found: bytes.len() })?;
    let claimed = u64::from_le_bytes(*length);
    if claimed > MAX_HEADER_BYTES as u64 {
        return Err(HeaderError::TooLarge { claimed });
    }
    let (header, data) =
        rest.split_at_checked(claimed as usize).ok_or(HeaderError::Truncated { claimed, available: rest.len() })?;
    let Entries(mut entries) = serde_json::from_slice(header).map_err(HeaderError::NotJson)?;
    for (name, info) in &entries {
        check(name, info, data.len())?;
    }
    entries.sort_by(|(a_name, a), (b_name, b)| (a.data_offsets, a_name).cmp(&(b.data_offsets, b_name)));
    check_cover(&entries, data.len())?;
    check_unique(&entries)?;
    let data_start = bytes.len() - data.len();
    let views =
        entries.into_iter().map(|(name, TensorInfo { dtype, shape, data_offsets: (start, end) })| {
            let available = data.len();
            let blob = file
                .blob(data_start + start..data_start + end)
                .ok_or_else(|| HeaderError::OffsetOutOfRange { tensor: name.clone(), start, end, available })?;
            Ok((name.clone(), TensorView { name, shape, dtype, blob }))
        });
    views.collect()
}

/// Checks a tensor by itself: offsets inside the data, and as many bytes as shape and type take.
fn check(name: &str, info: &TensorInfo, available: usize) -> Result<(), HeaderError> {
    let tensor = || name.to_owned();
    let (start, end) = info.data_offsets;
    if start > end {
        return Err(HeaderError::OffsetsReversed { tensor: tensor(), start, end });
    }
    if end > available {
        return Err(HeaderError::OffsetOutOfRange { tensor: tensor(), start, end, available });
    }
    let elements = info.shape.iter().try_fold(1usize, |product, &length| product.checked_mul(length));
    let Some(bits) = elements.and_then(|elements| elements.checked_mul(info.dtype.bitsize())) else {
        return Err(HeaderError::ShapeOverflow { tensor: tensor(), shape: info.shape.clone() });
    };
    let found = end - start;
    if !bits.is_multiple_of(8) || bits / 8 != found {
        return Err(HeaderError::WrongSize { tensor: tensor(), shape: info.shape.clone(), dtype: info.dtype, found });
    }
    Ok(())
}

/// Checks that tensors, sorted by offset, follow one another from the first byte of the data to the last.
fn check_cover(entries: &[(String, TensorInfo)], available: usize) -> Result<(), HeaderError> {
    let mut covered = 0;
    let mut previous = "";
    for (name, info) in entries {
        let (start, end) = info.data_offsets;
        if start < covered {
            return Err(HeaderError::Overlap { first: previous.to_owned(), second: name.clone() });
        }
        if start > covered {
            return Err(HeaderError::Hole { start: covered, end: start });
        }
        (covered, previous) = (end, name);
    }
    if covered < available {
        return Err(HeaderError::Hole { start: covered, end: available });
    }
    Ok(())
}

fn check_unique(entries: &[(String, TensorInfo)]) -> Result<(), HeaderError> {
    let mut names: Vec<&str> = entries.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(HeaderError::DuplicateTensor { tensor: pair[0].to_owned() }),
        None => Ok(()),
    }
}

/// The tensors of a header with equal names kept apart, which a map would merge.
struct Entries(Vec<(String, TensorInfo)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor;

        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a map from tensor names to dtype, shape and data_offsets")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<Option<HashMap<String, String>>>()?;
                    } else {
                        entries.push((name, map.next_value()?));
                    }
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(EntriesVisitor)
    }
}
