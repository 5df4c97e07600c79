//! Phone book: lines `name: number`, then some of the names again; spell their numbers, digit by digit.
//!
//! A recall task in bytes: a name is several tokens long and a number is seven, so that a model must match a whole
//! name and then copy. Jelassi et al. 2024, arXiv:2402.01032.

use std::collections::HashMap;

use rand::seq::index;

use crate::key_value::{KeyKind, KeyValueSource, ValueKind};
use crate::random::seeded;
use crate::sequence::{TokenQuery, TokenSample, TokenTask};
use crate::task::{TaskError, within};

/// Digits of a number.
const DIGITS: usize = 7;

/// Names and their numbers; token ids are bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhoneBook {
    /// Number of lines.
    pub entries: usize,
    /// Number of names asked for, each once.
    pub queries: usize,
}

impl PhoneBook {
    /// No line has more bytes than this: two words of eight letters, what parts them and the number, and its end.
    pub const LONGEST_LINE: usize = (8 + 1 + 8) + 2 + DIGITS + 1;
}

impl Default for PhoneBook {
    /// 16 lines, two names asked for.
    fn default() -> Self {
        Self { entries: 16, queries: 2 }
    }
}

impl TokenTask for PhoneBook {
    fn name(&self) -> &'static str {
        "phone_book"
    }

    fn sample(&self, seed: u64) -> Result<TokenSample, TaskError> {
        within(self.name(), "entries", self.entries, 1, 16_384)?;
        within(self.name(), "queries", self.queries, 1, self.entries)?;
        let mut rng = seeded(seed);
        let asked = index::sample(&mut rng, self.entries, self.queries);
        let mut source = KeyValueSource::new(rng, KeyKind::Words, ValueKind::Number);

        let mut text = String::new();
        let mut entries = Vec::with_capacity(self.entries);
        for _ in 0..self.entries {
            let line = format!("{}: ", source.key()?);
            text.push_str(&line);
            entries.push((line, text.len()));
            text.push_str(&source.value());
            text.push('\n');
        }
        let mut queries = Vec::with_capacity(self.queries * DIGITS);
        for entry in asked {
            let (line, number) = &entries[entry];
            text.push_str(line);
            for source in *number..number + DIGITS {
                let digit = text.as_bytes()[source];
                queries.push(TokenQuery { position: text.len() - 1, answer: digit.into(), source });
                text.push(char::from(digit));
            }
            text.push('\n');
        }
        Ok(TokenSample { tokens: text.bytes().map(u32::from).collect(), queries })
    }

    /// Reads the book, then looks up every later name.
    fn solve(&self, tokens: &[u32]) -> Vec<u32> {
        const COLON: u32 = b':' as u32;
        let lines = tokens.split(|&token| token == u32::from(b'\n'));
        let entries = lines.filter_map(|line| {
            let colon = line.iter().position(|&token| token == COLON)?;
            line.split_at_checked(colon + 2)
        });
        let entries: Vec<(&[u32], &[u32])> = entries.collect();
        let (book, asked) = entries.split_at(self.entries.min(entries.len()));
        let numbers: HashMap<&[u32], &[u32]> = book.iter().copied().collect();
        asked.iter().filter_map(|(name, _)| numbers.get(name)).flat_map(|number| number.iter().copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::{ADJECTIVES, NOUNS};

    #[test]
    fn no_line_is_longer_than_the_longest() {
        let [adjective, noun] = [ADJECTIVES, NOUNS].map(|words| words.map(str::len).into_iter().max().unwrap());
        assert_eq!(format!("{0:-<adjective$}-{0:-<noun$}: {1}\n", "", 1234567).len(), PhoneBook::LONGEST_LINE);
    }

    #[test]
    fn the_text_is_a_book_and_then_some_of_its_lines() {
        let sample = PhoneBook { entries: 5, queries: 2 }.sample(1).unwrap();
        let bytes = sample.tokens.iter().map(|&token| token as u8).collect();
        let text = String::from_utf8(bytes).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 7);
        assert!(lines[..5].contains(&lines[5]) && lines[..5].contains(&lines[6]) && lines[5] != lines[6]);
        for line in &lines {
            let (name, number) = line.split_once(": ").unwrap();
            assert!(name.contains('-') && number.len() == 7 && number.parse::<u32>().is_ok(), "{line}");
        }
        assert_eq!(sample.queries.len(), 14);
        assert!(sample.queries.iter().all(|query| sample.tokens[query.position + 1] == query.answer));
    }

    #[test]
    fn impossible_parameters_are_named() {
        let error = |entries, queries| PhoneBook { entries, queries }.sample(0).unwrap_err().to_string();
        assert!(error(0, 1).contains("entries = 0"));
        assert!(error(3, 4).contains("queries = 4"));
        assert!(error(20_000, 4).contains("1..=16384"));
    }
}
