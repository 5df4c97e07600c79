//! Parts of a supernet are models of their own.

use burn::tensor::Device;
use headwise_ops::host::Host;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::*;

const SPEC: &str = "vocabulary = 24\ndim = 32\ncontext = 64\nepsilon = 1e-5\ntied = true\nlayers = [\
    { mixer = \"softmax(heads=4, kv_heads=2, bias=true)\", channel = \"gated(hidden=48)\" }, \
    { mixer = \"softmax(heads=4, qk_norm=true)\", channel = \"mlp(hidden=40, bias=true)\" }, \
    { mixer = \"softmax(heads=4, kv_heads=4)\", channel = \"gated(hidden=33)\" }]";

fn model() -> Decoder {
    let model = Decoder::random(toml::from_str(SPEC).unwrap(), &Device::flex()).unwrap();
    headwise_nn::named::read(&model);
    model
}

fn logits(model: &Decoder) -> Vec<f32> {
    Host::new(model.forward(&[3, 1, 4, 1, 5, 9, 2, 6, 23, 20], &Device::flex())).as_slice().to_vec()
}

fn matrices(model: &Decoder) -> usize {
    let inner = |weight: &headwise_nn::named::Named| weight.name.starts_with("blocks.") && weight.shape.len() == 2;
    headwise_nn::named::read(model).into_iter().filter(inner).map(|weight| weight.values.len()).sum()
}

#[test]
fn a_part_is_the_supernet_with_the_rest_at_zero() {
    let model = model();
    let space = Space::of(model.spec(), 4).unwrap();
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut subnets = vec![space.largest(), space.smallest()];
    subnets.extend((0..8).map(|_| space.random(&mut random)));
    let mut depths = Vec::new();
    for subnet in subnets {
        let (cut, alone) = (space.cut(&subnet, &model), space.extracted(&subnet, &model));
        let difference = logits(&cut).iter().zip(logits(&alone)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(difference < 1e-5, "{difference}: {subnet:?}");
        assert_eq!(space.weights(&subnet), matrices(&alone), "{subnet:?}");
        assert_eq!(alone.spec().check(), Ok(()));
        assert_eq!(space.depth(&subnet), [alone.blocks.len(), 3]);
        depths.push(alone.blocks.len());
    }
    assert_eq!((depths[0], depths[1]), (3, 2));
    assert_eq!(logits(&space.cut(&space.largest(), &model)), logits(&model));
}

#[test]
fn no_part_has_more_weights_than_allowed() {
    let space = Space::of(model().spec(), 4).unwrap();
    let mut random = ChaCha8Rng::seed_from_u64(2);
    let (most, least) = (space.weights(&space.largest()), space.weights(&space.smallest()));
    for limit in [most, most / 2, least, 0] {
        for _ in 0..20 {
            let drawn = space.random(&mut random);
            let found = space.within(drawn, limit, &mut random);
            assert!(space.weights(&found) <= limit.max(least));
        }
    }
}

#[test]
fn models_that_have_no_parts_are_named() {
    let error = |from: &str, to: &str| {
        let spec: DecoderSpec = toml::from_str(&SPEC.replace(from, to)).unwrap();
        Space::of(&spec, 4).unwrap_err().to_string()
    };
    assert!(error("qk_norm=true", "position=alibi").contains("alibi"));
    assert!(error("softmax(heads=4, kv_heads=4)\"", "softmax(heads=4)\", norms = \"post\"").contains("norms before"));
    assert!(error("softmax(heads=4, kv_heads=4)", "gla(heads=2)").contains("layer 2"));
    assert!(Space::of(model().spec(), 0).unwrap_err().to_string().contains("steps=0"));
}
