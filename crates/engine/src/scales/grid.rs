//! Tokens of a map that stand for it: the centres of an even grid of patches.

/// The cells of a map of `side` × `side` at the centres of a grid of `grid` × `grid` patches, ascending: row and column
/// `i ⌊side / grid⌋ + ⌊(⌊side / grid⌋ - 1) / 2⌋`. The last `grid²` cells, or all, if the map is smaller than the grid.
pub fn centres(side: usize, grid: usize) -> Vec<usize> {
    let patch = side / grid.max(1);
    if patch == 0 || grid == 0 {
        return (side * side - (grid * grid).min(side * side)..side * side).collect();
    }
    let place = |i: usize| i * patch + (patch - 1) / 2;
    (0..grid).flat_map(|row| (0..grid).map(move |column| place(row) * side + place(column))).collect()
}

/// The grid for a budget: at most `most` on a side, and smaller where its tokens were more than half of the budget.
pub fn grid_for(budget: usize, most: usize) -> usize {
    (1..=most).rev().find(|grid| 2 * grid * grid <= budget).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn centres_are_inside_and_unique() {
        for side in 4..=64 {
            for grid in 1..=4 {
                let cells = centres(side, grid);
                assert_eq!(cells.len(), grid * grid);
                assert!(cells.is_sorted_by(|a, b| a < b) && cells.iter().all(|&cell| cell < side * side));
            }
        }
    }

    #[test]
    fn centres_are_those_of_the_formula_and_small_maps_give_their_last() {
        assert_eq!(centres(4, 4), (0..16).collect::<Vec<_>>());
        // Patches of 4: centres at 1, 5, 9 and 13.
        let rows: Vec<usize> =
            [1, 5, 9, 13].iter().flat_map(|row| [1, 5, 9, 13].map(|column| row * 16 + column)).collect();
        assert_eq!(centres(16, 4), rows);
        assert_eq!(centres(4, 1), [5]);
        assert_eq!(centres(3, 4), (0..9).collect::<Vec<_>>());
        assert_eq!(centres(1, 1), [0]);
        assert_eq!(centres(6, 4).last(), Some(&21));
    }

    #[test]
    fn a_grid_takes_at_most_half_of_a_budget() {
        assert_eq!([1, 2, 7, 8, 31, 32, 650].map(|budget| grid_for(budget, 4)), [1, 1, 1, 2, 3, 4, 4]);
    }
}
