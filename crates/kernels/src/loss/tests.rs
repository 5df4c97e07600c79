use super::*;
use crate::finite_differences::{exact, gradient, random};
use crate::simd::Level;

/// A problem, and its sizes.
struct Case {
    rows: usize,
    dim: usize,
    vocabulary: usize,
    embeddings: Vec<f32>,
    classifier: Vec<f32>,
    bias: Option<Vec<f32>>,
    targets: Targets,
    settings: Settings,
    /// Whether the classifier lies in memory as `[dim, vocabulary]`.
    transposed: bool,
}

impl Case {
    fn new([rows, vocabulary, dim]: [usize; 3], ignored: usize) -> Self {
        // A stride prime to the vocabulary reaches all of it; every so-many-th row does not count.
        let class =
            |row: usize| if ignored > 0 && row % ignored == 1 { IGNORED } else { (row * 7919 % vocabulary) as i32 };
        Self {
            rows,
            dim,
            vocabulary,
            embeddings: random(rows * dim, -1.0, 1.0, 1),
            classifier: random(vocabulary * dim, -1.0, 1.0, 2),
            bias: None,
            targets: Targets::new(&(0..rows).map(class).collect::<Vec<_>>()),
            settings: Settings::default(),
            transposed: false,
        }
    }

    fn with_bias(self) -> Self {
        Self { bias: Some(random(self.vocabulary, -1.0, 1.0, 3)), ..self }
    }

    fn with(self, settings: Settings) -> Self {
        Self { settings, ..self }
    }

    fn problem(&self) -> CutCrossEntropy<'_> {
        let classifier = match self.transposed {
            false => Matrix::new(&self.classifier, self.vocabulary, self.dim),
            true => Matrix::new(&self.classifier, self.dim, self.vocabulary).transpose(),
        };
        CutCrossEntropy {
            embeddings: Matrix::new(&self.embeddings, self.rows, self.dim),
            classifier,
            bias: self.bias.as_deref(),
            targets: &self.targets,
            settings: self.settings,
        }
    }

    /// The losses and `lse` by definition, from embeddings, classifier (as in memory) and bias.
    fn naive(&self, embeddings: &[f64], classifier: &[f64], bias: &[f64]) -> [Vec<f64>; 2] {
        let Settings { softcap, label_smoothing, z_loss } = self.settings;
        let [mut losses, mut log_sum_exps] = [vec![0.0; self.rows], vec![0.0; self.rows]];
        for (index, &class) in self.targets.classes().iter().enumerate() {
            let row = self.targets.row(index);
            let logits: Vec<f64> = self.logits(&embeddings[row * self.dim..][..self.dim], classifier, bias, softcap);
            let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let log_sum_exp = largest + logits.iter().map(|logit| (logit - largest).exp()).sum::<f64>().ln();
            let smoothing = f64::from(label_smoothing);
            // Without smoothing, a logit of −∞ does not count.
            let mean = if smoothing == 0.0 { 0.0 } else { logits.iter().sum::<f64>() / logits.len() as f64 };
            losses[row] = log_sum_exp - (1.0 - smoothing) * logits[class as usize] - smoothing * mean
                + f64::from(z_loss) * log_sum_exp * log_sum_exp;
            log_sum_exps[row] = log_sum_exp;
        }
        [losses, log_sum_exps]
    }

    fn logits(&self, embedding: &[f64], classifier: &[f64], bias: &[f64], softcap: Option<f32>) -> Vec<f64> {
        let logit = |class: usize| {
            let place = |i: usize| if self.transposed { i * self.vocabulary + class } else { class * self.dim + i };
            let product: f64 = embedding.iter().enumerate().map(|(i, x)| x * classifier[place(i)]).sum();
            let logit = product + bias.get(class).copied().unwrap_or(0.0);
            softcap.map_or(logit, |cap| f64::from(cap) * (logit / f64::from(cap)).tanh())
        };
        (0..self.vocabulary).map(logit).collect()
    }

    /// The gradients of `Σ u loss + w lse` by definition.
    fn naive_gradients(&self, of_losses: &[f32], of_log_sum_exp: &[f32]) -> [Vec<f64>; 3] {
        let [embeddings, classifier] = [exact(&self.embeddings), exact(&self.classifier)];
        let bias = self.bias.as_deref().map(exact).unwrap_or_default();
        let Settings { softcap, label_smoothing, z_loss } = self.settings;
        let [_, log_sum_exps] = self.naive(&embeddings, &classifier, &bias);
        let mut gradients = [vec![0.0; embeddings.len()], vec![0.0; classifier.len()], vec![0.0; self.vocabulary]];
        for (index, &target) in self.targets.classes().iter().enumerate() {
            let row = self.targets.row(index);
            let embedding = &embeddings[row * self.dim..][..self.dim];
            for (class, logit) in self.logits(embedding, &classifier, &bias, softcap).into_iter().enumerate() {
                let (loss, log_sum_exp) = (f64::from(of_losses[row]), log_sum_exps[row]);
                let smoothing = f64::from(label_smoothing);
                let wanted =
                    smoothing / self.vocabulary as f64 + if class == target as usize { 1.0 - smoothing } else { 0.0 };
                let of_lse = loss * (1.0 + 2.0 * f64::from(z_loss) * log_sum_exp) + f64::from(of_log_sum_exp[row]);
                let slope = softcap.map_or(1.0, |cap| 1.0 - (logit / f64::from(cap)).powi(2));
                let gradient = slope * (of_lse * (logit - log_sum_exp).exp() - loss * wanted);
                for i in 0..self.dim {
                    let place = if self.transposed { i * self.vocabulary + class } else { class * self.dim + i };
                    gradients[0][row * self.dim + i] += gradient * classifier[place];
                    gradients[1][place] += gradient * embedding[i];
                }
                gradients[2][class] += gradient;
            }
        }
        gradients
    }

    /// Gradients of embeddings, classifier and bias, and what was skipped.
    fn gradients(
        &self,
        level: Level,
        sorted: bool,
        filter: Filter,
        upstream: Upstream<'_>,
    ) -> ([Vec<f32>; 3], Skipped) {
        let forward = self.problem().forward_at(level, sorted);
        let sizes = [self.embeddings.len(), self.classifier.len(), self.vocabulary];
        let mut found = sizes.map(|size| vec![f32::NAN; size]);
        let [embeddings, classifier, bias] = &mut found;
        let bias = self.bias.as_ref().map(|_| &mut bias[..]);
        let to = Gradients { embeddings: Some(embeddings), classifier: Some(classifier), bias };
        let skipped = self.problem().backward_at(level, &forward, upstream, filter, to);
        (found, skipped)
    }

    /// Checks losses and gradients against their definition, relative to the largest magnitude.
    fn check(&self, tolerance: f64) {
        let upstream = [random(self.rows, 0.1, 1.0, 4), random(self.rows, -1.0, 1.0, 5)];
        let bias = self.bias.as_deref().map(exact).unwrap_or_default();
        let [losses, log_sum_exp] = self.naive(&exact(&self.embeddings), &exact(&self.classifier), &bias);
        let expected = self.naive_gradients(&upstream[0], &upstream[1]);
        for level in Level::available() {
            let found = self.problem().forward_at(level, false);
            assert_near(&found.losses, &losses, tolerance, level, "losses");
            assert_near(&found.log_sum_exp, &log_sum_exp, tolerance, level, "lse");
            for sorted in [false, true] {
                let both = Upstream { losses: Some(&upstream[0]), log_sum_exp: Some(&upstream[1]) };
                let (gradients, skipped) = self.gradients(level, sorted, Filter::Exact, both);
                assert_eq!(skipped.skipped, 0);
                assert_near(&gradients[0], &expected[0], tolerance, level, "gradient of the embeddings");
                assert_near(&gradients[1], &expected[1], tolerance, level, "gradient of the classifier");
                if self.bias.is_some() {
                    assert_near(&gradients[2], &expected[2], tolerance, level, "gradient of the bias");
                }
            }
        }
    }
}

/// Asserts that vectors agree to `tolerance` times the largest expected magnitude.
fn assert_near(found: &[f32], expected: &[f64], tolerance: f64, level: Level, what: &str) {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().fold(f64::MIN_POSITIVE, |scale, value| scale.max(value.abs()));
    for (i, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(found) - expected).abs();
        assert!(error <= tolerance * scale, "{what}[{i}] at {level:?}: {found}, not {expected}, of at most {scale}");
    }
}

#[test]
fn losses_and_gradients_equal_their_definition() {
    let settings = Settings { softcap: Some(30.0), ..Settings::default() };
    Case::new([257, 5003, 96], 5).with_bias().with(settings).check(1e-5);
}

#[test]
fn every_size_and_setting_equals_its_definition() {
    let settings = Settings { softcap: Some(3.0), label_smoothing: 0.1, z_loss: 1e-2 };
    for sizes in [[1, 1, 1], [1, 700, 33], [5, 7, 3], [130, 129, 16], [300, 260, 20], [17, 1100, 5]] {
        for transposed in [false, true] {
            Case { transposed, ..Case::new(sizes, 0) }.check(1e-5);
            Case { transposed, ..Case::new(sizes, 3).with_bias().with(settings) }.check(1e-5);
            Case { transposed, ..Case::new(sizes, 2).with(Settings { softcap: None, ..settings }) }.check(1e-5);
        }
    }
}

#[test]
fn the_definition_of_gradients_is_their_finite_differences() {
    let settings = Settings { softcap: Some(2.0), label_smoothing: 0.2, z_loss: 0.1 };
    let case = Case::new([4, 9, 3], 3).with_bias().with(settings);
    let upstream = [random(4, 0.1, 1.0, 4), random(4, -1.0, 1.0, 5)];
    let expected = case.naive_gradients(&upstream[0], &upstream[1]);
    let (embeddings, classifier) = (exact(&case.embeddings), exact(&case.classifier));
    let bias = exact(case.bias.as_deref().unwrap());
    let combined = |[losses, log_sum_exp]: [Vec<f64>; 2]| -> f64 {
        let sum = |x: &[f64], weights: &[f32]| -> f64 { x.iter().zip(weights).map(|(x, &w)| x * f64::from(w)).sum() };
        sum(&losses, &upstream[0]) + sum(&log_sum_exp, &upstream[1])
    };
    let found = [
        gradient(&embeddings, |x| combined(case.naive(x, &classifier, &bias))),
        gradient(&classifier, |x| combined(case.naive(&embeddings, x, &bias))),
        gradient(&bias, |x| combined(case.naive(&embeddings, &classifier, x))),
    ];
    for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
        assert!((found - expected).abs() < 1e-7, "{found} {expected}");
    }
}

/// The gradient of the mean loss, without an `lse`.
fn mean(case: &Case) -> Vec<f32> {
    vec![1.0 / case.targets.count().max(1) as f32; case.rows]
}

#[test]
fn rows_that_do_not_count_give_zeros() {
    let mut case = Case::new([40, 300, 8], 0).with_bias();
    case.targets = Targets::new(&[IGNORED; 40]);
    let upstream = mean(&case);
    let forward = case.problem().forward(true);
    assert_eq!((forward.losses, forward.log_sum_exp), (vec![0.0; 40], vec![0.0; 40]));
    let upstream = Upstream { losses: Some(&upstream), log_sum_exp: None };
    let (gradients, _) = case.gradients(Level::current(), true, Filter::Both(1.0), upstream);
    assert!(gradients.iter().flatten().all(|&gradient| gradient == 0.0));
}

#[test]
fn extreme_logits_give_finite_losses() {
    for (scale, ratio) in [(1e4, 1.0), (1e-20, 1.0), (3e18, 1e-18)] {
        let mut case = Case::new([20, 300, 8], 0);
        case.embeddings.iter_mut().for_each(|x| *x *= scale);
        case.classifier.iter_mut().for_each(|x| *x *= scale * ratio);
        case.check(2e-5);
    }
    // A class that is forbidden has neither probability nor gradient.
    let mut case = Case::new([20, 300, 8], 0).with_bias();
    case.bias.as_mut().unwrap()[299] = f32::NEG_INFINITY;
    case.check(1e-5);
}

#[test]
fn nan_stays_in_its_row() {
    let mut case = Case::new([20, 300, 8], 0);
    case.embeddings[3 * 8 + 2] = f32::NAN;
    let forward = case.problem().forward(false);
    for (row, loss) in forward.losses.iter().enumerate() {
        assert_eq!(loss.is_nan(), row == 3, "{row}: {loss}");
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let settings = Settings { label_smoothing: 0.1, ..Settings::default() };
    for sizes in [[400, 1500, 24], [700, 200, 24], [3, 5000, 24]] {
        let case = Case::new(sizes, 4).with_bias().with(settings);
        let upstream = mean(&case);
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let upstream = Upstream { losses: Some(&upstream), log_sum_exp: Some(&upstream) };
                let gradients = [Filter::Embeddings(1e-3), Filter::Classes(1e-3)]
                    .map(|filter| case.gradients(Level::current(), true, filter, upstream));
                (case.problem().forward(true), gradients)
            })
        };
        let one = run(1);
        for threads in [2, 3, 7] {
            assert!(run(threads) == one, "{sizes:?} on {threads} threads");
        }
    }
}

/// Rows that give a few classes, spread over the vocabulary, nearly all probability; targets are among the likely ones.
fn peaked() -> Case {
    let mut case = Case::new([512, 4096, 32], 0);
    case.embeddings.chunks_exact_mut(32).for_each(|x| x[0] = 3.0);
    let mut likely: Vec<usize> = (0..4096).collect();
    likely.sort_by(|&a, &b| case.classifier[b * 32].total_cmp(&case.classifier[a * 32]));
    case.classifier.chunks_exact_mut(32).for_each(|c| c[0] *= 8.0);
    case.targets = Targets::new(&(0..512).map(|row| likely[row % 40] as i32).collect::<Vec<_>>());
    case
}

/// The distance of two vectors relative to the length of the second.
fn relative(found: &[f32], expected: &[f32]) -> f64 {
    let squares = |x: &mut dyn Iterator<Item = f32>| x.map(|x| f64::from(x).powi(2)).sum::<f64>();
    let distance = squares(&mut found.iter().zip(expected).map(|(a, b)| a - b));
    (distance / squares(&mut expected.iter().copied())).sqrt()
}

#[test]
fn filters_leave_out_blocks_of_small_weight_only() {
    let case = peaked();
    let upstream = mean(&case);
    let upstream = Upstream { losses: Some(&upstream), log_sum_exp: None };
    let run = |sorted, filter| case.gradients(Level::current(), sorted, filter, upstream);
    let (exact, _) = run(false, Filter::Exact);
    let epsilon = Filter::EPSILON;
    let (unsorted, plain) = run(false, Filter::Both(epsilon));
    let (sorted, skipped) = run(true, Filter::Both(epsilon));
    assert_eq!(skipped.blocks, 4 * 32);
    assert!(skipped.skipped > plain.skipped, "sorted {skipped:?}, unsorted {plain:?}");
    for (found, what) in [(&unsorted, "unsorted"), (&sorted, "sorted")] {
        for (found, exact) in found.iter().zip(&exact).take(2) {
            let error = relative(found, exact);
            assert!(error < 1e-2, "{what}: {error}");
        }
    }
    // An element that is left out is less than epsilon times what it would be multiplied with.
    for (found, exact) in sorted[0].iter().zip(&exact[0]) {
        assert!((found - exact).abs() <= epsilon * 4096.0 / 512.0, "{found} {exact}");
    }
    let (whole, same) = run(true, Filter::Embeddings(epsilon));
    assert_eq!(same, skipped);
    assert_eq!(whole[0], sorted[0]);
    assert!(relative(&whole[1], &exact[1]) < 1e-6);
    // Single classes are left out wherever whole blocks are, and more of them.
    let (gathered, classes) = run(false, Filter::Classes(epsilon));
    assert_eq!(classes.blocks, 4 * 4096);
    assert!(classes.skipped > 128 * skipped.skipped, "classes {classes:?}, blocks {skipped:?}");
    for (found, exact) in gathered.iter().zip(&exact).take(2) {
        let error = relative(found, exact);
        assert!(error < 1e-2, "classes: {error}");
    }
    // With nothing below it, an epsilon changes nothing.
    assert_eq!(run(false, Filter::Classes(0.0)).0[..2], exact[..2]);
    assert_eq!(run(false, Filter::Both(0.0)).0[..2], exact[..2]);
}

#[test]
fn the_order_is_that_of_mean_logits() {
    let case = Case { targets: Targets::new(&vec![0; 300]), ..Case::new([300, 70, 8], 0).with_bias() };
    let order = case.problem().forward(true).order.unwrap();
    let bias = exact(case.bias.as_deref().unwrap());
    let mut means = vec![0.0; 70];
    for embedding in exact(&case.embeddings).chunks(8) {
        let logits = case.logits(embedding, &exact(&case.classifier), &bias, None);
        means.iter_mut().zip(logits).for_each(|(mean, logit)| *mean += logit);
    }
    assert!(order.windows(2).all(|pair| means[pair[0] as usize] <= means[pair[1] as usize] + 1e-3));
    let mut all = order;
    all.sort_unstable();
    assert!(all.into_iter().eq(0..70));
}

#[test]
fn shifted_targets_are_the_tokens_ahead() {
    let shifted = Targets::shifted(&[1, 2, 3, 4, 5, IGNORED], 3, 1);
    assert_eq!(shifted, Targets::new(&[2, 3, IGNORED, 5, IGNORED, IGNORED]));
    assert_eq!((shifted.rows(), shifted.count(), shifted.classes()), (6, 3, &[2, 3, 5][..]));
    assert_eq!(Targets::shifted(&[1, 2, 3], 3, 4).count(), 0);
    assert_eq!(Targets::new(&[4, 5]).listed(), None);
}

#[test]
#[should_panic(expected = "target 9 of a vocabulary of 8")]
fn a_target_that_is_no_class_is_refused() {
    let case = Case { targets: Targets::new(&[9]), ..Case::new([1, 8, 2], 0) };
    case.problem().forward(false);
}

/// What is counted as memory is what is allocated, with room for the blocks of every worker.
#[test]
fn cut_logits_need_little_memory() {
    let naive = bytes_naive(4096, 65_536);
    assert_eq!(naive, 2 << 30);
    assert!(bytes_cut(4096, 128, 65_536, 2) < naive / 200);
    // A hundredth of the logits of the benchmark's shape.
    assert!(bytes_cut(2048, 576, 49_152, 2) < 4 * 2048 * 49_152 / 100);
}
