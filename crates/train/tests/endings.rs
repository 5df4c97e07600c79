//! How runs end before their last step: out of patience, broken numbers, broken files. Nothing good is lost.

mod runs;

use std::fs;
use std::path::Path;

use headwise_models::decoder::ModelFamily;
use headwise_train::checkpoint::{Kind, list};
use headwise_train::spec::TrainSpec;
use headwise_train::trainer::{End, TrainError, Trainer};
use runs::{Watch, spec, start, weights};

/// A run that becomes worse: its learning rate is far too high, and it is measured every second step.
fn impatient() -> TrainSpec {
    let mut spec = spec("optimiser = \"sgd(learning_rate=20)\"\nschedule = \"constant(warmup=20)\"\naverage = 0.2");
    let evaluation =
        r#"{ every = 2, sequences = 4, patience = 2, sources = ["multi_query_recall(pairs=4, vocabulary=33)"] }"#;
    let text = toml::to_string(&spec).unwrap();
    spec = TrainSpec::parse(&format!("evaluation = {evaluation}\n{text}")).unwrap();
    spec.checkpoints.every = 3;
    spec
}

#[test]
fn patience_ends_at_the_best_evaluation() {
    let (spec, folder) = (impatient(), tempfile::tempdir().unwrap());
    let mut run = start(&spec, folder.path());
    let mut watch = Watch::default();
    assert_eq!(run.run(&mut watch).unwrap(), End::Patience);
    let losses: Vec<f64> = watch.evaluations.iter().map(|evaluation| evaluation.loss).collect();
    let last = losses.len() - 1;
    let best = (0..=last).min_by(|&a, &b| losses[a].total_cmp(&losses[b])).unwrap();
    assert_eq!(last - best, 2, "{losses:?}");
    assert_eq!(run.state().step, watch.evaluations[best].step);
    assert_eq!(run.evaluate().unwrap(), Some(watch.evaluations[best]));
    // The same command again does no step.
    let mut again = start(&spec, folder.path());
    assert!(again.resume().unwrap());
    let mut silent = Watch::default();
    assert_eq!(again.run(&mut silent).unwrap(), End::Patience);
    assert!(silent.steps.is_empty());
    assert_eq!(weights(&again.result()), weights(&run.result()));
    assert_eq!(list(&folder.path().join("checkpoints"), Kind::Best).unwrap().len(), 1);

    // The count of evaluations that were no better outlives a stop between them.
    let folder = tempfile::tempdir().unwrap();
    let stop_after = Some(watch.evaluations[last - 1].step + 1);
    let mut first = start(&spec, folder.path());
    assert_eq!(first.run(&mut Watch { stop_after, ..Watch::default() }).unwrap(), End::Stopped);
    let mut second = start(&spec, folder.path());
    assert!(second.resume().unwrap());
    assert_eq!((second.state().waiting, second.state()), (1, first.state()));
    let mut rest = Watch::default();
    assert_eq!(second.run(&mut rest).unwrap(), End::Patience);
    assert_eq!(rest.evaluations, watch.evaluations[last..]);
    assert_eq!(weights(&second.result()), weights(&run.result()));
}

#[test]
fn broken_numbers_name_the_step_and_a_parameter() {
    let mut spec = spec("optimiser = \"adamw(learning_rate=1e30)\"\nschedule = \"constant(warmup=0)\"");
    spec.clip = None;
    let folder = tempfile::tempdir().unwrap();
    let mut run = start(&spec, folder.path());
    let good = run.save().unwrap();
    let error = run.run(&mut Watch::default()).unwrap_err();
    let TrainError::NotFinite { step, parameter, .. } = &error else { panic!("{error}") };
    assert_eq!(*step, 2);
    assert!(parameter.starts_with("embedding") || parameter.starts_with("blocks"), "{parameter}");
    assert!(matches!(run.save(), Err(TrainError::Weights { step: 1, .. })));
    assert_eq!(run.checkpoints().unwrap(), [good]);
}

/// The message of the error that going on in `folder` gives.
fn refused(spec: &TrainSpec, folder: &Path) -> String {
    start(spec, folder).resume().unwrap_err().to_string()
}

#[test]
fn broken_checkpoints_are_named_and_kept() {
    let (original, folder) = (spec("average = 0.9"), tempfile::tempdir().unwrap());
    let run = start(&original, folder.path());
    let checkpoint = run.save().unwrap();
    let other = spec("average = 0.8");
    assert!(refused(&other, folder.path()).contains("belongs to another spec"));
    for name in ["model.bpk", "average.bpk", "optimiser.bpk", "state.json"] {
        let path = checkpoint.join(name);
        let good = fs::read(&path).unwrap();
        fs::write(&path, &good[..good.len() / 2]).unwrap();
        let error = refused(&original, folder.path());
        assert!(error.contains(name) && error.contains("damaged"), "{error}");
        fs::remove_file(&path).unwrap();
        assert!(refused(&original, folder.path()).contains(name));
        fs::write(&path, good).unwrap();
    }
    assert!(start(&original, folder.path()).resume().unwrap());
}

#[test]
fn what_cannot_be_learnt_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |keys: &str, change: &dyn Fn(&mut TrainSpec)| {
        let mut spec = spec(keys);
        change(&mut spec);
        let error = Trainer::new(spec, folder.path()).and_then(|mut run| run.step().map(drop));
        error.unwrap_err().to_string()
    };
    let masked = refused("objective = \"masked\"", &|_| {});
    assert!(masked.contains("`model.family`") && masked.contains("causal = false"), "{masked}");
    let encoder = refused("", &|spec| spec.model.family = ModelFamily::Encoder);
    assert!(encoder.contains("`next_token` asks for"), "{encoder}");
    let layer =
        refused("objective = \"masked(mask=32, vocabulary=32)\"", &|spec| spec.model.family = ModelFamily::Encoder);
    assert!(layer.contains("layer 0 is causal"), "{layer}");
    let sentinel = refused("objective = \"span_corruption(sentinels=2)\"", &|_| {});
    assert!(sentinel.contains("token 256") && sentinel.contains("`model.vocabulary`"), "{sentinel}");
    let vocabulary = refused("", &|spec| spec.model.vocabulary = Some(8));
    assert!(vocabulary.contains("vocabulary of 8"), "{vocabulary}");
    let empty = refused("", &|spec| spec.data.sources.clear());
    assert!(empty.contains("at least one"), "{empty}");
}
