//! A place in a text, printed as the text and a caret below it.

use std::fmt::{self, Display, Formatter};

use unicode_width::UnicodeWidthChar;

/// Characters shown on either side of the place in a long text.
const AROUND: usize = 60;

/// A column of a text, in characters from 1.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Place {
    pub text: String,
    pub column: usize,
}

impl Display for Place {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let place = self.column.saturating_sub(1);
        let first = place.saturating_sub(AROUND);
        let shown: Vec<char> = self.text.chars().skip(first).take(place - first + AROUND).map(visible).collect();
        let left = if first > 0 { "…" } else { "" };
        let right = if self.text.chars().nth(place + AROUND).is_some() { "…" } else { "" };
        let before = left.chars().chain(shown.iter().copied().take(place - first));
        // A wide character such as an emoji takes two cells of a terminal, a combining one none.
        let cells: usize = before.map(|c| c.width().unwrap_or(0)).sum();
        writeln!(f, "  {left}{}{right}", shown.iter().collect::<String>())?;
        write!(f, "  {}^", " ".repeat(cells))
    }
}

/// Control characters, including line ends, would tear the picture apart.
fn visible(c: char) -> char {
    match c {
        c if c.is_whitespace() => ' ',
        '\0'..='\x1f' => char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{fffd}'),
        c if c.is_control() => '\u{fffd}',
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str, column: usize) -> String {
        Place { text: text.into(), column }.to_string()
    }

    #[test]
    fn caret_stands_under_the_character() {
        assert_eq!(place("full)", 5), "  full)\n      ^");
        assert_eq!(place("full(", 6), "  full(\n       ^");
        assert_eq!(place("", 1), "  \n  ^");
    }

    #[test]
    fn caret_counts_cells_not_characters() {
        assert_eq!(place("a(b=\"🦀🦀\", 1)", 10), "  a(b=\"🦀🦀\", 1)\n             ^");
        assert_eq!(place("e\u{301}!", 3), "  e\u{301}!\n   ^");
    }

    #[test]
    fn control_characters_are_drawn() {
        assert_eq!(place("a\n\0\u{7f}!", 5), "  a ␀\u{fffd}!\n      ^");
    }

    #[test]
    fn a_long_text_is_cut_around_the_place() {
        let text = format!("{}!{}", "a".repeat(1000), "b".repeat(1000));
        let (a, b) = ("a".repeat(60), "b".repeat(59));
        assert_eq!(place(&text, 1001), format!("  …{a}!{b}…\n  {}^", " ".repeat(61)));
    }
}
