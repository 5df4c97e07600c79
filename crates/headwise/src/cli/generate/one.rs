//! One answer, printed as it is written.

use std::error::Error;
use std::io::Write;
use std::time::Duration;

use headwise::engine::cache::CachePolicy;
use headwise::engine::{Generated, PromptLookup, Sequence, Session, TextModel, generate_with};
use headwise::kernels::profile;
use headwise::lab;
use headwise::models::tokenizer::{AddBos, Encode};

use super::super::Outcome;
use super::super::output::Output;
use super::super::segments::Begun;
use super::Generate;
use super::answer::{Answer, Token, table};
use super::confidence::Sure;

impl Generate {
    /// Continues `prompt`.
    pub(super) fn run_one(&self, policy: &CachePolicy, prompt: &str) -> Outcome {
        let model = self.open()?;
        if self.profile {
            profile::start();
        }
        let output = self.save_session.as_deref().map(Output::open).transpose()?;
        let Begun { mut sequence, ids, read, time } = self.begun(&model, policy, prompt)?;
        let lookup = self.prompt_lookup.map(PromptLookup::new);
        let mut sampler = self.sampling.sampler(&self.samplers, &model, &self.ending, &self.form)?;
        sampler.read(&read);
        let (mut decoder, mut stops) = (model.tokenizer.decoder(), self.ending.stops());
        let mut out = std::io::stdout().lock();
        let (mut written, mut tokens) = (Ok(()), Vec::new());
        let generation = self.ending.generation(&model, self.tokens);
        let mut generated =
            generate_with(&model.engine, &mut sequence, &ids, &generation, &mut sampler, lookup.as_ref(), |token| {
                tokens.extend(self.logprobs.map(|likeliest| token.log_probabilities(likeliest)));
                let _span = profile::span("writing text");
                let text = stops.push(&decoder.push(token.id));
                if !self.json {
                    let piece = if self.ids { format!("{} ", token.id) } else { text };
                    written = out.write_all(piece.as_bytes()).and_then(|()| out.flush());
                }
                written.is_ok() && !stops.stopped()
            })?;
        written?;
        generated.prefill += time;
        let prompt_tokens = read.len() + ids.len();
        let sure = self.confidence.as_deref().map(|answer| Sure::of(&model, &ids, &generated.ids, answer));
        let sure = sure.transpose()?;
        if self.json {
            let ended = generated.stopped || generated.complete;
            let answer = Answer::new(&model, prompt, &generated.ids, ended, self.ending.stops());
            let answer = if self.logprobs.is_some() { answer.with_tokens(&model, &tokens) } else { answer };
            let answer = Answer { confidence: sure.flatten(), ..answer };
            writeln!(out, "{}", answer.line()?)?;
        } else {
            let rest = stops.push(&decoder.finish()) + &stops.finish();
            writeln!(out, "{}", if self.ids { String::new() } else { rest })?;
            if self.logprobs.is_some() {
                let tokens: Vec<Token> = tokens.iter().map(|token| Token::new(&model, token)).collect();
                write!(out, "\n{}", table(&tokens))?;
            }
            match sure {
                Some(Some(sure)) => writeln!(out, "\n{}", sure.line())?,
                Some(None) => writeln!(out, "\nconfidence: no answer found; name it with --confidence ANSWER")?,
                None => {}
            }
        }
        if let Some(output) = output {
            let (sequence, unread) = (sequence.clone(), generated.unread().to_vec());
            output.write(Session { sequence, unread, note: String::new() }.to_bytes(&model.engine)?)?;
        }
        if self.stats {
            print_statistics(&sequence, prompt_tokens, &generated);
            print_experts(&model);
        }
        if self.profile {
            profile::finish();
            print_profile(prompt_tokens, &generated);
        }
        Ok(())
    }
}

impl Generate {
    /// The text that goes on, an empty one or that of a session, and what is to be read next of it.
    fn begun(&self, model: &TextModel, policy: &CachePolicy, prompt: &str) -> Result<Begun, Box<dyn Error>> {
        let Some(path) = &self.session else { return self.begin(model, policy, prompt) };
        let Session { sequence, unread, .. } =
            Session::load(&model.engine, path, self.cache.is_some().then_some(policy))?;
        let ids = [unread, model.tokenizer.encode(prompt, WITHIN)?].concat();
        Ok(Begun { sequence, ids, read: Vec::new(), time: Duration::ZERO })
    }
}

/// Text in the middle of another.
const WITHIN: Encode = Encode { add_bos: AddBos::Never, parse_special: false };

/// Timings and cache size on standard error.
fn print_statistics(sequence: &Sequence, prompt: usize, generated: &Generated) {
    eprintln!(
        "prompt {prompt} tokens, {:.1} tokens/s; written {}, {:.1} tokens/s; cache {}: {:.2} MB, at most {:.2} MB",
        prompt as f64 / generated.prefill.as_secs_f64(),
        generated.ids.len(),
        generated.tokens_per_second(),
        sequence.policy(),
        sequence.bytes().total() as f64 / 1e6,
        sequence.peak_bytes() as f64 / 1e6,
    );
    if generated.drafted > 0 {
        eprintln!(
            "{} of {} tokens of drafts accepted; {} forwards",
            generated.accepted,
            generated.drafted,
            generated.steps.len()
        );
    }
}

/// What was found and loaded of experts that stay in their file.
fn print_experts(model: &TextModel) {
    let Some(experts) = model.engine.experts() else { return };
    let found = experts.statistics();
    let layers: Vec<String> = found.layers.iter().map(|layer| format!("{:.0}", 100.0 * layer.rate())).collect();
    eprintln!(
        "experts {}: {:.1} % of those needed were in memory (by mixture: {}), {} loaded on demand and {} ahead; at most {:.2} of {:.2} MB",
        experts.policy(),
        100.0 * found.hits().rate(),
        layers.join(", "),
        found.loads_on_demand,
        found.loads_ahead,
        found.peak_bytes as f64 / 1e6,
        found.total_bytes as f64 / 1e6,
    );
}

/// Two tables on standard error: reading the prompt, and writing after it.
fn print_profile(prompt: usize, generated: &Generated) {
    let steps = generated.steps.len();
    let parts = [
        (format!("prompt of {prompt} tokens"), &generated.prefill_profile),
        (format!("{steps} further tokens"), &generated.steps_profile),
    ];
    for (title, profile) in parts {
        if let Some(profile) = profile {
            eprintln!("\n{}", lab::profile::table(&title, &lab::profile::rows(profile)).trim_end());
        }
    }
}
