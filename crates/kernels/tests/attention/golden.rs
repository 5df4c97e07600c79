//! Parity with PyTorch: `tests/golden/attention.*`, made by `oracles/attention.py`.

use std::path::Path;

use headwise_kernels::attention::{
    AttnSpec, Dims, Float, HeadSum, InputGradients, Inputs, Rows, Segment, Shape, Stats, Strided, Upstream, View4,
    View4Mut, backward, column_sums, forward,
};
use safetensors::SafeTensors;
use serde_json::Value;

use crate::inference::{run, wide};
use crate::reference::assert_close;

/// One case of the file.
struct Case<'a> {
    name: &'a str,
    spec: AttnSpec,
    dims: Dims,
    tensors: &'a SafeTensors<'a>,
}

impl<'a> Case<'a> {
    /// The case, or `None` if it asks for what the kernel does not offer: a window to both sides, or queries that do not end
    /// at the last key.
    fn new(case: &'a Value, tensors: &'a SafeTensors<'a>) -> Option<Self> {
        let count = |name: &str| case[name].as_u64().unwrap() as usize;
        let dims = Dims {
            batch: count("batch"),
            heads: count("heads"),
            kv_heads: count("kv_heads"),
            queries: count("queries"),
            keys: count("keys"),
            head_dim: count("head_dim"),
            value_dim: count("head_dim"),
        };
        let causal = case["causal"].as_bool().unwrap();
        let window = case["window"].as_array();
        let offset = dims.keys as i64 - dims.queries as i64;
        let placed = causal || window.is_some() || case["alibi"].as_bool().unwrap();
        if (placed && case["query_offset"].as_i64().unwrap() != offset) || window.is_some_and(|window| window[1] != 0) {
            return None;
        }
        let mut case = Self {
            name: case["name"].as_str().unwrap(),
            spec: AttnSpec {
                scale: case["scale"].as_f64().unwrap() as f32,
                causal,
                window: window.map(|window| window[0].as_u64().unwrap() as usize + 1),
                sinks_keep: count("sinks_keep"),
                softcap: case["softcap"].as_f64().map(|cap| cap as f32),
                want: Stats { lse: true, entropy: true, col_sum: true },
                ..AttnSpec::default()
            },
            dims,
            tensors,
        };
        case.spec.alibi = case.find("slopes").map(Into::into);
        case.spec.sink_logits = case.find("sinks").map(Into::into);
        Some(case)
    }

    fn find(&self, tensor: &str) -> Option<Vec<f32>> {
        let view = self.tensors.tensor(&format!("{}.{tensor}", self.name)).ok()?;
        Some(view.data().chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect())
    }

    fn tensor(&self, tensor: &str) -> Vec<f32> {
        self.find(tensor).unwrap_or_else(|| panic!("no {tensor} in {}", self.name))
    }

    fn compare(&self, tensor: &str, actual: &[f32], tolerance: f64) {
        assert_close(actual, &wide(&self.tensor(tensor)), tolerance, &format!("{}.{tensor}", self.name));
    }

    fn check_training(&self) {
        let Dims { heads, kv_heads, queries, keys, head_dim, .. } = self.dims;
        let (query, key, value) = (self.tensor("query"), self.tensor("key"), self.tensor("value"));
        let (d_out, d_lse, bias) = (self.tensor("d_output"), self.find("d_lse"), self.find("bias"));
        let inputs = Inputs {
            query: View4::contiguous(&query, heads, queries, head_dim),
            key: View4::contiguous(&key, kv_heads, keys, head_dim),
            value: View4::contiguous(&value, kv_heads, keys, head_dim),
            bias: bias.as_ref().map(|bias| View4 { data: bias, strides: [0, queries * keys, keys] }),
        };
        let (mut out, mut lse) = (vec![f32::NAN; self.dims.output()], vec![f32::NAN; self.dims.lse()]);
        let width = head_dim;
        forward(&self.spec, &self.dims, &inputs, View4Mut::heads_first(&mut out, heads, queries, width), &mut lse);
        self.compare("output", &out, 1e-5);
        self.compare("lse", &lse, 1e-5);
        let [out, d_out] = [&out, &d_out].map(|data| View4::contiguous(data, heads, queries, width));
        let upstream = Upstream { out, lse: &lse, d_out, d_lse: d_lse.as_deref() };
        let mut found = [query.len(), key.len(), value.len()].map(|length| vec![f32::NAN; length]);
        let [d_query, d_key, d_value] = &mut found;
        let of_inputs = InputGradients {
            query: View4Mut::heads_first(d_query, heads, queries, width),
            key: View4Mut::heads_first(d_key, kv_heads, keys, width),
            value: View4Mut::heads_first(d_value, kv_heads, keys, width),
        };
        let gradients = backward(&self.spec, &self.dims, &inputs, &upstream, of_inputs, true);
        for (name, gradient) in ["d_query", "d_key", "d_value"].into_iter().zip(&found) {
            self.compare(name, gradient, 1e-4);
        }
        for (name, gradient) in
            [("d_bias", gradients.bias), ("d_slopes", gradients.slopes), ("d_sinks", gradients.sink_logits)]
        {
            assert_eq!(gradient.is_some(), self.find(name).is_some(), "{}.{name}", self.name);
            if let Some(gradient) = gradient {
                self.compare(name, &gradient, 1e-4);
            }
        }
    }

    /// Each batch as a sequence; golden rows are `[batch, heads, tokens]`, those of inference `[tokens, heads]`.
    fn check_inference(&self) {
        let Dims { batch, heads, kv_heads, queries, keys, head_dim, .. } = self.dims;
        let shape = Shape { heads, kv_heads, head_dim, value_dim: head_dim };
        let (query, key, value) = (self.tensor("query"), self.tensor("key"), self.tensor("value"));
        let (mut out, mut lse, mut entropy, mut sums) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let turned = |data: &[f32], outer: usize, inner: usize, width: usize| -> Vec<f32> {
            (0..outer * inner).flat_map(|i| data[(i % outer * inner + i / outer) * width..][..width].to_vec()).collect()
        };
        for b in 0..batch {
            let query = turned(&query[b * heads * queries * head_dim..], heads, queries, head_dim);
            let head = |data: &'_ [f32], head: usize| (b * kv_heads + head) * keys * head_dim..data.len();
            let rows = |data, head_index| {
                let range = head(data, head_index);
                Strided { rows: keys, ..Strided::contiguous(&data[range], head_dim) }
            };
            let sources: Vec<Float<'_>> = (0..kv_heads)
                .map(|h| Float { keys: rows(&key, h), values: rows(&value, h), positions: None })
                .collect();
            let segment = Segment { rows: 0..queries, heads: &sources[..] };
            let (part, stats) = run(&self.spec, shape, &query, std::slice::from_ref(&segment));
            let mut part_sums = vec![vec![0.0; shape.group() * keys]; kv_heads];
            let view = Rows { data: &query, stride: heads * head_dim };
            column_sums(&self.spec, shape, view, &segment, &stats.lse, HeadSum::Each, &mut part_sums);
            out.extend(turned(&part, queries, heads, head_dim));
            lse.extend(turned(&stats.lse, queries, heads, 1));
            entropy.extend(turned(&stats.entropy, queries, heads, 1));
            sums.extend(part_sums.into_iter().flatten());
        }
        self.compare("output", &out, 1e-5);
        self.compare("lse", &lse, 1e-5);
        self.compare("entropy", &entropy, 1e-5);
        self.compare("column_sum", &sums, 1e-5);
    }
}

#[test]
fn equals_pytorch() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let bytes = std::fs::read(folder.join("attention.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let json: Value = serde_json::from_slice(&std::fs::read(folder.join("attention.json")).unwrap()).unwrap();
    let mut left_out = Vec::new();
    for case in json["cases"].as_array().unwrap() {
        let Some(case) = Case::new(case, &tensors) else {
            left_out.push(case["name"].as_str().unwrap());
            continue;
        };
        case.check_training();
        // The bias belongs to training only.
        if case.find("bias").is_none() {
            case.check_inference();
        }
    }
    assert_eq!(left_out, ["window_both_sides", "alibi_both_sides"]);
}
