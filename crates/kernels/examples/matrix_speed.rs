//! Measures matrix products: bytes of weights per second for one row, operations per second for many.
//!
//! `RAYON_NUM_THREADS=2 cargo run --release -p headwise-kernels --example matrix_speed [FORMAT]`

use std::time::Instant;

use headwise_kernels::matrix::{Format, PackedMatrix};

const SHAPES: [(usize, usize); 4] = [(576, 1536), (1536, 576), (49_152, 576), (4096, 4096)];
const FORMATS: [Format; 5] = [Format::Q4_1, Format::Q4_0, Format::Q8_0, Format::F16, Format::F32];

fn matrix(format: Format, outputs: usize, inputs: usize) -> PackedMatrix {
    let blocks = outputs * inputs / 32;
    // The scale 2^-8 in half precision, then codes that differ from block to block.
    let blocks_of = |bytes: usize| -> Vec<u8> {
        (0..blocks)
            .flat_map(|block| (0..bytes).map(move |i| [0, 0x1C].get(i).map_or((block * 7 + i * 13) as u8, |&b| b)))
            .collect()
    };
    let value = |i: usize| (i % 97) as f32 / 97.0 - 0.5;
    match format {
        Format::F32 => PackedMatrix::from_f32(&(0..outputs * inputs).map(value).collect::<Vec<_>>(), outputs, inputs),
        Format::F16 => {
            let bits: Vec<u16> = (0..outputs * inputs).map(|i| half::f16::from_f32(value(i)).to_bits()).collect();
            PackedMatrix::from_f16_bits(&bits, outputs, inputs)
        }
        Format::Q8_0 => PackedMatrix::from_blocks(format, &blocks_of(34), outputs, inputs).expect("right length"),
        Format::Q4_0 => PackedMatrix::from_blocks(format, &blocks_of(18), outputs, inputs).expect("right length"),
        _ => PackedMatrix::from_blocks(Format::Q4_1, &blocks_of(20), outputs, inputs).expect("right length"),
    }
}

/// The median and best seconds of one call.
fn seconds(mut call: impl FnMut()) -> (f64, f64) {
    call();
    let begin = Instant::now();
    let mut times = Vec::new();
    while times.len() < 5 || (begin.elapsed().as_secs_f64() < 0.4 && times.len() < 5000) {
        let start = Instant::now();
        call();
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    (times[times.len() / 2], times[0])
}

fn main() {
    let only = std::env::args().nth(1);
    println!("{} threads; median (best)", rayon::current_num_threads());
    for format in FORMATS.into_iter().filter(|format| only.as_ref().is_none_or(|only| *only == format!("{format:?}"))) {
        for (outputs, inputs) in SHAPES {
            let weights = matrix(format, outputs, inputs);
            for rows in [1usize, 4, 16, 64, 512] {
                let x: Vec<f32> = (0..rows * inputs).map(|i| ((i * 31) % 101) as f32 / 101.0 - 0.5).collect();
                let mut y = vec![0.0; rows * outputs];
                let (median, best) = seconds(|| weights.product(&x, rows, inputs, &mut y, outputs));
                let speed = |seconds: f64| {
                    if rows == 1 {
                        format!("{:6.1} GB/s", weights.bytes() as f64 / seconds / 1e9)
                    } else {
                        format!("{:6.1} Gop/s", 2.0 * (rows * outputs * inputs) as f64 / seconds / 1e9)
                    }
                };
                println!("{weights:?} x {rows:3}: {:9.1} us  {} ({})", median * 1e6, speed(median), speed(best));
            }
        }
    }
}
