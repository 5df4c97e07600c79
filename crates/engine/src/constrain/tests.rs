use std::sync::LazyLock;
use std::time::{Duration, Instant};

use headwise_models::embedded;
use headwise_models::tokenizer::{AddBos, Encode, Tokenizer};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};

use super::*;

static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| embedded::tokenizer().unwrap());
static FACTORY: LazyLock<ConstraintFactory> = LazyLock::new(|| ConstraintFactory::new(&TOKENIZER).unwrap());

fn compile(spec: &ConstraintSpec) -> Result<Constraint, ConstraintError> {
    // Tests share the machine: what takes time is tested on its own.
    FACTORY.compile(spec, &ConstraintLimits { time: Duration::from_secs(60), ..ConstraintLimits::default() })
}

/// A text that a model without any sense writes: `None` if it has not ended after `tokens` tokens.
fn written(mut constraint: Constraint, seed: u64, tokens: usize) -> Result<Option<String>, ConstraintError> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    // A model that likes to end what can end, and short tokens: random JSON has no end otherwise.
    let liking = |id: u32| match TOKENIZER.token_bytes(id).unwrap_or_default()[..] {
        [b'"' | b'}' | b']'] => 6.0,
        _ => 0.0,
    };
    let likings: Vec<f32> = (0..TOKENIZER.vocab_size() as u32).map(liking).collect();
    let mut ids = Vec::new();
    for _ in 0..tokens {
        let mut scores: Vec<f32> = likings.iter().map(|liking| liking + rng.random::<f32>() * 9.0).collect();
        constraint.mask(&mut scores)?;
        let id = headwise_kernels::scores::largest(&scores).expect("something is possible") as u32;
        constraint.accept(id)?;
        if constraint.is_end(id) {
            assert!(constraint.finished());
            return Ok(Some(TOKENIZER.decode(&ids, false)));
        }
        ids.push(id);
        if constraint.finished() {
            return Ok(Some(TOKENIZER.decode(&ids, false)));
        }
    }
    Ok(None)
}

/// Texts of the form that end.
fn texts(spec: &ConstraintSpec, count: usize) -> Vec<String> {
    let constraint = compile(spec).unwrap();
    let found: Vec<String> =
        (0..count as u64).filter_map(|seed| written(constraint.clone(), seed, 400).unwrap()).collect();
    assert!(found.len() * 2 >= count, "{spec:?}: {} of {count} ended", found.len());
    found
}

#[test]
fn json_of_a_schema_parses_and_validates() {
    let schema = json!({
        "type": "object",
        "properties": {
            "name": { "type": "string", "maxLength": 12 },
            "age": { "type": "integer", "minimum": 0, "maximum": 150 },
            "tags": { "type": "array", "items": { "enum": ["a", "b", "ä"] }, "minItems": 1, "maxItems": 3 },
            "inner": { "$ref": "#/$defs/inner" },
        },
        "required": ["name", "age", "tags"],
        "additionalProperties": false,
        "$defs": { "inner": { "type": "object", "properties": { "x": { "type": "boolean" } }, "required": ["x"], "additionalProperties": false } },
    });
    for text in texts(&ConstraintSpec::JsonSchema(schema), 20) {
        let value: Map<String, Value> = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        let keys: Vec<&str> = value.keys().map(String::as_str).collect();
        assert!(keys == ["name", "age", "tags"] || keys == ["name", "age", "tags", "inner"], "{text}");
        assert!(value["name"].as_str().unwrap().chars().count() <= 12, "{text}");
        assert!((0..=150).contains(&value["age"].as_i64().unwrap()), "{text}");
        let tags = value["tags"].as_array().unwrap();
        assert!((1..=3).contains(&tags.len()) && tags.iter().all(|tag| ["a", "b", "ä"].map(Value::from).contains(tag)));
        assert!(value.get("inner").is_none_or(|inner| inner["x"].is_boolean()), "{text}");
    }
}

#[test]
fn json_is_an_object() {
    for text in texts(&ConstraintSpec::Json, 10) {
        assert!(!text.contains("\n\n") && !text.contains(" \n"), "{text:?}");
        assert!(serde_json::from_str::<Value>(&text).unwrap().is_object(), "{text}");
    }
}

#[test]
fn a_choice_is_one_of_the_texts() {
    let choices = ["yes", "no", "yes, \"maybe\"\n", "näher"];
    let found = texts(&ConstraintSpec::Choice(choices.map(str::to_owned).into()), 60);
    assert!(found.iter().all(|text| choices.contains(&text.as_str())), "{found:?}");
    for choice in choices {
        assert!(found.iter().any(|text| text == choice), "{choice} is never chosen: {found:?}");
    }
}

#[test]
fn a_text_matches_the_whole_regular_expression() {
    for text in texts(&ConstraintSpec::Regex("(&&&&&~/){2}\\n".into()), 4) {
        assert_eq!(text, "&&&&&~/&&&&&~/\n");
    }
    for text in texts(&ConstraintSpec::Regex(r"^[a-c]{2,4}-\d{3}/(x|yz)$".into()), 30) {
        let (letters, rest) = text.split_once('-').unwrap();
        assert!(
            (2..=4).contains(&letters.len()) && letters.bytes().all(|byte| (b'a'..=b'c').contains(&byte)),
            "{text}"
        );
        let (digits, end) = rest.split_once('/').unwrap();
        assert!(digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit()), "{text}");
        assert!(["x", "yz"].contains(&end), "{text}");
    }
}

#[test]
fn a_text_follows_a_grammar() {
    let grammar = "start: sum\nsum: term (\"+\" term){1,3}\nterm: NUMBER | \"(\" sum \")\"\nNUMBER: /[0-9]{1,3}/\n";
    for text in texts(&ConstraintSpec::Grammar(grammar.into()), 20) {
        assert!(text.bytes().all(|byte| byte.is_ascii_digit() || b"+()".contains(&byte)), "{text}");
        assert!(text.contains('+'), "{text}");
        assert_eq!(text.matches('(').count(), text.matches(')').count(), "{text}");
    }
}

#[test]
fn a_form_begins_after_its_tag_and_no_text_ends_before() {
    let within = Encode { add_bos: AddBos::Never, parse_special: false };
    let ids = |text: &str| TOKENIZER.encode(text, within).unwrap();
    let mut constraint = compile(&ConstraintSpec::Choice(vec!["yes".into()])).unwrap().after("</think>");
    for id in ids("is it yes? yes</think>") {
        let mut scores = vec![0.0; TOKENIZER.vocab_size()];
        constraint.mask(&mut scores).unwrap();
        let forbidden: Vec<usize> = (0..scores.len()).filter(|&id| scores[id] < 0.0).collect();
        let ends: Vec<usize> = TOKENIZER.end_of_generation_ids().iter().map(|&id| id as usize).collect();
        assert_eq!(forbidden, ends, "only ends are held back");
        assert!(!constraint.finished());
        constraint.accept(id).unwrap();
    }
    assert!(constraint.clone().accept(ids("no")[0]).is_err());
    ids("yes").into_iter().for_each(|id| constraint.accept(id).unwrap());
    assert!(constraint.finished());
}

#[test]
fn control_tokens_are_no_text_and_a_text_goes_on_as_it_is_told() {
    let mut constraint = compile(&ConstraintSpec::Regex("<.*>|ab".into())).unwrap();
    let mut scores = vec![0.0; TOKENIZER.vocab_size() + 5];
    constraint.mask(&mut scores).unwrap();
    for (id, text) in TOKENIZER.special_tokens() {
        assert_eq!(scores[id as usize], f32::NEG_INFINITY, "{text}");
    }
    assert!(scores[TOKENIZER.vocab_size()..].iter().all(|&score| score == f32::NEG_INFINITY), "rows without a token");
    // A model that forbids all that the form allows.
    let mut none = vec![f32::NEG_INFINITY; TOKENIZER.vocab_size()];
    constraint.clone().mask(&mut none).unwrap();
    assert!(none.contains(&0.0));
    let within = Encode { add_bos: AddBos::Never, parse_special: false };
    let [a, b] = ["a", "b"].map(|text| TOKENIZER.encode(text, within).unwrap()[0]);
    assert_eq!(constraint.clone().accept(b), Err(ConstraintError::Forbidden { id: b }));
    let mut other = constraint.clone();
    constraint.accept(a).unwrap();
    constraint.accept(b).unwrap();
    assert!(constraint.finished() && !other.finished());
    other.accept(a).unwrap();
    // Complete: only what ends a text may follow.
    let mut scores = vec![1.0; TOKENIZER.vocab_size()];
    constraint.mask(&mut scores).unwrap();
    let possible = (0..).zip(&scores).filter(|(_, score)| **score > f32::NEG_INFINITY).map(|(id, _)| id);
    assert_eq!(possible.collect::<Vec<u32>>(), TOKENIZER.end_of_generation_ids());
    assert_eq!(constraint.accept(a), Err(ConstraintError::Forbidden { id: a }));
}

#[test]
fn errors_say_what_is_wrong() {
    for (spec, part) in [
        (ConstraintSpec::Choice(vec![]), "the list of choices cannot be followed: it is empty"),
        (ConstraintSpec::Choice(vec!["a".into(), String::new()]), "text 2 is empty"),
        (ConstraintSpec::Regex("(a".into()), "unclosed group"),
        (ConstraintSpec::Regex("^$".into()), "it is empty"),
        (ConstraintSpec::Grammar("begin: \"a\"".into()), "start"),
        (ConstraintSpec::Grammar("start: %json { }".into()), "%json is not possible"),
        (ConstraintSpec::JsonSchema(json!({ "type": "strng" })), "strng"),
        (ConstraintSpec::JsonSchema(json!(5)), "the JSON schema cannot be followed"),
        (ConstraintSpec::JsonSchema(json!({ "$ref": "#/$defs/none" })), "none"),
        (ConstraintSpec::JsonSchema(json!({ "$ref": "#" })), "no text of the model's tokens follows it"),
        (ConstraintSpec::Regex("a".repeat(200_000)), "has 200000 bytes: at most 131072 are taken"),
    ] {
        let error = compile(&spec).unwrap_err().to_string();
        assert!(error.contains(part), "{part}: {error}");
        assert!(error.lines().count() == 1, "{error}");
    }
}

/// Forms made to take for ever.
fn hostile() -> Vec<ConstraintSpec> {
    let definitions = |of: &dyn Fn(usize) -> Value| -> Value {
        (0..1500).map(|i| (format!("d{i}"), of(i))).chain([("d1500".into(), json!({}))]).collect::<Map<_, _>>().into()
    };
    let next = |i: usize, step: usize| json!({ "$ref": format!("#/$defs/d{}", (i + step) % 1500) });
    let patterns: Vec<Value> = (0..30).map(|i| json!({ "pattern": format!("^.*[a-m].{{{i}}}$") })).collect();
    let names: Map<String, Value> = (0..400).map(|i| (format!("^k{i}[a-z]{{0,90}}$"), json!({}))).collect();
    let properties: Map<String, Value> = (0..9000).map(|i| (format!("p{i}"), json!({}))).collect();
    let mut choices = json!({});
    for i in 0..24 {
        let either = json!([{ "properties": { format!("a{i}"): {} } }, { "properties": { format!("b{i}"): {} } }]);
        choices = json!({ "allOf": [{ "anyOf": either }, choices] });
    }
    let rules: String = (0..9000).map(|i| format!("a{i}: a{}\n", i + 1)).collect();
    let ands: Vec<String> = (0..30).map(|i| format!("/.*[a-m].{{{i}}}/")).collect();
    let schemas = [
        json!({ "pattern": "(a{1000}){1000}" }),
        json!({ "type": "string", "pattern": "^(((a{100}){100}){100}){100}$" }),
        json!({ "type": "string", "pattern": "(.*a.{20}b.*){20}" }),
        json!({ "type": "array", "minItems": 100_000, "items": { "type": "array", "minItems": 100_000 } }),
        json!({ "type": "string", "minLength": 1_000_000, "maxLength": 2_000_000_000 }),
        json!({ "$defs": definitions(&|i| json!({ "anyOf": [next(i, 1), { "properties": { "x": next(i, 7) } }] })), "$ref": "#/$defs/d0" }),
        json!({ "$defs": definitions(&|i| json!({ "allOf": [next(i, 1), next(i, 3)] })), "$ref": "#/$defs/d0" }),
        json!({ "$ref": "#" }),
        json!({ "type": "string", "allOf": patterns }),
        json!({ "patternProperties": names }),
        json!({ "properties": properties }),
        json!({ "type": "integer", "multipleOf": 999_983, "minimum": -123_456_789 }),
        choices,
    ];
    let grammars = [
        format!("start: a0\n{rules}a9000: \"x\"\n"),
        format!("start: A\nA: {}\n", ands.join(" & ")),
        format!("start: {}\"a\"{}\n", "(".repeat(20_000), ")".repeat(20_000)),
        "start: s\ns: s s | s s s | \"a\" | \"\"\n".into(),
        "start: a{100000}\na: b{100000}\nb: \"x\" \"y\"?\n".into(),
    ];
    let expressions = [r"(\p{L}{1000}\w{1000}){100}".into(), ".*a.{1000}".into(), "(".repeat(50_000)];
    let schemas = schemas.into_iter().map(ConstraintSpec::JsonSchema);
    let grammars = grammars.into_iter().map(ConstraintSpec::Grammar);
    schemas.chain(grammars).chain(expressions.into_iter().map(ConstraintSpec::Regex)).collect()
}

#[test]
fn hostile_forms_are_errors_or_harmless() {
    let factory = ConstraintFactory::new(&TOKENIZER).unwrap();
    for spec in hostile() {
        let text: String = format!("{spec:?}").chars().take(120).collect();
        let started = Instant::now();
        let compiled = factory.compile(&spec, &ConstraintLimits::default());
        assert!(started.elapsed() < Duration::from_secs(3), "{text}: {:?}", started.elapsed());
        let started = Instant::now();
        let end = compiled.and_then(|constraint| written(constraint, 1, 30));
        // Whatever comes of it, it comes soon.
        assert!(started.elapsed() < Duration::from_secs(3), "{text}: {end:?} after {:?}", started.elapsed());
        if let Err(error) = end {
            assert!(!error.to_string().contains('\n'), "{error}");
        }
    }
}

#[test]
fn a_form_is_compiled_once_and_one_text_does_not_spoil_it_for_others() {
    // Forms that can begin, until one runs into the bounds after some tokens.
    let form = |parts: usize| {
        let part = |i: usize| format!(".*a.{{{}}}{}", 3 + i * 7 % 97, char::from(b'a' + (i % 26) as u8));
        ConstraintSpec::Regex((0..parts).map(part).collect::<Vec<_>>().join("|"))
    };
    let fails = |spec: &ConstraintSpec| compile(spec).is_ok_and(|constraint| written(constraint, 1, 300).is_err());
    let spec =
        [3000, 2000, 1000, 500, 250, 100, 50, 20, 10].map(form).into_iter().find(fails).expect("one of them fails");
    let again = || written(compile(&spec).unwrap(), 1, 300);
    assert_eq!(again(), again());
    let none = ConstraintLimits { time: Duration::ZERO, ..ConstraintLimits::default() };
    let properties: Map<String, Value> = (0..1500).map(|i| (format!("p{i}"), json!({}))).collect();
    let slow = ConstraintSpec::JsonSchema(json!({ "properties": properties }));
    let error = FACTORY.compile(&slow, &none).unwrap_err();
    assert!(matches!(error, ConstraintError::Time { .. }), "{error}");
    assert!(FACTORY.compile(&spec, &none).is_ok(), "it is in the cache");
}
