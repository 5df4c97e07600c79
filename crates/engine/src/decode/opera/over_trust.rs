//! How much an answer leans on one of its own tokens: the columns of its attention to itself.

use std::ops::Range;

/// `ln 1e-7`, which a column begins with.
const LN_START: f64 = -16.118_095_650_958_32;
/// A column counts no more than `e^50`.
const LN_MOST: f64 = 50.0;

/// The columns of the triangle of attention weights `a_ij` among the tokens of an answer, as `ln c_j = ln 1e-7 + Σ_{i ≥ j} ln(σ a_ij)`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OverTrust {
    columns: Vec<f64>,
}

impl OverTrust {
    /// Adds the row of the newest token: its weights on the tokens of the answer, itself the last, each times `scale`.
    pub fn push(&mut self, row: &[f32], scale: f64) {
        debug_assert!(row.len() == self.columns.len() + 1, "a row of {} after {}", row.len(), self.columns.len());
        self.columns.push(LN_START);
        for (column, &weight) in self.columns.iter_mut().zip(row) {
            *column += (scale * f64::from(weight.max(f32::MIN_POSITIVE))).ln();
        }
    }

    /// The largest column, the first among equals, and how much it counts.
    pub fn largest(&self) -> (usize, f64) {
        let mut best = 0;
        for (index, column) in self.columns.iter().enumerate() {
            if *column > self.columns[best] {
                best = index;
            }
        }
        (best, self.columns.get(best).map_or(0.0, |column| column.min(LN_MOST).exp()))
    }
}

/// The share of `row`, weights on a whole text, that falls on the tokens `evidence`.
pub fn on_evidence(row: &[f32], evidence: &Range<usize>) -> f64 {
    row.iter().take(evidence.end).skip(evidence.start).map(|&weight| f64::from(weight)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_products_down_the_triangle() {
        let rows: [&[f32]; 4] = [&[0.9], &[0.5, 0.2], &[0.3, 0.3, 0.1], &[0.25, 0.4, 0.05, 0.2]];
        let scale = 50.0;
        let mut columns = OverTrust::default();
        for (newest, row) in rows.iter().enumerate() {
            columns.push(row, scale);
            let product = |column: usize| {
                let weights = rows[column..=newest].iter().map(|row| scale * f64::from(row[column]));
                1e-7 * weights.product::<f64>()
            };
            let expected: Vec<f64> = (0..=newest).map(product).collect();
            for (found, expected) in columns.columns.iter().zip(&expected) {
                assert!((found.exp() / expected - 1.0).abs() < 1e-9);
            }
            let largest = (0..=newest).reduce(|a, b| if expected[b] > expected[a] { b } else { a }).unwrap();
            let (at, value) = columns.largest();
            assert_eq!(at, largest);
            assert!((value / expected[largest] - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn columns_neither_vanish_nor_overflow() {
        let mut columns = OverTrust::default();
        for newest in 0..400 {
            let mut row = vec![0.0; newest + 1];
            row[0] = 1.0;
            columns.push(&row, 50.0);
        }
        assert_eq!(columns.largest(), (0, 50f64.exp()));
        assert!(columns.columns.iter().all(|column| column.is_finite()));
    }

    #[test]
    fn evidence_is_counted_where_it_stands() {
        let row = [0.5, 0.125, 0.25, 0.125];
        assert_eq!(on_evidence(&row, &(1..3)), 0.375);
        assert_eq!(on_evidence(&row, &(3..9)), 0.125);
        assert_eq!(on_evidence(&row, &(2..2)), 0.0);
    }
}
