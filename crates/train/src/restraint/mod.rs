//! What the matrices of a model's layers are held to while it learns: zeros that grow in number, or points of a grid.
//!
//! A step computes with the weights as they are held, and moves the ones that are free: the gradient passes straight through. So a weight
//! on a grid can gather small steps until it is nearer to the next point, and a run's result is what it was trained as.

mod held;
mod mask;

use headwise_models::compress::Rtn;
use headwise_models::decoder::DecoderSpec;

pub(crate) use held::Held;

headwise_spec::family! {
    /// What the matrices of the layers are held to while they learn.
    pub enum Restraint: "restraint" {
        gradual_magnitude => GradualMagnitude,
        movement => Movement,
        quantisation_aware => QuantisationAware,
    }
}

headwise_spec::method! {
    /// Zeros for the weights of smallest magnitude, more and more of them.
    ///
    /// After the share t of the way from `begin` to `end`, the share `share (1 - (1 - t)³)` of every matrix is zero. Zhu and Gupta 2017,
    /// arXiv:1710.01878.
    pub struct GradualMagnitude {
        /// Share of the weights that are zero in the end.
        pub share: f64 = 0.5,
        /// The share of the run's steps before the first zero.
        pub begin: f64 = 0.0,
        /// The share of the run's steps after which no more weights become zero.
        pub end: f64 = 0.75,
    }
}

headwise_spec::method! {
    /// Zeros for the weights that training moves towards zero, more and more of them.
    ///
    /// A weight's score is the sum over all steps of `-w ∂L/∂w'`, `w'` being the weight as it is held; those that score least are zero, by
    /// the schedule of `gradual_magnitude`. They keep their score, and come back when it rises. For long fine-tuning, where a weight's size
    /// says more about what was learned before than about the new texts; in a few steps scores are noise, and large weights go. Sanh et al.
    /// 2020, arXiv:2005.07683.
    pub struct Movement {
        /// Share of the weights that are zero in the end.
        pub share: f64 = 0.5,
        /// The share of the run's steps before the first zero.
        pub begin: f64 = 0.0,
        /// The share of the run's steps after which no more weights become zero.
        pub end: f64 = 0.75,
    }
}

headwise_spec::method! {
    /// Weights on the grids of `rtn` while they learn.
    ///
    /// The result has the weights that `quantize --to "rtn(…)"` with the same parameters gives, so that nothing more is lost there. The
    /// gradient passes straight through the rounding. Jacob et al. 2018, arXiv:1712.05877; Bengio et al. 2013, arXiv:1308.3432.
    pub struct QuantisationAware {
        /// Bits of a weight, 2 to 8.
        pub bits: u32 = 4,
        /// Weights of a row that share a scale, a multiple of 32; 0 is the whole row.
        pub group: usize = 32,
        /// Grids lie around zero; else each has a minimum too (up to 5 bits).
        pub symmetric: bool = true,
    }
}

impl QuantisationAware {
    fn rounding(&self) -> Rtn {
        Rtn { bits: self.bits, group: self.group, symmetric: self.symmetric }
    }
}

/// The share of the weights that are zero after the share `done` of the way to `last`: `last (1 - (1 - done)³)`.
pub fn cubic(last: f64, done: f64) -> f64 {
    last * (1.0 - (1.0 - done.clamp(0.0, 1.0)).powi(3))
}

impl Restraint {
    /// Whether the numbers make sense; else what is wrong.
    pub fn check(&self) -> Result<(), String> {
        let (share, begin, end) = match self {
            Self::GradualMagnitude(method) => (method.share, method.begin, method.end),
            Self::Movement(method) => (method.share, method.begin, method.end),
            Self::QuantisationAware(method) => return method.rounding().check().map_err(|error| error.to_string()),
        };
        if !(0.0..1.0).contains(&share) {
            return Err(format!("share={share}: it must be at least 0 and below 1"));
        }
        match (0.0..=1.0).contains(&begin) && (0.0..=1.0).contains(&end) && begin < end {
            true => Ok(()),
            false => Err(format!("begin={begin}, end={end}: both must be in 0..=1, and the end after the beginning")),
        }
    }

    /// Whether it can hold the layers of `spec`; else what is wrong.
    pub fn check_model(&self, spec: &DecoderSpec) -> Result<(), String> {
        let other = spec.layers.iter().position(|layer| layer.mixer.softmax().is_none());
        match (self, other) {
            (Self::QuantisationAware(_), Some(layer)) => Err(format!(
                "`quantisation_aware` holds layers that mix with `softmax`, as `quantize` takes no others: layer {layer} mixes with `{}`",
                spec.layers[layer].mixer
            )),
            _ => Ok(()),
        }
    }

    /// The share of every matrix that is zero in step `step` of `steps`; none if weights are held to something else.
    pub fn zeros(&self, step: u64, steps: u64) -> Option<f64> {
        let (share, begin, end) = match self {
            Self::GradualMagnitude(method) => (method.share, method.begin, method.end),
            Self::Movement(method) => (method.share, method.begin, method.end),
            Self::QuantisationAware(_) => return None,
        };
        let at = step as f64 / steps.max(1) as f64;
        Some(cubic(share, (at - begin) / (end - begin)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_family_keeps_its_promises() {
        headwise_spec::check_family::<Restraint>();
    }

    #[test]
    fn zeros_grow_with_the_cube_of_what_is_left() {
        let zeros = |step| Restraint::from(Movement { share: 0.8, begin: 0.2, end: 0.7 }).zeros(step, 100).unwrap();
        assert_eq!([zeros(0), zeros(20)], [0.0, 0.0]);
        assert!((zeros(45) - 0.8 * 0.875).abs() < 1e-12);
        assert_eq!([zeros(70), zeros(100)], [0.8, 0.8]);
        assert!((20..70).all(|step| zeros(step) < zeros(step + 1)));
        assert_eq!((cubic(0.6, 0.0), cubic(0.6, 1.0)), (0.0, 0.6));
    }

    #[test]
    fn what_cannot_be_is_named() {
        let error = |text: &str| text.parse::<Restraint>().unwrap().check().unwrap_err();
        assert!(error("movement(share=1)").contains("share=1"));
        assert!(error("gradual_magnitude(begin=0.5, end=0.5)").contains("end=0.5"));
        assert!(error("quantisation_aware(bits=9)").contains("2 to 8"));
        let spec = "vocabulary = 8\ndim = 8\ncontext = 8\nepsilon = 1e-5\nlayers = [{ mixer = \"gla(heads=1)\" }]";
        let spec: DecoderSpec = toml::from_str(spec).unwrap();
        let of = |text: &str| text.parse::<Restraint>().unwrap().check_model(&spec);
        assert!(of("quantisation_aware").unwrap_err().contains("layer 0 mixes with `gla"));
        assert_eq!(of("movement"), Ok(()));
    }
}
