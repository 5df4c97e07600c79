//! The layers around one that goes, while they learn what it did.

use std::collections::HashMap;
use std::convert::Infallible;
use std::ops::Range;

use burn::backend::DispatchTensor;
use burn::module::{Module, ParamId};
use burn::tensor::{Device, Tensor};
use headwise_models::compress::Reading;
use headwise_models::decoder::Decoder;
use headwise_nn::block::Block;
use headwise_nn::named::{self, Named};
use headwise_ops::host;

use super::FuseError;
use super::weights::{FusedMatrix, FusedVector};
use crate::draws::{Draws, Purpose, draws};

/// The layers of a group but for the one that goes.
#[derive(Module, Debug)]
pub struct FusedGroup {
    blocks: Vec<FusedBlock>,
}

/// A layer that learns.
#[derive(Module, Debug)]
struct FusedBlock {
    matrices: Vec<FusedMatrix>,
    vectors: Vec<FusedVector>,
    #[module(skip)]
    matrix_names: Vec<String>,
    #[module(skip)]
    vector_names: Vec<String>,
    /// The layer as it was.
    #[module(skip)]
    block: Block,
}

impl FusedGroup {
    /// The layers `group` of `model` without layer `gone`, whose weights those of its type take in. What is drawn depends on `seed` and
    /// on how many layers there are, so that rounds give what runs one after the other give.
    pub fn new(model: &Decoder, group: Range<usize>, gone: usize, rank: usize, seed: u64) -> Result<Self, FuseError> {
        let types = &model.spec().layers;
        let weights: HashMap<String, Named> =
            named::read(&model.blocks[gone]).into_iter().map(|weight| (weight.name.clone(), weight)).collect();
        let none = HashMap::new();
        let block = |layer: usize| {
            let fits = types[layer] == types[gone];
            let mut draws = draws(seed, Purpose::Fusion, types.len() as u64, 1 + layer as u64);
            let learning =
                FusedBlock::new(&model.blocks[layer], if fits { &weights } else { &none }, rank, &mut draws)?;
            if learning.matrices.is_empty() { Err(FuseError::Packed { layer }) } else { Ok(learning) }
        };
        Ok(Self { blocks: group.filter(|&layer| layer != gone).map(block).collect::<Result<_, _>>()? })
    }

    /// What the group makes of `text`, `[1, tokens, dim]`; tracks gradients.
    pub fn forward(&self, text: &Reading) -> Tensor<3> {
        let hidden = Tensor::from_inner(text.hidden.clone());
        self.blocks.iter().fold(hidden, |hidden, block| text.block(&block.current(), hidden))
    }

    /// The parameters that say how much of the layer that goes is taken in.
    pub fn coefficients(&self) -> Vec<ParamId> {
        let of = |block: &FusedBlock| -> Vec<ParamId> {
            let matrices = block.matrices.iter().flat_map(FusedMatrix::coefficients);
            matrices.chain(block.vectors.iter().flat_map(FusedVector::coefficients)).collect()
        };
        self.blocks.iter().flat_map(of).collect()
    }

    /// The layers with what they have learned as their only weights.
    pub fn folded(&self) -> Vec<Block> {
        self.blocks.iter().map(FusedBlock::folded).collect()
    }
}

impl FusedBlock {
    fn new(block: &Block, gone: &HashMap<String, Named>, rank: usize, draws: &mut Draws) -> Result<Self, FuseError> {
        let (mut matrices, mut vectors) = (Vec::new(), Vec::new());
        let (mut matrix_names, mut vector_names) = (Vec::new(), Vec::new());
        let weights = named::read(block);
        let matrix_of = |bias: &str| bias.strip_suffix("bias").map(|layer| format!("{layer}weight"));
        for weight in &weights {
            let other = gone.get(&weight.name);
            match weight.shape.len() {
                1 => {
                    // A norm has a size of its own to learn; a bias belongs to the matrix beside it.
                    let matrix = matrix_of(&weight.name).is_some_and(|name| matrix_names.contains(&name));
                    vectors.push(FusedVector::new(vector(weight), other.filter(|_| matrix).map(vector)));
                    vector_names.push(weight.name.clone());
                }
                2 => {
                    matrices.push(FusedMatrix::new(matrix(weight), other.map(matrix), rank, draws, &learning()));
                    matrix_names.push(weight.name.clone());
                }
                rank => return Err(FuseError::Rank { weight: weight.name.clone(), rank }),
            }
        }
        Ok(Self { matrices, vectors, matrix_names, vector_names, block: block.clone() })
    }

    /// The layer with its weights of now, through which gradients reach what learns.
    fn current(&self) -> Block {
        self.filled(&|matrix| matrix.weight(), &|vector| vector.weight())
    }

    /// The layer with its weights of now as constants.
    fn folded(&self) -> Block {
        self.filled(&|matrix| host::contiguous(matrix.weight().inner()), &|vector| vector.weight().inner())
    }

    fn filled(&self, matrix: &dyn Fn(&FusedMatrix) -> Tensor<2>, vector: &dyn Fn(&FusedVector) -> Tensor<1>) -> Block {
        // A file has the outputs of a matrix first.
        let matrices = self.matrices.iter().map(|weight| matrix(weight).transpose().into_dispatch());
        let vectors = self.vectors.iter().map(|weight| vector(weight).into_dispatch());
        let matrices = self.matrix_names.iter().map(String::as_str).zip(matrices);
        let mut weights = Weights(matrices.chain(self.vector_names.iter().map(String::as_str).zip(vectors)).collect());
        let Ok(block) = named::fill(self.block.clone(), &mut weights);
        block
    }
}

/// Weights by name, of any rank.
struct Weights<'a>(HashMap<&'a str, DispatchTensor>);

impl named::Source for Weights<'_> {
    type Error = Infallible;

    fn weight<const D: usize>(&mut self, name: &str, _: [usize; D]) -> Result<Tensor<D>, Infallible> {
        Ok(Tensor::from_dispatch(self.0.remove(name).expect("the names are those of the same layer")))
    }
}

/// Where weights learn.
fn learning() -> Device {
    Device::flex().autodiff()
}

/// A matrix with its inputs first, a constant where weights learn.
fn matrix(weight: &Named) -> Tensor<2> {
    let shape = [weight.shape[0], weight.shape[1]];
    let outputs_first = host::tensor(weight.values.clone(), shape, &Device::flex());
    Tensor::from_inner(host::contiguous(outputs_first.transpose()))
}

fn vector(weight: &Named) -> Tensor<1> {
    host::tensor(weight.values.clone(), [weight.values.len()], &learning())
}
