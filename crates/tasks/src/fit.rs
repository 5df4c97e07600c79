//! Finds the longest haystack that fits in a number of tokens.

use crate::task::{Request, Sample, TaskError};

/// The sample with the most haystack lines whose prompt and answer fit in the requested length.
///
/// `compose` builds the sample of a number of lines (1 or more); more lines must not make it shorter. Doubles the
/// lines until they no longer fit, then halves the gap, so the prompt is tokenised about `2 log2(lines)` times.
pub(crate) fn longest(
    request: &Request,
    task: &'static str,
    answer_tokens: usize,
    mut compose: impl FnMut(usize) -> Result<Sample, TaskError>,
) -> Result<Sample, TaskError> {
    let needed = |sample: &Sample| (request.count_tokens)(&sample.prompt()).saturating_add(answer_tokens);

    let mut best = compose(1)?;
    let shortest = needed(&best);
    if shortest > request.length {
        return Err(TaskError::TooShort { task, length: request.length, needed: shortest });
    }

    let (mut fits, mut exceeds) = (1, None);
    loop {
        let probe = match exceeds {
            // A line takes a token or more: this ends a count that does not grow with the text.
            None if fits >= request.length => break,
            None => 2 * fits,
            Some(exceeds) if exceeds - fits == 1 => break,
            Some(exceeds) => fits + (exceeds - fits) / 2,
        };
        let sample = compose(probe)?;
        if needed(&sample) <= request.length {
            (best, fits) = (sample, probe);
        } else {
            exceeds = Some(probe);
        }
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// A sample of `lines` lines of ten tokens each and a question of one token.
    fn compose(lines: usize) -> Result<Sample, TaskError> {
        Ok(Sample {
            context: "- - - - - - - - - -\n".repeat(lines),
            question: "?".into(),
            answer_prefix: String::new(),
            expected: Vec::new(),
            depth: None,
            needle_spans: Vec::new(),
        })
    }

    #[test]
    fn one_more_line_would_not_fit() {
        for length in 20..500 {
            let calls = Cell::new(0);
            let count = |text: &str| {
                calls.set(calls.get() + 1);
                text.split_whitespace().count()
            };
            let sample = longest(&Request::new(length, &count), "test", 5, compose).unwrap();
            assert_eq!(sample.context.lines().count(), (length - 6) / 10, "length {length}");
            assert!(calls.get() <= 14, "{} calls", calls.get());
        }
    }

    #[test]
    fn the_shortest_possible_length_is_named() {
        let count = |text: &str| text.split_whitespace().count();
        let error = longest(&Request::new(15, &count), "test", 5, compose).unwrap_err();
        assert_eq!(error, TaskError::TooShort { task: "test", length: 15, needed: 16 });
    }
}
