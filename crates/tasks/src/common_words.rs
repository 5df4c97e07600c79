//! Common words: a numbered list in which ten words stand thirty times each and all others three times; name the ten.
//!
//! Nothing is hidden in one place: the answer needs counts over the whole list. The words are those of
//! [`Request::text`]. RULER, Hsieh et al. 2024, arXiv:2404.06654.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use rand::seq::SliceRandom;

use crate::fit;
use crate::random::seeded;
use crate::task::{Request, Sample, Task, TaskError};

/// Number of common words.
const COMMON: usize = 10;
/// Times a common word stands in the list.
const COMMON_COUNT: usize = 30;
/// Times any other word stands in the list.
const OTHER_COUNT: usize = 3;
/// Shortest and longest words that are used.
const LETTERS: Range<usize> = 4..13;

/// The task. It has no parameters: ten words thirty times, the others three times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommonWords;

impl CommonWords {
    /// The list of `words`, the first ten of them common, in an order that depends on the seed.
    fn compose(words: &[String], seed: u64) -> Sample {
        let (common, others) = words.split_at(COMMON);
        let repeated = |words: &[String], count| {
            words.iter().cloned().flat_map(move |word| std::iter::repeat_n(word, count)).collect()
        };
        let mut list: Vec<String> = repeated(common, COMMON_COUNT);
        list.extend::<Vec<String>>(repeated(others, OTHER_COUNT));
        list.shuffle(&mut seeded(seed));

        let mut context =
            String::from("Some words of the following numbered list come up more often than others. Memorize them.\n");
        let mut needle_spans = Vec::with_capacity(COMMON * COMMON_COUNT);
        for (number, word) in (1..).zip(&list) {
            let start = context.len();
            context.push_str(&format!("{number}. {word} "));
            if common.contains(word) {
                needle_spans.push(start..context.len());
            }
        }
        Sample {
            context,
            question: format!("\nQuestion: What are the {COMMON} most common words in the list above?"),
            answer_prefix: format!(" Answer: The {COMMON} words that come up most often in the list are:"),
            expected: common.to_vec(),
            depth: None,
            needle_spans,
        }
    }
}

/// The different lower-case words of `text` in a random order, none of them part of another's spelling
/// within the first ten (their score would not tell them apart).
fn vocabulary(text: &str, seed: u64) -> Vec<String> {
    let words: BTreeSet<String> = text
        .split(|c: char| !c.is_alphabetic())
        .filter(|word| LETTERS.contains(&word.len()) && word.bytes().all(|b| b.is_ascii_lowercase()))
        .map(str::to_owned)
        .collect();
    let mut words: Vec<String> = words.into_iter().collect();
    words.shuffle(&mut seeded(seed));
    let mut chosen: Vec<String> = Vec::with_capacity(words.len());
    for word in words {
        let clashes = |other: &String| other.contains(&word) || word.contains(other);
        if !chosen.iter().take(COMMON).any(clashes) {
            chosen.push(word);
        }
    }
    chosen
}

impl Task for CommonWords {
    fn name(&self) -> &'static str {
        "common_words"
    }

    fn answer_tokens(&self) -> usize {
        128
    }

    fn takes_depth(&self) -> bool {
        false
    }

    /// Here a line of haystack is one more word that stands three times.
    fn sample(&self, request: &Request) -> Result<Sample, TaskError> {
        let task = self.name();
        request.check_without_depth(task)?;
        let words = vocabulary(request.text, request.seed);
        fit::longest(request, task, self.answer_tokens(), |others| {
            let needed = COMMON + others;
            let chosen = words.get(..needed);
            let found = words.len();
            let chosen = chosen.ok_or(TaskError::Text { task, unit: "different words", needed, found })?;
            Ok(Self::compose(chosen, request.seed))
        })
    }

    /// Counts the words of the list and names the ten most frequent.
    fn solve(&self, prompt: &str) -> String {
        let list = prompt.split("\nQuestion:").next().unwrap_or_default();
        let mut counts: HashMap<&str, usize> = HashMap::new();
        let tokens: Vec<&str> = list.split_whitespace().collect();
        for pair in tokens.windows(2) {
            let number = pair[0].strip_suffix('.').and_then(|number| number.parse::<usize>().ok());
            if number.is_some() {
                *counts.entry(pair[1]).or_default() += 1;
            }
        }
        let mut ranked: Vec<_> = counts.into_iter().collect();
        ranked.sort_by(|(a, x), (b, y)| y.cmp(x).then(a.cmp(b)));
        ranked.iter().take(COMMON).map(|(word, _)| *word).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_thirty_and_three_times() {
        let words = |text: &str| text.split_whitespace().count();
        let sample = CommonWords.sample(&Request::new(3000, &words).seed(4)).unwrap();
        let (_, list) = sample.context.split_once('\n').unwrap();
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for word in list.split_whitespace().skip(1).step_by(2) {
            *counts.entry(word).or_default() += 1;
        }
        for (word, count) in &counts {
            let common = sample.expected.iter().any(|expected| expected == word);
            assert_eq!(*count, if common { 30 } else { 3 }, "{word}");
        }
        assert!(counts.len() > 200, "{}", counts.len());
    }

    #[test]
    fn too_few_words_and_too_short_lists_are_errors() {
        let words = |text: &str| text.split_whitespace().count();
        let error = |request: Request| CommonWords.sample(&request).unwrap_err();
        let poor = error(Request::new(3000, &words).text("seven words that are not nearly enough"));
        assert!(matches!(poor, TaskError::Text { needed: 11, found: 5, .. }), "{poor:?}");
        let short = error(Request::new(500, &words));
        assert!(matches!(short, TaskError::TooShort { length: 500, needed: 700..900, .. }), "{short:?}");
    }
}
