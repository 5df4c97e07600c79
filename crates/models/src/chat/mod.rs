//! Chat templates: a conversation to the text that a chat model was trained on, and a model's answer back to words and calls of tools.
//!
//! A template is a Jinja program that comes with the model: `tokenizer.chat_template` in a GGUF file, or
//! `chat_template.jinja` or the `chat_template` of `tokenizer_config.json` in a Hugging Face directory. It is rendered
//! with what such programs rely on: Python's string and list methods, loop controls, trimmed blocks, `raise_exception`,
//! `strftime_now`, the texts of the boundary tokens, and the tools that the model may call.

mod error;
mod jinja;
mod json_call;
mod json_end;
mod message;
mod template;
mod tool_calls;
mod xml_call;

pub use error::ChatTemplateError;
pub use message::{Message, Tool, ToolCall};
pub use template::ChatTemplate;
pub use tool_calls::{Piece, ToolCallReader, tool_calls};

/// The text that ends the reasoning which the rendered conversation `prompt` has begun, if it has.
pub fn reasoning_end(prompt: &str) -> Option<&'static str> {
    prompt.trim_end().ends_with("<think>").then_some("</think>")
}

#[cfg(test)]
mod tests {
    #[test]
    fn reasoning_that_has_begun_has_an_end() {
        assert_eq!(super::reasoning_end("<|im_start|>assistant\n<think>\n"), Some("</think>"));
        assert_eq!(super::reasoning_end("<|im_start|>assistant\n<think>\n\n</think>\n\n"), None);
        assert_eq!(super::reasoning_end("assistant:"), None);
    }
}
