//! Techniques that change how a model is run: other arithmetic, fewer layers for easy tokens, and how near to the machine's limits it is.

use burn::tensor::Device;
use headwise_engine::EarlyExit;
use headwise_engine::cache::CachePolicy;
use headwise_kernels::integer::{self, Exp};
use headwise_kernels::log2_softmax::log2_softmax;
use headwise_kernels::{activation, profile, softmax};
use headwise_models::decoder::{Decoder, Weights};
use headwise_nn::channel::{Activation, ChannelSpec, MlpSpec};
use headwise_nn::named;
use headwise_train::spec::ModelSpec;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::super::Measured;
use super::tiny::{FROM_NOTHING, Tiny, apart, more};
use crate::bench::{Limit, Peaks};
use crate::softmax_form::SoftmaxForm;

/// How many percent more perplexity the model has with weights of attention in another form.
fn lost_in_form(tiny: &Tiny, form: &str) -> f64 {
    let engine = tiny.engine(tiny.model().clone(), "f32", Weights::Stored);
    let form: SoftmaxForm = form.parse().expect("a form of this experiment");
    let found = form.perplexity(&engine, &tiny.judged, 0, |_| {}).expect("a text that fits").value;
    more(found, tiny.engine_perplexity(&engine))
}

pub fn integers(tiny: &Tiny) -> [Measured; 2] {
    let exp = Exp::new(1e-4);
    let of_exp = (-150_000..=0).step_by(3).map(|code| {
        let expected = (f64::from(code) * 1e-4).exp();
        (exp.of(i64::from(code)) as f64 * exp.scale() - expected).abs() / 0.0022
    });
    let x: Vec<f32> = (-4000..=4000).map(|i| i as f32 / 1000.0).collect();
    let (mut found, mut expected) = (vec![0.0; x.len()], vec![0.0; x.len()]);
    integer::gelu(&x, x.len(), 16, &mut found);
    activation::gelu(&x, &mut expected);
    let of_gelu = found.iter().zip(&expected).map(|(a, b)| f64::from((a - b).abs()) / 0.0182);
    let identity = of_exp.chain(of_gelu).fold(0.0, f64::max);
    // A student whose layers have GELU, and the same weights with it in integers.
    let with = |activation| {
        let mut model = tiny.student();
        model.layers[0].channel = Some(ChannelSpec::from(MlpSpec { hidden: 384, activation, bias: false }));
        model
    };
    let exact = tiny.learned(FROM_NOTHING, with(Activation::Gelu), "");
    let coarse = refilled(&exact, &with(Activation::IntegerGelu));
    let gelu = more(tiny.perplexity(&coarse), tiny.perplexity(&exact));
    [Measured::alone(identity), Measured::alone(f64::max(gelu, lost_in_form(tiny, "integer_softmax(bits=8)")))]
}

/// A model as `spec` says with the weights of `model`.
fn refilled(model: &Decoder, spec: &ModelSpec) -> Decoder {
    struct Taken(Vec<named::Named>);
    impl named::Source for Taken {
        type Error = String;
        fn weight<const D: usize>(&mut self, name: &str, shape: [usize; D]) -> Result<burn::tensor::Tensor<D>, String> {
            let weight = self.0.iter().find(|weight| weight.name == name).ok_or_else(|| name.to_owned())?;
            Ok(headwise_ops::host::tensor(weight.values.clone(), shape, &Device::flex()))
        }
    }
    let empty = Decoder::random(spec.decoder(0), &Device::flex()).expect("a model of this experiment");
    named::fill(empty, &mut Taken(named::read(model))).expect("the same names")
}

pub fn powers_of_two(tiny: &Tiny) -> [Measured; 2] {
    const WIDTH: usize = 257;
    let mut random = ChaCha8Rng::seed_from_u64(tiny.seed);
    let x: Vec<f32> = (0..64 * WIDTH).map(|_| random.random_range(-4.0f32..4.0)).collect();
    let (mut exact, mut found) = (vec![0.0; x.len()], vec![0.0; x.len()]);
    softmax::softmax(&x, WIDTH, &mut exact);
    log2_softmax(&x, WIDTH, 4, &mut found);
    // Weights that are zero have a code that does not fit.
    let pairs = found.iter().zip(&exact).filter(|(found, _)| **found > 0.0);
    let factor = pairs.map(|(found, exact)| f64::from(found / exact).log2().abs().exp2()).fold(0.0, f64::max);
    [Measured::alone(factor), Measured::alone(lost_in_form(tiny, "log2_softmax(bits=4)"))]
}

pub fn early_exit(tiny: &Tiny) -> [Measured; 2] {
    const READ: usize = 64;
    const STEPS: usize = 256;
    let whole = tiny.engine(tiny.model().clone(), "f32", Weights::Stored);
    let mut short = tiny.model().clone();
    short.keep_layers(&[0, 1, 2]);
    let short = tiny.engine(short, "f32", Weights::Stored);
    let read = |engine: &headwise_engine::Engine| {
        let mut sequence = engine.sequence(&CachePolicy::full()).expect("a full cache");
        engine.prefill(&mut sequence, &tiny.judged[..READ], |_| {}).expect("a text that fits");
        sequence
    };
    let always = EarlyExit { layer: 3, confidence: 0.0, every: 1 };
    let (mut left, mut expected) = (read(&whole), read(&short));
    let mut identity = 0.0;
    for &id in &tiny.judged[READ..READ + 32] {
        let (found, _) = whole.step_exiting(&mut left, id, &always).expect("a known token");
        let expected = short.step(&mut expected, id).expect("a known token");
        identity = f64::max(identity, apart(&found.values, &expected.values));
    }
    let sure = EarlyExit { layer: 2, confidence: 0.9, every: 1 };
    let (mut left, mut stays) = (read(&whole), read(&whole));
    let mut same = 0;
    for &id in &tiny.judged[READ..READ + STEPS] {
        let likeliest = |scores: &[f32]| (0..scores.len()).max_by(|&a, &b| scores[a].total_cmp(&scores[b]));
        let (found, _) = whole.step_exiting(&mut left, id, &sure).expect("a known token");
        let expected = whole.step(&mut stays, id).expect("a known token");
        same += usize::from(likeliest(&found.values) == likeliest(&expected.values));
    }
    [Measured::alone(identity), Measured::alone(100.0 * same as f64 / STEPS as f64)]
}

pub fn roofline(tiny: &Tiny) -> [Measured; 2] {
    let engine = tiny.engine(tiny.model().clone(), "f32", Weights::Stored);
    let peaks = Peaks::measure(&engine);
    let ridge = peaks.matrix_product_gflops / peaks.read_gbs;
    let mut off = 0.0;
    for intensity in [0.01, 0.5, 1.0, 2.0, 50.0].map(|times| times * ridge) {
        let bytes = 1e9;
        let (seconds, limit) = peaks.least_time(intensity * bytes, bytes);
        let attainable = f64::min(peaks.matrix_product_gflops, intensity * peaks.read_gbs);
        off = f64::max(off, (intensity * bytes / seconds / 1e9 / attainable - 1.0).abs());
        let right = (limit == Limit::Arithmetic) == (intensity >= ridge);
        off += if right || intensity == ridge { 0.0 } else { 1.0 };
    }
    let mut sequence = engine.sequence(&CachePolicy::full()).expect("a full cache");
    profile::start();
    engine.prefill(&mut sequence, &tiny.judged[..512], |_| {}).expect("a text that fits");
    let profile = profile::finish();
    let rows = crate::profile::rows(&profile);
    let least: f64 = peaks.roofline(&rows).iter().map(|row| row.least_ms).sum();
    [Measured::alone(off), Measured::alone(100.0 * least / (1e3 * profile.wall.as_secs_f64()))]
}
