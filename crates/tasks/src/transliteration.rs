//! Transliteration: lines of words, each with the same words in another script under it.
//!
//! `from: a b c ↵ to: A B C ↵ from: d e …`, cut where the length ends, in the middle of a line if need be. Every word has one spelling in
//! the other script, so a text is both the question and what teaches the answer; with one script the lines are copies. What models are
//! prompted with that answer after examples: Patel et al. 2022, arXiv:2209.14500, prompt for translations in this form.

use std::ops::{Range, RangeInclusive};

use rand::RngExt;

use crate::random::seeded;
use crate::sequence::{TokenQuery, TokenSample, TokenTask};
use crate::task::{TaskError, within};

/// Lines of words with their spelling in another script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transliteration {
    /// Token ids: the ends of lines, the label before words, the label before their other spelling, then the words of every script.
    pub vocabulary: Range<u32>,
    /// 2, or 1 if words are spelled the same under them.
    pub scripts: usize,
    /// Words of a line.
    pub words: RangeInclusive<usize>,
    /// Number of tokens.
    pub length: usize,
}

impl Default for Transliteration {
    /// 128 tokens, lines of 2 to 12 out of 64 words, in two scripts.
    fn default() -> Self {
        Self { vocabulary: 0..131, scripts: 2, words: 2..=12, length: 128 }
    }
}

impl Transliteration {
    /// The token that ends a line.
    pub fn line_end(&self) -> u32 {
        self.vocabulary.start
    }

    /// The tokens before words, and before their other spelling.
    pub fn labels(&self) -> [u32; 2] {
        [self.vocabulary.start.saturating_add(1), self.vocabulary.start.saturating_add(2)]
    }

    /// Words of a script.
    pub fn words_known(&self) -> u32 {
        self.vocabulary.len().saturating_sub(3) as u32 / self.scripts.max(1) as u32
    }

    /// How far the other spelling of a word is from it.
    fn shift(&self) -> u32 {
        if self.scripts == 2 { self.words_known() } else { 0 }
    }

    /// A line of `words` words that the seed draws, in the first script.
    pub fn line(&self, words: usize, seed: u64) -> Vec<u32> {
        let mut rng = seeded(seed);
        (0..words).map(|_| self.draw(&mut rng)).collect()
    }

    fn draw(&self, rng: &mut impl RngExt) -> u32 {
        self.vocabulary.start + 3 + rng.random_range(0..self.words_known())
    }
}

impl TokenTask for Transliteration {
    fn name(&self) -> &'static str {
        "transliteration"
    }

    fn sample(&self, seed: u64) -> Result<TokenSample, TaskError> {
        let (least, most) = (*self.words.start(), *self.words.end());
        within(self.name(), "scripts", self.scripts, 1, 2)?;
        within(self.name(), "words", least, 1, crate::MAX_LENGTH)?;
        within(self.name(), "words", most, least, crate::MAX_LENGTH)?;
        within(self.name(), "vocabulary", self.vocabulary.len(), 3 + 2 * self.scripts, u32::MAX as usize)?;
        within(self.name(), "length", self.length, 1, crate::MAX_LENGTH)?;
        // The first line and a word of its other spelling.
        if self.length < most + 4 {
            return Err(TaskError::TooShort { task: self.name(), length: self.length, needed: most + 4 });
        }
        let mut rng = seeded(seed);
        let ([from, to], end, shift) = (self.labels(), self.line_end(), self.shift());
        let (mut tokens, mut queries) = (Vec::new(), Vec::new());
        while tokens.len() < self.length {
            let words: Vec<u32> = (0..rng.random_range(self.words.clone())).map(|_| self.draw(&mut rng)).collect();
            let source = tokens.len() + 1;
            tokens.push(from);
            tokens.extend(&words);
            tokens.extend([end, to]);
            for (place, word) in words.iter().enumerate() {
                let position = tokens.len() - 1;
                queries.push(TokenQuery { position, answer: word + shift, source: source + place });
                tokens.push(word + shift);
            }
            tokens.push(end);
        }
        tokens.truncate(self.length);
        queries.retain(|query| query.position < self.length);
        Ok(TokenSample { tokens, queries })
    }

    fn answer_of(&self, source: u32) -> u32 {
        source.wrapping_add(self.shift())
    }

    /// Reads line after line, and answers for every word that stands above, as far as the text goes.
    fn solve(&self, tokens: &[u32]) -> Vec<u32> {
        let [from, to] = self.labels();
        let (mut above, mut answers): (&[u32], Vec<u32>) = (&[], Vec::new());
        for line in tokens.split(|&token| token == self.line_end()) {
            match line.split_first() {
                Some((&label, words)) if label == from => above = words,
                Some((&label, words)) if label == to => {
                    // The last line may end early: the model is asked after its last token.
                    let asked = if words.len() < above.len() { words.len() + 1 } else { above.len() };
                    answers.extend(above[..asked].iter().map(|&word| self.answer_of(word)));
                }
                _ => {}
            }
        }
        answers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_stands_above_its_other_spelling() {
        let task = Transliteration { vocabulary: 10..21, scripts: 2, words: 1..=3, length: 200 };
        assert_eq!(task.words_known(), 4);
        let tokens = task.sample(5).unwrap().tokens;
        assert_eq!(tokens.len(), 200);
        let lines: Vec<&[u32]> = tokens.split(|&token| token == 10).collect();
        let whole = &lines[..(lines.len() - 1) / 2 * 2];
        let mut lengths = [0; 4];
        for pair in whole.chunks_exact(2) {
            assert_eq!((pair[0][0], pair[1][0]), (11, 12));
            assert!(pair[0][1..].iter().all(|word| (13..17).contains(word)));
            let other: Vec<u32> = pair[0][1..].iter().map(|word| word + 4).collect();
            assert_eq!(pair[1][1..], other);
            lengths[other.len()] += 1;
        }
        assert!(lengths[0] == 0 && lengths[1..].iter().all(|&count| count > 2), "{lengths:?}");
        let same = Transliteration { scripts: 1, ..task };
        assert_eq!((same.words_known(), same.answer_of(13)), (8, 13));
    }

    #[test]
    fn impossible_parameters_are_named() {
        let error = |task: Transliteration| task.sample(0).unwrap_err().to_string();
        let task = Transliteration::default();
        assert!(error(Transliteration { scripts: 3, ..task.clone() }).contains("scripts = 3"));
        assert!(error(Transliteration { words: 0..=4, ..task.clone() }).contains("words = 0"));
        #[allow(clippy::reversed_empty_ranges)]
        let backwards = 5..=4;
        assert!(error(Transliteration { words: backwards, ..task.clone() }).contains("words = 4"));
        assert!(error(Transliteration { vocabulary: 0..6, ..task.clone() }).contains("vocabulary = 6"));
        assert!(error(Transliteration { length: 15, ..task }).contains("take 16"));
    }
}
