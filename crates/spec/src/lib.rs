//! The spec language: text to value to typed method, with errors that point.
//!
//! A spec names a method and its parameters, `snapkv(budget=1024, window=32)`, and `+` joins methods:
//! `snapkv(budget=1024) + int8`. The same text serves on the command line and as a string in TOML and JSON, which
//! also take `{ type = "snapkv", budget = 1024 }`. The grammar stands in [`text`].
//!
//! - [`parse_chain`] and [`parse_call`]: text to [`Chain`] and [`Call`], plain data that prints its canonical text.
//! - [`from_text`], [`from_chain_text`], [`from_json`], [`from_chain_json`]: straight to a serde type.
//! - [`to_text`], [`to_full_text`]: and back.
//! - [`method!`], [`family!`]: declare methods, whose names, parameters, defaults and docs are then known to
//!   readers, printers, help texts and [errors](Error).
//! - [`check_family`]: the test every family owes.

pub mod bytes;
pub mod chain;
mod check;
mod error;
mod family;
mod json;
mod place;
mod read;
mod shorten;
mod signature;
pub mod text;
mod typed;
mod value;
mod words;
mod write;

pub use serde;

pub use check::check_family;
pub use error::{Error, Problem};
pub use family::{Family, Method, deserialize_family, method_to_call, serialize_family};
pub use signature::{Parameter, Signature};
pub use text::{MAX_DEPTH, parse_call, parse_chain};
pub use typed::{
    from_call, from_chain, from_chain_json, from_chain_text, from_json, from_text, to_call, to_chain_text,
    to_full_text, to_text,
};
pub use value::{Arguments, Call, Chain, Value, is_name};
