//! Byte sentiment: is a review, read byte by byte, more positive than negative?
//!
//! A stand-in for the Long Range Arena's text task (Tay et al. 2020, arXiv:2011.04006) that needs no data: an odd number
//! of judging sentences, each with a praising or a damning word and half of them negated, stand scattered in neutral
//! ones. The class is the sign of their sum. [`crate::labelled_files::read_text_folders`] reads the published reviews.

use rand::RngExt;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;

use crate::classify::{BYTE_VOCABULARY, ClassifyTask, LabelledSample, byte_text, byte_tokens};
use crate::random::seeded;
use crate::task::{TaskError, within};
use crate::words::NOUNS;

const PRAISE: [&str; 12] = [
    "brilliant",
    "superb",
    "delightful",
    "moving",
    "masterful",
    "charming",
    "splendid",
    "gripping",
    "excellent",
    "touching",
    "hilarious",
    "wonderful",
];
const BLAME: [&str; 12] = [
    "dreadful",
    "tedious",
    "clumsy",
    "wooden",
    "pointless",
    "awful",
    "shallow",
    "dull",
    "horrible",
    "annoying",
    "laughable",
    "forgettable",
];
const SUBJECTS: [&str; 8] = ["plot", "cast", "music", "ending", "script", "camera work", "dialogue", "pace"];
/// More bytes than the longest judging sentence has.
const LONGEST: usize = 64;

/// Reviews of judging and neutral sentences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByteSentiment {
    /// Most bytes of a review; it is shorter by less than a sentence.
    pub length: usize,
    /// Number of judging sentences, odd.
    pub judgements: usize,
}

impl Default for ByteSentiment {
    /// 1000 bytes, the benchmark's length, with five judgements.
    fn default() -> Self {
        Self { length: 1000, judgements: 5 }
    }
}

/// A judging sentence and whether it is positive.
fn judgement(rng: &mut ChaCha8Rng) -> (String, bool) {
    let (praises, negated): (bool, bool) = (rng.random(), rng.random());
    let word = pick(rng, if praises { &PRAISE } else { &BLAME });
    let subject = pick(rng, &SUBJECTS);
    let sentence = match (negated, rng.random_range(0..2)) {
        (false, 0) => format!("The {subject} was {word}. "),
        (false, _) => format!("I found the {subject} {word}. "),
        (true, 0) => format!("The {subject} was not {word}. "),
        (true, _) => format!("Nobody can call the {subject} {word}. "),
    };
    (sentence, praises != negated)
}

/// A sentence that says nothing of quality; some are negated, too.
fn neutral(rng: &mut ChaCha8Rng) -> String {
    let [first, second] = [(); 2].map(|()| pick(rng, &NOUNS));
    match rng.random_range(0..5) {
        0 => format!("In one scene a {first} stands next to a {second}. "),
        1 => format!("Somebody carries a {first} past the {second}. "),
        2 => format!("The {first} is not seen again before the {second}. "),
        3 => format!("Nobody asks where the {first} comes from. "),
        _ => format!("Then the camera turns from the {first} to the {second}. "),
    }
}

fn pick<'a>(rng: &mut ChaCha8Rng, words: &[&'a str]) -> &'a str {
    words.choose(rng).copied().unwrap_or_default()
}

impl ClassifyTask for ByteSentiment {
    fn name(&self) -> &'static str {
        "byte_sentiment"
    }

    fn classes(&self) -> usize {
        2
    }

    fn vocabulary(&self) -> usize {
        BYTE_VOCABULARY
    }

    /// Class 1 is the positive one.
    fn sample(&self, seed: u64) -> Result<LabelledSample, TaskError> {
        within(self.name(), "length", self.length, LONGEST, crate::MAX_LENGTH)?;
        within(self.name(), "judgements", self.judgements, 1, self.length / LONGEST)?;
        within(self.name(), "judgements modulo 2", self.judgements % 2, 1, 1)?;
        let mut rng = seeded(seed);
        let (mut sentences, positive): (Vec<String>, Vec<bool>) =
            (0..self.judgements).map(|_| judgement(&mut rng)).unzip();
        let mut length: usize = sentences.iter().map(String::len).sum();
        loop {
            let sentence = neutral(&mut rng);
            length += sentence.len();
            if length > self.length {
                break;
            }
            sentences.push(sentence);
        }
        sentences.shuffle(&mut rng);
        let positives = positive.into_iter().filter(|&positive| positive).count();
        let tokens = byte_tokens(sentences.concat().as_bytes(), self.length);
        Ok(LabelledSample { tokens, label: usize::from(2 * positives > self.judgements) })
    }

    /// Counts praise and blame, the other way round where a sentence negates.
    fn solve(&self, tokens: &[u32]) -> Option<usize> {
        let text = byte_text(tokens)?;
        let judgements = text.split(". ").filter_map(|sentence| {
            let words: Vec<&str> = sentence.split(' ').collect();
            let has = |list: &[&str]| list.iter().any(|word| words.contains(word));
            let praises = match (has(&PRAISE), has(&BLAME)) {
                (true, false) => true,
                (false, true) => false,
                _ => return None,
            };
            Some(praises != has(&["not", "Nobody"]))
        });
        let sum: i64 = judgements.map(|positive| if positive { 1 } else { -1 }).sum();
        (sum != 0).then_some(usize::from(sum > 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reviews_fill_their_length_and_judge_as_often_as_asked() {
        let task = ByteSentiment { length: 3000, judgements: 7 };
        for seed in 0..50 {
            let tokens = task.sample(seed).unwrap().tokens;
            assert!((2900..=3000).contains(&tokens.len()), "{}", tokens.len());
            let text = byte_text(&tokens).unwrap();
            let judging = PRAISE.iter().chain(&BLAME).map(|word| text.matches(&format!(" {word}. ")).count());
            assert_eq!(judging.sum::<usize>(), 7, "{text}");
        }
    }

    /// Counting words without regard to negation is no better than a guess, and the negating words tell nothing.
    #[test]
    fn counting_words_is_not_enough() {
        let task = ByteSentiment::default();
        let mut right = 0;
        for seed in 0..1000 {
            let sample = task.sample(seed).unwrap();
            let text = byte_text(&sample.tokens).unwrap();
            let count = |list: &[&str]| list.iter().map(|word| text.matches(word).count()).sum::<usize>();
            right += usize::from(usize::from(count(&PRAISE) > count(&BLAME)) == sample.label);
        }
        assert!((440..560).contains(&right), "{right}");
    }

    #[test]
    fn impossible_parameters_are_named() {
        let error = |length, judgements| ByteSentiment { length, judgements }.sample(0).unwrap_err().to_string();
        assert!(error(1000, 4).contains("judgements modulo 2 = 0"));
        assert!(error(1000, 17).contains("1..=15"));
        assert!(error(10, 1).contains("length = 10"));
    }
}
