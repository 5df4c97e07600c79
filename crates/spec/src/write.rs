//! A serde serialiser into [`Value`]: typed method to spec.
//!
//! A struct or map with a `type` becomes a call, and so does an enum's variant with fields, named by the
//! variant. Anything that the grammar cannot say (a map or struct without a name) is an error.

use serde::ser::{self, Impossible, Serialize, Serializer};
use serde_json::Number;

use crate::error::{Error, Problem};
use crate::read::CALL;
use crate::text::TYPE;
use crate::value::{Arguments, Call, Value, is_name, word};

/// Converts any method to a call with all its parameters.
pub(crate) fn write<T: Serialize + ?Sized>(method: &T) -> Result<Call, Error> {
    match method.serialize(ValueWriter { name: None })? {
        Value::Call(call) => Ok(call),
        Value::Text(name) if is_name(&name) => Ok(Call::new(name)),
        Value::None => Ok(Call::new(Value::None.to_string())),
        _ => Err(no_text("a value that is not a method")),
    }
}

/// Converts the fields of a method to a call of `name`.
pub(crate) fn write_fields<T: Serialize + ?Sized>(name: &'static str, fields: &T) -> Result<Call, Error> {
    match fields.serialize(ValueWriter { name: Some(name) })? {
        Value::Call(call) => Ok(call),
        _ => Err(no_text("a method whose parameters are not a struct")),
    }
}

fn no_text(what: &'static str) -> Error {
    Error::new(Problem::NoText(what))
}

/// A word, or `none` itself.
fn named(name: &str) -> Value {
    if name == Value::None.to_string() { word(name) } else { Value::Text(name.to_owned()) }
}

struct ValueWriter {
    /// The method whose fields are written, if it is known from outside them.
    name: Option<&'static str>,
}

impl ValueWriter {
    fn calls(&self) -> CallWriter {
        CallWriter { name: self.name.map(str::to_owned), args: Arguments::new(), key: None }
    }
}

macro_rules! write_plain {
    ($($method:ident($kind:ty) => $make:expr),+ $(,)?) => {$(
        fn $method(self, value: $kind) -> Result<Value, Error> {
            Ok($make(value))
        }
    )+};
}

impl Serializer for ValueWriter {
    type Ok = Value;
    type Error = Error;
    type SerializeSeq = ListWriter;
    type SerializeTuple = ListWriter;
    type SerializeTupleStruct = ListWriter;
    type SerializeTupleVariant = Impossible<Value, Error>;
    type SerializeMap = CallWriter;
    type SerializeStruct = CallWriter;
    type SerializeStructVariant = CallWriter;

    write_plain! {
        serialize_bool(bool) => Value::Bool,
        serialize_i8(i8) => integer,
        serialize_i16(i16) => integer,
        serialize_i32(i32) => integer,
        serialize_i64(i64) => integer,
        serialize_u8(u8) => integer,
        serialize_u16(u16) => integer,
        serialize_u32(u32) => integer,
        serialize_u64(u64) => integer,
        serialize_f64(f64) => Value::from,
        serialize_str(&str) => Value::from,
        serialize_char(char) => |c: char| Value::Text(c.to_string()),
        serialize_bytes(&[u8]) => |bytes: &[u8]| Value::List(bytes.iter().map(|&byte| integer(byte)).collect()),
    }

    /// The shortest decimal that is this number in 32 bits: 0.1, not 0.10000000149011612.
    fn serialize_f32(self, value: f32) -> Result<Value, Error> {
        Ok(Value::from(value.to_string().parse().unwrap_or(f64::from(value))))
    }

    fn serialize_none(self) -> Result<Value, Error> {
        Ok(Value::None)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Value, Error> {
        match value.serialize(self)? {
            Value::None => Err(no_text("an optional value that is itself `none`")),
            value => Ok(value),
        }
    }

    fn serialize_unit(self) -> Result<Value, Error> {
        Ok(Value::None)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Value, Error> {
        Ok(Value::None)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<Value, Error> {
        Ok(named(variant))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Result<Value, Error> {
        match value.serialize(self)? {
            Value::Call(call) if name == CALL && call.args.is_empty() => Ok(named(&call.name)),
            value => Ok(value),
        }
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Value, Error> {
        write_fields(variant, value).map(Value::Call)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<ListWriter, Error> {
        Ok(ListWriter(Vec::new()))
    }

    fn serialize_tuple(self, _: usize) -> Result<ListWriter, Error> {
        Ok(ListWriter(Vec::new()))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<ListWriter, Error> {
        Ok(ListWriter(Vec::new()))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Error> {
        Err(no_text("a variant with unnamed fields"))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<CallWriter, Error> {
        Ok(self.calls())
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<CallWriter, Error> {
        Ok(self.calls())
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<CallWriter, Error> {
        Ok(Self { name: Some(variant) }.calls())
    }
}

fn integer(number: impl Into<Number>) -> Value {
    Value::Number(number.into())
}

struct ListWriter(Vec<Value>);

impl ListWriter {
    fn push<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), Error> {
        self.0.push(item.serialize(ValueWriter { name: None })?);
        Ok(())
    }
}

struct CallWriter {
    name: Option<String>,
    args: Arguments,
    key: Option<String>,
}

impl CallWriter {
    fn argument<T: Serialize + ?Sized>(&mut self, key: String, value: &T) -> Result<(), Error> {
        match value.serialize(ValueWriter { name: None })? {
            Value::Text(name) if key == TYPE && self.name.is_none() && is_name(&name) => self.name = Some(name),
            Value::None if key == TYPE && self.name.is_none() => self.name = Some(Value::None.to_string()),
            _ if key == TYPE => return Err(no_text("a parameter called `type`")),
            _ if !is_name(&key) => return Err(no_text("a key that is not a name")),
            value => {
                self.args.insert(key, value);
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<Value, Error> {
        let name = self.name.ok_or_else(|| no_text("a map or struct without a `type`"))?;
        Ok(Value::Call(Call { name, args: self.args }))
    }
}

macro_rules! list_writer {
    ($($part:ident::$push:ident),+) => {$(
        impl ser::$part for ListWriter {
            type Ok = Value;
            type Error = Error;

            fn $push<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), Error> {
                self.push(item)
            }

            fn end(self) -> Result<Value, Error> {
                Ok(Value::List(self.0))
            }
        }
    )+};
}

macro_rules! struct_writer {
    ($($part:ident),+) => {$(
        impl ser::$part for CallWriter {
            type Ok = Value;
            type Error = Error;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Error> {
                self.argument(key.to_owned(), value)
            }

            fn end(self) -> Result<Value, Error> {
                self.finish()
            }
        }
    )+};
}

list_writer!(SerializeSeq::serialize_element, SerializeTuple::serialize_element, SerializeTupleStruct::serialize_field);
struct_writer!(SerializeStruct, SerializeStructVariant);

impl ser::SerializeMap for CallWriter {
    type Ok = Value;
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        match key.serialize(ValueWriter { name: None })? {
            Value::Text(key) => self.key = Some(key),
            _ => return Err(no_text("a map whose keys are not text")),
        }
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        let key = self.key.take().ok_or_else(|| no_text("a map value without a key"))?;
        self.argument(key, value)
    }

    fn end(self) -> Result<Value, Error> {
        self.finish()
    }
}
