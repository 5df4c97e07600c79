//! The options that say how tokens are chosen, where a text ends, and which form it follows.

use std::error::Error;
use std::path::{Path, PathBuf};

use clap::Args;
use headwise::engine::constrain::{ConstraintFactory, ConstraintLimits, ConstraintSpec};
use headwise::engine::{Generation, Sampler, Sampling, StopTexts, TextModel};

use super::samplers::SamplerOptions;

/// How tokens are chosen.
#[derive(Debug, Args)]
pub struct SamplingOptions {
    /// Randomness; 0 always takes the likeliest token
    #[arg(long, default_value_t = 0.0)]
    pub temperature: f32,
    /// Draw from so many of the likeliest tokens; 0 from all
    #[arg(long, default_value_t = 0)]
    top_k: usize,
    /// Draw from the likeliest tokens that hold this share of the probability
    #[arg(long, default_value_t = 1.0)]
    top_p: f32,
    /// Draw from tokens at least this share as likely as the likeliest
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    min_p: f32,
    /// Draw from the tokens whose surprise is nearest to what is expected, as many as hold this share of the probability
    #[arg(long, value_name = "SHARE", default_value_t = 1.0)]
    typical_p: f32,
    /// Make tokens of the prompt and the answer less likely, by this factor of their scores
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    repetition_penalty: f32,
    /// Take this off the scores of tokens that the answer has
    #[arg(long, value_name = "SCORE", default_value_t = 0.0, allow_negative_numbers = true)]
    presence_penalty: f32,
    /// Take this off the scores of tokens for every time that the answer has them
    #[arg(long, value_name = "SCORE", default_value_t = 0.0, allow_negative_numbers = true)]
    frequency_penalty: f32,
    /// Add BIAS to the score of token ID; may be given several times
    #[arg(long, value_name = "ID=BIAS", value_parser = bias)]
    logit_bias: Vec<(u32, f32)>,
    /// Seed of the draws
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Let the form of the answer begin after this text, such as `</think>`; what comes before is free
    #[arg(long, value_name = "TEXT")]
    form_after: Option<String>,
}

/// Where a text ends.
#[derive(Debug, Args)]
pub struct Ending {
    /// Do not end before so many tokens
    #[arg(long, value_name = "TOKENS", default_value_t = 0)]
    min_tokens: usize,
    /// Write on where the model would end
    #[arg(long)]
    ignore_eos: bool,
    /// End before this text; may be given several times
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
}

/// The form that an answer follows.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub struct Form {
    /// Answer with JSON that follows the JSON Schema in FILE
    #[arg(long, value_name = "FILE")]
    json_schema: Option<PathBuf>,
    /// Answer with a text that matches a regular expression as a whole
    #[arg(long, value_name = "EXPRESSION")]
    regex: Option<String>,
    /// Answer with this text, or one of several
    #[arg(long, value_name = "TEXT")]
    choice: Vec<String>,
    /// Answer with a text of the grammar in FILE, in the dialect of Lark that llguidance documents
    #[arg(long, value_name = "FILE")]
    grammar: Option<PathBuf>,
}

impl SamplingOptions {
    /// The sampler of every answer of `model` that follows `form`; each draws for itself.
    pub fn sampler(
        &self,
        more: &SamplerOptions,
        model: &TextModel,
        ending: &Ending,
        form: &Form,
    ) -> Result<Sampler, Box<dyn Error>> {
        let mut sampling = Sampling {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            typical_p: self.typical_p,
            repetition_penalty: self.repetition_penalty,
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
            logit_bias: self.logit_bias.clone(),
            min_tokens: ending.min_tokens,
            seed: self.seed,
            ..Sampling::default()
        };
        more.add(&mut sampling, model)?;
        sampling.check(model.engine.spec().vocabulary)?;
        let sampler = Sampler::of(sampling);
        let Some(spec) = form.spec()? else {
            return match &self.form_after {
                Some(_) => Err("--form-after says where a form begins, and there is none: add --json-schema, --regex, --choice or --grammar".into()),
                None => Ok(sampler),
            };
        };
        let factory = ConstraintFactory::new(&model.tokenizer)?;
        let constraint = factory.compile(&spec, &ConstraintLimits::default())?;
        Ok(sampler.with_constraint(constraint.after(self.form_after.as_deref().unwrap_or_default())))
    }
}

impl Ending {
    /// How far to write: at most `tokens` tokens.
    pub fn generation(&self, model: &TextModel, tokens: usize) -> Generation {
        match self.ignore_eos {
            true => Generation { tokens, stop: Vec::new() },
            false => model.generation(tokens),
        }
    }

    /// Finds the texts that end an answer.
    pub fn stops(&self) -> StopTexts {
        StopTexts::new(self.stop.iter().cloned())
    }
}

impl Form {
    fn spec(&self) -> Result<Option<ConstraintSpec>, Box<dyn Error>> {
        let Self { json_schema, regex, choice, grammar } = self;
        Ok(match (json_schema, regex, grammar) {
            (Some(path), _, _) => Some(ConstraintSpec::JsonSchema(schema(path)?)),
            (_, Some(regex), _) => Some(ConstraintSpec::Regex(regex.clone())),
            (_, _, Some(path)) => Some(ConstraintSpec::Grammar(super::read_text(path)?)),
            _ if !choice.is_empty() => Some(ConstraintSpec::Choice(choice.clone())),
            _ => None,
        })
    }
}

fn schema(path: &Path) -> Result<serde_json::Value, Box<dyn Error>> {
    let text = super::read_text(path)?;
    serde_json::from_str(&text).map_err(|error| format!("{} is not JSON: {error}", path.display()).into())
}

fn bias(text: &str) -> Result<(u32, f32), String> {
    let parsed = text.split_once('=').and_then(|(id, bias)| Some((id.parse().ok()?, bias.parse().ok()?)));
    parsed.ok_or_else(|| "it must be a token and what is added to its score, for example 42=-5".into())
}
