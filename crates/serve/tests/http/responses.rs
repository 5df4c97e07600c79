//! Responses: forms and functions.

use headwise_serve::Options;
use serde_json::{Value, json};

use crate::server::Server;

const PATH: &str = "/v1/responses";

fn ask(more: Value) -> Value {
    let mut body = json!({ "input": "How is the weather?", "temperature": 1, "seed": 3, "max_output_tokens": 80 });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn weather() -> Value {
    json!([{
        "type": "function", "name": "weather", "description": "The weather of a place.", "strict": true,
        "parameters": {
            "type": "object", "additionalProperties": false, "required": ["place"],
            "properties": { "place": { "enum": ["Oslo", "Rome"] } },
        },
    }])
}

fn events(pieces: &[String]) -> Vec<Value> {
    pieces.iter().map(|piece| serde_json::from_str(piece).unwrap()).collect()
}

#[tokio::test]
async fn responses_follow_their_form() {
    let server = Server::new(Options::default());
    let schema = json!({
        "type": "object", "additionalProperties": false, "required": ["name"],
        "properties": { "name": { "enum": ["Ada", "Grace"] } },
    });
    let format = json!({ "type": "json_schema", "name": "person", "schema": schema, "strict": true });
    let answer = server.post(PATH, ask(json!({ "text": { "format": format, "verbosity": "low" } }))).await;
    let person: Value = serde_json::from_str(answer["output"][0]["content"][0]["text"].as_str().unwrap()).unwrap();
    assert!(["Ada", "Grace"].contains(&person["name"].as_str().unwrap()));
    assert_eq!((&answer["status"], &answer["text"]["format"]), (&json!("completed"), &format));
    let choice = json!({ "type": "choice", "choices": ["harbour"] });
    let answer = server.post(PATH, ask(json!({ "text": { "format": choice } }))).await;
    assert_eq!(answer["output"][0]["content"][0]["text"], "harbour");
    for (wrong, param) in [
        (json!({ "text": { "format": { "type": "regex", "regex": "(" } } }), "text.format"),
        (json!({ "text": { "format": { "type": "yaml" } } }), "text.format.type"),
        (json!({ "tools": [{ "type": "web_search" }] }), "tools[0]"),
        (json!({ "tools": weather(), "tool_choice": { "type": "allowed_tools" } }), "tool_choice"),
        (json!({ "tools": weather(), "tool_choice": { "type": "function", "name": "x" } }), "tool_choice"),
        (json!({ "tool_choice": "required" }), "tool_choice"),
        (json!({ "truncation": "auto" }), "truncation"),
        (json!({ "input": [{ "type": "reasoning" }] }), "input[0]"),
        (json!({ "input": [{ "type": "function_call", "name": "weather" }] }), "input[0]"),
        (json!({ "input": [{ "type": "function_call_output", "call_id": "nobody", "output": "x" }] }), "input"),
        (json!({ "input": [{ "role": "king", "content": "x" }] }), "input[0].role"),
    ] {
        let (status, error) = server.refused(PATH, ask(wrong.clone())).await;
        assert_eq!((status, &error["param"]), (400, &json!(param)), "{wrong}: {error}");
    }
}

#[tokio::test]
async fn functions_are_called_and_answered_for() {
    let server = Server::new(Options::default());
    let named = json!({ "type": "function", "name": "weather" });
    for choice in [json!("required"), named] {
        let asked = json!({ "tools": weather(), "tool_choice": choice });
        let answer = server.post(PATH, ask(asked.clone())).await;
        assert_eq!(answer["output"].as_array().unwrap().len(), 1, "{answer}");
        let call = &answer["output"][0];
        assert_eq!((&call["type"], &call["name"]), (&json!("function_call"), &json!("weather")));
        let arguments: Value = serde_json::from_str(call["arguments"].as_str().unwrap()).unwrap();
        assert!(["Oslo", "Rome"].contains(&arguments["place"].as_str().unwrap()));
        assert_eq!((&answer["tools"], &answer["tool_choice"]), (&weather(), &choice));

        let mut streamed = ask(asked);
        streamed["stream"] = json!(true);
        let events = events(&server.stream(PATH, streamed).await);
        let kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
        assert_eq!(
            kinds,
            [
                "response.created",
                "response.in_progress",
                "response.output_item.added",
                "response.function_call_arguments.delta",
                "response.function_call_arguments.done",
                "response.output_item.done",
                "response.completed",
            ]
        );
        assert_eq!(
            (&events[2]["item"]["arguments"], &events[2]["item"]["status"]),
            (&json!(""), &json!("in_progress"))
        );
        assert_eq!((&events[3]["delta"], &events[4]["arguments"]), (&call["arguments"], &call["arguments"]));
        assert!(events[2..6].iter().all(|event| event["output_index"] == 0));
        assert_eq!(events[3]["item_id"], events[5]["item"]["id"]);
        assert_eq!(events[6]["response"]["output"][0], events[5]["item"]);

        // What the function says is told to the model, whether the call is remembered or sent along.
        let result = json!({ "type": "function_call_output", "call_id": call["call_id"], "output": "Rain." });
        let remembered = json!({ "input": [result], "previous_response_id": answer["id"], "temperature": 0 });
        let spelled = json!({
            "input": [{ "role": "user", "content": "How is the weather?" }, call, result], "temperature": 0,
        });
        let (first, second) = (server.post(PATH, ask(remembered)).await, server.post(PATH, ask(spelled)).await);
        assert_eq!(first["output"][0]["content"], second["output"][0]["content"]);
        assert_eq!(first["usage"]["input_tokens"], second["usage"]["input_tokens"]);
    }
}

#[tokio::test]
async fn text_stays_text_where_functions_could_be_called() {
    let server = Server::new(Options::default());
    let plain = server.post(PATH, ask(json!({ "temperature": 0 }))).await;
    assert_eq!(plain["output"][0]["content"][0]["logprobs"], json!([]));
    let asked = json!({ "temperature": 0, "tools": weather(), "stream": true, "max_output_tokens": 12 });
    let events = events(&server.stream(PATH, ask(asked)).await);
    let deltas: String = events.iter().filter_map(|event| event["delta"].as_str()).collect();
    let last = &events.last().unwrap()["response"];
    assert_eq!(last["output"][0]["content"][0]["text"], deltas);
    assert_eq!((&last["status"], &last["output"][0]["status"]), (&json!("incomplete"), &json!("incomplete")));
    let count = |kind: &str| events.iter().filter(|event| event["type"] == kind).count();
    assert_eq!((count("response.output_item.added"), count("response.output_item.done")), (1, 1));
    let numbers: Vec<u64> = events.iter().map(|event| event["sequence_number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..events.len() as u64).collect::<Vec<_>>());
}
