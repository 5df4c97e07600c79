//! `adapter_config.json`, key by key.
//!
//! A key that nobody has read is an error unless it says nothing (null, false, or an empty list or object), so that what changes the mathematics in
//! versions of PEFT to come is noticed too.

use serde_json::{Map, Value};

use super::{AdapterError, MODULES};

/// Keys that do not change what the adapted model computes: where it comes from, and how it was trained. `fan_in_fan_out` says how weights lie in
/// memory that an adapter is merged into.
const IGNORED: [&str; 17] = [
    "auto_mapping",
    "base_model_name_or_path",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "fan_in_fan_out",
    "inference_mode",
    "loftq_config",
    "lora_dropout",
    "lora_ga_config",
    "megatron_core",
    "monteclora_config",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "task_type",
];

/// Ways to begin that leave the weights of the model as they are; the others (PiSSA, OLoRA, CorDA, LoftQ, LoRA-GA) take a part out of them.
const STARTS: [&str; 3] = ["gaussian", "eva", "orthogonal"];

/// What an adapter says of itself.
#[derive(Debug)]
pub(super) struct Config {
    rank: usize,
    alpha: f64,
    stable: bool,
    /// Other ranks, by the end of a projection's path.
    ranks: Vec<(String, usize)>,
    /// Other values of alpha, in the same way.
    alphas: Vec<(String, f64)>,
    /// Ends of the paths of what was trained; none if a regular expression says it.
    targets: Option<Vec<String>>,
    /// Whether some of it was left out.
    excludes: bool,
    /// The layers that were trained, if not all.
    layers: Option<Vec<usize>>,
}

impl Config {
    /// Reads the text of an `adapter_config.json`.
    pub fn parse(text: &str) -> Result<Self, AdapterError> {
        let mut keys = Keys(serde_json::from_str(text).map_err(AdapterError::Syntax)?);
        keys.take("peft_type", "LORA, the only type that is understood", |value| {
            value.as_str().filter(|kind| *kind == "LORA").map(drop)
        })?;
        keys.may("bias", "none: trained biases are not understood, so train without them", |value| {
            value.as_str().filter(|bias| *bias == "none").map(drop)
        })?;
        let start = "true, false, gaussian, eva or orthogonal: other starts change the model's own weights, so convert the adapter with \
                     PEFT's `path_initial_model_for_weight_conversion`";
        keys.may("init_lora_weights", start, |value| match value {
            Value::Bool(_) => Some(()),
            value => STARTS.contains(&value.as_str()?).then_some(()),
        })?;
        keys.may("layers_pattern", "layers, the name that layers have in models of this form", |value| match value {
            Value::Array(names) if names.is_empty() || names == &["layers"] => Some(()),
            value => ["", "layers"].contains(&value.as_str()?).then_some(()),
        })?;
        let config = Self {
            rank: keys.take("r", "a whole number from 1 on", rank)?,
            alpha: keys.take("lora_alpha", "a number", Value::as_f64)?,
            stable: keys.may("use_rslora", "true or false", Value::as_bool)?.unwrap_or(false),
            ranks: keys
                .may("rank_pattern", "names of modules, each with a rank", |value| pattern(value, rank))?
                .unwrap_or_default(),
            alphas: keys
                .may("alpha_pattern", "names of modules, each with a number", |value| pattern(value, Value::as_f64))?
                .unwrap_or_default(),
            targets: keys.take("target_modules", TARGETS, targets)?,
            excludes: keys.may("exclude_modules", "names of modules", |value| Some(*value != Value::Array(vec![])))?
                == Some(true),
            layers: keys.may("layers_to_transform", "numbers of layers", layers)?,
        };
        keys.finish()?;
        Ok(config)
    }

    /// The rank of the projection `path`, and the factor of what is added to it.
    pub fn rank_and_scale(&self, path: &str) -> Result<(usize, f32), AdapterError> {
        let rank = of(&self.ranks, "rank_pattern", path)?.unwrap_or(self.rank);
        let alpha = of(&self.alphas, "alpha_pattern", path)?.unwrap_or(self.alpha);
        let divisor = if self.stable { (rank as f64).sqrt() } else { rank as f64 };
        Ok((rank, (alpha / divisor) as f32))
    }

    /// Whether the projection `path` was to be trained; none where a regular expression says it.
    pub fn targets(&self, path: &str) -> Option<bool> {
        Some(self.targets.as_ref()?.iter().any(|target| ends_with(path, target)))
    }

    /// Whether the file must have the projection `path` of layer `layer`.
    pub fn needs(&self, layer: usize, path: &str) -> bool {
        let trained = self.layers.as_ref().is_none_or(|layers| layers.contains(&layer));
        trained && !self.excludes && self.targets(path) == Some(true)
    }
}

/// The keys that have not been read.
struct Keys(Map<String, Value>);

impl Keys {
    /// Takes the value of `key`, if it has one, as `read` understands it.
    fn may<T>(
        &mut self,
        key: &str,
        expected: &'static str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>, AdapterError> {
        match self.0.remove(key).filter(|value| !value.is_null()) {
            None => Ok(None),
            Some(value) => read(&value).map(Some).ok_or_else(|| setting(key, value.to_string(), expected)),
        }
    }

    /// Takes the value of `key`, which must have one.
    fn take<T>(
        &mut self,
        key: &str,
        expected: &'static str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<T, AdapterError> {
        self.may(key, expected, read)?.ok_or_else(|| setting(key, "missing".into(), expected))
    }

    /// An error if a key is left that may change what is computed.
    fn finish(self) -> Result<(), AdapterError> {
        let nothing = |value: &Value| match value {
            Value::Null | Value::Bool(false) => true,
            Value::Array(values) => values.is_empty(),
            Value::Object(map) => map.is_empty(),
            _ => false,
        };
        let expected = "nothing, null or false: it changes the mathematics and is not understood";
        match self.0.iter().find(|(key, value)| !IGNORED.contains(&key.as_str()) && !nothing(value)) {
            Some((key, value)) => Err(setting(key, value.to_string(), expected)),
            None => Ok(()),
        }
    }
}

fn setting(key: &str, value: String, expected: &'static str) -> AdapterError {
    AdapterError::Setting { key: key.into(), value, expected }
}

fn rank(value: &Value) -> Option<usize> {
    value.as_u64().filter(|rank| *rank > 0).and_then(|rank| usize::try_from(rank).ok())
}

/// Names of modules, each with what `read` makes of its value. Regular expressions are not understood, but for dots, which stand for themselves.
fn pattern<T>(value: &Value, read: impl Fn(&Value) -> Option<T>) -> Option<Vec<(String, T)>> {
    let plain = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.".contains(&byte));
    let entry = |(name, value): (&String, &Value)| Some((Some(name.clone()).filter(|name| plain(name))?, read(value)?));
    value.as_object()?.iter().map(entry).collect()
}

const TARGETS: &str = "names of modules: q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj and down_proj";

/// What was trained; none inside where a regular expression says it.
fn targets(value: &Value) -> Option<Option<Vec<String>>> {
    let Some(names) = value.as_array() else { return value.is_string().then_some(None) };
    let names: Vec<String> = names.iter().map(|name| name.as_str().map(str::to_owned)).collect::<Option<_>>()?;
    // Each stands for a projection, of all layers or of one.
    let known = |name: &String| {
        let inner = name.strip_prefix("model.layers.").and_then(|rest| Some(rest.split_once('.')?.1)).unwrap_or(name);
        MODULES.iter().any(|(module, _)| ends_with(module, inner))
    };
    (!names.is_empty() && names.iter().all(known)).then_some(Some(names))
}

fn layers(value: &Value) -> Option<Vec<usize>> {
    let number = |value: &Value| value.as_u64().and_then(|layer| usize::try_from(layer).ok());
    match value {
        Value::Array(layers) => layers.iter().map(number).collect(),
        layer => Some(vec![number(layer)?]),
    }
}

/// Whether `path` is `end`, or ends with it after a dot.
fn ends_with(path: &str, end: &str) -> bool {
    path.strip_suffix(end).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// The value of the pattern that matches `path`, if one does.
fn of<T: Copy + PartialEq>(patterns: &[(String, T)], key: &'static str, path: &str) -> Result<Option<T>, AdapterError> {
    let mut found = patterns.iter().filter(|(end, _)| ends_with(path, end)).map(|(_, value)| *value);
    let first = found.next();
    match found.any(|other| Some(other) != first) {
        true => Err(AdapterError::Ambiguous { key, module: path.into() }),
        false => Ok(first),
    }
}
