//! `headwise chat`

use std::error::Error;
use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;

use clap::Args;
use headwise::engine::cache::CachePolicy;
use headwise::engine::{Session, TextModel, generate};
use headwise::models::chat::Message;
use headwise::models::tokenizer::Encode;
use serde::{Deserialize, Serialize};

use super::Outcome;
use super::model::Run;
use super::samplers::SamplerOptions;
use super::sampling::{Ending, Form, SamplingOptions};

/// Talk with a model under any cache policy.
#[derive(Debug, Args)]
pub struct Chat {
    /// A model file, or a name that `pull` knows
    model: String,
    /// Cache policy, for example `snapkv(keep=0.25) + int8`; `full` if not given, or that of the session
    #[arg(long)]
    cache: Option<String>,
    /// Keep the conversation in a file, and go on with the one that is there
    #[arg(long, value_name = "FILE")]
    session: Option<PathBuf>,
    /// What the model is told before the conversation
    #[arg(long)]
    system: Option<String>,
    /// Most tokens of an answer
    #[arg(short = 'n', long, default_value_t = 512)]
    tokens: usize,
    #[command(flatten)]
    sampling: SamplingOptions,
    #[command(flatten)]
    samplers: SamplerOptions,
    #[command(flatten)]
    ending: Ending,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    run: Run,
}

impl Chat {
    /// Runs the command.
    pub fn run(self) -> Outcome {
        let policy = CachePolicy::parse(self.cache.as_deref().unwrap_or("full"))?;
        let model = self.run.open(&self.model)?;
        let template =
            model.template.as_ref().ok_or("this model has no chat template: use `headwise generate --raw`")?;
        let generation = self.ending.generation(&model, self.tokens);
        let fresh = self.sampling.sampler(&self.samplers, &model, &self.ending, &self.form)?;
        let mut sampler = fresh.clone();
        let (mut session, mut said) = self.begun(&model, &policy)?;
        let (input, interactive) = (std::io::stdin(), std::io::stdin().is_terminal());
        let mut out = std::io::stdout().lock();
        loop {
            if interactive {
                write!(out, "> ")?;
                out.flush()?;
            }
            let mut line = String::new();
            if input.lock().read_line(&mut line)? == 0 {
                return Ok(());
            }
            let line = line.trim();
            if line.is_empty() {
                continue;
            }
            said.messages.push(Message::user(line));
            let text = template.render(&said.messages, &[], true)?;
            let new = text
                .strip_prefix(&said.read)
                .ok_or("this model's chat template rewrites earlier turns, which a running cache cannot follow")?;
            let ids = [&session.unread[..], &model.tokenizer.encode(new, Encode::TEMPLATE)?].concat();
            let (mut decoder, mut stops) = (model.tokenizer.decoder(), self.ending.stops());
            let mut answer = String::new();
            // Every answer follows the form from its beginning.
            sampler.follow_as(&fresh);
            let generated = generate(&model.engine, &mut session.sequence, &ids, &generation, &mut sampler, |id| {
                let piece = decoder.push(id);
                answer.push_str(&piece);
                out.write_all(stops.push(&piece).as_bytes()).and_then(|()| out.flush()).is_ok() && !stops.stopped()
            })?;
            let rest = decoder.finish();
            answer.push_str(&rest);
            writeln!(out, "{}{}", stops.push(&rest), stops.finish())?;
            said.read = text + &answer;
            said.messages.push(Message::assistant(answer));
            session.unread = generated.unread().to_vec();
            // They are read with the next line, and so is what ended the answer.
            sampler.take_back(session.unread.len() + usize::from(generated.stopped));
            if let Some(path) = &self.session {
                session.note = serde_json::to_string(&said)?;
                session.save(&model.engine, path)?;
            }
        }
    }

    /// The conversation in the session's file, or a new one.
    fn begun(&self, model: &TextModel, policy: &CachePolicy) -> Result<(Session, Conversation), Box<dyn Error>> {
        match self.session.as_deref().filter(|path| path.exists()) {
            Some(path) => {
                let session = Session::load(&model.engine, path, self.cache.is_some().then_some(policy))?;
                let conversation = serde_json::from_str(&session.note)
                    .map_err(|_| format!("{} is no conversation: it was kept by another command", path.display()))?;
                Ok((session, conversation))
            }
            None => {
                let session =
                    Session { sequence: model.engine.sequence(policy)?, unread: Vec::new(), note: String::new() };
                let messages = self.system.iter().map(Message::system).collect();
                Ok((session, Conversation { messages, read: String::new() }))
            }
        }
    }
}

/// What was said.
#[derive(Serialize, Deserialize)]
struct Conversation {
    messages: Vec<Message>,
    /// The text that the cache has read, or will have with its unread tokens: only what follows is encoded.
    read: String,
}
