//! Which benchmarks run, on which shapes.

use headwise_engine::Engine;
use headwise_kernels::profile;

use super::{BenchError, BenchRow, Form, Params, Repeats, Shape};
use super::{attention, cross_entropy, element_wise, linear_recurrence, matrix_product, model, train_step};

/// Something that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Benchmark {
    /// Causal attention over whole tensors.
    AttentionForward,
    /// The same with its backward pass.
    AttentionTrain,
    /// One query against a cache.
    AttentionDecode,
    /// Linear attention over whole tensors, forward and with its backward pass.
    LinearAttention,
    /// The same with a decay for each head.
    Retention,
    /// The same with a decay for each channel.
    Gla,
    /// Softmax over the last side.
    Softmax,
    /// Logarithm of the softmax over the last side.
    LogSoftmax,
    /// GELU by the error function.
    Gelu,
    /// GELU in its `tanh` form.
    GeluTanh,
    /// A bias and GELU.
    BiasGelu,
    /// SiLU.
    Silu,
    /// SiLU of a gate times another tensor.
    SwiGlu,
    /// Layer norm over the last side.
    LayerNorm,
    /// A sum of two tensors and its layer norm.
    AddLayerNorm,
    /// Root-mean-square norm over the last side.
    RmsNorm,
    /// Dropout.
    Dropout,
    /// One step of AdamW for one parameter.
    AdamW,
    /// The loss of a classifier over a large vocabulary.
    CrossEntropy,
    /// One step of training an encoder.
    TrainStep,
    /// See [`train_step`].
    DecoderStep,
    /// Rows of activations with a quantised matrix.
    QuantMatmul,
    /// A model reads a prompt.
    Prefill,
    /// A model writes after a prompt.
    Decode,
    /// A model writes many texts at once.
    DecodeBatch,
}

const ATTENTION: Form = tensor("batch x heads x tokens x head_dim", Some(4), "1x8x2048x64");
const CACHE: Form = tensor("batch x heads x keys x head_dim", Some(4), "1x9x8192x64");
const VECTORS: Form = tensor("any sides, the last one the width", None, "8x512x256");
const PRODUCT: Form = Form { matrices: true, ..tensor("rows x inputs x outputs", Some(3), "64x4096x4096") };
const CLASSIFIER: Form = Form { matrices: true, ..tensor("rows x dim x vocabulary", Some(3), "2048x576x49152") };
const ENCODER: Form = tensor("batch x tokens x dim x layers", Some(4), "8x256x256x4");
const TEXTS: Form = tensor("texts x tokens of each", Some(2), "64x300");
const TOKENS: Form = tensor("the tokens of the prompt", Some(1), "1744");

const fn tensor(sides: &'static str, count: Option<usize>, example: &'static str) -> Form {
    Form { sides, count, matrices: false, example }
}

impl Benchmark {
    /// Every benchmark, in the order they run.
    pub const ALL: [Self; 25] = [
        Self::AttentionForward,
        Self::AttentionTrain,
        Self::AttentionDecode,
        Self::LinearAttention,
        Self::Retention,
        Self::Gla,
        Self::Softmax,
        Self::LogSoftmax,
        Self::Gelu,
        Self::GeluTanh,
        Self::BiasGelu,
        Self::Silu,
        Self::SwiGlu,
        Self::LayerNorm,
        Self::AddLayerNorm,
        Self::RmsNorm,
        Self::Dropout,
        Self::AdamW,
        Self::CrossEntropy,
        Self::TrainStep,
        Self::DecoderStep,
        Self::QuantMatmul,
        Self::Prefill,
        Self::Decode,
        Self::DecodeBatch,
    ];

    /// The name in rows and filters.
    pub fn name(self) -> &'static str {
        match self {
            Self::AttentionForward => "attention_forward",
            Self::AttentionTrain => "attention_train",
            Self::AttentionDecode => "attention_decode",
            Self::LinearAttention => "linear_attention",
            Self::Retention => "retention",
            Self::Gla => "gla",
            Self::Softmax => "softmax",
            Self::LogSoftmax => "log_softmax",
            Self::Gelu => "gelu",
            Self::GeluTanh => "gelu_tanh",
            Self::BiasGelu => "bias_gelu",
            Self::Silu => "silu",
            Self::SwiGlu => "swiglu",
            Self::LayerNorm => "layer_norm",
            Self::AddLayerNorm => "add_layer_norm",
            Self::RmsNorm => "rms_norm",
            Self::Dropout => "dropout",
            Self::AdamW => "adamw",
            Self::CrossEntropy => "cross_entropy",
            Self::TrainStep => "train_step",
            Self::DecoderStep => "decoder_step",
            Self::QuantMatmul => "quant_matmul",
            Self::Prefill => "prefill",
            Self::Decode => "decode",
            Self::DecodeBatch => "decode_batch",
        }
    }

    /// What its shape means.
    pub fn form(self) -> Form {
        match self {
            Self::AttentionForward | Self::AttentionTrain | Self::LinearAttention | Self::Retention | Self::Gla => {
                ATTENTION
            }
            Self::AttentionDecode => CACHE,
            Self::CrossEntropy => CLASSIFIER,
            Self::TrainStep | Self::DecoderStep => ENCODER,
            Self::QuantMatmul => PRODUCT,
            Self::Prefill | Self::Decode => TOKENS,
            Self::DecodeBatch => TEXTS,
            _ => VECTORS,
        }
    }

    /// Whether it needs a model.
    pub fn needs_model(self) -> bool {
        matches!(self, Self::Prefill | Self::Decode | Self::DecodeBatch)
    }

    /// The shapes it runs on unless told otherwise.
    fn shapes(self) -> &'static [&'static str] {
        match self {
            Self::AttentionForward | Self::AttentionTrain => &["1x8x2048x64", "4x8x512x64", "1x8x8192x64"],
            Self::AttentionDecode => &["1x9x8192x64"],
            Self::CrossEntropy => &["2048x576x49152"],
            Self::LinearAttention | Self::Retention | Self::Gla => &["1x8x4096x64"],
            Self::TrainStep | Self::DecoderStep => &["8x256x256x4"],
            Self::QuantMatmul => &["1x4096x4096", "8x4096x4096", "64x4096x4096", "512x4096x4096"],
            Self::Prefill | Self::Decode => &["90", "1744", "3428", "6926"],
            Self::DecodeBatch => &["64x300"],
            _ => &["8x512x256"],
        }
    }

    fn run(self, shape: &Shape, setup: &Setup<'_>) -> Result<Vec<BenchRow>, BenchError> {
        let Setup { engine, repeats, rotated_bytes, .. } = *setup;
        let run = Run { name: self.name(), shape, threads: engine.threads(), rotated_bytes, repeats };
        let operator = |measure: fn(&Run<'_>) -> Vec<BenchRow>| Ok(engine.install(|| measure(&run)));
        match self {
            Self::AttentionForward => operator(attention::forward_rows),
            Self::AttentionTrain => operator(attention::train),
            Self::AttentionDecode => operator(attention::decode),
            Self::LinearAttention => operator(linear_recurrence::linear_attention),
            Self::Retention => operator(linear_recurrence::retention),
            Self::Gla => operator(linear_recurrence::gla),
            Self::Softmax => operator(element_wise::softmax),
            Self::LogSoftmax => operator(element_wise::log_softmax),
            Self::Gelu => operator(element_wise::gelu),
            Self::GeluTanh => operator(element_wise::gelu_tanh),
            Self::BiasGelu => operator(element_wise::bias_gelu),
            Self::Silu => operator(element_wise::silu),
            Self::SwiGlu => operator(element_wise::swiglu),
            Self::LayerNorm => operator(element_wise::layer_norm),
            Self::AddLayerNorm => operator(element_wise::add_layer_norm),
            Self::RmsNorm => operator(element_wise::rms_norm),
            Self::Dropout => operator(element_wise::dropout),
            Self::AdamW => operator(element_wise::adamw),
            Self::CrossEntropy => operator(cross_entropy::cross_entropy),
            Self::TrainStep => operator(train_step::train_step),
            Self::DecoderStep => operator(train_step::decoder_step),
            Self::QuantMatmul => engine.install(|| matrix_product::quantised(&run)),
            Self::Prefill => model::prefill(&run, engine, setup.model(self)?),
            Self::Decode => model::decode(&run, engine, setup.model(self)?),
            Self::DecodeBatch => model::decode_batch(&run, engine, setup.model(self)?),
        }
    }
}

/// What benchmarks run on.
#[derive(Clone, Copy, Debug)]
pub struct Setup<'a> {
    /// Its threads run the kernels, as in inference.
    pub engine: &'a Engine,
    /// Name of the engine's model; without one, only operators are measured.
    pub model: Option<&'a str>,
    /// Timed calls; as many as each benchmark needs if not given.
    pub repeats: Option<usize>,
    /// Caches and matrices that a model would read once per token are copied until they have so many bytes, and calls
    /// take turns with them.
    pub rotated_bytes: usize,
    /// Whether rows say where the time went.
    pub profile: bool,
}

impl<'a> Setup<'a> {
    /// On `engine`, whose model is called `model`, with more rotated bytes than the processor's caches hold.
    pub fn new(engine: &'a Engine, model: Option<&'a str>) -> Self {
        Self { engine, model, repeats: None, rotated_bytes: 256 << 20, profile: false }
    }

    /// Name of the model, which `benchmark` needs.
    fn model(&self, benchmark: Benchmark) -> Result<&'a str, BenchError> {
        self.model.ok_or(BenchError::NoModel { benchmark: benchmark.name() })
    }
}

/// One benchmark on one shape.
pub(super) struct Run<'a> {
    pub name: &'static str,
    pub shape: &'a Shape,
    pub threads: usize,
    pub rotated_bytes: usize,
    repeats: Option<usize>,
}

impl Run<'_> {
    /// Copies of something of `bytes` bytes that are more than the rotated bytes; of small things not without end.
    pub fn copies(&self, bytes: usize) -> usize {
        (self.rotated_bytes / bytes.max(1) + 1).min(4096)
    }

    /// Those of a row about tensors of the run's shape.
    pub fn params(&self, dtype: &str) -> Params {
        let (shape, dtype) = (Some(self.shape.to_string()), Some(dtype.to_owned()));
        Params { shape, dtype, threads: self.threads, ..Params::default() }
    }

    /// As often as the user wants, otherwise at least `calls` times and for `seconds`.
    pub fn repeats(&self, calls: usize, seconds: f64) -> Repeats {
        self.repeats.map_or(Repeats::AtLeast(calls, seconds), Repeats::Exactly)
    }
}

/// The benchmarks to run, each with its shapes.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan(Vec<(Benchmark, Vec<Shape>)>);

impl Plan {
    /// The benchmark called `filter`, or all whose names contain it, on `shape` instead of their own shapes.
    pub fn new(filter: Option<&str>, shape: Option<&str>) -> Result<Self, BenchError> {
        let exact = Benchmark::ALL.into_iter().find(|benchmark| Some(benchmark.name()) == filter);
        let chosen: Vec<Benchmark> = match exact {
            Some(benchmark) => vec![benchmark],
            None => {
                let chosen = |benchmark: &Benchmark| filter.is_none_or(|filter| benchmark.name().contains(filter));
                Benchmark::ALL.into_iter().filter(chosen).collect()
            }
        };
        if chosen.is_empty() {
            return Err(BenchError::UnknownFilter { filter: filter.unwrap_or_default().to_owned() });
        }
        let with_shapes = |benchmark: Benchmark| {
            let shapes = shape.as_ref().map_or(benchmark.shapes(), std::slice::from_ref);
            let shapes = shapes.iter().map(|text| Shape::parse(text, benchmark.name(), benchmark.form()));
            Ok((benchmark, shapes.collect::<Result<_, BenchError>>()?))
        };
        Ok(Self(chosen.into_iter().map(with_shapes).collect::<Result<_, BenchError>>()?))
    }

    /// The benchmarks, in order.
    pub fn benchmarks(&self) -> impl Iterator<Item = Benchmark> {
        self.0.iter().map(|(benchmark, _)| *benchmark)
    }

    /// The same without what needs a model; an error if that leaves nothing.
    pub fn without_models(mut self) -> Result<Self, BenchError> {
        let first = self.benchmarks().next().map_or("", Benchmark::name);
        self.0.retain(|(benchmark, _)| !benchmark.needs_model());
        if self.0.is_empty() { Err(BenchError::NoModel { benchmark: first }) } else { Ok(self) }
    }

    /// Benchmarks times shapes.
    pub fn steps(&self) -> usize {
        self.0.iter().map(|(_, shapes)| shapes.len()).sum()
    }

    /// Measures everything; `progress` is told how many steps are done and what comes next.
    pub fn run(&self, setup: &Setup<'_>, mut progress: impl FnMut(usize, &str)) -> Result<Vec<BenchRow>, BenchError> {
        if setup.profile {
            profile::start();
        }
        let (mut rows, mut done) = (Vec::new(), 0);
        for (benchmark, shapes) in &self.0 {
            for shape in shapes {
                progress(done, &format!("{} {shape}", benchmark.name()));
                rows.extend(benchmark.run(shape, setup)?);
                done += 1;
            }
        }
        if setup.profile {
            profile::finish();
        }
        Ok(rows)
    }
}
