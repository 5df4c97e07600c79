//! Scores of generated answers and the uncertainty of their mean.

/// Share of the `expected` strings that occur in `output`, ignoring case, times 100.
///
/// With nothing expected there is nothing to find: 0.
pub fn string_match_all(output: &str, expected: &[String]) -> f64 {
    if expected.is_empty() {
        return 0.0;
    }
    let output = output.to_lowercase();
    let found = expected.iter().filter(|answer| output.contains(&answer.to_lowercase()));
    100.0 * found.count() as f64 / expected.len() as f64
}

/// Wilson's 95 % interval `[low, high]` for a share, from `successes` in `trials`, both ends in 0..=1.
///
/// `successes` may be fractional (trials with partial credit). No trials say nothing: `[0, 1]`.
/// Centre `(p + z²/2n) / (1 + z²/n)`, half width `z √(p(1-p)/n + z²/4n²) / (1 + z²/n)`, `z` = 1.96. Wilson 1927.
pub fn wilson_interval(successes: f64, trials: usize) -> [f64; 2] {
    const Z: f64 = 1.959_963_984_540_054;
    if trials == 0 {
        return [0.0, 1.0];
    }
    let n = trials as f64;
    let share = (successes / n).clamp(0.0, 1.0);
    let scale = 1.0 + Z * Z / n;
    let centre = (share + Z * Z / (2.0 * n)) / scale;
    let half = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt() / scale;
    [(centre - half).max(0.0), (centre + half).min(1.0)]
}

/// Middle value, or the mean of the two middle ones; `None` of nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        length if length % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_expected_string_counts_the_same() {
        let expected = ["Alpha".to_owned(), "1234567".to_owned()];
        assert_eq!(string_match_all("ALPHA and 1234567.", &expected), 100.0);
        assert_eq!(string_match_all("alpha and 123456", &expected), 50.0);
        assert_eq!(string_match_all("", &expected), 0.0);
        assert_eq!(string_match_all("anything", &[]), 0.0);
    }

    /// Values of the closed form, as published tables of the interval give them.
    #[test]
    fn wilson_interval_of_known_counts() {
        let near = |successes: f64, trials, low: f64, high: f64| {
            let interval = wilson_interval(successes, trials);
            assert!((interval[0] - low).abs() < 5e-5, "{interval:?}");
            assert!((interval[1] - high).abs() < 5e-5, "{interval:?}");
        };
        near(5.0, 10, 0.2366, 0.7634);
        near(0.0, 10, 0.0, 0.2775);
        near(10.0, 10, 0.7225, 1.0);
        near(81.0, 263, 0.2553, 0.3662);
        assert_eq!(wilson_interval(0.0, 0), [0.0, 1.0]);
    }

    #[test]
    fn median_of_odd_even_and_none() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }
}
