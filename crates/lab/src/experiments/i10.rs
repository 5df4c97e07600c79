//! I10, ScaleKV: budgets by layer and scale for a generator of pictures, with its host, a minimal VAR. arXiv:2505.19602, 2404.02905.

use headwise_engine::scales::ScalePolicy;
use headwise_engine::scales::budgets::{Division, Slots};
use headwise_engine::scales::grid::centres;
use headwise_engine::scales::selectivity::{Form, Selectivity, few};
use headwise_models::next_scale::{Choice, CompressesScales, Drawing, Drawn, KeepEverything, NextScale};
use headwise_ops::host::{self, Host};
use headwise_train::next_scale::NextScaleTraining;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Claim, Direction, Experiment, Measured};
use crate::compare::scales::{ScaleRow, Subject};

/// The experiment.
pub const EXPERIMENT: Experiment = Experiment {
    id: "I10",
    claims: &[
        Claim {
            text: "largest change of a score when the budget is all there is, scales 1, 2, 4, 8",
            direction: Direction::AtMost,
            threshold: 0.0,
        },
        Claim {
            text: "numbers of the 20 in the two published tables of budgets that the default rule gives",
            direction: Direction::AtLeast,
            threshold: 20.0,
        },
        Claim {
            text: "grids of observing tokens, on maps of 4 to 64, with a token outside or twice",
            direction: Direction::AtMost,
            threshold: 0.0,
        },
        Claim {
            text: "% of the codes of a full cache with a quarter of it, by the likeliest codes; 4 layers, scales 1, 2, 4, 8, coloured shapes; \
                   baseline: the same total, each layer alike",
            direction: Direction::AtLeast,
            threshold: 90.0,
        },
        Claim {
            text: "dB of signal to noise of those pictures to those of the full cache; the same baseline",
            direction: Direction::AtLeast,
            threshold: 25.0,
        },
        Claim {
            text: "% of made attention rows, current share 0.8 to 0.995, in which a dispersed layer has a lower index than a concentrated one",
            direction: Direction::AtLeast,
            threshold: 100.0,
        },
        Claim {
            text: "bytes by which the most that a cache held between scales differs from the sum of its budgets",
            direction: Direction::AtMost,
            threshold: 0.0,
        },
        Claim {
            text: "the host: largest difference of scores drawn scale by scale from those of one masked pass, scales 1, 2, 3, 4",
            direction: Direction::AtMost,
            threshold: 1e-4,
        },
        Claim {
            text: "the host: % of 96 pictures drawn with chance whose nearest clean picture is of the class asked for, after 800 steps of the \
                   transformer",
            direction: Direction::AtLeast,
            threshold: 70.0,
        },
        Claim {
            text: "the host: % of that agreement that stays with a tenth of the cache",
            direction: Direction::AtLeast,
            threshold: 95.0,
        },
        Claim {
            text: "the host: dB of signal to noise of those pictures to those of the full cache with the same seed",
            direction: Direction::AtLeast,
            threshold: 20.0,
        },
        Claim {
            text: "the host: bytes by which the peak of a full cache differs from 2 (guidance) x 2 (keys, values) x layers x tokens x channels x 4",
            direction: Direction::AtMost,
            threshold: 0.0,
        },
    ],
    seconds: 250,
    source: include_str!("i10.rs"),
    run,
};

/// The scales of the policy's claims, and of the host's, and the steps of their transformers: 800 do not teach the larger maps.
const GENERATORS: [([usize; 4], u64); 2] = [([1, 2, 4, 8], 1_600), ([1, 2, 3, 4], 800)];
/// Below this agreement with the classes a generator has not learnt, and nothing follows about its cache.
const LEARNT: f64 = 70.0;
/// What a noise ratio counts where nothing differs.
const NO_NOISE: f64 = 99.0;

fn run(seed: u64) -> Vec<Measured> {
    let [tall, host] = GENERATORS.map(|(scales, steps)| subject(&scales, steps, seed));
    let policy = |text: &str| headwise_spec::from_text::<ScalePolicy>(text).expect("a policy");
    let measure = |subject: &Subject, text: &str| subject.measure(&policy(text)).expect("a policy in its ranges").0;
    let [ours, even] = ["scalekv(keep=0.25)", "uniform(keep=0.25)"].map(|text| measure(&tall, text));
    let gated =
        |measured: Measured, full: &ScaleRow| Measured { conclusive: full.class_agreement >= LEARNT, ..measured };
    let full = tall.full();
    let [whole, tenth] = [host.full(), measure(&host, "scalekv(keep=0.1)")];
    let decibels = |value: Option<f64>| value.unwrap_or(NO_NOISE);
    vec![
        Measured::alone(change(&tall, &policy("scalekv(keep=1)"))),
        Measured::alone(published() as f64),
        Measured::alone(bad_grids() as f64),
        gated(Measured::against(ours.agreement, even.agreement), &full),
        gated(Measured::against(decibels(ours.psnr), decibels(even.psnr)), &full),
        Measured::alone(ranked(seed)),
        Measured::alone(bytes_off(&tall)),
        Measured::alone(off_masked(host.model(), seed)),
        Measured::alone(whole.class_agreement),
        gated(Measured::alone(100.0 * tenth.class_agreement / whole.class_agreement), &whole),
        gated(Measured::alone(decibels(tenth.drawn_psnr)), &whole),
        Measured::alone(peak_off(&host)),
    ]
}

/// A generator that has learnt.
fn subject(scales: &[usize], steps: u64, seed: u64) -> Subject {
    let training = NextScaleTraining { steps, ..NextScaleTraining::micro(scales, seed) };
    let model = training.run(&mut |_| {}).expect("losses that stay finite");
    Subject::new(model, seed).expect("a generator of all classes")
}

fn drawing(seed: u64) -> Drawing {
    Drawing { classes: (0..24).collect(), guidance: 1.5, choice: Choice::DRAW, seed }
}

fn drawn(model: &NextScale, policy: &mut dyn CompressesScales) -> Drawn {
    model.draw(&drawing(7), policy).expect("classes that there are")
}

/// The largest change of a score under `policy`.
fn change(subject: &Subject, policy: &ScalePolicy) -> f64 {
    let model = subject.model();
    let full = drawn(model, &mut KeepEverything);
    let less = drawn(model, &mut subject.plan(policy).expect("a policy in its ranges"));
    largest(&full.scores.concat(), &less.scores.concat())
}

fn largest(one: &[f32], other: &[f32]) -> f64 {
    assert_eq!(one.len(), other.len());
    one.iter().zip(other).map(|(one, other)| f64::from((one - other).abs())).fold(0.0, f64::max)
}

/// Numbers of the published tables that come out: slots of drafters and refiners when scales 9 to 13 are entered.
fn published() -> usize {
    // Slots of a full cache when scale 9 is entered, and the maps of scales 9 to 12.
    let (first, maps) = (921, [24, 32, 40, 48]);
    let tables = [
        (32, [2, 2, 2, 2, 1], [(920, 632), (1490, 594), (2510, 526), (4100, 420), (6385, 465)]),
        (40, [3; 5], [(909, 629), (1464, 584), (2463, 503), (4054, 374), (6200, 200)]),
    ];
    let mut right = 0;
    for (layers, drafters, slots) in tables {
        let mut available = first;
        for (i, (drafter, refiner)) in slots.into_iter().enumerate() {
            let division = Division { uniform: 650, available, layers, drafters: drafters[i] };
            let found: Slots = division.released(200);
            right += usize::from(found.drafter == drafter) + usize::from(found.refiner == refiner);
            available = found.drafter + maps.get(i).map_or(0, |side: &usize| side.pow(2));
        }
    }
    right
}

/// Maps on which the grid of 4 × 4 has a token outside, twice, or out of order.
fn bad_grids() -> usize {
    let bad = |side: usize| {
        let cells = centres(side, 4);
        cells.len() != 16 || !cells.is_sorted_by(|a, b| a < b) || cells.iter().any(|&cell| cell >= side * side)
    };
    (4..=64).filter(|&side| bad(side)).count()
}

/// % of pairs of made rows in which the dispersed one has the lower index.
fn ranked(seed: u64) -> f64 {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let (mut right, mut all) = (0, 0);
    for history in [21usize, 921, 6425] {
        for share in [0.8, 0.9, 0.95, 0.98, 0.995] {
            for _ in 0..20 {
                // A dispersed layer looks a little at everything; a concentrated one at a slot in a hundred.
                let flat: Vec<f64> = (0..history).map(|_| random.random_range(0.5..1.5)).collect();
                let few_heavy = history.div_ceil(100);
                let peaked: Vec<f64> = (0..history)
                    .map(|slot| if slot < few_heavy { 200.0 } else { random.random_range(0.5..1.5) })
                    .collect();
                let of_dispersed = random.random_range(0.3..0.8);
                right += u32::from(index(&flat, of_dispersed) < index(&peaked, share));
                all += 1;
            }
        }
    }
    100.0 * f64::from(right) / f64::from(all)
}

/// The index of a layer with `past` as its weights on the history, up to a factor, and `share` on the current map.
fn index(past: &[f64], share: f64) -> f64 {
    let mass: f64 = past.iter().sum();
    let mut row: Vec<f32> = past.iter().map(|weight| ((1.0 - share) * weight / mass) as f32).collect();
    row.extend([(share / 16.0) as f32; 16]);
    let mut selectivity = Selectivity::default();
    selectivity.add(&row, past.len(), few(past.len()));
    selectivity.index(Form::Ratio)
}

/// How far the most that caches held is from the sum of the budgets, over several policies.
fn bytes_off(subject: &Subject) -> f64 {
    let spec = subject.model().spec();
    let off = |text: &str| {
        let policy = headwise_spec::from_text(text).expect("a policy");
        let mut plan = subject.plan(&policy).expect("a policy in its ranges");
        let held = drawn(subject.model(), &mut plan).bytes.held;
        let slots: usize = plan.slots(3).expect("the last scale is entered with less").iter().sum();
        // Keys and values, of 24 pictures with and without their class.
        held.abs_diff((2 * 2 * 24 * slots * spec.dim * size_of::<f32>()) as u64)
    };
    ["scalekv(keep=0.25)", "scalekv(budget=8, rule=delta)", "uniform(keep=0.25)"]
        .map(off)
        .into_iter()
        .max()
        .unwrap_or(0) as f64
}

/// The largest difference of scores drawn scale by scale, without guidance, from those of one masked pass over the same codes.
fn off_masked(model: &NextScale, seed: u64) -> f64 {
    let drawing = Drawing { guidance: 0.0, ..drawing(seed) };
    let drawn = model.draw(&drawing, &mut KeepEverything).expect("classes that there are");
    let pictures = drawing.classes.len();
    let (features, _) = model.autoencoder.quantiser.read(&drawn.tokens, pictures);
    let masked = Host::new(host::contiguous(model.transformer.forward(&drawing.classes, features)));
    let (spec, mut found) = (model.spec(), Vec::new());
    for picture in 0..pictures {
        for (scale, side) in spec.scales.iter().enumerate() {
            let cells = side * side * spec.codes;
            found.extend_from_slice(&drawn.scores[scale][picture * cells..][..cells]);
        }
    }
    largest(masked.as_slice(), &found)
}

/// How far the peak of a full cache is from what all tokens take.
fn peak_off(subject: &Subject) -> f64 {
    let spec = subject.model().spec();
    let expected = 2 * 2 * spec.layers * spec.tokens() * spec.dim * size_of::<f32>();
    subject.full().peak_kv_bytes.abs_diff(expected as u64) as f64
}
