//! How the tokens of a request are chosen.

use headwise_engine::{Breakers, Dry, Mirostat, Sampler, Sampling, SamplingError, Xtc};

use super::ApiError;
use super::generation::{DEFAULT_TEMPERATURE, GenerationRequest};
use crate::Served;

/// The most randomness: OpenAI's.
const MOST_TEMPERATURE: f32 = 2.0;
/// Most texts that repetitions do not reach over, and bytes of each.
const MOST_BREAKERS: usize = 32;
const MOST_BREAKER: usize = 64;

impl GenerationRequest {
    /// How tokens are chosen, for every answer; `seed` if the request has none.
    pub fn samplers(&self, served: &Served, seed: u64) -> Result<Vec<Sampler>, ApiError> {
        let none = Sampling::default();
        if let Some(temperature) = self.temperature.filter(|temperature| *temperature > MOST_TEMPERATURE) {
            let message = format!("temperature is {temperature}: it must be from 0 to {MOST_TEMPERATURE}");
            return Err(ApiError::parameter("temperature", message));
        }
        let sampling = Sampling {
            temperature: self.temperature.unwrap_or(DEFAULT_TEMPERATURE),
            top_k: self.top_k.unwrap_or(none.top_k),
            top_p: self.top_p.unwrap_or(none.top_p),
            min_p: self.min_p.unwrap_or(none.min_p),
            typical_p: self.typical_p.unwrap_or(none.typical_p),
            repetition_penalty: self.repetition_penalty.unwrap_or(none.repetition_penalty),
            presence_penalty: self.presence_penalty.unwrap_or(none.presence_penalty),
            frequency_penalty: self.frequency_penalty.unwrap_or(none.frequency_penalty),
            dry: self.dry(served)?,
            xtc: self.xtc(),
            mirostat: self.mirostat()?,
            logit_bias: self.biases()?,
            min_tokens: self.min_tokens.unwrap_or(none.min_tokens),
            seed: self.seed.map_or(seed, |seed| seed as u64),
        };
        sampling.check(served.model.engine.spec().vocabulary).map_err(|error| match &error {
            SamplingError::Range { parameter, .. } | SamplingError::Beside { parameter } => {
                ApiError::parameter(*parameter, error.to_string())
            }
            _ => ApiError::parameter("logit_bias", error.to_string()),
        })?;
        let first = Sampler::of(sampling);
        let first = match &self.response_format {
            Some(form) => form.hold(served, first)?,
            None => first,
        };
        Ok((0..self.answers()? as u64).map(|answer| first.number(answer)).collect())
    }

    fn dry(&self, served: &Served) -> Result<Option<Dry>, ApiError> {
        let last = self.dry_penalty_last_n.unwrap_or(-1);
        if last < -1 {
            let message =
                format!("dry_penalty_last_n is {last}: it must be -1 (all tokens), 0 (none) or a number of tokens");
            return Err(ApiError::parameter("dry_penalty_last_n", message));
        }
        let multiplier = self.dry_multiplier.unwrap_or(0.0);
        if multiplier == 0.0 || last == 0 {
            return Ok(None);
        }
        let none = Dry::default();
        Ok(Some(Dry {
            multiplier,
            base: self.dry_base.unwrap_or(none.base),
            allowed_length: self.dry_allowed_length.unwrap_or(none.allowed_length),
            last: usize::try_from(last).ok(),
            breakers: Breakers::new(self.breakers()?, served.token_texts()),
        }))
    }

    /// The texts that repetitions do not reach over.
    fn breakers(&self) -> Result<Vec<String>, ApiError> {
        let Some(breakers) = &self.dry_sequence_breakers else { return Ok(Breakers::USUAL.map(String::from).to_vec()) };
        if breakers.len() > MOST_BREAKERS || breakers.iter().any(|breaker| breaker.len() > MOST_BREAKER) {
            let message =
                format!("dry_sequence_breakers: there may be {MOST_BREAKERS} texts of at most {MOST_BREAKER} bytes");
            return Err(ApiError::parameter("dry_sequence_breakers", message));
        }
        Ok(breakers.clone())
    }

    fn xtc(&self) -> Option<Xtc> {
        let probability = self.xtc_probability.filter(|probability| *probability != 0.0)?;
        Some(Xtc { probability, threshold: self.xtc_threshold.unwrap_or(Xtc::default().threshold) })
    }

    fn mirostat(&self) -> Result<Option<Mirostat>, ApiError> {
        let none = Mirostat::default();
        match self.mirostat {
            None | Some(0) => Ok(None),
            Some(2) => Ok(Some(Mirostat {
                tau: self.mirostat_tau.unwrap_or(none.tau),
                eta: self.mirostat_eta.unwrap_or(none.eta),
            })),
            Some(version) => {
                let message = format!("mirostat is {version}: it must be 0 (none) or 2 (the second version)");
                Err(ApiError::parameter("mirostat", message))
            }
        }
    }

    fn biases(&self) -> Result<Vec<(u32, f32)>, ApiError> {
        let read = |(id, &bias): (&String, &f32)| match id.parse() {
            Ok(id) => Ok((id, bias)),
            Err(_) => {
                Err(ApiError::parameter("logit_bias", format!("`{id}` in logit_bias is no token: ids are numbers")))
            }
        };
        self.logit_bias.iter().flatten().map(read).collect()
    }
}
