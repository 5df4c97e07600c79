//! Serves a language model over HTTP as OpenAI's clients expect it, with a cache policy per request.
//!
//! [`App`] has every model ([`Served`]) on a thread of its own ([`worker`]), which runs the engine's scheduler; [`api`] has the requests
//! that are answered, one file each; [`serve`] listens. A request's task hears from the model's thread token by token, makes text of
//! it and passes it on; when its client leaves, the text is dropped.

pub mod api;
mod app;
mod http;
mod keys;
mod metrics;
mod names;
mod remembered;
mod served;
pub mod worker;

pub use self::app::{App, Options, StartError, check_names, time_limit};
pub use self::http::{router, serve};
pub use self::keys::Keys;
pub use self::served::{Served, shares};
