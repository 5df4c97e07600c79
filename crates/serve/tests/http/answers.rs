//! What the server answers.

use headwise_engine::cache::CachePolicy;
use headwise_engine::{Sampler, generate};
use headwise_models::chat::Message;
use headwise_models::tokenizer::Encode;
use headwise_serve::Options;
use serde_json::{Value, json};

use crate::server::{Server, model, question};

const CHAT: &str = "/v1/chat/completions";
const LONG: &str = "The harbour was quiet that morning, and the boats lay still. A man walked along the quay with a basket of \
    bread. He greeted the fishermen, one after the other, and asked for the news of the night. Nothing had happened, they said.";

fn text(answer: &Value) -> &str {
    answer["choices"][0]["message"]["content"].as_str().unwrap()
}

/// What the model writes without a server.
fn alone(prompt: &str, policy: &str, tokens: usize) -> String {
    let model = model();
    let template = model.template.as_ref().unwrap();
    let ids = model
        .tokenizer
        .encode(&template.render(&[Message::user(prompt)], &[], true).unwrap(), Encode::TEMPLATE)
        .unwrap();
    let mut sequence = model.engine.sequence(&CachePolicy::parse(policy).unwrap()).unwrap();
    let generation = model.generation(tokens);
    let written = generate(&model.engine, &mut sequence, &ids, &generation, &mut Sampler::greedy(), |_| true).unwrap();
    model.tokenizer.decode(&written.ids, true)
}

#[tokio::test]
async fn a_policy_per_request_writes_what_it_writes_alone() {
    let server = Server::new(Options::default());
    for policy in [
        "full",
        "snapkv(keep=0.5, window=16)",
        "streaming(budget=40) + int8",
        "h2o(budget=30, when=chunk)",
        "quest(budget=96)",
    ] {
        let answer = server.post(CHAT, question(LONG, json!({ "cache": policy }))).await;
        assert_eq!(text(&answer), alone(LONG, policy, 12), "{policy}");
        let usage = &answer["usage"];
        let prompt = usage["prompt_tokens"].as_u64().unwrap();
        assert_eq!(usage["total_tokens"].as_u64().unwrap(), prompt + usage["completion_tokens"].as_u64().unwrap());
        let evicts = CachePolicy::parse(policy).unwrap().evicts();
        assert_eq!(usage["headwise"]["evicted_tokens"].as_f64().unwrap() > 0.0, evicts, "{policy}: {usage}");
        assert_eq!(usage["headwise"]["policy"], CachePolicy::parse(policy).unwrap().to_string());
    }
}

#[tokio::test]
async fn the_same_prompt_again_is_read_from_memory() {
    let server = Server::new(Options::default());
    let first = server.post(CHAT, question(LONG, json!({}))).await;
    let second = server.post(CHAT, question(LONG, json!({}))).await;
    let third = server.post(CHAT, question(LONG, json!({ "cache_prompt": false }))).await;
    let cached = |answer: &Value| answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap();
    let prompt = first["usage"]["prompt_tokens"].as_u64().unwrap();
    assert_eq!((cached(&first), cached(&second), cached(&third)), (0, prompt - 1, 0));
    assert_eq!(text(&first), text(&second));
    assert_eq!(text(&first), text(&third));
}

#[tokio::test]
async fn many_at_once_get_what_they_get_alone() {
    let server = Server::new(Options::default());
    let prompts: Vec<String> = (1..9).map(|count| LONG[..count * 24].to_owned()).collect();
    let asked = prompts.iter().map(|prompt| server.post(CHAT, question(prompt, json!({}))));
    let answers = futures_util::future::join_all(asked).await;
    for (prompt, answer) in prompts.iter().zip(&answers) {
        assert_eq!(text(answer), alone(prompt, "full", 12), "{prompt}");
    }
}

#[tokio::test]
async fn pieces_add_up_to_the_whole_answer() {
    let server = Server::new(Options::default());
    let whole = server.post(CHAT, question(LONG, json!({ "logprobs": true, "top_logprobs": 2 }))).await;
    let asked = json!({
        "stream": true, "stream_options": { "include_usage": true }, "logprobs": true, "top_logprobs": 2,
        "headwise": { "live": true, "kept": true, "retrieval_heads": true },
    });
    let mut pieces = server.stream(CHAT, question(LONG, asked)).await;
    assert_eq!(pieces.pop().unwrap(), "[DONE]");
    let pieces: Vec<Value> = pieces.iter().map(|piece| serde_json::from_str(piece).unwrap()).collect();
    let (last, pieces) = pieces.split_last().unwrap();
    let content: String = pieces.iter().filter_map(|piece| piece["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(content, text(&whole));
    assert_eq!(pieces.last().unwrap()["choices"][0]["finish_reason"], whole["choices"][0]["finish_reason"]);
    let likely = |value: &Value| value["content"].as_array().cloned().unwrap_or_default();
    let streamed: Vec<Value> = pieces.iter().flat_map(|piece| likely(&piece["choices"][0]["logprobs"])).collect();
    assert_eq!(streamed, likely(&whole["choices"][0]["logprobs"]));
    assert_eq!(streamed.len(), 12);
    assert!(pieces[2]["headwise"]["kv_bytes"].as_u64().unwrap() > 0);
    assert_eq!((&last["choices"], &last["usage"]["completion_tokens"]), (&json!([]), &json!(12)));
    let kept = &last["headwise"]["kept"];
    let read = kept["tokens"].as_array().unwrap().len();
    let layers = kept["layers"].as_array().unwrap();
    assert_eq!(layers.last().unwrap()[0], json!([[0, read]]), "the full policy keeps everything");
    assert_ne!(layers[0][0], json!([[0, read]]), "but for the windows of the model");
    assert!(!last["headwise"]["retrieval_heads"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn answers_show_what_was_read_and_what_was_looked_at() {
    let server = Server::new(Options::default());
    let asked = |cache: &str| {
        let headwise = json!({ "selected_text": true, "attention_rows": 3 });
        server.post(CHAT, question(LONG, json!({ "cache": cache, "headwise": headwise })))
    };
    let answer = asked("gemfilter(budget=40)").await;
    let pieces: Vec<&str> =
        answer["headwise"]["selected_text"].as_array().unwrap().iter().flat_map(Value::as_str).collect();
    let length: usize = pieces.iter().map(|piece| piece.chars().count()).sum();
    assert!(!pieces.is_empty() && length < LONG.chars().count(), "{pieces:?}");
    // The last words of the prompt are always read, and the pieces are of the prompt.
    assert!(pieces.iter().filter(|piece| LONG.contains(piece.trim())).count() * 2 > pieces.len(), "{pieces:?}");
    let answer = asked("full").await;
    assert_eq!(answer["headwise"]["selected_text"], Value::Null);
    let usage = &answer["usage"];
    let rows = answer["headwise"]["attention_rows"].as_array().unwrap();
    assert_eq!(rows.len(), 3);
    let last: Vec<f64> = rows[2].as_array().unwrap().iter().flat_map(Value::as_f64).collect();
    assert_eq!(json!(last.len()), usage["total_tokens"]);
    assert!((last.iter().sum::<f64>() - 1.0).abs() < 1e-3);
    let refused = server.refused(CHAT, question(LONG, json!({ "headwise": { "attention_rows": 65 } }))).await;
    assert!(refused.0 == 400 && refused.1["message"].as_str().unwrap().contains("attention_rows=65"), "{refused:?}");
}

#[tokio::test]
async fn answers_end_where_they_are_told_to() {
    let server = Server::new(Options::default());
    let whole = server.post(CHAT, question(LONG, json!({}))).await;
    assert_eq!(whole["choices"][0]["finish_reason"], "length");
    let full = text(&whole).to_owned();
    // A text that lies across tokens and is found once.
    let middle: String = full.chars().skip(full.chars().count() / 2).take(5).collect();
    for stop in [json!(middle), json!(["never there", middle])] {
        let cut = server.post(CHAT, question(LONG, json!({ "stop": stop }))).await;
        assert_eq!(text(&cut), &full[..full.find(&middle).unwrap()]);
        assert_eq!(cut["choices"][0]["finish_reason"], "stop");
        assert!(cut["usage"]["completion_tokens"].as_u64().unwrap() < 12);
    }
}

#[tokio::test]
async fn every_one_of_several_answers_says_what_it_cost_and_what_it_kept() {
    let server = Server::new(Options::default());
    let more =
        json!({ "cache": "snapkv(budget=40, window=16)", "n": 3, "temperature": 1, "headwise": { "kept": true } });
    let answer = server.post(CHAT, question(LONG, more.clone())).await;
    let usage = &answer["usage"]["headwise"];
    let costs = usage["choices"].as_array().unwrap();
    let sum = |name: &str| costs.iter().map(|cost| cost[name].as_f64().unwrap()).sum::<f64>();
    assert_eq!(costs.iter().map(|cost| cost["index"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 1, 2]);
    for name in ["kv_bytes", "peak_kv_bytes", "full_kv_bytes"] {
        assert_eq!(sum(name), usage[name].as_f64().unwrap(), "{name}: {usage}");
    }
    assert!(costs.iter().all(|cost| cost["evicted_tokens"].as_f64().unwrap() > 0.0), "{usage}");
    assert!((sum("evicted_tokens") / 3.0 - usage["evicted_tokens"].as_f64().unwrap()).abs() <= 1.0, "{usage}");
    // Each shows its own text: all begin with the same prompt, and the texts differ behind it.
    let texts = |answer: &Value| -> Vec<Value> {
        let shown = answer["headwise"]["choices"].as_array().unwrap();
        shown.iter().map(|shown| shown["kept"]["tokens"].clone()).collect()
    };
    let whole = texts(&answer);
    assert_eq!(whole.len(), 3);
    assert!(whole.iter().all(Value::is_array) && whole[0] != whole[1], "{whole:?}");

    let mut body = question(LONG, more);
    body["stream"] = json!(true);
    body["stream_options"] = json!({ "include_usage": true });
    let pieces = server.stream(CHAT, body).await;
    let last: Value = serde_json::from_str(&pieces[pieces.len() - 2]).unwrap();
    assert_eq!((texts(&last).len(), last["usage"]["headwise"]["choices"].as_array().unwrap().len()), (3, 3));
    // One answer is told of as ever.
    let one = server.post(CHAT, question(LONG, json!({ "headwise": { "kept": true } }))).await;
    assert!(one["headwise"]["kept"].is_object() && one["usage"]["headwise"].get("choices").is_none(), "{one}");
}

#[tokio::test]
async fn draws_follow_the_seed() {
    let server = Server::new(Options::default());
    let ask = |seed: u64| question(LONG, json!({ "temperature": 1.2, "seed": seed, "n": 3 }));
    let texts = |answer: Value| {
        let choices = answer["choices"].as_array().unwrap().clone();
        choices.into_iter().map(|choice| choice["message"]["content"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let first = texts(server.post(CHAT, ask(7)).await);
    assert_eq!(first, texts(server.post(CHAT, ask(7)).await));
    assert_ne!(first, texts(server.post(CHAT, ask(8)).await));
    assert!(first.len() == 3 && first[0] != first[1]);
}

#[tokio::test]
async fn texts_are_continued() {
    let server = Server::new(Options::default());
    let path = "/v1/completions";
    let ask =
        |prompt: Value| json!({ "prompt": prompt, "temperature": 0, "max_tokens": 8, "logprobs": 1, "echo": true });
    let one = server.post(path, ask(json!("The boats lay"))).await;
    let both = server.post(path, ask(json!(["A basket of", "The boats lay"]))).await;
    assert_eq!(both["choices"][1]["text"], one["choices"][0]["text"]);
    assert!(one["choices"][0]["text"].as_str().unwrap().starts_with("The boats lay"));
    let ids = model().encode("The boats lay").unwrap();
    let tokens = server.post(path, ask(json!([ids, ids]))).await;
    assert_eq!(tokens["choices"][1]["text"], one["choices"][0]["text"]);
    let likely = &one["choices"][0]["logprobs"];
    assert_eq!(likely["tokens"].as_array().unwrap().len(), 8);
    assert_eq!(likely["text_offset"][0], 13);
    let mut streamed = ask(json!("The boats lay"));
    streamed["stream"] = json!(true);
    let pieces = server.stream(path, streamed).await;
    let texts = pieces.iter().filter_map(|piece| serde_json::from_str::<Value>(piece).ok());
    let text: String = texts.map(|piece| piece["choices"][0]["text"].as_str().unwrap().to_owned()).collect();
    assert_eq!(one["choices"][0]["text"], text);
}

#[tokio::test]
async fn responses_are_gone_on_with_by_name() {
    let server = Server::new(Options::default());
    let path = "/v1/responses";
    let ask = |more: Value| {
        let mut body = json!({ "temperature": 0, "max_output_tokens": 6 });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let said = |answer: &Value| answer["output"][0]["content"][0]["text"].as_str().unwrap().to_owned();
    let first = server.post(path, ask(json!({ "input": "The boats lay still.", "instructions": "Be brief." }))).await;
    assert_eq!(first["status"], "incomplete");
    let second = server.post(path, ask(json!({ "input": "Go on.", "previous_response_id": first["id"] }))).await;
    let spelled = server.post(path, ask(json!({ "input": [
        { "role": "user", "content": "The boats lay still." },
        { "type": "message", "role": "assistant", "content": [{ "type": "output_text", "text": said(&first) }] },
        { "role": "user", "content": [{ "type": "input_text", "text": "Go on." }] },
    ]}))).await;
    assert_eq!(said(&second), said(&spelled));
    assert_eq!(second["usage"]["input_tokens"], spelled["usage"]["input_tokens"]);
    let pieces = server
        .stream(path, ask(json!({ "input": "Go on.", "previous_response_id": first["id"], "stream": true })))
        .await;
    let events: Vec<Value> = pieces.iter().map(|piece| serde_json::from_str(piece).unwrap()).collect();
    let deltas: String = events.iter().filter_map(|event| event["delta"].as_str()).collect();
    assert_eq!(deltas, said(&second));
    assert_eq!(said(&events.last().unwrap()["response"]), deltas);
    assert_eq!(events.last().unwrap()["type"], "response.incomplete");
    let (status, error) = server.refused(path, ask(json!({ "input": "x", "previous_response_id": "resp-1" }))).await;
    assert_eq!((status, &error["param"]), (400, &json!("previous_response_id")));
}

#[tokio::test]
async fn scores_are_changed_as_asked() {
    let server = Server::new(Options::default());
    let first = server.post(CHAT, question(LONG, json!({ "logprobs": true, "top_logprobs": 2 }))).await;
    let likely = &first["choices"][0]["logprobs"]["content"][0]["top_logprobs"];
    let id = |index: usize| {
        model().tokenizer.encode(likely[index]["token"].as_str().unwrap(), Encode::default()).unwrap()[0]
    };
    let bias: Value = serde_json::from_str(&format!("{{\"{}\": -100}}", id(0))).unwrap();
    let second = server.post(CHAT, question(LONG, json!({ "logit_bias": bias }))).await;
    let begins = |answer: &Value, index: usize| text(answer).starts_with(likely[index]["token"].as_str().unwrap());
    assert!(begins(&first, 0) && begins(&second, 1), "{} / {}", text(&first), text(&second));
    let penalised = server.post(CHAT, question(LONG, json!({ "max_tokens": 60, "frequency_penalty": 2 }))).await;
    let plain = server.post(CHAT, question(LONG, json!({ "max_tokens": 60 }))).await;
    let distinct = |answer: &Value| text(answer).split(' ').collect::<std::collections::HashSet<_>>().len();
    assert!(distinct(&penalised) > distinct(&plain));
}

#[tokio::test]
async fn repetitions_are_held_back_and_draws_are_bounded() {
    let server = Server::new(Options::default());
    let ask = |more: Value| {
        let mut body = json!({ "max_tokens": 150, "ignore_eos": true });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        server.post(CHAT, question(LONG, body))
    };
    let repeated = |answer: &Value| {
        let words: Vec<&str> = text(answer).split_whitespace().collect();
        let all = words.len().saturating_sub(3);
        all - words.windows(4).collect::<std::collections::HashSet<_>>().len()
    };
    let (plain, dry) = (ask(json!({})).await, ask(json!({ "dry_multiplier": 0.8 })).await);
    assert!(repeated(&dry) < repeated(&plain), "{} and {}", text(&dry), text(&plain));
    let none = ask(json!({ "dry_multiplier": 0.8, "dry_penalty_last_n": 0 })).await;
    assert_eq!(text(&none), text(&plain));
    let drawn = |more: Value| {
        let mut body = json!({ "temperature": 1, "seed": 5 });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ask(body)
    };
    let freely = drawn(json!({})).await;
    for more in [json!({ "mirostat": 2, "mirostat_tau": 2 }), json!({ "xtc_probability": 0.5 })] {
        let (first, again) = (drawn(more.clone()).await, drawn(more.clone()).await);
        assert_eq!(text(&first), text(&again), "{more}");
        assert_ne!(text(&first), text(&freely), "{more}");
    }
}

#[tokio::test]
async fn texts_become_vectors_and_are_ranked() {
    let server = Server::new(Options::default());
    let path = "/v1/embeddings";
    let vectors = server.post(path, json!({ "input": ["The boats lay still.", "A basket of bread."] })).await;
    let vector = |answer: &Value, index: usize| -> Vec<f64> {
        answer["data"][index]["embedding"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
    };
    let length: f64 = vector(&vectors, 1).iter().map(|value| value * value).sum();
    assert!((length - 1.0).abs() < 1e-5);
    let one = server.post(path, json!({ "input": "A basket of bread." })).await;
    assert_eq!(vector(&one, 0), vector(&vectors, 1));
    let ids = model().encode("A basket of bread.").unwrap();
    let coded = server.post(path, json!({ "input": ids, "encoding_format": "base64" })).await;
    let bytes = base64::Engine::decode(
        &base64::engine::general_purpose::STANDARD,
        coded["data"][0]["embedding"].as_str().unwrap(),
    )
    .unwrap();
    let decoded: Vec<f64> =
        bytes.chunks_exact(4).map(|four| f64::from(f32::from_le_bytes(four.try_into().unwrap()))).collect();
    assert!(decoded.iter().zip(vector(&one, 0)).all(|(a, b)| (a - b).abs() < 1e-6));
    let ask = json!({ "query": "The boats lay still.", "documents": ["Bread.", "The boats lay still.", "x"], "top_n": 2, "return_documents": true });
    let ranked = server.post("/v1/rerank", ask).await;
    let results = ranked["results"].as_array().unwrap();
    assert_eq!(
        (results.len(), &results[0]["index"], &results[0]["document"]["text"]),
        (2, &json!(1), &json!("The boats lay still."))
    );
    assert!((results[0]["relevance_score"].as_f64().unwrap() - 1.0).abs() < 1e-5);
    assert_eq!(server.refused(path, json!({ "input": [] })).await.0, 400);
    assert_eq!(server.refused(path, json!({ "input": "x", "encoding_format": "int8" })).await.0, 400);
}

#[tokio::test]
async fn the_page_and_the_document_of_the_interface_are_served() {
    let server = Server::new(Options::default());
    let (status, page) = server.get("/").await;
    assert!(status.is_success() && page.starts_with("<!doctype html>"));
    let document: Value = serde_json::from_str(&server.get("/openapi.json").await.1).unwrap();
    for path in ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings", "/v1/rerank"] {
        assert!(document["paths"][path]["post"].is_object(), "{path}");
    }
    let fields = &document["components"]["schemas"]["GenerationRequest"]["properties"];
    assert!(fields["cache"]["description"].as_str().unwrap().contains("snapkv"));
}
