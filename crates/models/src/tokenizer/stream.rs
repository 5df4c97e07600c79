//! Decoding token by token: text comes out as soon as its bytes are whole characters.

use super::Tokenizer;

/// Turns ids into text as they come. What `push` and `finish` return adds up to the bytes of all tokens as UTF-8, with
/// U+FFFD for what is not.
///
/// A token may end in the middle of a character: its bytes wait for the next one.
pub struct StreamDecoder<'t> {
    tokenizer: &'t Tokenizer,
    skip_special: bool,
    waiting: Vec<u8>,
}

impl<'t> StreamDecoder<'t> {
    pub(super) fn new(tokenizer: &'t Tokenizer) -> Self {
        Self { tokenizer, skip_special: true, waiting: Vec::new() }
    }

    /// Writes control and unknown tokens out as well, which are left out otherwise.
    pub fn keep_special(mut self) -> Self {
        self.skip_special = false;
        self
    }

    /// The text that is complete with token `id`; empty if a character is still incomplete.
    pub fn push(&mut self, id: u32) -> String {
        self.tokenizer.push_bytes(id, self.skip_special, &mut self.waiting);
        take_complete(&mut self.waiting)
    }

    /// The end: U+FFFD if a character is left incomplete.
    pub fn finish(self) -> String {
        String::from_utf8_lossy(&self.waiting).into_owned()
    }
}

/// Takes the complete characters out of `bytes`, invalid ones as U+FFFD, and leaves an incomplete one at the end.
fn take_complete(bytes: &mut Vec<u8>) -> String {
    let mut text = String::new();
    loop {
        match std::str::from_utf8(bytes) {
            Ok(valid) => {
                text.push_str(valid);
                bytes.clear();
                return text;
            }
            Err(error) => {
                let valid = error.valid_up_to();
                text.push_str(&String::from_utf8_lossy(&bytes[..valid]));
                let Some(invalid) = error.error_len() else {
                    bytes.drain(..valid);
                    return text;
                };
                text.push('\u{FFFD}');
                bytes.drain(..valid + invalid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pieces_add_up_to_the_whole(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..4), 0..12)) {
            let mut waiting = Vec::new();
            let mut text = String::new();
            for piece in &pieces {
                waiting.extend(piece);
                text.push_str(&take_complete(&mut waiting));
                prop_assert!(waiting.len() < 4);
            }
            text.push_str(&String::from_utf8_lossy(&waiting));
            let whole = pieces.concat();
            prop_assert_eq!(text, String::from_utf8_lossy(&whole));
        }
    }

    #[test]
    fn a_character_waits_for_its_last_byte() {
        let bytes = "é🙂".as_bytes();
        let mut waiting = Vec::new();
        let texts = bytes.iter().map(|&byte| {
            waiting.push(byte);
            take_complete(&mut waiting)
        });
        assert_eq!(texts.collect::<Vec<_>>(), ["", "é", "", "", "", "🙂"]);
    }
}
