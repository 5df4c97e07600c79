//! Several models in one server.

use std::sync::Arc;

use axum::http::StatusCode;
use headwise_engine::TextModel;
use headwise_engine::schedule::ScheduleLimits;
use headwise_serve::{App, Options, StartError, check_names, shares};
use serde_json::{Value, json};

use crate::server::{Server, model, question};

const CHAT: &str = "/v1/chat/completions";

/// The model that comes with the program, with so many tokens of context, as `name`.
fn called(name: &str, context: usize) -> TextModel {
    let mut model = model();
    model.engine = model.engine.with_context(context);
    TextModel { name: name.into(), ..model }
}

fn server() -> Server {
    Server::of(vec![called("first", 512), called("org/second:Q4", 256)], Options::default())
}

#[tokio::test]
async fn requests_go_to_the_model_that_they_name() {
    let server = server();
    let ask = |more: Value| question("The boats lay still.", more);
    let unnamed = server.post(CHAT, ask(json!({}))).await;
    let second = server.post(CHAT, ask(json!({ "model": "org/second:Q4" }))).await;
    assert_eq!((&unnamed["model"], &second["model"]), (&json!("first"), &json!("org/second:Q4")));
    // Both are the same model, and neither has read the other's prompt.
    assert_eq!(unnamed["choices"][0]["message"], second["choices"][0]["message"]);
    assert_eq!(second["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
    let again = server.post(CHAT, ask(json!({ "model": "org/second:Q4" }))).await;
    assert_ne!(again["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
    let long = "word ".repeat(300);
    server.post(CHAT, question(&long, json!({ "model": "first" }))).await;
    let (status, error) = server.refused(CHAT, question(&long, json!({ "model": "org/second:Q4" }))).await;
    assert_eq!((status, &error["code"]), (400, &json!("context_length_exceeded")), "{error}");
    for path in [CHAT, "/v1/completions", "/v1/embeddings", "/v1/rerank", "/v1/responses"] {
        let (status, error) = server.refused(path, json!({ "model": "third" })).await;
        assert_eq!((status, &error["code"]), (404, &json!("model_not_found")), "{path}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("`first` or `org/second:Q4`"), "{message}");
    }
    let vectors = server.post("/v1/embeddings", json!({ "input": "x", "model": "org/second:Q4" })).await;
    assert_eq!(vectors["model"], "org/second:Q4");
}

#[tokio::test]
async fn models_are_told_one_by_one() {
    let server = server();
    let read = |text: (StatusCode, String)| serde_json::from_str::<Value>(&text.1).unwrap();
    let all = read(server.get("/v1/models").await);
    let names: Vec<&str> = all["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert_eq!(names, ["first", "org/second:Q4"]);
    for path in ["/v1/models/org/second:Q4", "/v1/models/org%2Fsecond:Q4"] {
        assert_eq!(read(server.get(path).await)["id"], "org/second:Q4", "{path}");
    }
    assert_eq!(server.get("/v1/models/third").await.0, StatusCode::NOT_FOUND);
    let (first, second) = (read(server.get("/props").await), read(server.get("/props?model=org%2Fsecond%3AQ4").await));
    assert_eq!((&first["model"], &first["context"]), (&json!("first"), &json!(512)));
    assert_eq!((&second["model"], &second["context"]), (&json!("org/second:Q4"), &json!(256)));
    assert_eq!(second["models"], json!(names));
    assert_eq!(server.get("/props?model=third").await.0, StatusCode::NOT_FOUND);
    assert_eq!(server.get("/props?name=first").await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn counts_name_the_model() {
    let server = server();
    server.post(CHAT, question("x", json!({ "model": "org/second:Q4" }))).await;
    // The thread publishes what it has counted after its forward.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let (_, text) = server.get("/metrics").await;
    for line in [
        "headwise_generated_tokens_total{model=\"first\"} 0",
        "headwise_generated_tokens_total{model=\"org/second:Q4\"} 12",
        "headwise_kv_bytes{model=\"org/second:Q4\"} 0",
        "headwise_inter_token_seconds_count{model=\"org/second:Q4\"} 11",
        "headwise_inter_token_seconds_count{model=\"first\"} 0",
        "headwise_requests_total{path=\"/v1/chat/completions\",status=\"200\"} 1",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert_eq!(text.matches("# TYPE headwise_generated_tokens ").count(), 1, "a kind is told once");
}

#[test]
fn names_that_collide_are_refused_with_the_way_out() {
    let refused = |names: &[&str]| check_names(names.iter().copied()).unwrap_err();
    assert!(check_names(["a", "b"].into_iter()).is_ok());
    assert!(matches!(refused(&[]), StartError::NoModel));
    let message = refused(&["a", "b", "a"]).to_string();
    assert!(message.contains("`a`") && message.contains("NAME=MODEL"), "{message}");
    assert!(App::new(vec![called("a", 64), called("a", 64)], Options::default()).is_err());
}

#[test]
fn memory_is_divided_so_that_all_hold_equally_many_tokens() {
    let whole = ScheduleLimits { bytes: 1000, prefix_bytes: 500, shared_bytes: 0, ..ScheduleLimits::default() };
    let alone = shares(&[called("a", 64)], whole);
    assert_eq!((alone[0].bytes, alone[0].prefix_bytes), (1000, 500));
    let both = shares(&[called("a", 64), called("b", 256)], whole);
    assert_eq!([both[0].bytes, both[1].bytes], [500, 500], "what a token takes counts, not the context");
    assert_eq!((both[1].prefix_bytes, both[1].shared_bytes, both[1].texts), (250, 0, whole.texts));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn models_share_their_threads_and_write_what_they_write_alone() {
    let server = Arc::new(server());
    let [first, second] = [0, 1].map(|index| server.app.models[index].clone());
    assert!(first.model.engine.shares_threads(&second.model.engine));
    assert_eq!(first.model.engine.threads(), 2);
    let ask = |name: &str, seed: usize| {
        let text = "The boats lay still. ".repeat(1 + seed);
        question(&text, json!({ "model": name, "max_tokens": 40, "cache_prompt": false }))
    };
    let text = |answer: Value| answer["choices"][0]["message"]["content"].clone();
    let mut expected = Vec::new();
    for seed in 0..4 {
        expected.push(text(server.post(CHAT, ask("first", seed)).await));
    }
    let mut asked = Vec::new();
    for seed in 0..4 {
        for name in ["first", "org/second:Q4"] {
            let (server, body) = (server.clone(), ask(name, seed));
            asked.push((seed, tokio::spawn(async move { server.post(CHAT, body).await })));
        }
    }
    for (seed, answer) in asked {
        assert_eq!(text(answer.await.unwrap()), expected[seed]);
    }
}
