//! How long answers may take.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, header};
use headwise_engine::schedule::ScheduleLimits;
use headwise_serve::Options;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::server::{Server, question};

const CHAT: &str = "/v1/chat/completions";
/// Less than the model takes for `MOST` tokens, whoever asks.
const SHORT: f64 = 0.05;
const MOST: u64 = 3000;

/// A question whose answer takes longer than it may.
fn endless(more: Value) -> Value {
    let mut body = question("The boats lay still.", json!({ "max_tokens": MOST, "ignore_eos": true }));
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn assert_cut(choice: &Value) {
    let said = (&choice["finish_reason"], &choice["stop_reason"]);
    assert_eq!(said, (&json!("length"), &json!("max_seconds")), "{choice}");
}

#[tokio::test]
async fn answers_end_when_their_time_is_over_and_say_so() {
    let server = Server::new(Options::default());
    let answer = server.post(CHAT, endless(json!({ "max_seconds": SHORT, "n": 2 }))).await;
    let choices = answer["choices"].as_array().unwrap();
    assert_eq!(choices.len(), 2);
    choices.iter().for_each(assert_cut);
    assert!(answer["usage"]["completion_tokens"].as_u64().unwrap() < 2 * MOST, "{}", answer["usage"]);

    let pieces = server.stream(CHAT, endless(json!({ "max_seconds": SHORT, "stream": true }))).await;
    let last: Value = serde_json::from_str(&pieces[pieces.len() - 2]).unwrap();
    assert_cut(&last["choices"][0]);

    let body = json!({ "prompt": "The boats", "max_tokens": MOST, "ignore_eos": true, "max_seconds": SHORT });
    assert_cut(&server.post("/v1/completions", body).await["choices"][0]);

    let body = json!({ "input": "The boats", "temperature": 1, "max_output_tokens": MOST, "max_seconds": 1e-6 });
    let response = server.post("/v1/responses", body).await;
    assert_eq!(response["status"], "incomplete", "{response}");
    assert_eq!(response["incomplete_details"]["reason"], "max_seconds");

    // Counts come after the forward with which the answer ended.
    let counted = async || server.get("/metrics").await.1.contains("headwise_timed_out_total 5");
    for _ in 0..200 {
        if counted().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{}", server.get("/metrics").await.1);
}

#[tokio::test]
async fn the_smaller_limit_counts_and_one_that_is_not_reached_changes_nothing() {
    let answer_time = Some(Duration::from_secs_f64(SHORT));
    let server = Server::new(Options { answer_time, ..Options::default() });
    assert_cut(&server.post(CHAT, endless(json!({}))).await["choices"][0]);
    assert_cut(&server.post(CHAT, endless(json!({ "max_seconds": 1000 }))).await["choices"][0]);
    let props: Value = serde_json::from_str(&server.get("/props").await.1).unwrap();
    assert_eq!(props["limits"]["answer_seconds"], SHORT);

    let server = Server::new(Options::default());
    let ended = server.post(CHAT, question("x", json!({ "max_seconds": 1000, "ignore_eos": true }))).await;
    let choice = &ended["choices"][0];
    assert_eq!((&choice["finish_reason"], choice.get("stop_reason")), (&json!("length"), None), "{choice}");
    for seconds in [json!(0), json!(-1), json!(1e300), json!("long")] {
        let (status, error) = server.refused(CHAT, question("x", json!({ "max_seconds": seconds }))).await;
        assert_eq!((status, error["param"] == "max_seconds"), (400, true), "{error}");
    }
}

#[tokio::test]
async fn whoever_has_waited_as_long_is_told_to_come_again() {
    let schedule = ScheduleLimits { texts: 1, ..ScheduleLimits::default() };
    let server = Server::new(Options { schedule, ..Options::default() });
    let body = endless(json!({ "stream": true })).to_string();
    let first = server.router.clone().oneshot(Request::post(CHAT).body(Body::from(body)).unwrap()).await.unwrap();
    let mut first = first.into_body();
    for _ in 0..3 {
        first.frame().await.unwrap().unwrap();
    }
    let waiting = endless(json!({ "max_seconds": 0.001 }));
    let request = Request::post(CHAT).body(Body::from(waiting.to_string())).unwrap();
    let refused = server.router.clone().oneshot(request).await.unwrap();
    assert_eq!(refused.status().as_u16(), 429);
    assert!(refused.headers().contains_key(header::RETRY_AFTER));
    // A stream has begun by then, and says it in an event.
    let pieces = server.stream(CHAT, endless(json!({ "max_seconds": 0.001, "stream": true }))).await;
    let [error, done] = &pieces[pieces.len() - 2..] else { panic!("{pieces:?}") };
    let error: Value = serde_json::from_str(error).unwrap();
    assert_eq!((&error["error"]["code"], done.as_str()), (&json!("queue_full"), "[DONE]"), "{error}");
}
