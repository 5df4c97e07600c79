//! The last rotated queries of a layer.

use std::collections::VecDeque;

/// The last `capacity` queries `[heads · head_dim]`, oldest first.
#[derive(Clone, Debug, Default)]
pub struct QueryWindow {
    capacity: usize,
    width: usize,
    queries: VecDeque<f32>,
}

impl QueryWindow {
    /// A window of `capacity` queries of `width` channels.
    pub fn new(capacity: usize, width: usize) -> Self {
        Self { capacity, width, queries: VecDeque::new() }
    }

    /// Adds `rows` of queries; the oldest leave.
    pub fn extend(&mut self, rows: &[f32]) {
        let most = self.capacity * self.width;
        let rows = &rows[rows.len().saturating_sub(most)..];
        let excess = (self.queries.len() + rows.len()).saturating_sub(most);
        self.queries.drain(..excess);
        self.queries.extend(rows);
    }

    /// The last `count` queries, or as many as there are: `[count, width]`.
    pub fn last(&self, count: usize) -> Vec<f32> {
        let skipped = self.queries.len().saturating_sub(count * self.width);
        self.queries.iter().skip(skipped).copied().collect()
    }

    /// Memory held.
    pub fn bytes(&self) -> usize {
        self.queries.len() * size_of::<f32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_queries_stay_whatever_the_chunks() {
        let rows: Vec<f32> = (0..20).map(|x| x as f32).collect();
        for chunk in [2, 4, 6, 20] {
            let mut window = QueryWindow::new(3, 2);
            rows.chunks(chunk).for_each(|chunk| window.extend(chunk));
            assert_eq!(window.last(3), &rows[14..], "chunks of {chunk}");
            assert_eq!(window.last(1), &rows[18..]);
            assert_eq!(window.last(9), &rows[14..]);
        }
    }
}
