//! `headwise chat`

use std::io::{BufRead, IsTerminal, Write};

use clap::Args;
use headwise::engine::cache::CachePolicy;
use headwise::engine::{Sampler, generate};
use headwise::models::chat::Message;
use headwise::models::tokenizer::Encode;

use super::Outcome;
use super::model::Run;

/// Talk with a model under any cache policy.
#[derive(Debug, Args)]
pub struct Chat {
    /// A model file, or a name that `pull` knows
    model: String,
    /// Cache policy, for example `snapkv(keep=0.25) + int8`
    #[arg(long, default_value = "full")]
    cache: String,
    /// What the model is told before the conversation
    #[arg(long)]
    system: Option<String>,
    /// Most tokens of an answer
    #[arg(short = 'n', long, default_value_t = 512)]
    tokens: usize,
    /// Randomness; 0 always takes the likeliest token
    #[arg(long, default_value_t = 0.0)]
    temperature: f32,
    /// Seed of the draws
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    run: Run,
}

impl Chat {
    /// Runs the command.
    pub fn run(self) -> Outcome {
        let policy = CachePolicy::parse(&self.cache)?;
        let model = self.run.open(&self.model)?;
        let template =
            model.template.as_ref().ok_or("this model has no chat template: use `headwise generate --raw`")?;
        let mut sequence = model.engine.sequence(&policy)?;
        let generation = model.generation(self.tokens);
        let mut sampler = Sampler::new(self.temperature, 0, 1.0, self.seed);
        let mut messages: Vec<Message> = self.system.iter().map(Message::system).collect();
        // What the cache has read already is never read again: only the text after it is encoded.
        let mut read = String::new();
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
            messages.push(Message::user(line));
            let text = template.render(&messages, true)?;
            let new = text
                .strip_prefix(&read)
                .ok_or("this model's chat template rewrites earlier turns, which a running cache cannot follow")?;
            let ids = model.tokenizer.encode(new, Encode::TEMPLATE)?;
            let mut decoder = model.tokenizer.decoder();
            let mut answer = String::new();
            generate(&model.engine, &mut sequence, &ids, &generation, &mut sampler, |id| {
                let piece = decoder.push(id);
                answer.push_str(&piece);
                out.write_all(piece.as_bytes()).and_then(|()| out.flush()).is_ok()
            })?;
            let rest = decoder.finish();
            answer.push_str(&rest);
            writeln!(out, "{rest}")?;
            read = text + &answer;
            messages.push(Message::assistant(answer));
        }
    }
}
