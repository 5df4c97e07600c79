//! Requests that are refused, and clients that leave.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use headwise_engine::schedule::ScheduleLimits;
use headwise_serve::{Keys, Options};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::server::{Server, question};

const CHAT: &str = "/v1/chat/completions";

#[tokio::test]
async fn wrong_requests_say_what_is_wrong() {
    let server = Server::new(Options::default());
    let cases = [
        (json!({ "temprature": 1 }), 400, "temprature", "unknown_field"),
        (json!({ "temperature": "hot" }), 400, "temperature", ""),
        (json!({ "temperature": -1 }), 400, "temperature", ""),
        (json!({ "temperature": 2.5 }), 400, "temperature", ""),
        (json!({ "cache": "full + ".repeat(1000) }), 400, "cache", ""),
        (json!({ "top_p": 0 }), 400, "top_p", ""),
        (json!({ "min_p": 2 }), 400, "min_p", ""),
        (json!({ "dry_multiplier": -1 }), 400, "dry_multiplier", ""),
        (json!({ "dry_multiplier": 1, "dry_base": 0.5 }), 400, "dry_base", ""),
        (json!({ "dry_multiplier": 1, "dry_allowed_length": 0 }), 400, "dry_allowed_length", ""),
        (json!({ "dry_multiplier": 1, "dry_penalty_last_n": -2 }), 400, "dry_penalty_last_n", ""),
        (json!({ "dry_multiplier": 1, "dry_sequence_breakers": ["x".repeat(65)] }), 400, "dry_sequence_breakers", ""),
        (json!({ "xtc_probability": 2 }), 400, "xtc_probability", ""),
        (json!({ "xtc_probability": 0.5, "xtc_threshold": 0 }), 400, "xtc_threshold", ""),
        (json!({ "mirostat": 1 }), 400, "mirostat", ""),
        (json!({ "mirostat": 2, "mirostat_tau": 0 }), 400, "mirostat_tau", ""),
        (json!({ "mirostat": 2, "mirostat_eta": 1.5 }), 400, "mirostat_eta", ""),
        (json!({ "mirostat": 2, "top_k": 40 }), 400, "top_k", ""),
        (json!({ "logit_bias": { "x": 1 } }), 400, "logit_bias", ""),
        (json!({ "logit_bias": { "99999999": 1 } }), 400, "logit_bias", ""),
        (json!({ "n": 0 }), 400, "n", ""),
        (json!({ "max_tokens": 0 }), 400, "max_tokens", ""),
        (json!({ "max_tokens": -1 }), 400, "max_tokens", ""),
        (json!({ "stop": [""] }), 400, "stop", ""),
        (json!({ "top_logprobs": 3 }), 400, "top_logprobs", ""),
        (json!({ "logprobs": true, "top_logprobs": 21 }), 400, "top_logprobs", ""),
        (json!({ "model": "gpt-17" }), 404, "model", "model_not_found"),
        (json!({ "cache": "snapkw(keep=0.5)" }), 400, "cache", ""),
        (json!({ "cache": "snapkv" }), 400, "cache", ""),
        (json!({ "prompt": "x" }), 400, "prompt", ""),
        (json!({ "messages": [] }), 400, "messages", ""),
        (json!({ "messages": [{ "role": "wizard", "content": "x" }] }), 400, "messages[0].role", ""),
        (
            json!({ "messages": [{ "role": "user", "content": [{ "type": "image_url" }] }] }),
            400,
            "messages[0].content[0]",
            "",
        ),
        (json!({ "messages": [{ "role": "user", "content": 5 }] }), 400, "messages[0].content", ""),
    ];
    for (more, status, param, code) in cases {
        let (found, error) = server.refused(CHAT, question("x", more.clone())).await;
        assert_eq!(found, status, "{more}: {error}");
        assert_eq!(error["param"], param, "{more}: {error}");
        assert!(code.is_empty() || error["code"] == code, "{more}: {error}");
        assert!(error["message"].as_str().unwrap().len() > 10 && error["type"].is_string());
    }
    let (_, error) = server.refused(CHAT, question("x", json!({ "cache": "snapkw(keep=0.5)" }))).await;
    assert!(error["message"].as_str().unwrap().contains("snapkv"), "{error}");
    for malformed in ["", "{", "nul", "[1]", "{\"messages\": \u{1}}"] {
        let (status, answer) = server.post_text(CHAT, malformed).await;
        assert_eq!((status, &answer["error"]["type"]), (StatusCode::BAD_REQUEST, &json!("invalid_request_error")));
    }
    let long = question(&"word ".repeat(60_000), json!({}));
    let (status, error) = server.refused(CHAT, long).await;
    assert_eq!((status, &error["code"]), (400, &json!("context_length_exceeded")), "{error}");
    let (status, error) = server.refused(CHAT, question(&"word ".repeat(60_000), json!({ "stream": true }))).await;
    assert_eq!((status, &error["code"]), (400, &json!("context_length_exceeded")), "{error}");
    let (_, error) = server.refused(CHAT, question("x", json!({ "headwise": { "keep": true } }))).await;
    assert_eq!(error["param"], "headwise.keep");
    assert_eq!(server.get("/v1/nothing").await.0, StatusCode::NOT_FOUND);
    assert_eq!(server.get("/../../etc/passwd").await.0, StatusCode::NOT_FOUND);
    assert_eq!(server.get(CHAT).await.0, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn unknown_fields_are_left_out_when_asked_to() {
    let server = Server::new(Options { lenient: true, ..Options::default() });
    server.post(CHAT, question("x", json!({ "temprature": 1, "max_tokens": 1 }))).await;
}

#[tokio::test]
async fn long_and_late_bodies_are_refused() {
    let server = Server::new(Options { body_bytes: 1000, request_seconds: 1, ..Options::default() });
    let (status, error) = server.refused(CHAT, question(&"x".repeat(10 << 20), json!({}))).await;
    assert_eq!((status, error["type"].as_str()), (413, Some("invalid_request_error")));
    let late = futures_util::stream::pending::<Result<&'static [u8], std::io::Error>>();
    let (status, _) = server.post_text(CHAT, Body::from_stream(late)).await;
    assert_eq!(status, StatusCode::REQUEST_TIMEOUT);
}

#[tokio::test]
async fn keys_are_asked_for() {
    let server = Server::new(Options { keys: Keys::parse("secret"), ..Options::default() });
    let ask = |key: &str| {
        let body = question("x", json!({ "max_tokens": 1 })).to_string();
        Request::post(CHAT).header(header::AUTHORIZATION, key).body(Body::from(body)).unwrap()
    };
    assert_eq!(server.send(ask("Bearer secret")).await.0, StatusCode::OK);
    for wrong in ["Bearer secre", "secret", ""] {
        let (status, text) = server.send(ask(wrong)).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        assert!(!text.contains("secret"), "{text}");
    }
    assert_eq!(server.get("/props").await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(server.get("/health").await.0, StatusCode::OK);
}

/// Waits until nothing is read or written, and returns how many texts were left alone.
async fn settled(server: &Server) -> u64 {
    for _ in 0..200 {
        let counters = server.app.models[0].worker.counters();
        if counters.reading + counters.writing + counters.waiting == 0 && counters.steps > 0 {
            assert_eq!(counters.text_bytes, 0);
            return counters.cancelled;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("texts are still written: {:?}", server.app.models[0].worker.counters());
}

#[tokio::test]
async fn whoever_leaves_is_not_written_for() {
    let server = Server::new(Options::default());
    let body = question("The boats lay still.", json!({ "max_tokens": 3000, "ignore_eos": true, "stream": true }));
    let request = Request::post(CHAT).body(Body::from(body.to_string())).unwrap();
    let mut stream = server.router.clone().oneshot(request).await.unwrap().into_body();
    for _ in 0..5 {
        stream.frame().await.unwrap().unwrap();
    }
    drop(stream);
    assert_eq!(settled(&server).await, 1);
    // Another one is answered as ever.
    server.post(CHAT, question("x", json!({}))).await;
}

#[tokio::test]
async fn a_prompt_is_not_read_for_whoever_leaves_before_it_has_been() {
    let server = Server::new(Options::default());
    let ask = |number: usize| {
        let prompt = format!("{number} {}", "The boats lay still. ".repeat(400));
        let body = question(&prompt, json!({ "max_tokens": 8, "ignore_eos": true, "stream": true }));
        server.router.clone().oneshot(Request::post(CHAT).body(Body::from(body.to_string())).unwrap())
    };
    let streams = futures_util::future::join_all((0..8).map(ask)).await;
    assert!(streams.iter().flatten().all(|stream| stream.status() == StatusCode::OK));
    drop(streams);
    settled(&server).await;
    let counters = server.app.models[0].worker.counters();
    assert!(counters.prompt_tokens < 4 * 2000, "{counters:?}");
}

#[tokio::test]
async fn more_than_can_wait_are_told_to_come_again() {
    let schedule = ScheduleLimits { texts: 1, waiting: 2, ..ScheduleLimits::default() };
    let server = Server::new(Options { schedule, ..Options::default() });
    let ask = || {
        let body = question("The boats lay still.", json!({ "max_tokens": 60, "ignore_eos": true })).to_string();
        server.router.clone().oneshot(Request::post(CHAT).body(Body::from(body)).unwrap())
    };
    let answers = futures_util::future::join_all((0..12).map(|_| ask())).await;
    let busy: Vec<_> =
        answers.iter().flatten().filter(|answer| answer.status() == StatusCode::TOO_MANY_REQUESTS).collect();
    let granted = answers.iter().flatten().filter(|answer| answer.status() == StatusCode::OK).count();
    assert!(granted >= 2 && granted + busy.len() == 12, "{granted} granted, {} busy", busy.len());
    assert!(!busy.is_empty() && busy.iter().all(|answer| answer.headers().contains_key(header::RETRY_AFTER)));
}

#[tokio::test]
async fn a_text_that_never_fits_is_refused_with_numbers() {
    let schedule = ScheduleLimits { bytes: 1 << 20, ..ScheduleLimits::default() };
    let server = Server::new(Options { schedule, ..Options::default() });
    let (status, error) = server.refused(CHAT, question("x", json!({ "max_tokens": 4000 }))).await;
    assert_eq!((status, &error["code"]), (400, &json!("memory_exceeded")));
    assert!(error["message"].as_str().unwrap().contains("--kv-mem"), "{error}");
}

#[tokio::test]
async fn a_server_that_stops_says_so() {
    let server = Server::new(Options::default());
    assert_eq!(server.get("/health").await.0, StatusCode::OK);
    server.app.stop();
    assert_eq!(server.get("/health").await.0, StatusCode::SERVICE_UNAVAILABLE);
    let (status, error) = server.refused(CHAT, question("x", json!({}))).await;
    assert_eq!((status, error["type"].as_str()), (503, Some("server_error")));
}

#[tokio::test]
async fn counts_and_properties_are_told() {
    let server = Server::new(Options::default());
    server.post(CHAT, question("x", json!({}))).await;
    settled(&server).await;
    let (_, text) = server.get("/metrics").await;
    for line in [
        "headwise_generated_tokens_total 12",
        "headwise_kv_bytes 0",
        "headwise_kv_limit_bytes 2147483648",
        "# TYPE headwise_method_kv_bytes gauge",
        "headwise_answers_total{method=\"full\"} 1",
        "headwise_evicted_tokens_total 0",
        "headwise_requests_total{path=\"/v1/chat/completions\",status=\"200\"} 1",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    let bytes = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap().parse::<usize>().unwrap();
    assert_eq!(bytes("headwise_kv_free_bytes ") + bytes("headwise_prefix_cache_bytes "), 2 << 30);
    assert!(text.contains("headwise_inter_token_seconds_count 11") && text.ends_with("# EOF\n"));
    let props: Value = serde_json::from_str(&server.get("/props").await.1).unwrap();
    assert!(props["cache_methods"].as_array().unwrap().len() > 20);
    let models: Value = serde_json::from_str(&server.get("/v1/models").await.1).unwrap();
    assert_eq!(models["data"][0]["id"], props["model"]);
}

#[tokio::test]
async fn methods_and_what_they_let_go_are_counted() {
    let server = Server::new(Options::default());
    let long = "The boats lay still. ".repeat(30);
    server.post(CHAT, question(&long, json!({ "cache": "snapkv(budget=64) + int8", "n": 2, "temperature": 1 }))).await;
    let (_, text) = server.get("/metrics").await;
    for method in ["snapkv", "int8"] {
        let line = format!("headwise_answers_total{{method=\"{method}\"}} 2");
        assert!(text.contains(&line), "{line} is not in\n{text}");
    }
    let number = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("-").trim().to_owned();
    let evicted = number("headwise_evicted_tokens_total ");
    assert!(evicted.parse::<u64>().unwrap() > 100, "{text}");
    assert_eq!(number("headwise_method_evicted_tokens_total{method=\"snapkv\"} "), evicted);
    // What only stores lets go of nothing.
    assert_eq!(number("headwise_method_evicted_tokens_total{method=\"int8\"} "), "-");
}

#[tokio::test]
async fn answers_are_as_long_as_the_server_allows() {
    let server = Server::new(Options { answer_tokens: Some(5), ..Options::default() });
    let (status, error) = server.refused(CHAT, question("x", json!({ "max_tokens": 6 }))).await;
    assert_eq!((status, &error["param"]), (400, &json!("max_tokens")));
    assert!(error["message"].as_str().unwrap().contains("at most 5"), "{error}");
    for body in [json!({ "max_tokens": null }), json!({ "max_tokens": 5 })] {
        let answer = server.post(CHAT, question("x", body)).await;
        assert!(answer["usage"]["completion_tokens"].as_u64().unwrap() <= 5, "{answer}");
    }
    let props: Value = serde_json::from_str(&server.get("/props").await.1).unwrap();
    assert_eq!((&props["defaults"]["max_tokens"], &props["limits"]["answer_tokens"]), (&json!(5), &json!(5)));
    assert_eq!(props["defaults"]["order"][0], "penalties");
}
