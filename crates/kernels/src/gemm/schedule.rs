//! How a product is cut into parts.

use std::ops::Range;

use super::pack::PANEL;

/// Rows of a part are a multiple of this many, which register tiles fill.
const ROWS: usize = 24;
/// Multiplications worth handing to a thread.
const PART: usize = 1 << 19;
/// Rows and columns of a part for which copying the operands is a small share of its work.
const LARGE: [usize; 2] = [120, 256];
/// Parts for each thread, if they are large, so that none waits long for the last one.
const PARTS_PER_THREAD: usize = 4;

/// Equal pieces of the rows and of the columns; every pair of them is a part.
#[derive(Clone, Debug)]
pub(super) struct Cut {
    rows: Vec<Range<usize>>,
    columns: Vec<Range<usize>>,
}

/// What one worker computes alone.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub rows: Range<usize>,
    pub columns: Range<usize>,
}

impl Cut {
    /// Cuts `[rows, columns]`, each element the sum of `inner` products.
    pub fn new(rows: usize, inner: usize, columns: usize, threads: usize) -> Self {
        let work = rows.saturating_mul(columns).saturating_mul(inner);
        let large = (rows / LARGE[0]).max(1) * (columns / LARGE[1]).max(1);
        let parts = match threads {
            1 => 1,
            _ => large.min(threads * PARTS_PER_THREAD).max((work / PART).clamp(1, threads)),
        };
        // Each piece of the rows copies all of B and each piece of the columns all of A.
        let copied = |row_pieces: usize| row_pieces * columns + parts.div_ceil(row_pieces) * rows;
        let row_pieces = (1..=parts).min_by_key(|&pieces| copied(pieces)).unwrap_or(1);
        Self { rows: pieces(rows, row_pieces, ROWS), columns: pieces(columns, parts.div_ceil(row_pieces), PANEL) }
    }

    pub fn parts(&self) -> usize {
        self.rows.len() * self.columns.len()
    }

    pub fn part(&self, index: usize) -> Part {
        let (row, column) = (index / self.columns.len(), index % self.columns.len());
        Part { rows: self.rows[row].clone(), columns: self.columns[column].clone() }
    }
}

/// Cuts `0..length` into at most `count` pieces of a multiple of `unit`.
fn pieces(length: usize, count: usize, unit: usize) -> Vec<Range<usize>> {
    let piece = length.div_ceil(count).max(1).next_multiple_of(unit);
    (0..length).step_by(piece).map(|start| start..(start + piece).min(length)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_the_result_once() {
        for (rows, inner, columns) in [(1, 1, 1), (2048, 256, 256), (256, 2048, 1024), (7, 100_000, 65), (0, 3, 4)] {
            for threads in [1, 2, 5] {
                let cut = Cut::new(rows, inner, columns, threads);
                let mut met = vec![0; rows * columns];
                for part in (0..cut.parts()).map(|index| cut.part(index)) {
                    for row in part.rows {
                        part.columns.clone().for_each(|column| met[row * columns + column] += 1);
                    }
                }
                assert!(met.into_iter().all(|count| count == 1), "{rows} {inner} {columns} {threads}");
            }
        }
    }
}
