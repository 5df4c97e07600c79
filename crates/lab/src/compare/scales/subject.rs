//! A generator that has learnt, its pictures with a full cache, and what a policy changes about them.

use headwise_engine::scales::{ScalePlan, ScalePolicy, ScalePolicyError};
use headwise_models::next_scale::{Choice, Drawing, Drawn, KeepEverything, NextScale, NextScaleError};
use headwise_tasks::ColouredShapes;

use super::ScaleRow;
use crate::rows::FULL;

/// How much scores move away from those without a class at the last scale.
const GUIDANCE: f64 = 4.0;
/// Pictures of each class that are drawn with chance.
const DRAWN: usize = 4;
/// The largest value of a pixel.
const WHITE: f64 = 255.0;

/// A generator and what it draws with a full cache.
#[derive(Debug)]
pub struct Subject {
    model: NextScale,
    seed: u64,
    likeliest: Drawn,
    drawn: Drawn,
}

/// The pictures to compare: the likeliest codes, one for each class.
fn likeliest() -> Drawing {
    let classes = (0..ColouredShapes::CLASSES).collect();
    Drawing { classes, guidance: GUIDANCE, choice: Choice::Greedy, seed: 0 }
}

/// Several of each class, drawn with chance.
fn drawn(seed: u64) -> Drawing {
    let classes = (0..DRAWN * ColouredShapes::CLASSES).map(|picture| picture % ColouredShapes::CLASSES).collect();
    Drawing { classes, guidance: GUIDANCE, choice: Choice::DRAW, seed }
}

impl Subject {
    /// Draws with a full cache.
    ///
    /// # Errors
    /// If `model` does not know as many classes as there are coloured shapes.
    pub fn new(model: NextScale, seed: u64) -> Result<Self, NextScaleError> {
        let [likeliest, drawn] = [likeliest(), drawn(seed)].map(|drawing| model.draw(&drawing, &mut KeepEverything));
        Ok(Self { likeliest: likeliest?, drawn: drawn?, model, seed })
    }

    /// The generator.
    pub fn model(&self) -> &NextScale {
        &self.model
    }

    /// What the full cache draws by the likeliest codes, one picture of each class.
    pub fn likeliest(&self) -> &Drawn {
        &self.likeliest
    }

    /// The row of the full cache.
    pub fn full(&self) -> ScaleRow {
        let history = self.model.spec().history(self.model.spec().scales.len() - 1);
        self.row(FULL.to_owned(), vec![history; self.model.spec().layers], &self.likeliest, &self.drawn)
    }

    /// The row of a policy, and what it draws by the likeliest codes.
    ///
    /// # Errors
    /// If the policy cannot run.
    pub fn measure(&self, policy: &ScalePolicy) -> Result<(ScaleRow, Drawn), ScalePolicyError> {
        let mut plan = self.plan(policy)?;
        let found = self.model.draw(&likeliest(), &mut plan)?;
        let drawn = self.model.draw(&drawn(self.seed), &mut plan)?;
        let spec = self.model.spec();
        let whole = spec.history(spec.scales.len() - 1);
        let slots = plan.slots(spec.scales.len() - 1).map_or_else(|| vec![whole; spec.layers], <[usize]>::to_vec);
        Ok((self.row(headwise_spec::to_text(policy), slots, &found, &drawn), found))
    }

    /// The plan of a policy, from pictures that are not those that are compared.
    ///
    /// # Errors
    /// If the policy cannot run.
    pub fn plan(&self, policy: &ScalePolicy) -> Result<ScalePlan, ScalePolicyError> {
        policy.prepare(&self.model, &ScalePolicy::calibration(self.model.spec().classes, !self.seed))
    }

    fn row(&self, policy: String, slots: Vec<usize>, likeliest: &Drawn, drawn: &Drawn) -> ScaleRow {
        let spec = self.model.spec();
        let (each, last) = (spec.tokens(), spec.history(spec.scales.len() - 1));
        let pairs = || likeliest.tokens.iter().zip(&self.likeliest.tokens).enumerate();
        let same = |first: usize| {
            let counted = pairs().filter(|(at, _)| at % each >= first);
            let (count, same) =
                counted.fold((0, 0), |(count, same), (_, (one, other))| (count + 1, same + u32::from(one == other)));
            100.0 * f64::from(same) / f64::from(count.max(1))
        };
        let pictures = likeliest.tokens.len() / each;
        let pixels = 3 * spec.size * spec.size;
        let classes = drawn.pixels.chunks(pixels).enumerate();
        let right = classes
            .filter(|(picture, pixels)| ColouredShapes::nearest(pixels) == Some(picture % ColouredShapes::CLASSES));
        let n = [pictures, drawn.tokens.len() / each];
        ScaleRow {
            policy,
            scales: spec.scales.clone(),
            slots,
            kv_bytes: likeliest.bytes.held / pictures as u64,
            peak_kv_bytes: likeliest.bytes.peak / pictures as u64,
            kv_pct: 100.0 * likeliest.bytes.held as f64 / self.likeliest.bytes.held as f64,
            agreement: same(0),
            last_map_agreement: same(last),
            psnr: psnr(&likeliest.pixels, &self.likeliest.pixels),
            class_agreement: 100.0 * right.count() as f64 / n[1] as f64,
            drawn_psnr: psnr(&drawn.pixels, &self.drawn.pixels),
            n,
            seed: self.seed,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// Peak signal to noise in dB; none if nothing differs.
fn psnr(found: &[f32], full: &[f32]) -> Option<f64> {
    let squares: f64 = found.iter().zip(full).map(|(one, other)| f64::from(one - other).powi(2)).sum();
    let mean = squares / full.len() as f64;
    (mean > 0.0).then(|| 10.0 * (WHITE * WHITE / mean).log10())
}

#[cfg(test)]
pub(crate) mod tests {
    use burn::tensor::Device;
    use headwise_models::next_scale::NextScaleSpec;

    use super::*;

    /// A generator that has learnt nothing.
    pub(crate) fn subject() -> Subject {
        let spec = NextScaleSpec { dim: 16, heads: 2, width: 8, ..NextScaleSpec::micro(&[1, 2, 4, 8], 24) };
        Subject::new(NextScale::random(spec, &Device::flex()).unwrap(), 3).unwrap()
    }

    #[test]
    fn a_full_cache_agrees_with_itself_and_less_is_counted() {
        let subject = subject();
        let full = subject.full();
        assert_eq!((full.agreement, full.last_map_agreement, full.psnr, full.kv_pct), (100.0, 100.0, None, 100.0));
        assert_eq!((full.n, &full.slots[..]), ([24, 96], &[21; 4][..]));
        // Both halves, keys and values, 21 slots of four layers of 16 channels in four bytes.
        assert_eq!(full.kv_bytes, 2 * 2 * 21 * 4 * 16 * 4);
        let policy = headwise_spec::from_text("uniform(budget=1)").unwrap();
        let (row, _) = subject.measure(&policy).unwrap();
        assert_eq!((row.kv_bytes, &row.slots[..]), (full.kv_bytes / 21, &[1; 4][..]));
        assert!((row.kv_pct - 100.0 / 21.0).abs() < 1e-9);
        // The first two maps, 5 of 85 tokens, are drawn with all there is; the last one has 64.
        assert!(85.0 * row.agreement >= 500.0 + 64.0 * row.last_map_agreement - 1e-6, "{row:?}");
    }

    #[test]
    fn decibels_are_of_the_mean_square() {
        assert_eq!(psnr(&[1.0, 2.0], &[1.0, 2.0]), None);
        assert!((psnr(&[0.0; 4], &[25.5; 4]).unwrap() - 20.0).abs() < 1e-6);
    }
}
