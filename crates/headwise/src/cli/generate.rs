//! `headwise generate`

mod answer;
mod beams;
mod confidence;
mod exit;
mod one;
mod sap;
mod several;

use std::error::Error;
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use headwise::engine::cache::CachePolicy;
use headwise::engine::{EngineError, Sequence, TextError, TextModel};
use headwise::models::embedded;

use self::sap::SapOptions;
use super::Outcome;
use super::model::Run;
use super::samplers::SamplerOptions;
use super::sampling::{Ending, Form, SamplingOptions};
use super::segments::{Begun, SegmentOptions};

/// Continue a prompt with any cache policy.
#[derive(Debug, Args)]
pub struct Generate {
    /// A model file, or a name that `pull` knows
    #[arg(default_value = embedded::NAME)]
    model: String,
    /// The prompt; `-` reads it from standard input
    #[arg(short, long, conflicts_with = "prompt_file", required_unless_present_any = ["prompt_file", "prompts", "session", "files"])]
    prompt: Option<String>,
    /// A file with the prompt
    #[arg(long)]
    prompt_file: Option<PathBuf>,
    /// A file with a prompt on every line; all are read and continued together, and printed as lines of JSON
    #[arg(long, conflicts_with_all = ["prompt", "prompt_file", "ids", "profile"])]
    prompts: Option<PathBuf>,
    #[command(flatten)]
    segments: SegmentOptions,
    /// Cache policy, for example `snapkv(keep=0.25) + int8`; `full` if not given, or that of the session
    #[arg(long)]
    cache: Option<String>,
    /// A folder with a LoRA adapter of the model, as PEFT writes it
    #[arg(
        long,
        value_name = "FOLDER",
        conflicts_with_all = ["files", "opera", "exit", "sap", "confidence", "session", "save_session"],
    )]
    lora: Option<PathBuf>,
    /// Most tokens to write
    #[arg(short = 'n', long, default_value_t = 128)]
    tokens: usize,
    /// Continue the text as it is, without the chat template
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    sampling: SamplingOptions,
    #[command(flatten)]
    samplers: SamplerOptions,
    #[command(flatten)]
    ending: Ending,
    #[command(flatten)]
    form: Form,
    /// Draw so many answers to one prompt, which is read once; the best come first
    #[arg(long = "n", value_name = "ANSWERS", default_value_t = 1, conflicts_with_all = ["prompts", "ids", "profile"])]
    n: usize,
    /// Search for the likeliest answers with so many beams; prints them all, the best first
    #[arg(long, conflicts_with_all = ["prompts", "ids", "profile", "n", "logprobs", "SamplingOptions", "SamplerOptions", "Ending", "Form", "prompt_lookup"])]
    beams: Option<usize>,
    /// Rank the answers of beams by log-probability ÷ length to this power
    #[arg(long, default_value_t = 1.0, requires = "beams", allow_negative_numbers = true)]
    length_penalty: f64,
    /// Search with beams that are punished for leaning on the answer instead of the prompt, and go back when all do; takes parameters,
    /// for example `opera(beams=3, candidates=3)`
    #[arg(
        long,
        value_name = "SPEC",
        num_args = 0..=1,
        default_missing_value = "opera",
        conflicts_with_all = ["prompts", "ids", "profile", "n", "beams", "logprobs", "SamplingOptions", "SamplerOptions", "Ending", "Form", "prompt_lookup"],
    )]
    opera: Option<String>,
    /// Let a token leave the model after a layer that is sure of the next one; takes parameters, for example
    /// `early_exit(layer=10, confidence=0.9)`
    #[arg(
        long,
        value_name = "SPEC",
        num_args = 0..=1,
        default_missing_value = "early_exit",
        conflicts_with_all = ["prompts", "profile", "n", "beams", "opera", "sap", "logprobs", "prompt_lookup", "confidence", "session", "save_session", "files"],
    )]
    exit: Option<String>,
    #[command(flatten)]
    sap: SapOptions,
    /// Read so many tokens ahead, copied from what followed the same words before: the same answer, sooner where a text copies
    #[arg(long, value_name = "TOKENS", conflicts_with_all = ["prompts", "n"])]
    prompt_lookup: Option<usize>,
    /// Print the log-probability of every token, and those of so many of the likeliest in its place
    #[arg(long, value_name = "LIKELIEST", conflicts_with = "ids")]
    logprobs: Option<usize>,
    /// Print how sure the answer is: where the response says "the answer is" or has a box, or the ANSWER named here
    #[arg(
        long,
        value_name = "ANSWER",
        num_args = 0..=1,
        default_missing_value = "",
        conflicts_with_all = ["prompts", "ids", "profile", "n", "beams", "opera", "sap"],
    )]
    confidence: Option<String>,
    /// Go on with the text that --save-session kept, as it is; the prompt may be left out
    #[arg(long, value_name = "FILE", conflicts_with_all = ["prompts", "n", "beams", "opera", "sap", "confidence"])]
    session: Option<PathBuf>,
    /// Keep the text with its cache in a file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["prompts", "n", "beams", "opera", "sap"])]
    save_session: Option<String>,
    /// Print answers as lines of JSON
    #[arg(long, conflicts_with = "ids")]
    json: bool,
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
        let policy = CachePolicy::parse(self.cache.as_deref().unwrap_or("full"))?;
        if let Some(path) = &self.prompts {
            return self.run_all(&policy, path);
        }
        let prompt = self.prompt_text()?;
        if prompt.is_empty() && self.session.is_none() && self.segments.files.is_empty() {
            return Err("the prompt is empty: it must have at least one character".into());
        }
        if let Some(spec) = &self.opera {
            return self.run_opera(&policy, &prompt, spec);
        }
        if let Some(spec) = &self.exit {
            return self.run_exit(&policy, &prompt, spec);
        }
        if let Some(spec) = &self.sap.sap {
            return self.run_sap(&policy, &prompt, spec);
        }
        match (self.beams, self.n) {
            (Some(beams), _) => self.run_beams(&policy, &prompt, beams),
            (_, 0) => Err("--n is 0: it must be at least 1".into()),
            (_, 1) => self.run_one(&policy, &prompt),
            (_, n) if self.sampling.temperature <= 0.0 => Err(format!(
                "--n {n} would write the same answer {n} times: draw with --temperature, or search with --beams {n}"
            )
            .into()),
            _ => self.run_several(&policy, &prompt),
        }
    }

    /// The model, with its adapter if one was named.
    fn open(&self) -> Result<TextModel, Box<dyn Error>> {
        let mut model = self.run.open(&self.model)?;
        if let Some(folder) = &self.lora {
            model.engine.add_adapter("lora", folder)?;
        }
        Ok(model)
    }

    /// An empty text under `policy`, with the adapter of `model` if it has one.
    fn sequence(model: &TextModel, policy: &CachePolicy) -> Result<Sequence, EngineError> {
        let adapter = model.engine.adapters().first().map(|named| &named.adapter);
        model.engine.adapted_sequence(policy, adapter)
    }

    /// The text of `prompt` and the segments after it, as far as they have to be read together.
    fn begin(&self, model: &TextModel, policy: &CachePolicy, prompt: &str) -> Result<Begun, Box<dyn Error>> {
        if !self.segments.files.is_empty() {
            return self.segments.begin(model, policy, prompt, self.raw);
        }
        let (sequence, ids) = (Self::sequence(model, policy)?, self.encode(model, prompt)?);
        Ok(Begun { sequence, ids, read: Vec::new(), time: Duration::ZERO })
    }

    fn encode(&self, model: &TextModel, prompt: &str) -> Result<Vec<u32>, TextError> {
        if self.raw { model.encode(prompt) } else { model.encode_turn(prompt, "") }
    }

    fn prompt_text(&self) -> Result<String, Box<dyn Error>> {
        match (&self.prompt, &self.prompt_file) {
            (Some(prompt), _) if prompt != "-" => Ok(prompt.clone()),
            (_, Some(path)) => super::read_text(path),
            (None, None) => Ok(String::new()),
            _ => {
                let mut bytes = Vec::new();
                std::io::stdin().read_to_end(&mut bytes)?;
                super::as_text(bytes, "standard input")
            }
        }
    }
}
