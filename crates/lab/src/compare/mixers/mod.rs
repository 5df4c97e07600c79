//! Token mixers side by side: small decoders of equal size, trained on a task with right answers and tested at longer lengths.
//!
//! A [`MixerComparison`] says what is wanted. [`MixerComparison::plan`] checks all of it before anything runs;
//! [`Plan::run`] trains one decoder for every task, mixer and seed and returns the [rows](MixerRow).
//!
//! - *Equal parameters* (`model.rs`): every decoder has the parameters of one with plain softmax attention and a gated
//!   layer twice as wide as the model; a mixer with more of its own gets a narrower layer. The rest differs by at most 2 %.
//! - *Equal work* (`run.rs`): the same sequences in the same order, the same steps, the same optimiser.
//! - *Train short, test long*: sequences that were not trained on, of the length of training and of others.
//! - *State* (`state.rs`): what a decoder must keep of the text it has read.

mod answer;
mod charts;
mod error;
mod model;
mod page;
mod plan;
mod row;
mod run;
mod state;
mod summary;
mod table;
mod task;

pub use answer::answer;
pub use error::MixersError;
pub use page::{PageInput, html};
pub use plan::{MIXERS, MixerComparison, Plan, Subject};
pub use row::{CurvePoint, MixerRow};
pub use summary::{MixerSummary, Spread, Tested, summarise};
pub use table::table;
pub use task::TASKS;
