//! Mean and covariance of a head's queries before rotation, gathered row by row.
//!
//! Welford's recurrence: `δ = x_n - m_{n-1}`, `m_n = m_{n-1} + δ / n`, `C_n = C_{n-1} + (n - 1) / n · δ δᵀ`. Rows are taken one
//! after the other, so the result has the same bits however the text was cut into chunks.

use headwise_kernels::kv::saved::{put, take, take_count};

/// First tokens whose queries are left out: they are outliers in most models, as attention sinks are.
pub const FIRST_QUERIES: usize = 4;

/// Mean and covariance of the queries of one head.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryMoments {
    /// Queries taken.
    count: usize,
    mean: Vec<f32>,
    /// Lower triangle of the scatter matrix, row after row.
    scatter: Vec<f32>,
    /// Room for `δ`.
    difference: Vec<f32>,
}

impl QueryMoments {
    /// Of no queries of `head_dim` channels.
    pub fn new(head_dim: usize) -> Self {
        Self {
            count: 0,
            mean: vec![0.0; head_dim],
            scatter: vec![0.0; head_dim * (head_dim + 1) / 2],
            difference: vec![0.0; head_dim],
        }
    }

    /// Appends everything to `out`.
    pub(super) fn save(&self, out: &mut Vec<u8>) {
        put(out, &[self.count as u64]);
        put(out, &self.mean);
        put(out, &self.scatter);
    }

    /// Takes what [`QueryMoments::save`] wrote off the front of `bytes`, of heads as wide as this; `None` if that is cut short.
    pub(super) fn load(&mut self, bytes: &mut &[u8]) -> Option<()> {
        self.count = take_count(bytes, u32::MAX as usize)?;
        self.mean = take(bytes, self.mean.len())?;
        self.scatter = take(bytes, self.scatter.len())?;
        Some(())
    }

    /// Takes one more query.
    pub fn add(&mut self, query: &[f32]) {
        self.count += 1;
        let share = 1.0 / self.count as f32;
        for ((difference, mean), x) in self.difference.iter_mut().zip(&mut self.mean).zip(query) {
            *difference = x - *mean;
            *mean += *difference * share;
        }
        let weight = 1.0 - share;
        let mut rest = &mut self.scatter[..];
        for (row, &difference) in self.difference.iter().enumerate() {
            let (scatter, after) = rest.split_at_mut(row + 1);
            let factor = weight * difference;
            scatter.iter_mut().zip(&self.difference).for_each(|(sum, other)| *sum += factor * other);
            rest = after;
        }
    }

    /// The mean `[head_dim]`; zero before the first query.
    pub fn mean(&self) -> &[f32] {
        &self.mean
    }

    /// The covariance `[head_dim, head_dim]`, divided by the number of queries.
    pub fn covariance(&self) -> Vec<f32> {
        let width = self.mean.len();
        let share = 1.0 / self.count.max(1) as f32;
        let mut covariance = vec![0.0; width * width];
        for row in 0..width {
            for column in 0..=row {
                let value = self.scatter[row * (row + 1) / 2 + column] * share;
                covariance[row * width + column] = value;
                covariance[column * width + row] = value;
            }
        }
        covariance
    }

    /// Memory held.
    pub fn bytes(&self) -> usize {
        size_of_val(&self.mean[..]) + size_of_val(&self.scatter[..]) + size_of_val(&self.difference[..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_the_definition() {
        let rows: Vec<[f32; 3]> =
            (0..50).map(|i| [100.0 + (i as f32).sin(), i as f32 * 0.1, (i as f32 * 0.7).cos()]).collect();
        let mut moments = QueryMoments::new(3);
        rows.iter().for_each(|row| moments.add(row));
        let mean: Vec<f64> = (0..3).map(|c| rows.iter().map(|row| f64::from(row[c])).sum::<f64>() / 50.0).collect();
        for a in 0..3 {
            assert!((f64::from(moments.mean()[a]) - mean[a]).abs() < 1e-4);
            for b in 0..3 {
                let product = |row: &[f32; 3]| (f64::from(row[a]) - mean[a]) * (f64::from(row[b]) - mean[b]);
                let expected = rows.iter().map(product).sum::<f64>() / 50.0;
                let found = f64::from(moments.covariance()[a * 3 + b]);
                assert!((found - expected).abs() < 1e-4, "{a},{b}: {found} for {expected}");
            }
        }
    }

    #[test]
    fn no_queries_and_one_have_no_spread() {
        let mut moments = QueryMoments::new(2);
        assert_eq!((moments.mean(), &moments.covariance()[..]), (&[0.0, 0.0][..], &[0.0; 4][..]));
        moments.add(&[3.0, -1.0]);
        assert_eq!((moments.mean(), &moments.covariance()[..]), (&[3.0, -1.0][..], &[0.0; 4][..]));
    }
}
