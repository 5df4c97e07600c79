//! KVCOMM: keys and values of shared text under prefixes that differ (Ye et al., 2025, arXiv 2510.12872).
//!
//! Agents that work together read the same documents, questions and answers, each behind its own instructions. No prefix cache helps: the
//! keys and values of a text depend on all that stands before it. KVCOMM keeps those that the text has alone, its *base*, and learns what a
//! prefix adds to them from *anchors*: other texts that stood in the same place. A prompt whose texts are near enough to
//! anchors is put together from bases, moved to their positions, and the anchors' deviations, blended by nearness. Only its end is read.
//!
//! What is put together is an estimate, so it is for prompts that [ask for it](Parts), and whoever asked is told how many tokens were estimated.
//! Keys are compared and blended as they were before rotation, so positions do not matter and nothing is rotated twice.

mod anchors;
mod matching;
mod parts;
mod pool;
mod raw;

pub use self::parts::{Parts, PartsError, Slot};
pub use self::pool::{Estimate, KvComm, KvCommError, KvCommSettings, Needed, Unlike};

use crate::cache::CachePolicy;
use crate::{Engine, EngineError, Sequence};

/// A prompt that has been read, but for its last tokens.
#[derive(Debug)]
pub struct ReadParts {
    /// The text so far.
    pub sequence: Sequence,
    /// Tokens whose keys and values were estimated; 0 if all were read.
    pub estimated: usize,
    /// Why all were read.
    pub unlike: Option<Unlike>,
}

impl Engine {
    /// Reads `parts` but for its last token: from what `pool` knows if that is enough, or from the first token to the last, from which
    /// `pool` learns.
    pub fn read_parts(&self, pool: &mut KvComm, parts: &Parts, policy: &CachePolicy) -> Result<ReadParts, EngineError> {
        pool.check(self, policy)?;
        for needed in pool.needed(parts) {
            let mut base = self.sequence(pool.policy())?;
            self.read_on(&mut base, &needed.ids(self))?;
            pool.learn_base(&needed, &base);
        }
        let ids = parts.ids();
        let (mut sequence, unlike) = match self.install(|| pool.estimate(self, parts, policy))? {
            Ok(Estimate { sequence, .. }) => (sequence, None),
            Err(unlike) => (self.sequence(policy)?, Some(unlike)),
        };
        let estimated = sequence.tokens();
        self.read_on(&mut sequence, &ids[estimated..ids.len() - 1])?;
        if unlike.is_some() {
            self.install(|| pool.learn(parts, &sequence));
        }
        Ok(ReadParts { sequence, estimated, unlike })
    }
}
