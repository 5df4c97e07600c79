//! A serde deserialiser over [`Call`] and [`Value`]: spec to typed method.
//!
//! Its errors note the steps that lead to them, from which their column in the text is found. An object with
//! `type` is what any `Deserialize` type sees of a call; [families](crate::Family) announce themselves with the
//! name [`CALL`] and are given the name and the parameters apart, with nothing buffered in between, so that
//! every step is known.

mod value;

use std::marker::PhantomData;

use indexmap::map::Iter;
use serde::de::value::MapAccessDeserializer;
use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, Unexpected,
    VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use crate::error::{Error, Problem, Step};
use crate::text::TYPE;
use crate::value::{Call, Value};
use value::ValueReader;

/// The newtype name by which a family asks for a call instead of an object.
pub(crate) const CALL: &str = "$headwise_spec::Call";

/// Converts the parameters of a call whose name is known to be right.
pub(crate) fn read_fields<'de, T: Deserialize<'de>>(call: &Call) -> Result<T, Error> {
    CallReader::new(call).newtype_variant_seed(PhantomData)
}

/// Converts a call; the error is not yet located in a text.
pub(crate) fn read<'de, T: Deserialize<'de>>(call: &Call) -> Result<T, Error> {
    read_once(call).map_err(|error| blame::<T>(call, error))
}

fn read_once<'de, T: Deserialize<'de>>(call: &Call) -> Result<T, Error> {
    T::deserialize(CallReader::new(call)).map_err(|error| CallReader::new(call).place(error))
}

/// serde's own tagged enums buffer their parameters, so that an error forgets where it came from. Parameters
/// are read in order: the first with which the same error appears is at fault.
fn blame<'de, T: Deserialize<'de>>(call: &Call, error: Error) -> Error {
    if error.is_placed() || matches!(error.problem(), Problem::MissingParameter { .. }) {
        return error;
    }
    let fails_alike = |count: usize| {
        let args = call.args.iter().take(count).map(|(key, value)| (key.clone(), value.clone())).collect();
        let start = Call { name: call.name.clone(), args };
        read_once::<T>(&start).is_err_and(|other| other == error)
    };
    let counts: Vec<usize> = (0..call.args.len()).collect();
    let before = counts.partition_point(|&count| !fails_alike(count));
    match before.checked_sub(1).and_then(|index| call.args.get_index(index)) {
        Some((key, _)) => error.blame(&call.name, key),
        None => error,
    }
}

#[derive(Clone, Copy)]
struct CallReader<'a> {
    call: &'a Call,
    /// Whether the call was read from a string inside a spec, where no further string is read: strings in
    /// strings would get round the limit on depth.
    quoted: bool,
}

impl<'a> CallReader<'a> {
    fn new(call: &'a Call) -> Self {
        Self { call, quoted: false }
    }

    fn arguments(self, with_type: bool) -> ArgumentReader<'a> {
        let kind = with_type.then_some(TYPE);
        ArgumentReader { kind, rest: self.call.args.iter(), current: None, of: self }
    }

    fn place(self, error: Error) -> Error {
        error.in_call(&self.call.name, |parameter| self.call.args.contains_key(parameter))
    }
}

impl<'de> Deserializer<'de> for CallReader<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_map(self.arguments(true)).map_err(|error| self.place(error))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_enum(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Error> {
        if name == CALL { visitor.visit_enum(self) } else { visitor.visit_newtype_struct(self) }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq
        tuple tuple_struct map struct identifier ignored_any
    }
}

impl<'de> EnumAccess<'de> for CallReader<'_> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Error> {
        let name: de::value::StrDeserializer<'_, Error> = self.call.name.as_str().into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for CallReader<'_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        match self.call.args.first() {
            None => Ok(()),
            Some((parameter, _)) => Err(self.place(de::Error::unknown_field(parameter, &[]))),
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Error> {
        let fields = MapAccessDeserializer::new(self.arguments(false));
        seed.deserialize(fields).map_err(|error| self.place(error))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        Err(de::Error::invalid_type(Unexpected::Map, &visitor))
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        visitor.visit_map(self.arguments(false)).map_err(|error| self.place(error))
    }
}

/// The parameters of a call, with `type` before them if wanted.
struct ArgumentReader<'a> {
    kind: Option<&'a str>,
    rest: Iter<'a, String, Value>,
    /// The argument whose key has been read and whose value has not; none while it is `type`.
    current: Option<(&'a str, &'a Value)>,
    of: CallReader<'a>,
}

impl<'de> MapAccess<'de> for ArgumentReader<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        if let Some(key) = self.kind.take() {
            return seed.deserialize(key.into_deserializer()).map(Some);
        }
        let Some((key, value)) = self.rest.next() else {
            return Ok(None);
        };
        self.current = Some((key, value));
        let result = seed.deserialize(key.as_str().into_deserializer());
        result.map(Some).map_err(|error: Error| error.within(Step::Key(key.clone())))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        match self.current.take() {
            Some((key, value)) => {
                let reader = ValueReader { value, quoted: self.of.quoted };
                reader.read(seed).map_err(|error| error.in_argument(key))
            }
            None => seed.deserialize(self.of.call.name.as_str().into_deserializer()),
        }
    }
}
