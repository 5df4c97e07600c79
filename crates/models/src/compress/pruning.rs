//! The family of methods that leave weights, heads or layers out.

use super::{
    Calibration, CompressError, Evolve, Heads, Layers, Magnitude, Step, Wanda, evolve, heads, layers, magnitude, wanda,
};
use crate::decoder::Decoder;

headwise_spec::family! {
    /// What is left out of a model.
    pub enum Pruning: "pruning" {
        magnitude => Magnitude,
        wanda => Wanda,
        heads => Heads,
        layers => Layers,
        evolve => Evolve,
    }
}

impl Pruning {
    /// Whether the method looks at what the layers read.
    pub fn needs_calibration(&self) -> bool {
        !matches!(self, Self::Magnitude(_))
    }

    /// An error if the parameters make no method.
    pub fn check(&self) -> Result<(), CompressError> {
        let (share, keep_of) = match self {
            Self::Magnitude(method) => (method.share, method.keep_of),
            Self::Wanda(method) => (method.share, method.keep_of),
            Self::Heads(method) => (method.share, None),
            Self::Layers(method) => (method.share, None),
            Self::Evolve(method) => {
                method.check()?;
                (method.share, None)
            }
        };
        if !(0.0..1.0).contains(&share) {
            return Err(CompressError::Method(format!("share={share}: the share left out is at least 0 and below 1")));
        }
        match keep_of {
            Some([kept, of]) if kept == 0 || kept > of => {
                Err(CompressError::Method(format!("keep_of=[{kept}, {of}]: it must keep at least 1 and at most all")))
            }
            _ => Ok(()),
        }
    }

    /// Leaves out of `model` what the method says; a line about what that was.
    pub fn run(
        &self,
        model: &mut Decoder,
        calibration: Option<&Calibration>,
        progress: &mut dyn FnMut(Step),
    ) -> Result<String, CompressError> {
        self.check()?;
        check_layers(model)?;
        let text = || calibration.ok_or_else(|| CompressError::NoCalibration { method: self.to_string() });
        match self {
            Self::Magnitude(method) => Ok(magnitude::run(method, model, progress)),
            Self::Wanda(method) => Ok(wanda::run(method, model, text()?, progress)),
            Self::Heads(method) => heads::run(method, model, text()?, progress),
            Self::Layers(method) => Ok(layers::run(method, model, text()?, progress)),
            Self::Evolve(method) => evolve::run(method, model, text()?, progress),
        }
    }
}

/// An error if `model` has a layer that no method here can change: one that mixes with something else, or shares its weights.
pub fn check_layers(model: &Decoder) -> Result<(), CompressError> {
    check_own_weights(model)?;
    let mut layers = model.spec().layers.iter().map(|layer| &layer.mixer).enumerate();
    let other = layers.find(|(_, mixer)| mixer.softmax().is_none_or(|mixer| mixer.convolution.is_some()));
    other.map_or(Ok(()), |(layer, mixer)| Err(CompressError::Mixer { layer, mixer: mixer.to_string() }))
}

/// An error if layers of `model` have the same weights.
pub(super) fn check_own_weights(model: &Decoder) -> Result<(), CompressError> {
    match model.spec().shared_by {
        1 => Ok(()),
        shared_by => Err(CompressError::Shared { shared_by }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_family_keeps_its_promises() {
        headwise_spec::check_family::<Pruning>();
    }

    #[test]
    fn impossible_parameters_are_named() {
        let error = |text: &str| text.parse::<Pruning>().unwrap().check().unwrap_err().to_string();
        assert!(error("magnitude(share=1)").contains("share=1"));
        assert!(error("layers(share=-0.5)").contains("share=-0.5"));
        assert!(error("wanda(keep_of=[5, 4])").contains("[5, 4]"));
        assert!(error("wanda(keep_of=[0, 4])").contains("at least 1"));
    }
}
