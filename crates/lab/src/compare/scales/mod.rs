//! What a generator of pictures draws with less of its cache: policies of scales side by side.
//!
//! A small generator learns coloured shapes ([`NextScaleTraining`]), and draws with a full cache and under every policy: one picture of
//! every class by the likeliest codes, and several by draws with the same seed.

mod answer;
mod error;
mod page;
mod plan;
mod row;
mod subject;
mod table;

pub use answer::answer;
pub use error::ScalesError;
pub use headwise_train::next_scale::NextScaleTraining;
pub use page::{PageInput, html};
pub use plan::{Compared, Plan, ScaleComparison, Strip};
pub use row::ScaleRow;
pub use subject::Subject;
pub use table::table;
