//! Cross-entropy of a classifier over embeddings, without its logits in memory: see `headwise_kernels::loss`.

use std::sync::Arc;

use burn::backend::{TensorMetadata, flex::FlexTensor};
use burn::tensor::{IndexingUpdateOp, Int, Tensor, TensorData};
use headwise_kernels::gemm::Matrix;
use headwise_kernels::loss::{CutCrossEntropy, Filter, Forward, Gradients, Settings, Targets, Upstream};

use crate::buffers::{recycle, take};
use crate::flex::{contiguous, elements, own};
use crate::kernel_op::{self, KernelOp, kernels_serve, outputs};
use crate::linear::{is_transposed, matrix, matrix_contiguous};

/// How [`cut_cross_entropy`] is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CutSettings {
    /// What changes the loss.
    pub loss: Settings,
    /// Which blocks the backward pass leaves out; composed operations leave out none.
    pub filter: Filter,
    /// Whether classes are ordered for the filter.
    pub sorted: bool,
}

/// What [`cut_cross_entropy`] gives.
#[derive(Clone, Debug)]
pub struct CrossEntropy {
    /// The mean loss of the rows that count, `[1]`; 0 if none does.
    pub loss: Tensor<1>,
    /// The loss of each row, `[rows]`; 0 for those that do not count.
    pub losses: Tensor<1>,
    /// `ln Σ e^A` of each row's logits, `[rows]`; 0 for those that do not count.
    pub log_sum_exp: Tensor<1>,
    /// How many rows count.
    pub count: usize,
}

/// The cross-entropy of the logits `embeddings · classifierᵀ + bias` with `targets`.
///
/// `embeddings` `[rows, dim]`, `classifier` `[vocabulary, dim]` and `bias` `[vocabulary]`. For a linear layer's weight
/// `[dim, vocabulary]` give its transposed view, which costs nothing.
///
/// # Panics
/// If the sizes do not fit each other, or a target is no class.
pub fn cut_cross_entropy(
    embeddings: Tensor<2>,
    classifier: Tensor<2>,
    bias: Option<Tensor<1>>,
    targets: &Targets,
    settings: &CutSettings,
) -> CrossEntropy {
    let [rows, dim] = embeddings.dims();
    let [vocabulary, taken] = classifier.dims();
    assert_eq!(dim, taken, "the classifier [{vocabulary}, {taken}] takes embeddings of {dim}");
    assert_eq!(targets.rows(), rows, "a target for each of {rows} rows");
    assert!(bias.as_ref().is_none_or(|bias| bias.dims() == [vocabulary]), "a bias for each of {vocabulary} classes");
    let count = targets.count();
    let [losses, log_sum_exp] = if kernels_serve(&embeddings) {
        let operation = Cut { targets: Arc::new(targets.clone()), settings: *settings };
        let (embeddings, classifier) = (embeddings.into_dispatch(), classifier.into_dispatch());
        let found = match bias {
            Some(bias) => outputs(operation, [embeddings, classifier, bias.into_dispatch()]),
            None => outputs(operation, [embeddings, classifier]),
        };
        let mut found = found.into_iter().map(Tensor::from_dispatch);
        [(); 2].map(|()| found.next().expect("losses and their log-sum-exp"))
    } else {
        composed(embeddings, classifier, bias, targets, &settings.loss)
    };
    let loss = losses.clone().sum() / count.max(1) as f32;
    CrossEntropy { loss, losses, log_sum_exp, count }
}

/// The losses and their `lse` of Burn's own operations, whole logits at a time.
fn composed(
    embeddings: Tensor<2>,
    classifier: Tensor<2>,
    bias: Option<Tensor<1>>,
    targets: &Targets,
    settings: &Settings,
) -> [Tensor<1>; 2] {
    let (device, rows) = (embeddings.device(), targets.rows());
    let indices = |list: &[u32]| {
        let list: Vec<i64> = list.iter().map(|&index| i64::from(index)).collect();
        let length = list.len();
        Tensor::<1, Int>::from_data(TensorData::new(list, [length]), &device)
    };
    // Zeros that depend on the embeddings, so that a loss without targets has a gradient too.
    let first = embeddings.clone().narrow(1, 0, 1).reshape([rows]);
    let everywhere = first.zeros_like().equal_elem(0.0);
    let all = first.mask_fill(everywhere, 0.0);
    if targets.count() == 0 {
        return [all.clone(), all];
    }
    let listed = targets.listed().map(indices);
    let counted = match &listed {
        Some(listed) => embeddings.select(0, listed.clone()),
        None => embeddings,
    };
    let mut logits = counted.matmul(classifier.transpose());
    if let Some(bias) = bias {
        logits = logits + bias.unsqueeze();
    }
    if let Some(cap) = settings.softcap {
        logits = (logits / cap).tanh() * cap;
    }
    let count = targets.count();
    let of_targets = logits.clone().gather(1, indices(targets.classes()).reshape([count, 1])).reshape([count]);
    let largest = logits.clone().detach().max_dim(1);
    let log_sum_exp = ((logits.clone() - largest.clone()).exp().sum_dim(1).log() + largest).reshape([count]);
    let mut losses = log_sum_exp.clone() - of_targets.clone();
    if settings.label_smoothing != 0.0 {
        let means = logits.mean_dim(1).reshape([count]);
        losses = losses + (of_targets - means) * settings.label_smoothing;
    }
    if settings.z_loss != 0.0 {
        losses = losses + log_sum_exp.clone().square() * settings.z_loss;
    }
    [losses, log_sum_exp].map(|found| match &listed {
        Some(listed) => all.clone().select_assign(0, listed.clone(), found, IndexingUpdateOp::Add),
        None => found,
    })
}

#[derive(Clone, Debug)]
struct Cut {
    targets: Arc<Targets>,
    settings: CutSettings,
}

/// What the backward pass needs.
#[derive(Clone, Debug)]
struct Saved<const N: usize> {
    inputs: [FlexTensor; N],
    forward: Arc<Forward>,
}

impl Cut {
    /// Calls `work` with the problem that inputs in [`Cut::lay_out`] form.
    fn with<const N: usize, T>(&self, inputs: &[FlexTensor; N], work: impl FnOnce(CutCrossEntropy<'_>) -> T) -> T {
        let [rows, dim] = [inputs[0].shape()[0], inputs[0].shape()[1]];
        work(CutCrossEntropy {
            embeddings: Matrix::new(elements(&inputs[0]), rows, dim),
            classifier: matrix(&inputs[1]),
            bias: inputs.get(2).map(elements),
            targets: &self.targets,
            settings: self.settings.loss,
        })
    }

    /// The inputs as kernels read them: the classifier row by row or column by column, the others contiguous.
    fn lay_out<const N: usize>(inputs: [FlexTensor; N]) -> [FlexTensor; N] {
        let mut index = 0;
        inputs.map(|input| {
            index += 1;
            if index == 2 { matrix_contiguous(input) } else { contiguous(input) }
        })
    }
}

/// The inputs are the embeddings, the classifier and, if `N` is 3, the bias; the outputs are the losses and `lse`.
impl<const N: usize> KernelOp<N> for Cut {
    type Saved = Saved<N>;

    fn outputs(&self) -> usize {
        2
    }

    fn forward(&self, inputs: [FlexTensor; N]) -> Vec<FlexTensor> {
        let found = self.with(&Self::lay_out(inputs), |problem| problem.forward(false));
        let rows = self.targets.rows();
        vec![own(found.losses, [rows]), own(found.log_sum_exp, [rows])]
    }

    fn forward_saving(&self, inputs: [FlexTensor; N]) -> (Vec<FlexTensor>, Saved<N>) {
        let inputs = Self::lay_out(inputs);
        // Only filters of whole blocks gain by an order.
        let of_blocks = matches!(self.settings.filter, Filter::Both(_) | Filter::Embeddings(_));
        let sorted = self.settings.sorted && of_blocks;
        let forward = self.with(&inputs, |problem| problem.forward(sorted));
        let rows = [self.targets.rows()];
        let outputs = vec![own(forward.losses.clone(), rows), own(forward.log_sum_exp.clone(), rows)];
        (outputs, Saved { inputs, forward: Arc::new(forward) })
    }

    fn backward(&self, saved: Saved<N>, upstream: kernel_op::Upstream<N>) -> [Option<FlexTensor>; N] {
        let Saved { inputs, forward } = saved;
        let gradient = contiguous(upstream.gradient);
        let of_output = Some(elements(&gradient));
        let reaching = match upstream.output {
            0 => Upstream { losses: of_output, log_sum_exp: None },
            _ => Upstream { losses: None, log_sum_exp: of_output },
        };
        let mut found: [Option<Vec<f32>>; N] =
            std::array::from_fn(|i| upstream.wanted[i].then(|| take(inputs[i].shape().num_elements())));
        self.with(&inputs, |problem| {
            let mut slices = found.iter_mut().map(|values| values.as_deref_mut());
            let mut next = || slices.next().flatten();
            let gradients = Gradients { embeddings: next(), classifier: next(), bias: next() };
            problem.backward(&forward, reaching, self.settings.filter, gradients)
        });
        let gradients = std::array::from_fn(|i| found[i].take().map(|values| laid_out_as(&inputs[i], values)));
        inputs.into_iter().take(1).for_each(recycle);
        gradients
    }
}

/// A gradient whose elements lie as those of `input`.
fn laid_out_as(input: &FlexTensor, values: Vec<f32>) -> FlexTensor {
    let shape = input.shape();
    if shape.num_dims() == 2 && is_transposed(input) {
        own(values, [shape[1], shape[0]]).transpose(0, 1)
    } else {
        own(values, shape)
    }
}
