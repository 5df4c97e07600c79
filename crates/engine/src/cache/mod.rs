//! What stays in the key-value cache, and in which form.
//!
//! A cache is named by a chain of methods: evicting policies in the order they apply, and at most one storage codec,
//! for example `snapkv(keep=0.25) + int8`. [`CachePolicy::parse`] reads it. An evicting policy is a file with one
//! [`Evictor`]: it scores slots; [`evict`] does budgets, ties, sinks and windows for all of them.

mod codecs;
mod evict;
mod full;
mod limits;
mod policy;
mod query_window;
mod snapkv;
mod store;
mod streaming;

pub use codecs::{Bf16, F16, F32};
pub use evict::{Evictor, Plan, Protected};
pub use full::Full;
pub use limits::{Limit, Limits, When};
pub use policy::{CachePolicy, PolicyError};
pub(crate) use policy::{Place, Stage};
pub use query_window::QueryWindow;
pub use snapkv::SnapKv;
pub use store::{HeadStatistics, LayerStore, Needs, StoreShape};
pub use streaming::Streaming;

headwise_spec::family! {
    /// The methods a cache is made of.
    pub enum CacheMethod: "cache" {
        full => Full,
        streaming => Streaming,
        snapkv => SnapKv,
        f32 => F32,
        f16 => F16,
        bf16 => Bf16,
    }
}

/// What a method contributes to a cache.
pub enum Part {
    /// Nothing: everything stays.
    Nothing,
    /// An evicting policy.
    Evictor(std::sync::Arc<dyn Evictor>),
    /// A storage format.
    Codec(headwise_kernels::kv::Codec),
}

impl CacheMethod {
    /// The method as a part of a cache.
    pub fn part(&self) -> Part {
        use headwise_kernels::kv::Codec;
        match self {
            Self::Full(_) => Part::Nothing,
            Self::Streaming(policy) => Part::Evictor(std::sync::Arc::new(policy.clone())),
            Self::SnapKv(policy) => Part::Evictor(std::sync::Arc::new(policy.clone())),
            Self::F32(_) => Part::Codec(Codec::F32),
            Self::F16(_) => Part::Codec(Codec::F16),
            Self::Bf16(_) => Part::Codec(Codec::Bf16),
        }
    }
}
