//! Needles in a haystack: sentences that give a key its value, hidden in a long text, and a question for some keys.
//!
//! The eight NIAH tasks of the RULER benchmark (Hsieh et al. 2024, arXiv:2404.06654): prompts, needles and parameters
//! are the benchmark's; the words that keys are made of and the default prose are not. Score: [`crate::string_match_all`].

use rand::RngExt;
use rand::seq::{SliceRandom, index};
use rand_chacha::ChaCha8Rng;

use crate::fit;
use crate::haystack::{self, Haystack, Insertion, NOISE};
use crate::key_value::{KeyKind, KeyValueSource, ValueKind};
use crate::random::seeded;
use crate::task::{Request, Sample, Task, TaskError, within};

/// Needles in an essay are put at different ones of this many equally spaced depths.
const ESSAY_DEPTHS: usize = 40;

/// A needle task: what is hidden in what, and how much of it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeedleTask {
    /// Name in result rows.
    pub name: &'static str,
    /// What the needles hide among.
    pub haystack: Haystack,
    /// Number of different keys, not counting those of a [`Haystack::Needle`].
    pub keys: usize,
    /// Number of needles, each with another value, of every key.
    pub values_per_key: usize,
    /// Number of keys asked for.
    pub queries: usize,
    /// What keys look like.
    pub key_kind: KeyKind,
    /// What values look like.
    pub value_kind: ValueKind,
}

impl NeedleTask {
    /// One needle in noise.
    pub const SINGLE_1: Self = Self {
        name: "needle_single_1",
        haystack: Haystack::Noise,
        keys: 1,
        values_per_key: 1,
        queries: 1,
        key_kind: KeyKind::Words,
        value_kind: ValueKind::Number,
    };
    /// One needle in prose.
    pub const SINGLE_2: Self = Self { name: "needle_single_2", haystack: Haystack::Essay, ..Self::SINGLE_1 };
    /// One needle in prose, its value a UUID.
    pub const SINGLE_3: Self = Self { name: "needle_single_3", value_kind: ValueKind::Uuid, ..Self::SINGLE_2 };
    /// Four keys in prose, one asked for.
    pub const MULTIKEY_1: Self = Self { name: "needle_multikey_1", keys: 4, ..Self::SINGLE_2 };
    /// One needle among needles.
    pub const MULTIKEY_2: Self = Self { name: "needle_multikey_2", haystack: Haystack::Needle, ..Self::SINGLE_1 };
    /// One needle among needles, all of them UUIDs.
    pub const MULTIKEY_3: Self =
        Self { name: "needle_multikey_3", key_kind: KeyKind::Uuid, value_kind: ValueKind::Uuid, ..Self::MULTIKEY_2 };
    /// One key with four values in prose.
    pub const MULTIVALUE: Self = Self { name: "needle_multivalue", values_per_key: 4, ..Self::SINGLE_2 };
    /// Four keys in prose, all asked for.
    pub const MULTIQUERY: Self = Self { name: "needle_multiquery", keys: 4, queries: 4, ..Self::SINGLE_2 };

    /// Number of needles that the question asks for.
    fn answers(&self) -> usize {
        self.queries.saturating_mul(self.values_per_key)
    }

    fn check(&self, request: &Request) -> Result<(), TaskError> {
        let task = self.name;
        within(task, "keys", self.keys, 1, ESSAY_DEPTHS)?;
        within(task, "values_per_key", self.values_per_key, 1, ESSAY_DEPTHS / self.keys)?;
        within(task, "queries", self.queries, 1, self.keys)?;
        match self.takes_depth() {
            true => request.check(),
            false => request.check_without_depth(task),
        }
    }

    /// Shares of the haystack before each of the needles.
    fn depths(&self, rng: &mut ChaCha8Rng) -> Vec<f64> {
        let needles = self.keys * self.values_per_key;
        match self.haystack {
            Haystack::Noise | Haystack::Needle => (0..needles).map(|_| rng.random()).collect(),
            Haystack::Essay => index::sample(rng, ESSAY_DEPTHS, needles)
                .iter()
                .map(|step| (100.0 * step as f64 / (ESSAY_DEPTHS - 1) as f64).round() / 100.0)
                .collect(),
        }
    }

    /// Keys, values and places from the seed.
    fn draw(&self, request: &Request) -> Result<Drawn, TaskError> {
        let mut rng = seeded(request.seed);
        let mut depths = self.depths(&mut rng);
        let mut key_numbers: Vec<usize> = (0..self.keys).collect();
        key_numbers.shuffle(&mut rng);
        let asked = &key_numbers[..self.queries];

        let mut source = KeyValueSource::new(rng, self.key_kind, self.value_kind);
        let mut keys = Vec::with_capacity(self.keys);
        for _ in 0..self.keys {
            keys.push(source.key()?);
        }
        let per_key = self.values_per_key;
        let values: Vec<_> = (0..self.keys * per_key).map(|_| source.value()).collect();
        let answers = asked.iter().flat_map(|key| key * per_key..(key + 1) * per_key).collect();
        if let Some(depth) = request.depth {
            // One answer, as `check` made sure: the needles are numbered like the keys.
            depths[asked[0]] = depth.into();
        }
        let needles = depths
            .into_iter()
            .zip(&values)
            .enumerate()
            .map(|(number, (depth, value))| Insertion { depth, text: self.needle(&keys[number / per_key], value) })
            .collect();
        let queries = asked.iter().map(|&key| keys[key].as_str()).collect::<Vec<_>>();
        Ok(Drawn { query: enumeration(&queries), needles, values, answers, source })
    }

    /// The sentence that gives `key` its value.
    fn needle(&self, key: &str, value: &str) -> String {
        format!("One of the special magic {}s for {key} is: {value}.", self.value_kind.singular())
    }

    /// The sample with `count` lines of haystack, repeated if there are fewer.
    fn compose(&self, drawn: &Drawn, lines: &[String], count: usize) -> Sample {
        let kind = self.value_kind.singular();
        let query = &drawn.query;
        let (some, are, are_all, plural) = match self.answers() {
            1 => ("A", "is", "is", ""),
            _ => ("Some", "are", "are all", "s"),
        };
        let mut context = format!(
            "{some} special magic {kind}{plural} {are} hidden within the following text. Make sure to memorize it. \
             I will quiz you about the {kind}{plural} afterwards.\n"
        );
        let haystack = (0..count).map(|line| lines[line % lines.len()].as_str());
        let spans = haystack::append(&mut context, haystack, self.haystack.separator(), &drawn.needles);
        let question =
            format!("\nWhat {are_all} the special magic {kind}{plural} for {query} mentioned in the provided text?");
        let answer_prefix =
            format!(" The special magic {kind}{plural} for {query} mentioned in the provided text {are}");
        let depth = match drawn.answers[..] {
            [only] => Some(drawn.needles[only].depth as f32),
            _ => None,
        };
        Sample {
            context,
            question,
            answer_prefix,
            expected: drawn.answers.iter().map(|&answer| drawn.values[answer].clone()).collect(),
            depth,
            needle_spans: drawn.answers.iter().map(|&answer| spans[answer].clone()).collect(),
        }
    }
}

/// What is random in a sample and does not depend on its length.
struct Drawn {
    needles: Vec<Insertion>,
    /// Value of each needle.
    values: Vec<String>,
    /// The keys asked for, as the question lists them.
    query: String,
    /// The needles that answer the question.
    answers: Vec<usize>,
    /// Where the other needles of a [`Haystack::Needle`] come from.
    source: KeyValueSource,
}

impl Task for NeedleTask {
    fn name(&self) -> &'static str {
        self.name
    }

    fn answer_tokens(&self) -> usize {
        match (self.answers(), self.value_kind) {
            (1, ValueKind::Number) => 32,
            // Most tokenizers need more than 32 tokens for a UUID and a few words.
            (1, ValueKind::Uuid) => 64,
            _ => 128,
        }
    }

    fn takes_depth(&self) -> bool {
        self.answers() == 1
    }

    fn sample(&self, request: &Request) -> Result<Sample, TaskError> {
        self.check(request)?;
        let mut drawn = self.draw(request)?;
        let mut lines = match self.haystack {
            Haystack::Noise => vec![NOISE.to_owned()],
            Haystack::Essay => haystack::sentences(request.text, self.name)?,
            Haystack::Needle => Vec::new(),
        };
        fit::longest(request, self.name, self.answer_tokens(), |count| {
            while self.haystack == Haystack::Needle && lines.len() < count {
                lines.push(self.needle(&drawn.source.key()?, &drawn.source.value()));
            }
            Ok(self.compose(&drawn, &lines, count))
        })
    }

    /// Reads the keys from the question and then, among all needles of the text, the values of these keys.
    fn solve(&self, prompt: &str) -> String {
        let Some((_, question)) = prompt.rsplit_once("\nWhat ") else { return String::new() };
        let keys = between(question, " for ", " mentioned in").unwrap_or_default();
        let asked: Vec<&str> = keys.split(',').map(|key| key.trim().trim_start_matches("and ")).collect();
        let needles = prompt.split("One of the special magic ").skip(1);
        let values = needles.filter_map(|needle| {
            let key = between(needle, " for ", " is: ")?;
            asked.contains(&key).then(|| between(needle, " is: ", "."))?
        });
        values.collect::<Vec<_>>().join(", ")
    }
}

/// The shortest part of `text` after the first `start` and before the next `end`.
fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, after) = text.split_once(start)?;
    after.split_once(end).map(|(part, _)| part)
}

/// `a`, or `a, b, c, and d`.
fn enumeration(items: &[&str]) -> String {
    match items {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [first @ .., last] => format!("{}, and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn words(text: &str) -> usize {
        text.split_whitespace().count()
    }

    fn sample(task: &NeedleTask, length: usize, seed: u64) -> Sample {
        task.sample(&Request::new(length, &words).seed(seed)).unwrap()
    }

    /// The wording of a sample with one answer, and that it does not change from version to version.
    #[test]
    fn one_answer_is_asked_for_in_the_singular() {
        let request = Request::new(135, &words).seed(1).depth(0.5);
        let sample = NeedleTask::SINGLE_1.sample(&request).unwrap();
        let key = between(&sample.question, " for ", " mentioned").unwrap();
        let value = &sample.expected[0];
        assert_eq!(
            sample.prompt(),
            format!(
                "A special magic number is hidden within the following text. Make sure to memorize it. \
                 I will quiz you about the number afterwards.\n{NOISE}\n\
                 One of the special magic numbers for {key} is: {value}.\n{NOISE}\n\
                 What is the special magic number for {key} mentioned in the provided text? \
                 The special magic number for {key} mentioned in the provided text is"
            )
        );
        assert_eq!((key, value.as_str()), ("vivid-beacon", "2899402"));
    }

    #[test]
    fn several_answers_are_asked_for_in_the_plural() {
        let sample = sample(&NeedleTask::MULTIQUERY, 400, 3);
        assert!(sample.context.starts_with("Some special magic numbers are hidden within"));
        assert!(sample.context.contains(" quiz you about the numbers afterwards.\n"));
        assert!(sample.question.starts_with("\nWhat are all the special magic numbers for "));
        assert!(sample.answer_prefix.ends_with(" mentioned in the provided text are"));
        let keys = between(&sample.question, " for ", " mentioned").unwrap();
        assert_eq!(keys.matches(", ").count(), 3);
        assert_eq!(keys.matches(", and ").count(), 1);
    }

    /// Names, haystacks, keys, values per key, queries and kinds as RULER has them.
    #[test]
    fn expected_answers_and_needles_follow_the_table() {
        for (task, needles, answers) in [
            (&NeedleTask::SINGLE_1, 1, 1),
            (&NeedleTask::SINGLE_2, 1, 1),
            (&NeedleTask::SINGLE_3, 1, 1),
            (&NeedleTask::MULTIKEY_1, 4, 1),
            (&NeedleTask::MULTIVALUE, 4, 4),
            (&NeedleTask::MULTIQUERY, 4, 4),
        ] {
            let sample = sample(task, 1000, 5);
            assert_eq!(sample.context.matches("One of the").count(), needles, "{}", task.name);
            assert_eq!(sample.expected.len(), answers, "{}", task.name);
            assert_eq!(sample.depth.is_some(), answers == 1, "{}", task.name);
        }
        let among_needles = sample(&NeedleTask::MULTIKEY_3, 1000, 5);
        let (_, haystack) = among_needles.context.split_once('\n').unwrap();
        assert!(haystack.lines().count() > 50);
        assert!(haystack.lines().all(|line| line.starts_with("One of the special magic uuids for ")));
    }

    #[test]
    fn keys_and_values_are_unique() {
        for task in [&NeedleTask::MULTIKEY_2, &NeedleTask::MULTIKEY_3] {
            let sample = sample(task, 20_000, 9);
            let needles: Vec<_> = sample.context.lines().skip(1).collect();
            let keys: HashSet<_> = needles.iter().map(|line| between(line, " for ", " is: ")).collect();
            let values: HashSet<_> = needles.iter().map(|line| between(line, " is: ", ".")).collect();
            assert!(needles.len() > 1000);
            assert_eq!((keys.len(), values.len()), (needles.len(), needles.len()));
        }
    }

    #[test]
    fn essay_depths_are_different_percentages() {
        for seed in 0..20 {
            let depths = NeedleTask { keys: 40, ..NeedleTask::SINGLE_2 }.depths(&mut seeded(seed));
            let different: HashSet<u64> = depths.iter().map(|depth| depth.to_bits()).collect();
            assert_eq!(different.len(), 40);
            assert!(depths.contains(&0.0) && depths.contains(&1.0) && depths.contains(&0.03));
        }
    }

    #[test]
    fn impossible_parameters_are_named() {
        let request = Request::new(500, &words);
        let error = |task: NeedleTask| task.sample(&request).unwrap_err().to_string();
        assert_eq!(
            error(NeedleTask { queries: 2, ..NeedleTask::SINGLE_2 }),
            "needle_single_2: queries = 2, but it must be in 1..=1"
        );
        assert!(error(NeedleTask { keys: 0, ..NeedleTask::SINGLE_2 }).contains("keys = 0"));
        assert!(error(NeedleTask { values_per_key: 41, ..NeedleTask::SINGLE_2 }).contains("1..=40"));
        let no_prose = NeedleTask::SINGLE_2.sample(&request.text("\n")).unwrap_err();
        assert!(no_prose.to_string().contains("at least 1 sentence"));
    }
}
