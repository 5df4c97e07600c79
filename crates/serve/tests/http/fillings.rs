//! Answers that a model which fills gaps writes a few words at a time.

use headwise_engine::cache::CachePolicy;
use headwise_engine::{GapFiller, Sap, TextModel};
use headwise_serve::Options;
use serde_json::{Value, json};

use crate::server::{Server, described};

const COMPLETIONS: &str = "/v1/completions";
const STORY: &str = "The harbour was quiet that morning, and the boats lay still. A man";

/// The model that comes with the program, which takes some of its tokens for sentinels.
fn filling() -> TextModel {
    described(|spec| spec + "\n[sentinels]\nfirst = 4090\ncount = 4\nend = 4095\n")
}

fn server() -> Server {
    Server::of(vec![TextModel { name: "filling".into(), ..filling() }], Options::default())
}

fn ask(more: Value) -> Value {
    let mut body = json!({ "prompt": STORY, "max_tokens": 10, "decoding": "sap(commit=2, stop=\"\")" });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[tokio::test]
async fn fillings_are_those_of_the_engine_whoever_else_asks() {
    let (server, model) = (server(), filling());
    let method = Sap { commit: 2, stop: String::new(), ..Sap::default() };
    for cache in ["full", "int8"] {
        let mut filler = GapFiller::new(&model, &CachePolicy::parse(cache).unwrap(), method.span).unwrap();
        let expected = method.write(&mut filler, STORY, 10, |_| {}).unwrap();
        assert!(expected.words > 2, "a model that says `{}` shows little", expected.text);
        let beside = json!({ "prompt": STORY, "max_tokens": 60, "ignore_eos": true });
        let (answer, _) =
            tokio::join!(server.post(COMPLETIONS, ask(json!({ "cache": cache }))), server.post(COMPLETIONS, beside));
        assert_eq!(answer["choices"][0]["text"], expected.text, "{cache}");
        let fillings = &answer["usage"]["headwise"]["fillings"];
        assert_eq!(fillings["calls"], expected.cost.calls, "{cache}");
        assert_eq!(
            (&fillings["words"], &fillings["shown_tokens"]),
            (&json!(expected.words), &json!(expected.cost.shown))
        );
        assert!(answer["usage"]["completion_tokens"].as_u64().unwrap() > 0);
        let read = fillings["read_tokens"].as_u64().unwrap() as usize;
        assert!(read < expected.cost.shown, "nothing was found again: {answer}");
        let pieces = server.stream(COMPLETIONS, ask(json!({ "cache": cache, "stream": true, "echo": true }))).await;
        let pieces: Vec<Value> = pieces.iter().filter_map(|piece| serde_json::from_str(piece).ok()).collect();
        let text: String = pieces.iter().map(|piece| piece["choices"][0]["text"].as_str().unwrap()).collect();
        assert_eq!(text, format!("{STORY}{}", expected.text));
        assert_eq!(pieces.last().unwrap()["choices"][0]["finish_reason"], answer["choices"][0]["finish_reason"]);
        assert!(pieces.len() > 2, "it comes in pieces");
    }
}

#[tokio::test]
async fn more_fillings_than_there_are_places_for_are_told_to_come_again() {
    let server = server();
    let served = server.app.models[0].clone();
    let all = served.fillings.available_permits() as u32;
    let taken = served.fillings.clone().acquire_many_owned(all).await.unwrap();
    let (status, error) = server.refused(COMPLETIONS, ask(json!({}))).await;
    assert_eq!((status, &error["code"]), (429, &json!("queue_full")), "{error}");
    drop(taken);
    server.post(COMPLETIONS, ask(json!({}))).await;
    assert_eq!(served.fillings.available_permits() as u32, all);
}

#[tokio::test]
async fn fillings_have_no_more_time_than_other_answers() {
    let server = server();
    let answer = server.post(COMPLETIONS, ask(json!({ "max_seconds": 1e-6, "max_tokens": 500 }))).await;
    let choice = &answer["choices"][0];
    let said = (&choice["finish_reason"], &choice["stop_reason"]);
    assert_eq!(said, (&json!("length"), &json!("max_seconds")), "{choice}");
    assert!(answer["usage"]["headwise"]["fillings"]["calls"].as_u64().unwrap() <= 1, "{answer}");
}

#[tokio::test]
async fn fillings_that_cannot_be_are_refused_with_the_reason() {
    let server = server();
    for (more, param, why) in [
        (json!({ "decoding": "sap(commit=0)" }), "decoding", "commit"),
        (json!({ "decoding": "zap" }), "decoding", "sap"),
        (json!({ "temperature": 0.7 }), "temperature", "the likeliest"),
        (json!({ "logprobs": 1 }), "logprobs", "the likeliest"),
        (json!({ "cache": "snapkv(budget=64)" }), "cache", "only stores"),
        (json!({ "cache": "kivi4" }), "cache", "only stores"),
        (json!({ "prompt": [1, 2] }), "prompt", "one text"),
    ] {
        let (status, error) = server.refused(COMPLETIONS, ask(more)).await;
        assert_eq!((status, &error["param"]), (400, &json!(param)), "{error}");
        assert!(error["message"].as_str().unwrap().contains(why), "{why}: {error}");
    }
    let long = ask(json!({ "prompt": "word ".repeat(9000) }));
    let (status, error) = server.refused(COMPLETIONS, long).await;
    assert!(status == 400 && error["message"].as_str().unwrap().contains("tokens do not fit"), "{error}");
    let chat = json!({ "messages": [{ "role": "user", "content": "x" }], "decoding": "sap" });
    assert_eq!(server.refused("/v1/chat/completions", chat).await.1["param"], "decoding");
    let (status, error) = Server::new(Options::default()).refused(COMPLETIONS, ask(json!({}))).await;
    assert!(status == 400 && error["message"].as_str().unwrap().contains("no sentinels"), "{error}");
}
