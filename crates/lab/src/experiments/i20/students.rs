//! Small models that learn: from a teacher, or with fewer weights of their own.

use std::collections::HashMap;

use burn::module::Param;
use burn::tensor::{Device, Tensor};
use headwise_models::compress::{Evolve, Space};
use headwise_models::decoder::Decoder;
use headwise_nn::Linear;
use headwise_nn::named::{self, Named};
use headwise_ops::host::{Host, contiguous, tensor};
use headwise_train::distil::Projection;
use headwise_train::objective::TokenTarget;
use headwise_train::spec::ModelSpec;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::super::Measured;
use super::tiny::{FROM_NOTHING, Tiny, apart, more};

/// The keys of a run with the model as its teacher.
fn taught(tiny: &Tiny, imitate: &str, targets: f64) -> String {
    let teacher = tiny.path();
    format!("[distil]\nteacher = {teacher:?}\nimitate = [\"{imitate}\"]\ntargets = {targets}")
}

/// The perplexity of a student with a teacher beside that of one without.
fn beside(tiny: &Tiny, imitate: &str) -> Measured {
    let student = tiny.learned(FROM_NOTHING, tiny.student(), &taught(tiny, imitate, 0.5));
    Measured::alone(tiny.perplexity(&student) / tiny.perplexity(tiny.plain_student()))
}

pub fn soft_targets(tiny: &Tiny) -> [Measured; 2] {
    let (_, first) = tiny.trained(tiny.itself(), 1, &taught(tiny, "soft_targets(temperature=2)", 0.0));
    [Measured::alone(first.loss.abs()), beside(tiny, "soft_targets(temperature=2, weight=0.5)")]
}

pub fn hidden_states(tiny: &Tiny) -> [Measured; 2] {
    let (device, width) = (Device::flex().autodiff(), tiny.model().spec().dim);
    let weight = Param::from_tensor(Tensor::<2>::eye(width, &device));
    let projection = Projection { map: Linear::Float(burn::nn::Linear { weight, bias: None }) };
    let ids = &tiny.judged[..64];
    let positions: Vec<i32> = (0..ids.len() as i32).collect();
    let segments = [headwise_nn::mixer::Segment { sequence: 0, rows: 0..ids.len() }];
    let states = tiny.model().states(ids, &positions, &segments, &Device::flex());
    let count = ids.len() as f64;
    let target = TokenTarget { rows: (0..ids.len()).collect(), ids: ids.to_vec(), weights: vec![1.0; ids.len()] };
    let distance = |times: f32| {
        let student: Vec<Tensor<2>> = states.iter().map(|state| Tensor::from_inner(state.clone() * times)).collect();
        f64::from(projection.distance(&student, &states, &target).into_scalar::<f32>()) / count
    };
    // Its own states are at no distance, twice them as far as they are long.
    let off = f64::max(distance(1.0).abs(), (distance(2.0) - 1.0).abs());
    [Measured::alone(off), beside(tiny, "hidden_states(weight=0.5)")]
}

pub fn shared(tiny: &Tiny) -> [Measured; 2] {
    let spec = ModelSpec { shared_by: 4, ..tiny.student() };
    let shared = tiny.learned(FROM_NOTHING, spec, "");
    let mut copies = HashMap::new();
    for weight in named::read(&shared) {
        match weight.name.strip_prefix("blocks.0.") {
            Some(path) => copies.extend((0..4).map(|layer| (format!("blocks.{layer}.{path}"), weight.clone()))),
            None => drop(copies.insert(weight.name.clone(), weight)),
        }
    }
    let empty = Decoder::random(tiny.student().decoder(0), &Device::flex()).expect("a model of this experiment");
    let whole = named::fill(empty, &mut Copies(copies)).expect("the same names and shapes");
    let identity = apart(&scores(tiny, &shared), &scores(tiny, &whole));
    [Measured::alone(identity), Measured::alone(beyond(tiny, &shared))]
}

pub fn factorised(tiny: &Tiny) -> [Measured; 2] {
    let narrow = tiny.learned(FROM_NOTHING, ModelSpec { embedding_dim: Some(32), ..tiny.student() }, "");
    let weights: HashMap<String, Named> =
        named::read(&narrow).into_iter().map(|weight| (weight.name.clone(), weight)).collect();
    let matrix = |name: &str| -> Tensor<2> {
        let Named { shape, values, .. } = &weights[name];
        tensor(values.clone(), [shape[0], shape[1]], &Device::flex())
    };
    let expected = matrix("embedding.weight").matmul(matrix("factor.up.weight").transpose());
    let ids: Vec<u32> = (0..narrow.spec().vocabulary as u32).collect();
    let found = Host::new(contiguous(narrow.embed(&ids, &vec![0; ids.len()], &Device::flex())));
    let identity = apart(found.as_slice(), Host::new(contiguous(expected)).as_slice());
    [Measured::alone(identity), Measured::alone(beyond(tiny, &narrow))]
}

pub fn supernet(tiny: &Tiny) -> [Measured; 2] {
    const STEPS: usize = 4;
    let whole = tiny.learned(FROM_NOTHING, tiny.student(), &format!("supernet = \"sandwich(steps={STEPS})\""));
    let space = Space::of(whole.spec(), STEPS).expect("layers of softmax");
    let mut random = ChaCha8Rng::seed_from_u64(tiny.seed);
    let mut identity = 0.0;
    for _ in 0..8 {
        let subnet = space.random(&mut random);
        let [cut, alone] = [space.cut(&subnet, &whole), space.extracted(&subnet, &whole)];
        identity = f64::max(identity, apart(&scores(tiny, &alone), &scores(tiny, &cut)));
    }
    let perplexity = |method: &Evolve| {
        let (found, ..) = method.search(&whole, &tiny.calibration, &mut || {}).expect("parts that are small enough");
        tiny.perplexity(&space.extracted(&found, &whole))
    };
    let found = perplexity(&Evolve { seed: tiny.seed, judged: 8, ..Evolve::default() });
    let drawn = |seed| perplexity(&Evolve { population: 1, generations: 0, seed, ..Evolve::default() });
    let drawn = (0..8).map(|index| drawn(8 * tiny.seed + index)).sum::<f64>() / 8.0;
    [Measured::alone(identity), Measured::alone(found / drawn)]
}

/// How many percent more perplexity a model has than a student with all weights of its own.
pub fn beyond(tiny: &Tiny, model: &Decoder) -> f64 {
    more(tiny.perplexity(model), tiny.perplexity(tiny.plain_student()))
}

fn scores(tiny: &Tiny, model: &Decoder) -> Vec<f32> {
    Host::new(contiguous(model.forward(&tiny.judged[..128], &Device::flex()))).as_slice().to_vec()
}

/// Weights by name.
struct Copies(HashMap<String, Named>);

impl named::Source for Copies {
    type Error = String;

    fn weight<const D: usize>(&mut self, name: &str, shape: [usize; D]) -> Result<Tensor<D>, String> {
        let weight = self.0.remove(name).filter(|weight| weight.shape == shape).ok_or_else(|| name.to_owned())?;
        Ok(tensor(weight.values, shape, &Device::flex()))
    }
}
