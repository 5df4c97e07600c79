//! What the machine can do: the limits that other figures are held against.

use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};

use headwise_engine::Engine;
use headwise_kernels::parallel;
use headwise_kernels::simd::{Kernel, LANES, Simd, dispatch, prefetch};
use serde::{Deserialize, Serialize};

use super::{Repeats, Times};

/// The machine's own limits, best of several tries.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Peaks {
    /// 10⁹ operations per second of an f32 matrix product that never waits for memory.
    pub matrix_product_gflops: f64,
    /// 10⁹ bytes per second read from memory by all threads.
    pub read_gbs: f64,
}

/// Steps of the product.
const STEPS: usize = 1 << 20;
/// Bytes read: beyond any last-level cache.
const BYTES: usize = 512 << 20;

impl Peaks {
    /// Measures both on the threads of `engine`.
    pub fn measure(engine: &Engine) -> Self {
        engine.install(|| Self { matrix_product_gflops: matrix_product(STEPS), read_gbs: read(BYTES) })
    }

    /// The better of each: other work can only make a machine look slower.
    pub fn or_better(self, other: Self) -> Self {
        Self {
            matrix_product_gflops: self.matrix_product_gflops.max(other.matrix_product_gflops),
            read_gbs: self.read_gbs.max(other.read_gbs),
        }
    }
}

/// Load of the machine in the last minute, where the system tells it.
pub fn load() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}

/// The inner loop of a matrix product on every thread, with all operands in registers.
fn matrix_product(steps: usize) -> f64 {
    let threads = parallel::threads();
    let times = Times::of_calls(Repeats::AtLeast(5, 0.5), || {
        parallel::workers(threads, |worker, _| {
            black_box(dispatch(Multiply { steps, seed: worker as f32 }));
        });
    });
    (threads * steps * ROWS * COLUMNS * LANES * 2) as f64 / times.min / 1e6
}

/// Rows and vectors of columns of a register tile: 24 chains of additions, which hide the latency of each.
const ROWS: usize = 6;
const COLUMNS: usize = 4;

/// Steps of a product on one register tile.
struct Multiply {
    steps: usize,
    seed: f32,
}

impl Kernel for Multiply {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let factors: [S::F; ROWS] = std::array::from_fn(|r| s.splat(1e-3 * (self.seed + r as f32)));
        let columns: [S::F; COLUMNS] = std::array::from_fn(|c| s.splat(1.0 + c as f32));
        let mut sums = [[s.splat(0.0); COLUMNS]; ROWS];
        for _ in 0..self.steps {
            for (sums, factor) in sums.iter_mut().zip(factors) {
                for (sum, column) in sums.iter_mut().zip(columns) {
                    *sum = s.fma(factor, column, *sum);
                }
            }
        }
        sums.into_iter().flatten().map(|sum| s.sum(sum)).sum()
    }
}

/// Sums all of a buffer that no cache can hold.
fn read(bytes: usize) -> f64 {
    /// Floats that a thread takes at a time.
    const PIECE: usize = 1 << 18;
    let data = vec![1f32; bytes / size_of::<f32>()];
    let sum = AtomicU32::new(0);
    let times = Times::of_calls(Repeats::AtLeast(5, 0.5), || {
        parallel::parts(data.len().div_ceil(PIECE), |part| {
            let piece = &data[part * PIECE..data.len().min((part + 1) * PIECE)];
            sum.fetch_add(dispatch(Sum(piece)) as u32, Ordering::Relaxed);
        });
    });
    black_box(sum.into_inner());
    size_of_val(&data[..]) as f64 / times.min / 1e6
}

/// The sum of a slice, in four chains so that loads never wait for additions, and with what follows asked for in time.
struct Sum<'a>(&'a [f32]);

/// Floats from what is added to what is asked for.
const AHEAD: usize = 512;

impl Kernel for Sum<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let mut sums = [s.splat(0.0); 4];
        let (chunks, rest) = self.0.as_chunks::<{ 4 * LANES }>();
        for (index, chunk) in chunks.iter().enumerate() {
            prefetch(self.0, index * 4 * LANES + AHEAD, 4 * LANES);
            for (sum, lanes) in sums.iter_mut().zip(chunk.as_chunks().0) {
                *sum = s.add(*sum, s.from_array(*lanes));
            }
        }
        for (sum, lanes) in sums.iter_mut().zip(rest.chunks(LANES)) {
            *sum = s.add(*sum, s.read(lanes, 0, 0.0));
        }
        let [a, b, c, d] = sums;
        s.sum(s.add(s.add(a, b), s.add(c, d)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_float_is_read_once() {
        for length in [0, 1, 63, 64, 65, 1000] {
            let data: Vec<f32> = (0..length).map(|i| i as f32).collect();
            let expected: f32 = data.iter().sum();
            assert_eq!(dispatch(Sum(&data)), expected, "{length}");
        }
    }

    #[test]
    fn limits_are_positive() {
        assert!(matrix_product(8) > 0.0);
        assert!(read(1 << 20) > 0.0);
    }

    #[test]
    fn the_better_of_each() {
        let peaks = |matrix_product_gflops, read_gbs| Peaks { matrix_product_gflops, read_gbs };
        assert_eq!(peaks(1.0, 4.0).or_better(peaks(2.0, 3.0)), peaks(2.0, 4.0));
    }
}
