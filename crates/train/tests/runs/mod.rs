//! Small runs for the tests.

use std::path::Path;

use headwise_train::spec::TrainSpec;
use headwise_train::trainer::{Evaluation, Observer, StepReport, Trainer};

/// A run of 20 steps on a recall task, with `keys` before its tables.
pub fn spec(keys: &str) -> TrainSpec {
    let text = format!(
        r#"
        seed = 3
        clip = 1.0
        {keys}
        [model]
        vocabulary = 33
        dim = 16
        context = 32
        layers = [{{ repeat = 2, mixer = "softmax(heads=2)", channel = "gated(hidden=24)" }}]
        [data]
        sources = ["multi_query_recall(pairs=4, vocabulary=33)"]
        [[stages]]
        steps = 12
        sequences = 4
        length = 12
        [[stages]]
        steps = 8
        sequences = 4
        length = 16
        "#
    );
    TrainSpec::parse(&text).unwrap_or_else(|error| panic!("{error}"))
}

/// A run at its beginning.
pub fn start(spec: &TrainSpec, folder: &Path) -> Trainer {
    Trainer::new(spec.clone(), folder).unwrap_or_else(|error| panic!("{error}"))
}

/// All numbers of all weights.
#[allow(dead_code)]
pub fn weights<M: burn::module::Module>(model: &M) -> Vec<u32> {
    use burn::module::{ModuleVisitor, Param};
    use burn::tensor::Tensor;
    struct Bits(Vec<u32>);
    impl ModuleVisitor for Bits {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let values: Vec<f32> = param.val().into_data().try_into_vec().unwrap();
            self.0.extend(values.iter().map(|value| value.to_bits()));
        }
    }
    let mut bits = Bits(Vec::new());
    model.visit(&mut bits);
    assert!(!bits.0.is_empty());
    bits.0
}

/// Stops a run after so many steps in all, and remembers what it is told.
#[derive(Default)]
pub struct Watch {
    pub stop_after: Option<u64>,
    pub steps: Vec<StepReport>,
    pub evaluations: Vec<Evaluation>,
}

impl Observer for Watch {
    fn step(&mut self, report: &StepReport) {
        self.steps.push(*report);
    }

    fn evaluation(&mut self, evaluation: &Evaluation) {
        self.evaluations.push(*evaluation);
    }

    fn checkpoint(&mut self, _: &Path) {}

    fn stop(&self) -> bool {
        self.stop_after.is_some_and(|after| self.steps.last().is_some_and(|report| report.step >= after))
    }
}
