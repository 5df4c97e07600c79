//! `headwise generate`

use std::io::{Read, Write};
use std::path::PathBuf;

use clap::Args;
use headwise::engine::cache::CachePolicy;
use headwise::engine::{Generated, Generation, Sampler, generate};
use headwise::kernels::profile;
use headwise::lab;

use super::Outcome;
use super::model::Run;

/// Continue a prompt with any cache policy.
#[derive(Debug, Args)]
pub struct Generate {
    /// A model file, or a name that `pull` knows
    model: String,
    /// The prompt; `-` reads it from standard input
    #[arg(short, long, conflicts_with = "prompt_file", required_unless_present = "prompt_file")]
    prompt: Option<String>,
    /// A file with the prompt
    #[arg(long)]
    prompt_file: Option<PathBuf>,
    /// Cache policy, for example `snapkv(keep=0.25) + int8`
    #[arg(long, default_value = "full")]
    cache: String,
    /// Most tokens to write
    #[arg(short = 'n', long, default_value_t = 128)]
    tokens: usize,
    /// Continue the text as it is, without the chat template
    #[arg(long)]
    raw: bool,
    /// Randomness; 0 always takes the likeliest token
    #[arg(long, default_value_t = 0.0)]
    temperature: f32,
    /// Draw from so many of the likeliest tokens; 0 from all
    #[arg(long, default_value_t = 0)]
    top_k: usize,
    /// Draw from the likeliest tokens that hold this share of the probability
    #[arg(long, default_value_t = 1.0)]
    top_p: f32,
    /// Seed of the draws
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print token ids instead of text
    #[arg(long)]
    ids: bool,
    /// Print timings and cache size on standard error
    #[arg(long)]
    stats: bool,
    /// Print where the time of prompt and text went, by operation, on standard error
    #[arg(long)]
    profile: bool,
    #[command(flatten)]
    run: Run,
}

impl Generate {
    /// Runs the command.
    pub fn run(self) -> Outcome {
        let policy = CachePolicy::parse(&self.cache)?;
        let prompt = self.prompt_text()?;
        if prompt.is_empty() {
            return Err("the prompt is empty: it must have at least one character".into());
        }
        let model = self.run.open(&self.model)?;
        if self.profile {
            profile::start();
        }
        let ids = if self.raw { model.encode(&prompt)? } else { model.encode_turn(&prompt, "")? };
        let mut sequence = model.engine.sequence(&policy)?;
        let generation = Generation { tokens: self.tokens, stop: model.tokenizer.end_of_generation_ids().to_vec() };
        let mut sampler = Sampler::new(self.temperature, self.top_k, self.top_p, self.seed);
        let mut decoder = model.tokenizer.decoder();
        let mut out = std::io::stdout().lock();
        let mut written = Ok(());
        let generated = generate(&model.engine, &mut sequence, &ids, &generation, &mut sampler, |id| {
            let _span = profile::span("writing text");
            let piece = if self.ids { format!("{id} ") } else { decoder.push(id) };
            written = out.write_all(piece.as_bytes()).and_then(|()| out.flush());
            written.is_ok()
        })?;
        written?;
        let rest = if self.ids { String::new() } else { decoder.finish() };
        writeln!(out, "{rest}")?;
        if self.stats {
            let bytes = sequence.bytes();
            eprintln!(
                "prompt {} tokens, {:.1} tokens/s; written {}, {:.1} tokens/s; cache {policy}: {:.2} MB, at most {:.2} MB",
                ids.len(),
                ids.len() as f64 / generated.prefill.as_secs_f64(),
                generated.ids.len(),
                generated.tokens_per_second(),
                bytes.total() as f64 / 1e6,
                sequence.peak_bytes() as f64 / 1e6,
            );
        }
        if self.profile {
            profile::finish();
            print_profile(ids.len(), &generated);
        }
        Ok(())
    }

    fn prompt_text(&self) -> Result<String, Box<dyn std::error::Error>> {
        match (&self.prompt, &self.prompt_file) {
            (Some(prompt), _) if prompt != "-" => Ok(prompt.clone()),
            (_, Some(path)) => super::read_text(path),
            _ => {
                let mut bytes = Vec::new();
                std::io::stdin().read_to_end(&mut bytes)?;
                super::as_text(bytes, "standard input")
            }
        }
    }
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
