//! What the rows of an inspection say, in a paragraph.

use super::HeadRow;
use crate::rows::quantity::{count, rate};

/// A head with a larger share of attention on the first token counts as one that has an attention sink (Gu et al. 2024,
/// arXiv:2410.10781).
pub const SINK_HEAD: f64 = 0.3;

/// Within so many tokens on average, a head looks at its neighbourhood.
const NEAR: f64 = 16.0;

/// Counts and means over all heads.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    heads: usize,
    tokens: usize,
    /// Heads with an attention sink.
    pub sink_heads: usize,
    /// Mean share on the first token.
    pub sink: f64,
    /// Mean share on the first four tokens.
    pub first_four: f64,
    /// Heads whose attention beyond the first token stays near.
    pub near_heads: usize,
    /// Heads whose attention beyond the first token lies farther back than even attention would.
    pub far_heads: usize,
    /// Median over heads of `exp(entropy)`: keys that evenly shared attention would have.
    pub keys: f64,
}

impl Reading {
    /// Of `rows`; none of no rows.
    pub fn new(rows: &[HeadRow]) -> Option<Self> {
        let first = rows.first()?;
        let mean = |value: fn(&HeadRow) -> f64| rows.iter().map(value).sum::<f64>() / rows.len() as f64;
        let heads = |condition: fn(&HeadRow) -> bool| rows.iter().filter(|row| condition(row)).count();
        let mut keys: Vec<f64> = rows.iter().map(|row| row.entropy.exp()).collect();
        keys.sort_by(f64::total_cmp);
        Some(Self {
            heads: rows.len(),
            tokens: first.tokens,
            sink_heads: heads(|row| row.sink > SINK_HEAD),
            sink: mean(|row| row.sink),
            first_four: mean(|row| row.first_four),
            near_heads: heads(|row| row.distance_of_rest.is_some_and(|distance| distance < NEAR)),
            far_heads: heads(|row| row.distance_of_rest.is_some_and(|distance| distance > row.even_distance)),
            keys: 0.5 * (keys[(keys.len() - 1) / 2] + keys[keys.len() / 2]),
        })
    }
}

impl std::fmt::Display for Reading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { heads, tokens, sink_heads, near_heads, far_heads, .. } = *self;
        let percent = |share: f64| format!("{:.0} %", 100.0 * share);
        let look = |heads: usize| if heads == 1 { "1 head looks".to_owned() } else { format!("{heads} heads look") };
        let (near, far) = (look(near_heads), look(far_heads));
        write!(
            f,
            "Over {} tokens, {sink_heads} of {heads} heads put more than {} of their attention on the first token; the mean head \
             puts {} there and {} on the first four, so a cache must keep these. Of the attention that goes elsewhere, {near} \
             less than {NEAR} tokens back on average, which a sliding window covers; {far} farther back than attention \
             spread evenly would: old tokens matter most there. The median head's entropy is that of {} keys shared evenly.",
            count(tokens),
            percent(SINK_HEAD),
            percent(self.sink),
            percent(self.first_four),
            rate(self.keys),
        )
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A head with these figures over 100 tokens.
    pub fn head(layer: usize, head: usize, entropy: f64, sink: f64, rest: Option<f64>) -> HeadRow {
        HeadRow {
            model: "toy".into(),
            tokens: 100,
            layer,
            head,
            kv_head: head / 2,
            window: None,
            entropy,
            even_entropy: 3.6,
            sink,
            first_four: sink,
            distance: 20.0,
            even_distance: 24.75,
            distance_of_rest: rest,
        }
    }

    #[test]
    fn counts_heads_by_what_they_do() {
        let rows = [
            head(0, 0, 0.0, 0.0, Some(1.0)),
            head(0, 1, 1.0, 0.9, None),
            head(0, 2, 3.0, 0.31, Some(40.0)),
            head(0, 3, 2.0, 0.3, Some(20.0)),
        ];
        let reading = Reading::new(&rows).expect("rows");
        assert_eq!((reading.sink_heads, reading.near_heads, reading.far_heads), (2, 1, 1));
        assert!((reading.keys - 0.5 * (1f64.exp() + 2f64.exp())).abs() < 1e-12);
        let text = reading.to_string();
        assert!(text.starts_with("Over 100 tokens, 2 of 4 heads put more than 30 %"), "{text}");
        assert!(text.contains("1 head looks less than 16 tokens back"), "{text}");
        assert_eq!(Reading::new(&[]), None);
    }
}
