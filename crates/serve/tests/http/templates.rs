//! Variables of chat templates.

use headwise_models::chat::ChatTemplate;
use headwise_serve::Options;
use serde_json::{Value, json};

use crate::server::{Server, model, question};

const CHAT: &str = "/v1/chat/completions";
const TEMPLATE: &str = "{% for message in messages %}{{ message.content }}\n{% endfor %}{% if mood is defined %}{{ mood.name }}{% endif %}\
    {% if enable_thinking %}<think>{% endif %}";

fn server(options: Options) -> Server {
    let mut model = model();
    model.template = Some(ChatTemplate::new(TEMPLATE, "", "").unwrap());
    Server::of(vec![model], options)
}

fn ask(variables: Value) -> Value {
    question("The boats lay still.", json!({ "chat_template_kwargs": variables, "cache_prompt": false }))
}

#[tokio::test]
async fn variables_change_the_prompt() {
    let server = server(Options::default());
    let tokens = |answer: Value| answer["usage"]["prompt_tokens"].as_u64().unwrap();
    let plain = tokens(server.post(CHAT, ask(json!({}))).await);
    let moody = tokens(server.post(CHAT, ask(json!({ "mood": { "name": "quiet and a little sad" } }))).await);
    assert!(moody > plain + 3, "{moody} and {plain} tokens");
    let spelled = question("The boats lay still.\nquiet and a little sad", json!({}));
    let spelled = server.post(CHAT, spelled).await["choices"][0]["message"]["content"].clone();
    assert!(spelled.is_string());
    let body = json!({ "input": "The boats lay still.", "max_output_tokens": 2, "chat_template_kwargs": { "mood": { "name": "sad" } } });
    let response = server.post("/v1/responses", body).await;
    assert!(response["usage"]["input_tokens"].as_u64().unwrap() > plain);
    let props: Value = serde_json::from_str(&server.get("/props").await.1).unwrap();
    assert_eq!(props["chat_template_variables"], json!(["enable_thinking", "mood"]));
    // A template that begins to reason says so to what holds the answer to its form.
    let mut form = ask(json!({ "enable_thinking": true }));
    form["response_format"] = json!({ "type": "choice", "choices": ["quay"] });
    form["max_tokens"] = json!(4);
    let free = server.post(CHAT, form.clone()).await;
    form["chat_template_kwargs"] = json!({ "enable_thinking": false });
    form["max_tokens"] = json!(12);
    assert_eq!(server.post(CHAT, form).await["choices"][0]["message"]["content"], "quay");
    assert_ne!(free["choices"][0]["message"]["content"], "quay");
}

#[tokio::test]
async fn variables_that_nobody_reads_are_refused() {
    let strict = server(Options::default());
    for name in ["enable_thinkin", "messages", "tools", "add_generation_prompt"] {
        let (status, error) = strict.refused(CHAT, ask(json!({ name: false }))).await;
        assert_eq!((status, &error["param"]), (400, &json!(format!("chat_template_kwargs.{name}"))), "{error}");
        assert!(error["message"].as_str().unwrap().contains("it looks at enable_thinking, mood"), "{error}");
    }
    let (status, error) = strict.refused(CHAT, ask(json!([1]))).await;
    assert_eq!((status, &error["param"]), (400, &json!("chat_template_kwargs")), "{error}");
    let (status, _) = strict.refused(CHAT, ask(json!({ "mood": "x".repeat(100_000) }))).await;
    assert_eq!(status, 400);
    let body = json!({ "prompt": "x", "chat_template_kwargs": {} });
    assert_eq!(strict.refused("/v1/completions", body).await.0, 400);
    let lenient = server(Options { lenient: true, ..Options::default() });
    let plain = lenient.post(CHAT, ask(json!({}))).await;
    let other = lenient.post(CHAT, ask(json!({ "enable_thinkin": false, "messages": [] }))).await;
    assert_eq!(plain["choices"], other["choices"]);
}
