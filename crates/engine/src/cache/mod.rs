//! What stays in the key-value cache, and in which form.
//!
//! A cache is named by a chain of methods: at most one filter of prompts ([`PromptFilter`]), evicting policies in the order they apply, at
//! most one division of their budgets over heads, and at most one storage codec, for example `adakv + snapkv(keep=0.25) + int8`.
//! [`CachePolicy::parse`] reads it. An evicting policy is a file with one [`Evictor`]: it scores slots; [`evict`] does budgets, ties, sinks
//! and windows for all of them. At most one policy of reading, a [`Selector`], says which of the pairs that stay a query reads:
//! `snapkv(keep=0.5) + quest(budget=512) + int8`. [`Act`] evicts nothing: it moves attention.

mod act;
mod adakv;
mod chunk_keys;
mod codecs;
mod compensation;
mod division;
mod error;
mod evict;
pub mod expected_attention;
mod full;
mod gemfilter;
mod h2o;
mod hip;
pub mod keydiff;
pub mod knorm;
mod limits;
mod long_heads;
mod policy;
mod prompt_filter;
pub mod pyramidkv;
mod query_moments;
mod query_window;
mod quest;
pub mod random;
#[cfg(test)]
mod random_pairs;
mod razor;
mod read;
mod received;
mod recycled;
mod saved;
mod select;
pub mod snapkv;
mod statistics;
mod store;
mod streaming;
mod token_select;
pub mod tova;
mod tree_search;
mod uncomp_groups;
mod uncomp_stages;
mod whole_heads;

use std::sync::Arc;

use headwise_kernels::kv::Codec;

pub use act::Act;
pub use adakv::AdaKv;
pub use chunk_keys::ChunkKeys;
pub use codecs::{Bf16, F16, F32, Int4, Int8, Kivi2, Kivi4};
pub use division::Division;
pub use error::PolicyError;
pub use evict::{Evictor, Plan, Protected};
pub use expected_attention::ExpectedAttention;
pub use full::Full;
pub use gemfilter::GemFilter;
pub use h2o::H2o;
pub use hip::Hip;
pub use keydiff::KeyDiff;
pub use knorm::Knorm;
pub use limits::{Limit, Limits, When};
pub use long_heads::LongHeads;
pub use policy::CachePolicy;
pub(crate) use policy::{KnownHeads, Place, Stage};
pub use prompt_filter::{Chosen, PromptFilter};
pub use pyramidkv::PyramidKv;
pub use query_moments::{FIRST_QUERIES, QueryMoments};
pub use query_window::QueryWindow;
pub use quest::Quest;
pub use random::Random;
pub use razor::Razor;
pub(crate) use read::read;
pub use recycled::Recycled;
pub(crate) use select::Read;
pub use select::{Memory, PairsRead, Reading, Selection, Selector};
pub use snapkv::SnapKv;
pub use statistics::{HeadStatistics, Needs};
pub use store::{Attended, LayerStore, NewPairs, StoreShape};
pub use streaming::Streaming;
pub use token_select::TokenSelect;
pub use tova::Tova;
pub use tree_search::{Representative, TreeSearch};
pub use uncomp_groups::UncompGroups;
pub use uncomp_stages::UncompStages;
pub use whole_heads::{WholeHeads, WholeShare};

headwise_spec::family! {
    /// The methods a cache is made of.
    pub enum CacheMethod: "cache" {
        full => Full,
        streaming => Streaming,
        h2o => H2o,
        snapkv => SnapKv,
        pyramidkv => PyramidKv,
        tova => Tova,
        knorm => Knorm,
        keydiff => KeyDiff,
        expected_attention => ExpectedAttention,
        random => Random,
        razor => Razor,
        adakv => AdaKv,
        uncomp_groups => UncompGroups,
        uncomp_stages => UncompStages,
        act => Act,
        quest => Quest,
        token_select => TokenSelect,
        recycled => Recycled,
        long_heads => LongHeads,
        hip => Hip,
        gemfilter => GemFilter,
        f32 => F32,
        f16 => F16,
        bf16 => Bf16,
        int8 => Int8,
        int4 => Int4,
        kivi4 => Kivi4,
        kivi2 => Kivi2,
    }
}

/// What a method contributes to a cache.
pub enum Part {
    /// Nothing: everything stays.
    Nothing,
    /// An evicting policy.
    Evictor(Arc<dyn Evictor>),
    /// A policy of reading.
    Selector(Arc<dyn Selector>),
    /// What chooses the tokens of a prompt that are read.
    Filter(Arc<dyn PromptFilter>),
    /// How many tokens of a prompt each layer reads.
    Stages(UncompStages),
    /// How the budget of a layer is divided over its heads.
    Division(Division),
    /// How attention is moved once it is there.
    Calibration(Act),
    /// A storage format.
    Codec(Codec),
}

impl CacheMethod {
    /// Whether it lets go of tokens, or does not read them all.
    pub fn lets_go(&self) -> bool {
        matches!(self.part(), Part::Evictor(_) | Part::Filter(_) | Part::Stages(_))
    }

    /// The method as a part of a cache.
    pub fn part(&self) -> Part {
        match self {
            Self::Full(_) => Part::Nothing,
            Self::Streaming(policy) => Part::evictor(policy),
            Self::H2o(policy) => Part::evictor(policy),
            Self::SnapKv(policy) => Part::evictor(policy),
            Self::PyramidKv(policy) => Part::evictor(policy),
            Self::Tova(policy) => Part::evictor(policy),
            Self::Knorm(policy) => Part::evictor(policy),
            Self::KeyDiff(policy) => Part::evictor(policy),
            Self::ExpectedAttention(policy) => Part::evictor(policy),
            Self::Random(policy) => Part::evictor(policy),
            Self::Quest(policy) => Part::selector(policy),
            Self::TokenSelect(policy) => Part::selector(policy),
            Self::Recycled(policy) => Part::selector(policy),
            Self::LongHeads(policy) => Part::selector(policy),
            Self::Hip(policy) => Part::selector(policy),
            Self::GemFilter(filter) => Part::Filter(Arc::new(filter.clone())),
            Self::Razor(policy) => Part::evictor(policy),
            Self::AdaKv(division) => Part::Division(Division::Scores(division.clone())),
            Self::UncompGroups(division) => Part::Division(Division::Entropies(division.clone())),
            Self::UncompStages(stages) => Part::Stages(stages.clone()),
            Self::Act(act) => Part::Calibration(act.clone()),
            Self::F32(_) => Part::Codec(Codec::F32),
            Self::F16(_) => Part::Codec(Codec::F16),
            Self::Bf16(_) => Part::Codec(Codec::Bf16),
            Self::Int8(_) => Part::Codec(Codec::Int8),
            Self::Int4(_) => Part::Codec(Codec::Int4),
            Self::Kivi4(_) => Part::Codec(Codec::Kivi4),
            Self::Kivi2(_) => Part::Codec(Codec::Kivi2),
        }
    }
}

impl Part {
    fn evictor<E: Evictor + Clone + 'static>(policy: &E) -> Self {
        Self::Evictor(Arc::new(policy.clone()))
    }

    fn selector<S: Selector + Clone + 'static>(policy: &S) -> Self {
        Self::Selector(Arc::new(policy.clone()))
    }
}
