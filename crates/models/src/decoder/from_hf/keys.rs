//! Reading `config.json` key by key, so that a key nobody read is noticed.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::super::LoadError;

/// Keys that do not change what the model computes: tokens, training, storage, and how other programs run it.
const IGNORED: [&str; 21] = [
    "_attn_implementation_autoset",
    "_name_or_path",
    "attention_dropout",
    "attn_implementation",
    "bos_token_id",
    "cache_implementation",
    "dtype",
    "eos_token_id",
    "initializer_range",
    "is_llama_config",
    "name_or_path",
    "output_attentions",
    "output_hidden_states",
    "pad_token_id",
    "pretraining_tp",
    "torch_dtype",
    "transformers.js_config",
    "transformers_version",
    "unsloth_fixed",
    "unsloth_version",
    "use_cache",
];

/// Keys that change what the model computes, unless they are false.
const FALSE: [&str; 7] = [
    "add_cross_attention",
    "attention_bias",
    "is_encoder_decoder",
    "mlp_bias",
    "rope_interleaved",
    "use_bidirectional_attention",
    "use_mrope",
];

/// Keys that change what the model computes, unless they are one.
const ONE: [&str; 1] = ["partial_rotary_factor"];

/// The keys of a JSON object that are not read yet. A null stands for a key that is not there.
pub struct Keys {
    /// Named by errors.
    architecture: String,
    /// What the object itself is called, with a dot.
    prefix: String,
    map: Map<String, Value>,
}

impl Keys {
    /// The keys of the JSON object `text`.
    pub fn parse(text: &str) -> Result<Self, LoadError> {
        let map = serde_json::from_str(text).map_err(LoadError::ConfigSyntax)?;
        Ok(Self { architecture: String::new(), prefix: String::new(), map })
    }

    /// Says which architecture this is, for errors.
    pub fn set_architecture(&mut self, architecture: &str) {
        self.architecture = architecture.into();
    }

    /// Takes the value of `key`; none if it is missing or null.
    pub fn take<T: Setting>(&mut self, key: &str) -> Result<Option<T>, LoadError> {
        Ok(self.take_stated(key)?.flatten())
    }

    /// Takes the value of `key`; none if it is missing, and none inside if it is null.
    pub fn take_stated<T: Setting>(&mut self, key: &str) -> Result<Option<Option<T>>, LoadError> {
        let Some(value) = self.map.remove(key) else { return Ok(None) };
        if value.is_null() {
            return Ok(Some(None));
        }
        match serde_json::from_value(value.clone()) {
            Ok(read) => Ok(Some(Some(read))),
            Err(_) => Err(self.wrong(key, value, T::EXPECTED)),
        }
    }

    /// Takes the value of `key`, which must be there.
    pub fn need<T: Setting>(&mut self, key: &str) -> Result<T, LoadError> {
        self.take(key)?.ok_or_else(|| self.wrong(key, "missing", T::EXPECTED))
    }

    /// Takes the object at `key`, if there is one.
    pub fn section(&mut self, key: &str) -> Result<Option<Self>, LoadError> {
        let Some(map) = self.take(key)? else { return Ok(None) };
        let prefix = format!("{}{key}.", self.prefix);
        Ok(Some(Self { architecture: self.architecture.clone(), prefix, map }))
    }

    /// An error about the value of `key`.
    pub fn wrong(&self, key: &str, value: impl ToString, expected: impl Into<String>) -> LoadError {
        let key = format!("{}{key}", self.prefix);
        LoadError::ConfigValue { key, value: value.to_string(), expected: expected.into() }
    }

    /// An error about a value of `key` that nothing here can compute.
    pub fn not_understood(&self, key: &str, value: impl ToString) -> LoadError {
        let key = format!("{}{key}", self.prefix);
        LoadError::Setting { architecture: self.architecture.clone(), key, value: value.to_string() }
    }

    /// An error if a key is left that may change what the model computes.
    pub fn finish(self) -> Result<(), LoadError> {
        let harmless = |key: &str, value: &Value| {
            value.is_null()
                || IGNORED.contains(&key)
                || FALSE.contains(&key) && value == &Value::Bool(false)
                || ONE.contains(&key) && value.as_f64() == Some(1.0)
        };
        match self.map.iter().find(|(key, value)| !harmless(key, value)) {
            Some((key, value)) => Err(self.not_understood(key, value)),
            None => Ok(()),
        }
    }
}

/// A type that a key may have.
pub trait Setting: DeserializeOwned {
    /// What the value must be, in words.
    const EXPECTED: &str;
}

impl Setting for usize {
    const EXPECTED: &str = "a whole number";
}

impl Setting for f64 {
    const EXPECTED: &str = "a number";
}

impl Setting for bool {
    const EXPECTED: &str = "true or false";
}

impl Setting for String {
    const EXPECTED: &str = "a string";
}

impl Setting for Vec<String> {
    const EXPECTED: &str = "a list of strings";
}

impl Setting for Map<String, Value> {
    const EXPECTED: &str = "an object";
}
