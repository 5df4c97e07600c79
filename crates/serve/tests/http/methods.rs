//! Ways to read and write beside the cache policy: tokens that leave early, segments whose order does not matter.

use headwise_engine::cache::CachePolicy;
use headwise_engine::pine::{Pine, SegmentPositions, SegmentedWords};
use headwise_engine::{EarlyExit, Sampler, TextModel, generate};
use headwise_serve::Options;
use serde_json::{Value, json};

use crate::server::{Server, model, question};

const CHAT: &str = "/v1/chat/completions";
const COMPLETIONS: &str = "/v1/completions";
const STORY: &str = "The harbour was quiet that morning, and the boats lay still.";
const SEGMENTS: [&str; 3] =
    ["Anna had a red boat.", "Nobody saw the second ship come in that night.\n", "Tom sold bread."];

fn text(answer: &Value) -> &str {
    answer["choices"][0]["text"].as_str().unwrap()
}

#[tokio::test]
async fn tokens_that_leave_early_are_those_of_the_engine() {
    let server = Server::new(Options::default());
    let model = model();
    let exit = EarlyExit { layer: 2, confidence: 0.3, every: 1 };
    for cache in ["full", "int8"] {
        let mut sequence = model.engine.sequence(&CachePolicy::parse(cache).unwrap()).unwrap();
        let (ids, generation) = (model.encode(STORY).unwrap(), model.generation(24));
        let mut sampler = Sampler::greedy();
        let found = exit.generate(&model.engine, &mut sequence, &ids, &generation, &mut sampler, |_| true).unwrap();
        let asked = "early_exit(layer=2, confidence=0.3)";
        let body = json!({ "prompt": STORY, "max_tokens": 24, "temperature": 0, "cache": cache, "exit": asked });
        let answer = server.post(COMPLETIONS, body).await;
        assert_eq!(text(&answer), model.tokenizer.decode(&found.ids, true), "{cache}");
        let layers = answer["usage"]["headwise"]["layers"].as_f64().unwrap();
        assert_eq!(layers, found.mean_layers(), "{cache}");
        assert!(layers < model.engine.spec().layers.len() as f64, "nobody leaves: {layers}");
    }
    let plain = server.post(COMPLETIONS, json!({ "prompt": STORY, "max_tokens": 2 })).await;
    assert!(plain["usage"]["headwise"].get("layers").is_none());
    for (exit, more, why) in [
        ("early_exit(layer=99)", json!({}), "layer=99"),
        ("early_exit", json!({ "cache": "h2o(budget=64)" }), "only stores"),
        ("snapkv(budget=4)", json!({}), "early_exit"),
        ("early_exit", json!({ "headwise": { "confidence": true } }), "leave early"),
    ] {
        let mut more = more;
        more["exit"] = json!(exit);
        let (status, error) = server.refused(CHAT, question(STORY, more)).await;
        assert_eq!(status, 400, "{exit}");
        assert!(error["message"].as_str().unwrap().contains(why), "{error}");
    }
}

/// What is written after segments without a server.
fn alone(model: &TextModel, segments: &[&str], raw: bool) -> String {
    let segments: Vec<String> = segments.iter().map(|text| (*text).to_owned()).collect();
    let words = SegmentedWords { before: "Three reports:", segments: &segments, after: "Who came?", answer_start: "" };
    let text = model.encode_segments(words, raw).unwrap();
    let mut sequence = model.engine.sequence(&CachePolicy::full()).unwrap();
    let ids = SegmentPositions::from(Pine {}).begin(&model.engine, &mut sequence, &text).unwrap();
    let generation = model.generation(12);
    let found = generate(&model.engine, &mut sequence, &ids, &generation, &mut Sampler::greedy(), |_| true).unwrap();
    model.tokenizer.decode(&found.ids, true)
}

fn parts(segments: &[&str]) -> Value {
    let segment = |text: &&str| json!({ "type": "text", "text": text, "segment": true });
    let before = json!({ "type": "text", "text": "Three reports:" });
    let after = json!({ "type": "text", "text": "Who came?" });
    std::iter::once(before).chain(segments.iter().map(segment)).chain([after]).collect()
}

#[tokio::test]
async fn segments_are_read_as_the_engine_reads_them_in_any_order() {
    let server = Server::new(Options::default());
    let model = model();
    let turned = [SEGMENTS[2], SEGMENTS[0], SEGMENTS[1]];
    for segments in [SEGMENTS, turned] {
        let body = json!({ "messages": [{ "role": "user", "content": parts(&segments) }], "temperature": 0, "max_tokens": 12 });
        let answer = server.post(CHAT, body).await;
        assert_eq!(answer["choices"][0]["message"]["content"], alone(&model, &SEGMENTS, false));
        assert_eq!(answer["usage"]["headwise"]["evicted_tokens"], 0.0);
        let body = json!({ "prompt": parts(&segments), "temperature": 0, "max_tokens": 12 });
        assert_eq!(text(&server.post(COMPLETIONS, body).await), alone(&model, &SEGMENTS, true));
    }
    let plain = SEGMENTS.concat();
    let plain = json!({ "prompt": [{ "type": "text", "text": plain }], "temperature": 0, "max_tokens": 12 });
    let spelled = json!({ "prompt": SEGMENTS.concat(), "temperature": 0, "max_tokens": 12 });
    assert_eq!(text(&server.post(COMPLETIONS, plain).await), text(&server.post(COMPLETIONS, spelled).await));
}

#[tokio::test]
async fn segments_where_they_cannot_be_are_refused() {
    let server = Server::new(Options::default());
    let segment = |text: &str| json!({ "type": "text", "text": text, "segment": true });
    let word = json!({ "type": "text", "text": "and" });
    let mut both = parts(&SEGMENTS);
    both[0]["shared"] = json!(true);
    let mut one = parts(&SEGMENTS);
    one[1]["shared"] = json!(true);
    for (prompt, more, why) in [
        (json!([segment("a"), word, segment("b"), word]), json!({}), "one after another"),
        (json!([word, segment(""), word]), json!({}), "empty"),
        (json!([word, segment("a")]), json!({}), "nothing stands after"),
        (parts(&SEGMENTS), json!({ "cache": "snapkv(budget=64)" }), "cannot hold a set of segments"),
        (parts(&SEGMENTS), json!({ "headwise": { "kept": true } }), "ordinary text"),
        (parts(&SEGMENTS), json!({ "exit": "early_exit" }), "segment"),
        (both, json!({}), "take one of them"),
        (one, json!({}), "either"),
        (json!([{ "type": "image_url" }]), json!({}), "reads text only"),
    ] {
        let mut body = more;
        body["prompt"] = prompt;
        let (status, error) = server.refused(COMPLETIONS, body).await;
        assert_eq!(status, 400, "{error}");
        assert!(error["message"].as_str().unwrap().contains(why), "{why}: {error}");
    }
}

#[tokio::test]
async fn completions_show_what_was_looked_at() {
    let server = Server::new(Options::default());
    let asked = json!({ "kept": true, "attention_rows": 2 });
    let body = json!({ "prompt": STORY, "max_tokens": 4, "temperature": 0, "headwise": asked });
    let shown = server.post(COMPLETIONS, body.clone()).await["headwise"].clone();
    assert!(shown["kept"]["tokens"].as_array().unwrap().len() > 10 && shown["attention_rows"].is_array(), "{shown}");
    let mut streamed = body.clone();
    (streamed["stream"], streamed["stream_options"]) = (json!(true), json!({ "include_usage": true }));
    let pieces = server.stream(COMPLETIONS, streamed).await;
    let last: Value = serde_json::from_str(&pieces[pieces.len() - 2]).unwrap();
    assert_eq!(last["headwise"], shown);
    let mut several = body;
    several["prompt"] = json!([STORY, "x"]);
    let (status, error) = server.refused(COMPLETIONS, several).await;
    assert_eq!((status, &error["param"]), (400, &json!("headwise")), "{error}");
}
