//! A run that stops and goes on ends where a run without a stop ends, bit for bit.

mod runs;

use burn::tensor::Device;
use headwise_train::devices::Devices;
use headwise_train::trainer::{End, TrainError, Trainer};
use headwise_train::world::World;
use runs::{Watch, spec, start, weights};

#[test]
fn ten_steps_and_ten_more_are_twenty() {
    for optimiser in ["adamw", "muon", "sgd(momentum=0.9)"] {
        let keys = format!("optimiser = \"{optimiser}\"\naverage = 0.9\nschedule = \"cosine(warmup=4)\"");
        let (spec, folder) = (spec(&keys), tempfile::tempdir().unwrap());
        let mut whole = start(&spec, &folder.path().join("whole"));
        assert_eq!(whole.run(&mut Watch::default()).unwrap(), End::Done);

        let halves = folder.path().join("halves");
        let mut first = start(&spec, &halves);
        assert!(!first.resume().unwrap());
        assert_eq!(first.run(&mut Watch { stop_after: Some(10), ..Watch::default() }).unwrap(), End::Stopped);
        let mut second = start(&spec, &halves);
        assert_ne!(weights(second.model()), weights(first.model()));
        assert!(second.resume().unwrap());
        assert_eq!(second.state(), first.state());
        assert_eq!(weights(second.model()), weights(first.model()));
        let mut watch = Watch::default();
        assert_eq!(second.run(&mut watch).unwrap(), End::Done);
        assert_eq!(watch.steps.len(), 10);

        assert!(weights(second.model()) == weights(whole.model()), "{optimiser}: other weights");
        assert!(weights(&second.result()) == weights(&whole.result()), "{optimiser}: another average");
        assert_ne!(weights(whole.model()), weights(&whole.result()), "{optimiser}: the average is the model");
        assert_eq!(second.state(), whole.state());
    }
}

#[test]
fn a_step_in_four_parts_is_the_step_in_one() {
    for objective in ["next_token", "span_corruption(sentinel=33, sentinels=3, end=36)"] {
        let run = |parts: usize| {
            let mut spec = spec(&format!("objective = \"{objective}\"\noptimiser = \"sgd(learning_rate=0.5)\""));
            spec.model.vocabulary = Some(37);
            spec.stages.iter_mut().for_each(|stage| stage.parts = parts);
            let folder = tempfile::tempdir().unwrap();
            let mut trainer = start(&spec, folder.path());
            let mut watch = Watch::default();
            trainer.run(&mut watch).unwrap();
            (watch.steps, weights(trainer.model()))
        };
        let ((one, weights_one), (four, weights_four)) = (run(1), run(4));
        assert!((one[0].loss - four[0].loss).abs() < 1e-6, "{objective}: {} and {}", one[0].loss, four[0].loss);
        for (one, four) in weights_one.iter().zip(&weights_four) {
            let (one, four) = (f32::from_bits(*one), f32::from_bits(*four));
            assert!((one - four).abs() < 1e-5, "{objective}: {one} and {four}");
        }
        assert!(one.last().unwrap().loss < one[0].loss, "{objective} is not learnt");
    }
}

#[test]
fn a_step_on_three_devices_is_the_step_on_one() {
    let run = |count: usize| {
        let spec = spec("optimiser = \"sgd(learning_rate=0.5)\"");
        let (folder, others) = (tempfile::tempdir().unwrap(), std::iter::repeat_n(Device::flex(), count - 1));
        let devices = Devices::new(Device::flex(), others);
        let mut trainer = Trainer::among(World::ALONE, devices, spec, folder.path())?;
        let mut watch = Watch::default();
        trainer.run(&mut watch).unwrap();
        Ok((watch.steps, weights(trainer.model())))
    };
    let ((one, weights_one), (three, weights_three)) = (run(1).unwrap(), run(3).unwrap());
    for (one, three) in one.iter().zip(&three) {
        assert_eq!(one.tokens, three.tokens);
        assert!((one.loss - three.loss).abs() < 1e-4, "{} and {}", one.loss, three.loss);
    }
    for (one, three) in weights_one.iter().zip(&weights_three) {
        let (one, three) = (f32::from_bits(*one), f32::from_bits(*three));
        assert!((one - three).abs() < 1e-4, "{one} and {three}");
    }
    let error: TrainError = run(5).unwrap_err();
    assert!(error.to_string().contains("4 sequences") && error.to_string().contains("5 devices"), "{error}");
}
