//! 95 % intervals of recall and of the difference between two recalls.
//!
//! Wilson's score interval of a share `p` of `n`: `(p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n)`. Unlike
//! `p ± z·σ` it is honest for few samples and at 0 and 100 %: 5 of 5 is 57–100 %, not 100–100 %.
//! Wilson 1927; the difference is the hybrid score interval (method 10) of Newcombe 1998.

/// 97.5th percentile of the standard normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// Wilson's 95 % interval of a score (0–100) from `n` samples, in the same unit. No samples: 0–100.
pub fn wilson(score: f64, n: u64) -> [f64; 2] {
    if n == 0 || !score.is_finite() {
        return [0.0, 100.0];
    }
    let share = (score / 100.0).clamp(0.0, 1.0);
    let n = n as f64;
    let centre = share + Z * Z / (2.0 * n);
    let half = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scale = 100.0 / (1.0 + Z * Z / n);
    // At 0 and 100 % one bound equals the score exactly; rounding must not put the score outside its interval.
    let low = ((centre - half) * scale).clamp(0.0, share * 100.0);
    let high = ((centre + half) * scale).clamp(share * 100.0, 100.0);
    [low, high]
}

/// Newcombe's 95 % interval of `a − b`, two scores (0–100) of `n` samples each. The samples here are the same prompts
/// for both, which makes the interval too wide rather than too narrow.
pub fn difference(a: f64, b: f64, n: u64) -> [f64; 2] {
    let ([low_a, high_a], [low_b, high_b]) = (wilson(a, n), wilson(b, n));
    let below = (a - low_a).hypot(high_b - b);
    let above = (high_a - a).hypot(b - low_b);
    [a - b - below, a - b + above]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilson_matches_published_values() {
        // Newcombe 1998 (two-sided 95 % intervals for the single proportion), table I, method 3.
        for (found, n, low, high) in [
            (81.0, 263u64, 0.2553, 0.3662),
            (15.0, 148, 0.0624, 0.1605),
            (0.0, 20, 0.0, 0.1611),
            (1.0, 29, 0.0061, 0.1718),
        ] {
            let [l, h] = wilson(100.0 * found / n as f64, n);
            assert!((l - 100.0 * low).abs() < 0.006, "{found}/{n}: low {l}, expected {low}");
            assert!((h - 100.0 * high).abs() < 0.006, "{found}/{n}: high {h}, expected {high}");
        }
    }

    #[test]
    fn wilson_contains_the_score_and_narrows() {
        for score in [0.0, 10.0, 50.0, 99.0, 100.0] {
            let width = |n| wilson(score, n)[1] - wilson(score, n)[0];
            for n in [1, 5, 10, 1000] {
                let [low, high] = wilson(score, n);
                assert!(0.0 <= low && low <= score && score <= high && high <= 100.0, "{score} {n}: {low} {high}");
            }
            assert!(width(10) > width(20));
        }
        assert_eq!(wilson(50.0, 0), [0.0, 100.0]);
        assert_eq!(wilson(f64::NAN, 3), [0.0, 100.0]);
    }

    #[test]
    fn difference_is_antisymmetric_and_needs_evidence() {
        let [low, high] = difference(60.0, 100.0, 10);
        let [back_low, back_high] = difference(100.0, 60.0, 10);
        assert!((low + back_high).abs() < 1e-9 && (high + back_low).abs() < 1e-9);
        assert!(high < 0.0, "6 of 10 is less than 10 of 10");
        assert!(difference(90.0, 100.0, 10)[1] > 0.0, "9 of 10 is not shown to be less than 10 of 10");
        assert!(difference(90.0, 100.0, 100)[1] < 0.0, "90 of 100 is less than 100 of 100");
    }
}
