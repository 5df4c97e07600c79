//! Metadata values of a GGUF file.
//!
//! A value is a `u32` type number, then its bytes. Numbers are little-endian; a boolean is one byte, 0 or 1; a string
//! is a `u64` length, then UTF-8; an array is the `u32` type of its elements, a `u64` count, then the elements.

use super::error::GgufError;
use super::reader::Reader;

/// How deep arrays may nest: an array of numbers is 1 deep, an array of those is 2.
pub const MAX_ARRAY_DEPTH: usize = 4;

/// A metadata value.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    U64(u64),
    I64(i64),
    F32(f32),
    F64(f64),
    Bool(bool),
    String(String),
    Array(Array),
}

/// A metadata array: all elements are of one type.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Array {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    Bool(Vec<bool>),
    String(Vec<String>),
    /// Arrays, which may differ in length and element type.
    Array(Vec<Array>),
}

impl Value {
    /// What type of value this is, as error messages name it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::U8(_) => "u8",
            Value::I8(_) => "i8",
            Value::U16(_) => "u16",
            Value::I16(_) => "i16",
            Value::U32(_) => "u32",
            Value::I32(_) => "i32",
            Value::U64(_) => "u64",
            Value::I64(_) => "i64",
            Value::F32(_) => "f32",
            Value::F64(_) => "f64",
            Value::Bool(_) => "bool",
            Value::String(_) => "string",
            Value::Array(array) => array.type_name(),
        }
    }

    /// The number of the type in a file.
    pub(super) fn type_number(&self) -> u32 {
        let ty = match self {
            Value::U8(_) => ValueType::U8,
            Value::I8(_) => ValueType::I8,
            Value::U16(_) => ValueType::U16,
            Value::I16(_) => ValueType::I16,
            Value::U32(_) => ValueType::U32,
            Value::I32(_) => ValueType::I32,
            Value::U64(_) => ValueType::U64,
            Value::I64(_) => ValueType::I64,
            Value::F32(_) => ValueType::F32,
            Value::F64(_) => ValueType::F64,
            Value::Bool(_) => ValueType::Bool,
            Value::String(_) => ValueType::String,
            Value::Array(_) => ValueType::Array,
        };
        ty as u32
    }

    /// Reads the type and the value of `key`.
    pub(super) fn read(reader: &mut Reader, key: &str) -> Result<Self, GgufError> {
        let what = || format!("the value of {key:?}");
        let number = reader.u32(|| format!("the type of {key:?}"))?;
        Ok(match ValueType::from_number(number, key)? {
            ValueType::U8 => Value::U8(u8::from_le_bytes(reader.array(what)?)),
            ValueType::I8 => Value::I8(i8::from_le_bytes(reader.array(what)?)),
            ValueType::U16 => Value::U16(u16::from_le_bytes(reader.array(what)?)),
            ValueType::I16 => Value::I16(i16::from_le_bytes(reader.array(what)?)),
            ValueType::U32 => Value::U32(u32::from_le_bytes(reader.array(what)?)),
            ValueType::I32 => Value::I32(i32::from_le_bytes(reader.array(what)?)),
            ValueType::U64 => Value::U64(u64::from_le_bytes(reader.array(what)?)),
            ValueType::I64 => Value::I64(i64::from_le_bytes(reader.array(what)?)),
            ValueType::F32 => Value::F32(f32::from_le_bytes(reader.array(what)?)),
            ValueType::F64 => Value::F64(f64::from_le_bytes(reader.array(what)?)),
            ValueType::Bool => Value::Bool(read_bool(reader, what)?),
            ValueType::String => Value::String(reader.string(what)?.to_owned()),
            ValueType::Array => Value::Array(Array::read(reader, key, 1)?),
        })
    }
}

impl Array {
    /// What type of array this is, as error messages name it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Array::U8(_) => "array of u8",
            Array::I8(_) => "array of i8",
            Array::U16(_) => "array of u16",
            Array::I16(_) => "array of i16",
            Array::U32(_) => "array of u32",
            Array::I32(_) => "array of i32",
            Array::U64(_) => "array of u64",
            Array::I64(_) => "array of i64",
            Array::F32(_) => "array of f32",
            Array::F64(_) => "array of f64",
            Array::Bool(_) => "array of bool",
            Array::String(_) => "array of string",
            Array::Array(_) => "array of arrays",
        }
    }

    /// The number of the elements' type in a file.
    pub(super) fn element_number(&self) -> u32 {
        let ty = match self {
            Array::U8(_) => ValueType::U8,
            Array::I8(_) => ValueType::I8,
            Array::U16(_) => ValueType::U16,
            Array::I16(_) => ValueType::I16,
            Array::U32(_) => ValueType::U32,
            Array::I32(_) => ValueType::I32,
            Array::U64(_) => ValueType::U64,
            Array::I64(_) => ValueType::I64,
            Array::F32(_) => ValueType::F32,
            Array::F64(_) => ValueType::F64,
            Array::Bool(_) => ValueType::Bool,
            Array::String(_) => ValueType::String,
            Array::Array(_) => ValueType::Array,
        };
        ty as u32
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        match self {
            Array::U8(values) => values.len(),
            Array::I8(values) => values.len(),
            Array::U16(values) => values.len(),
            Array::I16(values) => values.len(),
            Array::U32(values) => values.len(),
            Array::I32(values) => values.len(),
            Array::U64(values) => values.len(),
            Array::I64(values) => values.len(),
            Array::F32(values) => values.len(),
            Array::F64(values) => values.len(),
            Array::Bool(values) => values.len(),
            Array::String(values) => values.len(),
            Array::Array(values) => values.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads the element type, the count and the elements of an array that is `depth` deep in `key`.
    fn read(reader: &mut Reader, key: &str, depth: usize) -> Result<Self, GgufError> {
        if depth > MAX_ARRAY_DEPTH {
            return Err(GgufError::NestedTooDeep { key: key.to_owned(), limit: MAX_ARRAY_DEPTH });
        }
        let number = reader.u32(|| format!("the element type of {key:?}"))?;
        let ty = ValueType::from_number(number, key)?;
        let count = reader.count(ty.smallest(), || format!("the array {key:?}"))?;
        let what = || format!("an element of {key:?}");
        Ok(match ty {
            ValueType::U8 => Array::U8(numbers(reader, count, key, u8::from_le_bytes)?),
            ValueType::I8 => Array::I8(numbers(reader, count, key, i8::from_le_bytes)?),
            ValueType::U16 => Array::U16(numbers(reader, count, key, u16::from_le_bytes)?),
            ValueType::I16 => Array::I16(numbers(reader, count, key, i16::from_le_bytes)?),
            ValueType::U32 => Array::U32(numbers(reader, count, key, u32::from_le_bytes)?),
            ValueType::I32 => Array::I32(numbers(reader, count, key, i32::from_le_bytes)?),
            ValueType::U64 => Array::U64(numbers(reader, count, key, u64::from_le_bytes)?),
            ValueType::I64 => Array::I64(numbers(reader, count, key, i64::from_le_bytes)?),
            ValueType::F32 => Array::F32(numbers(reader, count, key, f32::from_le_bytes)?),
            ValueType::F64 => Array::F64(numbers(reader, count, key, f64::from_le_bytes)?),
            ValueType::Bool => Array::Bool((0..count).map(|_| read_bool(reader, what)).collect::<Result<_, _>>()?),
            ValueType::String => Array::String(
                (0..count).map(|_| Ok(reader.string(what)?.to_owned())).collect::<Result<_, GgufError>>()?,
            ),
            ValueType::Array => {
                Array::Array((0..count).map(|_| Array::read(reader, key, depth + 1)).collect::<Result<_, _>>()?)
            }
        })
    }
}

fn numbers<const N: usize, T>(
    reader: &mut Reader,
    count: usize,
    key: &str,
    decode: fn([u8; N]) -> T,
) -> Result<Vec<T>, GgufError> {
    (0..count).map(|_| Ok(decode(reader.array(|| format!("an element of {key:?}"))?))).collect()
}

fn read_bool(reader: &mut Reader, what: impl Fn() -> String) -> Result<bool, GgufError> {
    match reader.array(&what)? {
        [0] => Ok(false),
        [1] => Ok(true),
        [found] => Err(GgufError::InvalidBool { what: what(), found }),
    }
}

/// The types of values, in the order of their numbers in a file.
#[derive(Clone, Copy)]
enum ValueType {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    String,
    Array,
    U64,
    I64,
    F64,
}

impl ValueType {
    fn from_number(number: u32, key: &str) -> Result<Self, GgufError> {
        use ValueType::*;
        const BY_NUMBER: [ValueType; 13] = [U8, I8, U16, I16, U32, I32, F32, Bool, String, Array, U64, I64, F64];
        usize::try_from(number)
            .ok()
            .and_then(|number| BY_NUMBER.get(number).copied())
            .ok_or_else(|| GgufError::UnknownValueType { key: key.to_owned(), number })
    }

    /// The fewest bytes that a value of this type takes in a file.
    fn smallest(self) -> usize {
        match self {
            ValueType::U8 | ValueType::I8 | ValueType::Bool => 1,
            ValueType::U16 | ValueType::I16 => 2,
            ValueType::U32 | ValueType::I32 | ValueType::F32 => 4,
            // An empty string is its length.
            ValueType::U64 | ValueType::I64 | ValueType::F64 | ValueType::String => 8,
            // An empty array is its element type and its count.
            ValueType::Array => 12,
        }
    }
}

macro_rules! value_from {
    ($($type:ty => $variant:ident),*) => {
        $(impl From<$type> for Value {
            fn from(value: $type) -> Self {
                Value::$variant(value)
            }
        }
        impl From<Vec<$type>> for Value {
            fn from(values: Vec<$type>) -> Self {
                Value::Array(Array::$variant(values))
            }
        })*
    };
}

value_from!(u8 => U8, i8 => I8, u16 => U16, i16 => I16, u32 => U32, i32 => I32, u64 => U64, i64 => I64,
    f32 => F32, f64 => F64, bool => Bool, String => String, Array => Array);

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Value::String(value.to_owned())
    }
}
