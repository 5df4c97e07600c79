//! An answer as it comes: tokens become text, up to the first stop text.

use headwise_engine::schedule::Finish;
use headwise_engine::{StopTexts, TokenLogProbabilities};
use headwise_models::tokenizer::{StreamDecoder, Tokenizer};
use serde_json::{Value, json};

/// One answer that is being written.
pub struct Answer<'t> {
    decoder: Option<StreamDecoder<'t>>,
    stop: StopTexts,
    /// Its tokens so far.
    pub ids: Vec<u32>,
    /// Why it ended, once it has.
    pub finish: Option<Finish>,
}

impl<'t> Answer<'t> {
    /// An empty answer that ends before any of `stops`; with `special`, control tokens are a part of it.
    pub fn new(tokenizer: &'t Tokenizer, stops: Vec<String>, special: bool) -> Self {
        let decoder = if special { tokenizer.decoder().keep_special() } else { tokenizer.decoder() };
        Self { decoder: Some(decoder), stop: StopTexts::new(stops), ids: Vec::new(), finish: None }
    }

    /// What can be shown once the token `id` has come, with which a stop text may end the answer.
    pub fn push(&mut self, id: u32) -> String {
        self.ids.push(id);
        let text = self.decoder.as_mut().map(|decoder| decoder.push(id)).unwrap_or_default();
        let text = self.stop.push(&text);
        if self.stop.stopped() {
            self.finish = Some(Finish::Stop);
        }
        text
    }

    /// The end: what waited for more.
    pub fn end(&mut self, finish: Finish) -> String {
        if self.finish.is_some() {
            return String::new();
        }
        self.finish = Some(finish);
        let rest = self.decoder.take().map(StreamDecoder::finish).unwrap_or_default();
        let text = self.stop.push(&rest);
        text + &self.stop.finish()
    }
}

/// Why an answer ended, as OpenAI's interface says it.
pub fn finish_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "stop",
        Finish::Length | Finish::Time => "length",
    }
}

/// Adds to a `choice` that ended what OpenAI's reasons have no word for: `max_seconds` if there was no time for more.
pub fn tell_stop_reason(choice: &mut Value, finish: Finish) {
    if finish == Finish::Time {
        choice["stop_reason"] = json!("max_seconds");
    }
}

/// Log-probabilities of tokens as chat answers have them.
pub fn chat_log_probabilities(tokenizer: &Tokenizer, tokens: &[TokenLogProbabilities]) -> Value {
    let of = |id: u32, value: f64| {
        let bytes = tokenizer.token_bytes(id).unwrap_or_default();
        json!({ "token": String::from_utf8_lossy(&bytes), "logprob": value, "bytes": bytes })
    };
    let content = tokens.iter().map(|token| {
        let mut entry = of(token.chosen.id, token.chosen.value);
        entry["top_logprobs"] = token.likeliest.iter().map(|likely| of(likely.id, likely.value)).collect();
        entry
    });
    json!({ "content": content.collect::<Value>(), "refusal": null })
}

/// Log-probabilities of tokens as completions have them; the first token stands at `offset` characters of the text.
pub fn completion_log_probabilities(tokenizer: &Tokenizer, tokens: &[TokenLogProbabilities], offset: usize) -> Value {
    let text = |id: u32| String::from_utf8_lossy(&tokenizer.token_bytes(id).unwrap_or_default()).into_owned();
    let texts: Vec<String> = tokens.iter().map(|token| text(token.chosen.id)).collect();
    let mut at = offset;
    let offsets = texts.iter().map(|text| {
        let start = at;
        at += text.chars().count();
        start
    });
    let offsets: Vec<usize> = offsets.collect();
    let likeliest = tokens.iter().map(|token| {
        let likely = token.likeliest.iter().map(|likely| (text(likely.id), json!(likely.value)));
        likely.collect::<serde_json::Map<_, _>>()
    });
    json!({
        "tokens": texts,
        "token_logprobs": tokens.iter().map(|token| token.chosen.value).collect::<Vec<_>>(),
        "top_logprobs": likeliest.collect::<Vec<_>>(),
        "text_offset": offsets,
    })
}
