//! Drawing with a cache is the model itself, and the cache takes what it must.

use burn::tensor::Device;
use headwise_ops::host::{self, Host};

use super::*;

const SCALES: [usize; 4] = [1, 2, 3, 4];

fn model(scales: &[usize]) -> NextScale {
    let spec = NextScaleSpec { dim: 24, heads: 3, layers: 2, ..NextScaleSpec::micro(scales, 5) };
    NextScale::random(spec, &Device::flex()).unwrap()
}

fn drawing(classes: &[usize], guidance: f64, choice: Choice) -> Drawing {
    Drawing { classes: classes.to_vec(), guidance, choice, seed: 3 }
}

/// The scores of every token under `classes`, in one masked pass over `tokens`: `[pictures, tokens, codes]`.
fn masked(model: &NextScale, tokens: &[u32], classes: &[usize]) -> Vec<f32> {
    let (features, _) = model.autoencoder.quantiser.read(tokens, classes.len());
    Host::new(host::contiguous(model.transformer.forward(classes, features))).as_slice().to_vec()
}

#[test]
fn scale_by_scale_scores_are_those_of_one_masked_pass() {
    for (scales, guidance) in [(&SCALES[..], 0.0), (&[1, 2, 4, 8], 1.5), (&[1, 4], 2.0)] {
        let model = model(scales);
        let classes = [0, 3, 4];
        let drawn = model.draw(&drawing(&classes, guidance, Choice::DRAW), &mut KeepEverything).unwrap();
        let with = masked(&model, &drawn.tokens, &classes);
        let without = masked(&model, &drawn.tokens, &[5; 3]);
        let (tokens, codes) = (model.spec().tokens(), model.spec().codes);
        for (scale, side) in scales.iter().enumerate() {
            let strength = (guidance * scale as f64 / (scales.len() - 1) as f64) as f32;
            let cells = side * side * codes;
            for picture in 0..3 {
                let first = (picture * tokens + model.spec().history(scale)) * codes;
                for cell in 0..cells {
                    let expected = (1.0 + strength) * with[first + cell] - strength * without[first + cell];
                    let found = drawn.scores[scale][picture * cells + cell];
                    assert!((found - expected).abs() <= 1e-4, "{found} {expected}");
                }
            }
        }
    }
}

#[test]
fn drawn_pictures_are_what_their_codes_decode_to() {
    let model = model(&SCALES);
    let drawn = model.draw(&drawing(&[1, 2], 1.0, Choice::Greedy), &mut KeepEverything).unwrap();
    for (one, other) in drawn.pixels.iter().zip(model.decode(&drawn.tokens, 2)) {
        assert!((one - other).abs() < 1e-2, "{one} {other}");
    }
}

/// Keeps all slots by naming them.
struct NamesAll;

impl CompressesScales for NamesAll {
    fn attended(&mut self, seen: &Attended<'_>) -> Option<Kept> {
        let [_, heads, slots, _] = seen.key.dims();
        let all = (0..seen.pictures * heads).flat_map(|_| 0..slots as u32).collect();
        Some(Kept { per_head: slots, slots: all })
    }
}

#[test]
fn keeping_everything_changes_no_bit() {
    let model = model(&SCALES);
    let drawing = drawing(&[1, 2, 0], 1.5, Choice::DRAW);
    let full = model.draw(&drawing, &mut KeepEverything).unwrap();
    let named = model.draw(&drawing, &mut NamesAll).unwrap();
    assert_eq!(full.scores, named.scores);
    assert_eq!(full.pixels, named.pixels);
    assert_eq!(full.bytes, named.bytes);
}

/// Keeps the first slot of every head.
struct First;

impl CompressesScales for First {
    fn attended(&mut self, seen: &Attended<'_>) -> Option<Kept> {
        Some(Kept { per_head: 1, slots: vec![0; seen.pictures * seen.key.dims()[1]] })
    }
}

#[test]
fn bytes_are_counted_to_the_last() {
    let model = model(&SCALES);
    // Both halves, keys and values, two layers, 24 channels, four bytes.
    let token = 2 * 2 * 2 * 24 * 4;
    let bytes =
        |policy: &mut dyn CompressesScales| model.draw(&drawing(&[1], 1.0, Choice::Greedy), policy).unwrap().bytes;
    assert_eq!(bytes(&mut KeepEverything), ScaleCacheBytes { held: 14 * token, peak: 30 * token });
    let first = bytes(&mut First);
    assert_eq!(first.held, token);
    // One slot and the map of the last scale, in every layer.
    assert_eq!(first.peak, 17 * token);
}

#[test]
fn what_cannot_be_drawn_is_refused() {
    let model = model(&SCALES);
    let refused = |drawing| model.draw(&drawing, &mut KeepEverything).unwrap_err().to_string();
    assert!(refused(drawing(&[5], 0.0, Choice::Greedy)).contains("class 5 is not among the 5"));
    assert!(refused(drawing(&[0], 0.0, Choice::Draw { top_k: 0, top_p: 1.0 })).contains("top_k"));
}

#[test]
fn queries_have_the_learned_length_and_keys_length_one() {
    struct Lengths;
    impl CompressesScales for Lengths {
        fn attended(&mut self, seen: &Attended<'_>) -> Option<Kept> {
            let lengths = |tensor: &Tensor<4>| {
                let width = tensor.dims()[3];
                let values = Host::new(host::contiguous(tensor.clone()));
                values
                    .as_slice()
                    .chunks(width)
                    .map(|row| row.iter().map(|x| x * x).sum::<f32>().sqrt())
                    .collect::<Vec<_>>()
            };
            assert!(lengths(seen.key).iter().all(|length| (length - 1.0).abs() < 1e-3));
            assert!(lengths(seen.query).iter().all(|length| (length - 4.0).abs() < 1e-2));
            None
        }
    }
    model(&SCALES).draw(&drawing(&[1], 0.0, Choice::Greedy), &mut Lengths).unwrap();
}
