//! The requests that a server answers, one file each.

mod answer;
mod body;
mod chat;
mod completions;
mod error;
mod generation;
mod insight;
mod job;
mod message;
mod props;
mod responses;
mod stop;
mod stream;
mod usage;

pub use self::chat::chat;
pub use self::completions::completions;
pub use self::error::ApiError;
pub use self::props::{health, metrics, models, props};
pub use self::responses::responses;
