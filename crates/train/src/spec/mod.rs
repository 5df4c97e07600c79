//! The description of a training run, as a TOML file holds it.

mod error;
mod place;

use std::path::PathBuf;

use headwise_models::decoder::{DecoderSpec, ModelFamily};
use headwise_nn::block::{BlockSpec, Norms};
use headwise_nn::channel::ChannelSpec;
use headwise_nn::mixer::MixerSpec;
use headwise_nn::norm::NormSpec;
use headwise_nn::position::InputPositionSpec;
use serde::{Deserialize, Serialize};

use crate::data::{Bytes, SourceSpec, TokenizerSpec};
use crate::distil::DistilSpec;
use crate::loss::Loss;
use crate::objective::ObjectiveSpec;
use crate::optimiser::OptimiserSpec;
use crate::restraint::Restraint;
use crate::schedule::Schedule;
use crate::start::StartSpec;
use crate::supernet::Supernet;

pub use error::SpecError;
use error::with_nearest;

/// A training run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainSpec {
    /// What its paths are relative to; empty where there is no file.
    #[serde(skip)]
    pub folder: PathBuf,
    /// Seed of the weights and of everything random in the data.
    #[serde(default)]
    pub seed: u64,
    /// What the model learns to say.
    #[serde(default, skip_serializing_if = "is_default")]
    pub objective: ObjectiveSpec,
    /// What its predictions cost.
    #[serde(default, skip_serializing_if = "is_default")]
    pub loss: Loss,
    /// What turns gradients into new weights.
    #[serde(default = "default_optimiser")]
    pub optimiser: OptimiserSpec,
    /// The learning rate over the run.
    #[serde(default = "default_schedule")]
    pub schedule: Schedule,
    /// The norm of all gradients together is brought down to this; none leaves it.
    #[serde(default)]
    pub clip: Option<f64>,
    /// The share of an average of the weights that stays at every step; none keeps no average.
    #[serde(default)]
    pub average: Option<f64>,
    /// What the matrices of the layers are held to while they learn; none leaves them free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restraint: Option<Restraint>,
    /// Which parts of the model every step trains besides the whole; none trains the whole alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supernet: Option<Supernet>,
    /// The teacher of the model, and what of it the model learns; none has no teacher.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distil: Option<DistilSpec>,
    /// The model.
    pub model: ModelSpec,
    /// What it learns from.
    pub data: DataSpec,
    /// The parts of the run, one after the other.
    pub stages: Vec<Stage>,
    /// How the model is measured during the run.
    #[serde(default)]
    pub evaluation: Option<EvaluationSpec>,
    /// When the run is saved.
    #[serde(default)]
    pub checkpoints: CheckpointSpec,
}

/// Keys that are left alone are not written, so that a run keeps its hash when keys are added.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn default_optimiser() -> OptimiserSpec {
    crate::optimiser::AdamWSpec::default().into()
}

fn default_schedule() -> Schedule {
    crate::schedule::Cosine::default().into()
}

/// A model to be trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// Which tokens its layers see: all of a `decoder` are causal, none of an `encoder`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub family: ModelFamily,
    /// Tokens known; none takes as many as tokenizer, sources and objective have.
    #[serde(default)]
    pub vocabulary: Option<usize>,
    /// Channels of the residual stream.
    pub dim: usize,
    /// Longest text, in tokens.
    pub context: usize,
    /// Added to the mean square in every norm.
    #[serde(default = "default_epsilon")]
    pub epsilon: f64,
    /// Vectors that say where tokens stand, added to those of the tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<InputPositionSpec>,
    /// The output head is the embedding.
    #[serde(default)]
    pub tied: bool,
    /// Channels of the token vectors where they are fewer than `dim`: a matrix widens them, and another narrows what the output head reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding_dim: Option<usize>,
    /// So many layers in a row have the same weights, each with keys and values of its own; as many as there are layers is ALBERT.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub shared_by: usize,
    /// Token vectors are multiplied by this: at the start they have a standard deviation of 0.02, far less than what layers add.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding_scale: Option<f32>,
    /// The weights that training starts from.
    #[serde(default, skip_serializing_if = "is_default")]
    pub start: StartSpec,
    /// The layers, first to last.
    pub layers: Vec<LayerSpec>,
}

fn default_epsilon() -> f64 {
    1e-6
}

/// Layers that are alike.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerSpec {
    /// How many there are, one after the other.
    #[serde(default = "one")]
    pub repeat: usize,
    /// The token mixer.
    pub mixer: MixerSpec,
    /// The channel mixer; none leaves the token mixer alone.
    #[serde(default)]
    pub channel: Option<ChannelSpec>,
    /// Where norms stand.
    #[serde(default)]
    pub norms: Norms,
    /// Which norm.
    #[serde(default)]
    pub norm: NormSpec,
}

fn one() -> usize {
    1
}

fn is_one(value: &usize) -> bool {
    *value == 1
}

impl ModelSpec {
    /// The decoder that this describes, with so many tokens if none are given.
    pub fn decoder(&self, vocabulary: usize) -> DecoderSpec {
        let block = |layer: &LayerSpec| BlockSpec {
            mixer: layer.mixer.clone(),
            channel: layer.channel.clone(),
            norms: layer.norms,
            norm: layer.norm,
        };
        DecoderSpec {
            family: self.family,
            vocabulary: self.vocabulary.unwrap_or(vocabulary),
            dim: self.dim,
            context: self.context,
            epsilon: self.epsilon,
            embedding_scale: self.embedding_scale,
            position: self.position.clone(),
            tied: self.tied,
            final_norm: true,
            final_softcap: None,
            embedding_dim: self.embedding_dim,
            shared_by: self.shared_by,
            sentinels: None,
            layers: self.layers.iter().flat_map(|layer| std::iter::repeat_n(block(layer), layer.repeat)).collect(),
        }
    }
}

/// What a model learns from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSpec {
    /// How text becomes tokens.
    #[serde(default = "default_tokenizer")]
    pub tokenizer: TokenizerSpec,
    /// The sources, mixed by their weights.
    pub sources: Vec<SourceSpec>,
}

fn default_tokenizer() -> TokenizerSpec {
    Bytes {}.into()
}

/// A part of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// Steps of the optimiser.
    pub steps: u64,
    /// Sequences of a step.
    pub sequences: u64,
    /// Most tokens of a sequence.
    pub length: usize,
    /// Into so many parts the sequences of a step are cut, to save memory; their gradients are added.
    #[serde(default = "one")]
    pub parts: usize,
    /// What this part learns from; none takes the sources of `data`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sources: Option<Vec<SourceSpec>>,
}

/// How a model is measured during a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluationSpec {
    /// Steps between evaluations.
    #[serde(default = "hundred")]
    pub every: u64,
    /// Sequences measured.
    #[serde(default = "sixteen")]
    pub sequences: u64,
    /// Most tokens of a sequence; none takes the stage's.
    #[serde(default)]
    pub length: Option<usize>,
    /// The sources, mixed by their weights.
    pub sources: Vec<SourceSpec>,
    /// The run ends when so many evaluations in a row bring no better loss, and goes back to the best; none never ends early.
    #[serde(default)]
    pub patience: Option<u64>,
}

fn hundred() -> u64 {
    100
}

fn sixteen() -> u64 {
    16
}

/// When a run is saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CheckpointSpec {
    /// Steps between checkpoints.
    pub every: u64,
    /// So many of the last ones are kept.
    pub keep: usize,
}

impl Default for CheckpointSpec {
    fn default() -> Self {
        Self { every: 500, keep: 2 }
    }
}

impl TrainSpec {
    /// Reads the text of a file.
    pub fn parse(text: &str) -> Result<Self, SpecError> {
        let spec: Self = toml::from_str(text)
            .map_err(|error| SpecError::Toml { path: "spec".into(), reason: with_nearest(&error.to_string()) })?;
        spec.check()?;
        Ok(spec)
    }

    /// All sources that the model learns from.
    pub fn sources(&self) -> impl Iterator<Item = &SourceSpec> {
        self.data.sources.iter().chain(self.stages.iter().filter_map(|stage| stage.sources.as_ref()).flatten())
    }

    /// Steps of all stages.
    pub fn steps(&self) -> u64 {
        self.stages.iter().map(|stage| stage.steps).sum()
    }

    /// The stage of a step, and how many steps of it came before.
    pub fn stage(&self, step: u64) -> Option<(usize, &Stage, u64)> {
        let mut before = 0;
        for (index, stage) in self.stages.iter().enumerate() {
            if step < before + stage.steps {
                return Some((index, stage, step - before));
            }
            before += stage.steps;
        }
        None
    }

    /// Whether the numbers make sense.
    fn check(&self) -> Result<(), SpecError> {
        let value = |key, reason: String| Err(SpecError::Value { key, reason });
        if self.steps() == 0 {
            return value("stages", "there is no step: give at least one stage with `steps` above 0".into());
        }
        for stage in &self.stages {
            let &Stage { sequences, length, parts, .. } = stage;
            if sequences == 0 || length == 0 || parts == 0 {
                return value(
                    "stages",
                    format!("sequences={sequences}, length={length}, parts={parts}: all must be at least 1"),
                );
            }
            self.check_length("stages", length)?;
            if parts as u64 > sequences {
                return value("stages", format!("parts={parts} is more than the {sequences} sequences of a step"));
            }
        }
        if self.model.layers.iter().map(|layer| layer.repeat).sum::<usize>() == 0 {
            return value("model.layers", "there is no layer".into());
        }
        if let Some(clip) = self.clip.filter(|clip| !(clip.is_finite() && *clip > 0.0)) {
            return value("clip", format!("{clip} must be a finite number above 0"));
        }
        if let Some(average) = self.average.filter(|average| !(0.0..1.0).contains(average)) {
            return value("average", format!("{average} must be at least 0 and below 1"));
        }
        if self.evaluation.as_ref().is_some_and(|evaluation| evaluation.every == 0 || evaluation.sequences == 0) {
            return value("evaluation", "`every` and `sequences` must be at least 1".into());
        }
        if self.checkpoints.every == 0 || self.checkpoints.keep == 0 {
            return value("checkpoints", "`every` and `keep` must be at least 1".into());
        }
        if let Some(length) = self.evaluation.as_ref().and_then(|evaluation| evaluation.length) {
            self.check_length("evaluation", length)?;
        }
        if self.evaluation.as_ref().is_some_and(|evaluation| evaluation.patience == Some(0)) {
            return value("evaluation", "`patience` must be at least 1".into());
        }
        self.objective.check().or_else(|reason| value("objective", reason))?;
        self.loss.check().or_else(|error| value("loss", error.to_string()))?;
        if self.evaluation.as_ref().is_some_and(|evaluation| evaluation.patience.is_some())
            && self.restraint.as_ref().is_some_and(|restraint| restraint.zeros(0, 1).is_some())
        {
            let reason = "`patience` goes back to a step with fewer zeros than the `restraint` has in the end: leave one of them out";
            return value("evaluation", reason.into());
        }
        self.distil.iter().try_for_each(|distil| distil.check()).or_else(|reason| value("distil", reason))?;
        self.restraint
            .iter()
            .try_for_each(|restraint| restraint.check())
            .or_else(|reason| value("restraint", reason))?;
        self.optimiser.check().or_else(|reason| value("optimiser", reason))?;
        self.schedule.check().or_else(|reason| value("schedule", reason))
    }

    /// Whether texts of `length` fit the model.
    fn check_length(&self, key: &'static str, length: usize) -> Result<(), SpecError> {
        let (longest, context) = (self.objective.longest(length), self.model.context);
        let reason = match () {
            () if length == 0 => "length=0: it must be at least 1".to_owned(),
            () if length > context => format!("length={length} is beyond the model's context of {context}"),
            () if longest > context => format!(
                "length={length} becomes up to {longest} tokens with `{}`, beyond the model's context of {context}",
                headwise_spec::Family::name(&self.objective)
            ),
            () => return Ok(()),
        };
        Err(SpecError::Value { key, reason })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#"
        optimiser = "adamw(learning_rate=0.01)"
        [model]
        dim = 16
        context = 64
        layers = [{ repeat = 2, mixer = "softmax(heads=2)", channel = { type = "gated", hidden = 32 } }]
        [data]
        sources = ["multi_query_recall(pairs=4)"]
        [[stages]]
        steps = 10
        sequences = 4
        length = 12
    "#;

    #[test]
    fn a_spec_survives_toml() {
        let spec = TrainSpec::parse(SMALL).unwrap();
        assert_eq!(spec.model.decoder(129).layers.len(), 2);
        assert_eq!(TrainSpec::parse(&toml::to_string(&spec).unwrap()).unwrap(), spec);
        assert_eq!(spec.stage(9).map(|(index, _, before)| (index, before)), Some((0, 9)));
        assert!(spec.stage(10).is_none());
    }

    #[test]
    fn vectors_of_positions_are_read() {
        let text = SMALL.replace("context = 64", "context = 64\n        position = \"sinusoidal(scale=0.02)\"");
        let spec = TrainSpec::parse(&text).unwrap();
        let position = spec.model.decoder(129).position.expect("a position");
        assert_eq!(position.to_string(), "sinusoidal(scale=0.02)");
        assert_eq!(TrainSpec::parse(&toml::to_string(&spec).unwrap()).unwrap(), spec);
        let error = TrainSpec::parse(&text.replace("sinusoidal(scale=0.02)", "learnt")).unwrap_err().to_string();
        assert!(error.contains("did you mean `learned`?"), "{error}");
    }

    #[test]
    fn mistakes_are_named_with_their_line_and_the_nearest_key() {
        let error = |from: &str, to: &str| TrainSpec::parse(&SMALL.replace(from, to)).unwrap_err().to_string();
        let unknown = error("context = 64", "contex = 64");
        assert!(unknown.contains("line 5") && unknown.contains("did you mean `context`?"), "{unknown}");
        let method = error("softmax(heads=2)", "softmax(head=2)");
        assert!(method.contains("did you mean `heads`?") && method.contains("line 6"), "{method}");
        assert!(error("length = 12", "length = 65").contains("context of 64"));
        assert!(error("learning_rate=0.01", "learning_rate=0").contains("above 0"));
        assert!(error("steps = 10", "steps = 0").contains("no step"));
        assert!(error("repeat = 2", "repeat = 0").contains("no layer"));
        let with = |line: &str| error("optimiser =", &format!("{line}\n        optimiser ="));
        assert!(with(r#"objective = "span_corruption(length=0)""#).contains("length=0"));
        assert!(with(r#"loss = "cut_cross_entropy(z_loss=-1)""#).contains("z_loss"));
        assert!(with(r#"objective = "next_tokens""#).contains("did you mean `next_token`?"));
        let long = error("length = 12", "length = 63\n        [evaluation]\n        length = 65\n        sources = []");
        assert!(long.contains("`evaluation`") && long.contains("context of 64"), "{long}");
    }

    #[test]
    fn keys_left_alone_do_not_change_the_hash() {
        let text = toml::to_string(&TrainSpec::parse(SMALL).unwrap()).unwrap();
        let mut absent = [
            "objective",
            "loss",
            "family",
            "[model.position]",
            "convolution",
            "restraint",
            "distil",
            "supernet",
            "shared",
        ]
        .into_iter();
        assert!(absent.all(|key| !text.contains(key)), "{text}");
    }
}
