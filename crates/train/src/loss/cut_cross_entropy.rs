//! Cut cross-entropy (Wijmans et al. 2024, arXiv:2411.09009): see `headwise_kernels::loss`.

use burn::tensor::Tensor;
use headwise_ops::{CrossEntropy, CrossEntropySettings, CutSettings, Filter, Targets, cut_cross_entropy};
use serde::{Deserialize, Serialize};

use super::LossError;

/// Which blocks of the gradient may be left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GradientFilter {
    /// None: for training from scratch.
    #[default]
    Exact,
    /// Those of small weight, of both gradients: for fine-tuning.
    Cce,
    /// Not blocks but single classes of small weight in 128 rows: more is left out, and no order is needed.
    Classes,
    /// Those of small weight, but not of the classifier's gradient, so that rare words still learn.
    FullC,
}

headwise_spec::method! {
    /// Cross-entropy without its logits in memory.
    ///
    /// Logits are computed block by block and again for the gradient. Wijmans et al. 2024, arXiv:2411.09009.
    pub struct CutCrossEntropy {
        /// Which blocks of the gradient may be left out: `exact`, `cce`, `classes` or `full_c`.
        pub filter: GradientFilter = GradientFilter::Exact,
        /// A block is left out if no probability in it is so far from its target; 2⁻¹² is the paper's.
        pub epsilon: f64 = 1.0 / 4096.0,
        /// Whether classes are ordered by their mean logit for the filter.
        pub sorted: bool = true,
        /// The magnitude that logits approach but do not exceed.
        pub softcap: Option<f64> = None,
        /// The share of each target that is spread evenly over the vocabulary.
        pub label_smoothing: f64 = 0.0,
        /// The weight of the squared logarithm of the sum of exponentials.
        pub z_loss: f64 = 0.0,
    }
}

impl CutCrossEntropy {
    /// Refuses parameters that mean nothing.
    pub(super) fn check(&self) -> Result<(), LossError> {
        let refuse = |parameter, value, valid| Err(LossError { parameter, value, valid });
        match *self {
            Self { epsilon, .. } if !(0.0..1.0).contains(&epsilon) => refuse("epsilon", epsilon, "at least 0, below 1"),
            Self { softcap: Some(cap), .. } if !(cap > 0.0 && cap.is_finite()) => refuse("softcap", cap, "above 0"),
            Self { label_smoothing, .. } if !(0.0..1.0).contains(&label_smoothing) => {
                refuse("label_smoothing", label_smoothing, "at least 0, below 1")
            }
            Self { z_loss, .. } if !(z_loss >= 0.0 && z_loss.is_finite()) => refuse("z_loss", z_loss, "at least 0"),
            _ => Ok(()),
        }
    }

    fn settings(&self) -> CutSettings {
        let epsilon = self.epsilon as f32;
        let filter = match self.filter {
            GradientFilter::Exact => Filter::Exact,
            GradientFilter::Cce => Filter::Both(epsilon),
            GradientFilter::Classes => Filter::Classes(epsilon),
            GradientFilter::FullC => Filter::Embeddings(epsilon),
        };
        let loss = CrossEntropySettings {
            softcap: self.softcap.map(|cap| cap as f32),
            label_smoothing: self.label_smoothing as f32,
            z_loss: self.z_loss as f32,
        };
        CutSettings { loss, filter, sorted: self.sorted }
    }

    pub(super) fn forward(
        &self,
        embeddings: Tensor<2>,
        classifier: Tensor<2>,
        bias: Option<Tensor<1>>,
        targets: &Targets,
    ) -> CrossEntropy {
        cut_cross_entropy(embeddings, classifier, bias, targets, &self.settings())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Loss;
    use super::*;
    use burn::tensor::Device;

    fn read(text: &str) -> Loss {
        headwise_spec::from_text(text).unwrap_or_else(|error| panic!("{error:#}"))
    }

    #[test]
    fn specs_read_print_and_reach_the_operation() {
        for text in
            ["cut_cross_entropy", "cut_cross_entropy(filter=cce, softcap=30.0)", "cut_cross_entropy(filter=classes)"]
        {
            assert_eq!(read(text).to_string(), text);
        }
        let Loss::CutCrossEntropy(loss) =
            read("cut_cross_entropy(filter=full_c, epsilon=0.5, z_loss=0.25, sorted=false)");
        let settings = CrossEntropySettings { z_loss: 0.25, ..CrossEntropySettings::default() };
        assert_eq!(loss.settings(), CutSettings { loss: settings, filter: Filter::Embeddings(0.5), sorted: false });
        assert!(headwise_spec::from_text::<Loss>("cut_cross_entropy(filter=kahan)").is_err());
    }

    #[test]
    fn parameters_that_mean_nothing_are_refused() {
        for (parameter, values) in [
            ("epsilon", ["-0.1", "1"]),
            ("softcap", ["0", "-3"]),
            ("label_smoothing", ["-0.1", "1"]),
            ("z_loss", ["-1", "-0.5"]),
        ] {
            for value in values {
                let error = read(&format!("cut_cross_entropy({parameter}={value})")).check().unwrap_err();
                assert!(error.to_string().contains(parameter), "{error}");
            }
        }
        assert_eq!(Loss::default().check(), Ok(()));
    }

    #[test]
    fn equal_logits_cost_the_logarithm_of_the_vocabulary() {
        let device = Device::flex();
        let (embeddings, classifier) = (Tensor::ones([3, 4], &device), Tensor::ones([10, 4], &device));
        let found = Loss::default().forward(embeddings, classifier, None, &Targets::new(&[1, -100, 9]));
        assert_eq!(found.count, 2);
        assert!((found.loss.into_scalar::<f32>() - 10f32.ln()).abs() < 1e-6);
    }
}
