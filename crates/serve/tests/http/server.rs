//! A server in this process, asked without a network.

use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use headwise_engine::TextModel;
use headwise_models::chat::ChatTemplate;
use headwise_models::decoder::Weights;
use headwise_serve::{App, Options, router};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

/// The turns of a conversation, plainly.
const TEMPLATE: &str = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}\
    {% if add_generation_prompt %}assistant:{% endif %}";

/// The model that comes with the program, with a way to chat.
pub fn model() -> TextModel {
    let mut model = TextModel::embedded(Weights::Stored, 2).unwrap();
    model.template = Some(ChatTemplate::new(TEMPLATE, "", "").unwrap());
    model
}

/// The model that comes with the program, described otherwise: `change` gets what its `headwise.toml` says.
pub fn described(change: impl FnOnce(String) -> String) -> TextModel {
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/embedded");
    let directory = tempfile::tempdir().unwrap();
    for name in ["model.safetensors", "tokenizer.json"] {
        std::fs::copy(files.join(name), directory.path().join(name)).unwrap();
    }
    let spec = std::fs::read_to_string(files.join("headwise.toml")).unwrap();
    std::fs::write(directory.path().join("headwise.toml"), change(spec)).unwrap();
    TextModel::open(directory.path(), Weights::Stored, 2).unwrap()
}

pub struct Server {
    pub app: Arc<App>,
    pub router: Router,
}

impl Server {
    pub fn new(options: Options) -> Self {
        Self::of(vec![model()], options)
    }

    pub fn of(models: Vec<TextModel>, options: Options) -> Self {
        let app = Arc::new(App::new(models, options).unwrap());
        let router = router(app.clone());
        Self { app, router }
    }

    pub async fn send(&self, request: Request<Body>) -> (StatusCode, String) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    pub async fn post_text(&self, path: &str, body: impl Into<Body>) -> (StatusCode, Value) {
        let (status, text) = self.send(Request::post(path).body(body.into()).unwrap()).await;
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// The answer to a request that is granted.
    pub async fn post(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.post_text(path, body.to_string()).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer
    }

    /// The error that a request is refused with.
    pub async fn refused(&self, path: &str, body: Value) -> (u16, Value) {
        let (status, answer) = self.post_text(path, body.to_string()).await;
        (status.as_u16(), answer["error"].clone())
    }

    /// The pieces of a stream, its end marker included.
    pub async fn stream(&self, path: &str, body: Value) -> Vec<String> {
        let (status, text) = self.send(Request::post(path).body(body.to_string().into()).unwrap()).await;
        assert_eq!(status, StatusCode::OK, "{text}");
        text.lines().filter_map(|line| line.strip_prefix("data: ")).map(Into::into).collect()
    }

    pub async fn get(&self, path: &str) -> (StatusCode, String) {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }
}

/// A question with `more` fields, answered greedily in 12 tokens.
pub fn question(text: &str, more: Value) -> Value {
    let mut body = json!({ "messages": [{ "role": "user", "content": text }], "temperature": 0, "max_tokens": 12 });
    if let (Value::Object(body), Value::Object(more)) = (&mut body, more) {
        body.extend(more);
    }
    body
}
