//! A model that is to be made smaller, and everything that its smaller form takes over.

use std::path::Path;

use burn::module::Module;
use burn::tensor::Device;

use super::CompressError;
use crate::chat::ChatTemplate;
use crate::decoder::{Decoder, LoadError, Weights};
use crate::embedded;
use crate::gguf::{Gguf, Metadata, TensorType};
use crate::safetensors::Checkpoint;
use crate::tokenizer::Tokenizer;

/// A model with trainable weights.
#[derive(Debug)]
pub struct Original {
    /// The model.
    pub model: Decoder,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// What a GGUF file says of it besides its description: name, tokenizer, chat template.
    pub about: Metadata,
    /// Its weights.
    pub weights: u64,
    /// Their bytes where they come from.
    pub bytes: u64,
    /// The type of most of its weights, where they are quantised already.
    pub quantised: Option<TensorType>,
}

impl Original {
    /// Opens a GGUF file, or a directory as [`Decoder::open`] does.
    pub fn open(path: &Path) -> Result<Self, CompressError> {
        if path.is_dir() { Self::open_directory(path) } else { Self::open_gguf(path) }
    }

    /// The model that comes with the program.
    pub fn embedded() -> Result<Self, CompressError> {
        let model = embedded::decoder(Weights::Trainable, &Device::flex())?;
        let mut about: Metadata = [("general.name", embedded::NAME)].into_iter().collect();
        embedded::tokenizer_metadata().iter().for_each(|(key, value)| drop(about.insert(key, value.clone())));
        Ok(Self::new(model, embedded::tokenizer()?, about, embedded::BYTES, None))
    }

    fn open_gguf(path: &Path) -> Result<Self, CompressError> {
        let gguf = Gguf::open(path).map_err(LoadError::from)?;
        let model = Decoder::from_gguf(&gguf, Weights::Trainable, &Device::flex())?;
        let tokenizer = Tokenizer::from_gguf(gguf.metadata())?;
        // What is said of the file itself is not true of another one.
        const OWN: [&str; 4] =
            ["general.architecture", "general.file_type", "general.quantization_version", "general.alignment"];
        let kept = |key: &str| (key.starts_with("general.") || key.starts_with("tokenizer.")) && !OWN.contains(&key);
        let about =
            gguf.metadata().iter().filter(|(key, _)| kept(key)).map(|(key, value)| (key, value.clone())).collect();
        let bytes = gguf.tensors().iter().map(|tensor| tensor.blob.bytes().len() as u64).sum();
        let quantised = gguf.tensors().iter().filter(|tensor| tensor.ty.is_quantised());
        let quantised =
            quantised.max_by_key(|tensor| gguf.tensors().iter().filter(|other| other.ty == tensor.ty).count());
        Ok(Self::new(model, tokenizer, about, bytes, quantised.map(|tensor| tensor.ty)))
    }

    fn open_directory(path: &Path) -> Result<Self, CompressError> {
        let model = Decoder::open(path, Weights::Trainable, &Device::flex())?;
        let tokenizer = Tokenizer::from_file(path)?;
        let mut about = Tokenizer::metadata_of_file(path)?;
        if let Some(name) = path.file_name() {
            about.insert("general.name", name.to_string_lossy().into_owned());
        }
        if let Some(template) = ChatTemplate::source_in(path)? {
            about.insert("tokenizer.chat_template", template);
        }
        let checkpoint = Checkpoint::open(path).map_err(LoadError::from)?;
        let bytes = checkpoint.tensors().map(|tensor| tensor.blob.bytes().len() as u64).sum();
        Ok(Self::new(model, tokenizer, about, bytes, None))
    }

    fn new(model: Decoder, tokenizer: Tokenizer, about: Metadata, bytes: u64, quantised: Option<TensorType>) -> Self {
        let weights = model.num_params() as u64;
        Self { model, tokenizer, about, weights, bytes, quantised }
    }
}
