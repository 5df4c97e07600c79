//! The deserialiser over one value: a parameter, or an item of a list.

use serde::de::{self, DeserializeSeed, Deserializer, Expected, IntoDeserializer, SeqAccess, Unexpected, Visitor};
use serde::forward_to_deserialize_any;

use super::{CALL, CallReader};
use crate::error::{Error, Problem, Step};
use crate::text::parse_call;
use crate::value::{Call, NONE, Value, is_name};

#[derive(Clone, Copy)]
pub(super) struct ValueReader<'a> {
    pub value: &'a Value,
    /// As in [`CallReader`].
    pub quoted: bool,
}

impl ValueReader<'_> {
    pub fn read<'de, S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Error> {
        seed.deserialize(self).map_err(|error| match self.value {
            Value::Call(call) => self.inside(call).place(error),
            _ => error,
        })
    }

    fn inside<'a>(&self, call: &'a Call) -> CallReader<'a> {
        CallReader { call, quoted: self.quoted }
    }

    /// The text of a string or word; `none` is a word too where a word is wanted.
    fn text(&self) -> Option<&str> {
        match self.value {
            Value::Text(text) => Some(text),
            Value::None => Some(NONE),
            _ => None,
        }
    }

    fn unexpected(&self, expected: &dyn Expected) -> Error {
        let found = match self.value {
            Value::Bool(flag) => Unexpected::Bool(*flag),
            Value::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(number), _) => Unexpected::Unsigned(number),
                (_, Some(number)) => Unexpected::Signed(number),
                _ => Unexpected::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            Value::Text(text) => Unexpected::Str(text),
            Value::None => Unexpected::Unit,
            Value::List(_) => Unexpected::Seq,
            Value::Call(_) => Unexpected::Map,
        };
        de::Error::invalid_type(found, expected)
    }

    fn word<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.text() {
            Some(text) => visitor.visit_str(text),
            None => self.deserialize_any(visitor),
        }
    }

    fn float<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.text() {
            Some("inf") => visitor.visit_f64(f64::INFINITY),
            Some("-inf") => visitor.visit_f64(f64::NEG_INFINITY),
            Some("nan") => visitor.visit_f64(f64::NAN),
            _ => self.deserialize_any(visitor),
        }
    }

    /// A method: a call, a word that is its name, or its text as a string.
    fn call<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match (self.value, self.text()) {
            (Value::Call(call), _) => visitor.visit_enum(self.inside(call)),
            (_, Some(name)) if is_name(name) => visitor.visit_enum(CallReader::new(&Call::new(name))),
            (_, Some(_)) if self.quoted => Err(Error::new(Problem::TooDeep)),
            (_, Some(text)) => {
                let call = parse_call(text).map_err(Error::unplaced)?;
                visitor.visit_enum(CallReader { call: &call, quoted: true }).map_err(Error::unplaced)
            }
            _ => Err(self.unexpected(&visitor)),
        }
    }
}

impl<'de> Deserializer<'de> for ValueReader<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::None => visitor.visit_unit(),
            Value::Bool(flag) => visitor.visit_bool(*flag),
            Value::Text(text) => visitor.visit_str(text),
            Value::List(items) => visitor.visit_seq(ItemReader { items, next: 0, quoted: self.quoted }),
            Value::Call(call) => self.inside(call).deserialize_any(visitor),
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(number), _, _) => visitor.visit_u64(number),
                (_, Some(number), _) => visitor.visit_i64(number),
                (_, _, number) => visitor.visit_f64(number.unwrap_or(f64::NAN)),
            },
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if *self.value == Value::None { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.float(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.float(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.word(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.word(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.word(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match (self.value, self.text()) {
            (Value::Call(call), _) => visitor.visit_enum(self.inside(call)),
            (_, Some(name)) => visitor.visit_enum(name.into_deserializer()),
            _ => Err(self.unexpected(&visitor)),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Error> {
        if name == CALL { self.call(visitor) } else { visitor.visit_newtype_struct(self) }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 char bytes byte_buf unit unit_struct seq tuple tuple_struct map
        struct ignored_any
    }
}

struct ItemReader<'a> {
    items: &'a [Value],
    next: usize,
    quoted: bool,
}

impl<'de> SeqAccess<'de> for ItemReader<'_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let Some(item) = self.items.get(self.next) else {
            return Ok(None);
        };
        let step = Step::Item(self.next);
        self.next += 1;
        ValueReader { value: item, quoted: self.quoted }.read(seed).map(Some).map_err(|error| error.within(step))
    }
}
