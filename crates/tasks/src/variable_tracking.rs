//! Variable tracking: a chain of assignments hidden in noise; name every variable that ends up with the value.
//!
//! `VAR ABCDE = 12345`, `VAR FGHIJ = VAR ABCDE`, …: one chain of four hops, so five names, in order at random lines.
//! A short solved example with three-letter names comes first. RULER, Hsieh et al. 2024, arXiv:2404.06654.

use std::collections::HashSet;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::fit;
use crate::haystack::{self, Insertion, NOISE};
use crate::random::{seeded, unseen};
use crate::task::{Request, Sample, Task, TaskError};

/// Assignments of one variable to the next.
const HOPS: usize = 4;

/// Lines of noise in the solved example.
const EXAMPLE_LINES: usize = 5;

/// The task. It has no parameters: one chain, four hops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VariableTracking;

/// Variables that share one value, and the places of their assignments.
struct Chain {
    value: u32,
    names: Vec<String>,
    assignments: Vec<Insertion>,
}

impl Chain {
    /// A chain with names of `letters` letters whose value is not `other`.
    fn draw(rng: &mut ChaCha8Rng, letters: usize, other: Option<u32>) -> Self {
        let mut seen = HashSet::from_iter(other);
        let value = unseen(&mut seen, || rng.random_range(10_000..=99_999));
        let mut seen = HashSet::new();
        let letter = |rng: &mut ChaCha8Rng| char::from(rng.random_range(b'A'..=b'Z'));
        let names: Vec<String> =
            (0..=HOPS).map(|_| unseen(&mut seen, || (0..letters).map(|_| letter(rng)).collect())).collect();
        let mut depths: Vec<f64> = names.iter().map(|_| rng.random()).collect();
        depths.sort_by(f64::total_cmp);

        let first = format!("VAR {} = {value}", names[0]);
        let next = names.windows(2).map(|pair| format!("VAR {} = VAR {} ", pair[1], pair[0]));
        let lines = std::iter::once(first).chain(next);
        let assignments = depths.into_iter().zip(lines).map(|(depth, text)| Insertion { depth, text }).collect();
        Self { value, names, assignments }
    }

    /// Instruction and noise with the assignments, question, answer prefix.
    fn compose(&self, noise_lines: usize) -> Sample {
        let value = self.value;
        let mut context = String::from(
            "The following text hides one or more chains of variable assignments. Memorize and follow them.\n\n",
        );
        let noise = std::iter::repeat_n(NOISE, noise_lines);
        let needle_spans = haystack::append(&mut context, noise, "\n", &self.assignments);
        let question = format!("\nQuestion: Find all variables that are assigned the value {value} in the text above.");
        let answer_prefix = format!(
            " Answer: According to the chain(s) of variable assignment in the text above, {} variables are assigned \
             the value {value}, they are: ",
            self.names.len()
        );
        let expected = self.names.clone();
        Sample { context, question, answer_prefix, expected, depth: None, needle_spans }
    }
}

impl Task for VariableTracking {
    fn name(&self) -> &'static str {
        "variable_tracking"
    }

    fn answer_tokens(&self) -> usize {
        64
    }

    fn takes_depth(&self) -> bool {
        false
    }

    fn sample(&self, request: &Request) -> Result<Sample, TaskError> {
        request.check_without_depth(self.name())?;
        let mut rng = seeded(request.seed);
        let chain = Chain::draw(&mut rng, 5, None);
        let example = Chain::draw(&mut rng, 3, Some(chain.value));
        let solved = format!("{}{}\n\n", example.compose(EXAMPLE_LINES).prompt(), example.names.join(", "));

        fit::longest(request, self.name(), self.answer_tokens(), |noise_lines| {
            let mut sample = chain.compose(noise_lines);
            for span in &mut sample.needle_spans {
                *span = span.start + solved.len()..span.end + solved.len();
            }
            sample.context.insert_str(0, &solved);
            Ok(sample)
        })
    }

    /// Follows the assignments from the value in the last question until no variable is added.
    fn solve(&self, prompt: &str) -> String {
        let after = prompt.rsplit_once("assigned the value ").map(|(_, after)| after);
        let value = after.and_then(|after| after.split(|c: char| !c.is_ascii_digit()).next());
        let mut known: Vec<&str> = value.into_iter().collect();
        let assignments: Vec<(&str, &str)> = prompt
            .lines()
            .filter_map(|line| line.strip_prefix("VAR ")?.split_once(" = "))
            .map(|(name, source)| (name, source.trim_start_matches("VAR ").trim_end()))
            .collect();
        let mut before = 0;
        while known.len() > before {
            before = known.len();
            for (name, source) in &assignments {
                if known.contains(source) && !known.contains(name) {
                    known.push(name);
                }
            }
        }
        known.get(1..).unwrap_or_default().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_stands_in_order_and_names_are_different() {
        let words = |text: &str| text.split_whitespace().count();
        for seed in 0..50 {
            let sample = VariableTracking.sample(&Request::new(2000, &words).seed(seed)).unwrap();
            let names = &sample.expected;
            assert_eq!(names.iter().collect::<HashSet<_>>().len(), 5);
            let lines: Vec<&str> = sample.needle_spans.iter().map(|span| &sample.context[span.clone()]).collect();
            assert!(lines[0].starts_with(&format!("VAR {} = ", names[0])));
            for hop in 1..=HOPS {
                assert_eq!(lines[hop], format!("VAR {} = VAR {} ", names[hop], names[hop - 1]));
                assert!(sample.needle_spans[hop - 1].end < sample.needle_spans[hop].start);
            }
        }
    }

    #[test]
    fn the_example_is_solved_and_of_another_value() {
        let words = |text: &str| text.split_whitespace().count();
        let sample = VariableTracking.sample(&Request::new(700, &words)).unwrap();
        let (example, rest) = sample.context.split_once("\n\nThe following text").unwrap();
        let (question, answer) = example.rsplit_once("they are: ").unwrap();
        assert_eq!(VariableTracking.solve(question), answer);
        assert!(!rest.contains(answer.split(", ").next().unwrap()));
    }
}
