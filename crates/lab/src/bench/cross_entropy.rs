//! Cut cross-entropy of a classifier over a large vocabulary: the loss, and the loss with its gradients.

use headwise_kernels::gemm::Matrix;
use headwise_kernels::loss::{CutCrossEntropy, Filter, Gradients, Settings, Targets, Upstream};

use super::attention::numbers;
use super::plan::Run;
use super::{BenchRow, Params, Times};

/// The classes are dealt out to ranks by steps of so many, which is prime.
const SPREAD: usize = 7919;

/// `cross_entropy`, exact and with the filter of gradients.
///
/// As in language, a class of rank `r` has about the probability `1 / r`, which the first coordinate of all embeddings says, and
/// targets are drawn so; each row prefers other classes besides.
pub(super) fn cross_entropy(run: &Run<'_>) -> Vec<BenchRow> {
    let [rows, dim, vocabulary] = run.shape.sides();
    let rank = |class: usize| class * SPREAD % vocabulary;
    let mut embeddings = numbers(rows * dim, 1);
    embeddings.chunks_exact_mut(dim).for_each(|x| x[0] = 1.0);
    let mut classifier = numbers(vocabulary * dim, 2);
    classifier.iter_mut().for_each(|value| *value *= 2.0 / (dim as f32).sqrt());
    for (class, values) in classifier.chunks_exact_mut(dim).enumerate() {
        values[0] = -((rank(class) + 1) as f32).ln();
    }
    let mut of_rank = vec![0; vocabulary];
    (0..vocabulary).for_each(|class| of_rank[rank(class)] = class as i32);
    // Uniform in [0, 1), so that ranks are uniform in their logarithm.
    let uniform = numbers(rows, 3).into_iter().map(|x| x / 12f32.sqrt() + 0.5);
    let classes: Vec<i32> = uniform
        .map(|x| of_rank[((vocabulary as f32).powf(x) as usize).saturating_sub(1).min(vocabulary - 1)])
        .collect();
    let targets = Targets::new(&classes);
    let problem = CutCrossEntropy {
        embeddings: Matrix::new(&embeddings, rows, dim),
        classifier: Matrix::new(&classifier, vocabulary, dim),
        bias: None,
        targets: &targets,
        settings: Settings::default(),
    };

    let mut of_embeddings = vec![0.0; embeddings.len()];
    let mut of_classifier = vec![0.0; classifier.len()];
    let upstream = vec![1.0 / rows as f32; rows];
    let mut train = |filter: Filter| {
        let forward = problem.forward(false);
        let upstream = Upstream { losses: Some(&upstream), log_sum_exp: None };
        let to = Gradients { embeddings: Some(&mut of_embeddings), classifier: Some(&mut of_classifier), bias: None };
        problem.backward(&forward, upstream, filter, to);
    };
    let product = 2.0 * rows as f64 * dim as f64 * vocabulary as f64;
    vec![
        row(run, "forward", Some(product), || drop(problem.forward(false))),
        row(run, "train", Some(4.0 * product), || train(Filter::Exact)),
        row(run, "train_filtered", None, || train(Filter::Classes(Filter::EPSILON))),
    ]
}

fn row(run: &Run<'_>, pass: &str, flops: Option<f64>, call: impl FnMut()) -> BenchRow {
    let times = Times::of_calls(run.repeats(3, 0.5), call);
    BenchRow::new(run.name, Params { pass: Some(pass.to_owned()), ..run.params("f32") }, times, flops, None)
}
