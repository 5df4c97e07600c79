use burn::module::Module;
use burn::tensor::{Device, Tensor};
use headwise_models::compress::{Calibration, Influence, Step};
use headwise_models::decoder::Decoder;
use headwise_nn::named;
use headwise_ops::host::{Host, contiguous};

use super::{Aim, Fuse, FuseError, Fused, FusedGroup, Fusion, Lesson, Order};
use crate::model::draw;

/// Layers 0, 1 and 3 are of one type, the others of another each.
const MODEL: &str = r#"
    vocabulary = 60
    dim = 16
    context = 64
    epsilon = 1e-6
    layers = [
        { mixer = { type = "softmax", heads = 2, bias = true }, channel = { type = "gated", hidden = 24 } },
        { mixer = { type = "softmax", heads = 2, bias = true }, channel = { type = "gated", hidden = 24 } },
        { mixer = { type = "softmax", heads = 2, bias = true, window = 8 }, channel = { type = "gated", hidden = 24 } },
        { mixer = { type = "softmax", heads = 2, bias = true }, channel = { type = "gated", hidden = 24 } },
        { mixer = { type = "softmax", heads = 4, kv_heads = 2, qk_norm = true }, channel = { type = "mlp", hidden = 20 } },
    ]
"#;

fn model() -> Decoder {
    draw(toml::from_str(MODEL).unwrap(), 3, &Device::flex()).unwrap()
}

fn calibration() -> Calibration {
    let ids: Vec<u32> = (0..96).map(|at| (at * at * 7 + at / 5) % 60).collect();
    Calibration::new(&ids, 96, 24).unwrap()
}

fn quick() -> Fuse {
    Fuse { group: 4, rank: 6, epochs: 3, learning_rate: 1e-2, slow_learning_rate: 1e-3, ..Fuse::default() }
}

fn run(fuse: &Fuse, model: &mut Decoder) -> Fused {
    fuse.run(model, &calibration(), &mut |_| {}).unwrap()
}

fn difference(a: Tensor<3>, b: Tensor<3>) -> f32 {
    assert_eq!(a.dims(), b.dims());
    let (a, b) = (Host::new(contiguous(a)), Host::new(contiguous(b)));
    a.as_slice().iter().zip(b.as_slice()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn a_group_begins_as_it_is_without_the_layer_and_folds_into_what_it_learned() {
    let model = model();
    for gone in 0..5 {
        let lesson = Lesson::of(&model, &calibration(), 0..5);
        let group = FusedGroup::new(&model, 0..5, gone, 6, 0).unwrap();
        let begun = group.forward(&lesson.text).inner();
        let others = (0..5).filter(|&layer| layer != gone);
        let plain = others.fold(lesson.text.hidden.clone(), |hidden, layer| lesson.text.layer(&model, layer, hidden));
        assert!(difference(begun.clone(), plain) < 1e-6);

        let group = lesson.teach(&quick(), group, &mut |_| {}).unwrap();
        let learned = group.forward(&lesson.text).inner();
        assert!(difference(learned.clone(), begun) > 1e-3);
        let folded = group.folded();
        assert_eq!(folded.len(), 4);
        let folded = folded.iter().fold(lesson.text.hidden.clone(), |hidden, block| lesson.text.block(block, hidden));
        assert!(difference(learned, folded) < 1e-5);
    }
}

#[test]
fn only_layers_of_the_same_type_take_weights_in() {
    let model = model();
    let coefficients = |gone| FusedGroup::new(&model, 0..5, gone, 6, 0).unwrap().coefficients().len();
    // Two other layers of seven matrices, each with two narrow ones, and of three biases.
    assert_eq!([coefficients(0), coefficients(1), coefficients(3)], [2 * (7 * 2 + 3); 3]);
    assert_eq!([coefficients(2), coefficients(4)], [0; 2]);
}

#[test]
fn learning_lowers_the_loss_and_leaves_the_size_of_the_layers_that_stay() {
    let (before, mut fused) = (model(), model());
    let done = run(&Fuse { layers: Some(vec![1, 3]), ..quick() }, &mut fused);
    assert_eq!((done.gone.as_slice(), done.layers), ([1, 3].as_slice(), 5));
    for [start, end] in &done.losses {
        assert!(end < &(0.9 * start), "{start} became {end}");
    }
    let mut plain = before.clone();
    plain.keep_layers(&[0, 2, 4]);
    assert_eq!(fused.num_params(), plain.num_params());
    assert_eq!(fused.spec(), plain.spec());
    let shapes = |model| named::read(model).into_iter().map(|weight| (weight.name, weight.shape)).collect::<Vec<_>>();
    assert_eq!(shapes(&fused), shapes(&plain));
    // Without learning nothing but the layers changes.
    let mut left = before;
    let done = run(&Fuse { layers: Some(vec![1, 3]), epochs: 0, ..quick() }, &mut left);
    assert!(done.losses.is_empty());
    assert_eq!(named::read(&left), named::read(&plain));
    assert_eq!(done.to_string(), "2 of 5 layers left out: 1, 3");
}

#[test]
fn later_rounds_take_in_the_weights_that_earlier_ones_made() {
    let (mut together, mut one_by_one) = (model(), model());
    run(&Fuse { layers: Some(vec![3, 1]), ..quick() }, &mut together);
    run(&Fuse { layers: Some(vec![3]), ..quick() }, &mut one_by_one);
    // Layer 1 learned from layer 3, so the next round begins with other weights than those it had.
    let weights = |model: &Decoder| named::read(&model.blocks[1]);
    assert_ne!(weights(&one_by_one), weights(&model()));
    run(&Fuse { layers: Some(vec![1]), ..quick() }, &mut one_by_one);
    assert_eq!(named::read(&together), named::read(&one_by_one));
}

#[test]
fn what_the_original_has_is_another_target_from_the_second_round_on() {
    let (mut group, mut whole) = (model(), model());
    let fuse = Fuse { layers: Some(vec![1, 2]), ..quick() };
    let of_group = run(&fuse, &mut group).losses;
    let of_model = run(&Fuse { target: Aim::Model, ..fuse }, &mut whole).losses;
    assert_eq!(of_group[0], of_model[0]);
    // What the first round broke adds to the loss of the second, which learns to mend it.
    assert!(of_model[1][0] > of_group[1][0], "{of_model:?}, {of_group:?}");
    assert!(of_model[1][1] < 0.9 * of_model[1][0], "{of_model:?}");
    let text = calibration().start(&model());
    let end = |model: &Decoder| {
        (0..model.blocks.len()).fold(text.hidden.clone(), |hidden, layer| text.layer(model, layer, hidden))
    };
    let original = end(&model());
    let far = |model: &Decoder| (end(model) - original.clone()).square().mean().into_scalar::<f32>();
    assert!(far(&whole) < far(&group), "{} and {}", far(&whole), far(&group));
}

#[test]
fn only_the_group_changes() {
    let mut fused = model();
    run(&Fuse { layers: Some(vec![0]), group: 3, ..quick() }, &mut fused);
    let (before, after) = (model(), &fused);
    let changed: Vec<bool> =
        (1..5).map(|layer| named::read(&before.blocks[layer]) != named::read(&after.blocks[layer - 1])).collect();
    assert_eq!(changed, [true, true, false, false]);
}

#[test]
fn layers_go_in_the_order_that_is_asked_for() {
    let text = calibration();
    for (order, influence) in [(Order::Macro, Influence::Macro), (Order::Block, Influence::Block)] {
        let mut model = model();
        let influences = influence.measure(&model, &text.first(2).start(&model), &mut || {});
        let least = influences.iter().copied().fold(f64::INFINITY, f64::min);
        let done = run(&Fuse { order, judged: 2, share: 0.2, epochs: 0, ..quick() }, &mut model);
        assert_eq!(influences[done.gone[0]], least);
    }
    let random = |seed| run(&Fuse { order: Order::Random, seed, share: 0.8, epochs: 0, ..quick() }, &mut model()).gone;
    assert_eq!(random(1), random(1));
    assert!((2..8).any(|seed| random(seed) != random(1)));
    let mut all = random(1);
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 4);
}

#[test]
fn shares_are_rounded_up_and_the_work_ends_where_it_said() {
    let rounds = |share, layers| Fuse { share, ..Fuse::default() }.rounds(layers).unwrap();
    assert_eq!([rounds(0.1, 30), rounds(0.25, 30), rounds(0.0, 30), rounds(0.99, 4), rounds(0.3, 1)], [3, 8, 0, 3, 0]);
    for fuse in [
        Fuse { share: 0.4, judged: 1, epochs: 2, batch: 3, ..quick() },
        Fuse { share: 0.4, order: Order::Block, epochs: 1, ..quick() },
        Fuse { share: 0.4, order: Order::Random, epochs: 0, ..quick() },
        Fuse { layers: Some(vec![4, 3]), target: Aim::Model, ..quick() },
    ] {
        let mut last = Step { done: 0, parts: 0 };
        fuse.run(&mut model(), &calibration(), &mut |step| last = step).unwrap();
        assert_eq!(last.done, last.parts, "{fuse:?}");
    }
}

#[test]
fn what_cannot_be_done_is_named() {
    headwise_spec::check_family::<Fusion>();
    let of = |text: &str| -> FuseError {
        let Fusion::Fuse(fuse) = text.parse().unwrap();
        fuse.run(&mut model(), &calibration(), &mut |_| {}).unwrap_err()
    };
    for (text, says) in [
        ("fuse(share=1)", "share=1"),
        ("fuse(group=1)", "group=1: it must be at least 2"),
        ("fuse(rank=0)", "rank=0"),
        ("fuse(batch=0)", "batch=0"),
        ("fuse(judged=0)", "judged=0"),
        ("fuse(learning_rate=-1)", "learning_rate=-1"),
        ("fuse(mse=0, kl=0)", "nothing to learn"),
        ("fuse(layers=[7])", "layers=[7]: the model has layers 0 to 4"),
        ("fuse(layers=[1, 1])", "layers=[1]"),
        ("fuse(layers=[0, 1, 2, 3, 4])", "one must stay"),
        ("fuse(layers=[1], learning_rate=1e30)", "learning_rate=1000000000000000000000000000000 is too high"),
    ] {
        let error = of(text).to_string();
        assert!(error.contains(says), "{text}: {error}");
    }
    let spec =
        MODEL.replace(r#"{ type = "softmax", heads = 2, bias = true, window = 8 }"#, r#"{ type = "retention" }"#);
    let mut other = draw(toml::from_str(&spec).unwrap(), 3, &Device::flex()).unwrap();
    let error = quick().run(&mut other, &calibration(), &mut |_| {}).unwrap_err().to_string();
    assert!(error.contains("layer 2 mixes with `retention"), "{error}");
}
