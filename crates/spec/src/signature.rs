//! What a method takes, for `explain`, `list` and help texts.
//!
//! Names and docs come from [`Method`], defaults from [`Default`], and the kind of each parameter from serde:
//! its type is asked to deserialise itself, and what it expects is noted.

use std::fmt::{self, Display, Formatter};

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, Expected, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::{Serialize, forward_to_deserialize_any};

use crate::error::{Error, Problem};
use crate::family::Method;
use crate::read::read_fields;
use crate::shorten::shortest_value;
use crate::value::{Call, Value};
use crate::words;
use crate::write::write_fields;

/// A method's name, what it is, and its parameters.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Signature {
    /// The name of the method.
    pub name: &'static str,
    /// What it is: a paragraph for lists, then more.
    pub about: String,
    /// Its parameters, in order.
    pub parameters: Vec<Parameter>,
}

/// One parameter of a method.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// What it can be, in words: `a whole number`, `end | chunk`, `a list of numbers`.
    pub type_name: String,
    /// Its value when not given; none if it is optional.
    pub default: Option<Value>,
    /// One line about it.
    pub doc: String,
}

impl Signature {
    /// The signature of the method `M`, which its family calls `name`.
    pub fn of<M: Method>(name: &'static str) -> Self {
        let defaults = write_fields(name, &M::default()).unwrap_or_else(|_| Call::new(name));
        let parameter = |&(parameter, doc): &(&'static str, &'static str)| Parameter {
            name: parameter,
            type_name: type_name::<M>(parameter),
            default: default::<M>(name, &defaults, parameter),
            doc: doc.trim().to_owned(),
        };
        let about = M::ABOUT.lines().map(str::trim).collect::<Vec<_>>().join("\n").trim().to_owned();
        Self { name, about, parameters: M::DOCS.iter().map(parameter).collect() }
    }

    /// The first paragraph of `about`, in one line.
    pub fn summary(&self) -> String {
        self.about.lines().take_while(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
    }
}

/// `snapkv(budget: a whole number, window: a whole number = 32)`.
impl Display for Signature {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let parameters: Vec<String> = self.parameters.iter().map(Parameter::to_string).collect();
        write!(f, "{}({})", self.name, parameters.join(", "))
    }
}

impl Display for Parameter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.default {
            Some(default) => write!(f, "{}: {} = {default}", self.name, self.type_name),
            None => write!(f, "{}: {}, optional", self.name, self.type_name),
        }
    }
}

/// The default of `parameter`, with nested methods in their canonical form; none if it is `none`.
fn default<M: Method>(name: &'static str, defaults: &Call, parameter: &str) -> Option<Value> {
    let value = defaults.args.get(parameter).filter(|value| **value != Value::None)?;
    let same = |value: &Value| {
        let call = defaults.clone().with(parameter, value.clone());
        read_fields::<M>(&call).and_then(|method| write_fields(name, &method)).is_ok_and(|call| call == *defaults)
    };
    Some(shortest_value(value, |_| true, &same))
}

/// What the field called `parameter` expects.
fn type_name<M: Method>(parameter: &'static str) -> String {
    match M::deserialize(MapAccessDeserializer::new(OneField { name: Some(parameter) })) {
        Err(error) => match error.problem() {
            Problem::Invalid(kind) => kind.clone(),
            _ => String::new(),
        },
        Ok(_) => String::new(),
    }
}

/// A map with the one field whose type is in question.
struct OneField {
    name: Option<&'static str>,
}

impl<'de> MapAccess<'de> for OneField {
    type Error = Error;

    fn next_key_seed<K: de::DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        self.name.take().map(|name| seed.deserialize(name.into_deserializer())).transpose()
    }

    fn next_value_seed<S: de::DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        seed.deserialize(Question)
    }
}

/// Answers every request with an error that says what was requested.
struct Question;

fn answer<T>(expected: &dyn Expected) -> Result<T, Error> {
    Err(de::Error::custom(words::wanted(&expected.to_string())))
}

impl<'de> Deserializer<'de> for Question {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        answer(&visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        Err(de::Error::custom(variants.join(" | ")))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Error> {
        if name == crate::read::CALL { answer(&visitor) } else { visitor.visit_newtype_struct(self) }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let Err(item) = visitor.visit_seq(self) else {
            return Err(de::Error::custom("a list"));
        };
        Err(de::Error::custom(format!("a list, each item {item}")))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct tuple
        tuple_struct map struct identifier ignored_any
    }
}

impl<'de> SeqAccess<'de> for Question {
    type Error = Error;

    fn next_element_seed<S: de::DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        seed.deserialize(Question).map(Some)
    }
}
