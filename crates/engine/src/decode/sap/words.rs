//! Where words end, in any script.
//!
//! A word reaches from what is no separator to the next separator, which is white space or a character that was named; the separators
//! before it belong to it, so that the pieces of a text put together are the text. In scripts that write no spaces (Chinese, Japanese,
//! Thai, Lao, Burmese, Khmer) every character with its marks is a word: what a reader takes for a letter (UAX #29).

use unicode_segmentation::UnicodeSegmentation;

/// What ends a word, and what ends an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Borders<'a> {
    /// Characters that end a word, beside white space.
    pub separators: &'a str,
    /// The text that ends an answer; an empty one ends none.
    pub stop: &'a str,
}

/// The first words of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut<'a> {
    /// The words, with the separators before each.
    pub text: &'a str,
    /// How many they are.
    pub words: usize,
    /// Whether nothing that comes after the text would change them.
    pub complete: bool,
    /// Whether the answer ends after them, before another word.
    pub stopped: bool,
}

impl Borders<'_> {
    /// The first `most` words of `said`.
    pub fn cut<'a>(&self, said: &'a str, most: usize) -> Cut<'a> {
        let stop = if self.stop.is_empty() { None } else { said.find(self.stop) };
        let body = &said[..stop.unwrap_or(said.len())];
        let (mut words, mut end, mut within) = (0, 0, false);
        for (at, letter) in body.grapheme_indices(true) {
            let alone = letter.chars().next().is_some_and(writes_no_spaces);
            let separates = !alone && letter.chars().all(|c| c.is_whitespace() || self.separators.contains(c));
            if separates || alone || !within {
                // Here the word before ends, if there is one.
                if words == most {
                    return Cut { text: &body[..end], words, complete: true, stopped: false };
                }
                words += usize::from(!separates);
            }
            within = !separates && !alone;
            if !separates {
                end = at + letter.len();
            }
        }
        let stopped = stop.is_some() && words < most;
        Cut { text: &body[..end], words, complete: stop.is_some(), stopped }
    }

    /// Words of `text`.
    pub fn count(&self, text: &str) -> usize {
        Borders { stop: "", ..*self }.cut(text, usize::MAX).words
    }
}

/// Whether words in the script of `c` are not divided by spaces.
fn writes_no_spaces(c: char) -> bool {
    matches!(u32::from(c),
        0x0E00..=0x0EFF         // Thai, Lao
        | 0x1000..=0x109F       // Burmese
        | 0x1780..=0x17FF       // Khmer
        | 0x3001..=0x30FF       // Chinese and Japanese punctuation, Hiragana, Katakana
        | 0x3100..=0x312F       // Bopomofo
        | 0x31F0..=0x31FF       // Katakana extensions
        | 0x3400..=0x4DBF | 0x4E00..=0x9FFF | 0xF900..=0xFAFF | 0x20000..=0x3FFFF // Chinese characters
        | 0xFF01..=0xFF9F       // full and half width forms
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LINE: Borders<'static> = Borders { separators: "", stop: "\n" };

    fn first(said: &str) -> (&str, usize, bool, bool) {
        let Cut { text, words, complete, stopped } = LINE.cut(said, 1);
        (text, words, complete, stopped)
    }

    #[test]
    fn a_word_keeps_its_punctuation_and_the_space_before_it() {
        assert_eq!(first(" Hello, world"), (" Hello,", 1, true, false));
        assert_eq!(first("Hello"), ("Hello", 1, false, false), "more letters could come");
        assert_eq!(first("Hello "), ("Hello", 1, true, false));
        assert_eq!(first("\u{2003}naïve\u{a0}x"), ("\u{2003}naïve", 1, true, false));
        assert_eq!(first("cafe\u{301}s au lait"), ("cafe\u{301}s", 1, true, false));
        assert_eq!(first("don't stop"), ("don't", 1, true, false));
        assert_eq!(first("👩‍👩‍👧 go"), ("👩‍👩‍👧", 1, true, false));
    }

    #[test]
    fn an_answer_ends_where_nothing_or_the_end_of_the_line_comes_first() {
        assert_eq!(first(""), ("", 0, false, false));
        assert_eq!(first("  "), ("", 0, false, false));
        assert_eq!(first("\nmore"), ("", 0, true, true));
        assert_eq!(first(" \nmore"), ("", 0, true, true));
        assert_eq!(first("last\nmore"), ("last", 1, true, false), "what follows the word is not looked at");
        let three = LINE.cut("the last\nmore words", 3);
        assert_eq!(three, Cut { text: "the last", words: 2, complete: true, stopped: true });
        let never = Borders { stop: "", ..LINE }.cut("the\nlast", 9);
        assert_eq!(never, Cut { text: "the\nlast", words: 2, complete: false, stopped: false });
    }

    #[test]
    fn scripts_without_spaces_are_cut_by_letters() {
        assert_eq!(first("你好。"), ("你", 1, true, false));
        assert_eq!(first("你"), ("你", 1, false, false), "a mark could come");
        assert_eq!(first("が行く"), ("が", 1, true, false));
        assert_eq!(first("กำลัง"), ("กำ", 1, true, false), "a vowel sign stays with its letter");
        assert_eq!(first("abc你"), ("abc", 1, true, false));
        assert_eq!(LINE.cut("我 use Rust。", 4).text, "我 use Rust。");
        assert_eq!(LINE.count("我 use Rust。"), 4);
    }

    #[test]
    fn separators_can_be_named() {
        let borders = Borders { separators: "-/", stop: "\n" };
        assert_eq!(borders.cut("well-known", 1).text, "well");
        assert_eq!(borders.cut("-known/un", 1).text, "-known");
        assert_eq!(borders.count("well-known/unknown fact"), 4);
    }

    proptest! {
        /// Taking words one after the other gives the text, however many are taken at a time.
        #[test]
        fn pieces_make_the_text(text in "[a-c你がก ,\\-\u{301}\u{0e31}]{0,24}", most in 1..4usize) {
            let borders = Borders { separators: "-", stop: "" };
            let (mut rest, mut words) = (&text[..], 0);
            loop {
                let cut = borders.cut(rest, most);
                prop_assert!(cut.words <= most);
                if cut.words == 0 {
                    break;
                }
                words += cut.words;
                rest = &rest[cut.text.len()..];
            }
            prop_assert!(rest.chars().all(|c| c.is_whitespace() || "-\u{301}\u{0e31}".contains(c)), "{rest:?} of {text:?}");
            prop_assert_eq!(words, borders.count(&text));
        }
    }
}
