//! Techniques that leave weights, heads, layers or tokens out.

use burn::module::Param;
use burn::tensor::{Device, Tensor};
use headwise_engine::cache::CachePolicy;
use headwise_models::compress::Heads;
use headwise_models::decoder::{Decoder, Weights};
use headwise_nn::Linear;
use headwise_nn::mixer::{MixContext, Mixer, Segment};
use headwise_nn::named::{self, Named};
use headwise_ops::host::{Host, contiguous, tensor};
use headwise_train::restraint::cubic;

use super::super::Measured;
use super::students::beyond;
use super::tiny::{FROM_NOTHING, GOING_ON, Tiny, apart, more};
use crate::perplexity;

/// The matrices of the layers.
pub fn matrices(model: &Decoder) -> Vec<Named> {
    let inner = |weight: &Named| weight.name.starts_with("blocks.") && weight.shape.len() == 2;
    named::read(model).into_iter().filter(inner).collect()
}

fn zeros(values: &[f32]) -> usize {
    values.iter().filter(|value| **value == 0.0).count()
}

/// Zeros in excess of the schedule, or missing, in any matrix after any step.
fn off_schedule(tiny: &Tiny, restraint: &str, share: f64) -> f64 {
    const STEPS: u64 = 6;
    let keys = format!("restraint = \"{restraint}(share={share}, begin=0, end=1)\"");
    let mut run = tiny.run(tiny.student(), STEPS, &keys);
    let mut most = 0.0;
    for step in 1..=STEPS {
        run.step().unwrap_or_else(|error| panic!("{error}"));
        for Named { values, .. } in matrices(&run.result()) {
            let expected = (values.len() as f64 * cubic(share, step as f64 / STEPS as f64)).round();
            most = f64::max(most, (zeros(&values) as f64 - expected).abs());
        }
    }
    most
}

pub fn magnitude(tiny: &Tiny) -> [Measured; 2] {
    let ends = cubic(0.75, 0.0).abs() + (cubic(0.75, 1.0) - 0.75).abs();
    let off = off_schedule(tiny, "gradual_magnitude", 0.75) + ends;
    let held = tiny.learned(GOING_ON, tiny.itself(), "restraint = \"gradual_magnitude(share=0.5)\"");
    let lost = more(tiny.perplexity(&held), tiny.perplexity(tiny.gone_on()));
    [Measured::alone(off), Measured::alone(lost)]
}

pub fn movement(tiny: &Tiny) -> [Measured; 2] {
    let off = off_schedule(tiny, "movement", 0.6);
    // From nothing: in the few steps that go on from the model, weights hardly move, and scores are noise.
    let held = tiny.learned(FROM_NOTHING, tiny.student(), "restraint = \"movement(share=0.5)\"");
    [Measured::alone(off), Measured::alone(beyond(tiny, &held))]
}

pub fn two_of_four(tiny: &Tiny) -> [Measured; 2] {
    let after = tiny.pruned("magnitude(keep_of=[2, 4])");
    let mut wrong = 0;
    for (before, after) in matrices(tiny.model()).iter().zip(matrices(&after)) {
        for (before, after) in before.values.chunks(4).zip(after.values.chunks(4)) {
            let mut order: Vec<usize> = (0..4).collect();
            order.sort_by(|&a, &b| before[b].abs().total_cmp(&before[a].abs()));
            // Equal magnitudes may change places.
            let right = order[..2].iter().all(|&at| after[at] == before[at])
                && order[2..].iter().all(|&at| after[at] == 0.0)
                || before[order[1]].abs() == before[order[2]].abs();
            wrong += usize::from(!right);
        }
    }
    [Measured::alone(wrong as f64), Measured::alone(tiny.lost_pruned("wanda(keep_of=[2, 4])"))]
}

/// `model` with a gate on what a query head gives.
fn gated(model: &Decoder, layer: usize, head: usize, gate: f32) -> Decoder {
    let mut model = model.clone();
    let dim = model.spec().dim;
    if let Mixer::Softmax(mixer) = &mut model.blocks[layer].mixer {
        let width = mixer.spec().sizes(dim).head_dim;
        if let Linear::Float(output) = &mut mixer.output {
            let weight = output.weight.val();
            let factors = (0..weight.dims()[0]).map(|input| if input / width == head { gate } else { 1.0 }).collect();
            let factors: Tensor<2> = tensor(factors, [weight.dims()[0], 1], &Device::flex());
            output.weight = Param::initialized(output.weight.id, weight * factors);
        }
    }
    model
}

/// The mean loss of a text.
fn loss(model: &Decoder, ids: &[u32]) -> f64 {
    let scores = Host::new(contiguous(model.forward(ids, &Device::flex())));
    let rows = scores.as_slice().chunks_exact(model.spec().vocabulary).zip(&ids[1..]);
    rows.map(|(scores, &id)| perplexity::nll(scores, id)).sum::<f64>() / (ids.len() - 1) as f64
}

pub fn heads(tiny: &Tiny) -> [Measured; 2] {
    const STEP: f32 = 0.05;
    let ids = &tiny.judged[..128];
    let gradients = Heads::gate_gradients(tiny.model(), ids);
    let mut most = 0.0;
    for (layer, head) in [(0, 1), (2, 0), (2, 4), (5, 3)] {
        let ends = [1.0 + STEP, 1.0 - STEP].map(|gate| loss(&gated(tiny.model(), layer, head, gate), ids));
        let expected = (ends[0] - ends[1]) / (2.0 * f64::from(STEP));
        most = f64::max(most, (gradients[layer][head] - expected).abs());
    }
    // One key-value head of twelve, with its three query heads.
    [Measured::alone(most), Measured::alone(tiny.lost_pruned("heads(share=0.084)"))]
}

pub fn layers(tiny: &Tiny) -> [Measured; 2] {
    let (model, ids) = (tiny.model(), &tiny.judged[..256]);
    let mut short = model.clone();
    short.keep_layers(&[0, 1, 2, 4, 5]);
    let positions: Vec<i32> = (0..ids.len() as i32).collect();
    let segments = [Segment { sequence: 0, rows: 0..ids.len() }];
    let mut ctx = MixContext::new(&positions, &segments);
    let x = model.embed(ids, &positions, &Device::flex());
    let x = [0, 1, 2, 4, 5].into_iter().fold(x, |x, layer| model.layer(layer, x, &mut ctx));
    let rows: Vec<usize> = (0..ids.len()).collect();
    let skipped = Host::new(contiguous(model.head(x, &rows)));
    let left_out = Host::new(contiguous(short.forward(ids, &Device::flex())));
    let identity = apart(left_out.as_slice(), skipped.as_slice());
    // One layer of six.
    [Measured::alone(identity), Measured::alone(tiny.lost_pruned("layers(share=0.17)"))]
}

pub fn wanda(tiny: &Tiny) -> [Measured; 2] {
    let (model, after) = (tiny.model(), tiny.pruned("wanda(share=0.5)"));
    // What the first projections read, from its definition.
    let text = tiny.calibration.start(model);
    let norm = model.blocks[0].mixer_norms.before.as_ref().expect("layers with a norm before");
    let read = Host::new(contiguous(norm.forward(text.hidden)));
    let width = model.spec().dim;
    let norms: Vec<f64> = (0..width)
        .map(|input| read.as_slice().iter().skip(input).step_by(width).map(|x| f64::from(*x).powi(2)).sum::<f64>())
        .map(f64::sqrt)
        .collect();
    let query = |model: &Decoder| matrices(model).swap_remove(0);
    let (before, after) = (query(model), query(&after));
    let mut wrong = 0;
    for (before, after) in before.values.chunks(width).zip(after.values.chunks(width)) {
        let score = |at: &usize| f64::from(before[*at].abs()) * norms[*at];
        let kept = (0..width).filter(|&at| after[at] != 0.0).map(|at| score(&at)).fold(f64::INFINITY, f64::min);
        let gone = (0..width).filter(|&at| after[at] == 0.0);
        // Sums in another order may tell near scores apart the other way round.
        wrong += gone.filter(|at| score(at) > kept * (1.0 + 1e-5)).count() + zeros(after).abs_diff(width / 2);
    }
    [Measured::alone(wrong as f64), Measured::alone(tiny.lost_pruned("wanda(share=0.5)"))]
}

pub fn tokens(tiny: &Tiny) -> [Measured; 2] {
    const PROMPT: usize = 1024;
    let engine = tiny.engine(tiny.model().clone(), "f32", Weights::Stored);
    let scores = |policy: &str| {
        let policy = CachePolicy::parse(policy).expect("a policy of this experiment");
        let mut sequence = engine.sequence(&policy).expect("a policy for every model");
        engine.prefill(&mut sequence, &tiny.judged[..PROMPT], |_| {}).expect("a text that fits").values
    };
    let identity = apart(&scores("uncomp_stages(keep=1)"), &scores("full"));
    let of = |policy: &str| {
        let policy = CachePolicy::parse(policy).expect("a policy of this experiment");
        perplexity::measure(&engine, &policy, &tiny.judged, PROMPT, |_| {}).expect("a text that fits").value
    };
    [Measured::alone(identity), Measured::alone(more(of("uncomp_stages(keep=0.25)"), of("full")))]
}
