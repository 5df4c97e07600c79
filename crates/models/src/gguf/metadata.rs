//! The metadata of a GGUF file: an ordered map from keys to typed values, with getters that say what went wrong.

use std::collections::HashMap;

use super::value::{Array, Value};

/// Why a metadata value could not be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetadataError {
    /// The key is not there.
    #[error("metadata key {key:?} is missing; expected {expected}")]
    Missing {
        /// The key.
        key: String,
        /// The type asked for.
        expected: &'static str,
    },
    /// The value is of another type.
    #[error("metadata key {key:?} has the type {found}; expected {expected}")]
    WrongType {
        /// The key.
        key: String,
        /// The type of the value.
        found: &'static str,
        /// The type asked for.
        expected: &'static str,
    },
    /// The value is an integer that the type asked for cannot hold.
    #[error("metadata key {key:?} is {found}; expected {expected}")]
    OutOfRange {
        /// The key.
        key: String,
        /// The value.
        found: i128,
        /// The type asked for.
        expected: &'static str,
    },
}

/// Metadata keys and values, in the order of the file. Keys are unique.
///
/// `x(key)` is the value of a key that must be there; `optional_x(key)` is `None` if it is not, and still an error if
/// its type is wrong. Integers of any width serve where one is asked for, as writers differ; of the rest, only `f64` is
/// converted, to `f32`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    entries: Vec<(String, Value)>,
    index: HashMap<String, usize>,
}

macro_rules! getters {
    ($($(#[$doc:meta])* $name:ident, $optional:ident: $type:ty = $read:expr, $expected:expr;)*) => {
        $($(#[$doc])*
        pub fn $name(&self, key: &str) -> Result<$type, MetadataError> {
            let missing = || MetadataError::Missing { key: key.to_owned(), expected: $expected };
            self.$optional(key)?.ok_or_else(missing)
        }

        $(#[$doc])*
        /// `None` if the key is missing.
        pub fn $optional(&self, key: &str) -> Result<Option<$type>, MetadataError> {
            let read: fn(&Value) -> Result<$type, Mismatch> = $read;
            let Some(value) = self.get(key) else { return Ok(None) };
            read(value).map(Some).map_err(|mismatch| mismatch.into_error(key, value, $expected))
        })*
    };
}

impl Metadata {
    /// The value of `key`, whatever its type.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.index.get(key).map(|&at| &self.entries[at].1)
    }

    /// Whether there is a value for `key`.
    pub fn contains(&self, key: &str) -> bool {
        self.index.contains_key(key)
    }

    /// All keys and values, in the order of the file.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.entries.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The number of keys.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Sets the value of `key`, and returns the one it had.
    pub fn insert(&mut self, key: impl Into<String>, value: impl Into<Value>) -> Option<Value> {
        let (key, value) = (key.into(), value.into());
        if let Some(&at) = self.index.get(&key) {
            return Some(std::mem::replace(&mut self.entries[at].1, value));
        }
        self.index.insert(key.clone(), self.entries.len());
        self.entries.push((key, value));
        None
    }

    getters! {
        /// A string.
        string, optional_string: &str = |value| match value {
            Value::String(value) => Ok(value),
            _ => Err(Mismatch::Type),
        }, "a string";
        /// A boolean.
        bool, optional_bool: bool = |value| match value {
            Value::Bool(value) => Ok(*value),
            _ => Err(Mismatch::Type),
        }, "a bool";
        /// An integer that is not negative, of any width.
        u64, optional_u64: u64 = fitting_integer, "an integer of 0 or more";
        /// An integer that is not negative, of any width, as a size.
        usize, optional_usize: usize = fitting_integer, "an integer of 0 or more";
        /// A non-negative integer of any width that fits 32 bits, for example a token id.
        u32, optional_u32: u32 = fitting_integer, "an integer from 0 to 4294967295";
        /// A floating-point number; an `f64` is rounded.
        f32, optional_f32: f32 = |value| match value {
            Value::F32(value) => Ok(*value),
            Value::F64(value) => Ok(*value as f32),
            _ => Err(Mismatch::Type),
        }, "a floating-point number";
        /// An array of strings.
        strings, optional_strings: &[String] = |value| match value {
            Value::Array(Array::String(values)) => Ok(values),
            _ => Err(Mismatch::Type),
        }, "an array of strings";
        /// An array of `f32`.
        f32s, optional_f32s: &[f32] = |value| match value {
            Value::Array(Array::F32(values)) => Ok(values),
            _ => Err(Mismatch::Type),
        }, "an array of f32";
        /// An array of `i32`.
        i32s, optional_i32s: &[i32] = |value| match value {
            Value::Array(Array::I32(values)) => Ok(values),
            _ => Err(Mismatch::Type),
        }, "an array of i32";
        /// An array of booleans.
        bools, optional_bools: &[bool] = |value| match value {
            Value::Array(Array::Bool(values)) => Ok(values),
            _ => Err(Mismatch::Type),
        }, "an array of bools";
        /// An array of integers that are not negative, of any width.
        u64s, optional_u64s: Vec<u64> = fitting_integers, "an array of integers of 0 or more";
    }
}

impl<K: Into<String>, V: Into<Value>> FromIterator<(K, V)> for Metadata {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut metadata = Metadata::default();
        for (key, value) in entries {
            metadata.insert(key, value);
        }
        metadata
    }
}

/// How a value differs from what was asked for.
enum Mismatch {
    Type,
    Range(i128),
}

impl Mismatch {
    fn into_error(self, key: &str, value: &Value, expected: &'static str) -> MetadataError {
        let key = key.to_owned();
        match self {
            Mismatch::Type => MetadataError::WrongType { key, found: value.type_name(), expected },
            Mismatch::Range(found) => MetadataError::OutOfRange { key, found, expected },
        }
    }
}

fn fitting_integer<T: TryFrom<i128>>(value: &Value) -> Result<T, Mismatch> {
    let integer: i128 = match value {
        Value::U8(value) => (*value).into(),
        Value::I8(value) => (*value).into(),
        Value::U16(value) => (*value).into(),
        Value::I16(value) => (*value).into(),
        Value::U32(value) => (*value).into(),
        Value::I32(value) => (*value).into(),
        Value::U64(value) => (*value).into(),
        Value::I64(value) => (*value).into(),
        _ => return Err(Mismatch::Type),
    };
    integer.try_into().map_err(|_| Mismatch::Range(integer))
}

fn fitting_integers(value: &Value) -> Result<Vec<u64>, Mismatch> {
    fn fit<T: Copy + Into<i128>>(values: &[T]) -> Result<Vec<u64>, Mismatch> {
        let fit = |value: &T| u64::try_from((*value).into()).map_err(|_| Mismatch::Range((*value).into()));
        values.iter().map(fit).collect()
    }
    match value {
        Value::Array(Array::U8(values)) => fit(values),
        Value::Array(Array::I8(values)) => fit(values),
        Value::Array(Array::U16(values)) => fit(values),
        Value::Array(Array::I16(values)) => fit(values),
        Value::Array(Array::U32(values)) => fit(values),
        Value::Array(Array::I32(values)) => fit(values),
        Value::Array(Array::U64(values)) => fit(values),
        Value::Array(Array::I64(values)) => fit(values),
        _ => Err(Mismatch::Type),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Metadata {
        Metadata::from_iter([
            ("general.architecture", Value::from("llama")),
            ("llama.block_count", Value::from(30u32)),
            ("llama.offset", Value::from(-1i32)),
            ("llama.rope.freq_base", Value::from(1e5f64)),
            ("llama.head_count_kv", Value::from(vec![3i32, 5])),
            ("tokenizer.ggml.tokens", Value::from(vec!["a".to_owned(), "b".to_owned()])),
        ])
    }

    #[test]
    fn getters_give_what_is_there() {
        let metadata = example();
        assert_eq!(metadata.string("general.architecture"), Ok("llama"));
        assert_eq!(metadata.u64("llama.block_count"), Ok(30));
        assert_eq!(metadata.usize("llama.block_count"), Ok(30));
        assert_eq!(metadata.f32("llama.rope.freq_base"), Ok(1e5));
        assert_eq!(metadata.i32s("llama.head_count_kv"), Ok(&[3, 5][..]));
        assert_eq!(metadata.u64s("llama.head_count_kv"), Ok(vec![3, 5]));
        assert_eq!(metadata.strings("tokenizer.ggml.tokens").map(<[String]>::len), Ok(2));
        assert_eq!(metadata.optional_bool("absent"), Ok(None));
        assert_eq!(metadata.iter().next().map(|(key, _)| key), Some("general.architecture"));
    }

    #[test]
    fn errors_name_the_key_the_found_and_the_expected() {
        let metadata = example();
        let message = |error: Result<u64, MetadataError>| error.map_err(|error| error.to_string());
        assert_eq!(
            message(metadata.u64("general.architecture")),
            Err("metadata key \"general.architecture\" has the type string; expected an integer of 0 or more".into())
        );
        assert_eq!(
            message(metadata.u64("llama.offset")),
            Err("metadata key \"llama.offset\" is -1; expected an integer of 0 or more".into())
        );
        assert_eq!(
            message(metadata.u64("absent")),
            Err("metadata key \"absent\" is missing; expected an integer of 0 or more".into())
        );
        assert!(metadata.optional_f32s("llama.head_count_kv").is_err());
    }

    #[test]
    fn inserting_again_replaces_in_place() {
        let mut metadata = example();
        assert_eq!(metadata.insert("llama.block_count", 2u32), Some(Value::U32(30)));
        assert_eq!(metadata.len(), 6);
        assert_eq!(metadata.u64("llama.block_count"), Ok(2));
    }
}
