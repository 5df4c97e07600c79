//! How much an evicting policy may keep, and when it evicts: the parameters that all of them share.

use headwise_spec::bytes;
use serde::{Deserialize, Serialize};

/// When a policy evicts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// The prompt is read with full attention, then compressed; the budget holds from there on.
    #[default]
    End,
    /// Also after every chunk of the prompt, so memory never exceeds the budget by more than a chunk.
    Chunk,
}

/// How much may be kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// Pairs per key-value head and layer, as a mean over layers.
    Pairs(usize),
    /// Share of the text so far, above 0 and at most 1.
    Share(f64),
    /// Bytes of the whole cache.
    Bytes(u64),
}

/// The parameters that every evicting policy has.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// How much may be kept.
    pub limit: Limit,
    /// When to evict.
    pub when: When,
    /// Kept keys are moved to consecutive positions.
    pub reindex: bool,
    /// Pairs that leave together with the one over budget while decoding.
    pub slack: usize,
}

impl Limits {
    /// Checks the shared parameters of the policy `name`.
    pub fn new(
        name: &str,
        budget: Option<usize>,
        keep: Option<f64>,
        bytes: Option<&str>,
        when: When,
        reindex: bool,
        slack: usize,
    ) -> Result<Self, String> {
        let limit = match (budget, keep, bytes) {
            (Some(0), None, None) => return Err(format!("`{name}`: budget=0 keeps nothing: it must be at least 1")),
            (Some(pairs), None, None) => Limit::Pairs(pairs),
            (None, Some(share), None) if share > 0.0 && share <= 1.0 => Limit::Share(share),
            (None, Some(share), None) => {
                return Err(format!("`{name}`: keep={share} is not a share: it must be above 0 and at most 1"));
            }
            (None, None, Some(text)) => {
                Limit::Bytes(bytes::parse(text).map_err(|error| format!("`{name}`: bytes: {error}"))?)
            }
            _ => {
                return Err(format!(
                    "`{name}` takes exactly one of budget=PAIRS, keep=SHARE and bytes=\"32MiB\", for example `{name}(keep=0.25)`"
                ));
            }
        };
        Ok(Self { limit, when, reindex, slack })
    }

    /// Pairs per key-value head and layer after `tokens` of text, when a pair of all heads and layers costs
    /// `pair_bytes` and there are `stores` heads in all layers.
    pub fn pairs(&self, tokens: usize, pair_bytes: usize, stores: usize) -> usize {
        match self.limit {
            Limit::Pairs(pairs) => pairs,
            Limit::Share(share) => ((tokens as f64 * share + 1e-9) as usize).max(1),
            Limit::Bytes(bytes) => ((bytes / (pair_bytes * stores).max(1) as u64) as usize).max(1),
        }
    }
}

/// Declares an evicting policy: its own parameters, and after them those that all share.
macro_rules! evicting {
    (
        $name:literal, reindex = $reindex:literal;
        $(#[doc = $about:literal])+
        $vis:vis struct $policy:ident {
            $( $(#[doc = $doc:literal])+ $field_vis:vis $field:ident: $kind:ty = $default:expr ),* $(,)?
        }
    ) => {
        headwise_spec::method! {
            $(#[doc = $about])+
            $vis struct $policy {
                $( $(#[doc = $doc])+ $field_vis $field: $kind = $default, )*
                /// Pairs kept per key-value head and layer.
                pub budget: Option<usize> = None,
                /// Share of the text kept, above 0 and at most 1.
                pub keep: Option<f64> = None,
                /// Size of the whole cache, such as "32MiB".
                pub bytes: Option<String> = None,
                /// When to evict: `end` of the prompt, or after every `chunk` of it too.
                pub when: crate::cache::When = crate::cache::When::End,
                /// Kept keys are moved to consecutive positions.
                pub reindex: bool = $reindex,
                /// More pairs that leave with the first one over budget while decoding, at most an eighth of the budget; 0
                /// evicts at every step, as most papers do, which costs a copy of the store per token.
                pub slack: usize = 32,
            }
        }

        impl $policy {
            fn shared_limits(&self) -> Result<crate::cache::Limits, String> {
                crate::cache::Limits::new(
                    $name,
                    self.budget,
                    self.keep,
                    self.bytes.as_deref(),
                    self.when,
                    self.reindex,
                    self.slack,
                )
            }
        }
    };
}
pub(super) use evicting;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_limit_is_taken() {
        let limits = |budget, keep, bytes| Limits::new("h2o", budget, keep, bytes, When::End, false, 0);
        assert_eq!(limits(Some(64), None, None).unwrap().limit, Limit::Pairs(64));
        assert_eq!(limits(None, None, Some("2MiB")).unwrap().limit, Limit::Bytes(2 << 20));
        for (wrong, says) in [
            (limits(None, None, None), "exactly one of"),
            (limits(Some(1), Some(0.5), None), "exactly one of"),
            (limits(Some(0), None, None), "at least 1"),
            (limits(None, Some(0.0), None), "above 0"),
            (limits(None, Some(1.5), None), "at most 1"),
            (limits(None, Some(f64::NAN), None), "above 0"),
            (limits(None, None, Some("32")), "32MiB"),
            (limits(None, None, Some("-1MiB")), "32MiB"),
        ] {
            assert!(wrong.clone().unwrap_err().contains(says), "{wrong:?}");
        }
    }

    #[test]
    fn pairs_follow_the_limit() {
        let pairs = |limit| Limits { limit, when: When::End, reindex: false, slack: 0 }.pairs(1000, 256, 90);
        assert_eq!(pairs(Limit::Pairs(7)), 7);
        assert_eq!(pairs(Limit::Share(0.25)), 250);
        assert_eq!(pairs(Limit::Share(0.0001)), 1);
        assert_eq!(pairs(Limit::Bytes(256 * 90 * 33)), 33);
    }
}
