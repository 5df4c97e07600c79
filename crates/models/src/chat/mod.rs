//! Chat templates: a conversation to the text that a chat model was trained on, and a model's answer back to words and calls of tools.
//!
//! A template is a Jinja program that comes with the model: `tokenizer.chat_template` in a GGUF file, or
//! `chat_template.jinja` or the `chat_template` of `tokenizer_config.json` in a Hugging Face directory. It is rendered
//! with what such programs rely on: Python's string and list methods, loop controls, trimmed blocks, `raise_exception`,
//! `strftime_now`, the texts of the boundary tokens, and the tools that the model may call.

mod error;
mod jinja;
mod json_end;
mod message;
mod template;
mod tool_calls;

pub use error::ChatTemplateError;
pub use message::{Message, Tool, ToolCall};
pub use template::ChatTemplate;
pub use tool_calls::{Piece, ToolCallReader, tool_calls};
