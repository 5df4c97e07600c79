//! L14, linear recurrences as interchangeable mixers: what a gated memory recalls between softmax and one that never forgets.
//! arXiv:2312.06635; the task: arXiv:2312.04927.

use burn::tensor::{Device, Tensor, TensorData};
use headwise_nn::mixer::{Gla, GlaSpec, MixContext, MixerSpec, Segment, States};
use headwise_ops::host::Host;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Claim, Direction, Experiment, Measured};
use crate::compare::mixers::{MixerComparison, MixerRow};

/// The experiment.
pub const EXPERIMENT: Experiment = Experiment {
    id: "L14",
    claims: &[
        Claim {
            text: "largest difference of a convolved GLA layer read at once and token by token, relative to the largest output, 200 \
                   tokens",
            direction: Direction::AtMost,
            threshold: 1e-4,
        },
        Claim {
            text: "% right of softmax in recalling 16 pairs, 2 layers of 64",
            direction: Direction::AtLeast,
            threshold: 99.0,
        },
        Claim {
            text: "% right of linear_attention, the same size, data and steps",
            direction: Direction::AtMost,
            threshold: 60.0,
        },
        Claim {
            text: "points that gla is right in more than linear_attention",
            direction: Direction::AtLeast,
            threshold: STRICTLY,
        },
        Claim {
            text: "points that gla is right in less than softmax",
            direction: Direction::AtLeast,
            threshold: STRICTLY,
        },
    ],
    seconds: 240,
    source: include_str!("l14.rs"),
    run,
};

const DIM: usize = 64;
const TOKENS: usize = 200;
const PAIRS: u64 = 16;
/// Sequences of the test.
const SEQUENCES: u64 = 256;
/// Points that any difference exceeds: one answer of 4096 is 0.024.
const STRICTLY: f64 = 0.01;
/// Softmax, and memories of the same 16 channels of keys, as many as there are pairs. With 64 channels linear attention recalls 99 % as well,
/// and with 8 the gate learns on one seed and not on the next.
const MIXERS: [&str; 3] = [
    "softmax(convolution=3)",
    "linear_attention(heads=1, key_dim=16, convolution=3)",
    "gla(heads=1, key_dim=16, convolution=3)",
];

fn run(seed: u64) -> Vec<Measured> {
    let [softmax, linear, gla] = recall(seed);
    vec![
        Measured::alone(whole_and_steps(seed)),
        Measured::alone(softmax),
        Measured::alone(linear),
        Measured::alone(gla - linear),
        Measured::alone(softmax - gla),
    ]
}

/// A layer of gated linear attention with a convolution, over a whole text and step by step.
fn whole_and_steps(seed: u64) -> f64 {
    let device = Device::flex();
    device.seed(seed);
    let layer = Gla::random(GlaSpec { convolution: Some(3), ..GlaSpec::default() }, DIM, &device);
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let x: Vec<f32> = (0..TOKENS * DIM).map(|_| random.random_range(-1.0f32..1.0)).collect();
    let positions: Vec<i32> = (0..TOKENS as i32).collect();
    let segments = [Segment { sequence: 0, rows: 0..TOKENS }];
    let mut ctx = MixContext::new(&positions, &segments);
    let whole = Tensor::<3>::from_data(TensorData::new(x.clone(), [1, TOKENS, DIM]), &device);
    let whole = Host::new(layer.forward(whole, &mut ctx));
    let mut state = [MixerSpec::from(layer.spec().clone()).state(DIM)];
    let steps = x.chunks_exact(DIM).zip(&positions).flat_map(|(token, position)| {
        let segments = [Segment { sequence: 0, rows: 0..1 }];
        let positions = std::slice::from_ref(position);
        let mut kept = States(&mut state);
        let mut ctx = MixContext { cache: Some(&mut kept), ..MixContext::new(positions, &segments) };
        let token = Tensor::<3>::from_data(TensorData::new(token.to_vec(), [1, 1, DIM]), &device);
        Host::new(layer.forward(token, &mut ctx)).as_slice().to_vec()
    });
    let (mut most, mut largest) = (0.0f32, 0.0f32);
    for (&found, expected) in whole.as_slice().iter().zip(steps) {
        most = most.max((found - expected).abs());
        largest = largest.max(expected.abs());
    }
    f64::from(most / largest)
}

/// The shares of pairs that decoders of equal size recall after the same training, in %, in the order of [`MIXERS`].
fn recall(seed: u64) -> [f64; 3] {
    let comparison = MixerComparison {
        mixers: MIXERS.map(String::from).to_vec(),
        tasks: vec![format!("multi_query_recall(pairs={PAIRS})")],
        length: 3 * PAIRS as usize,
        test_lengths: vec![3 * PAIRS as usize],
        steps: 800,
        dim: DIM,
        layers: 2,
        seeds: 1,
        test_sequences: SEQUENCES,
    };
    let plan = comparison.plan().expect("mixers and a task that fit");
    let rows = plan.run_seeds(seed..seed + 1, &mut |_| {}).expect("training that stays finite");
    let right: Vec<f64> = rows.iter().map(|row: &MixerRow| row.accuracy).collect();
    right.try_into().expect("a row for each mixer")
}
