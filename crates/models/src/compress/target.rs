//! From a model to a GGUF file: every matrix in a type, or with the codes that a method chooses.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use headwise_nn::named::Named;

use super::calibration::{Inputs, Reading};
use super::matrix::Matrix;
use super::pruning::check_own_weights;
use super::scaling::scale;
use super::{Awq, Calibration, CompressError, Gptq, Quantisation, awq, gptq, rtn};
use crate::decoder::{Decoder, Encoded, linears};
use crate::gguf::quantise::{BLOCK, WRITTEN};
use crate::gguf::{Gguf, Metadata, TensorType, dequantise};

/// What becomes of the matrices.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// The nearest numbers of a type.
    Type(TensorType),
    /// Codes that a method chooses.
    Method(Quantisation),
}

impl FromStr for Target {
    type Err = CompressError;

    fn from_str(text: &str) -> Result<Self, CompressError> {
        if let Some(ty) = type_named(text) {
            return Ok(Self::Type(ty));
        }
        let method: Quantisation = headwise_spec::from_text(text)
            .map_err(|error| CompressError::Method(format!("{error}; types are {}", types())))?;
        method.check()?;
        Ok(Self::Method(method))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Type(ty) => f.write_str(&ty.name().to_lowercase()),
            Self::Method(method) => method.fmt(f),
        }
    }
}

/// The type of this name that matrices can be written in.
fn type_named(name: &str) -> Option<TensorType> {
    WRITTEN.into_iter().find(|ty| ty.name().eq_ignore_ascii_case(name.trim()))
}

/// The names of the types that matrices can be written in.
fn types() -> String {
    WRITTEN.map(|ty| ty.name().to_lowercase()).join(", ")
}

impl Target {
    /// The type of most matrices.
    pub fn ty(&self) -> Result<TensorType, CompressError> {
        match self {
            Self::Type(ty) => Ok(*ty),
            Self::Method(method) => Ok(method.grids()?.ty),
        }
    }

    /// Whether a calibration text is needed.
    pub fn needs_calibration(&self) -> bool {
        matches!(self, Self::Method(method) if method.needs_calibration())
    }
}

/// How a model becomes a file.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The matrices of the layers.
    pub target: Target,
    /// The vectors of tokens and the output head.
    pub embedding: TensorType,
}

/// What is done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Parts that are done.
    pub done: usize,
    /// Parts there are.
    pub parts: usize,
}

impl Plan {
    /// The matrices of the layers as `target` says; vectors of tokens and output head in `embedding`, or in a type that suits.
    pub fn new(target: Target, embedding: Option<&str>) -> Result<Self, CompressError> {
        let ty = target.ty()?;
        let embedding = match embedding {
            Some(name) => type_named(name).ok_or_else(|| {
                CompressError::Method(format!("`{name}` is no type that is written: those are {}", types()))
            })?,
            // They are read by every token, and a rounded head is seen in every score.
            None if ty.is_quantised() => TensorType::Q8_0,
            None => ty,
        };
        Ok(Self { target, embedding })
    }

    /// Makes the file of `model`, whose weights afterwards are those of the file; `about` is what else the file says. `progress` is told
    /// of every layer.
    pub fn run(
        &self,
        model: &mut Decoder,
        about: &Metadata,
        calibration: Option<&Calibration>,
        mut progress: impl FnMut(Step),
    ) -> Result<Gguf, CompressError> {
        let mut chosen = match &self.target {
            Target::Type(_) => HashMap::new(),
            Target::Method(method) => encode_layers(method, model, calibration, &mut progress)?,
        };
        let ty = self.target.ty()?;
        let parts = model.blocks.len();
        let file = model.to_gguf(about, |weight| {
            if let Some(encoded) = chosen.remove(&weight.name) {
                return Ok(encoded);
            }
            if let Some(done) = layer_of(&weight.name).filter(|_| matches!(self.target, Target::Type(_))) {
                progress(Step { done, parts });
            }
            let inner = weight.name.starts_with("blocks.");
            Encoded::nearest(weight, fitting(if inner { ty } else { self.embedding }, weight))
        })?;
        progress(Step { done: parts, parts });
        Ok(file)
    }
}

fn layer_of(name: &str) -> Option<usize> {
    name.strip_prefix("blocks.")?.split('.').next()?.parse().ok()
}

/// `ty` if whole blocks fit the rows of `weight`, else the nearest type that does: blocks of 32 with as many bits or more, else half
/// precision.
fn fitting(ty: TensorType, weight: &Named) -> TensorType {
    let row = weight.shape.last().copied().unwrap_or(1);
    let fits = |ty: TensorType| row.is_multiple_of(ty.block_size());
    let smaller = match ty {
        TensorType::Q4_K => TensorType::Q5_0,
        TensorType::Q5_K => TensorType::Q5_1,
        TensorType::Q6_K => TensorType::Q8_0,
        other => other,
    };
    [ty, smaller].into_iter().find(|&ty| fits(ty)).unwrap_or(TensorType::F16)
}

/// The matrices of all layers with the codes that `method` chooses, by name. A layer reads what the layers before it, rounded, make of the
/// text.
fn encode_layers(
    method: &Quantisation,
    model: &mut Decoder,
    calibration: Option<&Calibration>,
    progress: &mut impl FnMut(Step),
) -> Result<HashMap<String, Encoded>, CompressError> {
    for (layer, block) in model.spec().layers.iter().enumerate() {
        if block.mixer.softmax().is_none() {
            return Err(CompressError::Mixer { layer, mixer: block.mixer.to_string() });
        }
    }
    if method.needs_calibration() {
        check_own_weights(model)?;
    }
    let mut reading = match (method.needs_calibration(), calibration) {
        (true, None) => return Err(CompressError::NoCalibration { method: method.to_string() }),
        (true, Some(calibration)) => Some(calibration.start(model)),
        (false, _) => None,
    };
    let parts = model.blocks.len();
    let mut encoded = HashMap::new();
    for layer in 0..parts {
        progress(Step { done: layer, parts });
        encode_layer(method, model, layer, reading.as_ref(), &mut encoded)?;
        if let Some(reading) = &mut reading {
            reading.advance(model, layer);
        }
    }
    Ok(encoded)
}

/// The matrices of one layer, which afterwards has the weights that were stored.
fn encode_layer(
    method: &Quantisation,
    model: &mut Decoder,
    layer: usize,
    reading: Option<&Reading>,
    all: &mut HashMap<String, Encoded>,
) -> Result<(), CompressError> {
    let grids = method.grids()?;
    let inputs: HashMap<_, Inputs> = reading.map(|reading| reading.inputs(model, layer)).unwrap_or_default();
    let block = &mut model.blocks[layer];
    match method {
        Quantisation::Awq(Awq { steps, .. }) => {
            scale(block, &inputs, |_, inputs, linears| awq::best_scales(inputs, linears, grids, *steps));
        }
        Quantisation::SmoothQuant(method) => method.smooth_block(block, &inputs),
        Quantisation::Rtn(_) | Quantisation::Gptq(_) | Quantisation::Bct(_) => {}
    }
    for (name, linear) in linears(block) {
        let Some(mut matrix) = Matrix::of(linear) else { continue };
        // Rows that are no whole blocks stay as near as half precision has them.
        if !matrix.inputs.is_multiple_of(BLOCK) {
            continue;
        }
        let weight = format!("blocks.{layer}.{name}.weight");
        if let Some(index) = matrix.values.iter().position(|value| !value.is_finite()) {
            let source = crate::gguf::QuantiseError::NotFinite { index, value: matrix.values[index] };
            return Err(CompressError::Quantise { weight, source });
        }
        let encoded = match (method, inputs.get(name)) {
            (Quantisation::Gptq(Gptq { damp, .. }), Some(inputs)) => {
                let reason = "some are not finite, or the inputs do not vary";
                gptq::encode(&matrix, grids, inputs.gram(), *damp)
                    .ok_or(CompressError::Moments { weight: weight.clone(), reason })?
            }
            _ => rtn::encode(&matrix, grids),
        };
        // Cannot fail: the bytes are whole blocks of a type that is read.
        let _ = dequantise(encoded.ty, &encoded.bytes, &mut matrix.values);
        matrix.put(linear);
        all.insert(weight, encoded);
    }
    Ok(())
}
