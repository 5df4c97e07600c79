//! Models whose layers share weights and whose token vectors are narrow: ALBERT's two savings.

use std::collections::HashMap;

use burn::tensor::{Device, Tensor};
use headwise_models::compress::{CompressError, Plan, Pruning, Target};
use headwise_models::decoder::{Decoder, DecoderSpec, Precision, Weights};
use headwise_models::gguf::Metadata;
use headwise_nn::named::{self, Named};
use headwise_ops::host::{self, Host};

const MODEL: &str = r#"
    vocabulary = 96
    dim = 64
    context = 64
    epsilon = 1e-5
    tied = true
    embedding_dim = 32
    shared_by = 2
    layers = [
        { mixer = "softmax(heads=4, kv_heads=2)", channel = "gated(hidden=64)" },
        { mixer = "softmax(heads=4, kv_heads=2)", channel = "gated(hidden=64)" },
        { mixer = "softmax(heads=2)", channel = "mlp(hidden=96)" },
        { mixer = "softmax(heads=2)", channel = "mlp(hidden=96)" },
    ]
"#;
const IDS: [u32; 7] = [1, 5, 3, 30, 7, 95, 0];

fn model(text: &str) -> Decoder {
    let model = Decoder::random(toml::from_str(text).unwrap(), &Device::flex()).unwrap();
    named::read(&model);
    model
}

fn logits(model: &Decoder) -> Vec<f32> {
    Host::new(model.forward(&IDS, &Device::flex())).as_slice().to_vec()
}

fn weights(model: &Decoder) -> HashMap<String, Named> {
    named::read(model).into_iter().map(|weight| (weight.name.clone(), weight)).collect()
}

struct Filled(HashMap<String, Named>);

impl named::Source for Filled {
    type Error = String;

    fn weight<const D: usize>(&mut self, name: &str, shape: [usize; D]) -> Result<Tensor<D>, String> {
        let weight = self.0.get(name).ok_or_else(|| format!("no {name}"))?;
        assert_eq!(weight.shape, shape, "{name}");
        Ok(host::tensor(weight.values.clone(), shape, &Device::flex()))
    }
}

#[test]
fn a_shared_model_is_the_one_with_copies() {
    let shared = model(MODEL);
    let mut copies = HashMap::new();
    for (name, weight) in weights(&shared) {
        match name.strip_prefix("blocks.").and_then(|name| name.split_once('.')) {
            Some((index, path)) => {
                let first = 2 * index.parse::<usize>().unwrap();
                copies.extend([first, first + 1].map(|layer| (format!("blocks.{layer}.{path}"), weight.clone())));
            }
            None => drop(copies.insert(name, weight)),
        }
    }
    let whole = named::fill(model(&MODEL.replace("shared_by = 2", "")), &mut Filled(copies)).unwrap();
    assert_eq!(logits(&shared), logits(&whole));
    let count = |model: &Decoder, prefix: &str| {
        let of = named::read(model).into_iter().filter(|weight| weight.name.starts_with(prefix));
        of.map(|weight| weight.values.len()).sum::<usize>()
    };
    assert_eq!(2 * count(&shared, "blocks."), count(&whole, "blocks."));
}

#[test]
fn narrow_vectors_are_a_product_of_matrices() {
    let narrow = model(MODEL);
    let found = weights(&narrow);
    let matrix = |name: &str| {
        let weight = &found[name];
        host::tensor::<2>(weight.values.clone(), [weight.shape[0], weight.shape[1]], &Device::flex())
    };
    let (table, up) = (matrix("embedding.weight"), matrix("factor.up.weight"));
    assert_eq!((table.dims(), up.dims()), ([96, 32], [64, 32]));
    let expected = Host::new(table.clone().matmul(up.transpose())).as_slice().to_vec();
    let ids: Vec<u32> = (0..96).collect();
    let found = Host::new(narrow.embed(&ids, &vec![0; 96], &Device::flex())).as_slice().to_vec();
    assert!(expected.iter().zip(&found).all(|(a, b)| (a - b).abs() < 1e-6));
}

#[test]
fn they_are_written_and_read_back() {
    let model = model(MODEL);
    let expected = logits(&model);
    let folder = tempfile::tempdir().unwrap();
    model.export(folder.path(), Precision::F32).unwrap();
    assert!(!folder.path().join("config.json").exists(), "no other program has such models");
    let read = |weights| Decoder::open(folder.path(), weights, &Device::flex()).unwrap();
    assert_eq!(read(Weights::Trainable).spec(), &model.spec().resolved());
    assert_eq!(logits(&read(Weights::Trainable)), expected);
    let near = |found: Vec<f32>| expected.iter().zip(found).all(|(a, b)| (a - b).abs() < 1e-5);
    assert!(near(logits(&read(Weights::Stored))));

    let mut same = model.clone();
    let plan = Plan::new("f32".parse::<Target>().unwrap(), None).unwrap();
    let file = plan.run(&mut same, &Metadata::default(), None, |_| {}).unwrap();
    assert!(near(logits(&Decoder::from_gguf(&file, Weights::F32, &Device::flex()).unwrap())));
    let weights = |name: &str| file.tensors().iter().filter(|tensor| tensor.name.contains(name)).count();
    assert_eq!((weights("attn_q.weight"), weights("token_embd")), (2, 3));
}

#[test]
fn rounding_takes_shared_layers_and_what_changes_them_apart_does_not() {
    let run = |method: &str| {
        let plan = Plan::new(method.parse::<Target>().unwrap(), Some("f32")).unwrap();
        plan.run(&mut model(MODEL), &Metadata::default(), None, |_| {}).map(drop)
    };
    assert!(run("rtn(bits=8, group=0)").is_ok());
    assert!(matches!(run("awq"), Err(CompressError::Shared { shared_by: 2 })));
    let pruned = "magnitude".parse::<Pruning>().unwrap().run(&mut model(MODEL), None, &mut |_| {});
    assert!(pruned.unwrap_err().to_string().contains("shared_by = 2"));
}

#[test]
fn layers_that_cannot_share_are_named() {
    let error = |from: &str, to: &str| {
        toml::from_str::<DecoderSpec>(&MODEL.replace(from, to)).unwrap().check().unwrap_err().to_string()
    };
    assert!(error("shared_by = 2", "shared_by = 3").contains("layer 2 is unlike"));
    assert!(error("shared_by = 2", "shared_by = 0").contains("shared_by is 0"));
    assert!(error("embedding_dim = 32", "embedding_dim = 0").contains("embedding_dim is 0"));
    let longer = MODEL.replace("    ]\n", "        { mixer = \"softmax\", channel = \"mlp(hidden=96)\" },\n    ]\n");
    let error = toml::from_str::<DecoderSpec>(&longer).unwrap().check().unwrap_err().to_string();
    assert!(error.contains("layer 4 is the last"), "{error}");
}
