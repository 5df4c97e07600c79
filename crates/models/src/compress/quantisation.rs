//! The family of methods that choose the codes of weights.

use super::{Awq, Bct, CompressError, Gptq, Rtn, SmoothQuant};
use crate::gguf::TensorType;
use crate::gguf::quantise::{BLOCK, GridForm, GridKind};

headwise_spec::family! {
    /// How the weights of a matrix get their codes.
    pub enum Quantisation: "quantisation" {
        rtn => Rtn,
        gptq => Gptq,
        awq => Awq,
        smoothquant => SmoothQuant,
        bct => Bct,
    }
}

/// The grids of a matrix.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grids {
    pub form: GridForm,
    /// Weights that share a scale; 0 is the whole row.
    group: usize,
    /// The type whose blocks hold the codes exactly.
    pub ty: TensorType,
}

impl Grids {
    /// Weights of a row of `inputs` that share a scale.
    pub fn group(self, inputs: usize) -> usize {
        if self.group == 0 { inputs } else { self.group.min(inputs) }
    }
}

impl Quantisation {
    /// Whether the method looks at what the layers read.
    pub fn needs_calibration(&self) -> bool {
        matches!(self, Self::Gptq(_) | Self::Awq(_) | Self::SmoothQuant(_))
    }

    /// An error if the parameters make no method.
    pub fn check(&self) -> Result<(), CompressError> {
        let grids = self.grids().map(drop);
        match self {
            Self::Gptq(Gptq { damp, .. }) if !(damp.is_finite() && *damp > 0.0) => {
                Err(CompressError::Method(format!("damp={damp}: it must be above 0")))
            }
            Self::Awq(Awq { steps: 0, .. }) => Err(CompressError::Method("steps=0: it must be at least 1".into())),
            Self::SmoothQuant(SmoothQuant { alpha, .. }) if !(0.0..=1.0).contains(alpha) => {
                Err(CompressError::Method(format!("alpha={alpha}: it must be at least 0 and at most 1")))
            }
            _ => grids,
        }
    }

    /// The grids, if there are such.
    pub(super) fn grids(&self) -> Result<Grids, CompressError> {
        let kind = |symmetric| if symmetric { GridKind::Symmetric } else { GridKind::Asymmetric };
        let (bits, group, kind) = match self {
            Self::Rtn(Rtn { bits, group, symmetric }) => (*bits, *group, kind(*symmetric)),
            Self::Gptq(Gptq { bits, group, symmetric, .. }) => (*bits, *group, kind(*symmetric)),
            Self::Awq(Awq { bits, group, symmetric, .. }) => (*bits, *group, kind(*symmetric)),
            Self::SmoothQuant(SmoothQuant { bits, group, .. }) => (*bits, *group, GridKind::Symmetric),
            Self::Bct(Bct { bits, block }) => (*bits, *block, GridKind::PowerOfTwo),
        };
        if !(2..=8).contains(&bits) {
            return Err(CompressError::Method(format!("bits={bits}: a weight takes 2 to 8 bits")));
        }
        if !group.is_multiple_of(BLOCK) {
            let text = format!("group={group}: it must be a multiple of {BLOCK}, or 0 for whole rows");
            return Err(CompressError::Method(text));
        }
        let form = GridForm { bits, kind };
        let ty = form.storage().ok_or_else(|| {
            let text = format!("bits={bits}, symmetric=false: no type stores more than 5 bits with a minimum");
            CompressError::Method(text)
        })?;
        Ok(Grids { form, group, ty })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_family_keeps_its_promises() {
        headwise_spec::check_family::<Quantisation>();
    }

    #[test]
    fn impossible_parameters_are_named() {
        let error =
            |text: &str| headwise_spec::from_text::<Quantisation>(text).unwrap().check().unwrap_err().to_string();
        assert!(error("rtn(bits=1)").contains("bits=1"));
        assert!(error("bct(bits=9)").contains("2 to 8"));
        assert!(error("gptq(group=48)").contains("multiple of 32"));
        assert!(error("awq(bits=8, symmetric=false)").contains("no type"));
        assert!(error("gptq(damp=0)").contains("damp=0"));
        assert!(error("awq(steps=0)").contains("steps=0"));
        assert!(error("smoothquant(alpha=1.5)").contains("alpha=1.5"));
    }
}
