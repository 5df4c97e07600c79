//! The Pareto front: the policies that no other beats on both size and quality.
//!
//! `a` dominates `b` if `cost(a) ≤ cost(b)` and `quality(a) ≥ quality(b)`, one of them strictly. Points of equal cost and
//! equal quality do not dominate each other, so both may be on the front.

/// Whether `a` `(cost, quality)` dominates `b`.
pub fn dominates(a: (f64, f64), b: (f64, f64)) -> bool {
    a.0 <= b.0 && a.1 >= b.1 && (a.0 < b.0 || a.1 > b.1)
}

/// For each point `(cost, quality)` whether it is on the front. Points with a value that is not a number never are.
pub fn front(points: &[(f64, f64)]) -> Vec<bool> {
    let valid = |p: (f64, f64)| !p.0.is_nan() && !p.1.is_nan();
    points.iter().map(|&p| valid(p) && !points.iter().any(|&other| dominates(other, p))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small deterministic stream with many ties.
    fn points(seed: u64, n: usize) -> Vec<(f64, f64)> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % 12) as f64
        };
        (0..n).map(|_| (next(), next())).collect()
    }

    #[test]
    fn exactly_the_undominated_points_are_on_the_front() {
        for seed in 1..200 {
            let points = points(seed, (seed % 30) as usize);
            let front = front(&points);
            assert!(points.is_empty() || front.contains(&true));
            for (i, &p) in points.iter().enumerate() {
                let beaten_by: Vec<_> = points.iter().filter(|&&q| dominates(q, p)).collect();
                assert_eq!(front[i], beaten_by.is_empty(), "{p:?} in {points:?}");
                // A point off the front is beaten by one that is on it, so the drawn line lies above every point off it.
                assert!(front[i] || points.iter().zip(&front).any(|(&q, &on)| on && dominates(q, p)));
            }
        }
    }

    #[test]
    fn known_front() {
        let points =
            [(100.0, 100.0), (53.0, 100.0), (25.0, 90.0), (25.0, 20.0), (10.0, 30.0), (28.0, f64::NAN), (53.0, 100.0)];
        assert_eq!(front(&points), [false, true, true, false, true, false, true]);
    }
}
