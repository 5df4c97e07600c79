//! A list of methods as a field: `#[serde(with = "headwise_spec::chain")] cache: Vec<CachePolicy>`.
//!
//! Reads text with `+`, an object or an array of either; writes the canonical text.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::typed::{from_chain, to_chain_text};
use crate::value::Chain;

/// Reads any form of a chain.
pub fn deserialize<'de, T: DeserializeOwned, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    from_chain(&Chain::deserialize(deserializer)?).map_err(de::Error::custom)
}

/// Writes the canonical text.
pub fn serialize<T: Serialize + DeserializeOwned, S: Serializer>(
    methods: &[T],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&to_chain_text(methods))
}
