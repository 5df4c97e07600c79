//! I22, SAP: a model that fills gaps writes long answers, the first word of every filling at a time. arXiv:2209.14500.

use std::path::Path;

use burn::module::Module;
use headwise_engine::cache::CachePolicy;
use headwise_engine::{Engine, Example, FillsGaps, GapFiller, Sampler, Sap, SapCost, SapEnd, TextModel};
use headwise_models::tokenizer::Tokenizer;
use headwise_tasks::Transliteration;
use headwise_train::spec::TrainSpec;
use headwise_train::trainer::Trainer;
use serde_json::json;

use super::{Claim, Direction, Experiment, Measured};

/// The experiment.
pub const EXPERIMENT: Experiment = Experiment {
    id: "I22",
    claims: &[
        Claim {
            text: "points of exact copies of 8 to 12 words, after two examples, that SAP gains over one filling whose length is drawn as the \
                   model has learned lengths; a decoder trained here with span corruption, runs of 3 on average",
            direction: Direction::AtLeast,
            threshold: 30.0,
        },
        Claim {
            text: "the same over one filling of the likeliest tokens, as SAP's fillings are",
            direction: Direction::AtLeast,
            threshold: 30.0,
        },
        Claim {
            text: "largest difference of the calls from the words of an answer and one, of answers that the model ended",
            direction: Direction::AtMost,
            threshold: 0.0,
        },
        Claim {
            text: "% of the tokens that all calls show which have to be read, for a decoder keeps what it has read (an encoder reads 100)",
            direction: Direction::AtMost,
            threshold: 25.0,
        },
        Claim {
            text: "points of exact copies with one word of every filling more than with three",
            direction: Direction::AtLeast,
            threshold: 0.0,
        },
        Claim {
            text: "calls with three words of every filling, as a share of those with one",
            direction: Direction::AtMost,
            threshold: 0.5,
        },
    ],
    seconds: 400,
    source: include_str!("i22.rs"),
    run,
};

/// Lines that are copied.
const LINES: u64 = 100;
/// Examples before each.
const EXAMPLES: u64 = 2;
/// Below this share of exact copies the model has not learned to copy, and nothing follows about how right answers are. What calls and
/// tokens they take is counted all the same.
const LEARNED: f64 = 50.0;
/// More than any line is long.
const WHOLE: usize = 64;

/// Words that are copied, in a language of one script.
fn language() -> Transliteration {
    Transliteration { scripts: 1, ..Transliteration::default() }
}

/// The run: the decoder starts from a circuit that fills gaps with what followed the words before them, which it would learn late or never,
/// and learns how long fillings are, where lines begin and end, and what to do with words that are hidden twice.
const TRAINING: &str = r#"
    objective = "span_corruption(share=0.25)"
    optimiser = "adamw(learning_rate=0.003)"
    schedule = "wsd(warmup=30, decay=0.3)"
    clip = 1.0
    [model]
    dim = 192
    context = 256
    tied = true
    start = "gap_heads"
    layers = [
        { repeat = 2, mixer = "softmax(heads=4, kv_heads=2, head_dim=32, window=2, position=nope)", channel = "gated(hidden=192)" },
        { mixer = "softmax(heads=4, kv_heads=2, head_dim=32, position=nope)", channel = "gated(hidden=192)" },
        { mixer = "softmax(heads=4, kv_heads=2, head_dim=32, window=16)", channel = "gated(hidden=192)" },
        { repeat = 2, mixer = "softmax(heads=4, kv_heads=2, head_dim=32, position=nope)", channel = "gated(hidden=192)" },
        { mixer = "softmax(heads=4, kv_heads=2, head_dim=32)", channel = "gated(hidden=192)" },
    ]
    [data]
    sources = ["transliteration(scripts=1, least=6, shortest=20)"]
    [[stages]]
    steps = 1200
    sequences = 32
    length = 96
"#;

fn run(seed: u64) -> Vec<Measured> {
    let model = trained(seed);
    let sap = Sap { source: "from:".into(), target: "to:".into(), ..Sap::default() };
    let (mut one, mut three) = (Found::default(), Found::default());
    let (mut drawn, mut likeliest) = (0, 0);
    for number in 0..LINES {
        let (prompt, line) = question(&sap, !seed ^ (number << 32));
        one.add(&model, &sap, &prompt, &line);
        three.add(&model, &Sap { commit: 3, ..sap.clone() }, &prompt, &line);
        drawn += usize::from(filled(&model, &prompt, Sampler::new(1.0, 0, 1.0, seed ^ number)) == line);
        likeliest += usize::from(filled(&model, &prompt, Sampler::greedy()) == line);
    }
    let percent = |exact: usize| 100.0 * exact as f64 / LINES as f64;
    let against = |baseline: usize| Measured {
        conclusive: percent(one.exact) >= LEARNED,
        ..Measured::alone(percent(one.exact) - percent(baseline))
    };
    vec![
        against(drawn),
        against(likeliest),
        Measured::alone(one.off as f64),
        Measured::alone(100.0 * one.cost.read as f64 / one.cost.shown as f64),
        against(three.exact),
        Measured::alone(three.cost.calls as f64 / one.cost.calls as f64),
    ]
}

/// What answers were like.
#[derive(Default)]
struct Found {
    /// Exact copies.
    exact: usize,
    /// The largest difference of calls from words and one.
    off: usize,
    cost: SapCost,
}

impl Found {
    fn add(&mut self, model: &TextModel, sap: &Sap, prompt: &str, line: &str) {
        let mut filler = filler(model, sap.span);
        let answer = sap.write(&mut filler, prompt, sap.most(line), |_| {}).expect("texts within the context");
        self.exact += usize::from(answer.text.trim() == line);
        if answer.end == SapEnd::Said {
            self.off = self.off.max(answer.cost.calls.abs_diff(answer.words + 1));
        }
        self.cost.calls += answer.cost.calls;
        self.cost.shown += answer.cost.shown;
        self.cost.read += answer.cost.read;
    }
}

fn filler(model: &TextModel, span: usize) -> GapFiller<'_> {
    GapFiller::new(model, &CachePolicy::full(), span).expect("a model with sentinels")
}

/// What one filling says up to the end of the line.
fn filled(model: &TextModel, prompt: &str, sampler: Sampler) -> String {
    let mut filler = filler(model, WHOLE).with_sampler(sampler);
    let filled = filler.fill(prompt, &mut |said| said.contains('\n')).expect("texts within the context");
    let said = filled.expect("room for a line").text;
    said.split('\n').next().unwrap_or_default().trim().to_owned()
}

/// A prompt with examples, and the line that should follow.
fn question(sap: &Sap, seed: u64) -> (String, String) {
    let task = language();
    let line = |number: u64| {
        let seed = seed ^ (number << 16);
        let words = task.line(8 + (seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as usize % 5, seed);
        words.into_iter().map(|id| word(id).trim().to_owned()).collect::<Vec<_>>().join(" ")
    };
    let examples: Vec<Example> =
        (1..=EXAMPLES).map(line).map(|line| Example { question: line.clone(), answer: line }).collect();
    let line = line(0);
    (sap.prompt(&examples.iter().collect::<Vec<_>>(), &line), line)
}

/// A decoder that has learned to fill gaps.
fn trained(seed: u64) -> TextModel {
    let spec = TrainSpec::parse(&format!("seed = {seed}\n{TRAINING}")).expect("a run that makes sense");
    let steps = spec.steps();
    // Nothing is saved, so the folder is never used.
    let mut trainer = Trainer::new(spec, Path::new("")).expect("a run that can begin");
    for _ in 0..steps {
        trainer.step().expect("losses that stay finite");
    }
    let engine = Engine::new(trainer.result().clone().valid(), 0).expect("layers of softmax");
    TextModel { engine, tokenizer: tokenizer(), template: None, name: "I22".into() }
}

/// How token `id` of the language is written.
fn word(id: u32) -> String {
    let task = language();
    let [from, to] = task.labels();
    match id {
        _ if id == task.line_end() => "\n".into(),
        _ if id == from => "from:".into(),
        _ if id == to => "to:".into(),
        _ => {
            let syllable = |number: u32| {
                let (consonants, vowels) = ("bdfgklmnprstvz", "aeiou");
                let letter = |of: &str, at: u32| of.as_bytes()[at as usize % of.len()] as char;
                format!("{}{}", letter(consonants, number / 5), letter(vowels, number))
            };
            format!(" {}{}", syllable(id % 70), syllable(id / 70 + 20))
        }
    }
}

/// The tokenizer of the language: a token is a word with the space before it, a label, or the end of a line.
fn tokenizer() -> Tokenizer {
    let task = language();
    let spelled = |text: String| text.replace(' ', "▁");
    let mut vocabulary: serde_json::Map<_, _> =
        task.vocabulary.clone().map(|id| (spelled(word(id)), json!(id))).collect();
    vocabulary.insert("<unk>".into(), json!(task.vocabulary.end));
    let text = json!({
        "version": "1.0",
        "added_tokens": [],
        "normalizer": { "type": "Replace", "pattern": { "String": " " }, "content": "▁" },
        "pre_tokenizer": {
            "type": "Split", "pattern": { "Regex": "\n|▁?[^▁\n]+" }, "behavior": "Isolated", "invert": false,
        },
        "model": { "type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>" },
    });
    Tokenizer::from_json(&text.to_string(), "{}").expect("a tokenizer of the library's form")
}

#[cfg(test)]
mod tests {
    use headwise_models::tokenizer::Encode;
    use headwise_tasks::TokenTask;

    use super::*;

    #[test]
    fn prompts_are_the_texts_that_were_learned_from() {
        let (tokenizer, task) = (tokenizer(), language());
        let sample = task.sample(5).unwrap().tokens;
        let text = tokenizer.decode(&sample, false);
        assert!(text.starts_with("from: ") && text.contains("\nto: "), "{text}");
        assert_eq!(tokenizer.encode(&text, Encode::TEXT).unwrap(), sample);
        let words: std::collections::HashSet<String> = task.vocabulary.clone().map(word).collect();
        assert_eq!(words.len(), task.vocabulary.len());

        let sap = Sap { source: "from:".into(), target: "to:".into(), ..Sap::default() };
        let (prompt, line) = question(&sap, 3);
        let ids = tokenizer.encode(&format!("{prompt} {line}\n"), Encode::TEXT).unwrap();
        assert!((8..=12).contains(&line.split(' ').count()));
        let known = task.solve(&ids);
        let [_, to] = task.labels();
        let below: Vec<u32> = ids
            .split(|&id| id == task.line_end())
            .filter(|line| line.first() == Some(&to))
            .flat_map(|line| line[1..].to_vec())
            .collect();
        assert_eq!(known, below);
    }
}
