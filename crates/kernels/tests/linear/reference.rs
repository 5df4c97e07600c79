//! The definition: one token after the other, in f64, and its adjoint.

use headwise_kernels::attention::View4;
use headwise_kernels::linear::{Decay, Dims, Gradients, Inputs, Recurrence, Upstream, backward, forward, steps};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Which decay a case has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    None,
    Head,
    Token,
    Channel,
}

/// All kinds.
pub const KINDS: [Kind; 4] = [Kind::None, Kind::Head, Kind::Token, Kind::Channel];

/// Inputs and gradients of the results, all in the order `[batch, heads, tokens, width]`.
#[derive(Clone, Debug)]
pub struct Case {
    pub spec: Recurrence,
    pub dims: Dims,
    pub kind: Kind,
    pub offsets: Vec<usize>,
    pub query: Vec<f32>,
    pub key: Vec<f32>,
    pub value: Vec<f32>,
    pub decay: Vec<f32>,
    pub state: Vec<f32>,
    pub d_out: Vec<f32>,
    pub d_states: Vec<f32>,
}

/// `count` numbers in `low..high`.
pub fn random(count: usize, low: f32, high: f32, seed: u64) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| random.random_range(low..high)).collect()
}

impl Case {
    /// A case whose log-decays are at most 0 and around `strength`.
    pub fn new(spec: Recurrence, dims: Dims, kind: Kind, offsets: &[usize], strength: f32, seed: u64) -> Self {
        let Dims { batch, heads, tokens, key_dim, value_dim } = dims;
        let rows = batch * heads * tokens;
        let states = batch * (offsets.len() - 1) * heads * dims.state(&spec);
        let decays = match kind {
            Kind::None => 0,
            Kind::Head => heads,
            Kind::Token => rows,
            Kind::Channel => rows * key_dim,
        };
        // A normaliser divides by a sum that must stay away from zero.
        let low = if spec.normalise { 0.1 } else { -1.0 };
        Self {
            spec,
            dims,
            kind,
            offsets: offsets.to_vec(),
            query: random(rows * key_dim, low, 1.0, seed),
            key: random(rows * key_dim, low, 1.0, seed + 1),
            value: random(rows * value_dim, -1.0, 1.0, seed + 2),
            decay: random(decays, 1.0, 2.0, seed + 3).into_iter().map(|x| x * strength).collect(),
            state: random(states, low, 1.0, seed + 4),
            d_out: random(rows * value_dim, -1.0, 1.0, seed + 5),
            d_states: random(states, -1.0, 1.0, seed + 6),
        }
    }

    /// The inputs as the kernels take them.
    pub fn inputs(&self) -> Inputs<'_> {
        let view = |data, width| View4::contiguous(data, self.dims.heads, self.dims.tokens, width);
        Inputs {
            query: view(&self.query, self.dims.key_dim),
            key: view(&self.key, self.dims.key_dim),
            value: view(&self.value, self.dims.value_dim),
            decay: match self.kind {
                Kind::None => Decay::None,
                Kind::Head => Decay::Head(&self.decay),
                Kind::Token => Decay::Token(view(&self.decay, 1)),
                Kind::Channel => Decay::Channel(view(&self.decay, self.dims.key_dim)),
            },
            offsets: &self.offsets,
            state: Some(&self.state),
        }
    }

    /// Output `[batch, tokens, heads, value_dim]`, last states, states of chunks.
    pub fn forward(&self) -> [Vec<f32>; 3] {
        let (dims, inputs) = (&self.dims, self.inputs());
        let mut out = vec![f32::NAN; dims.output()];
        let mut states = vec![f32::NAN; inputs.states(&self.spec, dims)];
        let mut chunks = vec![f32::NAN; inputs.chunk_states(&self.spec, dims)];
        forward(&self.spec, dims, &inputs, &mut out, &mut states, Some(&mut chunks));
        [out, states, chunks]
    }

    /// Output `[batch, tokens, heads, value_dim]` and last states, token by token.
    pub fn steps(&self) -> [Vec<f32>; 2] {
        let mut states = self.state.clone();
        let mut out = vec![f32::NAN; self.dims.output()];
        let mut each: Vec<&mut [f32]> =
            states.chunks_exact_mut(self.dims.heads * self.dims.state(&self.spec)).collect();
        steps(&self.spec, &self.dims, &self.inputs(), &mut each, &mut out);
        [out, states]
    }

    /// The gradients of query, key, value, decay and states.
    pub fn backward(&self) -> [Vec<f32>; 5] {
        let [out, _, chunk_states] = self.forward();
        let d_out = View4::contiguous(&self.d_out, self.dims.heads, self.dims.tokens, self.dims.value_dim);
        let upstream = Upstream { out: &out, chunk_states: &chunk_states, d_out, d_states: Some(&self.d_states) };
        let fields = [&self.query, &self.key, &self.value, &self.decay, &self.state];
        let mut found = fields.map(|field| vec![f32::NAN; field.len()]);
        let [query, key, value, decay, state] = &mut found;
        let gradients = Gradients { query, key, value, decay: Some(decay), state };
        backward(&self.spec, &self.dims, &self.inputs(), &upstream, gradients);
        found
    }

    /// A tensor `[batch, heads, tokens, width]` in the order `[batch, tokens, heads, width]`.
    pub fn by_token<T: Copy>(&self, data: &[T], width: usize) -> Vec<T> {
        let Dims { batch, heads, tokens, .. } = self.dims;
        let mut out = Vec::with_capacity(data.len());
        for (b, t, h) in indices([batch, tokens, heads]) {
            out.extend(&data[((b * heads + h) * tokens + t) * width..][..width]);
        }
        out
    }
}

/// All triples, the last index fastest.
pub fn indices([a, b, c]: [usize; 3]) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..a * b * c).map(move |i| (i / c / b, i / c % b, i % c))
}

/// What the definition gives, in f64.
#[derive(Debug, Default)]
pub struct Exact {
    /// `[batch, heads, tokens, value_dim]`
    pub out: Vec<f64>,
    pub states: Vec<f64>,
    pub d_query: Vec<f64>,
    pub d_key: Vec<f64>,
    pub d_value: Vec<f64>,
    pub d_decay: Vec<f64>,
    pub d_state: Vec<f64>,
}

/// The numbers in f64.
pub fn exact(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

/// Results and gradients by the recurrence itself.
pub fn definition(case: &Case) -> Exact {
    let Dims { batch, heads, tokens, key_dim, value_dim } = case.dims;
    let normalise = case.spec.normalise;
    let (columns, scale) = (value_dim + usize::from(normalise), f64::from(case.spec.scale));
    let [query, key, value, decay, state, d_out, d_states] =
        [&case.query, &case.key, &case.value, &case.decay, &case.state, &case.d_out, &case.d_states].map(|x| exact(x));
    let zeros = |like: &[f64]| vec![0.0; like.len()];
    let mut found = Exact {
        out: zeros(&d_out),
        states: zeros(&state),
        d_query: zeros(&query),
        d_key: zeros(&key),
        d_value: zeros(&value),
        d_decay: zeros(&decay),
        d_state: zeros(&state),
    };
    let log = |row: usize, head: usize, f: usize| match case.kind {
        Kind::None => None,
        Kind::Head => Some(head),
        Kind::Token => Some(row),
        Kind::Channel => Some(row * key_dim + f),
    };
    for (b, n, h) in indices([batch, case.offsets.len() - 1, heads]) {
        let place = ((b * (case.offsets.len() - 1) + n) * heads + h) * key_dim * columns;
        let row_of = |t: usize| (b * heads + h) * tokens + t;
        let factor = |t: usize, f: usize| log(row_of(t), h, f).map_or(1.0, |i| decay[i].exp());
        let values_of = |t: usize| {
            let mut values = value[row_of(t) * value_dim..][..value_dim].to_vec();
            values.resize(columns, 1.0);
            values
        };
        // All states, the first before the first token.
        let sequence = case.offsets[n]..case.offsets[n + 1];
        let mut states = vec![state[place..][..key_dim * columns].to_vec()];
        let mut read = Vec::new();
        for t in sequence.clone() {
            let (row, values) = (row_of(t), values_of(t));
            let mut next = states.last().unwrap().clone();
            let mut sums = vec![0.0; columns];
            for (f, c) in (0..key_dim).flat_map(|f| (0..columns).map(move |c| (f, c))) {
                let element = &mut next[f * columns + c];
                *element = factor(t, f) * *element + key[row * key_dim + f] * values[c];
                sums[c] += scale * query[row * key_dim + f] * *element;
            }
            let divisor = if normalise { sums[value_dim] + 1e-10 } else { 1.0 };
            for (out, sum) in found.out[row * value_dim..].iter_mut().zip(&sums[..value_dim]) {
                *out = sum / divisor;
            }
            states.push(next);
            read.push(divisor);
        }
        found.states[place..][..key_dim * columns].copy_from_slice(states.last().unwrap());
        // The adjoint of the state, from the last token to the first.
        let mut adjoint = d_states[place..][..key_dim * columns].to_vec();
        for (i, t) in sequence.enumerate().rev() {
            let (row, values, divisor) = (row_of(t), values_of(t), read[i]);
            let mut d_sums: Vec<f64> = (0..value_dim).map(|c| d_out[row * value_dim + c] / divisor).collect();
            if normalise {
                let dot: f64 = (0..value_dim).map(|c| d_sums[c] * found.out[row * value_dim + c]).sum();
                d_sums.push(-dot);
            }
            let (before, after) = (&states[i], &states[i + 1]);
            for (f, c) in (0..key_dim).flat_map(|f| (0..columns).map(move |c| (f, c))) {
                let (at, channel) = (f * columns + c, row * key_dim + f);
                found.d_query[channel] += scale * after[at] * d_sums[c];
                adjoint[at] += scale * query[channel] * d_sums[c];
                found.d_key[channel] += adjoint[at] * values[c];
                if c < value_dim {
                    found.d_value[row * value_dim + c] += adjoint[at] * key[channel];
                }
                if let Some(i) = log(row, h, f) {
                    found.d_decay[i] += adjoint[at] * factor(t, f) * before[at];
                }
                adjoint[at] *= factor(t, f);
            }
        }
        found.d_state[place..][..key_dim * columns].copy_from_slice(&adjoint);
    }
    found
}

/// Asserts that the largest difference is at most `tolerance` of the largest expected number.
pub fn assert_close(found: &[f32], expected: &[f64], tolerance: f64, what: &str) {
    assert_within(found, expected, tolerance, 1e-12, what);
}

/// As [`assert_close`], with the largest number at least `floor`.
pub fn assert_within(found: &[f32], expected: &[f64], tolerance: f64, floor: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}: length");
    let largest = expected.iter().fold(floor, |largest, value| largest.max(value.abs()));
    for (i, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(found) - expected).abs();
        assert!(error <= tolerance * largest, "{what}[{i}]: {found}, expected {expected} (largest {largest})");
    }
}
