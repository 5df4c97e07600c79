//! ACT: attention is moved away from sinks in the middle of a text.
//!
//! The mean weight of key `j` is `m_j = Σ_i p_ij / n_j`, over the `n_j` rows of the prompt that see it. Keys with `m_j > α / T` are
//! sinks; the first of them, as a rule the first token, is left alone. In every row the weight of the other sinks becomes `β` of
//! what it was, and what this frees goes to the keys that are no sinks, in proportion to their weights. With `σ` the weight of the
//! sinks and `w` what they give to the output `o`, that is
//!
//! `o ← β w + (1 - β σ) / (1 - σ) · (o - w)`,
//!
//! so no other key has to be read again. Yu et al. 2024, arXiv:2406.15765.

use headwise_kernels::attention::AttnSpec;
use headwise_kernels::kv::KeyValues;
use headwise_kernels::kv::saved::{put, put_list, take_count};
use headwise_kernels::{parallel, profile};
use headwise_models::decoder::DecoderSpec;

use super::saved::take_slots;
use super::whole_heads::check_heads;
use super::{LayerStore, PolicyError, StoreShape};

headwise_spec::method! {
    /// Takes attention from tokens that draw it without saying anything, and gives it to the others.
    ///
    /// Such sinks are found in each prompt, from the mean attention that a group of heads gives to a token; they stay what they are
    /// while the answer is written. Nothing is evicted. Which heads gain from it differs between models: without `heads` all of them
    /// take part but those of the first two and the last two layers. Yu et al. 2024, arXiv:2406.15765.
    pub struct Act {
        /// Share of its weight that a sink keeps, 0 to 1; at 1 nothing changes.
        pub beta: f64 = 0.4,
        /// A sink has more than this many times the weight that evenly shared attention would give it over the whole prompt.
        pub alpha: f64 = 5.0,
        /// Rows that must have seen a token before it can be called a sink: every token draws the attention of the next few.
        pub rows: usize = 16,
        /// Query heads that are calibrated, each `[layer, head]`.
        pub heads: Option<Vec<[usize; 2]>> = None,
    }
}

/// Least weight on other keys for which a row is changed: with less there is nobody to give to.
const LEAST_REST: f64 = 1e-3;

/// First and last layers that are left alone unless their heads are named.
const OUTER_LAYERS: usize = 2;

impl Act {
    /// Checks the parameters.
    pub(super) fn check(&self) -> Result<(), PolicyError> {
        let wrong = |text: String| Err(PolicyError::Parameter(text));
        if !(0.0..=1.0).contains(&self.beta) {
            return wrong(format!("`act`: beta={} is not a share: it must be at least 0 and at most 1", self.beta));
        }
        if !(self.alpha.is_finite() && self.alpha >= 1.0) {
            return wrong(format!("`act`: alpha={} calls even attention a sink: it must be at least 1", self.alpha));
        }
        if self.rows == 0 {
            return wrong("`act`: rows=0 judges tokens that no row has seen: it must be at least 1".into());
        }
        Ok(())
    }

    /// Checks the heads against `model`.
    pub(super) fn check_model(&self, model: &DecoderSpec) -> Result<(), PolicyError> {
        check_heads(model, self.heads.as_deref().unwrap_or_default(), "query", |sizes| sizes.heads)
    }

    /// What is calibrated in layer `layer` of `model`, if anything is.
    pub(super) fn of_layer(&self, model: &DecoderSpec, layer: usize) -> Option<Calibration> {
        let shape = StoreShape::of(&model.layers[layer], model.dim);
        let inner = OUTER_LAYERS..model.layers.len().saturating_sub(OUTER_LAYERS);
        let named = |head| match &self.heads {
            Some(heads) => heads.contains(&[layer, head]),
            None => inner.contains(&layer),
        };
        let heads: Vec<bool> = (0..shape.heads).map(named).collect();
        let any = shape.sees_everything() && heads.contains(&true);
        any.then(|| Calibration { act: self.clone(), heads, sinks: Vec::new() })
    }
}

/// The calibration of one layer of one text.
#[derive(Clone, Debug)]
pub(super) struct Calibration {
    act: Act,
    /// Whether each query head takes part.
    heads: Vec<bool>,
    /// Slots of the sinks of every key-value head, ascending, without the first; none before a prompt has been read.
    sinks: Vec<Vec<u32>>,
}

impl Calibration {
    /// Finds the sinks of every key-value head after `tokens` of text; `sums` is the attention that slots have received from
    /// all rows and the `group` query heads.
    fn find<'a>(&mut self, heads: impl Iterator<Item = (&'a KeyValues, &'a [f32])>, tokens: usize, group: usize) {
        let threshold = self.act.alpha / tokens.max(1) as f64;
        let sinks_of = |(pairs, sums): (&KeyValues, &[f32])| {
            let is_sink = |&(_, (position, sum)): &(u32, (&i32, &f32))| {
                let rows = tokens.saturating_sub(*position as usize);
                rows >= self.act.rows && f64::from(*sum) > threshold * (rows * group) as f64
            };
            let slots = (0..).zip(pairs.positions().iter().zip(sums));
            slots.filter(is_sink).map(|(slot, _)| slot).skip(1).collect()
        };
        self.sinks = heads.map(sinks_of).collect();
    }

    /// Memory held.
    pub fn bytes(&self) -> usize {
        self.sinks.iter().map(|sinks| size_of_val(&sinks[..])).sum()
    }

    /// Appends what has been found to `out`.
    pub fn save(&self, out: &mut Vec<u8>) {
        put(out, &[self.sinks.len() as u64]);
        self.sinks.iter().for_each(|sinks| put_list(out, sinks));
    }

    /// Takes what [`Calibration::save`] wrote of the heads `pairs` off the front of `bytes`; `None` if `bytes` are something else.
    pub fn load(&mut self, bytes: &mut &[u8], pairs: &[KeyValues]) -> Option<()> {
        let heads = take_count(bytes, pairs.len()).filter(|&heads| heads == 0 || heads == pairs.len())?;
        self.sinks = pairs[..heads].iter().map(|pairs| take_slots(bytes, pairs)).collect::<Option<_>>()?;
        Some(())
    }

    /// Follows the pairs: the slots `keep` of every key-value head stay.
    pub fn compact(&mut self, keep: &[Vec<u32>]) {
        for (sinks, keep) in self.sinks.iter_mut().zip(keep) {
            *sinks = sinks.iter().filter_map(|sink| keep.binary_search(sink).ok()).map(|slot| slot as u32).collect();
        }
    }

    /// Moves attention in the output `out` `[head_dim]` of `query` `[head_dim]`, a row of text at `position` whose scores have the
    /// log-sum-exp `lse`; `sinks` are the keys and values of the sinks, each with its position.
    fn move_attention(
        &self,
        sinks: &[Sink],
        query: &[f32],
        position: i32,
        lse: f32,
        score: impl Fn(f64, i32) -> f64,
        out: &mut [f32],
    ) {
        let mut weight = 0.0;
        let mut given = vec![0.0; out.len()];
        for sink in sinks.iter().filter(|sink| sink.position <= position) {
            let product: f64 = query.iter().zip(&sink.key).map(|(q, k)| f64::from(*q) * f64::from(*k)).sum();
            let p = (score(product, position - sink.position) - f64::from(lse)).exp();
            weight += p;
            given.iter_mut().zip(&sink.value).for_each(|(sum, v)| *sum += p * f64::from(*v));
        }
        if weight == 0.0 || 1.0 - weight < LEAST_REST {
            return;
        }
        let beta = self.act.beta;
        let rest = (1.0 - beta * weight) / (1.0 - weight);
        for (out, given) in out.iter_mut().zip(given) {
            *out = (beta * given + rest * (f64::from(*out) - given)) as f32;
        }
    }
}

/// The pair of a sink.
struct Sink {
    position: i32,
    key: Vec<f32>,
    value: Vec<f32>,
}

impl LayerStore {
    /// Finds the sinks of the prompt as far as it has been read, if the layer is calibrated.
    pub(crate) fn find_sinks(&mut self) {
        let Some(mut calibration) = self.calibration.take() else { return };
        self.gather();
        let sums = self.statistics().iter().map(|head| &head.column_sums[..]);
        calibration.find(self.pairs().iter().zip(sums), self.tokens(), self.shape().group());
        self.calibration = Some(calibration);
    }

    /// Moves attention away from the sinks in the rows that were appended last: `query` and `out` `[rows, heads · head_dim]`,
    /// `lse` `[rows, heads]`.
    pub(crate) fn calibrate(&self, spec: &AttnSpec, query: &[f32], lse: &[f32], out: &mut [f32]) {
        let Some(calibration) = &self.calibration else { return };
        if calibration.sinks.iter().all(Vec::is_empty) {
            return;
        }
        let _span = profile::span("attention, sinks");
        let StoreShape { heads, head_dim, .. } = self.shape();
        let sinks: Vec<Vec<Sink>> =
            self.pairs().iter().zip(&calibration.sinks).map(|(pairs, slots)| read(pairs, slots, head_dim)).collect();
        let first = self.tokens() - lse.len() / heads;
        let width = heads * head_dim;
        parallel::pieces(out, width, |row, out| {
            let (query, lse) = (&query[row * width..][..width], &lse[row * heads..][..heads]);
            let rows = query.chunks_exact(head_dim).zip(lse).zip(out.chunks_exact_mut(head_dim));
            for (head, ((query, &lse), out)) in rows.enumerate().filter(|(head, _)| calibration.heads[*head]) {
                let slope = spec.alibi.as_ref().map_or(0.0, |slopes| f64::from(slopes[head]));
                let score = |product, distance| spec.score(product) - slope * f64::from(distance);
                let sinks = &sinks[head / self.shape().group()];
                calibration.move_attention(sinks, query, (first + row) as i32, lse, score, out);
            }
        });
    }

    /// Tokens that are sinks of every key-value head, by their positions; empty where nothing is calibrated.
    pub fn sinks(&self) -> Vec<Vec<i32>> {
        let Some(calibration) = &self.calibration else { return Vec::new() };
        let positions = |(pairs, slots): (&KeyValues, &Vec<u32>)| {
            slots.iter().map(|&slot| pairs.positions()[slot as usize]).collect()
        };
        self.pairs().iter().zip(&calibration.sinks).map(positions).collect()
    }
}

/// The pairs of `slots`.
fn read(pairs: &KeyValues, slots: &[u32], head_dim: usize) -> Vec<Sink> {
    let read = |&slot: &u32| {
        let (mut key, mut value) = (vec![0.0; head_dim], vec![0.0; head_dim]);
        pairs.read(slot as usize, &mut key, &mut value);
        Sink { position: pairs.positions()[slot as usize], key, value }
    };
    slots.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calibration(beta: f64) -> Calibration {
        Calibration { act: Act { beta, ..Act::default() }, heads: vec![true], sinks: vec![vec![]] }
    }

    /// Scores, values and sinks of one row; the output and its log-sum-exp, and what the explicit change of weights gives.
    fn row(beta: f64, sink_slots: &[usize]) -> ([f32; 2], f32, [f64; 2]) {
        let keys = [[1.0, 0.5], [0.2, -1.0], [2.0, 0.1], [-0.3, 0.7], [0.9, 1.1f64]];
        let query = [0.8, -0.4];
        let weights: Vec<f64> = keys.iter().map(|k| (query[0] * k[0] + query[1] * k[1]).exp()).collect();
        let total: f64 = weights.iter().sum();
        let p: Vec<f64> = weights.iter().map(|w| w / total).collect();
        let sigma: f64 = sink_slots.iter().map(|&slot| p[slot]).sum();
        let edited = |slot: usize| match sink_slots.contains(&slot) {
            true => beta * p[slot],
            false => p[slot] + (1.0 - beta) * sigma * p[slot] / (1.0 - sigma),
        };
        // Values are the keys turned round.
        let sum = |weight: &dyn Fn(usize) -> f64, channel: usize| {
            keys.iter().enumerate().map(|(slot, key)| weight(slot) * key[1 - channel]).sum::<f64>()
        };
        let edited_sum: f64 = (0..5).map(edited).sum();
        assert!(sink_slots.len() == 5 || (edited_sum - 1.0).abs() < 1e-12, "rows still sum to one");
        let mut out = [0, 1].map(|channel| sum(&|slot| p[slot], channel) as f32);
        let sinks: Vec<Sink> = sink_slots
            .iter()
            .map(|&slot| Sink {
                position: slot as i32,
                key: keys[slot].iter().map(|x| *x as f32).collect(),
                value: [keys[slot][1] as f32, keys[slot][0] as f32].into(),
            })
            .collect();
        let query = query.map(|x| x as f32);
        let lse = total.ln() as f32;
        calibration(beta).move_attention(&sinks, &query, 4, lse, |product, _| product, &mut out);
        (out, lse, [0, 1].map(|channel| sum(&edited, channel)))
    }

    #[test]
    fn the_closed_form_is_the_change_of_weights() {
        for beta in [0.0, 0.4, 1.0] {
            for sinks in [&[][..], &[2], &[0, 2], &[1, 2, 3]] {
                let (found, _, expected) = row(beta, sinks);
                for (found, expected) in found.iter().zip(expected) {
                    assert!((f64::from(*found) - expected).abs() < 1e-6, "{beta} {sinks:?}: {found} {expected}");
                }
            }
        }
    }

    #[test]
    fn a_row_with_nothing_but_sinks_stays() {
        let (found, ..) = row(0.4, &[0, 1, 2, 3, 4]);
        let (before, ..) = row(1.0, &[]);
        assert_eq!(found, before);
    }

    #[test]
    fn sinks_are_found_by_their_mean_and_the_first_is_spared() {
        use headwise_kernels::kv::Codec;
        let mut pairs = KeyValues::new(Codec::F32, 2, 2);
        (0..100).for_each(|position| pairs.append(&[0.0; 2], &[0.0; 2], position));
        // Evenly shared, a token gets 1 / 100 of every row: the threshold is five times that, of two heads.
        let mut sums: Vec<f32> = (0..100).map(|position| 0.02 * (100 - position) as f32).collect();
        sums[0] = 60.0;
        sums[30] = 0.051 * 2.0 * 70.0;
        sums[50] = 0.049 * 2.0 * 50.0;
        sums[90] = 10.0;
        let mut calibration = calibration(0.4);
        calibration.find([(&pairs, &sums[..])].into_iter(), 100, 2);
        assert_eq!(calibration.sinks, [[30]], "token 90 has been seen by ten rows only");
        calibration.compact(&[vec![0, 3, 30, 31]]);
        assert_eq!(calibration.sinks, [[2]]);
        calibration.compact(&[vec![0, 1, 3]]);
        assert!(calibration.sinks[0].is_empty());
    }
}
