//! `decoding: "opera(…)"`: answers that are searched for.

use headwise_engine::cache::CachePolicy;
use headwise_engine::{Decoding, TextModel};
use headwise_serve::Options;
use serde_json::{Value, json};

use crate::server::{Server, model, question};

const COMPLETIONS: &str = "/v1/completions";
const CHAT: &str = "/v1/chat/completions";
const PROMPT: &str = "The harbour was quiet that morning, and the boats lay still. A man walked along the quay.";
const OPERA: &str = "opera(beams=3, candidates=2, first=3, repeats=2)";

/// What the engine finds without a server.
fn alone(model: &TextModel, policy: &str, tokens: usize) -> String {
    let Decoding::Opera(method) = headwise_spec::from_text(OPERA).unwrap() else { panic!("{OPERA}") };
    let ids = model.encode(PROMPT).unwrap();
    let policy = CachePolicy::parse(policy).unwrap();
    let generation = model.generation(tokens);
    let found = method.search(&model.engine, &policy, &ids, 0..ids.len(), &generation, |_| {}).unwrap();
    model.tokenizer.decode(&found.answers[0].ids, true)
}

fn asked(more: Value) -> Value {
    let mut body = json!({ "prompt": PROMPT, "max_tokens": 16, "decoding": OPERA });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[tokio::test]
async fn what_is_found_is_what_the_engine_finds() {
    let (server, model) = (Server::new(Options::default()), model());
    for policy in ["full", "int8"] {
        let expected = alone(&model, policy, 16);
        let answer = server.post(COMPLETIONS, asked(json!({ "cache": policy }))).await;
        assert_eq!(answer["choices"][0]["text"], expected, "{policy}");
        let usage = &answer["usage"];
        assert!(usage["completion_tokens"].as_u64().unwrap() > 0, "{usage}");
        let bytes = |name: &str| usage["headwise"][name].as_u64().unwrap();
        assert!(bytes("peak_kv_bytes") >= bytes("kv_bytes") && bytes("kv_bytes") > 0, "{usage}");
        let pieces = server.stream(COMPLETIONS, asked(json!({ "cache": policy, "stream": true }))).await;
        let text = |piece: &String| -> Option<String> {
            let piece: Value = serde_json::from_str(piece).ok()?;
            Some(piece["choices"][0]["text"].as_str()?.to_owned())
        };
        assert_eq!(pieces.iter().filter_map(text).collect::<String>(), expected, "{policy}");
    }
    let chat = server.post(CHAT, question(PROMPT, json!({ "decoding": OPERA }))).await;
    assert!(!chat["choices"][0]["message"]["content"].as_str().unwrap().is_empty(), "{chat}");
}

#[tokio::test]
async fn what_cannot_be_searched_for_is_refused() {
    let server = Server::new(Options::default());
    let tool = json!({ "type": "function", "function": { "name": "weather" } });
    let wrong = [
        (COMPLETIONS, json!({ "decoding": "opera(beams=0)" }), "beams"),
        (COMPLETIONS, json!({ "decoding": "opera(beams=1000000)" }), "MB"),
        (COMPLETIONS, json!({ "decoding": "opera(rays=3)" }), "beams"),
        (COMPLETIONS, json!({ "cache": "snapkv(keep=0.5)" }), "snapkv"),
        (COMPLETIONS, json!({ "cache": "gemfilter(keep=0.5)" }), "reads a part"),
        (COMPLETIONS, json!({ "n": 2 }), "`n` and `opera`"),
        (COMPLETIONS, json!({ "temperature": 1 }), "`temperature` and `opera`"),
        (COMPLETIONS, json!({ "logprobs": 1 }), "`logprobs` and `opera`"),
        (COMPLETIONS, json!({ "headwise": { "kept": true } }), "`headwise` and `opera`"),
        (CHAT, json!({ "tools": [tool], "tool_choice": "required" }), "`tools` and `opera`"),
    ];
    for (path, more, said) in wrong {
        let body = if path == CHAT { question("x", json!({ "decoding": OPERA })) } else { asked(json!({})) };
        let mut body = body;
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (status, error) = server.refused(path, body).await;
        let message = error["message"].as_str().unwrap_or_default();
        assert!(status == 400 && message.contains(said), "{more}: {status}, {error}");
    }
}
