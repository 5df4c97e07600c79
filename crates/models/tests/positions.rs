//! Vectors of positions at the input of a decoder.

use burn::tensor::{Device, Tensor};
use headwise_models::decoder::{Decoder, DecoderSpec, SpecError};
use headwise_nn::position::InputPosition;

const DIM: usize = 8;
const CONTEXT: usize = 6;

fn spec(position: &str) -> DecoderSpec {
    let text = format!(
        "vocabulary = 5\ndim = {DIM}\ncontext = {CONTEXT}\nepsilon = 1e-6\nposition = \"{position}\"\n\
         [[layers]]\nmixer = \"softmax(heads=2, position=nope)\"\nchannel = \"gated(hidden=8)\""
    );
    toml::from_str(&text).unwrap()
}

fn numbers<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.into_data().try_into_vec().unwrap()
}

#[test]
fn vectors_are_added_to_those_of_the_tokens() {
    let device = Device::flex();
    let model = Decoder::random(spec("learned"), &device).unwrap();
    let Some(InputPosition::Learned(table)) = &model.position else { panic!("a table") };
    assert_eq!(table.weight.val().dims(), [CONTEXT, DIM]);
    let ids = [3, 3, 1];
    let found = numbers(model.embed(&ids, &[0, 5, 2], &device));
    let [tokens, table] = [model.embedding.lookup(&ids, &device).squeeze_dim::<2>(0), table.weight.val()].map(numbers);
    for (row, position) in [0, 5, 2].into_iter().enumerate() {
        for channel in 0..DIM {
            let expected = tokens[row * DIM + channel] + table[position * DIM + channel];
            assert!((found[row * DIM + channel] - expected).abs() < 1e-6, "row {row}, channel {channel}");
        }
    }
}

#[test]
fn order_is_seen_by_positions_alone() {
    // Without a position of its own the attention of the last row sees a set.
    let device = Device::flex();
    let last = |model: &Decoder, ids: &[u32]| numbers(model.forward(ids, &device))[2 * 5..].to_vec();
    for (position, ordered) in [("sinusoidal", true), ("sinusoidal(scale=0)", false), ("learned", true)] {
        let model = Decoder::random(spec(position), &device).unwrap();
        let (one, other) = (last(&model, &[1, 2, 3]), last(&model, &[2, 1, 3]));
        let most = one.iter().zip(&other).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert_eq!(most > 1e-6, ordered, "{position}: {most}");
    }
}

#[test]
fn gradients_reach_the_positions_of_the_text_and_no_others() {
    let device = Device::flex().autodiff();
    let model = Decoder::random(spec("learned"), &device).unwrap();
    let gradients = model.forward(&[1, 4, 2], &device).powi_scalar(2).sum().backward();
    let Some(InputPosition::Learned(table)) = &model.position else { panic!("a table") };
    let gradient = numbers(table.weight.val().grad(&gradients).expect("a gradient"));
    for (position, row) in gradient.chunks_exact(DIM).enumerate() {
        assert_eq!(row.iter().any(|&value| value != 0.0), position < 3, "position {position}: {row:?}");
    }
}

#[test]
fn numbers_without_sense_are_named() {
    let error = Decoder::random(spec("sinusoidal(theta=0)"), &Device::flex()).unwrap_err();
    assert!(matches!(error, SpecError::Position { .. }), "{error}");
    assert!(error.to_string().contains("theta=0"), "{error}");
}
