//! Texts with LoRA adapters beside others: what they get, and what they do not share.

mod small;

use std::sync::{Arc, Mutex};

use headwise_engine::cache::CachePolicy;
use headwise_engine::schedule::{Event, Listener, Request, ScheduleLimits, Scheduler};
use headwise_engine::{Adapter, Chunk, EarlyExit, Engine, Generation, Sampler, Sequence, Session, Wanted, generate};
use headwise_kernels::matrix::PackedMatrix;
use headwise_nn::Linear;
use headwise_nn::adapter::{LowRank, Projection};
use headwise_nn::block::Block;
use headwise_nn::channel::Channel;
use headwise_nn::mixer::Mixer;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use small::*;

const RANK: usize = 3;
const SCALE: f32 = 1.5;

/// The matrices of an adapter: `A` and `B` of every projection of every layer.
type Matrices = Vec<[[Vec<f32>; 2]; 7]>;

/// The policy of a text, its adapter, and tokens of its prompt.
type Begins = (&'static str, Option<Arc<Adapter>>, usize);

fn linear(block: &mut Block, projection: Projection) -> &mut Linear {
    let (Mixer::Softmax(mixer), Some(Channel::Gated(channel))) = (&mut block.mixer, &mut block.channel) else {
        panic!("attention and a gated channel mixer")
    };
    match projection {
        Projection::Query => &mut mixer.query,
        Projection::Key => &mut mixer.key,
        Projection::Value => &mut mixer.value,
        Projection::Output => &mut mixer.output,
        Projection::Gate => &mut channel.gate,
        Projection::Up => &mut channel.up,
        Projection::Down => &mut channel.down,
    }
}

fn weight(block: &mut Block, projection: Projection) -> &PackedMatrix {
    let Linear::Packed(packed) = linear(block, projection) else { panic!("packed weights") };
    packed.weight()
}

/// Random matrices; `most` bounds those of `B`.
fn matrices(seed: u64, most: f32) -> Matrices {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut random = |count: usize, most: f32| (0..count).map(|_| most * (2.0 * rng.random::<f32>() - 1.0)).collect();
    let mut model = decoder([None; LAYERS]);
    let mut pair = |block: &mut Block, projection| {
        let weight = weight(block, projection);
        [random(RANK * weight.inputs(), 0.3), random(weight.outputs() * RANK, most)]
    };
    model.blocks.iter_mut().map(|block| Projection::ALL.map(|projection| pair(block, projection))).collect()
}

fn adapter(matrices: &Matrices) -> Arc<Adapter> {
    let mut adapter = Adapter::new(LAYERS);
    for (layer, pairs) in matrices.iter().enumerate() {
        for ([a, b], projection) in pairs.iter().zip(Projection::ALL) {
            let shape = [b.len() / RANK, RANK, a.len() / RANK];
            adapter.set(layer, projection, LowRank::new(a, b, SCALE, shape));
        }
    }
    Arc::new(adapter)
}

/// The model with `W + s B A` in the place of every `W`.
fn merged(matrices: &Matrices) -> Engine {
    let mut model = decoder([None; LAYERS]);
    for (block, pairs) in model.blocks.iter_mut().zip(matrices) {
        for ([a, b], projection) in pairs.iter().zip(Projection::ALL) {
            let weight = weight(block, projection);
            let (outputs, inputs) = (weight.outputs(), weight.inputs());
            let mut sums = vec![0.0; outputs * inputs];
            for (output, row) in sums.chunks_exact_mut(inputs).enumerate() {
                weight.row(output, row);
                for (input, sum) in row.iter_mut().enumerate() {
                    *sum += SCALE * (0..RANK).map(|at| b[output * RANK + at] * a[at * inputs + input]).sum::<f32>();
                }
            }
            *linear(block, projection) = Linear::packed(PackedMatrix::from_f32(&sums, outputs, inputs), None);
        }
    }
    Engine::new(model, 2).unwrap()
}

/// The scores after `prompt` and after each of `steps`, with `adapter` if there is one.
fn adapted(
    engine: &Engine,
    text: &str,
    adapter: Option<&Arc<Adapter>>,
    prompt: &[u32],
    steps: &[u32],
) -> Vec<Vec<f32>> {
    let mut sequence = engine.adapted_sequence(&policy(text), adapter).unwrap();
    let mut logits = vec![read(engine, &mut sequence, prompt, prompt.len()).values];
    logits.extend(continued(engine, &mut sequence, steps));
    logits
}

#[test]
fn an_adapter_gives_what_the_sum_of_the_weights_gives() {
    let (matrices, prompt, steps) = (matrices(3, 0.3), ids(1, 40), ids(2, 6));
    let base = engine(2);
    let expected = run(&merged(&matrices), "f32", &prompt, &steps).0;
    let found = adapted(&base, "f32", Some(&adapter(&matrices)), &prompt, &steps);
    let plain = run(&base, "f32", &prompt, &steps).0;
    for (step, ((found, expected), plain)) in found.iter().zip(&expected).zip(&plain).enumerate() {
        assert_near(found, expected, 1e-4, &format!("step {step}"));
        let changed = found.iter().zip(plain).map(|(found, plain)| (found - plain).abs()).fold(0.0, f32::max);
        assert!(changed > 0.1, "step {step}: the adapter changes scores by {changed}");
    }
}

#[test]
fn an_adapter_of_zeros_changes_no_bit() {
    let (base, zeros, prompt, steps) = (engine(2), adapter(&matrices(3, 0.0)), ids(1, 40), ids(2, 6));
    let bits = |scores: Vec<Vec<f32>>| -> Vec<u32> { scores.into_iter().flatten().map(f32::to_bits).collect() };
    let plain = run(&base, "full", &prompt, &steps).0;
    assert_eq!(bits(adapted(&base, "full", Some(&zeros), &prompt, &steps)), bits(plain));
}

#[test]
fn texts_with_two_adapters_and_none_equal_each_alone() {
    let base = engine(2);
    let [first, second] = [5, 6].map(|seed| Some(adapter(&matrices(seed, 0.3))));
    let texts: [Begins; 6] = [
        ("full", None, 33),
        ("snapkv(budget=20, window=8)", first.clone(), 50),
        ("int8", second.clone(), 9),
        ("full", first, 50),
        ("h2o(budget=30)", second, 61),
        ("f32", None, 1),
    ];
    let prompts: Vec<Vec<u32>> = texts.iter().zip(10..).map(|((_, _, tokens), seed)| ids(seed, *tokens)).collect();
    let steps = ids(4, 5);
    let alone =
        |((text, adapter, _), prompt): (&Begins, &Vec<u32>)| adapted(&base, text, adapter.as_ref(), prompt, &steps);
    let alone: Vec<Vec<Vec<f32>>> = texts.iter().zip(&prompts).map(alone).collect();
    let begun = |(text, adapter, _): &Begins| base.adapted_sequence(&policy(text), adapter.as_ref()).unwrap();
    let mut sequences: Vec<Sequence> = texts.iter().map(begun).collect();
    // Each begins one forward later than the one before, so prompts are read while others are written.
    let mut together = vec![Vec::new(); texts.len()];
    for forward in 0..texts.len() + steps.len() {
        let mut whose = Vec::new();
        let mut chunks = Vec::new();
        for (index, sequence) in sequences.iter_mut().enumerate() {
            let ids = match forward.checked_sub(index) {
                Some(0) => &prompts[index][..],
                Some(step) if step <= steps.len() => &steps[step - 1..step],
                _ => continue,
            };
            whose.push(index);
            chunks.push(Chunk { sequence, ids, prompt_ends: true, wanted: Wanted::Last });
        }
        for (index, logits) in whose.into_iter().zip(base.forward(&mut chunks).unwrap()) {
            together[index].push(logits.values);
        }
    }
    for (index, (together, alone)) in together.iter().zip(&alone).enumerate() {
        assert!(together == alone, "text {index}");
    }
}

/// Hears what is written, and how much of a prompt was there.
#[derive(Default)]
struct Heard(Mutex<(Vec<u32>, usize, Option<String>)>);

impl Listener for Heard {
    fn tell(&self, event: Event) {
        let mut heard = self.0.lock().unwrap();
        match event {
            Event::Token { id, .. } => heard.0.push(id),
            Event::Begun { cached, .. } => heard.1 += cached,
            Event::Shared { tokens } => heard.1 += tokens,
            Event::Failed(error) => heard.2 = Some(error.to_string()),
            _ => {}
        }
    }

    fn gone(&self) -> bool {
        false
    }
}

fn request(prompt: &[u32], adapter: Option<&Arc<Adapter>>) -> (Request, Arc<Heard>) {
    let heard = Arc::new(Heard::default());
    let request = Request::greedy(prompt.to_vec(), CachePolicy::full(), 10, heard.clone());
    let request = Request { adapter: adapter.cloned(), ..request };
    (request, heard)
}

#[test]
fn nothing_that_was_read_with_one_adapter_is_used_with_another() {
    let (base, prompt) = (engine(2), ids(9, 100));
    let [first, second] = [5, 6].map(|seed| adapter(&matrices(seed, 0.3)));
    let whose = [None, Some(&first), Some(&second)];
    let alone = whose.map(|adapter| {
        let mut sequence = base.adapted_sequence(&CachePolicy::full(), adapter).unwrap();
        let generation = Generation { tokens: 10, stop: Vec::new() };
        generate(&base, &mut sequence, &prompt, &generation, &mut Sampler::greedy(), |_| true).unwrap().ids
    });
    assert!(alone[0] != alone[1] && alone[1] != alone[2] && alone[0] != alone[2], "{alone:?}");
    let mut scheduler = Scheduler::new(&base, ScheduleLimits::default());
    let mut run = |asked: &[usize]| -> Vec<(Vec<u32>, usize)> {
        let heard: Vec<Arc<Heard>> = asked
            .iter()
            .map(|&index| {
                let (request, heard) = request(&prompt, whose[index]);
                scheduler.submit(request);
                heard
            })
            .collect();
        while !scheduler.idle() {
            scheduler.step();
        }
        heard.iter().map(|heard| heard.0.lock().unwrap().clone()).map(|(ids, cached, _)| (ids, cached)).collect()
    };
    // At once, and then one after the other: each finds its own prompt only.
    for (index, (ids, cached)) in run(&[0, 1, 2]).into_iter().enumerate() {
        assert_eq!((ids, cached), (alone[index].clone(), 0), "{index}, at once");
    }
    for index in [2, 0, 1] {
        let found = run(&[index]).remove(0);
        assert_eq!(found, (alone[index].clone(), 99), "{index}, again");
    }
    let both = run(&[1, 1, 0]);
    assert!(both.iter().all(|(_, cached)| *cached == 99), "{both:?}");
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(scheduler.save_prompts(directory.path()).unwrap(), 1, "only what was read without an adapter");
}

#[test]
fn a_prompt_waits_only_for_those_with_its_adapter() {
    let (base, prompt) = (engine(2), ids(9, 300));
    let first = adapter(&matrices(5, 0.3));
    let limits = ScheduleLimits { rows_alone: 64, ..ScheduleLimits::default() };
    let mut scheduler = Scheduler::new(&base, limits);
    let heard = [None, Some(&first), Some(&first)].map(|adapter| {
        let (request, heard) = request(&prompt, adapter);
        scheduler.submit(request);
        heard
    });
    while !scheduler.idle() {
        scheduler.step();
    }
    let cached = heard.map(|heard| heard.0.lock().unwrap().1);
    // It waits up to the last page of what both begin with.
    assert!(cached[..2] == [0, 0] && cached[2] > 256, "{cached:?}");
}

#[test]
fn what_asks_the_model_without_the_adapter_is_refused() {
    let (base, first) = (engine(1), adapter(&matrices(5, 0.3)));
    let begun = || base.adapted_sequence(&CachePolicy::full(), Some(&first)).unwrap();
    let refused =
        base.adapted_sequence(&policy("gemfilter(layer=1, budget=16)"), Some(&first)).unwrap_err().to_string();
    assert!(refused.contains("first layers") && refused.contains("snapkv"), "{refused}");
    let other = Arc::new(Adapter::new(LAYERS + 1));
    assert!(base.adapted_sequence(&CachePolicy::full(), Some(&other)).is_err());
    let session = Session { sequence: begun(), unread: Vec::new(), note: String::new() };
    assert!(session.to_bytes(&base).unwrap_err().to_string().contains("adapter"));
    let exited = base.step_exiting(&mut begun(), 1, &EarlyExit::default()).unwrap_err().to_string();
    assert!(exited.contains("leave the model early"), "{exited}");
    let set = base.read_segments(&mut begun(), &[1], &[vec![2], vec![3]]).unwrap_err().to_string();
    assert!(set.contains("segments"), "{set}");
    let mut scheduler = Scheduler::new(&base, ScheduleLimits::default());
    let (leaving, heard) = request(&[1, 2, 3], Some(&first));
    scheduler.submit(Request { exit: Some(EarlyExit::default()), ..leaving });
    let told = heard.0.lock().unwrap().2.clone();
    assert!(told.is_some_and(|told| told.contains("leave the model early")) && scheduler.idle());
}
