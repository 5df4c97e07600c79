//! T01, cut cross-entropy: the loss and gradients of a classifier without its logits in memory. arXiv:2411.09009.

use burn::tensor::Device;
use headwise_engine::TextModel;
use headwise_kernels::gemm::Matrix;
use headwise_kernels::loss::{
    CutCrossEntropy, Filter, Forward, Gradients, IGNORED, Settings, Skipped, Targets, Upstream, bytes_cut, bytes_naive,
};
use headwise_kernels::parallel;
use headwise_models::decoder::Weights;
use headwise_models::pull;
use headwise_nn::mixer::Segment;
use headwise_ops::host::{Host, contiguous};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Claim, Direction, Experiment, Measured};

/// The experiment.
pub const EXPERIMENT: Experiment = Experiment {
    id: "T01",
    claims: &[
        Claim {
            text: "exact: largest error of loss and gradients against log-softmax in f64, relative to the largest value, \
                   257 rows, 96 channels, 5003 classes, bias, softcap 30, a fifth ignored",
            direction: Direction::AtMost,
            threshold: 1e-5,
        },
        Claim {
            text: "percent of blocks that the filter (2^-12) skips on a trained model (SmolLM2-135M), classes sorted by mean logit; baseline: unsorted",
            direction: Direction::AtLeast,
            threshold: 80.0,
        },
        Claim {
            text: "relative L2 error of the gradients with that filter, the larger of embeddings and classifier",
            direction: Direction::AtMost,
            threshold: 1e-2,
        },
        Claim {
            text: "MiB beside inputs and gradients for 4096 rows, 128 channels, 65536 classes; baseline: whole logits",
            direction: Direction::AtMost,
            threshold: 100.0,
        },
    ],
    seconds: 20,
    source: include_str!("t01.rs"),
    run,
};

fn run(seed: u64) -> Vec<Measured> {
    let filtered = trained_model().map(|model| filtered(&model, seed));
    // Without a trained model nothing follows about the filter.
    let unable = Measured { conclusive: false, ..Measured::alone(f64::NAN) };
    let (skipped, error) = filtered.map_or((unable, unable), |[skipped, unsorted, error]| {
        (Measured::against(skipped, unsorted), Measured::alone(error))
    });
    const MIB: f64 = (1 << 20) as f64;
    let cut = bytes_cut(4096, 128, 65536, parallel::threads()) as f64 / MIB;
    vec![
        Measured::alone(exactness(seed)),
        skipped,
        error,
        Measured::against(cut, bytes_naive(4096, 65536) as f64 / MIB),
    ]
}

const ROWS: usize = 257;
const CLASSES: usize = 5003;
const DIM: usize = 96;
const SOFTCAP: f64 = 30.0;

/// The largest error of loss, log-sum-exp and gradients on random numbers.
fn exactness(seed: u64) -> f64 {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut numbers =
        |count: usize, scale: f32| (0..count).map(|_| random.random_range(-scale..scale)).collect::<Vec<f32>>();
    let (embeddings, classifier, bias) = (numbers(ROWS * DIM, 1.0), numbers(CLASSES * DIM, 1.0), numbers(CLASSES, 1.0));
    let classes: Vec<i32> = (0..ROWS)
        .map(|_| if random.random_bool(0.2) { IGNORED } else { random.random_range(0..CLASSES as i32) })
        .collect();
    let cut = CutCrossEntropy {
        embeddings: Matrix::new(&embeddings, ROWS, DIM),
        classifier: Matrix::new(&classifier, CLASSES, DIM),
        bias: Some(&bias),
        targets: &Targets::new(&classes),
        settings: Settings { softcap: Some(SOFTCAP as f32), ..Settings::default() },
    };
    let forward = cut.forward(true);
    let found = gradients(&cut, &forward, Filter::Exact).1;
    let expected = Definition::of(&embeddings, &classifier, &bias, &classes);
    let losses: Vec<f64> = forward.losses.iter().map(|&loss| loss.into()).collect();
    [(&losses, &expected.losses), (&found[0], &expected.embeddings), (&found[1], &expected.classifier)]
        .into_iter()
        .map(|(found, expected)| {
            let largest = expected.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
            let difference = found.iter().zip(expected).fold(0.0f64, |most, (a, b)| most.max((a - b).abs()));
            difference / largest
        })
        .fold(0.0, f64::max)
}

/// The gradients of embeddings and classifier of the sum of all losses.
fn gradients(cut: &CutCrossEntropy<'_>, forward: &Forward, filter: Filter) -> (Skipped, [Vec<f64>; 2]) {
    let (rows, dim, classes) = (cut.embeddings.rows(), cut.embeddings.columns(), cut.classifier.rows());
    let (mut embeddings, mut classifier) = (vec![0.0; rows * dim], vec![0.0; classes * dim]);
    let ones = vec![1.0; rows];
    let upstream = Upstream { losses: Some(&ones), log_sum_exp: None };
    let to = Gradients { embeddings: Some(&mut embeddings), classifier: Some(&mut classifier), bias: None };
    let skipped = cut.backward(forward, upstream, filter, to);
    (skipped, [embeddings, classifier].map(|values| values.into_iter().map(f64::from).collect()))
}

/// Losses and gradients by their definition.
struct Definition {
    losses: Vec<f64>,
    embeddings: Vec<f64>,
    classifier: Vec<f64>,
}

impl Definition {
    fn of(embeddings: &[f32], classifier: &[f32], bias: &[f32], classes: &[i32]) -> Self {
        let [embeddings, classifier, bias] =
            [embeddings, classifier, bias].map(|v| v.iter().map(|&x| f64::from(x)).collect::<Vec<_>>());
        let mut all =
            Self { losses: vec![0.0; ROWS], embeddings: vec![0.0; ROWS * DIM], classifier: vec![0.0; CLASSES * DIM] };
        for (row, &class) in classes.iter().enumerate().filter(|(_, class)| **class >= 0) {
            let e = &embeddings[row * DIM..][..DIM];
            let logit = |class: usize| {
                let product: f64 = e.iter().zip(&classifier[class * DIM..][..DIM]).map(|(a, b)| a * b).sum();
                SOFTCAP * ((product + bias[class]) / SOFTCAP).tanh()
            };
            let logits: Vec<f64> = (0..CLASSES).map(logit).collect();
            let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = logits.iter().map(|logit| (logit - largest).exp()).sum();
            let log_sum_exp = largest + sum.ln();
            all.losses[row] = log_sum_exp - logits[class as usize];
            for (other, &logit) in logits.iter().enumerate() {
                let one = if other == class as usize { 1.0 } else { 0.0 };
                let gradient = ((logit - log_sum_exp).exp() - one) * (1.0 - (logit / SOFTCAP).powi(2));
                for channel in 0..DIM {
                    all.embeddings[row * DIM + channel] += gradient * classifier[other * DIM + channel];
                    all.classifier[other * DIM + channel] += gradient * e[channel];
                }
            }
        }
        all
    }
}

/// A trained language model, if it has been pulled.
fn trained_model() -> Option<TextModel> {
    let path = pull::resolve("smollm2-135m").ok()?;
    TextModel::open(&path, Weights::Trainable, 1).ok()
}

/// On a trained model: the percentages of skipped blocks with and without sorted classes, and the error.
fn filtered(model: &TextModel, seed: u64) -> [f64; 3] {
    const TOKENS: usize = 512;
    let device = Device::flex();
    let ids = model.encode(headwise_tasks::DEFAULT_TEXT).expect("plain text");
    let model = model.engine.model();
    let start = seed as usize * TOKENS % (ids.len() - TOKENS - 1);
    let ids = &ids[start..start + TOKENS + 1];
    let positions: Vec<i32> = (0..TOKENS as i32).collect();
    let segments = [Segment { sequence: 0, rows: 0..TOKENS }];
    let hidden = Host::new(contiguous(model.hidden(&ids[..TOKENS], &positions, &segments, &device)));
    let table = Host::new(contiguous(model.classifier()));
    let targets = Targets::new(&ids[1..].iter().map(|&id| id as i32).collect::<Vec<_>>());
    let (dim, vocabulary) = (model.spec().dim, model.spec().vocabulary);
    let cut = CutCrossEntropy {
        embeddings: Matrix::new(hidden.as_slice(), TOKENS, dim),
        classifier: Matrix::new(table.as_slice(), vocabulary, dim),
        bias: None,
        targets: &targets,
        settings: Settings::default(),
    };
    let filter = Filter::Both(Filter::EPSILON);
    let sorted = cut.forward(true);
    let (with, found) = gradients(&cut, &sorted, filter);
    let (without, _) = gradients(&cut, &cut.forward(false), filter);
    let (_, exact) = gradients(&cut, &sorted, Filter::Exact);
    let error = found.iter().zip(&exact).map(|(found, exact)| {
        let square = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>();
        let difference = square(&mut found.iter().zip(exact).map(|(a, b)| a - b));
        (difference / square(&mut exact.iter().copied())).sqrt()
    });
    let percent = |skipped: Skipped| 100.0 * skipped.skipped as f64 / skipped.blocks.max(1) as f64;
    [percent(with), percent(without), error.fold(0.0, f64::max)]
}
