//! Frequent words: a text of coded words, some far more frequent than others; name the three that come up most often.
//!
//! The word of rank `k` stands `⌊n k^-2 / ζ(2)⌋` times among `n` words. The first rank is dots, which do not count, so the answer is
//! ranks two to four. Like common words, the answer needs counts over the whole text. RULER, Hsieh et al. 2024, arXiv:2404.06654.

use std::collections::{HashMap, HashSet};

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::fit;
use crate::random::{seeded, unseen};
use crate::task::{Request, Sample, Task, TaskError};

/// Words asked for.
const FREQUENT: usize = 3;
/// Letters of a coded word.
const LETTERS: usize = 6;
/// The word of the first rank.
const DOTS: &str = "...";
/// Words of the shortest text: enough for the fourth rank to be ahead of the fifth.
const LEAST: usize = 150;
/// `ζ(2)`, the sum of `k^-2` over all ranks.
const ZETA: f64 = std::f64::consts::PI * std::f64::consts::PI / 6.0;

/// The task. It has no parameters: an exponent of two, three words asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrequentWords;

/// How often the word of rank `rank`, from one, stands among `words`.
fn count(words: usize, rank: usize) -> usize {
    (words as f64 / (rank * rank) as f64 / ZETA) as usize
}

/// Coded words by rank, as many as are asked for.
struct Vocabulary {
    rng: ChaCha8Rng,
    seen: HashSet<String>,
    words: Vec<String>,
}

impl Vocabulary {
    fn new(seed: u64) -> Self {
        Self { rng: seeded(seed), seen: HashSet::new(), words: vec![DOTS.into()] }
    }

    /// The first `count` words. There are 26^6 of them: they cannot run out.
    fn first(&mut self, count: usize) -> &[String] {
        let Self { rng, seen, words } = self;
        let mut letter = || char::from(rng.random_range(b'a'..=b'z'));
        while words.len() < count {
            words.push(unseen(seen, || (0..LETTERS).map(|_| letter()).collect()));
        }
        &words[..count]
    }
}

impl FrequentWords {
    /// A text of about `length` words, in an order that depends on the seed.
    fn compose(vocabulary: &mut Vocabulary, length: usize, seed: u64) -> Sample {
        let ranks = (1..).take_while(|&rank| count(length, rank) > 0).count();
        let words = vocabulary.first(ranks.max(1 + FREQUENT));
        let repeated = |(rank, word): (usize, &String)| std::iter::repeat_n(word.clone(), count(length, rank));
        let mut text: Vec<String> = (1..).zip(words).flat_map(repeated).collect();
        text.shuffle(&mut seeded(seed));

        let expected = words[1..=FREQUENT].to_vec();
        let mut context = String::from(
            "The following text is made of coded words. Count how often each of them comes up, and memorize the most frequent ones.\n",
        );
        let mut needle_spans = Vec::new();
        for word in &text {
            let start = context.len();
            context.push_str(word);
            context.push(' ');
            if expected.contains(word) {
                needle_spans.push(start..context.len());
            }
        }
        Sample {
            context,
            question: format!(
                "\nQuestion: Leave the dots '{DOTS}' aside. What are the {FREQUENT} most frequent words in the coded text above?"
            ),
            answer_prefix: format!(" Answer: The {FREQUENT} words that come up most often in the coded text are:"),
            expected,
            depth: None,
            needle_spans,
        }
    }
}

impl Task for FrequentWords {
    fn name(&self) -> &'static str {
        "frequent_words"
    }

    fn answer_tokens(&self) -> usize {
        50
    }

    fn takes_depth(&self) -> bool {
        false
    }

    /// Here a line of haystack is one more word.
    fn sample(&self, request: &Request) -> Result<Sample, TaskError> {
        request.check_without_depth(self.name())?;
        let mut vocabulary = Vocabulary::new(request.seed);
        fit::longest(request, self.name(), self.answer_tokens(), |more| {
            Ok(Self::compose(&mut vocabulary, LEAST + more, request.seed))
        })
    }

    /// Counts the words of the text and names the three most frequent.
    fn solve(&self, prompt: &str) -> String {
        let text = prompt.split("\nQuestion:").next().unwrap_or_default();
        let coded = text.lines().skip(1).flat_map(str::split_whitespace).filter(|word| *word != DOTS);
        let mut counts: HashMap<&str, usize> = HashMap::new();
        coded.for_each(|word| *counts.entry(word).or_default() += 1);
        let mut ranked: Vec<_> = counts.into_iter().collect();
        ranked.sort_by(|(a, x), (b, y)| y.cmp(x).then(a.cmp(b)));
        ranked.iter().take(FREQUENT).map(|(word, _)| *word).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_fall_with_the_square_of_the_rank_and_the_answer_is_ahead() {
        let words = |text: &str| text.split_whitespace().count();
        for length in [300, 1000, 5000] {
            let sample = FrequentWords.sample(&Request::new(length, &words).seed(4)).unwrap();
            let mut counts: HashMap<&str, usize> = HashMap::new();
            let (_, text) = sample.context.split_once('\n').unwrap();
            text.split_whitespace().for_each(|word| *counts.entry(word).or_default() += 1);
            let mut ranked: Vec<(usize, &str)> = counts.iter().map(|(word, count)| (*count, *word)).collect();
            ranked.sort_by(|a, b| b.cmp(a));
            assert_eq!(ranked[0].1, DOTS);
            let most = ranked[0].0 as f64;
            for (rank, (count, word)) in (2..).zip(&ranked[1..=FREQUENT]) {
                assert!(sample.expected.iter().any(|expected| expected == word), "{word} at {length}");
                let expected = most / f64::from(rank * rank);
                assert!((*count as f64 - expected).abs() <= 1.0, "{count} and {expected} at {length}");
            }
            assert!(ranked[FREQUENT].0 > ranked[FREQUENT + 1].0, "the answer is ahead at {length}: {ranked:?}");
        }
    }
}
