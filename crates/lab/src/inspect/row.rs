//! The rows of an inspection, and the means they are made from.

use serde::{Deserialize, Serialize};

use crate::rows::Envelope;

/// What one head did, as means over all queries; see [the module](super) for the definitions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeadRow {
    /// Name of the model.
    pub model: String,
    /// Tokens of the text.
    pub tokens: usize,
    /// Layer, from 0.
    pub layer: usize,
    /// Query head, from 0.
    pub head: usize,
    /// The key-value head it reads.
    pub kv_head: usize,
    /// The layer's sliding window.
    pub window: Option<usize>,
    /// Entropy in nats.
    pub entropy: f64,
    /// Entropy of a head that looks at all keys it sees evenly.
    pub even_entropy: f64,
    /// Share of attention on the first token, 0–1.
    pub sink: f64,
    /// Share of attention on the first four tokens, 0–1.
    pub first_four: f64,
    /// Distance in tokens.
    pub distance: f64,
    /// Distance of a head that looks at all keys it sees evenly.
    pub even_distance: f64,
    /// Distance of the attention that is not on the first token; `null` where hardly any is left.
    pub distance_of_rest: Option<f64>,
}

impl HeadRow {
    /// Entropy as a share of the largest possible, 0–1.
    pub fn entropy_share(&self) -> f64 {
        if self.even_entropy > 0.0 { self.entropy / self.even_entropy } else { 0.0 }
    }
}

/// A token that drew attention.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenRow {
    /// Where it stands, from 0.
    pub position: usize,
    /// Its text.
    pub text: String,
    /// Its share of the attention of all heads and queries, 0–1.
    pub share: f64,
    /// That share over what even attention would have given it.
    pub times_even: f64,
}

/// All rows, how and where they were made, and the tokens that drew most attention.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InspectReport {
    /// The envelope of every command, with a row per head.
    #[serde(flatten)]
    pub envelope: Envelope<HeadRow>,
    /// Tokens that received most attention, most first.
    pub tokens: Vec<TokenRow>,
}

/// Means of one layer.
#[derive(Clone, Debug)]
pub(super) struct LayerMeans {
    pub layer: usize,
    pub kv_heads: usize,
    pub window: Option<usize>,
    pub heads: Vec<HeadMeans>,
    /// Attention that every token received, summed over heads and queries.
    pub received: Vec<f64>,
    /// The same if all heads looked at everything they see evenly.
    pub received_evenly: Vec<f64>,
}

/// Means of one head over all queries.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HeadMeans {
    entropy: f64,
    /// Weight on keys; less than 1 where a sink logit took some.
    weight: f64,
    distance: f64,
    first: f64,
    first_four: f64,
    /// Of the weight times distance on the first token.
    first_distance: f64,
}

/// Of less attention than this, a mean distance would be noise.
const LEAST_REST: f64 = 1e-3;

impl HeadMeans {
    /// From the extra channels and the entropy of each query.
    pub fn new<'a>(queries: impl Iterator<Item = (&'a [f32], f32)>) -> Self {
        let (mut sums, mut count) = (Self::default(), 0.0);
        for (query, (channels, entropy)) in queries.enumerate() {
            let channel = |index: usize| f64::from(channels[index]);
            let (weight, position, first) = (channel(0), channel(1), channel(2));
            sums.entropy += f64::from(entropy);
            sums.weight += weight;
            sums.distance += weight * query as f64 - position;
            sums.first += first;
            sums.first_four += channel(3);
            sums.first_distance += first * query as f64;
            count += 1.0;
        }
        let Self { entropy, weight, distance, first, first_four, first_distance } = sums;
        let mean = |sum: f64| if count > 0.0 { sum / count } else { 0.0 };
        Self {
            entropy: mean(entropy),
            weight: mean(weight),
            distance: mean(distance),
            first: mean(first),
            first_four: mean(first_four),
            first_distance: mean(first_distance),
        }
    }

    /// Distance of the weight that is not on the first token.
    fn distance_of_rest(&self) -> Option<f64> {
        let rest = self.weight - self.first;
        (rest >= LEAST_REST).then(|| ((self.distance - self.first_distance) / rest).max(0.0))
    }
}

impl LayerMeans {
    /// The rows of the layer's heads.
    pub fn rows(&self, model: &str, tokens: usize) -> impl Iterator<Item = HeadRow> {
        let (even_entropy, even_distance) = even(tokens, self.window);
        let group = self.heads.len() / self.kv_heads.max(1);
        self.heads.iter().enumerate().map(move |(head, means)| HeadRow {
            model: model.to_owned(),
            tokens,
            layer: self.layer,
            head,
            kv_head: head / group.max(1),
            window: self.window,
            entropy: means.entropy,
            even_entropy,
            sink: means.first,
            first_four: means.first_four,
            distance: means.distance.max(0.0),
            even_distance,
            distance_of_rest: means.distance_of_rest(),
        })
    }
}

/// Entropy and distance of a head that looks at all keys it sees evenly.
fn even(tokens: usize, window: Option<usize>) -> (f64, f64) {
    let seen = |query: usize| (query + 1).min(window.unwrap_or(usize::MAX)).max(1) as f64;
    let mean = |value: fn(f64) -> f64| (0..tokens).map(|query| value(seen(query))).sum::<f64>() / tokens.max(1) as f64;
    (mean(f64::ln), mean(|seen| 0.5 * (seen - 1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The extra channels of weights `[queries, keys]`.
    fn channels(weights: &[&[f64]]) -> Vec<[f32; 4]> {
        let sum = |weights: &[f64], factor: fn(usize) -> f64| {
            weights.iter().enumerate().map(|(key, weight)| weight * factor(key)).sum::<f64>() as f32
        };
        let factors: [fn(usize) -> f64; 4] =
            [|_| 1.0, |key| key as f64, |key| f64::from(u8::from(key == 0)), |key| f64::from(u8::from(key < 4))];
        weights.iter().map(|weights| factors.map(|factor| sum(weights, factor))).collect()
    }

    fn means(weights: &[&[f64]]) -> HeadMeans {
        let channels = channels(weights);
        HeadMeans::new(channels.iter().map(|channels| (&channels[..], 0.5)))
    }

    #[test]
    fn means_are_what_the_definitions_say() {
        let means = means(&[&[1.0], &[0.25, 0.75], &[0.5, 0.0, 0.5]]);
        assert!((means.first - 1.75 / 3.0).abs() < 1e-6 && (means.first_four - 1.0).abs() < 1e-6);
        assert!((means.distance - (0.25 + 1.0) / 3.0).abs() < 1e-6, "{means:?}");
        assert!((means.entropy - 0.5).abs() < 1e-6);
        assert_eq!(means.distance_of_rest(), Some(0.0), "what is not on the first token is on the query itself");
    }

    #[test]
    fn the_rest_has_its_own_distance() {
        let looks_one_back = means(&[&[1.0], &[1.0], &[0.6, 0.4], &[0.6, 0.0, 0.4]]);
        let rest = looks_one_back.distance_of_rest().expect("a fifth is left");
        assert!((rest - 1.0).abs() < 1e-6, "{rest}");
        assert_eq!(means(&[&[1.0], &[1.0, 0.0]]).distance_of_rest(), None);
    }

    #[test]
    fn weight_taken_by_a_sink_logit_has_no_distance() {
        let half = means(&[&[0.5], &[0.0, 0.5], &[0.0, 0.5, 0.0]]);
        assert!((half.distance - 0.5 / 3.0).abs() < 1e-6, "{half:?}");
        assert!((half.distance_of_rest().expect("a third is left") - 0.5).abs() < 1e-6);
    }

    #[test]
    fn even_attention_in_closed_form() {
        let (entropy, distance) = even(4, None);
        assert!((entropy - 24f64.ln() / 4.0).abs() < 1e-12 && (distance - 0.75).abs() < 1e-12);
        assert_eq!(even(4, Some(1)), (0.0, 0.0));
        assert_eq!(even(0, None), (0.0, 0.0));
    }
}
