//! The rotary encoding that a `config.json` asks for.
//!
//! transformers 5 writes `rope_parameters`, with an object for each kind of layer where they differ; transformers 4 writes
//! `rope_theta`, `rope_scaling` and, for Gemma's layers with a window, `rope_local_base_freq`.

use headwise_nn::position::{Linear, Llama3, RopeScaling, RopeSpec};

use super::super::LoadError;
use super::keys::Keys;

/// Rotary base where none is given.
const THETA: f64 = 10_000.0;
/// The same for Gemma's layers without a window.
const GEMMA_FULL_THETA: f64 = 1_000_000.0;

/// The rotary encodings of a model's two kinds of layers.
#[derive(Clone, Debug)]
pub struct Rotations {
    /// Of layers that see the whole text.
    pub full: RopeSpec,
    /// Of layers with a window.
    pub sliding: RopeSpec,
}

impl Rotations {
    /// Takes all keys about rotation; `gemma` has a base of its own for layers with a window.
    pub fn read(keys: &mut Keys, gemma: bool) -> Result<Self, LoadError> {
        let full_theta = keys.take("rope_theta")?.unwrap_or(if gemma { GEMMA_FULL_THETA } else { THETA });
        let sliding_theta = if gemma { keys.take("rope_local_base_freq")?.unwrap_or(THETA) } else { full_theta };
        let parameters = keys.section("rope_parameters")?;
        let scaling = match &parameters {
            // Left for `Keys::finish` to complain about: which of the two counts is anybody's guess.
            Some(_) => None,
            None => keys.section("rope_scaling")?,
        };
        match parameters {
            Some(mut parameters) if gemma => {
                let full = rotation(parameters.section("full_attention")?, full_theta)?;
                let sliding = rotation(parameters.section("sliding_attention")?, sliding_theta)?;
                parameters.finish()?;
                Ok(Self { full, sliding })
            }
            parameters => {
                let full = rotation(parameters.or(scaling), full_theta)?;
                let sliding = if gemma { RopeSpec::new(sliding_theta) } else { full.clone() };
                Ok(Self { full, sliding })
            }
        }
    }
}

/// The encoding that `parameters` describe; `theta` is the base where they have none.
fn rotation(parameters: Option<Keys>, theta: f64) -> Result<RopeSpec, LoadError> {
    let Some(mut keys) = parameters else { return Ok(RopeSpec::new(theta)) };
    let theta = keys.take("rope_theta")?.unwrap_or(theta);
    // The key was called `type` before it was `rope_type`; some files have both.
    let (old, new) = (keys.take::<String>("type")?, keys.take::<String>("rope_type")?);
    let scaling = match new.or(old).as_deref() {
        None | Some("default") => None,
        Some("linear") => Some(RopeScaling::from(Linear { factor: keys.need("factor")? })),
        Some("llama3") => Some(RopeScaling::from(Llama3 {
            factor: keys.need("factor")?,
            low_freq_factor: keys.need("low_freq_factor")?,
            high_freq_factor: keys.need("high_freq_factor")?,
            original_context: keys.need("original_max_position_embeddings")?,
        })),
        Some(other) => {
            return Err(keys.not_understood("rope_type", format!("\"{other}\" (supported: default, linear, llama3)")));
        }
    };
    keys.finish()?;
    Ok(RopeSpec { theta, dims: None, scaling })
}
