//! Attention over whole tensors and its gradients, in f64 and with whole matrices.

use headwise_kernels::attention::{AttnSpec, Dims};

use crate::reference::{Result, Row, random};

/// A bias and how it repeats.
#[derive(Clone)]
pub struct Bias {
    pub data: Vec<f32>,
    pub strides: [usize; 3],
}

/// Inputs and upstream gradients.
#[derive(Clone)]
pub struct Problem {
    pub spec: AttnSpec,
    pub dims: Dims,
    pub query: Vec<f32>,
    pub key: Vec<f32>,
    pub value: Vec<f32>,
    pub bias: Option<Bias>,
    pub d_out: Vec<f32>,
    pub d_lse: Option<Vec<f32>>,
}

/// Gradients in f64; empty where there is no such input.
#[derive(Default)]
pub struct DenseGradients {
    pub query: Vec<f64>,
    pub key: Vec<f64>,
    pub value: Vec<f64>,
    pub bias: Vec<f64>,
    pub slopes: Vec<f64>,
    pub sink_logits: Vec<f64>,
}

impl DenseGradients {
    pub fn named(&self) -> [(&'static str, &[f64]); 6] {
        [
            ("query", &self.query),
            ("key", &self.key),
            ("value", &self.value),
            ("bias", &self.bias),
            ("slopes", &self.slopes),
            ("sink_logits", &self.sink_logits),
        ]
    }
}

impl Problem {
    /// Random tensors; `broadcast` says over which of batch, heads and queries a bias repeats.
    pub fn new(spec: AttnSpec, dims: Dims, broadcast: Option<[bool; 3]>, seed: u64) -> Self {
        let Dims { batch, heads, kv_heads, queries, keys, head_dim, value_dim } = dims;
        let bias = broadcast.map(|broadcast| {
            let (mut strides, mut length) = ([0; 3], keys);
            for (i, count) in [batch, heads, queries].into_iter().enumerate().rev() {
                if !broadcast[i] {
                    (strides[i], length) = (length, length * count);
                }
            }
            Bias { data: random(length, seed + 5), strides }
        });
        Self {
            query: random(batch * heads * queries * head_dim, seed + 1).iter().map(|value| 3.0 * value).collect(),
            key: random(batch * kv_heads * keys * head_dim, seed + 2),
            value: random(batch * kv_heads * keys * value_dim, seed + 3),
            d_out: random(dims.output(), seed + 4),
            d_lse: Some(random(dims.lse(), seed + 6)),
            bias,
            spec,
            dims,
        }
    }

    /// The same with one number of an input changed.
    pub fn moved(&self, name: &str, index: usize, by: f32) -> Self {
        let mut moved = self.clone();
        let per_head = |values: &mut Option<std::sync::Arc<[f32]>>| {
            let mut list = values.as_ref().unwrap().to_vec();
            list[index] += by;
            *values = Some(list.into());
        };
        match name {
            "query" => moved.query[index] += by,
            "key" => moved.key[index] += by,
            "value" => moved.value[index] += by,
            "bias" => moved.bias.as_mut().unwrap().data[index] += by,
            "slopes" => per_head(&mut moved.spec.alibi),
            _ => per_head(&mut moved.spec.sink_logits),
        }
        moved
    }

    fn row(&self, data: &[f32], row: usize, width: usize) -> Vec<f64> {
        data[row * width..][..width].iter().map(|&value| f64::from(value)).collect()
    }

    /// (batch, head, query) of each row, in order.
    fn places(&self) -> impl Iterator<Item = (usize, usize, usize)> + use<> {
        let Dims { batch, heads, queries, .. } = self.dims;
        (0..batch * heads * queries).map(move |row| (row / queries / heads, row / queries % heads, row % queries))
    }

    /// Number of the first key row of a (batch, head).
    fn first_key(&self, batch: usize, head: usize) -> usize {
        (batch * self.dims.kv_heads + head / (self.dims.heads / self.dims.kv_heads)) * self.dims.keys
    }

    fn bias_start(bias: &Bias, batch: usize, head: usize, query: usize) -> usize {
        batch * bias.strides[0] + head * bias.strides[1] + query * bias.strides[2]
    }

    /// The forward pass, `[batch, heads, queries]` rows.
    pub fn rows(&self) -> Vec<Result> {
        let Dims { queries, keys, head_dim, value_dim, .. } = self.dims;
        let run = |(number, (batch, head, query)): (usize, (usize, usize, usize))| {
            let first = self.first_key(batch, head);
            let list = |data, width| (first..first + keys).map(|key| self.row(data, key, width)).collect::<Vec<_>>();
            let bias = self.bias.as_ref().map(|bias| &bias.data[Self::bias_start(bias, batch, head, query)..][..keys]);
            let slot = (keys + query) as isize - queries as isize;
            let row = Row { spec: &self.spec, head, slot, positions: None, bias };
            let mut result = row.attend(
                &self.row(&self.query, number, head_dim),
                &list(&self.key, head_dim),
                &list(&self.value, value_dim),
            );
            result.output.resize(value_dim, 0.0);
            result
        };
        self.places().enumerate().map(run).collect()
    }

    /// `Σ output · d_out + Σ lse · d_lse`.
    pub fn loss(&self) -> f64 {
        let rows = self.rows();
        let out = rows.iter().flat_map(|row| &row.output).zip(&self.d_out).map(|(o, &d)| o * f64::from(d));
        let lse = rows.iter().zip(self.d_lse.iter().flatten()).filter(|(row, _)| row.lse.is_finite());
        out.sum::<f64>() + lse.map(|(row, &d)| row.lse * f64::from(d)).sum::<f64>()
    }

    /// The gradients of `loss`.
    pub fn gradients(&self, rows: &[Result]) -> DenseGradients {
        let Dims { queries, keys, head_dim, value_dim, heads, .. } = self.dims;
        let per_head = |there: bool| vec![0.0; if there { heads } else { 0 }];
        let mut gradients = DenseGradients {
            query: vec![0.0; self.query.len()],
            key: vec![0.0; self.key.len()],
            value: vec![0.0; self.value.len()],
            bias: vec![0.0; self.bias.as_ref().map_or(0, |bias| bias.data.len())],
            slopes: per_head(self.spec.alibi.is_some()),
            sink_logits: per_head(self.spec.sink_logits.is_some()),
        };
        for ((number, (batch, head, query)), row) in self.places().enumerate().zip(rows) {
            let (d_out, position) = (self.row(&self.d_out, number, value_dim), (keys + query) as f64 - queries as f64);
            let d_lse = self.d_lse.as_ref().map_or(0.0, |d_lse| f64::from(d_lse[number]));
            let delta = row.output.iter().zip(&d_out).map(|(o, d)| o * d).sum::<f64>() - d_lse;
            if let Some(logits) = self.spec.sink_logits.as_ref().filter(|_| row.lse.is_finite()) {
                gradients.sink_logits[head] -= (f64::from(logits[head]) - row.lse).exp() * delta;
            }
            for (key, &weight) in row.weights.iter().enumerate().filter(|(_, weight)| **weight > 0.0) {
                let at = self.first_key(batch, head) + key;
                let value = self.row(&self.value, at, value_dim);
                let mut d_score = weight * (value.iter().zip(&d_out).map(|(v, d)| v * d).sum::<f64>() - delta);
                for (c, d) in d_out.iter().enumerate() {
                    gradients.value[at * value_dim + c] += weight * d;
                }
                if let Some(bias) = &self.bias {
                    gradients.bias[Self::bias_start(bias, batch, head, query) + key] += d_score;
                }
                if self.spec.alibi.is_some() {
                    gradients.slopes[head] -= d_score * (position - key as f64).abs();
                }
                if let Some(cap) = self.spec.softcap {
                    d_score *= 1.0 - (row.capped[key] / f64::from(cap)).powi(2);
                }
                let scaled = d_score * f64::from(self.spec.scale);
                for c in 0..head_dim {
                    gradients.query[number * head_dim + c] += scaled * f64::from(self.key[at * head_dim + c]);
                    gradients.key[at * head_dim + c] += scaled * f64::from(self.query[number * head_dim + c]);
                }
            }
        }
        gradients
    }
}
