//! The answer in plain words: how little of the cache draws the same pictures.

use super::ScaleRow;
use super::table::decibels;
use crate::report::Prose;
use crate::rows::FULL;
use crate::rows::quantity::{bytes, score};

/// Percent of the codes that must stay for pictures to count as the same.
pub const CODES: f64 = 90.0;
/// Decibels that they must be near.
pub const DECIBELS: f64 = 25.0;

/// Whether pictures count as those of the full cache.
fn same(row: &ScaleRow) -> bool {
    row.agreement >= CODES && row.psnr.is_none_or(|psnr| psnr >= DECIBELS)
}

/// The policy with the fewest bytes whose pictures count as the same; of equals that with more codes.
pub fn answer(rows: &[ScaleRow]) -> Prose {
    let mut prose = Prose::default();
    let policies = || rows.iter().filter(|row| row.policy != FULL);
    let by = |one: &&ScaleRow, other: &&ScaleRow| {
        one.kv_bytes.cmp(&other.kv_bytes).then(other.agreement.total_cmp(&one.agreement))
    };
    let nearest = policies().max_by(|one, other| one.agreement.total_cmp(&other.agreement));
    match (policies().filter(|row| same(row)).min_by(by), nearest) {
        (Some(row), _) => {
            let (share, size) = (score(row.kv_pct), bytes(row.kv_bytes));
            prose.text("Use ").policy(&row.policy).text(format!(
                ": it holds {share} % of the cache ({size}) and draws {} % of the codes of the full one, {} dB.",
                score(row.agreement),
                decibels(row.psnr)
            ));
        }
        (None, Some(row)) => {
            prose.text("No policy draws what the full cache draws; nearest comes ").policy(&row.policy).text(format!(
                " with {} % of the codes, {} dB.",
                score(row.agreement),
                decibels(row.psnr)
            ));
        }
        (None, None) => {
            prose.text("Nothing was compared with the full cache.");
        }
    }
    if let Some(full) = rows.iter().find(|row| row.policy == FULL) {
        prose.text(format!(
            " With the full cache {} % of the pictures drawn with chance show what was asked for.",
            score(full.class_agreement)
        ));
    }
    prose
}

#[cfg(test)]
mod tests {
    use super::super::subject::tests::subject;
    use super::*;

    #[test]
    fn the_smallest_cache_that_draws_the_same_is_named() {
        let full = subject().full();
        let row = |policy: &str, kv_bytes, agreement, psnr| ScaleRow {
            policy: policy.into(),
            kv_bytes,
            agreement,
            psnr: Some(psnr),
            ..full.clone()
        };
        let rows = [full.clone(), row("a", 500, 95.0, 30.0), row("b", 100, 91.0, 26.0), row("c", 50, 89.0, 40.0)];
        assert!(answer(&rows).to_string().starts_with("Use `b`: it holds"), "{}", answer(&rows));
        let poor = [full.clone(), row("c", 50, 89.0, 40.0), row("d", 50, 95.0, 20.0)];
        assert!(answer(&poor).to_string().contains("nearest comes `d` with 95 %"), "{}", answer(&poor));
        assert!(answer(&[full]).to_string().contains("Nothing was compared"));
    }
}
