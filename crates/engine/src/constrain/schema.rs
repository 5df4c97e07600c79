//! What of a form is known to explode, and is refused before it is compiled.
//!
//! The compiler has bounds of its own for most, but not for these: intersections of many patterns (a derivative of `n` of them may have
//! `2^n` parts), objects whose properties are compared pairwise, and multiples of large numbers (a state for every remainder).

use std::collections::HashSet;

use serde_json::{Map, Value};

/// Patterns that one text may have to match at once.
const TOGETHER: usize = 8;
/// Pairs of properties that may be compared; a pattern of names counts as so many names.
const PAIRS: usize = 4_000_000;
const NAMES_OF_A_PATTERN: usize = 30;
/// The largest number without its trailing zeros whose multiples can be told.
const MULTIPLE: f64 = 100_000.0;
/// Schemas within each other.
const DEPTH: usize = 100;
/// Combinations of schemas at one place that are looked at.
const COMBINATIONS: usize = 5_000;

/// Whether `schema` can be compiled in reasonable time; says what is wrong and where.
pub(super) fn check(schema: &Value) -> Result<(), String> {
    check_parts(schema, "#", 0, &mut 0)?;
    let mut walk = Walk { root: schema, seen: HashSet::new() };
    walk.place(vec![schema])
}

/// Whether a grammar intersects few patterns. Signs in its literals count as well: it takes a parser to tell.
pub(super) fn check_operators(text: &str) -> Result<(), String> {
    let found = text.bytes().filter(|byte| b"&~".contains(byte)).count();
    if found > TOGETHER {
        return Err(format!("it has the signs & and ~ {found} times: at most {TOGETHER} are possible"));
    }
    if text.contains("%json") {
        return Err("%json is not possible in a grammar: ask for a JSON schema instead".into());
    }
    Ok(())
}

/// Checks every part of a schema for itself. `pairs` counts those of the whole document.
fn check_parts(schema: &Value, path: &str, depth: usize, pairs: &mut usize) -> Result<(), String> {
    if depth > DEPTH {
        return Err(format!("{path} is too deep: {DEPTH} levels are possible"));
    }
    if let Value::Object(entries) = schema {
        let count = |key: &str| entries.get(key).and_then(Value::as_object).map_or(0, Map::len);
        let names = count("properties").saturating_add(count("patternProperties") * NAMES_OF_A_PATTERN);
        *pairs = pairs.saturating_add(names.saturating_mul(names));
        if *pairs > PAIRS {
            return Err(format!("{path} has too many properties: 2000 are possible, or 66 patterns of names"));
        }
        if let Some(multiple) = entries.get("multipleOf").and_then(Value::as_f64)
            && coefficient(multiple) > MULTIPLE
        {
            return Err(format!("{path}/multipleOf is {multiple}: it may have digits up to {MULTIPLE}"));
        }
    }
    children(schema).try_for_each(|(name, child)| check_parts(child, &format!("{path}/{name}"), depth + 1, pairs))
}

fn children(value: &Value) -> Box<dyn Iterator<Item = (String, &Value)> + '_> {
    match value {
        Value::Object(entries) => Box::new(entries.iter().map(|(name, child)| (name.clone(), child))),
        Value::Array(items) => Box::new(items.iter().enumerate().map(|(index, child)| (index.to_string(), child))),
        _ => Box::new(std::iter::empty()),
    }
}

/// The digits of a number as a whole number, without trailing zeros.
fn coefficient(number: f64) -> f64 {
    // Digits and exponent, the shortest that say the number.
    let text = format!("{:e}", number.abs());
    let digits = text.split('e').next().unwrap_or_default().replace('.', "");
    digits.parse().unwrap_or(f64::INFINITY)
}

/// Follows which schemas apply to the same place of a text.
struct Walk<'a> {
    root: &'a Value,
    /// Sets of schemas that were looked at, by their addresses.
    seen: HashSet<Vec<*const Value>>,
}

impl<'a> Walk<'a> {
    /// Checks a place to which all of `schemas` apply, and the places inside it.
    fn place(&mut self, schemas: Vec<&'a Value>) -> Result<(), String> {
        let (mut all, mut choices): (Vec<&'a Value>, Vec<&'a Vec<Value>>) = (Vec::new(), Vec::new());
        let (mut waiting, mut addresses) = (schemas, HashSet::new());
        while let Some(schema) = waiting.pop() {
            // The same schema twice says nothing more; so references that lead back end here.
            if !addresses.insert(std::ptr::from_ref(schema)) {
                continue;
            }
            all.push(schema);
            let Value::Object(entries) = schema else { continue };
            waiting.extend(entries.get("allOf").and_then(Value::as_array).into_iter().flatten());
            waiting.extend(entries.get("$ref").and_then(Value::as_str).and_then(|name| self.target(name)));
            choices.extend(["anyOf", "oneOf"].iter().filter_map(|key| entries.get(*key)?.as_array()));
        }
        let mut key: Vec<*const Value> = all.iter().map(|&schema| std::ptr::from_ref(schema)).collect();
        key.sort_unstable();
        if !self.seen.insert(key) {
            return Ok(());
        }
        if self.seen.len() > COMBINATIONS {
            return Err(format!("it combines schemas in more than {COMBINATIONS} ways"));
        }
        let patterns = all.iter().map(|schema| patterns(schema)).sum::<usize>();
        if patterns > TOGETHER {
            return Err(format!(
                "a text would have to match {patterns} patterns at once: at most {TOGETHER} are possible"
            ));
        }
        // One option of one choice at a time; those of the others are added inside.
        for option in choices.into_iter().flatten() {
            if !addresses.contains(&std::ptr::from_ref(option)) && !is_option_of_a_taken_choice(&all, option) {
                self.place([&all[..], &[option]].concat())?;
            }
        }
        self.inside(&all)
    }

    /// Checks what is inside a place to which `all` apply.
    fn inside(&mut self, all: &[&'a Value]) -> Result<(), String> {
        let maps = |key: &'static str| all.iter().filter_map(move |schema| schema.get(key)?.as_object());
        let singles = |keys: &'static [&'static str]| {
            all.iter().flat_map(move |schema| keys.iter().filter_map(move |key| schema.get(*key)))
        };
        let of_any_name: Vec<&'a Value> =
            maps("patternProperties").flat_map(Map::values).chain(singles(&["additionalProperties"])).collect();
        let names: HashSet<&'a String> = maps("properties").flat_map(Map::keys).collect();
        for name in names {
            let named = maps("properties").filter_map(|properties| properties.get(name));
            self.place(named.chain(of_any_name.iter().copied()).collect())?;
        }
        if !of_any_name.is_empty() {
            self.place(of_any_name)?;
        }
        let every: Vec<&'a Value> = singles(&["items", "additionalItems"]).filter(|items| !items.is_array()).collect();
        let rows: Vec<&'a Vec<Value>> = singles(&["prefixItems", "items"]).filter_map(Value::as_array).collect();
        for index in 0..rows.iter().map(|row| row.len()).max().unwrap_or(0) {
            let at = rows.iter().filter_map(|row| row.get(index));
            self.place(at.chain(every.iter().copied()).collect())?;
        }
        if every.is_empty() { Ok(()) } else { self.place(every) }
    }

    /// What a reference of this document means.
    fn target(&self, reference: &str) -> Option<&'a Value> {
        self.root.pointer(reference.strip_prefix('#')?.trim_end_matches('/'))
    }
}

/// Whether another option of the choice that `option` belongs to is among `all`.
fn is_option_of_a_taken_choice(all: &[&Value], option: &Value) -> bool {
    let taken = |choice: &Vec<Value>| {
        let among = |schema: &Value| choice.iter().any(|other| std::ptr::eq(other, schema));
        among(option) && all.iter().any(|schema| among(schema))
    };
    let choices = |schema: &&Value| ["anyOf", "oneOf"].map(|key| schema.get(key).and_then(Value::as_array).map(taken));
    all.iter().flat_map(choices).any(|taken| taken == Some(true))
}

/// Patterns that `schema` itself makes of a text: one for each of these.
fn patterns(schema: &Value) -> usize {
    let has = |key: &&str| schema.get(*key).is_some();
    let lengths = usize::from(["minLength", "maxLength"].iter().any(has));
    lengths + ["pattern", "format", "multipleOf", "enum", "const"].iter().filter(|key| has(key)).count()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pattern(i: usize) -> Value {
        json!({ "type": "string", "pattern": format!("a{i}") })
    }

    #[test]
    fn patterns_are_counted_where_they_meet() {
        let many: Vec<Value> = (0..20).map(pattern).collect();
        let objects: Vec<Value> = many.iter().map(|pattern| json!({ "properties": { "k": pattern } })).collect();
        let names: Map<String, Value> = (0..20).map(|i| (format!("k{i}"), pattern(i))).collect();
        let chain: Map<String, Value> = (0..20)
            .map(|i| (format!("d{i}"), json!({ "pattern": "a", "$ref": format!("#/$defs/d{}", i + 1) })))
            .collect();
        for good in [
            json!({ "anyOf": many }),
            json!({ "anyOf": objects, "pattern": "b" }),
            json!({ "properties": names, "allOf": [{ "properties": names }] }),
            json!({ "prefixItems": many, "items": pattern(0) }),
            json!({ "$defs": { "a": { "properties": { "a": { "$ref": "#/$defs/a" }, "b": pattern(1) } } }, "$ref": "#/$defs/a" }),
            json!({ "allOf": [{ "$ref": "#" }] }),
            json!(true),
        ] {
            assert_eq!(check(&good), Ok(()), "{good}");
        }
        for bad in [
            json!({ "allOf": many }),
            json!({ "allOf": objects }),
            json!({ "$defs": chain, "$ref": "#/$defs/d0" }),
            json!({ "items": { "allOf": many } }),
            json!({ "anyOf": [{ "allOf": &many[..6] }], "allOf": &many[10..16] }),
        ] {
            let error = check(&bad).unwrap_err();
            assert!(error.contains("patterns at once: at most 8"), "{bad}: {error}");
        }
    }

    #[test]
    fn what_explodes_is_refused_with_its_place() {
        let names: Map<String, Value> = (0..400).map(|i| (format!("^k{i}"), json!({}))).collect();
        let error = check(&json!({ "items": { "patternProperties": names } })).unwrap_err();
        assert_eq!(error, "#/items has too many properties: 2000 are possible, or 66 patterns of names");
        let error = check(&json!({ "multipleOf": 999_983 })).unwrap_err();
        assert_eq!(error, "#/multipleOf is 999983: it may have digits up to 100000");
        for good in [json!(0.01), json!(1e-7), json!(86400), json!(500_000_000)] {
            assert_eq!(check(&json!({ "multipleOf": good })), Ok(()));
        }
        let mut deep = json!({});
        (0..60).for_each(|_| deep = json!({ "properties": { "a": deep } }));
        assert!(check(&deep).unwrap_err().contains("too deep"));
        assert!(check_operators(&"~".repeat(9)).is_err() && check_operators("a & ~b").is_ok());
        let choices: Vec<Value> =
            (0..20).map(|i| json!({ "anyOf": [pattern(i), { "type": "integer", "title": i }] })).collect();
        assert!(check(&json!({ "allOf": choices })).is_err());
    }
}
