//! The JSON and TOML form of specs.
//!
//! A call is `{"type": "snapkv", "budget": 1024}` or its text as a string; a chain is an array of calls, and a
//! single call or a text with `+` stands for one too. Inside a call, a bare name is a string, `none` is `null`
//! and a nested call an object with `type`. TOML comes through serde and has the same form. Floats that are not
//! finite are the strings `inf`, `-inf` and `nan`.

use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value as Json};

use crate::error::{Error, Problem};
use crate::text::{MAX_DEPTH, TYPE, parse_call, parse_chain};
use crate::value::{Arguments, Call, Chain, Value, is_name};

impl Call {
    /// Reads an object with `type`, or text.
    pub fn from_json(json: &Json) -> Result<Self, Error> {
        match json {
            Json::String(text) => parse_call(text),
            Json::Object(object) => call(object, MAX_DEPTH),
            other => Err(form("a method is text or an object with `type`", other)),
        }
    }

    /// The object with `type`.
    pub fn to_json(&self) -> Json {
        let name = (TYPE.to_owned(), Json::from(self.name.as_str()));
        let args = self.args.iter().map(|(key, value)| (key.clone(), value.to_json()));
        Json::Object(std::iter::once(name).chain(args).collect())
    }
}

impl Chain {
    /// Reads an array of calls, a single call, or text.
    pub fn from_json(json: &Json) -> Result<Self, Error> {
        match json {
            Json::String(text) => parse_chain(text),
            Json::Array(items) if items.is_empty() => Err(Error::new(Problem::NotOne { calls: 0 })),
            Json::Array(items) => items.iter().map(Call::from_json).collect::<Result<_, _>>().map(Self),
            other => Call::from_json(other).map(|call| Self(vec![call])),
        }
    }

    /// The array of calls.
    pub fn to_json(&self) -> Json {
        self.0.iter().map(Call::to_json).collect()
    }
}

impl Value {
    /// Reads any JSON but an object without `type`.
    pub fn from_json(json: &Json) -> Result<Self, Error> {
        value(json, MAX_DEPTH)
    }

    /// The same value as JSON.
    pub fn to_json(&self) -> Json {
        match self {
            Self::None => Json::Null,
            Self::Bool(flag) => Json::Bool(*flag),
            Self::Number(number) => Json::Number(number.clone()),
            Self::Text(text) => Json::String(text.clone()),
            Self::List(items) => items.iter().map(Self::to_json).collect(),
            Self::Call(call) => call.to_json(),
        }
    }
}

/// Reads a value in which calls and lists may stand `depth` deep.
fn value(json: &Json, depth: usize) -> Result<Value, Error> {
    Ok(match json {
        Json::Null => Value::None,
        Json::Bool(flag) => Value::Bool(*flag),
        Json::Number(number) => Value::Number(number.clone()),
        Json::String(text) => Value::Text(text.clone()),
        Json::Array(items) => {
            let depth = deeper(depth)?;
            Value::List(items.iter().map(|item| value(item, depth)).collect::<Result<_, _>>()?)
        }
        Json::Object(object) => Value::Call(call(object, depth)?),
    })
}

fn call(object: &Map<String, Json>, depth: usize) -> Result<Call, Error> {
    let depth = deeper(depth)?;
    let name = match object.get(TYPE) {
        Some(Json::String(name)) if is_name(name) => name.clone(),
        Some(other) => return Err(form("`type` is the name of a method", other)),
        None => return Err(form("an object is a method and has a `type`", &Json::Null)),
    };
    let mut args = Arguments::new();
    for (key, json) in object.iter().filter(|(key, _)| *key != TYPE) {
        if !is_name(key) {
            return Err(form("a parameter is a name", &Json::from(key.as_str())));
        }
        args.insert(key.clone(), value(json, depth).map_err(|error| error.in_argument(key))?);
    }
    Ok(Call { name, args })
}

fn deeper(depth: usize) -> Result<usize, Error> {
    depth.checked_sub(1).ok_or_else(|| Error::new(Problem::TooDeep))
}

fn form(wanted: &'static str, found: &Json) -> Error {
    let found = match found {
        Json::Null => "nothing".to_owned(),
        Json::Array(_) => "an array".to_owned(),
        Json::Object(_) => "an object".to_owned(),
        Json::String(text) => format!("`{}`", crate::words::shown(text)),
        other => format!("`{other}`"),
    };
    Error::new(Problem::Form { wanted, found })
}

impl Serialize for Chain {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl Serialize for Call {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1 + self.args.len()))?;
        map.serialize_entry(TYPE, &self.name)?;
        self.args.iter().try_for_each(|(key, value)| map.serialize_entry(key, value))?;
        map.end()
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => serializer.serialize_none(),
            Self::Bool(flag) => serializer.serialize_bool(*flag),
            Self::Number(number) => number.serialize(serializer),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(items) => items.serialize(serializer),
            Self::Call(call) => call.serialize(serializer),
        }
    }
}

macro_rules! deserialize_through_json {
    ($($kind:ident),+) => {$(
        impl<'de> Deserialize<'de> for $kind {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::from_json(&Json::deserialize(deserializer)?).map_err(de::Error::custom)
            }
        }
    )+};
}

deserialize_through_json!(Call, Chain, Value);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn text_and_object_are_the_same_call() {
        let text = "adakv(inner=snapkv(budget=1024, keep=0.25), when=end, floor=none, layers=[1, full()])";
        let object = json!({
            "type": "adakv",
            "inner": {"type": "snapkv", "budget": 1024, "keep": 0.25},
            "when": "end",
            "floor": null,
            "layers": [1, {"type": "full"}],
        });
        let call = parse_call(text).unwrap();
        assert_eq!(call.to_json(), object);
        assert_eq!(Call::from_json(&object).unwrap(), call);
        assert_eq!(Call::from_json(&json!(text)).unwrap(), call);
        assert_eq!(Call::from_json(&object).unwrap().to_string(), text);
    }

    #[test]
    fn a_chain_is_an_array_or_one_call() {
        let chain = parse_chain("snapkv(budget=8) + int8").unwrap();
        let array = json!([{"type": "snapkv", "budget": 8}, {"type": "int8"}]);
        assert_eq!(chain.to_json(), array);
        for json in [array, json!("snapkv(budget=8) + int8"), json!(["snapkv(budget=8)", {"type": "int8"}])] {
            assert_eq!(Chain::from_json(&json).unwrap(), chain);
        }
        assert_eq!(Chain::from_json(&json!({"type": "int8"})).unwrap(), parse_chain("int8").unwrap());
    }

    #[test]
    fn other_json_is_refused() {
        for (json, message) in [
            (json!(7), "a method is text or an object with `type`, not `7`"),
            (json!({"budget": 7}), "an object is a method and has a `type`, not nothing"),
            (json!({"type": 7}), "`type` is the name of a method, not `7`"),
            (json!({"type": "a b"}), "`type` is the name of a method, not `a b`"),
            (json!({"type": "a", "b c": 1}), "a parameter is a name, not `b c`"),
            (json!({"type": "a", "b": {"c": 1}}), "an object is a method and has a `type`, not nothing"),
            (json!("a + b"), "column 5: one method is wanted here, not a chain of 2"),
            (json!([]), "a method is text or an object with `type`, not an array"),
        ] {
            assert_eq!(Call::from_json(&json).unwrap_err().to_string(), message, "{json}");
        }
        assert!(Chain::from_json(&json!([])).is_err());
    }

    #[test]
    fn depth_is_limited_as_in_text() {
        let nested = |depth| (1..depth).fold(json!({"type": "a"}), |inner, _| json!({"type": "a", "x": inner}));
        let deepest = Call::from_json(&nested(MAX_DEPTH)).unwrap();
        assert_eq!(parse_call(&deepest.to_string()).unwrap(), deepest);
        assert_eq!(Call::from_json(&nested(MAX_DEPTH + 1)).unwrap_err().problem(), &Problem::TooDeep);
    }

    #[test]
    fn toml_takes_both_forms() {
        #[derive(Deserialize)]
        struct File {
            cache: Chain,
            mixer: Call,
        }
        let file: File =
            toml::from_str("cache = 'snapkv(budget=8) + int8'\nmixer = { type = 'retention', heads = 4 }").unwrap();
        assert_eq!(file.cache.to_string(), "snapkv(budget=8) + int8");
        assert_eq!(file.mixer.to_string(), "retention(heads=4)");
    }
}
