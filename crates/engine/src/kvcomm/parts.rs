//! Prompts cut where texts begin and end that other prompts share.

use std::sync::Arc;

/// Tokens.
pub(super) type Ids = Arc<[u32]>;

/// A prompt with places for texts that other prompts share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    first: Ids,
    slots: Vec<Slot>,
}

/// A place in a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The tokens of the shared text that stands there.
    pub shared: Ids,
    /// The tokens after it, up to the next place or the end.
    pub own: Ids,
}

/// Why a prompt cannot be cut so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PartsError {
    /// Nothing is shared.
    #[error("no text of the prompt is shared: name at least one, or ask for the prompt as a whole")]
    NothingShared,
    /// A shared text without tokens.
    #[error("shared text number {0} is empty: it must have at least one token")]
    Empty(usize),
    /// A shared text at the beginning.
    #[error(
        "the prompt begins with a shared text: at least one token of its own, as the one that stands first in every text, must come before"
    )]
    Beginning,
    /// A shared text at the end.
    #[error(
        "the prompt ends with a shared text: at least one token of its own must follow, for what comes next depends on it"
    )]
    End,
}

/// What prompts with the same words around their shared texts have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Template {
    pub first: Ids,
    pub owns: Vec<Ids>,
}

impl Parts {
    /// The prompt of `first`, and for every slot a shared text and what follows it.
    pub fn new(first: impl Into<Ids>, slots: Vec<Slot>) -> Result<Self, PartsError> {
        let first = first.into();
        match slots.last() {
            None => return Err(PartsError::NothingShared),
            Some(last) if last.own.is_empty() => return Err(PartsError::End),
            _ if first.is_empty() => return Err(PartsError::Beginning),
            _ => {}
        }
        match slots.iter().position(|slot| slot.shared.is_empty()) {
            Some(slot) => Err(PartsError::Empty(slot)),
            None => Ok(Self { first, slots }),
        }
    }

    /// The tokens before the first shared text.
    pub fn first(&self) -> &Ids {
        &self.first
    }

    /// The shared texts and what follows each.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// All tokens.
    pub fn ids(&self) -> Vec<u32> {
        let rest = self.slots.iter().flat_map(|slot| slot.shared.iter().chain(slot.own.iter()));
        self.first.iter().chain(rest).copied().collect()
    }

    /// Number of tokens.
    pub fn tokens(&self) -> usize {
        self.first.len() + self.slots.iter().map(|slot| slot.shared.len() + slot.own.len()).sum::<usize>()
    }

    pub(super) fn template(&self) -> Template {
        Template { first: self.first.clone(), owns: self.slots.iter().map(|slot| slot.own.clone()).collect() }
    }
}
