//! What a response has in it: messages and calls of functions, in the order in which they are written.

use headwise_engine::schedule::Finish;
use headwise_models::chat::{Message, ToolCall};
use serde_json::{Value, json};

use super::super::tools::arguments;

/// Something that happens in a stream: its kind and what it says.
pub type Event = (&'static str, Value);

/// The items of a response.
pub struct Output {
    items: Vec<Item>,
    /// Name of the first message.
    first: Option<String>,
    /// Blanks after which nothing has come yet.
    blanks: String,
}

enum Item {
    Message { id: String, text: String, status: &'static str },
    Call { id: String, call: ToolCall },
}

impl Output {
    /// Empty; its first message will be called `first`.
    pub fn new(first: String) -> Self {
        Self { items: Vec::new(), first: Some(first), blanks: String::new() }
    }

    /// Begins a message, called as `name` says if it is not the first.
    pub fn open(&mut self, name: impl FnOnce() -> String) -> Vec<Event> {
        let id = self.first.take().unwrap_or_else(name);
        self.items.push(Item::Message { id, text: String::new(), status: "in_progress" });
        let index = self.items.len() - 1;
        let item = json!({ "output_index": index, "item": self.item(index) });
        vec![
            ("response.output_item.added", item),
            ("response.content_part.added", self.place(json!({ "part": part("") }))),
        ]
    }

    /// Writes on. Blanks between calls are no message.
    pub fn write(&mut self, text: &str, name: impl FnOnce() -> String) -> Vec<Event> {
        if text.is_empty() {
            return Vec::new();
        }
        let mut events = Vec::new();
        if !self.in_message() {
            self.blanks.push_str(text);
            if self.blanks.trim().is_empty() {
                return events;
            }
            events = self.open(name);
        }
        let piece = if self.blanks.is_empty() { text.to_owned() } else { std::mem::take(&mut self.blanks) };
        if let Some(Item::Message { text, .. }) = self.items.last_mut() {
            text.push_str(&piece);
        }
        events.push(("response.output_text.delta", self.place(json!({ "delta": piece, "logprobs": [] }))));
        events
    }

    /// Calls a function; `name` names things of a kind.
    pub fn call(&mut self, call: &ToolCall, name: impl Fn(&str) -> String) -> Vec<Event> {
        let mut events = self.close("completed");
        self.blanks.clear();
        let mut call = call.clone();
        if call.id.is_empty() {
            call.id = name("call");
        }
        let (id, index, text) = (name("fc"), self.items.len(), arguments(&call));
        self.items.push(Item::Call { id: id.clone(), call });
        let done = self.item(index);
        let mut added = done.clone();
        (added["arguments"], added["status"]) = (json!(""), json!("in_progress"));
        let at = |more: &str, text: &str| json!({ "item_id": id, "output_index": index, more: text });
        events.push(("response.output_item.added", json!({ "output_index": index, "item": added })));
        events.push(("response.function_call_arguments.delta", at("delta", &text)));
        let mut whole = at("arguments", &text);
        whole["name"] = done["name"].clone();
        events.push(("response.function_call_arguments.done", whole));
        events.push(("response.output_item.done", json!({ "output_index": index, "item": done })));
        events
    }

    /// Ends for the reason `finish`; there is at least an empty message then.
    pub fn end(&mut self, finish: Finish) -> Vec<Event> {
        let mut events = if self.items.is_empty() { self.open(String::new) } else { Vec::new() };
        events.extend(self.close(status(finish)));
        events
    }

    /// Ends the message that is being written, if there is one.
    fn close(&mut self, with: &'static str) -> Vec<Event> {
        let Some(Item::Message { text, status, .. }) = self.items.last_mut() else { return Vec::new() };
        if *status != "in_progress" {
            return Vec::new();
        }
        *status = with;
        let text = text.clone();
        let index = self.items.len() - 1;
        vec![
            ("response.output_text.done", self.place(json!({ "text": text, "logprobs": [] }))),
            ("response.content_part.done", self.place(json!({ "part": part(&text) }))),
            ("response.output_item.done", json!({ "output_index": index, "item": self.item(index) })),
        ]
    }

    fn in_message(&self) -> bool {
        matches!(self.items.last(), Some(Item::Message { .. }))
    }

    /// `more` with the place of the last message.
    fn place(&self, mut more: Value) -> Value {
        if let Some(Item::Message { id, .. }) = self.items.last() {
            more["item_id"] = json!(id);
            more["output_index"] = json!(self.items.len() - 1);
            more["content_index"] = json!(0);
        }
        more
    }

    fn item(&self, index: usize) -> Value {
        match &self.items[index] {
            Item::Message { id, text, status } => {
                let content: Vec<Value> = (*status != "in_progress").then(|| part(text)).into_iter().collect();
                json!({ "type": "message", "id": id, "status": status, "role": "assistant", "content": content })
            }
            Item::Call { id, call } => json!({
                "type": "function_call", "id": id, "call_id": call.id, "name": call.name,
                "arguments": arguments(call), "status": "completed",
            }),
        }
    }

    /// All of them, as answers have them.
    pub fn items(&self) -> Vec<Value> {
        (0..self.items.len()).map(|index| self.item(index)).collect()
    }

    /// All of them as one turn of a conversation.
    pub fn message(&self) -> Message {
        let mut message = Message::assistant("");
        for item in &self.items {
            match item {
                Item::Message { text, .. } => message.content.push_str(text),
                Item::Call { call, .. } => message.tool_calls.push(call.clone()),
            }
        }
        message
    }
}

/// How something stands that ended for the reason `finish`.
pub fn status(finish: Finish) -> &'static str {
    if finish == Finish::Stop { "completed" } else { "incomplete" }
}

fn part(text: &str) -> Value {
    json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": [] })
}
