//! Models as specs, with their checkpoints, tokenizers and chat templates.

pub mod adapter;
pub mod chat;
pub mod compress;
pub mod decoder;
pub mod embedded;
pub mod gguf;
pub mod mapped;
pub mod next_scale;
pub mod pull;
pub mod safetensors;
pub mod tokenizer;
