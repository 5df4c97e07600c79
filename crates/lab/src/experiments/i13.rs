//! I13, PINE: a set of segments, whose order changes nothing. arXiv:2407.01100.

use std::time::Instant;

use headwise_engine::cache::CachePolicy;
use headwise_engine::pine::{Ordinary, Pine, SegmentPositions, SegmentedText, SegmentedWords};
use headwise_engine::{Engine, TextModel};
use headwise_tasks::DEFAULT_TEXT;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::needles::{embedded, smollm2};
use super::{Claim, Direction, Experiment, Measured};

/// The experiment.
pub const EXPERIMENT: Experiment = Experiment {
    id: "I13",
    claims: &[
        Claim {
            text: "largest difference of the scores after 3 segments of different lengths, and of 4 tokens after them, between all 6 orders; \
                   the model that comes with the program; baseline: ordinary positions",
            direction: Direction::AtMost,
            threshold: 1e-4,
        },
        Claim {
            text: "points by which the places of the one document of 3 that is about the person asked for differ more with ordinary positions: \
                   best place less worst, in percent of right cities of 3, every document saying where its person lives; 40 questions, \
                   SmolLM2-135M",
            direction: Direction::AtLeast,
            threshold: 5.0,
        },
        Claim {
            text: "points by which the percentage of right cities is above that of ordinary positions, in the mean over places",
            direction: Direction::AtLeast,
            threshold: -5.0,
        },
        Claim {
            text: "the same points where the other documents say to which city their person once went",
            direction: Direction::AtLeast,
            threshold: -5.0,
        },
        Claim {
            text: "time of reading 4 segments of 256 tokens and a question, as a multiple of ordinary positions; SmolLM2-135M",
            direction: Direction::AtMost,
            threshold: 2.5,
        },
    ],
    seconds: 120,
    source: include_str!("i13.rs"),
    run,
};

const QUESTIONS: usize = 40;
/// Percent of right choices with ordinary positions without which nothing is compared; one of three is right by chance.
const GATE: f64 = 60.0;
/// What every document says of its person, or those that are not asked for.
const LIVES: &str = "lives in";
const WENT: &str = "once went to";

fn run(seed: u64) -> Vec<Measured> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let [pine, ordinary] = differences(&embedded(), &mut random);
    let invariance = Measured { conclusive: ordinary > 1e-2, ..Measured::against(pine, ordinary) };
    let unable = Measured { conclusive: false, ..Measured::alone(f64::NAN) };
    let trained = smollm2().map_or([unable; 4], |model| {
        let [pine, ordinary] = choices(&model, LIVES, &mut random);
        let conclusive = mean(ordinary) >= GATE;
        let spreads = Measured { conclusive, ..Measured::alone(spread(ordinary) - spread(pine)) };
        let lives = Measured { conclusive, ..Measured::alone(mean(pine) - mean(ordinary)) };
        let [pine, ordinary] = choices(&model, WENT, &mut random);
        let went = Measured { conclusive: mean(ordinary) >= GATE, ..Measured::alone(mean(pine) - mean(ordinary)) };
        [spreads, lives, went, Measured::alone(cost(&model, &mut random))]
    });
    [&[invariance][..], &trained].concat()
}

fn methods() -> [SegmentPositions; 2] {
    [Pine {}.into(), Ordinary {}.into()]
}

/// The scores after `text` and after each of `steps`.
fn scores(engine: &Engine, cache: &str, positions: &SegmentPositions, text: &SegmentedText, steps: &[u32]) -> Vec<f32> {
    let policy = CachePolicy::parse(cache).expect("a storage codec");
    let mut sequence = engine.sequence(&policy).expect("it fits every model");
    let ids = positions.begin(engine, &mut sequence, text).expect("a text that fits");
    let mut scores = engine.prefill(&mut sequence, &ids, |_| {}).expect("a text that fits").values;
    for &id in steps {
        scores.extend(engine.step(&mut sequence, id).expect("a text that fits").values);
    }
    scores
}

/// `tokens` tokens of prose from anywhere.
fn prose(prose: &[u32], tokens: usize, random: &mut ChaCha8Rng) -> Vec<u32> {
    let start = random.random_range(0..prose.len() - tokens);
    prose[start..start + tokens].to_vec()
}

/// The largest difference of any score between the orders of three segments, with PINE and with ordinary positions.
fn differences(model: &TextModel, random: &mut ChaCha8Rng) -> [f64; 2] {
    const LENGTHS: [usize; 3] = [60, 150, 91];
    let ids = model.encode(DEFAULT_TEXT).expect("plain text");
    let [prefix, suffix, steps] = [20, 24, 4].map(|tokens| prose(&ids, tokens, random));
    let segments = LENGTHS.map(|tokens| prose(&ids, tokens, random));
    methods().map(|positions| {
        let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        let all = orders.map(|order| {
            let segments = order.map(|segment| segments[segment].clone()).to_vec();
            let text = SegmentedText { prefix: prefix.clone(), segments, suffix: suffix.clone() };
            scores(&model.engine, "f32", &positions, &text, &steps)
        });
        let pairs = all[1..].iter().flat_map(|scores| scores.iter().zip(&all[0]));
        pairs.fold(0.0f64, |most, (a, b)| most.max(f64::from(a - b).abs()))
    })
}

const NAMES: [&str; 12] =
    ["Anna", "Boris", "Clara", "David", "Emma", "Frank", "Grace", "Henry", "Irene", "James", "Laura", "Peter"];
const CITIES: [&str; 12] = [
    "Paris", "London", "Berlin", "Rome", "Madrid", "Vienna", "Moscow", "Tokyo", "Boston", "Chicago", "Dublin", "Cairo",
];

/// Percent of questions for which the city of the right document is the likeliest of three, by the place of that document, with PINE
/// and with ordinary positions; `others` is what the other documents say of a person and a city.
fn choices(model: &TextModel, others: &str, random: &mut ChaCha8Rng) -> [[f64; 3]; 2] {
    let mut right = [[0.0; 3]; 2];
    for _ in 0..QUESTIONS {
        let question = Question::new(others, random);
        for place in 0..3 {
            for (right, positions) in right.iter_mut().zip(methods()) {
                right[place] += 100.0 / QUESTIONS as f64 * f64::from(question.is_right(model, &positions, place));
            }
        }
    }
    right
}

/// In which city the first of three people lives.
struct Question {
    names: Vec<&'static str>,
    cities: Vec<&'static str>,
    documents: Vec<String>,
}

impl Question {
    fn new(others: &str, random: &mut ChaCha8Rng) -> Self {
        let [names, cities] = [NAMES, CITIES].map(|mut words| {
            words.shuffle(random);
            words[..3].to_vec()
        });
        let sentences: Vec<&str> = DEFAULT_TEXT.split_inclusive(". ").filter(|text| text.len() < 120).collect();
        let document = |index: usize| {
            let mut prose = || {
                let two = [0; 2].map(|_| sentences[random.random_range(0..sentences.len())]);
                two.concat().replace('\n', " ")
            };
            let (name, city, says) = (names[index], cities[index], if index == 0 { LIVES } else { others });
            format!("Document about {name}.\n{}{name} {says} the city of {city}. {}", prose(), prose())
        };
        let documents = (0..3).map(document).collect();
        Self { names, cities, documents }
    }

    /// Whether the right city is the likeliest, if the document that names it stands at `place`.
    fn is_right(&self, model: &TextModel, positions: &SegmentPositions, place: usize) -> bool {
        let mut segments = self.documents.clone();
        segments[..=place].rotate_left(1);
        let name = self.names[0];
        let answer_start = format!("{name} {LIVES} the city of");
        let words = SegmentedWords {
            before: "Here are three documents.",
            segments: &segments,
            after: &format!("In which city does {name} live?"),
            answer_start: &answer_start,
        };
        let text = model.encode_segments(words, false).expect("plain text");
        let scores = scores(&model.engine, "full", positions, &text, &[]);
        let encode = |text: &str| model.encode(text).expect("plain text");
        let start = encode(&answer_start).len();
        let of_city = |city: &&str| scores[encode(&format!("{answer_start} {city}"))[start] as usize];
        let scores: Vec<f32> = self.cities.iter().map(of_city).collect();
        scores[1..].iter().all(|other| *other < scores[0])
    }
}

/// Time of reading four segments and what follows them with PINE, as a multiple of that with ordinary positions.
fn cost(model: &TextModel, random: &mut ChaCha8Rng) -> f64 {
    /// Runs in turn, of which the fastest counts.
    const REPEATS: usize = 3;
    let ids = model.encode(DEFAULT_TEXT).expect("plain text");
    let [prefix, suffix] = [16, 32].map(|tokens| prose(&ids, tokens, random));
    let segments = (0..4).map(|_| prose(&ids, 256, random)).collect();
    let text = SegmentedText { prefix, segments, suffix };
    let mut fastest = [f64::INFINITY; 2];
    for _ in 0..REPEATS {
        for (fastest, positions) in fastest.iter_mut().zip(methods()) {
            let started = Instant::now();
            scores(&model.engine, "full", &positions, &text, &[]);
            *fastest = fastest.min(started.elapsed().as_secs_f64());
        }
    }
    fastest[0] / fastest[1]
}

fn mean(places: [f64; 3]) -> f64 {
    places.iter().sum::<f64>() / 3.0
}

/// The best place less the worst.
fn spread(places: [f64; 3]) -> f64 {
    places.iter().fold(f64::MIN, |a, b| a.max(*b)) - places.iter().fold(f64::MAX, |a, b| a.min(*b))
}
