//! A text read layer by layer, by a model whose layers change on the way.

use std::collections::HashMap;
use std::ops::Range;

use burn::tensor::{Device, Tensor};
use headwise_nn::block::Block;
use headwise_nn::mixer::{MixContext, Segment};
use headwise_ops::host::{self, Host};

use super::CompressError;
use crate::decoder::{Decoder, linears};

/// Texts of equal length.
#[derive(Clone, Debug)]
pub struct Calibration {
    ids: Vec<u32>,
    window: usize,
}

/// The fewest tokens that say anything.
const LEAST: usize = 16;

impl Calibration {
    /// At most `tokens` of `ids`, in windows of `window` tokens, each read alone.
    pub fn new(ids: &[u32], tokens: usize, window: usize) -> Result<Self, CompressError> {
        let tokens = ids.len().min(tokens);
        let window = window.min(tokens);
        if window < LEAST {
            return Err(CompressError::ShortCalibration { tokens, least: LEAST });
        }
        Ok(Self { ids: ids[..tokens / window * window].to_vec(), window })
    }

    /// The windows.
    pub fn windows(&self) -> impl ExactSizeIterator<Item = &[u32]> {
        self.ids.chunks_exact(self.window)
    }

    /// The first windows, at most `count` of them and at least one.
    pub fn first(&self, count: usize) -> Self {
        let tokens = count.clamp(1, self.windows().len()) * self.window;
        Self { ids: self.ids[..tokens].to_vec(), window: self.window }
    }

    /// The text before the first layer of `model`.
    pub fn start(&self, model: &Decoder) -> Reading {
        let positions: Vec<i32> = (0..self.ids.len()).map(|at| (at % self.window) as i32).collect();
        let segments = (0..self.windows().len())
            .map(|sequence| Segment { sequence, rows: sequence * self.window..(sequence + 1) * self.window })
            .collect();
        let hidden = model.embed(&self.ids, &positions, &Device::flex());
        Reading { hidden, positions, segments }
    }
}

/// A text between two layers.
#[derive(Clone, Debug)]
pub struct Reading {
    /// `[1, tokens, dim]`
    pub hidden: Tensor<3>,
    positions: Vec<i32>,
    segments: Vec<Segment>,
}

impl Reading {
    /// What layer `layer` makes of the text.
    pub fn through(&self, model: &Decoder, layer: usize) -> Tensor<3> {
        self.layer(model, layer, self.hidden.clone())
    }

    /// What layer `layer` makes of `hidden`, another form of the same text.
    pub fn layer(&self, model: &Decoder, layer: usize, hidden: Tensor<3>) -> Tensor<3> {
        let mut ctx = MixContext { layer, ..MixContext::new(&self.positions, &self.segments) };
        model.layer(layer, hidden, &mut ctx)
    }

    /// What `block`, of whatever model, makes of `hidden`.
    pub fn block(&self, block: &Block, hidden: Tensor<3>) -> Tensor<3> {
        let mut ctx = MixContext::new(&self.positions, &self.segments);
        block.forward(hidden, &mut ctx)
    }

    /// Some of the windows, alone.
    ///
    /// # Panics
    /// If there are no such windows.
    pub fn windows(&self, range: Range<usize>) -> Self {
        let of = &self.segments[range];
        let (start, end) = (of.first().map_or(0, |first| first.rows.start), of.last().map_or(0, |last| last.rows.end));
        let moved = |segment: &Segment| Segment {
            sequence: segment.sequence,
            rows: segment.rows.start - start..segment.rows.end - start,
        };
        Self {
            hidden: self.hidden.clone().narrow(1, start, end - start),
            positions: self.positions[start..end].to_vec(),
            segments: of.iter().map(moved).collect(),
        }
    }

    /// What each projection of layer `layer` reads, by the names of [`linears`].
    pub(super) fn inputs(&self, model: &mut Decoder, layer: usize) -> HashMap<&'static str, Inputs> {
        linears(&mut model.blocks[layer]).into_iter().for_each(|(_, linear)| linear.watch());
        let _ = self.through(model, layer);
        let tokens = self.positions.len();
        let taken = |(name, linear): (_, &mut headwise_nn::Linear)| (name, Inputs::new(linear.unwatch(), tokens));
        linears(&mut model.blocks[layer]).into_iter().map(taken).collect()
    }

    /// Moves the text behind layer `layer`.
    pub fn advance(&mut self, model: &Decoder, layer: usize) {
        self.hidden = self.through(model, layer);
    }
}

/// Rows that a projection reads.
pub(super) struct Inputs {
    rows: Tensor<2>,
}

impl Inputs {
    pub fn new(values: Vec<f32>, rows: usize) -> Self {
        let width = values.len() / rows.max(1);
        Self { rows: host::tensor(values, [rows, width], &Device::flex()) }
    }

    /// The second moments `XᵀX / rows`, `[inputs, inputs]`.
    pub fn gram(&self) -> Tensor<2> {
        let rows = self.rows.dims()[0].max(1) as f32;
        self.rows.clone().transpose().matmul(self.rows.clone()) / rows
    }

    /// The mean magnitude of each input.
    pub fn magnitudes(&self) -> Vec<f32> {
        Host::new(self.rows.clone().abs().mean_dim(0)).as_slice().to_vec()
    }

    /// The largest magnitude of each input.
    pub fn largest(&self) -> Vec<f32> {
        Host::new(self.rows.clone().abs().max_dim(0)).as_slice().to_vec()
    }

    /// The norm of each input over all rows.
    pub fn norms(&self) -> Vec<f32> {
        let squares = Host::new(self.rows.clone().square().sum_dim(0));
        squares.as_slice().iter().map(|square| square.sqrt()).collect()
    }
}
