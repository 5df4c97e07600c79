//! Parity with fla's naive recurrences: `tests/golden/linear.*`, made by `oracles/linear.py`.

use std::path::Path;

use headwise_kernels::attention::View4;
use headwise_kernels::linear::{Decay, Dims, Gradients, Inputs, Recurrence, Upstream, backward, forward};
use safetensors::SafeTensors;
use serde_json::Value;

use crate::reference::{assert_close, exact};

/// The tensor of a case, if there is one of that name.
fn find(tensors: &SafeTensors<'_>, case: &Value, name: &str) -> Option<Vec<f32>> {
    let view = tensors.tensor(&format!("{}.{name}", case["name"].as_str().unwrap())).ok()?;
    Some(view.data().chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect())
}

/// `[batch, tokens, heads, width]` as `[batch, heads, tokens, width]`.
fn by_head(data: &[f32], dims: &Dims, width: usize) -> Vec<f32> {
    let view = View4 { data, strides: [dims.tokens * dims.heads * width, width, dims.heads * width] };
    let rows = |batch| (0..dims.heads).flat_map(move |head| (0..dims.tokens).map(move |token| (batch, head, token)));
    (0..dims.batch).flat_map(rows).flat_map(|(b, h, t)| view.row(b, h, t, width).to_vec()).collect()
}

fn check(case: &Value, tensors: &SafeTensors<'_>) {
    let name = case["name"].as_str().unwrap();
    let count = |name: &str| case[name].as_u64().unwrap() as usize;
    let dims = Dims {
        batch: count("batch"),
        heads: count("heads"),
        tokens: count("tokens"),
        key_dim: count("key_dim"),
        value_dim: count("value_dim"),
    };
    let spec =
        Recurrence { scale: case["scale"].as_f64().unwrap() as f32, normalise: case["normalise"].as_bool().unwrap() };
    let tensor = |name: &str| find(tensors, case, name).unwrap_or_else(|| panic!("no {name} in {case}"));
    let view = |data, width| View4::contiguous(data, dims.heads, dims.tokens, width);
    let (query, key, value, d_output) = (tensor("query"), tensor("key"), tensor("value"), tensor("d_output"));
    let (decay, state) = (find(tensors, case, "decay").unwrap_or_default(), find(tensors, case, "state"));
    let inputs = Inputs {
        query: view(&query, dims.key_dim),
        key: view(&key, dims.key_dim),
        value: view(&value, dims.value_dim),
        decay: match case["decay"].as_str().unwrap() {
            "none" => Decay::None,
            "head" => Decay::Head(&decay),
            "token" => Decay::Token(view(&decay, 1)),
            _ => Decay::Channel(view(&decay, dims.key_dim)),
        },
        offsets: &[0, dims.tokens],
        state: state.as_deref(),
    };
    let mut out = vec![f32::NAN; dims.output()];
    let mut states = vec![f32::NAN; inputs.states(&spec, &dims)];
    let mut chunk_states = vec![f32::NAN; inputs.chunk_states(&spec, &dims)];
    forward(&spec, &dims, &inputs, &mut out, &mut states, Some(&mut chunk_states));
    let stride = [dims.tokens * dims.heads * dims.value_dim, dims.value_dim, dims.heads * dims.value_dim];
    let d_out = View4 { data: &d_output, strides: stride };
    let upstream = Upstream { out: &out, chunk_states: &chunk_states, d_out, d_states: None };
    let made = [query.len(), key.len(), value.len(), decay.len(), states.len()].map(|length| vec![f32::NAN; length]);
    let [mut d_query, mut d_key, mut d_value, mut d_decay, mut d_state] = made;
    let gradients = Gradients {
        query: &mut d_query,
        key: &mut d_key,
        value: &mut d_value,
        decay: Some(&mut d_decay),
        state: &mut d_state,
    };
    backward(&spec, &dims, &inputs, &upstream, gradients);

    let compare = |what: &str, found: &[f32]| {
        assert_close(found, &exact(&tensor(what)), 2e-5, &format!("{name}.{what}"));
    };
    compare("output", &out);
    compare("d_query", &by_head(&d_query, &dims, dims.key_dim));
    compare("d_key", &by_head(&d_key, &dims, dims.key_dim));
    compare("d_value", &by_head(&d_value, &dims, dims.value_dim));
    match inputs.decay {
        Decay::None | Decay::Head(_) => {}
        Decay::Token(_) => compare("d_decay", &by_head(&d_decay, &dims, 1)),
        Decay::Channel(_) => compare("d_decay", &by_head(&d_decay, &dims, dims.key_dim)),
    }
    if state.is_some() {
        compare("last_state", &states);
        compare("d_state", &d_state);
    }
}

#[test]
fn every_case_agrees_with_fla() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let bytes = std::fs::read(folder.join("linear.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let list: Value = serde_json::from_slice(&std::fs::read(folder.join("linear.json")).unwrap()).unwrap();
    let cases = list["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 5);
    cases.iter().for_each(|case| check(case, &tensors));
}
