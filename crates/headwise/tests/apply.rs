//! `headwise params` and `headwise apply` as other programs drive them.

use std::path::Path;
use std::process::{Command, Output};

use headwise::lab::components::{Array, Arrays, Values, to_safetensors};
use headwise::models::safetensors::Checkpoint;
use serde_json::{Value, json};
use tempfile::TempDir;

fn headwise(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_headwise")).args(arguments).output().unwrap()
}

/// Values between -1 and 1 without a pattern.
fn waves(name: &str, shape: &[usize]) -> (String, Array) {
    let phase = name.len() as f32;
    let values = (0..shape.iter().product()).map(|i: usize| (i as f32 * 1.7 + phase * 0.9).sin()).collect();
    (name.to_owned(), Array { shape: shape.to_vec(), values: Values::Float(values) })
}

fn floats(arrays: &Arrays, name: &str) -> Vec<f32> {
    match &arrays[name].values {
        Values::Float(values) => values.clone(),
        Values::Int(_) => panic!("{name} holds whole numbers"),
    }
}

fn read(path: &Path) -> Arrays {
    let file = Checkpoint::open(path).unwrap();
    let array = |view: &headwise::models::safetensors::TensorView| {
        (view.name.clone(), Array { shape: view.shape.clone(), values: Values::Float(view.to_f32().unwrap()) })
    };
    file.tensors().map(array).collect()
}

/// A folder with the files of a run.
struct Bench(TempDir);

impl Bench {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn run(&self, spec: &str, input: &Arrays, more: &[&str]) -> Output {
        std::fs::write(self.path("x"), to_safetensors(input)).unwrap();
        let (x, y) = (self.path("x"), self.path("y"));
        headwise(&[&["apply", "--spec", spec, "--input", &x, "--output", &y], more].concat())
    }

    fn apply(&self, spec: &str, input: &Arrays, more: &[&str]) -> Arrays {
        let output = self.run(spec, input, more);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        read(self.path("y").as_ref())
    }

    /// The one line that a failing run prints.
    fn error(&self, spec: &str, input: &Arrays, more: &[&str]) -> String {
        let output = self.run(spec, input, more);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(!Path::new(&self.path("y")).exists(), "a failed run leaves no file");
        text
    }
}

const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const QUERIES: usize = 3;
const KEYS: usize = 5;
const WIDTH: usize = 8;

fn attention_inputs() -> Arrays {
    let shapes = [("query", HEADS, QUERIES), ("key", KV_HEADS, KEYS), ("value", KV_HEADS, KEYS)];
    shapes.iter().map(|&(name, heads, rows)| waves(name, &[1, heads, rows, WIDTH])).collect()
}

/// Output and log-sum-exp by definition.
fn attention(inputs: &Arrays, window: usize) -> (Vec<f64>, Vec<f64>) {
    let [query, key, value] = ["query", "key", "value"].map(|name| floats(inputs, name));
    let row = |x: &[f32], index: usize| -> Vec<f64> { x[index * WIDTH..][..WIDTH].iter().map(|&x| x.into()).collect() };
    let (mut output, mut lse) = (Vec::new(), Vec::new());
    for index in 0..HEADS * QUERIES {
        let (head, position) = (index / QUERIES / (HEADS / KV_HEADS), KEYS - QUERIES + index % QUERIES);
        let query = row(&query, index);
        let weight = |at: usize| {
            let product: f64 = query.iter().zip(row(&key, head * KEYS + at)).map(|(a, b)| a * b).sum();
            if at <= position && position - at < window { (product / (WIDTH as f64).sqrt()).exp() } else { 0.0 }
        };
        let weights: Vec<f64> = (0..KEYS).map(weight).collect();
        let sum: f64 = weights.iter().sum();
        lse.push(sum.ln());
        output.extend((0..WIDTH).map(|channel| {
            let terms = weights.iter().enumerate().map(|(at, weight)| weight * row(&value, head * KEYS + at)[channel]);
            terms.sum::<f64>() / sum
        }));
    }
    (output, lse)
}

#[track_caller]
fn assert_near(found: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (index, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        assert!((f64::from(found) - expected).abs() <= tolerance, "element {index}: {found}, expected {expected}");
    }
}

#[test]
fn attention_is_its_definition() {
    let (bench, inputs) = (Bench::new(), attention_inputs());
    for (spec, window) in [("attention", KEYS), ("attention(window=2)", 2)] {
        let found = bench.apply(spec, &inputs, &[]);
        let (output, lse) = attention(&inputs, window);
        assert_eq!(found["output"].shape, [1, HEADS, QUERIES, WIDTH]);
        assert_near(&floats(&found, "output"), &output, 1e-6);
        assert_near(&floats(&found, "lse"), &lse, 1e-6);
    }
}

/// `Σ output · upstream` of the definition, with one element of an input moved.
fn moved_loss(inputs: &Arrays, name: &str, element: usize, by: f32, upstream: [&[f32]; 2]) -> f64 {
    let mut moved = inputs.clone();
    if let Some(Array { values: Values::Float(values), .. }) = moved.get_mut(name) {
        values[element] += by;
    }
    let (output, lse) = attention(&moved, KEYS);
    let weighed = |values: &[f64], upstream: &[f32]| -> f64 {
        values.iter().zip(upstream).map(|(value, &upstream)| value * f64::from(upstream)).sum()
    };
    weighed(&output, upstream[0]) + weighed(&lse, upstream[1])
}

#[test]
fn gradients_are_finite_differences_of_the_definition() {
    let (bench, inputs) = (Bench::new(), attention_inputs());
    let with_upstream: Arrays = inputs
        .clone()
        .into_iter()
        .chain([waves("grad_output", &[1, HEADS, QUERIES, WIDTH]), waves("grad_lse", &[1, HEADS, QUERIES])])
        .collect();
    let found = bench.apply("attention", &with_upstream, &["--grad"]);
    let (output, lse) = (floats(&with_upstream, "grad_output"), floats(&with_upstream, "grad_lse"));
    for name in ["query", "key", "value"] {
        let step = 1.0 / 1024.0;
        let difference = |element| {
            let [up, down] = [step, -step].map(|by| moved_loss(&inputs, name, element, by, [&output, &lse]));
            (up - down) / f64::from(2.0 * step)
        };
        let gradient = floats(&found, &format!("grad_{name}"));
        let expected: Vec<f64> = (0..gradient.len()).map(difference).collect();
        assert_near(&gradient, &expected, 2e-5);
    }
}

#[test]
fn a_mixer_without_weights_draws_and_writes_them() {
    let bench = Bench::new();
    let input: Arrays = [waves("x", &[2, 3, 16]), waves("grad_output", &[2, 3, 16])].into();
    let spec = "softmax(kv_heads=2, bias=true, qk_norm=true)";
    let found = bench.apply(spec, &input, &["--seed", "3", "--grad"]);
    assert_eq!(found["key.weight"].shape, [8, 16]);
    let weights: Arrays = found
        .iter()
        .filter(|(name, _)| found.contains_key(&format!("grad_{name}")))
        .map(|(name, array)| (name.clone(), array.clone()))
        .collect();
    assert_eq!(weights.len(), 9);
    std::fs::write(bench.path("w"), to_safetensors(&weights)).unwrap();
    let again = bench.apply(spec, &input, &["--weights", &bench.path("w"), "--grad"]);
    assert_eq!(again["output"], found["output"]);
    assert!(!again.contains_key("key.weight"), "given weights are not written again");

    let other = bench.apply(spec, &input, &["--seed", "4"]);
    assert_ne!(other["output"], found["output"]);

    // The output projection is the last step, so `Σ_i grad_output_i output_i = Σ weight · grad_weight`.
    let products = |a: &Arrays, name: &str, b: &Arrays, other: &str| -> f64 {
        let (a, b) = (floats(a, name), floats(b, other));
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(b)).sum()
    };
    let left = products(&found, "output", &input, "grad_output");
    let right = products(&found, "output.weight", &found, "grad_output.weight");
    assert!((left - right).abs() < 1e-5, "{left} and {right}");
}

#[test]
fn scores_rank_tokens_and_have_no_gradient() {
    let bench = Bench::new();
    let shapes = [("query", 4), ("key", 2), ("value", 2), ("query_raw", 4), ("key_raw", 2)];
    let input: Arrays = shapes.iter().map(|&(name, heads)| waves(name, &[2, heads, 6, 8])).collect();
    let found = bench.apply("knorm", &input, &[]);
    assert_eq!(found["score"].shape, [2, 2, 6]);
    let keys = floats(&input, "key");
    let norms = keys.chunks_exact(8).map(|key| -key.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt());
    assert_near(&floats(&found, "score"), &norms.collect::<Vec<_>>(), 1e-6);

    let bench = Bench::new();
    assert!(bench.error("knorm", &input, &["--grad"]).contains("no gradients"));
    assert!(bench.error("int8", &input, &[]).contains("gives no score"));
    assert!(bench.error("snapkv(kernel=4)", &input, &[]).contains("must be odd"));
}

#[test]
fn params_say_what_a_component_takes() {
    let output = headwise(&["params", "--spec", "attention(window=4)"]);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["spec"], "attention(causal=true, window=4, sinks_keep=0)");
    let query = json!({"name": "query", "shape": ["batch", "heads", "queries", "head_dim"], "dtype": "F32"});
    assert_eq!(found["inputs"][0], query);
    assert_eq!(found["inputs"][3]["optional"], true);
    assert_eq!(found["parameters"], json!([]));
    assert_eq!(found["outputs"][0]["name"], "output");

    let output = headwise(&["params", "--spec", "softmax(heads=8, kv_heads=2, head_dim=32)"]);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["parameters"][1], json!({"name": "key.weight", "shape": [64, "dim"], "dtype": "F32"}));
}

#[test]
fn bad_use_is_one_line_that_says_what_is_right() {
    let (bench, good) = (Bench::new(), attention_inputs());
    let without = |name: &str| -> Arrays { good.clone().into_iter().filter(|(other, _)| other != name).collect() };
    let with = |array| -> Arrays { good.clone().into_iter().chain([array]).collect() };
    for (spec, input, more, expected) in [
        ("atention", good.clone(), &[][..], &["unknown component `atention`", "attention", "snapkv"][..]),
        ("attention(windw=2)", good.clone(), &[], &["unknown parameter `windw`", "window"]),
        ("attention(window=0)", good.clone(), &[], &["window=0", "at least 1"]),
        ("attention", without("key"), &[], &["`key` is missing", "[batch, kv_heads, keys, head_dim]"]),
        ("attention", with(waves("sink", &[4])), &[], &["unknown tensor `sink`", "query, key, value, bias"]),
        ("attention", with(waves("key", &[1, 2, 5, 6])), &[], &["`key`", "[1, 2, 5, 6]", "head_dim = 8"]),
        ("attention", with(waves("key", &[2, 5, 8])), &[], &["`key`", "[2, 5, 8]"]),
        ("attention", with(waves("bias", &[1, 3, 1, 5])), &[], &["`bias`", "heads = 4"]),
        ("attention", good.clone(), &["--grad"], &["`grad_output` is missing"]),
        ("attention", with(waves("grad_output", &[1, 4, 3, 7])), &["--grad"], &["`grad_output`", "[1, 4, 3, 8]"]),
        ("attention", good.clone(), &["--weights", "nowhere"], &["nowhere"]),
        ("softmax(heads=3)", [waves("x", &[1, 2, 16])].into(), &[], &["dim = 16", "3"]),
    ] {
        let error = bench.error(spec, &input, more);
        for part in expected {
            assert!(error.contains(part), "{spec}: {part:?} is not in {error}");
        }
    }
    let whole = Array { shape: vec![1, 2, 5, 8], values: Values::Int(vec![0; 80]) };
    let error = bench.error("attention", &with(("key".to_owned(), whole)), &[]);
    assert!(error.contains("`key` is I32") && error.contains("F32, F16, BF16 or F64"), "{error}");
}
