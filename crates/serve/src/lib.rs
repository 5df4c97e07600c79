//! Serves a language model over HTTP as OpenAI's clients expect it, with a cache policy per request.
//!
//! [`App`] has a model on a thread of its own ([`worker`]), which runs the engine's scheduler; [`api`] has the requests that are
//! answered, one file each; [`serve`] listens. A request's task hears from the model's thread token by token, makes text of
//! it and passes it on; when its client leaves, the text is dropped.

pub mod api;
mod app;
mod http;
mod keys;
mod metrics;
mod remembered;
pub mod worker;

pub use self::app::{App, Options};
pub use self::http::{router, serve};
pub use self::keys::Keys;
