//! The answer in plain words: which way to hold experts to use, and what it costs against the whole model.
//!
//! The rule: the fastest policy whose scores are those of the whole model.

use super::{ExpertsRow, WHOLE};
use crate::report::Prose;
use crate::rows::quantity::{bytes, or_absent, percent, rate};

/// The fastest policy; none if there is none, or none is right.
pub(super) fn fastest(rows: &[ExpertsRow]) -> Option<&ExpertsRow> {
    let held = rows.iter().filter(|row| row.policy != WHOLE && row.same_bits);
    held.max_by(|a, b| a.tok_s.total_cmp(&b.tok_s))
}

/// The answer paragraph for these rows.
pub fn answer(rows: &[ExpertsRow]) -> Prose {
    let mut prose = Prose::default();
    let Some(chosen) = fastest(rows) else { return prose };
    prose.text("Use ").policy(&chosen.policy);
    let hits = or_absent(chosen.hits_pct, percent);
    prose.text(format!(
        ": with {} of {} of experts in memory at most it finds {hits} % of those that are needed there and reads {} tokens a second",
        bytes(chosen.peak_bytes),
        bytes(chosen.total_bytes),
        rate(chosen.tok_s)
    ));
    if let Some(whole) = rows.iter().find(|row| row.policy == WHOLE) {
        prose.text(format!(", {:.2} times as many as the whole model", chosen.tok_s / whole.tok_s));
    }
    for other in rows.iter().filter(|row| row.policy != WHOLE && row.policy != chosen.policy) {
        prose.text("; ").policy(&other.policy);
        prose.text(format!(" finds {} % and reads {}", or_absent(other.hits_pct, percent), rate(other.tok_s)));
    }
    prose.text(format!(". Loads were slowed down by {} ms.", rate(chosen.delay_ms)));
    for wrong in rows.iter().filter(|row| !row.same_bits) {
        prose.text(" The scores of ").policy(&wrong.policy).text(" are not those of the whole model.");
    }
    prose
}
