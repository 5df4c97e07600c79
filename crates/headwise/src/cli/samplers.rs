//! The options of DRY, XTC and Mirostat.

use clap::Args;
use headwise::engine::{Breakers, Dry, Mirostat, Sampling, TextModel, TokenTexts, Xtc};

/// How repetitions are held back, and how surprising a text may be; names and values as in llama.cpp.
#[derive(Debug, Args)]
pub struct SamplerOptions {
    /// DRY: make tokens less likely that would go on with a repetition, by this much for the shortest that counts; 0 for none, 0.8 is usual
    #[arg(long, value_name = "SCORE", default_value_t = 0.0)]
    dry_multiplier: f32,
    /// DRY: what the penalty grows by with every token of the repetition more
    #[arg(long, value_name = "FACTOR", default_value_t = 1.75)]
    dry_base: f32,
    /// DRY: length from which repetitions count
    #[arg(long, value_name = "TOKENS", default_value_t = 2)]
    dry_allowed_length: usize,
    /// DRY: how many of the last tokens are looked at; -1 for all, 0 for none
    #[arg(long, value_name = "TOKENS", default_value_t = -1, allow_negative_numbers = true)]
    dry_penalty_last_n: i64,
    /// DRY: a text that repetitions do not reach over; may be given several times. Line end, colon, quotation mark and asterisk if not given
    #[arg(long, value_name = "TEXT")]
    dry_sequence_breaker: Vec<String>,
    /// XTC: leave the likeliest tokens out so often, where others are likely enough
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    xtc_probability: f32,
    /// XTC: how likely a token is that may be left out
    #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
    xtc_threshold: f32,
    /// Mirostat: 2 keeps the surprise of tokens near a target, 0 does not
    #[arg(long, value_name = "VERSION", default_value_t = 0, value_parser = mirostat_version)]
    mirostat: u8,
    /// Mirostat: the surprise to keep to, in bits
    #[arg(long, value_name = "BITS", default_value_t = 5.0)]
    mirostat_tau: f32,
    /// Mirostat: how fast it follows
    #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
    mirostat_eta: f32,
}

impl SamplerOptions {
    /// Adds what they say to `sampling`, for `model`.
    pub fn add(&self, sampling: &mut Sampling, model: &TextModel) -> Result<(), String> {
        if self.dry_penalty_last_n < -1 {
            return Err(format!(
                "--dry-penalty-last-n is {}: it must be -1 (all tokens), 0 (none) or a number of tokens",
                self.dry_penalty_last_n
            ));
        }
        if self.dry_multiplier != 0.0 && self.dry_penalty_last_n != 0 {
            let breakers = match self.dry_sequence_breaker.as_slice() {
                [] => Breakers::USUAL.map(String::from).to_vec(),
                asked => asked.to_vec(),
            };
            sampling.dry = Some(Dry {
                multiplier: self.dry_multiplier,
                base: self.dry_base,
                allowed_length: self.dry_allowed_length,
                last: usize::try_from(self.dry_penalty_last_n).ok(),
                breakers: Breakers::new(breakers, TokenTexts::of(&model.tokenizer).into()),
            });
        }
        if self.xtc_probability != 0.0 {
            sampling.xtc = Some(Xtc { probability: self.xtc_probability, threshold: self.xtc_threshold });
        }
        if self.mirostat == 2 {
            sampling.mirostat = Some(Mirostat { tau: self.mirostat_tau, eta: self.mirostat_eta });
        }
        Ok(())
    }
}

fn mirostat_version(text: &str) -> Result<u8, String> {
    match text {
        "0" => Ok(0),
        "2" => Ok(2),
        _ => Err("it must be 0 (none) or 2 (the second version)".into()),
    }
}
