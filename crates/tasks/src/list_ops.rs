//! ListOps: the value of a nested list of operations on digits, 10 classes.
//!
//! `[MAX 2 9 [MIN 4 7 ] 0 ]` is 9. A node is an operator with probability 1/4, above the greatest depth, and else a
//! digit; an operator is one of `MIN`, `MAX`, `MED` (the median, cut to an integer) and `SM` (the sum modulo 10), and
//! has 2 to `max_args` arguments. Trees are drawn until one has a wanted length.
//! Nangia and Bowman 2018, arXiv:1804.06028; lengths and grammar of Tay et al. 2020, arXiv:2011.04006.

use std::ops::Range;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::classify::{ClassifyTask, LabelledSample};
use crate::random::seeded;
use crate::task::{TaskError, within};

/// What token ids stand for; 0 is padding.
const WORDS: [&str; 16] = ["", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "[MIN", "[MAX", "[MED", "[SM", "]"];
const ZERO: u32 = 1;
const OPERATORS: Range<u32> = 11..15;
const END: u32 = 15;

/// Trees that are drawn before the lengths are called out of reach; one in about fifty has a length of the benchmark.
const ATTEMPTS: usize = 1 << 20;

/// Nested operations on digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListOps {
    /// Depth at which only digits stand; the outermost operator has depth 1.
    pub max_depth: usize,
    /// Greatest number of arguments of an operator.
    pub max_args: usize,
    /// Lengths that are kept, in tokens: digits, and two for each operator.
    pub lengths: Range<usize>,
}

impl ListOps {
    /// 50 to 150 tokens: small models learn something of it within minutes.
    pub fn short() -> Self {
        Self { lengths: 50..151, ..Self::default() }
    }

    /// The written form, e.g. `[MAX 2 9 [MIN 4 7 ] 0 ]`; `None` if a token is no ListOps word.
    pub fn text(tokens: &[u32]) -> Option<String> {
        let word = |&token: &u32| WORDS.get(token as usize).copied().filter(|word| !word.is_empty());
        tokens.iter().map(word).collect::<Option<Vec<_>>>().map(|words| words.join(" "))
    }

    /// The tokens of the written form; `None` if a word is unknown. The parentheses of the published files, which
    /// repeat what the brackets say, are left out.
    pub fn tokens(text: &str) -> Option<Vec<u32>> {
        let words = text.split_whitespace().filter(|word| !["(", ")"].contains(word));
        words.map(|word| WORDS.iter().position(|known| *known == word).map(|token| token as u32)).collect()
    }

    /// Appends a random tree whose root is an operator at `depth` and returns its value; `None` as soon as it is
    /// too long.
    fn operator(&self, depth: usize, rng: &mut ChaCha8Rng, tokens: &mut Vec<u32>) -> Option<u32> {
        let operator = rng.random_range(OPERATORS);
        tokens.push(operator);
        let mut values = Vec::with_capacity(self.max_args);
        for _ in 0..rng.random_range(2..=self.max_args) {
            let nested = depth + 1 < self.max_depth && rng.random_range(0..4) == 0;
            values.push(match nested {
                true => self.operator(depth + 1, rng, tokens)?,
                false => {
                    let digit = rng.random_range(0..10);
                    tokens.push(ZERO + digit);
                    digit
                }
            });
            if tokens.len() >= self.lengths.end {
                return None;
            }
        }
        tokens.push(END);
        Some(value(operator, &mut values))
    }
}

/// What an operator makes of its arguments, at least one.
fn value(operator: u32, arguments: &mut [u32]) -> u32 {
    arguments.sort_unstable();
    let count = arguments.len();
    match WORDS[operator as usize] {
        "[MIN" => arguments[0],
        "[MAX" => arguments[count - 1],
        "[MED" => (arguments[(count - 1) / 2] + arguments[count / 2]) / 2,
        _ => arguments.iter().sum::<u32>() % 10,
    }
}

impl Default for ListOps {
    /// The benchmark's: depth 10, 10 arguments, more than 500 and fewer than 2000 tokens.
    fn default() -> Self {
        Self { max_depth: 10, max_args: 10, lengths: 501..2000 }
    }
}

impl ClassifyTask for ListOps {
    fn name(&self) -> &'static str {
        "list_ops"
    }

    fn classes(&self) -> usize {
        10
    }

    fn vocabulary(&self) -> usize {
        WORDS.len()
    }

    fn sample(&self, seed: u64) -> Result<LabelledSample, TaskError> {
        within(self.name(), "max_depth", self.max_depth, 2, 256)?;
        within(self.name(), "max_args", self.max_args, 2, 1024)?;
        within(self.name(), "lengths.end", self.lengths.end, 5, crate::MAX_LENGTH)?;
        within(self.name(), "lengths.start", self.lengths.start, 0, self.lengths.end - 1)?;
        let mut rng = seeded(seed);
        let mut tokens = Vec::with_capacity(self.lengths.end);
        for _ in 0..ATTEMPTS {
            tokens.clear();
            // A lone digit would be rejected: a tree that is kept starts with an operator.
            if let Some(value) = self.operator(1, &mut rng, &mut tokens)
                && self.lengths.contains(&tokens.len())
            {
                return Ok(LabelledSample { tokens, label: value as usize });
            }
        }
        Err(TaskError::Rare { task: self.name(), attempts: ATTEMPTS })
    }

    /// Reads from left to right with a stack of open operators and, for each, how often it has seen which digit.
    fn solve(&self, tokens: &[u32]) -> Option<usize> {
        let mut open: Vec<(u32, [usize; 10])> = Vec::new();
        for (place, &token) in tokens.iter().enumerate() {
            let digit = match token {
                token if OPERATORS.contains(&token) => {
                    open.push((token, [0; 10]));
                    continue;
                }
                END => {
                    let (operator, counts) = open.pop()?;
                    reduce(operator, &counts)?
                }
                token => token.checked_sub(ZERO).filter(|&digit| digit < 10)? as usize,
            };
            match open.last_mut() {
                Some((_, counts)) => counts[digit] += 1,
                None => return (place + 1 == tokens.len()).then_some(digit),
            }
        }
        None
    }
}

/// What an operator makes of digits that it has seen so many times each; `None` of no digits.
fn reduce(operator: u32, counts: &[usize; 10]) -> Option<usize> {
    let total: usize = counts.iter().sum();
    let ranked = |rank: usize| {
        let mut seen = 0;
        counts.iter().position(|count| {
            seen += count;
            seen > rank
        })
    };
    match operator - OPERATORS.start {
        0 => ranked(0),
        1 => ranked(total.checked_sub(1)?),
        2 => Some((ranked(total.checked_sub(1)? / 2)? + ranked(total / 2)?) / 2),
        _ => Some(counts.iter().enumerate().map(|(digit, count)| digit * count).sum::<usize>() % 10),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn solve(text: &str) -> Option<usize> {
        ListOps::default().solve(&ListOps::tokens(text)?)
    }

    /// Values worked out by hand, in the written form of the published files, too.
    #[test]
    fn written_examples_have_their_values() {
        assert_eq!(solve("[MAX 2 9 [MIN 4 7 ] 0 ]"), Some(9));
        assert_eq!(solve("[MED 1 4 ]"), Some(2));
        assert_eq!(solve("[MED 9 1 5 ]"), Some(5));
        assert_eq!(solve("[SM 9 [SM 8 7 ] [MED 6 3 7 9 ] 5 ]"), Some(5));
        assert_eq!(solve("( ( ( [MAX 2 ) ( ( ( [MIN 9 ) 4 ) ] ) ) ] )"), Some(4));
        assert_eq!(solve("7"), Some(7));
        for broken in ["[MAX 2 9", "[MAX 2 ] 3", "]", "[MED ]", "[MIN ]", "[MAX ]", ""] {
            assert_eq!(solve(broken), None, "{broken}");
        }
        assert_eq!(ListOps::tokens("[FIRST 1 2 ]"), None);
        assert_eq!(ListOps::text(&[0]), None);
    }

    #[test]
    fn five_thousand_samples_are_solved_and_none_is_there_twice() {
        let task = ListOps::short();
        let mut seen = HashSet::new();
        let mut counts = [0; 10];
        for seed in 0..5000 {
            let LabelledSample { tokens, label } = task.sample(seed).unwrap();
            assert_eq!(task.solve(&tokens), Some(label), "seed {seed}");
            assert!((50..=150).contains(&tokens.len()));
            let text = ListOps::text(&tokens).unwrap();
            assert_eq!(ListOps::tokens(&text).unwrap(), tokens);
            counts[label] += 1;
            assert!(seen.insert(tokens), "seed {seed}");
        }
        // Minima and maxima pull to 0 and 9: the classes are not equally common, but none is rare or a safe guess.
        assert!(counts.iter().all(|count| (250..1000).contains(count)), "{counts:?}");
    }

    #[test]
    fn the_benchmark_trees_have_its_lengths_depth_and_arguments() {
        let mut depths = HashSet::new();
        let mut most_arguments = 0;
        for seed in 0..50 {
            let LabelledSample { tokens, label } = ListOps::default().sample(seed).unwrap();
            assert!(500 < tokens.len() && tokens.len() < 2000);
            assert_eq!(ListOps::default().solve(&tokens), Some(label));
            let mut arguments = vec![0];
            for &token in &tokens {
                match token {
                    END => most_arguments = most_arguments.max(arguments.pop().unwrap()),
                    operator if OPERATORS.contains(&operator) => {
                        *arguments.last_mut().unwrap() += 1;
                        arguments.push(0);
                        depths.insert(arguments.len() - 1);
                    }
                    _ => *arguments.last_mut().unwrap() += 1,
                }
            }
        }
        // Digits stand at depth 10 at the latest, operators one above.
        assert_eq!(depths.iter().max(), Some(&9));
        assert_eq!(most_arguments, 10);
    }

    #[test]
    fn impossible_parameters_are_named() {
        let error = |task: ListOps| task.sample(0).unwrap_err().to_string();
        let task = ListOps::default();
        assert!(error(ListOps { max_args: 1, ..task.clone() }).contains("max_args = 1"));
        assert!(error(ListOps { max_depth: 1, ..task.clone() }).contains("max_depth = 1"));
        assert!(error(ListOps { lengths: 10..10, ..task.clone() }).contains("lengths.start = 10"));
        assert!(error(ListOps { max_depth: 2, ..task }).contains("no sample in 1048576 attempts"));
    }
}
