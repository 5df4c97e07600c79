//! A cache written out naively in f64: one slot after the other, nothing shared with the engine.

use burn::tensor::Device;
use headwise_kernels::attention::AttnSpec;
use headwise_kernels::rope::Rope;
use headwise_models::decoder::Decoder;
use headwise_nn::mixer::{LayerCache, MixContext, Projected, Segment};

/// What leaves a head.
#[derive(Clone, Copy)]
pub enum Rule {
    /// H2O: the pair with the least attention so far, but none of the most recent half.
    LeastAttention { budget: usize },
    /// StreamingLLM: the oldest pair after the sinks; keys count from zero, the query stands at the end.
    Oldest { budget: usize, sinks: usize },
}

#[derive(Clone)]
struct Slot {
    position: i32,
    raw_key: Vec<f64>,
    value: Vec<f64>,
    attention: f64,
}

/// Slots of every layer and key-value head.
pub struct NaiveCache {
    rule: Rule,
    layers: Vec<Vec<Vec<Slot>>>,
    tokens: usize,
}

impl NaiveCache {
    pub fn new(rule: Rule, layers: usize, kv_heads: usize) -> Self {
        Self { rule, layers: vec![vec![Vec::new(); kv_heads]; layers], tokens: 0 }
    }

    /// The positions held, of every layer and head.
    pub fn positions(&self) -> Vec<Vec<Vec<i32>>> {
        let head = |slots: &Vec<Slot>| slots.iter().map(|slot| slot.position).collect();
        self.layers.iter().map(|heads| heads.iter().map(head).collect()).collect()
    }

    /// Runs `decoder` on `ids`, then lets pairs leave; returns the scores after the last token.
    pub fn forward(&mut self, decoder: &Decoder, ids: &[u32]) -> Vec<f32> {
        let device = Device::flex();
        let positions: Vec<i32> = (self.tokens..self.tokens + ids.len()).map(|position| position as i32).collect();
        let segments = [Segment { sequence: 0, rows: 0..ids.len() }];
        let mut x = decoder.embed(ids, &positions, &device);
        for layer in 0..decoder.blocks.len() {
            let mut ctx = MixContext { layer, cache: Some(self), ..MixContext::new(&positions, &segments) };
            x = decoder.layer(layer, x, &mut ctx);
        }
        self.tokens += ids.len();
        let rule = self.rule;
        self.layers.iter_mut().flatten().for_each(|slots| evict(slots, rule));
        decoder.head(x, &[ids.len() - 1]).into_data().try_into_vec().unwrap()
    }
}

fn evict(slots: &mut Vec<Slot>, rule: Rule) {
    let budget = match rule {
        Rule::LeastAttention { budget } | Rule::Oldest { budget, .. } => budget,
    };
    while slots.len() > budget {
        let victim = match rule {
            Rule::Oldest { sinks, .. } => sinks,
            Rule::LeastAttention { .. } => {
                // The recent ones are counted among those that stay.
                let old = 0..slots.len() - budget.div_ceil(2);
                old.rev().min_by(|&a, &b| slots[a].attention.total_cmp(&slots[b].attention)).unwrap()
            }
        };
        slots.remove(victim);
    }
}

fn rotate(x: &[f64], inv_freq: &[f32], position: f64) -> Vec<f64> {
    let (half, mut turned) = (inv_freq.len(), x.to_vec());
    for (i, frequency) in inv_freq.iter().enumerate() {
        let (sin, cos) = (position * f64::from(*frequency)).sin_cos();
        turned[i] = x[i] * cos - x[i + half] * sin;
        turned[i + half] = x[i + half] * cos + x[i] * sin;
    }
    turned
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

impl LayerCache for NaiveCache {
    fn attend(
        &mut self,
        layer: usize,
        projected: Projected<'_>,
        rope: Option<&Rope>,
        spec: &AttnSpec,
        positions: &[i32],
        _: &[Segment],
        out: &mut [f32],
    ) {
        let Projected { heads, kv_heads, head_dim, .. } = projected;
        let group = heads / kv_heads;
        let inv_freq = rope.expect("the model rotates").inv_freq();
        for (row, &position) in positions.iter().enumerate() {
            for kv_head in 0..kv_heads {
                let slots = &mut self.layers[layer][kv_head];
                let channels = (row * kv_heads + kv_head) * head_dim..(row * kv_heads + kv_head + 1) * head_dim;
                let (raw_key, value) = (wide(&projected.key[channels.clone()]), wide(&projected.value[channels]));
                slots.push(Slot { position, raw_key, value, attention: 0.0 });
                let last = slots.len() - 1;
                let place = |slot: usize, position: i32| match self.rule {
                    Rule::Oldest { .. } => slot as f64,
                    Rule::LeastAttention { .. } => f64::from(position),
                };
                for head in kv_head * group..(kv_head + 1) * group {
                    let channels = (row * heads + head) * head_dim..(row * heads + head + 1) * head_dim;
                    let query = rotate(&wide(&projected.query[channels.clone()]), inv_freq, place(last, position));
                    let score = |(index, slot): (usize, &Slot)| {
                        let key = rotate(&slot.raw_key, inv_freq, place(index, slot.position));
                        (f64::from(spec.scale) * query.iter().zip(&key).map(|(a, b)| a * b).sum::<f64>()).exp()
                    };
                    let weights: Vec<f64> = slots.iter().enumerate().map(score).collect();
                    let sum: f64 = weights.iter().sum();
                    let mut mixed = vec![0.0; head_dim];
                    for (slot, weight) in slots.iter_mut().zip(weights) {
                        slot.attention += weight / sum;
                        mixed.iter_mut().zip(&slot.value).for_each(|(mixed, value)| *mixed += weight / sum * value);
                    }
                    out[channels].iter_mut().zip(mixed).for_each(|(out, mixed)| *out = mixed as f32);
                }
            }
        }
    }
}
