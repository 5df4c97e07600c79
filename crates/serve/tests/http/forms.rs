//! Answers that follow a form.

use std::time::{Duration, Instant};

use headwise_serve::Options;
use serde_json::{Value, json};

use crate::server::{Server, question};

const CHAT: &str = "/v1/chat/completions";

fn text(answer: &Value) -> String {
    answer["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn answers_follow_their_form() {
    let server = Server::new(Options::default());
    let schema = json!({
        "type": "object", "additionalProperties": false, "required": ["name", "age"],
        "properties": { "name": { "enum": ["Ada", "Grace"] }, "age": { "type": "integer", "minimum": 0, "maximum": 120 } },
    });
    let ask = |form: Value, seed: u64| {
        question("Who is it?", json!({ "response_format": form, "temperature": 1.5, "seed": seed, "max_tokens": 200 }))
    };
    for seed in 0..4 {
        let form =
            json!({ "type": "json_schema", "json_schema": { "name": "person", "schema": schema, "strict": true } });
        let answer = server.post(CHAT, ask(form, seed)).await;
        let person: Value = serde_json::from_str(&text(&answer)).unwrap();
        assert!(["Ada", "Grace"].contains(&person["name"].as_str().unwrap()), "{person}");
        assert!((0..=120).contains(&person["age"].as_i64().unwrap()), "{person}");
        assert_eq!(answer["choices"][0]["finish_reason"], "stop");
        let choice = server.post(CHAT, ask(json!({ "type": "choice", "choices": ["harbour", "quay"] }), seed)).await;
        assert!(["harbour", "quay"].contains(&text(&choice).as_str()));
        let date = text(&server.post(CHAT, ask(json!({ "type": "regex", "regex": "[0-9]{4}-[0-9]{2}" }), seed)).await);
        assert!(date.len() == 7 && date.as_bytes()[4] == b'-', "{date}");
        let sum = server
            .post(CHAT, ask(json!({ "type": "grammar", "grammar": "start: /[0-9]/ (\"+\" /[0-9]/)*" }), seed))
            .await;
        assert!(sum["choices"][0]["finish_reason"] == "length" || text(&sum).split('+').all(|part| part.len() == 1));
        // One that was cut off is the beginning of a sum.
        assert!(text(&sum).split('+').all(|part| part.len() <= 1 && part.chars().all(|digit| digit.is_ascii_digit())));
    }
    let several = question(
        "x",
        json!({ "n": 3, "temperature": 1, "response_format": { "type": "choice", "choices": ["a", "b"] } }),
    );
    let several = server.post(CHAT, several).await;
    assert!(
        several["choices"]
            .as_array()
            .unwrap()
            .iter()
            .all(|choice| { ["a", "b"].contains(&choice["message"]["content"].as_str().unwrap()) })
    );
}

#[tokio::test]
async fn a_form_may_begin_after_free_text() {
    let server = Server::new(Options::default());
    let form = json!({ "type": "choice", "choices": ["harbour!"] });
    let asked = json!({ "response_format": form, "form_after": " ", "max_tokens": 200, "temperature": 1, "seed": 3 });
    let answer = server.post(CHAT, question("The boats lay still.", asked)).await;
    let text = text(&answer);
    let before = text.strip_suffix("harbour!").unwrap_or_else(|| panic!("no form at the end of {text:?}"));
    assert!(before.contains(' '), "{text:?}");
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
}

#[tokio::test]
async fn forms_that_explode_are_refused_while_others_are_answered() {
    let server = Server::new(Options::default());
    let patterns: Vec<Value> = (0..22).map(|index| json!({ "pattern": format!("a{index}.*b") })).collect();
    let bomb = json!({ "type": "json_schema", "json_schema": { "schema": { "type": "string", "allOf": patterns } } });
    let asked = Instant::now();
    let (bombed, answer) = tokio::join!(
        server.refused(CHAT, question("x", json!({ "response_format": bomb }))),
        server.post(CHAT, question("The boats lay still.", json!({}))),
    );
    assert_eq!((bombed.0, &bombed.1["param"]), (400, &json!("response_format")), "{}", bombed.1);
    assert!(asked.elapsed() < Duration::from_secs(20));
    assert!(!text(&answer).is_empty());
    for wrong in [
        json!({ "type": "yaml" }),
        json!({ "type": "choice", "choices": [] }),
        json!({ "type": "regex", "regex": "(" }),
    ] {
        let (status, error) = server.refused(CHAT, question("x", json!({ "response_format": wrong }))).await;
        assert_eq!(status, 400, "{wrong}: {error}");
    }
}

fn weather() -> Value {
    json!([{ "type": "function", "function": {
        "name": "weather", "description": "The weather of a place.",
        "parameters": {
            "type": "object", "additionalProperties": false, "required": ["place"],
            "properties": { "place": { "enum": ["Oslo", "Rome"] } },
        },
    }}])
}

#[tokio::test]
async fn functions_are_called_when_they_must_be() {
    let server = Server::new(Options::default());
    let ask = |more: Value| {
        let mut body = question(
            "How is the weather?",
            json!({ "tools": weather(), "max_tokens": 80, "temperature": 1, "seed": 3 }),
        );
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let named = json!({ "type": "function", "function": { "name": "weather" } });
    for choice in [json!("required"), named] {
        let answer = server.post(CHAT, ask(json!({ "tool_choice": choice }))).await;
        let message = &answer["choices"][0]["message"];
        let call = &message["tool_calls"][0];
        assert_eq!((&call["type"], &call["function"]["name"]), (&json!("function"), &json!("weather")), "{answer}");
        let arguments: Value = serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
        assert!(["Oslo", "Rome"].contains(&arguments["place"].as_str().unwrap()));
        assert_eq!((&answer["choices"][0]["finish_reason"], &message["content"]), (&json!("tool_calls"), &Value::Null));
        let pieces = server.stream(CHAT, ask(json!({ "tool_choice": choice, "stream": true }))).await;
        let pieces: Vec<Value> = pieces.iter().filter_map(|piece| serde_json::from_str(piece).ok()).collect();
        let calls: Vec<&Value> = pieces
            .iter()
            .map(|piece| &piece["choices"][0]["delta"]["tool_calls"][0])
            .filter(|call| !call.is_null())
            .collect();
        assert_eq!((calls.len(), &calls[0]["function"]), (1, &call["function"]));
        assert_eq!(pieces.last().unwrap()["choices"][0]["finish_reason"], "tool_calls");
        // What the function says is told to the model.
        let told = json!({ "messages": [
            { "role": "user", "content": "How is the weather?" },
            { "role": "assistant", "content": null, "tool_calls": [call] },
            { "role": "tool", "tool_call_id": call["id"], "content": "Rain." },
        ], "tool_choice": "none" });
        assert!(server.post(CHAT, ask(told)).await["choices"][0]["message"]["tool_calls"].is_null());
    }
    for wrong in [
        json!({ "tool_choice": "always" }),
        json!({ "tools": [{ "name": "x" }] }),
        json!({ "tools": [], "tool_choice": "required" }),
    ] {
        assert_eq!(server.refused(CHAT, ask(wrong.clone())).await.0, 400, "{wrong}");
    }
}
