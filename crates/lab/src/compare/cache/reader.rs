//! Reading a prompt once for all policies that can share it.

use headwise_engine::cache::CachePolicy;
use headwise_engine::{Engine, EngineError, SharedPrefill};

use super::answer::Begun;

/// Reads prompts for some of the policies.
pub(super) enum Reader<'a> {
    /// Policies that wait for the end of the prompt and store pairs alike.
    Shared {
        /// Their places in the comparison.
        places: Vec<usize>,
        policies: Vec<&'a CachePolicy>,
        prefill: SharedPrefill<'a>,
    },
    /// A policy that evicts while it reads.
    Alone { place: usize, policy: &'a CachePolicy, engine: &'a Engine },
}

/// Readers that together serve all of `policies`.
pub(super) fn readers<'a>(engine: &'a Engine, policies: &'a [CachePolicy]) -> Vec<Reader<'a>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (place, policy) in policies.iter().enumerate() {
        let shares = |group: &&mut Vec<usize>| {
            let other = &policies[group[0]];
            policy.waits_for_the_end() && other.waits_for_the_end() && policy.codec() == other.codec()
        };
        match groups.iter_mut().find(shares) {
            Some(group) => group.push(place),
            None => groups.push(vec![place]),
        }
    }
    let reader = |places: Vec<usize>| {
        let together: Vec<&CachePolicy> = places.iter().map(|&place| &policies[place]).collect();
        match SharedPrefill::new(engine, &together) {
            Some(prefill) => vec![Reader::Shared { places, policies: together, prefill }],
            None => places.into_iter().map(|place| Reader::Alone { place, policy: &policies[place], engine }).collect(),
        }
    };
    groups.into_iter().flat_map(reader).collect()
}

impl Reader<'_> {
    /// The policies it reads for, by their places in the comparison; the order of [`Reader::read`].
    pub fn places(&self) -> &[usize] {
        match self {
            Self::Shared { places, .. } => places,
            Self::Alone { place, .. } => std::slice::from_ref(place),
        }
    }

    /// How long a prompt takes, against the other readers: about six policies' share of compressing and answering goes
    /// into reading it.
    pub fn weight(&self) -> f64 {
        6.0 + self.places().len() as f64
    }

    /// The prompt `ids`, read and ended under every policy.
    pub fn read(&mut self, ids: &[u32]) -> Result<Vec<Begun>, EngineError> {
        match self {
            Self::Shared { policies, prefill, .. } => {
                let read = prefill.read(ids, |_| {})?;
                let begun =
                    |policy: &&CachePolicy| Ok(Begun { sequence: read.under(policy)?, logits: read.logits().to_vec() });
                policies.iter().map(begun).collect()
            }
            Self::Alone { policy, engine, .. } => {
                let mut sequence = engine.sequence(policy)?;
                let logits = engine.prefill(&mut sequence, ids, |_| {})?.last().to_vec();
                Ok(vec![Begun { sequence, logits }])
            }
        }
    }
}
