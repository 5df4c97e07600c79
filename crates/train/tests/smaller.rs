//! Runs that make a model smaller while it learns: zeros, grids, teachers, shared weights.

mod runs;

use burn::tensor::Device;
use headwise_models::compress::{Plan, Rtn, Target};
use headwise_models::decoder::{Decoder, Precision};
use headwise_models::gguf::Metadata;
use headwise_nn::named::{self, Named};
use headwise_train::spec::TrainSpec;
use headwise_train::trainer::End;
use runs::{Watch, spec, start, weights};

/// Learns fast enough for 20 steps to show it.
const FAST: &str = "optimiser = \"adamw(learning_rate=0.01)\"\nschedule = \"constant\"";

/// The matrices of the layers.
fn matrices(model: &Decoder) -> Vec<Named> {
    let inner = |weight: &Named| weight.name.starts_with("blocks.") && weight.shape.len() == 2;
    named::read(model).into_iter().filter(inner).collect()
}

/// Runs `spec` to its end.
fn result(spec: &TrainSpec) -> Decoder {
    let folder = tempfile::tempdir().unwrap();
    let mut trainer = start(spec, folder.path());
    assert_eq!(trainer.run(&mut Watch::default()).unwrap(), End::Done);
    trainer.result()
}

/// A teacher with wider layers than the runs', written into a folder.
fn teacher() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let text = "vocabulary = 33\ndim = 24\ncontext = 32\nepsilon = 1e-5\nlayers = [{ mixer = \"softmax(heads=2)\" }, \
                { mixer = \"softmax(heads=2)\" }, { mixer = \"softmax(heads=2)\" }]";
    let model = Decoder::random(toml::from_str(text).unwrap(), &Device::flex()).unwrap();
    model.export(folder.path(), Precision::F32).unwrap();
    folder
}

#[test]
fn runs_that_hold_or_teach_go_on_bit_for_bit() {
    let teacher = teacher();
    let distil = format!(
        "[distil]\nteacher = {:?}\nimitate = [\"soft_targets\", \"hidden_states\"]\ntargets = 0.5",
        teacher.path().display().to_string()
    );
    for keys in [
        "average = 0.9\nrestraint = \"movement(share=0.5)\"",
        "restraint = \"gradual_magnitude\"",
        "restraint = \"quantisation_aware\"",
        &distil,
    ] {
        let (mut spec, folder) = (spec(keys), tempfile::tempdir().unwrap());
        spec.model.dim = 32;
        let mut whole = start(&spec, &folder.path().join("whole"));
        whole.run(&mut Watch::default()).unwrap();
        let halves = folder.path().join("halves");
        let stop = &mut Watch { stop_after: Some(10), ..Watch::default() };
        assert_eq!(start(&spec, &halves).run(stop).unwrap(), End::Stopped);
        let mut second = start(&spec, &halves);
        assert!(second.resume().unwrap());
        second.run(&mut Watch::default()).unwrap();
        assert!(weights(second.model()) == weights(whole.model()), "{keys}: other weights");
        assert!(weights(&second.result()) == weights(&whole.result()), "{keys}: another result");
    }
}

#[test]
fn the_result_has_as_many_zeros_as_was_said() {
    for method in ["movement", "gradual_magnitude"] {
        let model = result(&spec(&format!("restraint = \"{method}(share=0.75)\"")));
        let found = matrices(&model);
        assert_eq!(found.len(), 14);
        for Named { name, values, .. } in found {
            let zeros = values.iter().filter(|value| **value == 0.0).count();
            assert_eq!(zeros, values.len() * 3 / 4, "{method}: {name}");
        }
    }
}

#[test]
fn rounding_a_result_trained_for_it_changes_nothing() {
    let mut spec = spec("restraint = \"quantisation_aware(bits=4)\"");
    spec.model.dim = 32;
    let mut model = result(&spec);
    let before = matrices(&model);
    let on_grid = |weight: &Named| weight.shape[1].is_multiple_of(32);
    assert!(before.iter().any(on_grid));
    Rtn { bits: 4, group: 32, symmetric: true }.round(&mut model);
    assert_eq!(matrices(&model), before);
    let plan = Plan::new("rtn(bits=4)".parse::<Target>().unwrap(), Some("f32")).unwrap();
    let file = plan.run(&mut model, &Metadata::default(), None, |_| {}).unwrap();
    assert!(file.tensors().iter().any(|tensor| tensor.ty.name() == "Q4_0"));
    assert_eq!(matrices(&model), before, "what the file holds");
}

#[test]
fn a_teacher_changes_what_is_learned_and_must_fit() {
    let folder = teacher();
    let with =
        |lines: &str| spec(&format!("{FAST}\n[distil]\nteacher = {:?}\n{lines}", folder.path().display().to_string()));
    let plain = weights(&result(&spec(FAST)));
    // Imitations without weight leave the run as it is.
    let none = "imitate = [\"soft_targets(weight=0)\", \"hidden_states(weight=0)\"]";
    assert!(weights(&result(&with(none))) == plain);
    let alone = |imitate: &str| {
        let spec = with(&format!("imitate = [\"{imitate}\"]\ntargets = 0"));
        let (run, mut watch) = (tempfile::tempdir().unwrap(), Watch::default());
        start(&spec, run.path()).run(&mut watch).unwrap();
        [watch.steps[0].loss, watch.steps.last().unwrap().loss]
    };
    for imitate in ["soft_targets(temperature=1)", "hidden_states"] {
        let [first, last] = alone(imitate);
        assert!(last < first, "{imitate}: {first}, then {last}");
    }
    let mut other = with("imitate = [\"soft_targets\"]");
    other.model.vocabulary = Some(40);
    let error = headwise_train::trainer::Trainer::new(other, folder.path()).err().unwrap().to_string();
    assert!(error.contains("a vocabulary of 33, the student one of 40"), "{error}");
}

#[test]
fn shared_and_factorised_weights_are_learned() {
    let mut spec = spec(FAST);
    let mut run = |shared_by, embedding_dim| {
        (spec.model.shared_by, spec.model.embedding_dim) = (shared_by, embedding_dim);
        let (folder, mut watch) = (tempfile::tempdir().unwrap(), Watch::default());
        let mut trainer = start(&spec, folder.path());
        let before = matrices(trainer.model());
        trainer.run(&mut watch).unwrap();
        assert!(watch.steps.last().unwrap().loss < watch.steps[0].loss);
        assert!(before.iter().zip(matrices(trainer.model())).all(|(before, after)| before.values != after.values));
        named::read(trainer.model()).iter().map(|weight| weight.values.len()).sum::<usize>()
    };
    let (whole, shared, narrow) = (run(1, None), run(2, None), run(1, Some(4)));
    // A layer: 4 matrices of 16 x 16, 3 of 16 x 24, 2 norms. Table and head: 33 x 12 fewer each, and 2 matrices of 16 x 4.
    assert_eq!(whole - shared, 4 * 16 * 16 + 3 * 16 * 24 + 2 * 16);
    assert_eq!(whole - narrow, 2 * 33 * 12 - 2 * 16 * 4);
}

#[test]
fn patience_and_growing_zeros_do_not_go_together() {
    let text = toml::to_string(&spec("restraint = \"movement\"")).unwrap();
    let error = TrainSpec::parse(&format!("{text}\n[evaluation]\npatience = 2\nsources = []")).unwrap_err().to_string();
    assert!(error.contains("fewer zeros"), "{error}");
}
