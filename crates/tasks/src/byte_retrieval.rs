//! Byte retrieval: do two documents, read byte by byte, have the same topic?
//!
//! A stand-in for the Long Range Arena's retrieval task (Tay et al. 2020, arXiv:2011.04006) that needs no data: each
//! document hides one sentence with its topic, a pair of words, among sentences on other things. The benchmark encodes
//! the two documents apart and compares the codes, so that each must be kept without knowing the other.
//! [`crate::labelled_files::read_pairs`] reads the published pairs.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::classify::{BYTE_VOCABULARY, ClassifyTask, LabelledSample, byte_text, byte_tokens};
use crate::key_value::{KeyKind, KeyValueSource, ValueKind};
use crate::random::seeded;
use crate::task::{TaskError, within};
use crate::words::{ADJECTIVES, NOUNS};

/// What stands before a topic.
const TOPIC: &str = "The topic is ";
/// More bytes than the sentence with the topic has.
const LONGEST: usize = 64;

/// Pairs of documents with a topic each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByteRetrieval {
    /// Tokens of each document: bytes, then padding for less than a sentence.
    pub length: usize,
}

impl Default for ByteRetrieval {
    /// 4000 bytes each, the benchmark's length.
    fn default() -> Self {
        Self { length: 4000 }
    }
}

/// A sentence that is not about the topic, but of the same words.
fn filler(rng: &mut ChaCha8Rng) -> String {
    let adjective = ADJECTIVES[rng.random_range(0..ADJECTIVES.len())];
    let [first, second] = [(); 2].map(|()| NOUNS[rng.random_range(0..NOUNS.len())]);
    match rng.random_range(0..3) {
        0 => format!("We compare the {adjective} {first} with the {second}. "),
        1 => format!("Earlier work covers each {first} and some {adjective} {second}. "),
        _ => format!("Here the {first} depends on the {adjective} {second}. "),
    }
}

impl ByteRetrieval {
    /// A document about `topic`, padded.
    fn document(&self, topic: &str, rng: &mut ChaCha8Rng) -> Vec<u32> {
        let topic = format!("{TOPIC}{topic}. ");
        let mut length = topic.len();
        let mut sentences = Vec::new();
        loop {
            let sentence = filler(rng);
            length += sentence.len();
            if length > self.length {
                break;
            }
            sentences.push(sentence);
        }
        sentences.insert(rng.random_range(0..=sentences.len()), topic);
        let mut tokens = byte_tokens(sentences.concat().as_bytes(), self.length);
        tokens.resize(self.length, 0);
        tokens
    }
}

impl ClassifyTask for ByteRetrieval {
    fn name(&self) -> &'static str {
        "byte_retrieval"
    }

    fn classes(&self) -> usize {
        2
    }

    fn vocabulary(&self) -> usize {
        BYTE_VOCABULARY
    }

    fn documents(&self) -> usize {
        2
    }

    /// Class 1 has one topic, class 0 two.
    fn sample(&self, seed: u64) -> Result<LabelledSample, TaskError> {
        within(self.name(), "length", self.length, LONGEST, crate::MAX_LENGTH / 2)?;
        let mut rng = seeded(seed);
        let same: bool = rng.random();
        let mut topics = KeyValueSource::new(seeded(rng.random()), KeyKind::Words, ValueKind::Number);
        let first = topics.key()?;
        let second = if same { first.clone() } else { topics.key()? };
        let tokens = [self.document(&first, &mut rng), self.document(&second, &mut rng)].concat();
        Ok(LabelledSample { tokens, label: same.into() })
    }

    /// Reads the two topics and compares them.
    fn solve(&self, tokens: &[u32]) -> Option<usize> {
        let topic = |document: &[u32]| {
            let text = byte_text(document)?;
            let (_, after) = text.split_once(TOPIC)?;
            Some(after.split('.').next()?.to_owned())
        };
        let (first, second) = tokens.split_at_checked(self.length)?;
        Some(usize::from(topic(first)? == topic(second)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_full_and_hide_their_topic_anywhere() {
        let task = ByteRetrieval { length: 500 };
        let mut thirds = [0; 3];
        for seed in 0..300 {
            let sample = task.sample(seed).unwrap();
            for document in sample.tokens.chunks(500) {
                let text = byte_text(document).unwrap();
                assert!((420..=500).contains(&text.len()), "{}", text.len());
                assert_eq!(text.matches(TOPIC).count(), 1);
                thirds[3 * text.find(TOPIC).unwrap() / text.len()] += 1;
            }
        }
        assert!(thirds.iter().all(|&count| count > 120), "{thirds:?}");
    }

    /// The documents are independent but for the topic: without it, nothing they share says the class.
    #[test]
    fn without_a_topic_there_is_no_answer() {
        let task = ByteRetrieval { length: 500 };
        let sample = task.sample(2).unwrap();
        assert_eq!(task.solve(&sample.tokens[..500]), None);
        let swapped = [&sample.tokens[500..], &sample.tokens[..500]].concat();
        assert_eq!(task.solve(&swapped), Some(sample.label));
        assert!(ByteRetrieval { length: 20 }.sample(0).unwrap_err().to_string().contains("length = 20"));
    }
}
