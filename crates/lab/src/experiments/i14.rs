//! I14, ACT: attention is moved away from sinks in the middle of a text. arXiv:2406.15765.

use std::time::Instant;

use headwise_engine::TextModel;
use headwise_engine::cache::CachePolicy;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::needles::smollm2;
use super::{Claim, Direction, Experiment, Measured};
use crate::perplexity::nll;

/// The experiment.
pub const EXPERIMENT: Experiment = Experiment {
    id: "I14",
    claims: &[
        Claim {
            text: "sinks other than the first token that a prompt of labelled lines has in a key-value head, mean of the heads that are \
                   calibrated; SmolLM2-135M",
            direction: Direction::AtLeast,
            threshold: 0.1,
        },
        Claim {
            text: "points of accuracy gained on 120 short texts of four topics by calibrating the layers that raised the likelihood of the \
                   right topic on 24 others",
            direction: Direction::AtLeast,
            threshold: 0.0,
        },
        Claim {
            text: "time of reading 480 tokens when all inner layers are calibrated, as a multiple of that without",
            direction: Direction::AtMost,
            threshold: 1.15,
        },
    ],
    seconds: 150,
    source: include_str!("i14.rs"),
    run,
};

const TOPICS: [&str; 4] = ["food", "sport", "money", "weather"];

/// How texts of each topic begin and end.
const BEGINNINGS: [[&str; 6]; 4] = [
    ["The cook", "My grandmother", "The baker", "A hungry guest", "The waiter", "Our neighbour"],
    ["The goalkeeper", "Our team", "The runner", "A young swimmer", "The coach", "The captain"],
    ["The bank", "An investor", "The accountant", "A small company", "The treasurer", "The lender"],
    ["The morning", "A cold front", "The north wind", "The whole week", "The sky", "The coast"],
];
const ENDINGS: [[&str; 6]; 4] = [
    [
        "stirred the soup and added salt",
        "took the bread from the oven",
        "peeled ten potatoes",
        "asked for more cheese",
        "fried the onions in butter",
        "set out plates for dinner",
    ],
    [
        "won the match in the last minute",
        "trained for the final",
        "set a new record",
        "missed the penalty",
        "celebrated the victory on the field",
        "lost the second set",
    ],
    [
        "raised the interest rate",
        "paid back the loan",
        "sold the shares at a loss",
        "checked the accounts twice",
        "asked for a discount on the fees",
        "opened a savings account",
    ],
    [
        "brought heavy rain",
        "turned grey and stormy",
        "stayed dry and sunny",
        "was covered in fog",
        "cooled below zero overnight",
        "promised snow by evening",
    ],
];

/// A short text and its topic.
struct Item {
    text: String,
    topic: usize,
}

fn item(random: &mut ChaCha8Rng) -> Item {
    let topic = random.random_range(0..TOPICS.len());
    let [beginning, ending] =
        [BEGINNINGS, ENDINGS].map(|parts| parts[topic].choose(random).expect("six parts").to_string());
    Item { text: format!("{beginning} {ending}."), topic }
}

fn run(seed: u64) -> Vec<Measured> {
    let unable = Measured { conclusive: false, ..Measured::alone(f64::NAN) };
    smollm2().map_or(vec![unable; 3], |model| measure(&model, seed))
}

fn measure(model: &TextModel, seed: u64) -> Vec<Measured> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let shots: Vec<Item> = (0..8).map(|_| item(&mut random)).collect();
    let prompts = |count: usize, random: &mut ChaCha8Rng| -> Vec<(String, usize)> {
        (0..count).map(|_| item(random)).map(|item| (prompt(&shots, &item), item.topic)).collect()
    };
    let (chosen_on, tested_on) = (prompts(24, &mut random), prompts(120, &mut random));

    let layers = model.engine.spec().layers.len();
    let before = likelihood(model, "full", &chosen_on).0;
    // Pairs of layers, so that choosing takes a minute.
    let raising = (2..layers - 2).step_by(2).map(|layer| [layer, layer + 1]).filter(|pair| {
        let calibrated = format!("act(heads={})", heads(model, pair));
        likelihood(model, &calibrated, &chosen_on).0 > before
    });
    let chosen: Vec<usize> = raising.flatten().collect();
    let policy = if chosen.is_empty() { "full".into() } else { format!("act(heads={})", heads(model, &chosen)) };
    let [without, with] = ["full", &policy].map(|cache| likelihood(model, cache, &tested_on).1);
    let conclusive = without >= 60.0;
    vec![
        Measured::alone(sinks(model, &tested_on[0].0)),
        Measured { conclusive, ..Measured::alone(with - without) },
        Measured::alone(share_of_time(model, &tested_on)),
    ]
}

/// Labelled texts, then one without its label.
fn prompt(shots: &[Item], item: &Item) -> String {
    let shots: String =
        shots.iter().map(|shot| format!("Text: {}\nTopic: {}\n\n", shot.text, TOPICS[shot.topic])).collect();
    format!("{shots}Text: {}\nTopic:", item.text)
}

/// All query heads of `layers`, as a parameter.
fn heads(model: &TextModel, layers: &[usize]) -> String {
    let spec = model.engine.spec();
    let count = |layer: usize| spec.layers[layer].mixer.softmax().map_or(0, |mixer| mixer.sizes(spec.dim).heads);
    let heads: Vec<String> =
        layers.iter().flat_map(|&layer| (0..count(layer)).map(move |head| format!("[{layer}, {head}]"))).collect();
    format!("[{}]", heads.join(", "))
}

/// The mean log-likelihood of the right topic, and the percentage of prompts for which it is the likeliest of the four.
fn likelihood(model: &TextModel, cache: &str, prompts: &[(String, usize)]) -> (f64, f64) {
    let policy = CachePolicy::parse(cache).expect("a policy of this experiment");
    let labels = TOPICS.map(|topic| model.encode(&format!(" {topic}")).expect("plain text")[0]);
    let (mut likelihood, mut right) = (0.0, 0usize);
    for (text, topic) in prompts {
        let mut sequence = model.engine.sequence(&policy).expect("a policy that fits");
        let ids = model.encode(text).expect("plain text");
        let logits = model.engine.prefill(&mut sequence, &ids, |_| {}).expect("a prompt that fits");
        let losses = labels.map(|label| nll(logits.last(), label));
        likelihood -= losses[*topic] / prompts.len() as f64;
        right += usize::from(losses.iter().all(|loss| *loss >= losses[*topic]));
    }
    (likelihood, 100.0 * right as f64 / prompts.len() as f64)
}

/// Sinks other than the first of a key-value head, mean over those that are calibrated.
fn sinks(model: &TextModel, text: &str) -> f64 {
    let policy = CachePolicy::parse("act").expect("a policy of this experiment");
    let mut sequence = model.engine.sequence(&policy).expect("a policy that fits");
    let ids = model.encode(text).expect("plain text");
    model.engine.prefill(&mut sequence, &ids, |_| {}).expect("a prompt that fits");
    let heads: Vec<usize> = sequence.layers().iter().flat_map(|layer| layer.sinks()).map(|sinks| sinks.len()).collect();
    heads.iter().sum::<usize>() as f64 / heads.len().max(1) as f64
}

/// Time of reading a prompt with calibration over that without; the fastest of several in turns.
fn share_of_time(model: &TextModel, prompts: &[(String, usize)]) -> f64 {
    let text: String = prompts.iter().map(|(text, _)| text.as_str()).collect();
    let ids: Vec<u32> = model.encode(&text).expect("plain text").into_iter().take(480).collect();
    let policies = ["full", "act"].map(|cache| CachePolicy::parse(cache).expect("a policy of this experiment"));
    let mut fastest = [f64::INFINITY; 2];
    for _ in 0..7 {
        for (fastest, policy) in fastest.iter_mut().zip(&policies) {
            let mut sequence = model.engine.sequence(policy).expect("a policy that fits");
            let started = Instant::now();
            model.engine.prefill(&mut sequence, &ids, |_| {}).expect("a prompt that fits");
            *fastest = fastest.min(started.elapsed().as_secs_f64());
        }
    }
    fastest[1] / fastest[0]
}
