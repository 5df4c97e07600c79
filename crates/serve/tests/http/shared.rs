//! Texts that requests mark as shared.

use headwise_engine::TextModel;
use headwise_serve::Options;
use serde_json::{Value, json};

use crate::server::{Server, described, model};

const CHAT: &str = "/v1/chat/completions";
const FILLER: &str = "was the name of the ship that lay in the harbour, and nobody knew where she came from or whither she went, \
    for her crew did not speak to those on the quay.";

/// A server of the model that comes with the program, its layers without their sliding windows.
fn server() -> Server {
    let whole =
        |spec: String| spec.lines().filter(|line| !line.starts_with("window = ")).collect::<Vec<_>>().join("\n");
    Server::of(vec![TextModel { template: model().template, ..described(whole) }], Options::default())
}

/// What agent `agent` is asked about `text`.
fn asked(agent: &str, text: &str) -> Value {
    let content = json!([
        { "type": "text", "text": text, "shared": true },
        { "type": "text", "text": "\nWhat was the name?" },
    ]);
    let messages = json!([{ "role": "system", "content": agent }, { "role": "user", "content": content }]);
    json!({ "messages": messages, "temperature": 0, "max_tokens": 8 })
}

fn estimated(answer: &Value) -> u64 {
    answer["usage"]["headwise"]["estimated_tokens"].as_u64().unwrap()
}

#[tokio::test]
async fn texts_that_prompts_share_are_estimated_once_enough_is_known() {
    let server = server();
    let text = |name: &str| format!("{name} {FILLER}");
    let because = |answer: &Value| answer["usage"]["headwise"]["not_estimated"].as_str().map(str::to_owned);
    for (name, why) in [("Hope", "no prompt with these words"), ("Star", "1 texts as long as")] {
        let answer = server.post(CHAT, asked("You help.", &text(name))).await;
        assert_eq!(estimated(&answer), 0, "it has to be read");
        assert!(because(&answer).is_some_and(|because| because.starts_with(why)), "{answer}");
    }
    let answer = server.post(CHAT, asked("You help.", &text("Moon"))).await;
    let tokens = answer["usage"]["prompt_tokens"].as_u64().unwrap();
    assert!(estimated(&answer) > tokens / 2 && estimated(&answer) < tokens, "{answer}");
    assert_eq!((&answer["usage"]["prompt_tokens_details"]["cached_tokens"], because(&answer)), (&json!(0), None));
    let again = server.post(CHAT, asked("You help.", &text("Hope"))).await;
    assert!(because(&again).unwrap().starts_with("an earlier prompt"), "{again}");
    assert_eq!(estimated(&server.post(CHAT, asked("You are of no help.", &text("Moon"))).await), 0, "another prefix");

    let mut plain = asked("You help.", &text("Moon"));
    plain["messages"][1]["content"][0]["shared"] = false.into();
    let plain = server.post(CHAT, plain).await;
    assert_eq!((estimated(&plain), because(&plain)), (0, None), "nobody asked for it");
    let (_, metrics) = server.get("/metrics").await;
    assert!(metrics.contains("headwise_shared_text_prompts_total 5\n"), "{metrics}");
    assert!(metrics.contains(&format!("headwise_estimated_tokens_total {}\n", estimated(&answer))), "{metrics}");
}

#[tokio::test]
async fn shared_texts_where_they_cannot_be_are_refused() {
    let server = server();
    let mut wrong = asked("You help.", "A text.");
    wrong["cache"] = "h2o(budget=64)".into();
    let (status, error) = server.refused(CHAT, wrong).await;
    assert!(status == 400 && error["message"].as_str().unwrap().contains("such as `snapkv`"), "{status} {error}");

    let (status, error) = server.refused(CHAT, asked("You help.", "")).await;
    assert_eq!((status, &error["param"]), (400, &"messages".into()));
    assert!(error["message"].as_str().unwrap().contains("shared text number 0 is empty"), "{error}");

    let windows = Server::new(Options::default());
    let (status, error) = windows.refused(CHAT, asked("You help.", "A text.")).await;
    assert!(status == 400 && error["message"].as_str().unwrap().contains("layer 0 has a sliding window"), "{error}");

    let input = json!([{ "role": "user", "content": [{ "type": "input_text", "text": "A text.", "shared": true }] }]);
    let (status, error) = server.refused("/v1/responses", json!({ "input": input })).await;
    assert!(status == 400 && error["message"].as_str().unwrap().contains("/v1/chat/completions"), "{error}");
}

#[tokio::test]
async fn marks_in_a_message_are_text_like_any_other() {
    let server = server();
    let answer = server.post(CHAT, asked("\u{e000}0\u{e000} You help.", "A text \u{e001}.")).await;
    assert_eq!(estimated(&answer), 0);
}

#[tokio::test]
async fn texts_that_completions_share_are_estimated_too() {
    let server = server();
    let ask = |name: &str, shared: bool| {
        let text = json!({ "type": "text", "text": format!("{name} {FILLER}"), "shared": shared });
        let [before, after] =
            ["You help. ", "\nWhat was the name?"].map(|text| json!({ "type": "text", "text": text }));
        json!({ "prompt": [before, text, after], "temperature": 0, "max_tokens": 8, "cache_prompt": shared })
    };
    let path = "/v1/completions";
    for name in ["Hope", "Star"] {
        assert_eq!(estimated(&server.post(path, ask(name, true)).await), 0, "it has to be read");
    }
    let answer = server.post(path, ask("Moon", true)).await;
    let tokens = answer["usage"]["prompt_tokens"].as_u64().unwrap();
    assert!(estimated(&answer) > tokens / 2 && estimated(&answer) < tokens, "{answer}");
    assert_eq!(estimated(&server.post(path, ask("Moon", false)).await), 0, "nobody asked for it");
    let (status, error) = server.refused("/v1/embeddings", json!({ "input": [{ "type": "text", "text": "x" }] })).await;
    assert!(status == 400 && error["message"].as_str().unwrap().contains("texts or tokens"), "{error}");
}
