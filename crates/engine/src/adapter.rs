//! Texts with a LoRA adapter.
//!
//! An adapter belongs to a text, not to the engine: texts with different adapters and texts without one share forwards, and each gets what it would
//! get alone. What was read with one adapter is of no use with another, so nothing is shared between them. Hu et al. 2021, arXiv:2106.09685.

use std::path::Path;
use std::sync::Arc;

use headwise_models::adapter;
use headwise_nn::adapter::AdaptedRows;
pub use headwise_nn::adapter::Adapter;
use headwise_nn::mixer::Segment;

use crate::cache::CachePolicy;
use crate::heads::fades;
use crate::{Chunk, Engine, EngineError, Sequence};

/// An adapter under the name that requests ask for.
#[derive(Clone, Debug)]
pub struct NamedAdapter {
    /// The name.
    pub name: String,
    /// The adapter.
    pub adapter: Arc<Adapter>,
}

impl Engine {
    /// Reads the adapter in `folder`, which PEFT has written.
    ///
    /// # Errors
    /// If it is not for this model, or asks for more than additions to projections; see [`adapter::open`].
    pub fn open_adapter(&self, folder: &Path) -> Result<Arc<Adapter>, EngineError> {
        Ok(Arc::new(adapter::open(folder, self.spec())?))
    }

    /// The same, to be had from [`adapters`](Self::adapters) as `name`.
    ///
    /// # Errors
    /// As [`open_adapter`](Self::open_adapter).
    pub fn add_adapter(&mut self, name: &str, folder: &Path) -> Result<(), EngineError> {
        let adapter = self.open_adapter(folder)?;
        self.adapters.push(NamedAdapter { name: name.to_owned(), adapter });
        Ok(())
    }

    /// The adapters that were added, in their order.
    pub fn adapters(&self) -> &[NamedAdapter] {
        &self.adapters
    }

    /// A new text under `policy`, with `adapter` if there is one.
    ///
    /// # Errors
    /// As [`Engine::sequence`], and if the adapter was read for another model or the policy asks the model without it.
    pub fn adapted_sequence(
        &self,
        policy: &CachePolicy,
        adapter: Option<&Arc<Adapter>>,
    ) -> Result<Sequence, EngineError> {
        let mut sequence = self.sequence(policy)?;
        if let Some(adapter) = adapter {
            self.check_adapter(policy, adapter)?;
            sequence.adapter = Some(adapter.clone());
        }
        Ok(sequence)
    }

    /// Whether texts under `policy` can have `adapter`.
    pub(crate) fn check_adapter(&self, policy: &CachePolicy, adapter: &Adapter) -> Result<(), EngineError> {
        adapter::check(adapter, self.spec())?;
        let because = match () {
            () if policy.filter().is_some() => "it chooses what is read of a prompt with the model's own first layers",
            () if policy.scope().is_some() && self.spec().layers.iter().any(fades) => {
                "it takes from the model's own weights how far heads see"
            }
            () => return Ok(()),
        };
        Err(EngineError::AdaptedPolicy { policy: policy.to_string(), because })
    }
}

impl Sequence {
    /// The adapter of the text, if it has one.
    pub fn adapter(&self) -> Option<&Arc<Adapter>> {
        self.adapter.as_ref()
    }

    /// An error if the text has an adapter: `what` is done with the model's own weights.
    pub(crate) fn check_plain(&self, what: &'static str) -> Result<(), EngineError> {
        if self.adapter.is_some() { Err(EngineError::Adapted { what }) } else { Ok(()) }
    }
}

/// Whether texts with `a` and with `b` have the same keys and values.
pub(crate) fn same(a: Option<&Arc<Adapter>>, b: Option<&Arc<Adapter>>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        _ => false,
    }
}

/// The rows of `chunks`, which stand at `segments`, that have adapters: those of one adapter together.
pub(crate) fn adapted_rows(chunks: &[Chunk<'_>], segments: &[Segment]) -> Vec<AdaptedRows> {
    let mut all: Vec<AdaptedRows> = Vec::new();
    for (chunk, segment) in chunks.iter().zip(segments) {
        let Some(adapter) = chunk.sequence.adapter() else { continue };
        let rows = segment.rows.clone();
        match all.iter_mut().find(|known| Arc::ptr_eq(&known.adapter, adapter)) {
            Some(known) => known.rows.extend(rows),
            None => all.push(AdaptedRows { adapter: adapter.clone(), rows: rows.collect() }),
        }
    }
    all
}
