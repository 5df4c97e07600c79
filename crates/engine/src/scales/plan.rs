//! A plan: slots of every layer for every scale, carried out while pictures are drawn.

use headwise_models::next_scale::{Attended, CompressesScales, Kept, NextScaleSpec};

use super::select::Selection;
use super::selectivity::for_heads;

/// Slots of every layer for every scale, and how they are chosen.
#[derive(Clone, Debug)]
pub struct ScalePlan {
    /// By the scale that is entered, then layer; none keeps all.
    slots: Vec<Option<Vec<usize>>>,
    selection: Selection,
}

impl ScalePlan {
    /// `slots` by the scale that is *entered*, then layer; none keeps all.
    pub fn new(slots: Vec<Option<Vec<usize>>>, selection: Selection) -> Self {
        Self { slots, selection }
    }

    /// Slots of each head of the layers when `scale` is entered; none keeps all.
    pub fn slots(&self, scale: usize) -> Option<&[usize]> {
        self.slots.get(scale)?.as_deref()
    }

    /// The most that the caches of a model of `spec` hold between two scales, in bytes, for `rows` rows: keys and values of all layers and
    /// heads. A layer that has let slots go holds its budget and no more until a map is added.
    pub fn held_bytes(&self, spec: &NextScaleSpec, rows: usize) -> u64 {
        let mut held = vec![0; spec.layers];
        let mut most = 0;
        for scale in 1..spec.scales.len() {
            for (layer, held) in held.iter_mut().enumerate() {
                *held += spec.scales[scale - 1].pow(2);
                if let Some(slots) = self.slots(scale) {
                    *held = slots[layer].min(*held);
                }
            }
            most = most.max(held.iter().sum::<usize>());
        }
        (2 * rows * most * spec.dim * size_of::<f32>()) as u64
    }
}

impl CompressesScales for ScalePlan {
    fn attended(&mut self, seen: &Attended<'_>) -> Option<Kept> {
        // Budgets are of the scale that comes next.
        let budget = self.slots(seen.scale + 1)?[seen.layer];
        let [_, heads, slots, _] = seen.key.dims();
        if slots <= budget {
            return None;
        }
        let side = seen.scales[seen.scale];
        let mut kept = Vec::with_capacity(seen.pictures * heads * budget);
        for_heads(seen, |head| kept.extend(self.selection.slots(head, side, budget)));
        Some(Kept { per_head: budget, slots: kept })
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use headwise_models::next_scale::{Choice, Drawing, KeepEverything, NextScale};

    use super::super::ScalePolicy;
    use super::*;

    fn policy(text: &str) -> ScalePolicy {
        headwise_spec::from_text(text).unwrap()
    }

    fn spec() -> NextScaleSpec {
        NextScaleSpec { dim: 24, heads: 3, ..NextScaleSpec::micro(&[1, 2, 4, 8], 5) }
    }

    #[test]
    fn the_family_keeps_its_promises() {
        headwise_spec::check_family::<ScalePolicy>();
    }

    #[test]
    fn wrong_policies_are_refused_with_what_is_right() {
        let refused = |text: &str| policy(text).check().unwrap_err().to_string();
        assert!(refused("scalekv").contains("neither is given"));
        assert!(refused("uniform(keep=0.5, budget=3)").contains("both are given"));
        assert!(refused("scalekv(keep=1.5)").contains("keep=1.5 must be above 0 and at most 1"));
        assert!(refused("scalekv(budget=5, kernel=4)").contains("kernel=4 must be odd"));
        assert!(refused("scalekv(budget=5, delta=2)").contains("delta=2 must be from 0 to 1"));
        assert!(refused("uniform(budget=5, grid=0)").contains("grid=0"));
        assert!(headwise_spec::from_text::<ScalePolicy>("scalekv(rule=paper)").is_err());
    }

    #[test]
    fn plans_have_the_total_of_uniform_and_touch_no_small_cache() {
        let indices = vec![vec![1.0; 4], vec![1.0; 4], vec![1.0; 4], vec![0.9, 0.2, 0.9, 0.9]];
        let plan = policy("scalekv(keep=0.25)").plan(&spec(), &indices).unwrap();
        // Histories are 1, 5 and 21: with 5 slots only the last scale is compressed.
        assert_eq!([0, 1, 2].map(|scale| plan.slots(scale)), [None; 3]);
        assert_eq!(plan.slots(3), Some(&[2, 14, 2, 2][..]));
        let uniform = policy("uniform(keep=0.25)").plan(&spec(), &[]).unwrap();
        assert_eq!(uniform.slots(3), Some(&[5; 4][..]));
        assert_eq!(plan.held_bytes(&spec(), 2), uniform.held_bytes(&spec(), 2));
        assert_eq!(uniform.held_bytes(&spec(), 2), 2 * 2 * 20 * 24 * 4);
    }

    /// The plan of a model as large as the published one, with its two drafters, has its table.
    #[test]
    fn the_published_plan_comes_out_whole() {
        let scales = vec![1, 2, 4, 6, 8, 12, 16, 20, 24, 32, 40, 48, 64];
        let spec = NextScaleSpec { layers: 32, scales, ..NextScaleSpec::micro(&[1, 2], 5) };
        let layers = |scale: usize| {
            let drafts = |layer: usize| layer == 0 && scale > 7 || layer == 23 && (8..12).contains(&scale);
            (0..32).map(|layer| if drafts(layer) { 0.1 } else { 0.9 }).collect::<Vec<f64>>()
        };
        let indices: Vec<Vec<f64>> = (0..13).map(layers).collect();
        let plan = policy("scalekv(budget=650, drafters=9)").plan(&spec, &indices).unwrap();
        assert!((0..8).all(|scale| plan.slots(scale).is_none()));
        let slots = |layer: usize| (8..13).map(|scale| plan.slots(scale).unwrap()[layer]).collect::<Vec<_>>();
        assert_eq!(slots(0), [920, 1490, 2510, 4100, 6385]);
        assert_eq!(slots(23), [920, 1490, 2510, 4100, 465]);
        assert_eq!(slots(7), [632, 594, 526, 420, 465]);
    }

    #[test]
    fn a_budget_of_everything_changes_no_bit_and_a_small_one_is_met_to_the_byte() {
        let model = NextScale::random(spec(), &Device::flex()).unwrap();
        let drawing = Drawing { classes: vec![0, 4], guidance: 1.5, choice: Choice::DRAW, seed: 5 };
        let calibration = ScalePolicy::calibration(5, 1);
        let full = model.draw(&drawing, &mut KeepEverything).unwrap();
        for text in ["scalekv(keep=1)", "uniform(budget=21)"] {
            let mut plan = policy(text).prepare(&model, &calibration).unwrap();
            let drawn = model.draw(&drawing, &mut plan).unwrap();
            assert_eq!(drawn.scores, full.scores);
            assert_eq!(drawn.bytes, full.bytes);
        }
        for text in [
            "scalekv(keep=0.25)",
            "scalekv(keep=0.1, score=logits, pool=average)",
            "scalekv(budget=3, rule=delta, drafters=3, index=product)",
            "uniform(budget=2)",
        ] {
            let mut plan = policy(text).prepare(&model, &calibration).unwrap();
            let drawn = model.draw(&drawing, &mut plan).unwrap();
            assert_eq!(drawn.bytes.held, plan.held_bytes(model.spec(), 4), "{text}");
            assert!(drawn.bytes.held < full.bytes.held);
            assert!(drawn.scores[3] != full.scores[3] && drawn.scores[..2] == full.scores[..2], "{text}");
        }
    }
}
