//! I08, InfiniRetri: the attention of a question picks sentences from a text of any length. arXiv:2502.12962.

use headwise_engine::TextModel;
use headwise_engine::cache::CachePolicy;
use headwise_engine::retrieve::{InfiniRetri, Question, Retrieved, Retriever};
use headwise_engine::{Generation, Sampler, generate};
use headwise_tasks::{DEFAULT_TEXT, NeedleTask, Request, Sample, Task, string_match_all};

use super::needles::embedded;
use super::{Claim, Direction, Experiment, Measured};

/// The experiment.
pub const EXPERIMENT: Experiment = Experiment {
    id: "I08",
    claims: &[
        Claim {
            text: "percent of 20 needles at 20 depths of a million tokens of prose that a model with a context of 4,096 (the one that comes with \
                   the program, whose third layer picks) has kept in the end, asked in four readings of five questions each; baseline: from \
                   the last 2,048 tokens",
            direction: Direction::AtLeast,
            threshold: 100.0,
        },
        Claim {
            text: "percent of these needles that it then answers, other needles among what is kept; baseline: from the last 2,048 tokens",
            direction: Direction::AtLeast,
            threshold: 90.0,
        },
        Claim {
            text: "memory of keys and values for a million tokens, as a multiple of that for 50,000",
            direction: Direction::AtMost,
            threshold: 1.1,
        },
        Claim {
            text: "percent of 10 needles at 10 depths of 65,536 tokens that are answered when each has a text and a reading of its own; \
                   baseline: from the last 2,048 tokens",
            direction: Direction::AtLeast,
            threshold: 90.0,
        },
    ],
    seconds: 130,
    source: include_str!("i08.rs"),
    run,
};

const LONG: usize = 1_000_000;
const SHORT: usize = 50_000;
/// Needles in a text that are asked for.
const TOGETHER: usize = 20;
/// Questions that share a reading.
const AT_ONCE: usize = 5;
const ALONE: u64 = 10;
const ALONE_LENGTH: usize = 65_536;
const LAST: usize = 2_048;

fn run(seed: u64) -> Vec<Measured> {
    let model = embedded();
    let [long, short] = [LONG, SHORT].map(|length| together(&model, length, seed));
    vec![
        Measured::against(long.kept, long.last),
        Measured::against(long.answered, long.last),
        Measured::alone(long.bytes / short.bytes),
        alone(&model, seed),
    ]
}

/// What came of questions about one text.
struct Found {
    /// The percentage whose sentence is among those kept for its question.
    kept: f64,
    /// The percentage answered.
    answered: f64,
    /// The percentage answered from the end of the text.
    last: f64,
    bytes: f64,
}

/// Asks for all needles of one text.
fn together(model: &TextModel, length: usize, seed: u64) -> Found {
    let task = NeedleTask { keys: TOGETHER, queries: TOGETHER, ..NeedleTask::SINGLE_2 };
    // The prose is this text again and again: what its bytes are in tokens need not be counted at every length that is tried.
    let tokens = model.encode(DEFAULT_TEXT).expect("plain text").len();
    let count = |text: &str| text.len() * tokens / DEFAULT_TEXT.len();
    // A little more, for needles have more tokens than prose.
    let request = Request::new(length + length / 200, &count);
    // Needles whose keys share a word are another task. Texts of a seed ask for the same keys at every length.
    let short = |seed: u64| task.sample(&Request::new(4_000, &count).seed(seed)).expect("a task that fits");
    let apart = |&seed: &u64| no_word_twice(&short(seed).question);
    let seed = (seed << 32..).find(apart).expect("words enough");
    let sample = task.sample(&request.seed(seed)).expect("a task that fits");
    let words: Vec<[String; 2]> = keys(&sample.question).map(question).collect();
    let questions: Vec<Question<'_>> =
        words.iter().map(|[question, answer_start]| Question { question, answer_start }).collect();
    // Five times the memory, a part and a question fit the context.
    let method = InfiniRetri { window: 1024, memory: 560, tokens: 14, layer: Some(2), ..InfiniRetri::default() };
    let retriever = Retriever::from(method);
    let read = |questions: &[Question<'_>]| {
        retriever.retrieve_all(model, &sample.context, questions, |_, _| {}).expect("parts that fit the model")
    };
    let retrieved: Vec<Retrieved> = questions.chunks(AT_ONCE).flat_map(read).collect();
    assert!(retrieved.iter().all(|retrieved| retrieved.tokens >= length), "a text as long as the claim says");
    let end = model.encode(&sample.context).expect("plain text");
    let end = &end[end.len() - LAST..];
    let bytes = retrieved.iter().map(|retrieved| retrieved.peak_bytes).max().unwrap_or(0) as f64;
    let mut sum = Found { kept: 0.0, answered: 0.0, last: 0.0, bytes };
    for ((retrieved, words), expected) in retrieved.iter().zip(&words).zip(sample.expected.chunks(1)) {
        let asked = model.encode(&words.concat()).expect("plain text");
        sum.kept += string_match_all(&retrieved.text, expected);
        sum.answered += string_match_all(&answer(model, &retrieved.prompt), expected);
        sum.last += string_match_all(&answer(model, &[end, &asked].concat()), expected);
    }
    let mean = |sum: f64| sum / TOGETHER as f64;
    Found { kept: mean(sum.kept), answered: mean(sum.answered), last: mean(sum.last), ..sum }
}

/// Whether the keys that `question` asks for have no word in common.
fn no_word_twice(question: &str) -> bool {
    let mut words: Vec<&str> = keys(question).flat_map(|key| key.split('-')).collect();
    let all = words.len();
    words.sort_unstable();
    words.dedup();
    words.len() == all
}

/// The keys that a question for several asks for: `a, b, and c`.
fn keys(question: &str) -> impl Iterator<Item = &str> {
    let (_, from) = question.split_once(" for ").unwrap_or_default();
    let (keys, _) = from.split_once(" mentioned").unwrap_or_default();
    keys.split(", ").map(|key| key.trim_start_matches("and "))
}

/// The question for one key, and how its answer begins.
fn question(key: &str) -> [String; 2] {
    let about = format!("the special magic number for {key} mentioned in the provided text");
    [format!("\nWhat is {about}?"), format!(" The{} is", about.trim_start_matches("the"))]
}

/// The share of needles that are answered one at a time.
fn alone(model: &TextModel, seed: u64) -> Measured {
    let (mut found, mut last) = (0.0, 0.0);
    for needle in 0..ALONE {
        let depth = (needle as f32 + 0.5) / ALONE as f32;
        let sample = sample(model, depth, seed * ALONE + needle);
        found += sample.score(&answer(model, &retrieve(model, &sample).prompt));
        let whole = model.encode(&sample.prompt()).expect("plain text");
        last += sample.score(&answer(model, &whole[whole.len() - LAST..]));
    }
    Measured::against(found / ALONE as f64, last / ALONE as f64)
}

fn sample(model: &TextModel, depth: f32, seed: u64) -> Sample {
    let count = |text: &str| model.encode(text).map_or(0, |ids| ids.len());
    let request = Request::new(ALONE_LENGTH, &count).seed(seed).depth(depth);
    NeedleTask::SINGLE_2.sample(&request).expect("a task that fits")
}

fn retrieve(model: &TextModel, sample: &Sample) -> Retrieved {
    let question = Question { question: &sample.question, answer_start: &sample.answer_prefix };
    // In this model the third layer is the one that matches; the last one only says what has been found.
    let retriever = Retriever::from(InfiniRetri { layer: Some(2), ..InfiniRetri::default() });
    retriever.retrieve(model, &sample.context, question, |_, _| {}).expect("parts that fit the model")
}

/// What `model` answers after `prompt`.
fn answer(model: &TextModel, prompt: &[u32]) -> String {
    let mut sequence = model.engine.sequence(&CachePolicy::full()).expect("it fits every model");
    let generation = Generation { tokens: 32, stop: Vec::new() };
    let written = generate(&model.engine, &mut sequence, prompt, &generation, &mut Sampler::greedy(), |_| true);
    model.tokenizer.decode(&written.expect("a prompt that fits").ids, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_those_of_the_task() {
        let count = |text: &str| text.split(' ').count();
        let asked = |task: NeedleTask| task.sample(&Request::new(600, &count).seed(4)).unwrap();
        let one = asked(NeedleTask::SINGLE_2);
        let words: Vec<[String; 2]> = keys(&one.question).map(question).collect();
        assert_eq!(words, [[one.question.clone(), one.answer_prefix.clone()]]);
        let many = asked(NeedleTask { keys: 20, queries: 20, ..NeedleTask::SINGLE_2 });
        let keys: Vec<&str> = keys(&many.question).collect();
        assert_eq!(keys.len(), many.expected.len());
        assert!(no_word_twice(" for mild-sea, dry-day, and red-hat mentioned"));
        assert!(!no_word_twice(" for mild-sea, dry-day, and dry-hat mentioned"));
        for (key, value) in keys.iter().zip(&many.expected) {
            assert!(many.context.contains(&format!(" for {key} is: {value}.")), "{key}");
        }
    }
}
