//! `headwise generate`

use std::error::Error;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use headwise::engine::cache::CachePolicy;
use headwise::engine::{Generated, Sampler, TextError, TextModel, Writing, generate, generate_all};
use headwise::kernels::profile;
use headwise::lab;
use headwise::models::embedded;
use indicatif::ProgressBar;

use super::Outcome;
use super::model::Run;
use super::progress::style;

/// Continue a prompt with any cache policy.
#[derive(Debug, Args)]
pub struct Generate {
    /// A model file, or a name that `pull` knows
    #[arg(default_value = embedded::NAME)]
    model: String,
    /// The prompt; `-` reads it from standard input
    #[arg(short, long, conflicts_with = "prompt_file", required_unless_present_any = ["prompt_file", "prompts"])]
    prompt: Option<String>,
    /// A file with the prompt
    #[arg(long)]
    prompt_file: Option<PathBuf>,
    /// A file with a prompt on every line; all are read and continued together, and printed as lines of JSON
    #[arg(long, conflicts_with_all = ["prompt", "prompt_file", "ids", "profile"])]
    prompts: Option<PathBuf>,
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
        if let Some(path) = &self.prompts {
            return self.run_all(&policy, path);
        }
        let prompt = self.prompt_text()?;
        if prompt.is_empty() {
            return Err("the prompt is empty: it must have at least one character".into());
        }
        let model = self.run.open(&self.model)?;
        if self.profile {
            profile::start();
        }
        let ids = self.encode(&model, &prompt)?;
        let mut sequence = model.engine.sequence(&policy)?;
        let generation = model.generation(self.tokens);
        let mut sampler = self.sampler(0);
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

    fn encode(&self, model: &TextModel, prompt: &str) -> Result<Vec<u32>, TextError> {
        if self.raw { model.encode(prompt) } else { model.encode_turn(prompt, "") }
    }

    /// The sampler of prompt number `index`; each draws for itself.
    fn sampler(&self, index: u64) -> Sampler {
        Sampler::new(self.temperature, self.top_k, self.top_p, self.seed.wrapping_add(index))
    }

    /// Continues every line of the file at `path`.
    fn run_all(&self, policy: &CachePolicy, path: &Path) -> Outcome {
        let text = super::read_text(path)?;
        let prompts: Vec<&str> = text.lines().collect();
        if let Some(line) = prompts.iter().position(|prompt| prompt.is_empty()) {
            return Err(format!("line {} of {} is empty: every line must be a prompt", line + 1, path.display()).into());
        }
        if prompts.is_empty() {
            return Err(format!("{} is empty: it must have a prompt on every line", path.display()).into());
        }
        let model = self.run.open(&self.model)?;
        let writing = |(index, prompt): (usize, &&str)| {
            Ok(Writing::new(model.engine.sequence(policy)?, self.encode(&model, prompt)?, self.sampler(index as u64)))
        };
        let mut texts = prompts.iter().enumerate().map(writing).collect::<Result<Vec<_>, Box<dyn Error>>>()?;
        let bar = ProgressBar::new_spinner().with_style(style("{spinner} {pos} tokens, {per_sec}"));
        let started = Instant::now();
        generate_all(&model.engine, &mut texts, &model.generation(self.tokens), |tokens| {
            bar.set_position(tokens as u64)
        })?;
        bar.finish_and_clear();
        let mut out = std::io::stdout().lock();
        for (prompt, text) in prompts.iter().zip(&texts) {
            let mut decoder = model.tokenizer.decoder();
            let mut written: String = text.written().iter().map(|&id| decoder.push(id)).collect();
            written.push_str(&decoder.finish());
            let end = if text.stopped() { "stop" } else { "length" };
            writeln!(out, "{}", serde_json::json!({ "prompt": prompt, "text": written, "finish_reason": end }))?;
        }
        if self.stats {
            let written: usize = texts.iter().map(|text| text.written().len()).sum();
            let seconds = started.elapsed().as_secs_f64();
            eprintln!("{} prompts, {written} tokens written, in {seconds:.2} s", texts.len());
        }
        Ok(())
    }

    fn prompt_text(&self) -> Result<String, Box<dyn Error>> {
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
