//! Cut cross-entropy: parity with `cut-cross-entropy` (`tests/golden/cross_entropy.*`, made by `oracles/cross_entropy.py`), and
//! what it allocates.

use std::path::Path;

use allocation_counter::{AllocationInfo, measure};
use headwise_kernels::gemm::Matrix;
use headwise_kernels::loss::{CutCrossEntropy, Filter, Gradients, Settings, Targets, Upstream, bytes_cut, bytes_naive};
use safetensors::SafeTensors;
use serde_json::Value;

/// A tensor's shape and elements.
fn tensor<T>(tensors: &SafeTensors<'_>, name: &str, read: fn([u8; 4]) -> T) -> Option<(Vec<usize>, Vec<T>)> {
    let tensor = tensors.tensor(name).ok()?;
    let values = tensor.data().as_chunks().0.iter().map(|&bytes| read(bytes)).collect();
    Some((tensor.shape().to_vec(), values))
}

fn assert_close(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(0.0f32, |scale, value| scale.max(value.abs()));
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() <= 1e-5 * scale, "{what}[{i}]: {found}, not {expected}, of at most {scale}");
    }
}

#[test]
fn equals_the_authors_implementation() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let bytes = std::fs::read(folder.join("cross_entropy.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let json: Value = serde_json::from_slice(&std::fs::read(folder.join("cross_entropy.json")).unwrap()).unwrap();
    for case in json["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let floats = |tensor_name: &str| tensor(&tensors, &format!("{name}.{tensor_name}"), f32::from_le_bytes);
        let (shape, embeddings) = floats("embeddings").unwrap();
        let (_, classes) = tensor(&tensors, &format!("{name}.targets"), i32::from_le_bytes).unwrap();
        let (classifier_shape, classifier) = floats("classifier").unwrap();
        let bias = floats("bias").map(|(_, bias)| bias);
        let targets = Targets::shifted(&classes, shape[1], case["shift"].as_u64().unwrap() as usize);
        let softcap = case["softcap"].as_f64().map(|cap| cap as f32);
        let problem = CutCrossEntropy {
            embeddings: Matrix::new(&embeddings, shape[0] * shape[1], shape[2]),
            classifier: Matrix::new(&classifier, classifier_shape[0], classifier_shape[1]),
            bias: bias.as_deref(),
            targets: &targets,
            settings: Settings { softcap, ..Settings::default() },
        };
        let forward = problem.forward(false);
        let mean = forward.losses.iter().sum::<f32>() / targets.count() as f32;
        assert_close(&[mean], &floats("loss").unwrap().1, &format!("{name}.loss"));

        let upstream = vec![1.0 / targets.count() as f32; targets.rows()];
        let mut found = [vec![0.0; embeddings.len()], vec![0.0; classifier.len()], vec![0.0; classifier_shape[0]]];
        let [d_embeddings, d_classifier, d_bias] = &mut found;
        let to = Gradients { embeddings: Some(d_embeddings), classifier: Some(d_classifier), bias: Some(d_bias) };
        problem.backward(&forward, Upstream { losses: Some(&upstream), log_sum_exp: None }, Filter::Exact, to);
        for (found, of) in found.iter().zip(["d_embeddings", "d_classifier", "d_bias"]) {
            match floats(of) {
                Some((_, expected)) => assert_close(found, &expected, &format!("{name}.{of}")),
                None => assert_eq!((of, problem.bias), ("d_bias", None)),
            }
        }
    }
}

/// Allocations of a first forward and backward pass on one thread that has done nothing before.
fn allocations(rows: usize, dim: usize, vocabulary: usize, sorted: bool) -> AllocationInfo {
    let number = |i: usize| ((i * 31) % 101) as f32 / 101.0 - 0.5;
    let [embeddings, classifier] = [rows, vocabulary].map(|lines| (0..lines * dim).map(number).collect::<Vec<_>>());
    let targets = Targets::new(&(0..rows).map(|row| (row * 7919 % vocabulary) as i32).collect::<Vec<_>>());
    let problem = CutCrossEntropy {
        embeddings: Matrix::new(&embeddings, rows, dim),
        classifier: Matrix::new(&classifier, vocabulary, dim),
        bias: None,
        targets: &targets,
        settings: Settings::default(),
    };
    let upstream = vec![1.0; rows];
    let (mut d_embeddings, mut d_classifier) = (vec![0.0; embeddings.len()], vec![0.0; classifier.len()]);
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    one.install(|| {
        measure(|| {
            let forward = problem.forward(sorted);
            let upstream = Upstream { losses: Some(&upstream), log_sum_exp: None };
            let to = Gradients { embeddings: Some(&mut d_embeddings), classifier: Some(&mut d_classifier), bias: None };
            problem.backward(&forward, upstream, Filter::Exact, to);
        })
    })
}

#[test]
fn memory_is_a_hundredth_of_the_logits_and_what_the_account_says() {
    let (rows, dim, vocabulary) = (4096, 8, 65_536);
    for sorted in [false, true] {
        let peak = allocations(rows, dim, vocabulary, sorted).bytes_max as usize;
        // The account also counts the targets, which are an input here.
        let account = bytes_cut(rows, dim, vocabulary, 1);
        assert!(peak <= account, "{peak} bytes, more than the {account} of the account");
        assert!(peak <= bytes_naive(rows, vocabulary) / 200, "{peak} bytes");
    }
}

/// The same with the dimension of a small model; takes some seconds.
#[test]
#[ignore = "takes seconds"]
fn memory_stays_small_with_larger_embeddings() {
    let peak = allocations(4096, 128, 65_536, true).bytes_max;
    assert!(peak < 100 << 20 && peak as usize <= bytes_cut(4096, 128, 65_536, 1), "{peak} bytes");
}
