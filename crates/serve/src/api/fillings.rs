//! `decoding`: an answer that a model which fills gaps writes a few words at a time (SAP).
//!
//! Every filling is a request of its own to the scheduler, so that others are served meanwhile; what has been read of the text is found again
//! among earlier prompts. So the words are those that the command line writes, under policies that only store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use headwise_engine::cache::CachePolicy;
use headwise_engine::schedule::{CacheUsage, Event, Finish, Listener, Request, ScheduleError};
use headwise_engine::{Filled, FillsGaps, GapFiller, GapQuestion, Likelihood, Sap, SapAnswer, SapEnd};
use serde_json::json;
use tokio::sync::mpsc::UnboundedSender;

use super::fields::PromptInput;
use super::generation::GenerationRequest;
use super::usage::Usage;
use super::{ApiError, job};
use crate::Served;

/// A text and how to go on with it.
pub struct Fillings {
    method: Sap,
    prompt: String,
    policy: CachePolicy,
    /// Most words of the answer.
    most: usize,
    /// How long it may take, if not as long as it does.
    time: Option<Duration>,
}

/// What happens to an answer.
pub enum Said {
    /// More of it.
    Piece(String),
    /// It is complete, or cannot be.
    End(Result<Box<Ended>, ApiError>),
}

/// A complete answer.
pub struct Ended {
    /// The answer.
    pub answer: SapAnswer,
    /// What it has cost.
    pub usage: Usage,
    /// Whether there was no time for more.
    late: bool,
}

impl Ended {
    /// Why it ended.
    pub fn finish(&self) -> Finish {
        match self.answer.end {
            SapEnd::Said => Finish::Stop,
            _ if self.late => Finish::Time,
            _ => Finish::Length,
        }
    }
}

impl Fillings {
    /// What `request` asks for, which wants to be answered by `method`.
    pub fn of(served: &Served, request: &GenerationRequest, method: Sap) -> Result<Self, ApiError> {
        let wrong = |message: String| ApiError::parameter("decoding", message);
        method.check().map_err(|error| wrong(error.to_string()))?;
        // What chooses tokens or looks at them has no say in fillings, which are the likeliest.
        for (name, there) in request.chooses() {
            if there {
                let message =
                    format!("`{name}` and `decoding`: fillings are the likeliest, and words of them count, not tokens");
                return Err(ApiError::parameter(name, message));
            }
        }
        let Some(PromptInput::Text(prompt)) = &request.prompt else {
            return Err(ApiError::parameter("prompt", "`decoding` takes one text as the prompt"));
        };
        let policy = request.policy(&served.policy)?;
        if !GapFiller::fills_one_by_one(&policy) {
            let message = format!(
                "`{policy}`: fillings go on from a text that was read as it is: take a policy that only stores, such as `full`"
            );
            return Err(ApiError::parameter("cache", message));
        }
        let filler = GapFiller::new(&served.model, &policy, method.span).map_err(|error| wrong(error.to_string()))?;
        let tokens = filler.encode(prompt)?;
        // Room for the text, the gap and a token of the answer.
        let room = [tokens.as_slice(), &filler.gap(), &filler.gap()[..1]].concat();
        served
            .model
            .engine
            .check_text(0, &room)
            .map_err(|error| ApiError::from(headwise_engine::TextError::from(error)))?;
        let most = request.most_tokens(served.answer_tokens)?.unwrap_or_else(|| served.model.engine.most_tokens());
        let time = request.time(served.answer_time)?;
        Ok(Self { most: method.words.unwrap_or(most), method, prompt: prompt.clone(), policy, time })
    }

    /// The text before the answer.
    pub fn prompt(&self) -> &str {
        &self.prompt
    }

    /// Begins to write on a thread of its own, if there is a place for it; ends soon after nobody listens any more.
    pub fn start(self, served: Arc<Served>, news: UnboundedSender<Said>) -> Result<(), ApiError> {
        let place = served.fillings.clone().try_acquire_owned();
        let place =
            place.map_err(|_| ApiError::busy("as many answers as can be are written in fillings: try again later"))?;
        tokio::task::spawn_blocking(move || {
            let outcome = self.write(&served, &news);
            drop(place);
            let _ = news.send(Said::End(outcome.map(Box::new)));
        });
        Ok(())
    }

    fn write(&self, served: &Served, news: &UnboundedSender<Said>) -> Result<Ended, ApiError> {
        let inner = GapFiller::new(&served.model, &self.policy, self.method.span);
        let inner = inner.map_err(|error| ApiError::parameter("decoding", error.to_string()))?;
        let tokens = inner.encode(&self.prompt)?.len();
        let usage = Usage::new(&self.policy, tokens, Instant::now());
        let mut filler =
            Filler { served, inner, text: self, news, usage, last: CacheUsage::default(), begun: None, late: false };
        let answer = self.method.write(&mut filler, &self.prompt, self.most, |piece| {
            let _ = news.send(Said::Piece(piece.to_owned()));
        })?;
        let Filler { mut usage, last, late, .. } = filler;
        usage.end(0, last, None);
        usage.fillings = Some(json!({
            "calls": answer.cost.calls, "shown_tokens": answer.cost.shown, "read_tokens": answer.cost.read, "words": answer.words,
        }));
        Ok(Ended { answer, usage, late })
    }
}

/// Asks the scheduler for fillings.
struct Filler<'a> {
    served: &'a Served,
    inner: GapFiller<'a>,
    /// What it fills.
    text: &'a Fillings,
    news: &'a UnboundedSender<Said>,
    usage: Usage,
    /// What the cache of the last filling has cost.
    last: CacheUsage,
    /// When the first filling left the queue.
    begun: Option<Instant>,
    /// Whether all its time is over.
    late: bool,
}

impl Filler<'_> {
    /// How long the next filling may take, if not as long as it does.
    fn time(&self) -> Option<Duration> {
        let passed = self.begun.map_or(Duration::ZERO, |begun| begun.elapsed());
        self.text.time.map(|time| time.saturating_sub(passed))
    }
}

/// Hands events of a filling over.
struct Ear {
    events: Sender<Event>,
    /// Whether the filling is long enough.
    enough: Arc<AtomicBool>,
    news: UnboundedSender<Said>,
}

impl Listener for Ear {
    fn tell(&self, event: Event) {
        let _ = self.events.send(event);
    }

    fn gone(&self) -> bool {
        self.news.is_closed()
    }

    fn complete(&self, _: usize) -> bool {
        self.enough.load(Ordering::Relaxed)
    }
}

impl FillsGaps for Filler<'_> {
    type Error = ApiError;

    fn fill(&mut self, text: &str, enough: &mut dyn FnMut(&str) -> bool) -> Result<Option<Filled>, ApiError> {
        let Some(GapQuestion { ids, generation }) = self.inner.question(text)? else { return Ok(None) };
        let (sender, events) = channel();
        let done = Arc::new(AtomicBool::new(false));
        let ear = Ear { events: sender, enough: done.clone(), news: self.news.clone() };
        let mut filled = Filled { shown: ids.len(), read: ids.len(), ..Filled::default() };
        let request = Request {
            adapter: self.served.adapter.clone(),
            time: self.time(),
            stop: generation.stop,
            ..Request::greedy(ids, self.text.policy.clone(), generation.tokens, Arc::new(ear))
        };
        if !self.served.worker.submit(request) {
            return Err(ApiError::stopping());
        }
        let mut decoder = self.served.model.tokenizer.decoder();
        loop {
            match events.recv().map_err(|_| job::lost())? {
                Event::Queued => {}
                Event::Begun { cached, .. } => {
                    self.begun.get_or_insert_with(Instant::now);
                    filled.read -= cached;
                    self.usage.begin(0, 0, None);
                }
                Event::Shared { tokens } => filled.read -= tokens,
                Event::Read => self.usage.read(),
                // A token may have been on its way when there was enough.
                Event::Token { .. } if done.load(Ordering::Relaxed) => {}
                Event::Token { id, .. } => {
                    self.usage.token();
                    filled.written += 1;
                    filled.text.push_str(&decoder.push(id));
                    done.store(enough(&filled.text), Ordering::Relaxed);
                }
                Event::End { finish: Finish::Time, usage, .. } => (self.late, self.last) = (true, usage),
                Event::End { finish, usage, .. } => {
                    self.last = usage;
                    // The token that ended it was written too.
                    filled.written += usize::from(finish == Finish::Stop && !done.load(Ordering::Relaxed));
                    break;
                }
                // What was written before stands.
                Event::Failed(ScheduleError::Waited { .. }) if self.begun.is_some() => self.late = true,
                Event::Failed(error) => return Err(error.into()),
            }
            if self.late {
                return Ok(None);
            }
        }
        filled.text.push_str(&decoder.finish());
        Ok(Some(filled))
    }

    /// Nobody asks for it: answers are not compared here.
    fn judge(&mut self, _: &str, _: &str) -> Result<Likelihood, ApiError> {
        Err(ApiError::internal("fillings are not judged"))
    }
}
