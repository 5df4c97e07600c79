//! Questions about documents: short documents of one shape, one or two of which answer the question.
//!
//! The question-answering tasks of RULER (Hsieh et al. 2024, arXiv:2404.06654) ask about one document, as SQuAD does, or about two that have
//! to be put together, as HotpotQA does, and hide them among others. Here the documents are generated, so that the answer is in the
//! text alone and nothing has to be downloaded: a catalogue of things and of the cases that they are kept in.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::fit;
use crate::haystack::{self, Insertion};
use crate::key_value::{KeyKind, KeyValueSource, ValueKind};
use crate::random::seeded;
use crate::task::{Request, Sample, Task, TaskError};

/// The task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DocumentQuestions {
    /// Name in result rows.
    pub name: &'static str,
    /// Whether the answer takes two documents.
    pub two_hops: bool,
}

impl DocumentQuestions {
    /// The answer is in one document.
    pub const ONE_HOP: Self = Self { name: "documents_one_hop", two_hops: false };
    /// One document names another, which has the answer.
    pub const TWO_HOPS: Self = Self { name: "documents_two_hops", two_hops: true };
}

/// Where documents say that a thing stands, and what they say of it besides.
const SIDES: [&str; 4] = ["north", "east", "south", "west"];
const REMARKS: [&str; 6] = [
    "It was given by the town.",
    "It came from an old collection.",
    "It was mended twice.",
    "Nobody knows how old it is.",
    "School classes like to draw it.",
    "It is shown once a week.",
];

/// The catalogue as it is being written.
struct Catalogue {
    rng: ChaCha8Rng,
    source: KeyValueSource,
}

impl Catalogue {
    fn remark(&mut self) -> &'static str {
        REMARKS[self.rng.random_range(0..REMARKS.len())]
    }

    /// The document that lists `key` under `value`.
    fn listed(&mut self, key: &str, value: &str) -> String {
        let side = SIDES[self.rng.random_range(0..SIDES.len())];
        let remark = self.remark();
        format!("Document: The {key} stands in the {side} hall. {remark} The catalogue lists it under number {value}.")
    }

    /// The document that says in which case `key` is kept.
    fn kept(&mut self, key: &str, case: &str) -> String {
        let remark = self.remark();
        format!("Document: The {key} was made by hand. {remark} Since the last move it is kept in the {case}.")
    }

    /// One thing that is listed; with `two_hops` kept in a case that is. Returns the key, the documents, the listing one first, and the
    /// number.
    fn thing(&mut self, two_hops: bool) -> Result<(String, Vec<String>, String), TaskError> {
        let (key, value) = (self.source.key()?, self.source.value());
        if !two_hops {
            let listed = self.listed(&key, &value);
            return Ok((key, vec![listed], value));
        }
        let case = self.source.key()?;
        let documents = vec![self.listed(&case, &value), self.kept(&key, &case)];
        Ok((key, documents, value))
    }
}

impl Task for DocumentQuestions {
    fn name(&self) -> &'static str {
        self.name
    }

    fn answer_tokens(&self) -> usize {
        32
    }

    fn takes_depth(&self) -> bool {
        !self.two_hops
    }

    /// A line of haystack is one more document.
    fn sample(&self, request: &Request) -> Result<Sample, TaskError> {
        match self.takes_depth() {
            true => request.check()?,
            false => request.check_without_depth(self.name)?,
        }
        let mut rng = seeded(request.seed);
        let depths: [f64; 2] = [rng.random(), rng.random()];
        let source = KeyValueSource::new(seeded(request.seed), KeyKind::Words, ValueKind::Number);
        let mut catalogue = Catalogue { rng, source };
        let (key, answering, value) = catalogue.thing(self.two_hops)?;
        let depth = |number: usize| request.depth.filter(|_| number == 0).map_or(depths[number], f64::from);
        let answering: Vec<Insertion> =
            answering.into_iter().enumerate().map(|(number, text)| Insertion { depth: depth(number), text }).collect();
        let asked = if self.two_hops { format!("the case in which the {key} is kept") } else { format!("the {key}") };

        let mut others: Vec<String> = Vec::new();
        fit::longest(request, self.name, self.answer_tokens(), |count| {
            while others.len() < count {
                others.extend(catalogue.thing(self.two_hops)?.1);
            }
            let mut context = String::from("Answer the question at the end from the following documents alone.\n\n");
            let haystack = others[..count].iter().map(String::as_str);
            let needle_spans = haystack::append(&mut context, haystack, "\n", &answering);
            Ok(Sample {
                context,
                question: format!("\n\nQuestion: Under which number does the catalogue list {asked}?"),
                answer_prefix: format!(" Answer: The catalogue lists {asked} under number"),
                expected: vec![value.clone()],
                depth: (!self.two_hops).then_some(answering[0].depth as f32),
                needle_spans,
            })
        })
    }

    /// Looks up the key of the question, in the case that it is kept in if there is one.
    fn solve(&self, prompt: &str) -> String {
        let Some((documents, question)) = prompt.rsplit_once("\n\nQuestion:") else { return String::new() };
        // What the document of `key` says after `words`, at its end.
        let said = |key: &str, words: &str| {
            let of_key =
                |line: &str| line.strip_prefix("Document: The ")?.strip_prefix(key)?.starts_with(' ').then_some(());
            let mut documents = documents.lines().filter(|line| of_key(line).is_some());
            documents.find_map(|line| Some(line.rsplit_once(words)?.1.trim_end_matches('.').to_owned()))
        };
        let asked = match self.two_hops {
            true => question.split_once("in which the ").and_then(|(_, rest)| rest.split_once(" is kept")),
            false => question.split_once("list the ").and_then(|(_, rest)| rest.split_once('?')),
        };
        let Some((asked, _)) = asked else { return String::new() };
        let key = if self.two_hops { said(asked, "kept in the ") } else { Some(asked.into()) };
        key.and_then(|key| said(&key, "under number ")).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_takes_as_many_documents_as_it_should() {
        let words = |text: &str| text.split_whitespace().count();
        for task in [DocumentQuestions::ONE_HOP, DocumentQuestions::TWO_HOPS] {
            for seed in 0..20 {
                let sample = task.sample(&Request::new(800, &words).seed(seed)).unwrap();
                let needles: Vec<&str> = sample.needle_spans.iter().map(|span| &sample.context[span.clone()]).collect();
                assert_eq!(needles.len(), 1 + usize::from(task.two_hops));
                assert!(needles[0].contains(&sample.expected[0]));
                assert_eq!(sample.context.matches(&sample.expected[0]).count(), 1, "the number stands once");
                // Without either document there is no answer.
                for needle in needles {
                    let without = sample.prompt().replace(needle, "");
                    assert_eq!(task.solve(&without), "", "{needle}");
                }
            }
        }
    }

    #[test]
    fn keys_run_out_with_an_error() {
        let lines = |text: &str| text.lines().count();
        let error = DocumentQuestions::TWO_HOPS.sample(&Request::new(100_000, &lines)).unwrap_err();
        assert!(matches!(error, TaskError::KeysExhausted { .. }), "{error}");
    }
}
