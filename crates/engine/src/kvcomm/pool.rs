//! Everything that KVCOMM knows, and prompts put together from it.

use std::collections::HashMap;
use std::sync::Arc;

use headwise_kernels::parallel;
use headwise_spec::Family;

use super::anchors::{Anchors, Placed};
use super::matching::Weights;
use super::parts::{Ids, Parts, Template};
use super::raw::{RawPairs, append};
use crate::cache::{CachePolicy, LayerStore, StoreShape};
use crate::{Engine, EngineError, Sequence};

/// How KVCOMM decides and how much it keeps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KvCommSettings {
    /// Most entropy of the anchors' likeness to a text, as a share of what it could be: above, the text is read.
    pub gamma: f64,
    /// Most anchors of a place.
    pub anchors: usize,
    /// Of so many of the oldest anchors the one that was used least makes room.
    pub oldest: usize,
    /// Anchors that together have this share of the likeness count as used.
    pub likely: f64,
    /// Of the weights of anchors: the higher, the more alike they are.
    pub temperature: f32,
    /// Tokens at the end of a prompt that are always read, unless the end after the last shared text is shorter.
    pub reread: usize,
    /// Most memory, in bytes.
    pub bytes: usize,
}

impl Default for KvCommSettings {
    fn default() -> Self {
        Self { gamma: 0.3, anchors: 20, oldest: 5, likely: 0.9, temperature: 1.0, reread: 64, bytes: 1 << 30 }
    }
}

/// Why a prompt is not put together.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Unlike {
    /// The words around its shared texts are new.
    #[error("no prompt with these words around its shared texts has been read")]
    NewTemplate,
    /// Too few texts have stood where a shared text stands.
    #[error("{anchors} texts as long as shared text number {slot} have stood in its place: two are needed")]
    FewAnchors {
        /// Number of the place.
        slot: usize,
        /// Texts that are long enough.
        anchors: usize,
    },
    /// A shared text is as far from one text as from another.
    #[error(
        "shared text number {slot} is like no text that has stood in its place: the entropy of the likeness is {entropy:.2} bits, above {most:.2}"
    )]
    Undecided {
        /// Number of the place.
        slot: usize,
        /// Entropy of the likeness, in bits.
        entropy: f64,
        /// Most that is allowed, in bits.
        most: f64,
    },
    /// A text has not been read alone.
    #[error("a shared text has not been read alone")]
    NoBase,
}

/// Why KVCOMM does not work.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum KvCommError {
    /// A sliding window.
    #[error(
        "layer {layer} has a sliding window: keys and values of shared texts are estimated for models whose layers all attend to the whole text"
    )]
    Window {
        /// Index of the layer.
        layer: usize,
    },
    /// A layer that goes from token to token.
    #[error(
        "layer {layer}, `{mixer}`, keeps a state that moves on from token to token: what a shared text leaves in it cannot be estimated"
    )]
    State {
        /// Index of the layer.
        layer: usize,
        /// Its mixer.
        mixer: &'static str,
    },
    /// Positions that are in the values.
    #[error(
        "the model adds positions to its tokens, so its keys and values cannot be moved: shared texts need RoPE, ALiBi or no positions"
    )]
    Positions,
    /// A policy that cannot go on from what `full` has read.
    #[error(
        "`{policy}` gathers more than keys and values, or stores them otherwise, while a prompt is read: shared texts work under `{full}` and policies that begin like it, such as `snapkv`"
    )]
    Policy {
        /// What was asked for.
        policy: String,
        /// The policy of the bases.
        full: String,
    },
}

/// What KVCOMM knows.
#[derive(Debug)]
pub struct KvComm {
    settings: KvCommSettings,
    policy: CachePolicy,
    bases: HashMap<Ids, Base>,
    templates: HashMap<Template, Known>,
    clock: u64,
    bytes: usize,
}

/// The pairs of a text that stands alone.
#[derive(Debug)]
struct Base {
    pairs: Arc<RawPairs>,
    used: u64,
}

/// What is known of a template.
#[derive(Debug)]
struct Known {
    /// The tokens before the first shared text, as they are in every prompt of the template.
    first: Sequence,
    slots: Vec<Anchors>,
    used: u64,
}

/// A text that has to be read alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Needed(Ids);

/// A prompt that has been put together but for its end.
#[derive(Debug)]
pub struct Estimate {
    /// The text so far.
    pub sequence: Sequence,
    /// Its tokens.
    pub tokens: usize,
}

impl Needed {
    /// What to read: the text behind the token that stands first in every text.
    pub fn ids(&self, engine: &Engine) -> Vec<u32> {
        std::iter::once(engine.first_token).chain(self.0.iter().copied()).collect()
    }
}

impl KvComm {
    /// Nothing yet; texts are read alone under `policy`, which keeps everything.
    pub fn new(settings: KvCommSettings, policy: CachePolicy) -> Self {
        Self { settings, policy, bases: HashMap::new(), templates: HashMap::new(), clock: 0, bytes: 0 }
    }

    /// How it decides and how much it keeps.
    pub fn settings(&self) -> &KvCommSettings {
        &self.settings
    }

    /// The policy under which texts are read alone.
    pub fn policy(&self) -> &CachePolicy {
        &self.policy
    }

    /// Memory, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn count(&mut self) {
        let bases: usize = self.bases.values().map(|base| base.pairs.bytes()).sum();
        let known = |known: &Known| known.first.bytes().total() + known.slots.iter().map(Anchors::bytes).sum::<usize>();
        self.bytes = bases + self.templates.values().map(known).sum::<usize>();
    }

    /// Whether prompts under `policy` can be put together for the model of `engine`.
    pub fn check(&self, engine: &Engine, policy: &CachePolicy) -> Result<(), KvCommError> {
        let spec = engine.spec();
        for (layer, block) in spec.layers.iter().enumerate() {
            if !block.mixer.state(spec.dim).is_empty() {
                return Err(KvCommError::State { layer, mixer: block.mixer.name() });
            }
            if StoreShape::of(block, spec.dim).window.is_some() {
                return Err(KvCommError::Window { layer });
            }
        }
        if spec.position.is_some() {
            return Err(KvCommError::Positions);
        }
        if !self.policy.reads_for(policy) {
            return Err(KvCommError::Policy { policy: policy.to_string(), full: self.policy.to_string() });
        }
        Ok(())
    }

    /// The texts of `parts` that have to be read alone before anything can be said or learned.
    pub fn needed(&self, parts: &Parts) -> Vec<Needed> {
        let mut needed: Vec<Needed> = Vec::new();
        for (slot, placed) in parts.slots().iter().enumerate() {
            for ids in [placed.shared.clone(), self.own(parts, slot)] {
                let needs = Needed(ids);
                if !needs.0.is_empty() && !self.bases.contains_key(&needs.0) && !needed.contains(&needs) {
                    needed.push(needs);
                }
            }
        }
        needed
    }

    /// Takes note of the pairs of a text that `sequence` has read alone.
    pub fn learn_base(&mut self, needed: &Needed, sequence: &Sequence) {
        let pairs = Arc::new(RawPairs::of(sequence, 1..1 + needed.0.len()));
        self.clock += 1;
        self.bases.insert(needed.0.clone(), Base { pairs, used: self.clock });
        self.shrink(self.settings.bytes);
    }

    /// Puts `parts` together but for the end, if what is known is enough.
    pub fn estimate(
        &mut self,
        engine: &Engine,
        parts: &Parts,
        policy: &CachePolicy,
    ) -> Result<Result<Estimate, Unlike>, EngineError> {
        let tokens = self.tokens(parts, policy);
        let Some(bases) = self.bases_of(parts) else { return Ok(Err(Unlike::NoBase)) };
        let Some(known) = self.templates.get_mut(&parts.template()) else { return Ok(Err(Unlike::NewTemplate)) };
        known.used = self.clock;
        let mut weights: Vec<Weights> = Vec::new();
        for (slot, (anchors, [base, _])) in known.slots.iter_mut().zip(&bases).enumerate() {
            match anchors.weigh(Placed { slot, ids: &parts.slots()[slot].shared, base }, &self.settings) {
                Ok(found) => weights.push(found),
                Err(unlike) => return Ok(Err(unlike)),
            }
        }
        let sequence = known.assemble(engine.sequence(policy)?, tokens, &bases, Some(&weights));
        Ok(Ok(Estimate { sequence, tokens }))
    }

    /// Puts `parts` together from what the texts have alone, moved to their places and not changed: what there is to do better than.
    pub fn align(
        &mut self,
        engine: &Engine,
        parts: &Parts,
        policy: &CachePolicy,
    ) -> Result<Result<Estimate, Unlike>, EngineError> {
        let Some(bases) = self.bases_of(parts) else { return Ok(Err(Unlike::NoBase)) };
        let Some(known) = self.templates.get(&parts.template()) else { return Ok(Err(Unlike::NewTemplate)) };
        let tokens = self.tokens(parts, policy);
        let sequence = known.assemble(engine.sequence(policy)?, tokens, &bases, None);
        Ok(Ok(Estimate { sequence, tokens }))
    }

    /// Tokens of `parts` that an estimate has: all but the end that is always read.
    pub fn tokens(&self, parts: &Parts, policy: &CachePolicy) -> usize {
        let last = parts.slots().last().map_or(1, |slot| slot.own.len());
        let left = policy.needs().query_window.max(last.min(self.settings.reread)).max(1);
        parts.tokens().saturating_sub(left)
    }

    /// Learns from `sequence`, which has read tokens of `parts`. Returns whether it could: if all were read but for the end that always is,
    /// if nothing was let go, and if the texts have been read alone.
    pub fn learn(&mut self, parts: &Parts, sequence: &Sequence) -> bool {
        let reaches = self.tokens(parts, &self.policy);
        if sequence.tokens() < reaches || !sequence.is_whole() {
            return false;
        }
        let Some(bases) = self.bases_of(parts) else { return false };
        let first = parts.first().len();
        let known = self.templates.entry(parts.template()).or_insert_with(|| {
            let mut beginning = sequence.clone();
            beginning.forget_queries();
            beginning.rollback(first);
            let slots = parts.slots().iter().map(|_| Anchors::default()).collect();
            Known { first: beginning, slots, used: 0 }
        });
        known.used = self.clock;
        let read = RawPairs::of(sequence, 0..reaches);
        let mut start = first;
        for (slot, (placed, [base, own])) in parts.slots().iter().zip(&bases).enumerate() {
            let text = Placed { slot, ids: &placed.shared, base };
            known.slots[slot].learn(text, own, start, &read, &self.settings);
            start += placed.shared.len() + placed.own.len();
        }
        self.shrink(self.settings.bytes);
        true
    }

    /// What is put together of the words after shared text number `slot`.
    fn own(&self, parts: &Parts, slot: usize) -> Ids {
        let own = &parts.slots()[slot].own;
        match slot + 1 == parts.slots().len() {
            true => own[..own.len() - own.len().min(self.settings.reread)].into(),
            false => own.clone(),
        }
    }

    /// The pairs that every shared text of `parts` has alone, and what is put together of the words after it.
    fn bases_of(&mut self, parts: &Parts) -> Option<Vec<[Arc<RawPairs>; 2]>> {
        self.clock += 1;
        let mut bases = Vec::new();
        for (slot, placed) in parts.slots().iter().enumerate() {
            let shared = self.base(&placed.shared)?;
            let own = match self.own(parts, slot) {
                own if own.is_empty() => Arc::new(RawPairs::none(&shared)),
                own => self.base(&own)?,
            };
            bases.push([shared, own]);
        }
        Some(bases)
    }

    fn base(&mut self, ids: &Ids) -> Option<Arc<RawPairs>> {
        let base = self.bases.get_mut(ids)?;
        base.used = self.clock;
        Some(base.pairs.clone())
    }

    /// Lets go of everything.
    pub fn clear(&mut self) {
        self.bases.clear();
        self.templates.clear();
        self.bytes = 0;
    }

    /// Lets go of what was used longest ago until the rest has at most `limit` bytes.
    pub fn shrink(&mut self, limit: usize) {
        self.count();
        while self.bytes > limit {
            let idle = self.bases.iter().filter(|(_, base)| Arc::strong_count(&base.pairs) == 1);
            let base = idle.min_by_key(|(_, base)| base.used).map(|(ids, base)| (ids.clone(), base.used));
            let template = self.templates.iter().min_by_key(|(_, known)| known.used);
            let template = template.map(|(template, known)| (template.clone(), known.used));
            match (base, template) {
                (Some((ids, used)), template) if template.as_ref().is_none_or(|(_, other)| used <= *other) => {
                    self.bases.remove(&ids);
                }
                (_, Some((template, _))) => {
                    self.templates.remove(&template);
                }
                _ => return,
            }
            self.count();
        }
    }
}

impl Known {
    /// The first `tokens` tokens of a prompt, in the empty `sequence`: `bases`, moved to their places and, if there are `weights`, changed as
    /// the anchors were.
    fn assemble(
        &self,
        mut sequence: Sequence,
        tokens: usize,
        bases: &[[Arc<RawPairs>; 2]],
        weights: Option<&[Weights]>,
    ) -> Sequence {
        sequence.adopt(&self.first);
        parallel::pieces(&mut sequence.layers, 1, |layer, store| {
            let store = &mut store[0];
            for (slot, (anchors, [shared, own])) in self.slots.iter().zip(bases).enumerate() {
                // Nothing that came before has touched the first layer.
                let weights = weights.filter(|_| layer > 0).map(|weights| &weights[slot]);
                let left = |base: &RawPairs, store: &LayerStore| base.tokens.min(tokens.saturating_sub(store.tokens()));
                let [mut keys, mut values] = shared.rows(layer, left(shared, store));
                if let Some(weights) = weights {
                    anchors.shift_shared(weights, layer, [&mut keys, &mut values]);
                }
                append(store, &keys, &values);
                let [mut keys, mut values] = own.rows(layer, left(own, store));
                if let Some(weights) = weights {
                    anchors.shift_own(weights, layer, [&mut keys, &mut values]);
                }
                append(store, &keys, &values);
            }
        });
        sequence.tokens = self.first.tokens().max(tokens);
        sequence.rollback(tokens);
        sequence
    }
}
