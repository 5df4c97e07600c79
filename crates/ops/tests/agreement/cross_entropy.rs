//! Cut cross-entropy: kernels against the composed form, and a classifier that learns.

use crate::check::{check, values};
use burn::tensor::{DType, Device, Tensor, TensorData};
use headwise_ops::{CrossEntropySettings, CutSettings, Filter, IGNORED, Targets, cut_cross_entropy};
use proptest::prelude::*;

/// Classes for rows; those of about one in `ignored` do not count.
fn targets(seed: u64, rows: usize, vocabulary: usize, ignored: u64) -> Targets {
    let class = |row: u64| {
        let mixed = seed.wrapping_add(row).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 17;
        if mixed % ignored == 1 { IGNORED } else { (mixed / ignored % vocabulary as u64) as i32 }
    };
    Targets::new(&(0..rows as u64).map(class).collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn cut(
        seed: u64, rows in 1usize..40, dim in 1usize..20, vocabulary in 1usize..300, ignored in 1u64..5,
        [transposed, biased, capped]: [bool; 3], label_smoothing in 0f32..0.5, z_loss in 0f32..0.1,
    ) {
        let targets = targets(seed, rows, vocabulary, ignored);
        // Without a target there is nothing to learn: the test below.
        prop_assume!(targets.count() > 0);
        let loss = CrossEntropySettings { softcap: capped.then_some(4.0), label_smoothing, z_loss };
        let settings = CutSettings { loss, ..CutSettings::default() };
        let operation = |inputs: Vec<Tensor<1>>| {
            let [embeddings, classifier] = [inputs[0].clone(), inputs[1].clone()];
            // A weight as of a linear layer, or a table of embeddings.
            let classifier = match transposed {
                true => classifier.reshape([dim, vocabulary]).transpose(),
                false => classifier.reshape([vocabulary, dim]),
            };
            let embeddings = embeddings.reshape([rows, dim]);
            let found = cut_cross_entropy(embeddings, classifier, inputs.get(2).cloned(), &targets, &settings);
            assert_eq!(found.count, targets.count());
            vec![found.loss, found.losses, found.log_sum_exp]
        };
        let mut inputs = vec![values(seed, rows * dim, 1.0), values(seed ^ 1, vocabulary * dim, 1.0)];
        if biased {
            inputs.push(values(seed ^ 2, vocabulary, 1.0));
        }
        check(&operation, &inputs);
    }
}

#[test]
fn without_targets_the_loss_is_zero() {
    let device = Device::flex().autodiff();
    for dtype in [DType::F32, DType::F64] {
        let tensor = |rows| Tensor::<2>::ones([rows, 3], (&device, dtype)).require_grad();
        let (embeddings, classifier) = (tensor(2), tensor(5));
        let targets = Targets::new(&[IGNORED; 2]);
        let found = cut_cross_entropy(embeddings.clone(), classifier.clone(), None, &targets, &CutSettings::default());
        assert_eq!((found.count, found.loss.clone().into_scalar::<f32>()), (0, 0.0));
        let gradients = found.loss.backward();
        for gradient in [embeddings.grad(&gradients), classifier.grad(&gradients)].into_iter().flatten() {
            assert_eq!(gradient.abs().max().into_scalar::<f32>(), 0.0);
        }
    }
}

/// Descends from the same start with each filter: the sorted and filtered gradients lead where the exact ones do.
#[test]
fn a_classifier_learns_with_every_filter() {
    const ROWS: usize = 60;
    let (vocabulary, dim) = (400, 16);
    let targets = targets(3, ROWS, 40, 7);
    let device = Device::flex().autodiff();
    let tensor = |seed, rows| {
        let data = TensorData::new(values(seed, rows * dim, 0.5), [rows, dim]);
        Tensor::<2>::from_data(data, (&device, DType::F32))
    };
    let embeddings = tensor(1, ROWS);
    let learn = |filter| {
        let settings = CutSettings { filter, sorted: true, ..CutSettings::default() };
        let mut classifier = tensor(2, vocabulary).require_grad();
        let mut losses = Vec::new();
        for _ in 0..60 {
            let found = cut_cross_entropy(embeddings.clone(), classifier.clone(), None, &targets, &settings);
            let gradients = found.loss.clone().backward();
            losses.push(found.loss.into_scalar::<f32>());
            let gradient = classifier.grad(&gradients).expect("the classifier is used");
            classifier = Tensor::from_inner(classifier.inner() - gradient * 20.0).require_grad();
        }
        losses
    };
    let exact = learn(Filter::Exact);
    assert!(exact[59] < 0.5 * exact[0], "the loss went from {} to {}", exact[0], exact[59]);
    let epsilon = Filter::EPSILON;
    for filter in [Filter::Both(epsilon), Filter::Classes(epsilon), Filter::Embeddings(epsilon)] {
        let last = learn(filter)[59];
        assert!((last - exact[59]).abs() < 0.02 * exact[59], "{filter:?}: {last}, not {}", exact[59]);
    }
}
