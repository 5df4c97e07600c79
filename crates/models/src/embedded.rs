//! The model that comes with the program: small, trained by `headwise train specs/embedded.toml`, so that nothing need be
//! fetched to see a language model at work. Its card is `assets/embedded/README.md`.

use burn::tensor::Device;

use crate::decoder::{Decoder, LoadError, Weights};
use crate::gguf::Metadata;
use crate::mapped::Mapped;
use crate::safetensors::{Checkpoint, CheckpointError};
use crate::tokenizer::{Tokenizer, TokenizerError};

/// Its name.
pub const NAME: &str = "headwise-tiny";

/// What a report says of it.
pub const NOTE: &str = "These rows are of the small model that comes with the program, made to find needles; what is best for it need not be best \
for yours. Name yours with --model.";

const DESCRIPTION: &str = include_str!("../../../assets/embedded/headwise.toml");
const WEIGHTS: &[u8] = include_bytes!("../../../assets/embedded/model.safetensors");
const TOKENIZER: &str = include_str!("../../../assets/embedded/tokenizer.json");
const TOKENIZER_CONFIG: &str = include_str!("../../../assets/embedded/tokenizer_config.json");

/// Bytes of its weights.
pub const BYTES: u64 = WEIGHTS.len() as u64;

/// The model, its weights in the form `weights`.
pub fn decoder(weights: Weights, device: &Device) -> Result<Decoder, LoadError> {
    let checkpoint = Checkpoint::parse(&Mapped::from_static(WEIGHTS))
        .map_err(|error| CheckpointError::Header { path: NAME.into(), error })?;
    Decoder::from_description(DESCRIPTION, &checkpoint, weights, device)
}

/// Its tokenizer.
pub fn tokenizer() -> Result<Tokenizer, TokenizerError> {
    Tokenizer::from_json(TOKENIZER, TOKENIZER_CONFIG)
}

/// The files of its tokenizer, by name.
pub fn tokenizer_files() -> [(&'static str, &'static str); 2] {
    [("tokenizer.json", TOKENIZER), ("tokenizer_config.json", TOKENIZER_CONFIG)]
}

/// What a GGUF file says of its tokenizer.
pub fn tokenizer_metadata() -> Metadata {
    Tokenizer::metadata_of_json(TOKENIZER, TOKENIZER_CONFIG)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    /// As the card says.
    const SHA256: &str = "f7aa3a79b2def3e370488af9c2ae013d0a236f21590421590275740341f46eeb";

    #[test]
    fn the_weights_are_those_of_the_card() {
        let found: String = Sha256::digest(WEIGHTS).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found, SHA256);
    }

    #[test]
    fn model_and_tokenizer_belong_together() {
        let (model, tokenizer) = (decoder(Weights::Stored, &Device::flex()).unwrap(), tokenizer().unwrap());
        assert_eq!(model.spec().vocabulary, tokenizer.vocab_size());
        assert!(tokenizer.eos_id().is_some());
    }
}
