//! Ways to write beside one token after the other, each after all layers: what a request says of them.

use headwise_engine::cache::CachePolicy;
use headwise_engine::{EarlyExit, ExitRule};

use super::ApiError;
use super::fields::Insight;
use super::generation::{GenerationRequest, MOST_POLICY};
use crate::Served;

impl GenerationRequest {
    /// When a token leaves the model under `policy`, if not after the last layer.
    pub fn exit_rule(&self, served: &Served, policy: &CachePolicy) -> Result<Option<EarlyExit>, ApiError> {
        let wrong = |message: String| ApiError::parameter("exit", message);
        let text = match &self.exit {
            None => return Ok(None),
            Some(text) if text.len() > MOST_POLICY => {
                return Err(wrong(format!("`exit` has {} bytes: it may have {MOST_POLICY}", text.len())));
            }
            Some(text) => text,
        };
        let ExitRule::EarlyExit(exit) = headwise_spec::from_text(text).map_err(|error| wrong(error.to_string()))?;
        exit.check(&served.model.engine, policy).map_err(|error| wrong(error.to_string()))?;
        let insight = Insight { kept: false, ..self.headwise.unwrap_or_default() };
        insight.check_ordinary("an answer whose tokens leave early")?;
        Ok(Some(exit))
    }

    /// What chooses tokens or looks at them, and whether the request has it.
    pub fn chooses(&self) -> [(&'static str, bool); 12] {
        [
            ("temperature", self.temperature.is_some_and(|temperature| temperature > 0.0)),
            ("n", self.n.is_some_and(|n| n > 1)),
            ("stop", self.stop.is_some()),
            ("stop_token_ids", self.stop_token_ids.is_some()),
            ("min_tokens", self.min_tokens.is_some()),
            ("logit_bias", self.logit_bias.is_some()),
            ("repetition_penalty", self.repetition_penalty.is_some()),
            ("dry_multiplier", self.dry_multiplier.is_some()),
            ("logprobs", self.logprobs.is_some()),
            ("response_format", self.response_format.is_some()),
            ("exit", self.exit.is_some()),
            ("headwise", self.headwise.is_some()),
        ]
    }
}
