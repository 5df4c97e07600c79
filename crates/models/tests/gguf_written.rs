//! Models written as GGUF files: what is read back says the same, in the architecture that llama.cpp has where it has one.

use std::path::Path;

use burn::tensor::Device;
use headwise_models::compress::{Calibration, Original, Plan, Pruning, Target};
use headwise_models::decoder::{Decoder, Weights};
use headwise_models::gguf::{Gguf, TensorType};
use headwise_models::tokenizer::{Encode, Tokenizer};
use headwise_ops::host::Host;

fn golden(name: &str) -> Decoder {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    Decoder::open(&folder, Weights::Trainable, &Device::flex()).unwrap()
}

fn ids(model: &Decoder, count: u32) -> Vec<u32> {
    (0..count).map(|at| at * 37 % model.spec().vocabulary as u32).collect()
}

fn logits(model: &Decoder) -> Vec<f32> {
    Host::new(model.forward(&ids(model, 12), &Device::flex())).as_slice().to_vec()
}

/// `model` written by `plan` into a file and read from there.
fn rewritten(model: &mut Decoder, plan: &Plan, calibration: Option<&Calibration>) -> Gguf {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let about = [("general.name", "small")].into_iter().collect();
    plan.run(model, &about, calibration, |_| {}).unwrap().write(&path, |_| {}).unwrap();
    Gguf::open(&path).unwrap()
}

fn plan(to: &str) -> Plan {
    Plan::new(to.parse::<Target>().unwrap(), Some("f32")).unwrap()
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn a_model_that_llama_cpp_has_is_written_as_such() {
    for (name, architecture) in [
        ("tiny_llama", "llama"),
        ("tiny_llama3", "llama"),
        ("tiny_qwen2", "qwen2"),
        ("tiny_qwen3", "qwen3"),
        // llama.cpp takes the scale of its scores from the size of a head, which this model does not.
        ("tiny_gemma3", "headwise"),
    ] {
        let mut model = golden(name);
        let expected = logits(&model);
        let file = rewritten(&mut model, &plan("f32"), None);
        assert_eq!(file.metadata().string("general.architecture"), Ok(architecture), "{name}");
        assert_eq!(file.metadata().string("general.name"), Ok("small"));
        for weights in [Weights::Trainable, Weights::F32, Weights::Stored] {
            let read = Decoder::from_gguf(&file, weights, &Device::flex()).unwrap();
            let difference = largest_difference(&expected, &logits(&read));
            assert!(difference < 1e-4, "{name}, {weights:?}: {difference}");
        }
    }
}

#[test]
fn any_other_model_describes_itself() {
    let layers = "[[layers]]\nmixer = \"softmax(heads=4, kv_heads=2, position=nope, window=3)\"\nchannel = \"gated(hidden=32)\"\n\
        [[layers]]\nmixer = \"softmax(heads=2, position=alibi, bias=true)\"\nchannel = \"mlp(hidden=48, bias=true)\"\nnorm = \"layer\"\n\
        norms = \"post\"\n[[layers]]\nmixer = \"softmax(heads=2)\"";
    let spec = format!("vocabulary = 40\ndim = 32\ncontext = 64\nepsilon = 1e-6\n{layers}");
    let mut model = Decoder::random(toml::from_str(&spec).unwrap(), &Device::flex()).unwrap();
    let expected = logits(&model);
    let file = rewritten(&mut model, &plan("f32"), None);
    assert_eq!(file.metadata().string("general.architecture"), Ok("headwise"));
    let read = Decoder::from_gguf(&file, Weights::Stored, &Device::flex()).unwrap();
    assert_eq!(*read.spec(), model.spec().resolved());
    assert!(largest_difference(&expected, &logits(&read)) < 1e-5);

    let mut spec: toml::Table = toml::from_str(&spec).unwrap();
    spec.insert("position".into(), "learned".into());
    let model = Decoder::random(spec.try_into().unwrap(), &Device::flex()).unwrap();
    let error = plan("f32").run(&mut model.clone(), &Default::default(), None, |_| {}).unwrap_err().to_string();
    assert!(error.contains("position") && error.contains("learned"), "{error}");
}

#[test]
fn what_a_method_leaves_in_the_model_is_what_the_file_holds() {
    for to in ["rtn", "rtn(bits=3, group=0)", "gptq(symmetric=false)", "awq(steps=4)", "bct"] {
        let mut model = golden("tiny_llama");
        let calibration = Calibration::new(&ids(&model, 256), 256, 64).unwrap();
        let before = logits(&model);
        let file = rewritten(&mut model, &plan(to), Some(&calibration));
        assert_eq!(file.metadata().string("general.architecture"), Ok("llama"), "{to}");
        let read = Decoder::from_gguf(&file, Weights::F32, &Device::flex()).unwrap();
        let difference = largest_difference(&logits(&model), &logits(&read));
        assert!(difference < 1e-4, "{to}: {difference}");
        assert!(largest_difference(&before, &logits(&read)) > 1e-3, "{to} changes something");
    }
}

#[test]
fn every_type_is_written_or_its_nearest_that_fits() {
    for ty in headwise_models::gguf::quantise::WRITTEN {
        let mut model = golden("tiny_llama");
        let file = rewritten(&mut model, &plan(&ty.name().to_lowercase()), None);
        let read = Decoder::from_gguf(&file, Weights::Stored, &Device::flex()).unwrap();
        assert!(logits(&read).iter().all(|value| value.is_finite()), "{ty}");
        let query = file.tensor("blk.0.attn_q.weight").unwrap();
        assert!(query.ty == ty || !query.shape[1].is_multiple_of(ty.block_size()), "{ty} became {}", query.ty);
        assert!(query.shape[1].is_multiple_of(query.ty.block_size()));
        assert_eq!(file.tensor("token_embd.weight").map(|tensor| tensor.ty), Some(TensorType::F32));
    }
    let error = "q9_0".parse::<Target>().unwrap_err().to_string();
    assert!(error.contains("q9_0") && error.contains("q4_k") && error.contains("gptq"), "{error}");
}

#[test]
fn the_embedded_model_keeps_its_tokenizer() {
    let original = Original::embedded().unwrap();
    let mut model = original.model;
    let about = original.about;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let plan = Plan::new("q8_0".parse().unwrap(), None).unwrap();
    plan.run(&mut model, &about, None, |_| {}).unwrap().write(&path, |_| {}).unwrap();
    let again = Original::open(&path).unwrap();
    assert_eq!(again.quantised, Some(TensorType::Q8_0));
    assert_eq!(again.weights, original.weights);
    assert!(again.bytes < original.bytes * 6 / 10, "{} of {} bytes", again.bytes, original.bytes);
    assert_eq!(*again.model.spec(), model.spec().resolved());
    let text = "Fellow citizens: 42 lines,\n<|endoftext|> and \u{fc}nicode.";
    for options in [Encode::TEXT, Encode::TEMPLATE] {
        assert_eq!(again.tokenizer.encode(text, options).unwrap(), original.tokenizer.encode(text, options).unwrap());
    }
    assert_eq!(again.tokenizer.end_of_generation_ids(), original.tokenizer.end_of_generation_ids());
    assert_eq!(
        Tokenizer::from_gguf(Gguf::open(&path).unwrap().metadata()).unwrap().eos_id(),
        original.tokenizer.eos_id()
    );
}

#[test]
fn pruned_models_are_smaller_or_sparser_and_run() {
    for method in [
        "magnitude(share=0.3)",
        "wanda(keep_of=[2, 4])",
        "heads(share=0.5)",
        "layers(share=0.5)",
        "layers(share=0.5, influence=macro)",
    ] {
        let mut model = golden("tiny_llama");
        let calibration = Calibration::new(&ids(&model, 128), 128, 64).unwrap();
        let weights = headwise_nn::named::read(&model).iter().map(|weight| weight.values.len()).sum::<usize>();
        let method: Pruning = method.parse().unwrap();
        let said = method.run(&mut model, Some(&calibration), &mut |_| {}).unwrap();
        let file = rewritten(&mut model, &plan("f32"), None);
        let read = Decoder::from_gguf(&file, Weights::F32, &Device::flex()).unwrap();
        assert!(largest_difference(&logits(&model), &logits(&read)) < 1e-4, "{method}");
        let left = headwise_nn::named::read(&model);
        let zeros = left.iter().flat_map(|weight| &weight.values).filter(|value| **value == 0.0).count();
        let count: usize = left.iter().map(|weight| weight.values.len()).sum();
        assert!(zeros > weights / 10 || count < weights, "{method}: {said}");
        if method.needs_calibration() {
            assert!(method.run(&mut model, None, &mut |_| {}).unwrap_err().to_string().contains("calibration"));
        }
    }
}
