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

/// The sentences of `text`, each of at most `longest` tokens, in parts of at most `window`; the last two parts are about as long.
pub(super) fn parts<'a>(
    model: &TextModel,
    text: &'a str,
    window: usize,
    longest: usize,
) -> Result<Vec<Vec<Piece<'a>>>, TextError> {
    let longest = longest.clamp(1, window);
    let mut parts: Vec<Vec<Piece<'a>>> = Vec::new();
    let mut room = 0;
    for sentence in sentences(text) {
        for piece in pieces(model, sentence, longest)? {
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

/// `sentence`, cut in two until each piece has at most `longest` tokens.
fn pieces<'a>(model: &TextModel, sentence: &'a str, longest: usize) -> Result<Vec<Piece<'a>>, TextError> {
    let mut found = Vec::new();
    let mut open = vec![sentence];
    while let Some(text) = open.pop() {
        // No token is longer than this, so that an endless line is cut before it is encoded.
        const LONGEST_TOKEN: usize = 64;
        let short = text.len() <= longest.saturating_mul(LONGEST_TOKEN);
        let mut ids = if short { model.tokenizer.encode(text, INNER)? } else { Vec::new() };
        if short && ids.len() <= longest {
            found.push(Piece { text, ids });
            continue;
        }
        match middle(text) {
            0 => {
                ids.truncate(longest);
                found.push(Piece { text, ids });
            }
            middle => open.extend([&text[middle..], &text[..middle]]),
        }
    }
    Ok(found)
}

/// Where `text` is cut in two: where a clause ends, else between words, else within one; of such places the nearest to the middle
/// that leaves neither side less than a quarter. Zero if it cannot be cut.
fn middle(text: &str) -> usize {
    let half = text.len() / 2;
    let places: Vec<(usize, char)> = text
        .char_indices()
        .zip(text.char_indices().skip(1))
        .filter(|(_, (next, character))| character.is_whitespace() && (half / 2..=half + half / 2).contains(next))
        .map(|((_, before), (next, _))| (next, before))
        .collect();
    let nearest = |ends: &dyn Fn(char) -> bool| {
        places.iter().filter(|place| ends(place.1)).map(|place| place.0).min_by_key(|at| at.abs_diff(half))
    };
    nearest(&|before| before == ';')
        .or_else(|| nearest(&|before| before == ','))
        .or_else(|| nearest(&|_| true))
        .unwrap_or_else(|| text.floor_char_boundary(half))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_are_where_a_clause_ends_or_a_word() {
        let cut = |text| middle(text);
        let before = |text: &'static str| &text[..cut(text)];
        assert_eq!(before("one two three, four five; six seven eight"), "one two three, four five;");
        assert_eq!(before("one two three four, five six seven eight"), "one two three four,");
        assert_eq!(before("one two three four five six"), "one two three");
        assert_eq!(before("a; thousand words without an end"), "a; thousand words", "too near the start");
        assert_eq!(before("abcdef"), "abc");
        assert_eq!(before("éé"), "é");
        assert_eq!((cut("é"), cut("a"), cut("")), (0, 0, 0));
    }
}
