//! The requests that a server answers, one file each.

mod answer;
mod body;
mod chat;
mod chat_answer;
mod completions;
mod embeddings;
mod error;
mod fields;
mod form;
mod generation;
mod insight;
mod job;
mod message;
mod openapi;
mod props;
mod rerank;
mod responses;
mod sampling;
pub mod schema;
mod shared;
mod stream;
mod template;
mod tools;
mod usage;

pub use self::body::parse;
pub use self::chat::chat;
pub use self::completions::completions;
pub use self::embeddings::embeddings;
pub use self::error::ApiError;
pub use self::generation::GenerationRequest;
pub use self::openapi::openapi;
pub use self::props::{health, metrics, model, models, props};
pub use self::rerank::rerank;
pub use self::responses::responses;
pub use self::tools::Tools;
