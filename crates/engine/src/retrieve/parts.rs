//! The sentences of a text as tokens, in parts that a model can read.

use headwise_models::tokenizer::{AddBos, Encode};

use super::sentences;
use crate::{TextError, TextModel};

/// A sentence, or a piece of a long one.
#[derive(Clone, Debug)]
pub(super) struct Piece<'a> {
    /// Its words.
    pub text: &'a str,
    /// Its tokens.
    pub ids: Vec<u32>,
}

/// The tokens of a text in the middle of another.
pub(super) const INNER: Encode = Encode { add_bos: AddBos::Never, parse_special: false };

/// The sentences of `text`, each of at most `window` tokens, in parts of at most so many; the last two parts are about as long.
pub(super) fn parts<'a>(model: &TextModel, text: &'a str, window: usize) -> Result<Vec<Vec<Piece<'a>>>, TextError> {
    let mut parts: Vec<Vec<Piece<'a>>> = Vec::new();
    let mut room = 0;
    for sentence in sentences(text) {
        for piece in pieces(model, sentence, window)? {
            if piece.ids.len() > room || parts.is_empty() {
                parts.push(Vec::new());
                room = window;
            }
            room -= piece.ids.len();
            if let Some(part) = parts.last_mut() {
                part.push(piece);
            }
        }
    }
    balance(&mut parts);
    Ok(parts)
}

/// `sentence`, cut in halves until each has at most `window` tokens.
fn pieces<'a>(model: &TextModel, sentence: &'a str, window: usize) -> Result<Vec<Piece<'a>>, TextError> {
    let mut found = Vec::new();
    let mut open = vec![sentence];
    while let Some(text) = open.pop() {
        // No token is longer than this, so that an endless line is cut before it is encoded.
        const LONGEST_TOKEN: usize = 64;
        let middle = text.floor_char_boundary(text.len() / 2);
        if text.len() > window.saturating_mul(LONGEST_TOKEN) && middle > 0 {
            open.extend([&text[middle..], &text[..middle]]);
            continue;
        }
        let ids = model.tokenizer.encode(text, INNER)?;
        match ids.len() <= window || middle == 0 {
            true => found.push(Piece { text, ids: ids[..ids.len().min(window)].to_vec() }),
            false => open.extend([&text[middle..], &text[..middle]]),
        }
    }
    Ok(found)
}

pub(super) fn tokens(pieces: &[Piece<'_>]) -> usize {
    pieces.iter().map(|piece| piece.ids.len()).sum()
}

/// Moves sentences from the last part but one to the last, so that neither is much shorter.
fn balance(parts: &mut [Vec<Piece<'_>>]) {
    let [.., before, last] = parts else { return };
    while let Some(piece) = before.pop() {
        if tokens(before) < tokens(last) + piece.ids.len() {
            before.push(piece);
            return;
        }
        last.insert(0, piece);
    }
}
