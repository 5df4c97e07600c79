//! Whether a value has the form that the OpenAPI document tells: the part of JSON Schema that the document uses.

use serde_json::{Map, Value};

/// Words of a schema that say nothing of the value's form, or less than its type does.
const ABOUT: [&str; 8] =
    ["description", "format", "minimum", "maximum", "title", "default", "propertyNames", "examples"];

/// The schemas of a document.
pub struct Schemas<'a>(pub &'a Value);

impl<'a> Schemas<'a> {
    /// The schema of what `method` on `path` answers with `status` as `form`.
    pub fn answer(&self, path: &str, method: &str, status: &str, form: &str) -> &'a Value {
        let answer = &self.0["paths"][path][method]["responses"][status]["content"][form]["schema"];
        assert!(!answer.is_null(), "{method} {path} with {status} has no schema as {form}");
        answer
    }

    /// What is wrong with `value`, by its path in the value; none if it follows `schema`.
    pub fn wrong(&self, schema: &Value, value: &Value) -> Option<String> {
        self.check(schema, value, "$").err()
    }

    fn check(&self, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        let Value::Object(schema) = schema else {
            return if schema == &Value::Bool(true) { Ok(()) } else { Err(format!("{at}: nothing may stand here")) };
        };
        for (word, said) in schema {
            match word.as_str() {
                "$ref" => self.check(self.find(said), value, at)?,
                "type" => check_type(said, value, at)?,
                "enum" if said.as_array().is_some_and(|all| all.contains(value)) => {}
                "const" if said == value => {}
                "enum" | "const" => return Err(format!("{at}: {value} is not {said}")),
                "required" => check_required(said, value, at)?,
                "properties" | "additionalProperties" => {}
                "items" => {
                    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.check(said, item, &format!("{at}[{index}]"))?;
                    }
                }
                "allOf" => said.as_array().unwrap().iter().try_for_each(|part| self.check(part, value, at))?,
                "oneOf" | "anyOf" => self.check_one(said, value, at, word == "oneOf")?,
                word if ABOUT.contains(&word) => {}
                word => panic!("`{word}` in a schema is not known to this check"),
            }
        }
        self.check_fields(schema, value, at)
    }

    fn find(&self, reference: &Value) -> &'a Value {
        let place = reference.as_str().and_then(|text| text.strip_prefix('#')).expect("a place in the document");
        self.0.pointer(place).unwrap_or_else(|| panic!("{place} is not in the document"))
    }

    fn check_one(&self, parts: &Value, value: &Value, at: &str, alone: bool) -> Result<(), String> {
        let results: Vec<_> = parts.as_array().unwrap().iter().map(|part| self.check(part, value, at)).collect();
        match results.iter().filter(|result| result.is_ok()).count() {
            0 => Err(results.into_iter().filter_map(Result::err).collect::<Vec<_>>().join(", or ")),
            count if count > 1 && alone => Err(format!("{at}: {count} forms at once")),
            _ => Ok(()),
        }
    }

    fn check_fields(&self, schema: &Map<String, Value>, value: &Value, at: &str) -> Result<(), String> {
        let Value::Object(fields) = value else { return Ok(()) };
        for (name, field) in fields {
            let place = format!("{at}.{name}");
            match (schema.get("properties").and_then(|known| known.get(name)), schema.get("additionalProperties")) {
                (Some(known), _) => self.check(known, field, &place)?,
                (None, Some(others)) => self.check(others, field, &place)?,
                (None, None) => {}
            }
        }
        Ok(())
    }
}

fn check_type(said: &Value, value: &Value, at: &str) -> Result<(), String> {
    let is = |kind: &Value| match kind.as_str().unwrap() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        kind => panic!("`{kind}` is no type"),
    };
    let right = said.as_array().map_or_else(|| is(said), |kinds| kinds.iter().any(is));
    if right { Ok(()) } else { Err(format!("{at}: {value} is not of type {said}")) }
}

fn check_required(said: &Value, value: &Value, at: &str) -> Result<(), String> {
    let missing = said.as_array().unwrap().iter().flat_map(Value::as_str);
    match missing.filter(|_| value.is_object()).find(|&name| value.get(name).is_none()) {
        Some(name) => Err(format!("{at}: `{name}` is missing")),
        None => Ok(()),
    }
}
