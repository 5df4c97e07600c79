//! A text in sentences, of which none is lost: together they are the text.

/// A sentence ends after a line break, after a CJK full stop, and after `.`, `!` or `?` before white space.
///
/// The white space after an end belongs to the sentence before it. After `.` a piece of at most eight bytes joins the one before:
/// it is more likely the rest of an abbreviation than a sentence.
pub fn sentences(text: &str) -> Vec<&str> {
    let mut pieces: Vec<&str> = Vec::new();
    let mut start = 0;
    let mut ended = false;
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        if ended && !character.is_whitespace() {
            pieces.push(&text[start..at]);
            (start, ended) = (at, false);
        }
        let before_space = characters.peek().is_none_or(|(_, next)| next.is_whitespace());
        ended |= match character {
            '\n' | '。' | '！' | '？' => true,
            '.' | '!' | '?' => before_space,
            _ => false,
        };
    }
    if start < text.len() {
        pieces.push(&text[start..]);
    }
    join_abbreviations(text, &pieces)
}

/// Bytes of a piece that joins the one before.
const SHORT: usize = 8;

fn join_abbreviations<'a>(text: &'a str, pieces: &[&str]) -> Vec<&'a str> {
    let mut joined: Vec<&str> = Vec::new();
    let mut start = 0;
    for (index, piece) in pieces.iter().enumerate() {
        let end = start + piece.len();
        match joined.last_mut() {
            Some(last) if pieces[index - 1].trim_end().ends_with('.') && piece.trim().len() <= SHORT => {
                *last = &text[start - last.len()..end];
            }
            _ => joined.push(&text[start..end]),
        }
        start = end;
    }
    joined
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ends_are_found_and_numbers_and_abbreviations_stay_whole() {
        let text = "It cost 3.14 dollars. Dr. No said so!  Really?\nYes.\n\n今日は。明日も";
        let expected = ["It cost 3.14 dollars. Dr. ", "No said so!  ", "Really?\n", "Yes.\n\n", "今日は。", "明日も"];
        assert_eq!(sentences(text), expected);
        assert!(sentences("").is_empty());
        assert_eq!(sentences("\n"), ["\n"]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost(text in "[a.! ?\n。é]{0,60}") {
            prop_assert_eq!(sentences(&text).concat(), text);
        }
    }
}
