//! `decoding`: how an answer is written, if not token by token.

use headwise_engine::{Decoding, Opera};

use super::ApiError;
use super::generation::{GenerationRequest, MOST_POLICY};

impl GenerationRequest {
    /// What `decoding` says.
    pub fn decoding(&self) -> Result<Option<Decoding>, ApiError> {
        let wrong = |message: String| ApiError::parameter("decoding", message);
        match &self.decoding {
            None => Ok(None),
            Some(text) if text.len() > MOST_POLICY => {
                Err(wrong(format!("`decoding` has {} bytes: it may have {MOST_POLICY}", text.len())))
            }
            Some(text) => headwise_spec::from_text(text).map(Some).map_err(|error| wrong(error.to_string())),
        }
    }

    /// How the answer is searched for, if it is.
    pub fn search(&self) -> Result<Option<Opera>, ApiError> {
        let Some(Decoding::Opera(method)) = self.decoding()? else { return Ok(None) };
        let unless = ["stop", "stop_token_ids"];
        let others = [("tools", self.tools.is_some()), ("form_after", self.form_after.is_some())];
        for (name, there) in self.chooses().into_iter().chain(others).filter(|(name, _)| !unless.contains(name)) {
            if there {
                let message =
                    format!("`{name}` and `opera`: it finds the one answer that counts most, whatever would be chosen");
                return Err(ApiError::parameter(name, message));
            }
        }
        Ok(Some(method))
    }
}
