//! Single components by name: what each takes and gives, and running one on given tensors, with gradients.
//!
//! A component is a method of the family `op` (operations), `mixer` (layers with projections) or `cache` (the score of an
//! evicting policy). [`Component::parse`] reads it, [`Component::interface`] lists its tensors, and [`Application`] runs
//! it on tensors from files, so that any other implementation can be compared with it.

mod application;
mod arrays;
mod error;
mod interface;
mod mixer;
mod op;
mod score;

use headwise_engine::cache::CacheMethod;
use headwise_nn::mixer::MixerSpec;
use headwise_spec::Family;

pub use application::Application;
pub use arrays::{Array, Arrays, Values, to_safetensors};
pub use error::ComponentError;
pub use interface::{ElementType, Interface, Length, TensorSpec};
pub use op::Op;

use arrays::{Flat, Tensors};

/// A component, chosen by name.
#[derive(Clone, Debug, PartialEq)]
pub enum Component {
    /// An operation.
    Op(Op),
    /// A token mixer.
    Mixer(MixerSpec),
    /// The score of a cache policy.
    Cache(CacheMethod),
}

impl Component {
    /// Reads a spec such as `attention(window=16)` and checks its parameters.
    pub fn parse(text: &str) -> Result<Self, ComponentError> {
        let name = headwise_spec::parse_call(text)?.name;
        let named = |names: &[&str]| names.contains(&name.as_str());
        let component = match () {
            () if named(Op::NAMES) => Self::Op(headwise_spec::from_text(text)?),
            () if named(MixerSpec::NAMES) => Self::Mixer(headwise_spec::from_text(text)?),
            () if named(CacheMethod::NAMES) => Self::Cache(headwise_spec::from_text(text)?),
            () => {
                return Err(ComponentError::Unknown {
                    name,
                    valid: [Op::NAMES, MixerSpec::NAMES, CacheMethod::NAMES].concat(),
                });
            }
        };
        match &component {
            Self::Op(op) => op.check()?,
            Self::Mixer(mixer) => mixer::check(mixer)?,
            Self::Cache(method) => drop(score::evictor(method)?),
        }
        Ok(component)
    }

    /// The name of the method.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Op(op) => op.name(),
            Self::Mixer(mixer) => mixer.name(),
            Self::Cache(method) => method.name(),
        }
    }

    /// The spec with the defaults filled in.
    pub fn full_text(&self) -> String {
        match self {
            Self::Op(op) => headwise_spec::to_full_text(op),
            Self::Mixer(mixer) => headwise_spec::to_full_text(mixer),
            Self::Cache(method) => headwise_spec::to_full_text(method),
        }
    }

    /// The tensors it takes and gives.
    pub fn interface(&self) -> Interface {
        match self {
            Self::Op(op) => op.interface(),
            Self::Mixer(mixer) => mixer::interface(mixer),
            Self::Cache(_) => score::interface(),
        }
    }

    fn run(&self, tensors: &Tensors) -> Result<Vec<(&'static str, Flat)>, ComponentError> {
        match self {
            Self::Op(op) => op.run(tensors),
            Self::Mixer(mixer) => mixer::run(mixer, tensors),
            Self::Cache(method) => score::run(&*score::evictor(method)?, tensors),
        }
    }
}
