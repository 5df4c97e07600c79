//! Text to any serde type and back.
//!
//! A method is an enum with `#[serde(tag = "type")]` and one newtype variant per method, or better a
//! [`family!`](crate::family!). Variants without fields must hold an empty struct: a unit variant lets serde
//! accept any parameter.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use crate::error::{Error, Step};
use crate::read::read;
use crate::shorten::shortest;
use crate::text::{parse_call, parse_chain};
use crate::value::{Call, Chain, Value};
use crate::write::write;

/// Reads one method: `snapkv(budget=1024)`.
pub fn from_text<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    let call = parse_call(text)?;
    read(&call).map_err(|error| error.within(Step::Call(0)).locate(text))
}

/// Reads methods joined by `+`: `snapkv(budget=1024) + int8`.
pub fn from_chain_text<T: DeserializeOwned>(text: &str) -> Result<Vec<T>, Error> {
    let Chain(calls) = parse_chain(text)?;
    let read = |(index, call)| read(call).map_err(|error| error.within(Step::Call(index)).locate(text));
    calls.iter().enumerate().map(read).collect()
}

/// Reads one method from an object with `type`, or from text.
pub fn from_json<T: DeserializeOwned>(json: &Json) -> Result<T, Error> {
    match json {
        Json::String(text) => from_text(text),
        other => read(&Call::from_json(other)?),
    }
}

/// Reads methods from an array of them, from one, or from text.
pub fn from_chain_json<T: DeserializeOwned>(json: &Json) -> Result<Vec<T>, Error> {
    match json {
        Json::String(text) => from_chain_text(text),
        Json::Array(items) if !items.is_empty() => items.iter().map(from_json).collect(),
        other => from_chain(&Chain::from_json(other)?),
    }
}

/// Converts a parsed call.
pub fn from_call<T: DeserializeOwned>(call: &Call) -> Result<T, Error> {
    read(call)
}

/// Converts a parsed chain.
pub fn from_chain<T: DeserializeOwned>(chain: &Chain) -> Result<Vec<T>, Error> {
    chain.0.iter().map(read).collect()
}

/// The call that stands for `method`, with all its parameters.
pub fn to_call<T: Serialize>(method: &T) -> Result<Call, Error> {
    write(method)
}

/// The canonical text: only the parameters that are needed to read the same method back.
///
/// # Panics
/// If the type is no method: a map or plain struct, or one that holds such a thing, has no text.
pub fn to_text<T: Serialize + DeserializeOwned>(method: &T) -> String {
    canonical::<T>(&full_call(method), |_| true)
}

/// The text with every parameter, leaving out only optional ones that are not given.
///
/// # Panics
/// As [`to_text`].
pub fn to_full_text<T: Serialize + DeserializeOwned>(method: &T) -> String {
    canonical::<T>(&full_call(method), |value| *value == Value::None)
}

/// The canonical text of methods joined by ` + `.
///
/// # Panics
/// As [`to_text`].
pub fn to_chain_text<T: Serialize + DeserializeOwned>(methods: &[T]) -> String {
    methods.iter().map(to_text).collect::<Vec<_>>().join(" + ")
}

fn full_call<T: Serialize>(method: &T) -> Call {
    write(method).unwrap_or_else(|error| panic!("{}: {error}", std::any::type_name::<T>()))
}

/// Every check for the shortest text reads the whole spec again: nothing for specs that people write, too much
/// for thousands of parameters. Those print in full.
const SHORTENED: usize = 256;

fn canonical<T: Serialize + DeserializeOwned>(full: &Call, droppable: fn(&Value) -> bool) -> String {
    if parameters(full) > SHORTENED {
        return full.to_string();
    }
    let same = |call: &Call| read::<T>(call).and_then(|method| write(&method)).is_ok_and(|call| call == *full);
    shortest(full, droppable, &same).to_string()
}

/// Parameters and nested calls, at any depth.
fn parameters(call: &Call) -> usize {
    fn inside(value: &Value) -> usize {
        match value {
            Value::Call(call) => 1 + parameters(call),
            Value::List(items) => items.iter().map(inside).sum(),
            _ => 0,
        }
    }
    call.args.values().map(|value| 1 + inside(value)).sum()
}
