//! Sequences side by side in one row of tokens.

use headwise_nn::mixer::{MixContext, Segment};

/// Calls `run` with the context of a forward over sequences of these lengths, side by side.
pub fn side_by_side<T>(lengths: &[usize], run: impl FnOnce(&mut MixContext<'_>) -> T) -> T {
    let positions: Vec<i32> = lengths.iter().flat_map(|&length| 0..length as i32).collect();
    let mut start = 0;
    let segment = |(sequence, &length): (usize, &usize)| {
        start += length;
        Segment { sequence, rows: start - length..start }
    };
    let segments: Vec<Segment> = lengths.iter().enumerate().map(segment).collect();
    run(&mut MixContext::new(&positions, &segments))
}
