//! LoRA adapters: names of their own beside the model that they change.

use std::path::Path;

use headwise_serve::{App, Options};
use serde_json::{Value, json};

use crate::schema::Schemas;
use crate::server::{Server, model, question};

const CHAT: &str = "/v1/chat/completions";

/// Writes an adapter of the model that comes with the program: rank 2, in every `down_proj` `[192, 512]`.
fn write(folder: &Path, seed: usize) {
    let config = json!({ "peft_type": "LORA", "r": 2, "lora_alpha": 24, "target_modules": ["down_proj"] });
    std::fs::write(folder.join("adapter_config.json"), config.to_string()).unwrap();
    let (mut header, mut data) = (json!({}), Vec::new());
    for layer in 0..6 {
        for (part, shape) in [("A", [2, 512]), ("B", [192, 2])] {
            let begin = data.len();
            for index in 0..shape[0] * shape[1] {
                let value = ((index * 37 + (seed + layer) * 101) % 89) as f32 / 445.0 - 0.1;
                data.extend(value.to_le_bytes());
            }
            let name = format!("base_model.model.model.layers.{layer}.mlp.down_proj.lora_{part}.weight");
            header[name] = json!({ "dtype": "F32", "shape": shape, "data_offsets": [begin, data.len()] });
        }
    }
    let mut header = header.to_string();
    header.extend(std::iter::repeat_n(' ', header.len().next_multiple_of(8) - header.len()));
    let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data[..]].concat();
    std::fs::write(folder.join("adapter_model.safetensors"), file).unwrap();
}

/// A server of the model as `base`, with the adapters `first` and `second`.
fn server() -> Server {
    let mut model = model();
    model.name = "base".into();
    for (name, seed) in [("first", 1), ("second", 7)] {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), seed);
        model.engine.add_adapter(name, folder.path()).unwrap();
    }
    Server::of(vec![model], Options::default())
}

fn ask(name: &str) -> Value {
    question("The boats lay still.", json!({ "model": name }))
}

#[tokio::test]
async fn requests_choose_an_adapter_by_name_and_share_no_prompts_with_others() {
    let server = server();
    let told = |answer: &Value| {
        let usage = &answer["usage"]["prompt_tokens_details"]["cached_tokens"];
        (answer["choices"][0]["message"]["content"].clone(), usage.as_u64().unwrap())
    };
    let mut texts = Vec::new();
    for name in ["base", "first", "second"] {
        let answer = server.post(CHAT, ask(name)).await;
        assert_eq!(answer["model"], name);
        let (text, cached) = told(&answer);
        assert_eq!(cached, 0, "{name} has read nothing yet");
        texts.push(text);
    }
    assert!(texts[0] != texts[1] && texts[1] != texts[2] && texts[0] != texts[2], "{texts:?}");
    // All at once, and each goes on from its own prompt.
    let [base, first, second] = ["base", "first", "second"].map(ask);
    let answers = tokio::join!(server.post(CHAT, base), server.post(CHAT, first), server.post(CHAT, second));
    for (index, answer) in [answers.0, answers.1, answers.2].iter().enumerate() {
        let (text, cached) = told(answer);
        assert!(text == texts[index] && cached > 0, "{index}: {cached} tokens were there");
    }
    let unnamed = server.post(CHAT, question("The boats lay still.", json!({}))).await;
    assert_eq!((&unnamed["model"], &told(&unnamed).0), (&json!("base"), &texts[0]));
    for path in ["/v1/completions", "/v1/responses"] {
        let field = if path == "/v1/responses" { "input" } else { "prompt" };
        let answer = server.post(path, json!({ "model": "second", field: "The boats", "temperature": 0 })).await;
        assert_eq!(answer["model"], "second", "{path}");
    }
}

#[tokio::test]
async fn adapters_are_told_with_their_model() {
    let server = server();
    let read = |text: String| serde_json::from_str::<Value>(&text).unwrap();
    let all = read(server.get("/v1/models").await.1);
    let told: Vec<(&str, &Value)> =
        all["data"].as_array().unwrap().iter().map(|entry| (entry["id"].as_str().unwrap(), &entry["parent"])).collect();
    assert_eq!(told, [("base", &Value::Null), ("first", &json!("base")), ("second", &json!("base"))]);
    let one = read(server.get("/v1/models/second").await.1);
    assert_eq!(one["parent"], "base");
    let document = read(server.get("/openapi.json").await.1);
    let schemas = Schemas(&document);
    let schema = schemas.answer("/v1/models/{model}", "get", "200", "application/json");
    assert_eq!(schemas.wrong(schema, &one), None);
    assert_eq!(read(server.get("/props?model=first").await.1)["models"], json!(["base", "first", "second"]));
    // One thread, so one line for all three.
    server.post(CHAT, ask("first")).await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let (_, counts) = server.get("/metrics").await;
    assert_eq!(counts.matches("\nheadwise_generated_tokens_total").count(), 1, "{counts}");
    assert!(counts.contains("headwise_generated_tokens_total 12"), "{counts}");
}

#[tokio::test]
async fn what_adapters_cannot_do_is_refused_with_the_way_out() {
    let server = server();
    let shared = json!([{ "role": "user", "content": [
        { "type": "text", "text": "Read this. " },
        { "type": "text", "text": "The boats lay still in the harbour.", "shared": true },
        { "type": "text", "text": " Where did they lie?" },
    ]}]);
    for (path, body, says) in [
        ("/v1/embeddings", json!({ "input": "x" }), "ask for `base`"),
        ("/v1/rerank", json!({ "query": "x", "documents": ["y"] }), "ask for `base`"),
        (CHAT, question("x", json!({ "headwise": { "confidence": true } })), "`confidence` cannot be told"),
        (CHAT, question("x", json!({ "exit": "early_exit" })), "leave the model early"),
        (CHAT, question("x", json!({ "messages": shared })), "shared texts"),
        (CHAT, question("x", json!({ "cache": "gemfilter(budget=20)" })), "snapkv"),
    ] {
        let mut body = body;
        body["model"] = json!("first");
        let (status, error) = server.refused(path, body).await;
        assert!(status == 400 && error["message"].as_str().unwrap().contains(says), "{path}: {error}");
    }
    let insight = question("x", json!({ "model": "first", "headwise": { "kept": true } }));
    assert!(server.post(CHAT, insight).await["headwise"]["kept"].is_object());
}

#[test]
fn an_adapter_has_a_name_of_its_own() {
    let (mut model, folder) = (model(), tempfile::tempdir().unwrap());
    write(folder.path(), 1);
    let name = model.name.clone();
    model.engine.add_adapter(&name, folder.path()).unwrap();
    assert!(App::new(vec![model], Options::default()).is_err());
}
