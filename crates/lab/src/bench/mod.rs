//! Benchmarks of the kernels and of a model, beside what the machine itself can do.
//!
//! [`Plan`] says which benchmarks run on which shapes, [`Plan::run`] measures them on the threads of an engine and returns
//! one [`BenchRow`] each. The figures of a row are
//!
//! - `median_ms`, `min_ms`, `max_ms`: one call (for `decode`: one token), after a warm-up;
//! - `gflops`: arithmetic that the definition needs, 10⁹ operations per second: hidden keys are not counted, and a
//!   backward pass of attention counts as five products to the forward pass's two;
//! - `peak_mib` (of `train_step`, on Linux): memory at its peak less that before, parameters and data included;
//! - `gbs`: 10⁹ bytes per second of what must be read and written once (weights, caches, inputs, outputs).
//!
//! [`Peaks`] has the machine's own limits for both, measured in the same run.

mod attention;
mod cross_entropy;
mod element_wise;
mod linear_recurrence;
mod matrix_product;
mod memory;
mod model;
mod peaks;
mod plan;
mod roofline;
mod row;
mod shape;
mod table;
mod timing;
mod train_step;

pub use model::weights;
pub use peaks::{Peaks, load};
pub use plan::{Benchmark, Plan, Setup};
pub use roofline::{Limit, Roofline};
pub use row::{BenchReport, BenchRow, Params};
pub use shape::{Form, Shape};
pub use table::{profiles, table};
pub use timing::{Repeats, Times};

use headwise_engine::EngineError;
use headwise_kernels::matrix::MatrixError;

/// Why a benchmark cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// No benchmark of this name.
    #[error("no benchmark is called `{filter}`, nor does a name contain it: the benchmarks are {}", names())]
    UnknownFilter {
        /// What was asked for.
        filter: String,
    },
    /// A shape that is not numbers joined by `x`.
    #[error("`{text}` is not a shape: a shape is whole numbers above 0 joined by x, for example {example}")]
    NotAShape {
        /// What was given.
        text: String,
        /// A shape of the benchmark in question.
        example: &'static str,
    },
    /// A shape with another number of sides.
    #[error("{benchmark} does not run on `{text}`: its shape is {form}, for example {example}")]
    WrongSides {
        /// The benchmark.
        benchmark: &'static str,
        /// What was given.
        text: String,
        /// What the sides are.
        form: &'static str,
        /// A shape that is right.
        example: &'static str,
    },
    /// A shape that would take more memory than a benchmark should.
    #[error("`{text}` has {elements} elements: a benchmark takes at most {most}")]
    TooLarge {
        /// What was given.
        text: String,
        /// Its elements, or more than can be counted.
        elements: u128,
        /// The limit.
        most: usize,
    },
    /// A benchmark of a model without a model.
    #[error("{benchmark} measures a model, and none is given or cached: name one with --model, or run `headwise pull`")]
    NoModel {
        /// The benchmark.
        benchmark: &'static str,
    },
    /// A quantised matrix of this shape does not exist.
    #[error(transparent)]
    Matrix(#[from] MatrixError),
    /// The model failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

fn names() -> String {
    Benchmark::ALL.map(Benchmark::name).join(", ")
}

#[cfg(test)]
mod tests;
