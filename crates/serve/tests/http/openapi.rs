//! The OpenAPI document: everything that is served is in it, and real answers are as it says.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use headwise_serve::{Keys, Options};
use serde_json::{Value, json};

use crate::schema::Schemas;
use crate::server::{Server, question};

const CHAT: &str = "/v1/chat/completions";
const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";

async fn document(server: &Server) -> Value {
    serde_json::from_str(&server.get("/openapi.json").await.1).unwrap()
}

/// Asserts that `value` follows `schema`, and that it would not if any field were missing or another were there.
fn assert_follows(schemas: &Schemas<'_>, schema: &Value, value: &Value, what: &str) {
    if let Some(wrong) = schemas.wrong(schema, value) {
        panic!("{what}: {wrong}\n{value:#}");
    }
    let mut more = value.clone();
    more["unheard_of"] = json!(1);
    assert!(schemas.wrong(schema, &more).is_some(), "{what}: another field is taken");
    let fields = value.as_object().unwrap();
    let changed = fields.keys().filter(|name| {
        let mut fewer = value.clone();
        fewer.as_object_mut().unwrap().shift_remove(*name);
        let mut other = value.clone();
        other[name.as_str()] = json!([[{}]]);
        schemas.wrong(schema, &fewer).is_some() || schemas.wrong(schema, &other).is_some()
    });
    assert_eq!(changed.count(), fields.len(), "{what}: a field may be anything");
}

fn weather() -> Value {
    json!({ "name": "weather", "parameters": { "type": "object", "properties": { "place": { "enum": ["Oslo"] } } } })
}

#[tokio::test]
async fn answers_are_as_the_document_says() {
    let server = Server::new(Options::default());
    let document = document(&server).await;
    let schemas = Schemas(&document);
    let insight = json!({
        "kept": true, "retrieval_heads": true, "confidence": true, "selected_text": true, "attention_rows": 2, "live": true,
    });
    let tool = json!({ "type": "function", "function": weather() });
    let mut flat = weather();
    flat["type"] = json!("function");
    let chat = |more: Value| question("The boats lay still.", more);
    let respond = |more: Value| {
        let mut body = json!({ "input": "The boats lay still.", "max_output_tokens": 40 });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let text = json!({ "prompt": "The boats", "max_tokens": 4 });
    let likely = json!({ "prompt": ["The boats", "A man"], "max_tokens": 4, "logprobs": 2, "echo": true });
    let asked = [
        (CHAT, chat(json!({}))),
        (CHAT, chat(json!({ "logprobs": true, "top_logprobs": 2, "n": 2, "headwise": insight }))),
        (CHAT, chat(json!({ "cache": "gemfilter(budget=20)", "headwise": insight }))),
        (CHAT, chat(json!({ "max_seconds": 1e-6, "headwise": insight }))),
        (CHAT, chat(json!({ "tools": [tool], "tool_choice": "required", "max_tokens": 80 }))),
        ("/v1/completions", text.clone()),
        ("/v1/completions", likely.clone()),
        ("/v1/completions", json!({ "prompt": "The boats", "max_seconds": 1e-6 })),
        (
            "/v1/completions",
            json!({ "prompt": "The boats", "max_tokens": 4, "headwise": { "kept": true, "live": true }, "exit": "early_exit" }),
        ),
        ("/v1/embeddings", json!({ "input": ["x", "y"] })),
        ("/v1/embeddings", json!({ "input": "x", "encoding_format": "base64" })),
        ("/v1/rerank", json!({ "query": "x", "documents": ["y", "z"] })),
        ("/v1/rerank", json!({ "query": "x", "documents": ["y", "z"], "return_documents": true })),
        ("/v1/responses", respond(json!({}))),
        ("/v1/responses", respond(json!({ "max_seconds": 1e-6 }))),
        ("/v1/responses", respond(json!({ "text": { "format": { "type": "choice", "choices": ["quay"] } } }))),
        ("/v1/responses", respond(json!({ "tools": [flat], "tool_choice": "required", "max_output_tokens": 80 }))),
    ];
    for (path, body) in asked {
        let schema = schemas.answer(path, "post", "200", JSON);
        assert_follows(&schemas, schema, &server.post(path, body.clone()).await, &format!("{path} {body}"));
        if !["/v1/chat/completions", "/v1/completions", "/v1/responses"].contains(&path) {
            continue;
        }
        let mut streamed = body.clone();
        streamed["stream"] = json!(true);
        if path != "/v1/responses" {
            streamed["stream_options"] = json!({ "include_usage": true });
        }
        let pieces = server.stream(path, streamed).await;
        let schema = schemas.answer(path, "post", "200", EVENTS);
        for piece in pieces.iter().filter(|piece| *piece != "[DONE]") {
            let piece = serde_json::from_str(piece).unwrap();
            assert_follows(&schemas, schema, &piece, &format!("a piece of {path} {body}"));
        }
    }
    for path in ["/v1/models", "/v1/models/{model}", "/props", "/health"] {
        let name = server.app.models[0].name();
        let (status, answer) = server.get(&path.replace("{model}", name)).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let schema = schemas.answer(path, "get", "200", JSON);
        assert_follows(&schemas, schema, &serde_json::from_str(&answer).unwrap(), path);
    }
}

#[tokio::test]
async fn errors_are_as_the_document_says() {
    let server = Server::new(Options { keys: Keys::parse("key"), body_bytes: 1000, ..Options::default() });
    let document = document(&server).await;
    let schemas = Schemas(&document);
    let mut told = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, route) in methods.as_object().unwrap() {
            for status in route["responses"].as_object().unwrap().keys().filter(|status| status.as_str() >= "400") {
                let body = json!({ "error": { "message": "", "type": "", "param": null, "code": null } });
                assert_follows(&schemas, schemas.answer(path, method, status, JSON), &body, path);
                told += 1;
            }
            let long = "x".repeat(2000);
            for (key, body, expected) in [
                ("Bearer wrong", "{}", "401"),
                ("Bearer key", "{\"model\": \"none\"}", "404"),
                ("Bearer key", "{\"modle\": 1}", "400"),
                ("Bearer key", &long, "413"),
            ] {
                let request =
                    Request::builder().method(method.to_uppercase().as_str()).uri(path.replace("{model}", "none"));
                let request = request.header("authorization", key).body(Body::from(body.to_owned())).unwrap();
                let (status, text) = server.send(request).await;
                if status.is_success() {
                    assert!(method == "get", "{path} takes {body}");
                    continue;
                }
                assert!(status.as_str() == expected || method == "get", "{path} {body}: {text}");
                let schema = schemas.answer(path, method, status.as_str(), JSON);
                assert_follows(&schemas, schema, &serde_json::from_str(&text).unwrap(), path);
            }
        }
    }
    assert!(told > 60, "{told} errors are told");
}

#[tokio::test]
async fn every_path_is_told() {
    let document = document(&Server::new(Options::default())).await;
    let paths: Vec<&String> = document["paths"].as_object().unwrap().keys().collect();
    let source = include_str!("../../src/http/mod.rs");
    let routes = source.split(".route(\"").skip(1).filter_map(|rest| rest.split('"').next());
    let routes: Vec<String> = routes.map(|route| route.replace("{*", "{")).collect();
    assert!(routes.len() > 10 && routes.iter().all(|route| paths.contains(&route)), "{routes:?} / {paths:?}");
    assert_eq!(paths.len(), routes.len());
}

#[test]
fn the_check_finds_what_is_wrong() {
    let document = json!({ "components": { "schemas": { "A": {
        "type": "object", "required": ["a"], "additionalProperties": false,
        "properties": { "a": { "type": ["integer", "null"] }, "b": { "type": "array", "items": { "enum": ["x"] } } },
    }}}});
    let schemas = Schemas(&document);
    let one = json!({ "oneOf": [{ "type": "null" }, { "$ref": "#/components/schemas/A" }] });
    for (value, right) in [
        (json!(null), true),
        (json!({ "a": 1 }), true),
        (json!({ "a": null, "b": ["x", "x"] }), true),
        (json!({ "b": [] }), false),
        (json!({ "a": "1" }), false),
        (json!({ "a": 1, "b": ["y"] }), false),
        (json!({ "a": 1, "c": 1 }), false),
    ] {
        assert_eq!(schemas.wrong(&one, &value).is_none(), right, "{value}");
    }
}
