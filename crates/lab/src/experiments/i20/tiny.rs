//! The small models that techniques are tried on, and the texts they read.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::Device;
use headwise_engine::Engine;
use headwise_engine::cache::CachePolicy;
use headwise_models::compress::{Calibration, Original, Plan, Pruning};
use headwise_models::decoder::{Decoder, Precision, Weights};
use headwise_models::gguf::Gguf;
use headwise_models::tokenizer::Encode;
use headwise_tasks::DEFAULT_TEXT;
use headwise_train::objective::{TokenTarget, TokenView};
use headwise_train::scores;
use headwise_train::spec::{LayerSpec, ModelSpec, TrainSpec};
use headwise_train::start::FromModel;
use headwise_train::trainer::{StepReport, Trainer};

use crate::perplexity;

/// Tokens of a sequence that is learned from.
const LENGTH: usize = 128;
/// Tokens whose perplexity counts.
const JUDGED: usize = 2048;
/// Sequences of a calibration text, and their tokens.
const SEQUENCES: usize = 16;
const WINDOW: usize = 256;

/// The model that comes with the program, and the speech that it has not read: models learn from its second half and are judged by its first.
pub struct Tiny {
    pub original: Original,
    pub seed: u64,
    pub calibration: Calibration,
    /// Where the perplexity counts.
    pub judged: Vec<u32>,
    folder: Folder,
    student: OnceCell<Decoder>,
    free: OnceCell<Decoder>,
}

/// How long a run is, and how it learns.
#[derive(Clone, Copy, Debug)]
pub struct Course {
    steps: u64,
    keys: &'static str,
}

/// From weights drawn at random.
pub const FROM_NOTHING: Course =
    Course { steps: 120, keys: "optimiser = \"adamw(learning_rate=0.003)\"\nschedule = \"cosine(warmup=10)\"" };
/// From the weights of the model, at a third of the rate that made them.
pub const GOING_ON: Course =
    Course { steps: 40, keys: "optimiser = \"adamw(learning_rate=0.001)\"\nschedule = \"cosine(warmup=5)\"" };

/// A folder that goes away with its owner.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left of a folder of the system's temporary files harms nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Tiny {
    pub fn new(seed: u64) -> Self {
        let original = Original::embedded().expect("it comes with the program");
        let middle = DEFAULT_TEXT.len() / 2;
        let middle = (middle..).find(|&at| DEFAULT_TEXT.as_bytes()[at] == b'\n').expect("a speech has paragraphs");
        let (first, second) = DEFAULT_TEXT.split_at(middle);
        let ids = |text: &str| original.tokenizer.encode(text, Encode::TEXT).expect("plain text");
        let part = |ids: &[u32], tokens: usize| {
            let start = seed as usize * tokens % (ids.len() - tokens);
            ids[start..start + tokens].to_vec()
        };
        let (judged, read) = (part(&ids(first), JUDGED), part(&ids(second), SEQUENCES * WINDOW));
        let calibration = Calibration::new(&read, SEQUENCES * WINDOW, WINDOW).expect("a text that is long enough");
        let folder = std::env::temp_dir().join(format!("headwise-i20-{}-{seed}", std::process::id()));
        let folder = Folder(folder);
        original.model.export(&folder.0, Precision::F32).expect("room for a small model");
        let files = headwise_models::embedded::tokenizer_files();
        for (name, text) in files.into_iter().chain([("learn.txt", second)]) {
            std::fs::write(folder.0.join(name), text).expect("room for a small file");
        }
        Self { original, seed, calibration, judged, folder, student: OnceCell::new(), free: OnceCell::new() }
    }

    /// A student that learned from the texts alone.
    pub fn plain_student(&self) -> &Decoder {
        self.student.get_or_init(|| self.learned(FROM_NOTHING, self.student(), ""))
    }

    /// The model after a run that goes on, with nothing to hold it.
    pub fn gone_on(&self) -> &Decoder {
        self.free.get_or_init(|| self.learned(GOING_ON, self.itself(), ""))
    }

    /// The model that `course` makes of `model`, with `keys` before its tables.
    pub fn learned(&self, course: Course, model: ModelSpec, keys: &str) -> Decoder {
        self.trained(model, course.steps, &format!("{}\n{keys}", course.keys)).0
    }

    /// The folder of the model.
    pub fn path(&self) -> String {
        self.folder.0.display().to_string()
    }

    /// The model.
    pub fn model(&self) -> &Decoder {
        &self.original.model
    }

    /// The perplexity of a model with its parameters.
    pub fn perplexity(&self, model: &Decoder) -> f64 {
        let (mut view, mut target) = (TokenView::default(), TokenTarget::default());
        for ids in self.judged.chunks_exact(LENGTH) {
            let start = view.ids.len();
            view.push(&ids[..LENGTH - 1]);
            ids[1..].iter().enumerate().for_each(|(place, &id)| target.push(start + place, id, 1.0));
        }
        (scores::measure(model, &view, &target, &Device::flex()).nats / target.count()).exp()
    }

    /// The file of `model`, whose weights `to` chooses.
    pub fn file(&self, model: &mut Decoder, to: &str) -> Gguf {
        let plan = Plan::new(to.parse().expect("a target of this experiment"), Some("f32")).expect("a type");
        let read = Some(&self.calibration);
        plan.run(model, &self.original.about, read, |_| {}).expect("a model of softmax layers")
    }

    /// An engine that computes as `generate` does, with weights that `to` chooses.
    pub fn engine(&self, mut model: Decoder, to: &str, weights: Weights) -> Engine {
        let file = self.file(&mut model, to);
        let model = Decoder::from_gguf(&file, weights, &Device::flex()).expect("what was written is read");
        Engine::new(model, 0).expect("threads")
    }

    /// How many percent more perplexity the model has, in the engine, with weights that `to` chooses.
    pub fn lost(&self, to: &str) -> f64 {
        let of = |to| self.engine_perplexity(&self.engine(self.model().clone(), to, Weights::Stored));
        more(of(to), of("f32"))
    }

    pub fn engine_perplexity(&self, engine: &Engine) -> f64 {
        perplexity::measure(engine, &CachePolicy::full(), &self.judged, 0, |_| {}).expect("a text that fits").value
    }

    /// The model after `method`.
    pub fn pruned(&self, method: &str) -> Decoder {
        let mut model = self.model().clone();
        let method: Pruning = method.parse().expect("a method of this experiment");
        method.run(&mut model, Some(&self.calibration), &mut |_| {}).expect("a model of softmax layers");
        model
    }

    /// How many percent more perplexity the model has after `method`.
    pub fn lost_pruned(&self, method: &str) -> f64 {
        more(self.perplexity(&self.pruned(method)), self.perplexity(self.model()))
    }

    /// A run of `steps` steps with `keys` before its tables, for a model as `model` says.
    pub fn run(&self, model: ModelSpec, steps: u64, keys: &str) -> Trainer {
        let (seed, folder) = (self.seed, self.folder.0.display());
        let text = format!(
            r#"
            seed = {seed}
            clip = 1.0
            {keys}
            [model]
            dim = 8
            context = 8
            layers = [{{ mixer = "softmax(heads=1)" }}]
            [data]
            tokenizer = {{ type = "tokenizer_file", path = {folder:?} }}
            sources = [{{ type = "text", path = "{folder}/learn.txt" }}]
            [[stages]]
            steps = {steps}
            sequences = 8
            length = 4
            "#
        );
        let mut spec = TrainSpec::parse(&text).unwrap_or_else(|error| panic!("{error}"));
        spec.model = model;
        spec.stages[0].length = LENGTH;
        // Nothing is saved, so the folder is never used.
        Trainer::new(spec, Path::new("")).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The model after a run of `steps` steps, and its first step.
    pub fn trained(&self, model: ModelSpec, steps: u64, keys: &str) -> (Decoder, StepReport) {
        let mut trainer = self.run(model, steps, keys);
        let reports: Vec<StepReport> =
            (0..steps).map(|_| trainer.step().unwrap_or_else(|error| panic!("{error}"))).collect();
        (trainer.result().valid(), reports[0])
    }

    /// A description of the model for a run that goes on from its weights.
    pub fn itself(&self) -> ModelSpec {
        let spec = self.model().spec();
        let layer = |block: &headwise_nn::block::BlockSpec| LayerSpec {
            repeat: 1,
            mixer: block.mixer.clone(),
            channel: block.channel.clone(),
            norms: block.norms,
            norm: block.norm,
        };
        ModelSpec {
            dim: spec.dim,
            vocabulary: Some(spec.vocabulary),
            context: spec.context,
            epsilon: spec.epsilon,
            start: FromModel { path: self.path() }.into(),
            layers: spec.layers.iter().map(layer).collect(),
            ..self.student()
        }
    }

    /// A student: 4 layers of 96 channels, 0.84 million weights to the model's 3.15.
    pub fn student(&self) -> ModelSpec {
        const STUDENT: &str = r#"{ "dim": 96, "context": 256, "tied": true, "layers": [
            { "repeat": 4, "mixer": "softmax(heads=3)", "channel": "gated(hidden=256)" }] }"#;
        let student: ModelSpec = serde_json::from_str(STUDENT).expect("a description");
        ModelSpec { vocabulary: Some(self.model().spec().vocabulary), ..student }
    }
}

/// How many percent `value` is more than `than`.
pub fn more(value: f64, than: f64) -> f64 {
    100.0 * (value / than - 1.0)
}

/// The largest difference of two lists, as a share of the largest number of the second.
pub fn apart(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(f32::MIN_POSITIVE, |most, value| most.max(value.abs()));
    let pairs = found.iter().zip(expected);
    pairs.fold(0.0, |most, (a, b)| f64::max(most, f64::from((a - b).abs() / largest)))
}
