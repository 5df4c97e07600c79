use super::*;
use crate::finite_differences::{assert_close, dot, exact, gradient, random};
use crate::simd::{Level, dispatch_at};

/// Channels and where sequences start: one row, less than the width, empty sequences, tails of vectors, several parts.
const CASES: [(usize, &[usize]); 6] = [
    (1, &[0, 1]),
    (16, &[0, 2, 2, 9]),
    (5, &[0, 0, 1, 4, 5, 30]),
    (33, &[0, 17, 40]),
    (20, &[0, 700, 701, 1900]),
    (17_000, &[0, 3, 5]),
];

fn silu(z: f64) -> f64 {
    z / (1.0 + (-z).exp())
}

/// The convolution as it is defined, in f64.
fn definition(sizes: &Sizes<'_>, x: &[f64], weight: &[f64]) -> Vec<f64> {
    let Sizes { channels, width, offsets } = *sizes;
    let mut y = vec![0.0; x.len()];
    for ends in offsets.windows(2) {
        for row in ends[0]..ends[1] {
            for channel in 0..channels {
                let term = |tap: usize| {
                    let from = (row + tap + 1).checked_sub(width).filter(|&from| from >= ends[0]);
                    from.map_or(0.0, |from| weight[channel * width + tap] * x[from * channels + channel])
                };
                y[row * channels + channel] = silu((0..width).map(term).sum());
            }
        }
    }
    y
}

fn cases() -> impl Iterator<Item = (Sizes<'static>, Vec<f32>, Vec<f32>)> {
    CASES.into_iter().flat_map(|(channels, offsets)| {
        (1..=4).map(move |width| {
            let sizes = Sizes { channels, width, offsets };
            (sizes, random(sizes.rows() * channels, -2.0, 2.0, 1), random(channels * width, -1.0, 1.0, 2))
        })
    })
}

#[test]
fn outputs_are_their_definition() {
    for (sizes, x, weight) in cases() {
        let mut y = vec![9.0; x.len()];
        forward(&sizes, &x, &weight, &mut y);
        assert_close(&y, &definition(&sizes, &exact(&x), &exact(&weight)), 2e-6, &format!("{sizes:?}"));
    }
}

#[test]
fn the_last_weight_is_that_of_the_row_itself() {
    let sizes = Sizes { channels: 1, width: 3, offsets: &[0, 4] };
    let mut y = [0.0; 4];
    forward(&sizes, &[1.0, 2.0, 3.0, 4.0], &[100.0, 10.0, 1.0], &mut y);
    // SiLU leaves large numbers as they are.
    assert_close(&y[1..], &[12.0, 123.0, 234.0], 1e-5, "y");
}

#[test]
fn gradients_are_those_of_the_definition() {
    for (sizes, x, weight) in cases().filter(|(_, x, _)| x.len() < 1000) {
        let (what, dy) = (format!("{sizes:?}"), random(x.len(), -1.0, 1.0, 3));
        // The gradient of the weights is added to what is there.
        let (mut dx, mut d_weight) = (vec![9.0; x.len()], vec![1.0; weight.len()]);
        backward(&sizes, &x, &weight, &dy, &mut dx, &mut d_weight);
        let (x, weight, dy) = (exact(&x), exact(&weight), exact(&dy));
        let expected = gradient(&x, |x| dot(&dy, &definition(&sizes, x, &weight)));
        assert_close(&dx, &expected, 1e-5, &what);
        let expected = gradient(&weight, |weight| dot(&dy, &definition(&sizes, &x, weight)));
        assert_close(&d_weight, &expected.iter().map(|d| d + 1.0).collect::<Vec<_>>(), 1e-5, &what);
    }
}

#[test]
fn gradients_do_not_depend_on_where_rows_are_cut() {
    for (sizes, x, weight) in cases() {
        let (dy, rows) = (random(x.len(), -1.0, 1.0, 3), sizes.rows());
        let (mut dx, mut d_weight) = (vec![9.0; x.len()], vec![0.0; weight.len()]);
        backward(&sizes, &x, &weight, &dy, &mut dx, &mut d_weight);
        let (mut whole, mut d_taps) = (vec![9.0; x.len()], vec![0.0; weight.len()]);
        let taps = taps(&weight, sizes.width);
        let all =
            Backward { sizes: &sizes, x: &x, taps: &taps, dy: &dy, rows: 0..rows, dx: &mut whole, d_taps: &mut d_taps };
        dispatch(all);
        assert_eq!(dx, whole, "{sizes:?}");
        // Sums over many rows in another order.
        let expected: Vec<f32> =
            (0..weight.len()).map(|i| d_taps[i % sizes.width * sizes.channels + i / sizes.width]).collect();
        assert_close(&d_weight, &exact(&expected), 1e-4, &format!("{sizes:?}"));
    }
}

#[test]
fn steps_give_what_whole_sequences_give_however_they_are_cut() {
    for (channels, width, rows) in [(1, 1, 1), (5, 2, 3), (16, 3, 7), (40, 4, 12)] {
        let sizes = Sizes { channels, width, offsets: &[0, rows, 2 * rows] };
        let x = random(2 * rows * channels, -2.0, 2.0, 1);
        let weight = random(channels * width, -1.0, 1.0, 3);
        let (mut whole, mut stepped) = (vec![0.0; x.len()], vec![9.0; x.len()]);
        forward(&sizes, &x, &weight, &mut whole);
        let kept = (width - 1) * channels;
        let mut tails = [vec![0.0; kept], vec![0.0; kept]];
        let [first, second] = &mut tails;
        steps(&sizes, &x, &weight, &mut [first, second], &mut stepped);
        assert_close(&stepped, &exact(&whole), 1e-6, "y");
        for row in 0..rows {
            let (mut y, mut tail) = (vec![9.0; channels], vec![0.0; kept]);
            let before = &x[rows * channels..][..(row + 1) * channels];
            for (x, newest) in before.chunks_exact(channels).zip(0..) {
                let sizes = Sizes { channels, width, offsets: &[0, 1] };
                steps(&sizes, x, &weight, &mut [&mut tail], &mut y);
                assert_eq!(y, stepped[(rows + newest) * channels..][..channels], "row {newest}");
            }
            if row + 1 == rows {
                assert_eq!(tail, tails[1]);
            }
        }
    }
}

#[test]
fn results_do_not_depend_on_threads() {
    for (sizes, x, weight) in cases() {
        let dy = random(x.len(), -1.0, 1.0, 3);
        let results = [1, 2, 3].map(|threads| {
            let (mut y, mut dx, mut d_weight) = (x.clone(), x.clone(), vec![0.0; weight.len()]);
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                forward(&sizes, &x, &weight, &mut y);
                backward(&sizes, &x, &weight, &dy, &mut dx, &mut d_weight);
            });
            (y, dx, d_weight)
        });
        assert!(results[0] == results[1] && results[0] == results[2], "{sizes:?}");
    }
}

#[test]
fn all_levels_agree_with_scalar() {
    for (sizes, x, weight) in cases() {
        let (dy, rows, taps) = (random(x.len(), -1.0, 1.0, 3), sizes.rows(), taps(&weight, sizes.width));
        let run = |level| {
            let (mut y, mut dx, mut d_taps) = (x.clone(), x.clone(), vec![0.0; weight.len()]);
            dispatch_at(level, Forward { sizes: &sizes, x: &x, taps: &taps, rows: 0..rows, y: &mut y });
            let (dx_of, d_taps_of) = (&mut dx, &mut d_taps);
            let all =
                Backward { sizes: &sizes, x: &x, taps: &taps, dy: &dy, rows: 0..rows, dx: dx_of, d_taps: d_taps_of };
            dispatch_at(level, all);
            let (mut stepped, mut tail) = (x[..sizes.channels].to_vec(), vec![0.5; taps.len() - sizes.channels]);
            let first = &x[..sizes.channels];
            let (channels, width) = (sizes.channels, sizes.width);
            dispatch_at(level, Steps { channels, width, x: first, taps: &taps, tail: &mut tail, y: &mut stepped });
            [y, dx, d_taps, stepped, tail].concat()
        };
        let expected = exact(&run(Level::Scalar));
        for level in Level::available() {
            assert_close(&run(level), &expected, 1e-4, level.name());
        }
    }
}

#[test]
#[should_panic(expected = "ascend from 0")]
fn offsets_that_descend_are_refused() {
    forward(&Sizes { channels: 1, width: 2, offsets: &[0, 3, 2] }, &[0.0; 2], &[0.0; 2], &mut [0.0; 2]);
}
