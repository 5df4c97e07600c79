//! Bytes as tokens.

use std::collections::BTreeMap;

use headwise_models::tokenizer::BYTE_ALPHABET;
use serde_json::json;

headwise_spec::method! {
    /// Every byte is a token.
    pub struct Bytes {}
}

impl Bytes {
    /// Tokens that there are.
    pub const COUNT: usize = 256;

    /// The text of a `tokenizer.json` of which every byte is a token, as its number: byte-level BPE that joins nothing.
    pub fn tokenizer() -> String {
        let vocabulary: BTreeMap<String, usize> =
            BYTE_ALPHABET.iter().enumerate().map(|(byte, letter)| (letter.to_string(), byte)).collect();
        let byte_level =
            json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false });
        let tokenizer = json!({
            "version": "1.0",
            "added_tokens": [],
            "pre_tokenizer": byte_level,
            "decoder": byte_level,
            "model": { "type": "BPE", "vocab": vocabulary, "merges": [] },
        });
        format!("{tokenizer:#}\n")
    }
}

#[cfg(test)]
mod tests {
    use headwise_models::tokenizer::{Encode, Tokenizer};

    use super::*;

    #[test]
    fn tokens_are_bytes_and_come_back() {
        let tokenizer = Tokenizer::from_json(&Bytes::tokenizer(), "{}").unwrap();
        assert_eq!(tokenizer.vocab_size(), Bytes::COUNT);
        for text in ["The state of the Union\n", "naïve  \t你好 👩‍👩‍👧", "\0"] {
            let expected: Vec<u32> = text.bytes().map(u32::from).collect();
            assert_eq!(tokenizer.encode(text, Encode::TEXT).unwrap(), expected, "{text:?}");
            assert_eq!(tokenizer.decode(&expected, false), text);
        }
    }
}
