//! What a request for text may say.

use std::collections::BTreeMap;
use std::time::Duration;

use headwise_engine::cache::CachePolicy;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::ApiError;
use super::fields::{FlagOrCount, Insight, OneOrMore, PromptInput, StreamOptions};
use super::form::ResponseFormat;
use super::job::Job;
use super::message::ChatMessage;
use super::placed::Placed;
use super::template::Variables;
use super::tools::ToolChoice;
use crate::{Served, time_limit};

/// The body of `/v1/chat/completions` and `/v1/completions`.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct GenerationRequest {
    /// Name of the model; the one that is served if not given.
    pub model: Option<String>,
    /// The conversation (chat).
    pub messages: Option<Vec<ChatMessage>>,
    /// One text or several, as text or tokens (completions).
    pub prompt: Option<PromptInput>,
    /// Text after the one that is written; refused (completions).
    pub suffix: Option<String>,
    /// Whether the answer begins with the prompt (completions).
    pub echo: Option<bool>,
    /// Answers to one prompt.
    pub n: Option<usize>,
    /// Whether the answer comes piece by piece.
    pub stream: Option<bool>,
    /// How it comes.
    pub stream_options: Option<StreamOptions>,
    /// Most tokens of an answer.
    pub max_tokens: Option<usize>,
    /// The same, as chat requests call it now.
    pub max_completion_tokens: Option<usize>,
    /// Most seconds of an answer, from when the request leaves the queue, and most that it waits there; the server's if that is less.
    pub max_seconds: Option<f64>,
    /// Tokens before which an answer does not end.
    pub min_tokens: Option<usize>,
    /// Whether tokens that end texts are written like others.
    pub ignore_eos: Option<bool>,
    /// Randomness; 0 takes the likeliest token.
    pub temperature: Option<f32>,
    /// Draw from the likeliest tokens that hold this share of the probability.
    pub top_p: Option<f32>,
    /// Draw from so many of the likeliest tokens; 0 from all.
    pub top_k: Option<usize>,
    /// Draw from tokens at least this share as likely as the likeliest.
    pub min_p: Option<f32>,
    /// Draw from tokens of typical surprise that hold this share of the probability.
    pub typical_p: Option<f32>,
    /// Divides the scores of tokens that were read or written.
    pub repetition_penalty: Option<f32>,
    /// Taken from the scores of tokens that were written.
    pub presence_penalty: Option<f32>,
    /// Taken from the scores of tokens for every time that they were written.
    pub frequency_penalty: Option<f32>,
    /// DRY: taken from the scores of tokens that would go on with the shortest repetition that counts; 0 for none.
    pub dry_multiplier: Option<f32>,
    /// DRY: what that grows by with every token of the repetition more; 1.75 if not given.
    pub dry_base: Option<f32>,
    /// DRY: length from which repetitions count; 2 if not given.
    pub dry_allowed_length: Option<usize>,
    /// DRY: how many of the last tokens are looked at; -1, all of them, if not given; 0 for none.
    pub dry_penalty_last_n: Option<i64>,
    /// DRY: texts that repetitions do not reach over; line end, colon, quotation mark and asterisk if not given.
    pub dry_sequence_breakers: Option<Vec<String>>,
    /// XTC: how often the likeliest tokens are left out where others are likely enough; 0 for never.
    pub xtc_probability: Option<f32>,
    /// XTC: how likely a token is that may be left out; 0.1 if not given.
    pub xtc_threshold: Option<f32>,
    /// Mirostat: 2 keeps the surprise of tokens near a target, 0 does not.
    pub mirostat: Option<u8>,
    /// Mirostat: the surprise to keep to, in bits; 5 if not given.
    pub mirostat_tau: Option<f32>,
    /// Mirostat: how fast it follows; 0.1 if not given.
    pub mirostat_eta: Option<f32>,
    /// Added to the scores of tokens, by id.
    pub logit_bias: Option<BTreeMap<String, f32>>,
    /// Seed of the draws; another one for every request if not given.
    pub seed: Option<i64>,
    /// Texts that end an answer.
    pub stop: Option<OneOrMore>,
    /// Tokens that end an answer.
    pub stop_token_ids: Option<Vec<u32>>,
    /// Whether (chat), or for how many of the likeliest tokens (completions), log-probabilities come with the answer.
    pub logprobs: Option<FlagOrCount>,
    /// For how many of the likeliest tokens log-probabilities come (chat).
    pub top_logprobs: Option<usize>,
    /// The form of the answer.
    pub response_format: Option<ResponseFormat>,
    /// The text after which the form begins, for models that reason first; `</think>` if the model's template has begun to reason.
    pub form_after: Option<String>,
    /// Functions that the model may call (chat).
    pub tools: Option<Vec<Value>>,
    /// Which of them it may or must call (chat).
    pub tool_choice: Option<ToolChoice>,
    /// Variables of the model's chat template, such as `{"enable_thinking": false}`; `/props` says which it looks at (chat).
    #[schema(value_type = Option<Object>)]
    pub chat_template_kwargs: Option<Variables>,
    /// The cache policy, such as `snapkv(budget=1024) + int8`; that of the server if not given.
    pub cache: Option<String>,
    /// When a token of the answer leaves the model, such as `early_exit(layer=10, confidence=0.9)`; after the last layer if not given.
    pub exit: Option<String>,
    /// How the answer is written, if not token by token: searched for, such as `opera(beams=3)`, or, by a model that fills gaps, `sap(commit=2)` (completions).
    pub decoding: Option<String>,
    /// What else to say of the answer.
    pub headwise: Option<Insight>,
    /// Whether earlier prompts may be gone on from; yes if not given.
    pub cache_prompt: Option<bool>,
    /// Not used.
    pub user: Option<String>,
    /// Not used.
    pub metadata: Option<Value>,
    /// Not used: chats are not stored.
    pub store: Option<bool>,
    /// Not used.
    pub service_tier: Option<String>,
    /// Not used: the model decides.
    pub parallel_tool_calls: Option<bool>,
    /// Only 1 is taken.
    pub best_of: Option<usize>,
}

/// Randomness if the request does not say: OpenAI's.
pub const DEFAULT_TEMPERATURE: f32 = 1.0;
/// Longest text of a policy.
pub const MOST_POLICY: usize = 1000;
/// Most answers of a request.
const MOST_ANSWERS: usize = 32;
/// Most texts that end an answer.
const MOST_STOPS: usize = 16;
/// Most likeliest tokens.
const MOST_LIKELIEST: usize = 20;

impl GenerationRequest {
    /// Answers to every prompt.
    pub fn answers(&self) -> Result<usize, ApiError> {
        let n = self.n.unwrap_or(1);
        if !(1..=MOST_ANSWERS).contains(&n) {
            return Err(ApiError::parameter("n", format!("n is {n}: it must be from 1 to {MOST_ANSWERS}")));
        }
        match self.best_of {
            None | Some(1) => Ok(n),
            Some(_) => {
                Err(ApiError::parameter("best_of", "best_of is not known here: ask for n answers with logprobs"))
            }
        }
    }

    /// Most tokens of an answer, if the request or the server, which gives no more than `limit`, says.
    pub fn most_tokens(&self, limit: Option<usize>) -> Result<Option<usize>, ApiError> {
        match (self.max_completion_tokens.or(self.max_tokens), limit) {
            (Some(0), _) => Err(ApiError::parameter("max_tokens", "max_tokens is 0: it must be at least 1")),
            (Some(tokens), Some(limit)) if tokens > limit => {
                let message = format!("max_tokens is {tokens}: answers here have at most {limit} (--max-tokens)");
                Err(ApiError::parameter("max_tokens", message))
            }
            (tokens, limit) => Ok(tokens.or(limit)),
        }
    }

    /// How long an answer may take, if the request or the server, which gives no more than `limit`, says.
    pub fn time(&self, limit: Option<Duration>) -> Result<Option<Duration>, ApiError> {
        let Some(seconds) = self.max_seconds else { return Ok(limit) };
        let wrong = |wrong| ApiError::parameter("max_seconds", format!("max_seconds is {wrong}"));
        let time = time_limit(seconds).map_err(wrong)?;
        Ok(Some(limit.map_or(time, |limit| limit.min(time))))
    }

    /// The texts that end an answer.
    pub fn stops(&self) -> Result<Vec<String>, ApiError> {
        let stops = match self.stop.clone() {
            None => Vec::new(),
            Some(OneOrMore::One(stop)) => vec![stop],
            Some(OneOrMore::More(stops)) => stops,
        };
        match () {
            () if stops.len() > MOST_STOPS => {
                Err(ApiError::parameter("stop", format!("{} texts in stop: there may be {MOST_STOPS}", stops.len())))
            }
            () if stops.iter().any(String::is_empty) => {
                Err(ApiError::parameter("stop", "an empty text in stop would end every answer: leave it out"))
            }
            () => Ok(stops),
        }
    }

    /// How many of the likeliest tokens come with every token, if log-probabilities were asked for.
    pub fn likeliest(&self) -> Result<Option<usize>, ApiError> {
        let likeliest = match (self.logprobs, self.top_logprobs) {
            (None | Some(FlagOrCount::Flag(false)), None | Some(0)) => return Ok(None),
            (None | Some(FlagOrCount::Flag(false)), Some(_)) => {
                return Err(ApiError::parameter("top_logprobs", "top_logprobs needs `logprobs: true`"));
            }
            (Some(FlagOrCount::Count(count)), _) => count,
            (Some(FlagOrCount::Flag(true)), count) => count.unwrap_or(0),
        };
        if likeliest > MOST_LIKELIEST {
            let message = format!("{likeliest} likeliest tokens: there may be {MOST_LIKELIEST}");
            return Err(ApiError::parameter("top_logprobs", message));
        }
        Ok(Some(likeliest))
    }

    /// The policy of the cache; `default` if the request names none.
    pub fn policy(&self, default: &CachePolicy) -> Result<CachePolicy, ApiError> {
        match &self.cache {
            None => Ok(default.clone()),
            Some(text) if text.len() > MOST_POLICY => {
                let message = format!("a policy of {} bytes: it may have {MOST_POLICY}", text.len());
                Err(ApiError::parameter("cache", message))
            }
            Some(text) => CachePolicy::parse(text).map_err(|error| ApiError::parameter("cache", error.to_string())),
        }
    }
}

impl GenerationRequest {
    /// Refuses the field `name` if it is there: it belongs to another path.
    pub fn refuse(&self, name: &str, there: bool) -> Result<(), ApiError> {
        match there {
            true => Err(ApiError::parameter(name, format!("`{name}` does not belong to a request of this path"))),
            false => Ok(()),
        }
    }

    /// Whether a stream ends with what the answer has cost.
    pub fn includes_usage(&self) -> bool {
        self.stream_options.as_ref().and_then(|options| options.include_usage).unwrap_or(false)
    }

    /// The job of going on with `prompts` as the request says.
    pub fn job(&self, served: &Served, prompts: Vec<Vec<u32>>) -> Result<Job, ApiError> {
        let mut end = self.stop_token_ids.clone().unwrap_or_default();
        if !self.ignore_eos.unwrap_or(false) {
            end.extend(served.model.tokenizer.end_of_generation_ids());
        }
        // Requests that name no seed draw differently, one after the other.
        let seed = served.names.seed();
        let policy = self.policy(&served.policy)?;
        Ok(Job {
            prompts,
            placed: Placed::Nothing,
            samplers: self.samplers(served, seed)?,
            exit: self.exit_rule(served, &policy)?,
            search: self.search()?,
            policy,
            tokens: self.most_tokens(served.answer_tokens)?,
            time: self.time(served.answer_time)?,
            end,
            stops: self.stops()?,
            special: false,
            likeliest: self.likeliest()?,
            reuse: self.cache_prompt.unwrap_or(true),
            insight: self.insight(served)?,
        })
    }

    /// What else to say of the answer.
    fn insight(&self, served: &Served) -> Result<Insight, ApiError> {
        let insight = self.headwise.unwrap_or_default();
        if served.adapter.is_some() {
            // What the cache kept is that of the text itself.
            Insight { kept: false, ..insight }.check_ordinary("an answer with an adapter")?;
        }
        match insight.attention_rows {
            0..=Insight::MOST_ROWS => Ok(insight),
            rows => Err(ApiError::parameter(
                "headwise.attention_rows",
                format!("attention_rows={rows}: at most {}", Insight::MOST_ROWS),
            )),
        }
    }
}
