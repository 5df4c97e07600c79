//! The answer to a conversation, whole or piece by piece.

use headwise_engine::TokenLogProbabilities;
use headwise_engine::schedule::Finish;
use headwise_models::chat::{Piece, Tool, ToolCall, ToolCallReader};
use serde_json::{Value, json};

use super::ApiError;
use super::answer::{chat_log_probabilities, finish_reason, tell_stop_reason};
use super::insight::Shown;
use super::job::{Job, News};
use super::stream::Sink;
use super::tools::arguments;
use crate::Served;

/// How an answer names itself, and what it may contain.
pub struct Form {
    id: String,
    created: u64,
    model: String,
    tools: Vec<Tool>,
}

/// An answer that is being written.
#[derive(Default)]
struct Choice {
    text: String,
    calls: Vec<Value>,
    reader: Option<ToolCallReader>,
    tokens: usize,
    log_probabilities: Vec<TokenLogProbabilities>,
    finish: Option<Finish>,
}

impl Choice {
    /// The text and the calls in what has come.
    fn read(&mut self, text: &str, ends: bool) -> (String, Vec<ToolCall>) {
        let Some(reader) = &mut self.reader else { return (text.to_owned(), Vec::new()) };
        let mut pieces = reader.push(text);
        if ends {
            pieces.extend(reader.finish());
        }
        let (mut words, mut calls) = (String::new(), Vec::new());
        for piece in pieces {
            match piece {
                Piece::Text(text) => words.push_str(&text),
                Piece::Call(call) => calls.push(call),
            }
        }
        (words, calls)
    }

    /// Why it ended, which is for the sake of its calls if there are any.
    fn reason(&self, finish: Finish) -> &'static str {
        match finish {
            Finish::Stop if !self.calls.is_empty() => "tool_calls",
            finish => finish_reason(finish),
        }
    }
}

impl Form {
    /// For an answer of `served` that may call `tools`.
    pub fn new(served: &Served, tools: Vec<Tool>) -> Self {
        Self { id: served.id("chatcmpl"), created: crate::names::now(), model: served.name().to_owned(), tools }
    }

    fn choices(&self, count: usize) -> Vec<Choice> {
        let reader = || (!self.tools.is_empty()).then(|| ToolCallReader::new(&self.tools));
        std::iter::repeat_with(|| Choice { reader: reader(), ..Choice::default() }).take(count).collect()
    }

    fn head(&self, object: &str) -> Value {
        json!({ "id": self.id, "object": object, "created": self.created, "model": self.model })
    }

    fn chunk(&self, index: usize, delta: &Value, log_probabilities: &Value, finish: Option<&str>) -> Value {
        let mut chunk = self.head("chat.completion.chunk");
        chunk["choices"] = json!([
            { "index": index, "delta": delta, "logprobs": log_probabilities, "finish_reason": finish }
        ]);
        chunk
    }

    /// A call as answers have it.
    fn call(&self, served: &Served, call: &ToolCall) -> Value {
        let id = if call.id.is_empty() { served.id("call") } else { call.id.clone() };
        json!({ "id": id, "type": "function", "function": { "name": call.name, "arguments": arguments(call) } })
    }

    /// The answer once it is complete.
    pub async fn whole(&self, served: &Served, job: Job) -> Result<Value, ApiError> {
        let mut shown = Shown::new(served, &job);
        let mut choices = self.choices(job.samplers.len());
        let mut running = job.start(served)?;
        while let Some(news) = running.next().await? {
            running.observe(&served.times);
            let (answer, text, end) = match news {
                News::Piece { answer, text, log_probabilities, .. } => {
                    choices[answer].log_probabilities.extend(log_probabilities);
                    (answer, text, None)
                }
                News::End { answer, text, finish, sequence } => {
                    shown.end(answer, running.ids(answer), sequence.as_deref()).await?;
                    (answer, text, Some(finish))
                }
            };
            let choice = &mut choices[answer];
            let (words, calls) = choice.read(&text, end.is_some());
            choice.text.push_str(&words);
            choice.calls.extend(calls.iter().map(|call| self.call(served, call)));
            choice.finish = end;
        }
        let mut whole = self.head("chat.completion");
        whole["choices"] = choices.iter().enumerate().map(|(index, choice)| choice.json(served, index)).collect();
        running.tell(served, &mut whole);
        shown.tell(&mut whole);
        Ok(whole)
    }

    /// The answer piece by piece, and what it has cost at the end if `usage` is asked for.
    pub async fn stream(&self, served: &Served, job: Job, usage: bool, sink: &Sink) -> Result<(), ApiError> {
        let mut shown = Shown::new(served, &job);
        let mut choices = self.choices(job.samplers.len());
        let mut running = job.start(served)?;
        sink.begin(&mut running).await?;
        for index in 0..choices.len() {
            let delta = json!({ "role": "assistant", "content": "" });
            sink.send(self.chunk(index, &delta, &Value::Null, None)).await;
        }
        while let Some(news) = running.next().await? {
            running.observe(&served.times);
            let (answer, text, likely, live, end) = match news {
                News::Piece { answer, text, log_probabilities, bytes } => {
                    choices[answer].tokens += 1;
                    let live = bytes.map(|bytes| json!({ "kv_bytes": bytes, "tokens": choices[answer].tokens }));
                    let likely =
                        log_probabilities.map(|token| chat_log_probabilities(&served.model.tokenizer, &[token]));
                    (answer, text, likely, live, None)
                }
                News::End { answer, text, finish, sequence } => {
                    shown.end(answer, running.ids(answer), sequence.as_deref()).await?;
                    (answer, text, None, None, Some(finish))
                }
            };
            let choice = &mut choices[answer];
            let (words, calls) = choice.read(&text, end.is_some());
            let mut pieces = Vec::new();
            if !words.is_empty() || likely.is_some() || live.is_some() {
                let delta = json!({ "content": words });
                let mut chunk = self.chunk(answer, &delta, &likely.unwrap_or_default(), None);
                if let Some(live) = live {
                    chunk["headwise"] = live;
                }
                pieces.push(chunk);
            }
            for call in &calls {
                let mut call = self.call(served, call);
                call["index"] = json!(choice.calls.len());
                pieces.push(self.chunk(answer, &json!({ "tool_calls": [call] }), &Value::Null, None));
                choice.calls.push(call);
            }
            if let Some(finish) = end {
                let mut last = self.chunk(answer, &json!({}), &Value::Null, Some(choice.reason(finish)));
                tell_stop_reason(&mut last["choices"][0], finish);
                pieces.push(last);
            }
            for piece in pieces {
                if !sink.send(piece).await {
                    return Ok(());
                }
            }
        }
        if usage {
            let mut last = self.head("chat.completion.chunk");
            last["choices"] = json!([]);
            running.tell(served, &mut last);
            shown.tell(&mut last);
            sink.send(last).await;
        }
        Ok(())
    }
}

impl Choice {
    fn json(&self, served: &Served, index: usize) -> Value {
        let likely = match self.log_probabilities.as_slice() {
            [] => Value::Null,
            tokens => chat_log_probabilities(&served.model.tokenizer, tokens),
        };
        let mut message = json!({ "role": "assistant", "content": self.text, "refusal": null });
        if !self.calls.is_empty() {
            message["tool_calls"] = self.calls.clone().into();
            if self.text.trim().is_empty() {
                message["content"] = Value::Null;
            }
        }
        let finish = self.finish.unwrap_or(Finish::Stop);
        let reason = self.reason(finish);
        let mut choice = json!({ "index": index, "message": message, "logprobs": likely, "finish_reason": reason });
        tell_stop_reason(&mut choice, finish);
        choice
    }
}
