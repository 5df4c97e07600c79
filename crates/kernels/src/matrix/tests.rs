//! Products against their f64 definition, and the promises of the packed layout.

use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

const BLOCK_FORMATS: [Format; 5] = [Format::Q8_0, Format::Q4_0, Format::Q4_1, Format::Q5_0, Format::Q5_1];
/// Blocks of 256 inputs. That their rows are what the format says is tested beside the reader of GGUF, on golden values.
const K_FORMATS: [Format; 4] = [Format::Q3K, Format::Q4K, Format::Q5K, Format::Q6K];
const FLOAT_FORMATS: [Format; 3] = [Format::F32, Format::F16, Format::Bf16];

/// A random matrix and its weights as numbers, decoded here independently of the packing.
fn random(format: Format, outputs: usize, inputs: usize, seed: u64) -> (PackedMatrix, Vec<f64>) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let count = outputs * inputs;
    let numbers: Vec<f32> = (0..count).map(|_| random.random_range(-1.0..1.0)).collect();
    match format {
        Format::F32 => {
            (PackedMatrix::from_f32(&numbers, outputs, inputs), numbers.iter().map(|&w| f64::from(w)).collect())
        }
        Format::F16 => {
            let bits: Vec<u16> = numbers.iter().map(|&w| half::f16::from_f32(w).to_bits()).collect();
            let exact = bits.iter().map(|&bits| half::f16::from_bits(bits).to_f64()).collect();
            (PackedMatrix::from_f16_bits(&bits, outputs, inputs), exact)
        }
        Format::Bf16 => {
            let bits: Vec<u16> = numbers.iter().map(|&w| half::bf16::from_f32(w).to_bits()).collect();
            let exact = bits.iter().map(|&bits| half::bf16::from_bits(bits).to_f64()).collect();
            (PackedMatrix::from_bf16_bits(&bits, outputs, inputs), exact)
        }
        format if K_FORMATS.contains(&format) => {
            let layout = blocks::Layout::of(format).unwrap();
            let mut bytes = vec![0; count / layout.inputs * layout.bytes];
            random.fill(&mut bytes[..]);
            let (d, minimum) =
                if matches!(format, Format::Q4K | Format::Q5K) { (0, Some(2)) } else { (layout.bytes - 2, None) };
            for block in bytes.chunks_exact_mut(layout.bytes) {
                for at in [Some(d), minimum].into_iter().flatten() {
                    let scale = half::f16::from_f32(random.random_range(-0.002..0.002));
                    block[at..at + 2].copy_from_slice(&scale.to_le_bytes());
                }
            }
            let matrix = PackedMatrix::from_blocks(format, &bytes, outputs, inputs).unwrap();
            let mut rows = vec![0.0; count];
            rows.chunks_exact_mut(inputs).enumerate().for_each(|(o, row)| matrix.row(o, row));
            (matrix, rows.into_iter().map(f64::from).collect())
        }
        _ => {
            let mut bytes = Vec::new();
            let mut exact = Vec::new();
            for _ in 0..count / 32 {
                let scale = half::f16::from_f32(random.random_range(-0.1..0.1));
                let minimum = half::f16::from_f32(random.random_range(-1.0..1.0));
                let (block, values) = block(format, scale, minimum, &mut random);
                bytes.extend(block);
                exact.extend(values);
            }
            (PackedMatrix::from_blocks(format, &bytes, outputs, inputs).unwrap(), exact)
        }
    }
}

/// One block as GGUF stores it, and its 32 numbers.
fn block(format: Format, scale: half::f16, minimum: half::f16, random: &mut ChaCha8Rng) -> (Vec<u8>, Vec<f64>) {
    let bits = match format {
        Format::Q8_0 => 8,
        Format::Q5_0 | Format::Q5_1 => 5,
        _ => 4,
    };
    let codes: Vec<u32> = (0..32).map(|_| random.random_range(0..1u32 << bits)).collect();
    let mut bytes = scale.to_bits().to_le_bytes().to_vec();
    if matches!(format, Format::Q4_1 | Format::Q5_1) {
        bytes.extend(minimum.to_bits().to_le_bytes());
    }
    if bits == 8 {
        bytes.extend(codes.iter().map(|&code| (code as i32 - 128) as i8 as u8));
    } else {
        if bits == 5 {
            let fifth = codes.iter().enumerate().fold(0u32, |word, (i, code)| word | ((code >> 4) << i));
            bytes.extend(fifth.to_le_bytes());
        }
        bytes.extend((0..16).map(|i| ((codes[i] & 15) | ((codes[i + 16] & 15) << 4)) as u8));
    }
    let value = |code: u32| match format {
        Format::Q8_0 => scale.to_f64() * (f64::from(code) - 128.0),
        Format::Q5_0 => scale.to_f64() * (f64::from(code) - 16.0),
        Format::Q4_0 => scale.to_f64() * (f64::from(code) - 8.0),
        _ => scale.to_f64() * f64::from(code) + minimum.to_f64(),
    };
    (bytes, codes.into_iter().map(value).collect())
}

/// Numbers in ±3 with a few outliers.
fn activations(count: usize, seed: u64) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed ^ 0xAC71);
    let outlier = |x: f32, one_in: f32| if one_in < 0.01 { 30.0 * x } else { x };
    (0..count).map(|_| outlier(random.random_range(-3.0..3.0), random.random_range(0.0..1.0))).collect()
}

/// Checks every element against the definition: within rounding for floats, plus half a step of the activations' codes
/// for blocks. A step is a 127th of the block's largest magnitude, and a 256th of that where an outlier stands out.
fn check_product(format: Format, outputs: usize, inputs: usize, rows: usize, seed: u64) {
    let (matrix, weights) = random(format, outputs, inputs, seed);
    let (x_stride, y_stride) = (inputs + 3, outputs + 2);
    let x = activations(rows * x_stride, seed);
    let bias = activations(outputs, seed + 1);
    for level in Level::available() {
        let mut y = vec![7.0; rows * y_stride];
        matrix.product_at(level, &x, rows, x_stride, Some(&bias), &mut y, y_stride);
        for r in 0..rows {
            let x = &x[r * x_stride..][..inputs];
            for o in 0..outputs {
                let w = &weights[o * inputs..][..inputs];
                let exact: f64 = x.iter().zip(w).map(|(&x, w)| f64::from(x) * w).sum::<f64>() + f64::from(bias[o]);
                let size: f64 = x.iter().zip(w).map(|(&x, w)| (f64::from(x) * w).abs()).sum::<f64>() + 1.0;
                let mut bound = 1e-5 * size;
                if !FLOAT_FORMATS.contains(&format) {
                    let limit = 4.0 * (x.iter().map(|x| f64::from(x * x)).sum::<f64>() / inputs as f64).sqrt();
                    for (x, w) in x.chunks(32).zip(w.chunks(32)) {
                        let largest = x.iter().fold(0f32, |largest, x| largest.max(x.abs()));
                        let fine = f64::from(largest) > 1.0001 * limit;
                        let step = f64::from(largest) / if fine { 127.0 * 256.0 } else { 127.0 };
                        bound += 0.5001 * step * w.iter().map(|w| w.abs()).sum::<f64>();
                    }
                }
                let found = f64::from(y[r * y_stride + o]);
                assert!(
                    (found - exact).abs() <= bound,
                    "{level:?} {matrix:?} row {r} output {o}: {found} for {exact} ± {bound}"
                );
            }
            assert_eq!(y[r * y_stride + outputs..][..2], [7.0; 2], "{level:?} writes between the rows");
        }
    }
}

#[test]
fn products_are_their_definition_on_awkward_shapes() {
    for format in FLOAT_FORMATS.into_iter().chain(BLOCK_FORMATS) {
        for (outputs, inputs, rows) in [(1, 32, 1), (16, 64, 2), (17, 96, 3), (130, 32, 7), (33, 576, 13), (70, 64, 31)]
        {
            check_product(format, outputs, inputs, rows, 11);
        }
    }
    for format in K_FORMATS {
        for (outputs, inputs, rows) in [(1, 256, 1), (17, 256, 2), (33, 768, 13), (70, 512, 31)] {
            check_product(format, outputs, inputs, rows, 13);
        }
    }
    for format in FLOAT_FORMATS {
        for (outputs, inputs, rows) in [(1, 1, 1), (5, 3, 1), (100, 7, 5), (64, 33, 24)] {
            check_product(format, outputs, inputs, rows, 12);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn products_are_their_definition(outputs in 1usize..90, blocks in 1usize..5, rows in 1usize..30, seed: u64) {
        for format in FLOAT_FORMATS.into_iter().chain(BLOCK_FORMATS) {
            check_product(format, outputs, blocks * 32, rows, seed);
        }
    }
}

/// The quantised products of random data are right to well below the worst case: an error in one code would show.
#[test]
fn quantised_products_equal_exact_arithmetic_on_their_codes() {
    for format in BLOCK_FORMATS.into_iter().chain(K_FORMATS) {
        let (outputs, inputs) = (40, 256);
        let (matrix, weights) = random(format, outputs, inputs, 5);
        // Activations that are whole numbers with a largest magnitude of 127 round to themselves.
        let mut random = ChaCha8Rng::seed_from_u64(9);
        let mut x: Vec<f32> = (0..inputs).map(|_| random.random_range(-127i32..=127) as f32).collect();
        x.iter_mut().step_by(32).for_each(|x| *x = 127.0);
        let mut y = vec![0.0; outputs];
        for level in Level::available() {
            matrix.product_at(level, &x, 1, inputs, None, &mut y, outputs);
            for (o, y) in y.iter().enumerate() {
                let w = &weights[o * inputs..][..inputs];
                let exact: f64 = x.iter().zip(w).map(|(&x, w)| f64::from(x) * w).sum();
                let size: f64 = x.iter().zip(w).map(|(&x, w)| (f64::from(x) * w).abs()).sum();
                assert!((f64::from(*y) - exact).abs() <= 2e-6 * size, "{level:?} {matrix:?} output {o}: {y} {exact}");
            }
        }
    }
}

#[test]
fn rows_are_the_dequantised_weights() {
    for format in FLOAT_FORMATS.into_iter().chain(BLOCK_FORMATS) {
        let (outputs, inputs) = (37, 96);
        let (matrix, weights) = random(format, outputs, inputs, 3);
        let mut row = vec![0.0; inputs];
        for o in 0..outputs {
            matrix.row(o, &mut row);
            for (i, (found, exact)) in row.iter().zip(&weights[o * inputs..]).enumerate() {
                assert!((f64::from(*found) - exact).abs() <= 2e-7, "{matrix:?} [{o}, {i}]: {found} {exact}");
            }
        }
    }
}

#[test]
fn a_row_is_bit_identical_among_any_other_rows_and_threads() {
    let threads = |count| rayon::ThreadPoolBuilder::new().num_threads(count).build().unwrap();
    let (one, two) = (threads(1), threads(2));
    for format in FLOAT_FORMATS.into_iter().chain(BLOCK_FORMATS).chain(K_FORMATS) {
        let (outputs, inputs, most) = (150, if K_FORMATS.contains(&format) { 256 } else { 192 }, 64);
        let (matrix, _) = random(format, outputs, inputs, 21);
        let x = activations(most * inputs, 22);
        for level in Level::available() {
            let alone: Vec<Vec<f32>> = x
                .chunks(inputs)
                .map(|row| {
                    let mut y = vec![0.0; outputs];
                    matrix.product_at(level, row, 1, inputs, None, &mut y, outputs);
                    y
                })
                .collect();
            for rows in [1, 3, 17, 64] {
                for pool in [&one, &two] {
                    let mut y = vec![0.0; rows * outputs];
                    let x = &x[(most - rows) * inputs..];
                    pool.install(|| matrix.product_at(level, x, rows, inputs, None, &mut y, outputs));
                    for (r, y) in y.chunks(outputs).enumerate() {
                        assert_eq!(y, alone[most - rows + r], "{level:?} {matrix:?} row {r} of {rows}");
                    }
                }
            }
        }
    }
}

#[test]
fn products_cut_into_many_parts_and_chunks_are_complete() {
    // Enough rows for several chunks of cached activations, and enough panels for several parts of each.
    let (outputs, inputs, rows) = (200, 4096, 300);
    for format in [Format::F32, Format::Q8_0] {
        let (matrix, _) = random(format, outputs, inputs, 31);
        let row = activations(inputs, 32);
        let x = row.repeat(rows);
        let mut expected = vec![0.0; outputs];
        matrix.product(&row, 1, inputs, &mut expected, outputs);
        let mut y = vec![f32::NAN; rows * outputs];
        matrix.product(&x, rows, inputs, &mut y, outputs);
        assert!(y.chunks(outputs).all(|row| row == expected), "{matrix:?}");
    }
}

#[test]
fn extreme_activations_stay_in_their_rows() {
    for format in FLOAT_FORMATS.into_iter().chain(BLOCK_FORMATS) {
        let (outputs, inputs) = (20, 64);
        let (matrix, weights) = random(format, outputs, inputs, 41);
        for level in Level::available() {
            let mut x = vec![0.0; 6 * inputs];
            x[inputs] = f32::NAN;
            x[2 * inputs + 40] = f32::INFINITY;
            x[3 * inputs..4 * inputs].fill(1e-42);
            x[4 * inputs..5 * inputs].fill(1e30);
            x[5 * inputs] = 1.0;
            let mut y = vec![0.0; 6 * outputs];
            matrix.product_at(level, &x, 6, inputs, None, &mut y, outputs);
            let rows: Vec<&[f32]> = y.chunks(outputs).collect();
            assert!(rows[0].iter().all(|&y| y == 0.0), "{level:?} {matrix:?}: zeros give zeros");
            assert!(rows[1].iter().all(|y| y.is_nan()), "{level:?} {matrix:?}: NaN gives NaN");
            assert!(rows[2].iter().all(|y| !y.is_finite()), "{level:?} {matrix:?}: infinity is not lost");
            assert!(rows[3].iter().all(|y| y.abs() < 1e-30), "{level:?} {matrix:?}: subnormal numbers give about zero");
            for (o, &y) in rows[4].iter().enumerate() {
                let sum: f64 = weights[o * inputs..][..inputs].iter().sum::<f64>() * 1e30;
                assert!((f64::from(y) - sum).abs() <= 1e26, "{level:?} {matrix:?}: {y} {sum}");
            }
            for (o, &y) in rows[5].iter().enumerate() {
                assert!((f64::from(y) - weights[o * inputs]).abs() <= 1e-5, "{level:?} {matrix:?}: a unit vector");
            }
        }
    }
}

#[test]
fn empty_shapes_are_allowed() {
    let empty = PackedMatrix::from_f32(&[], 0, 5);
    empty.product(&[1.0; 5], 1, 5, &mut [], 0);
    let narrow = PackedMatrix::from_f32(&[], 3, 0);
    let mut y = [9.0; 6];
    narrow.product(&[], 2, 0, &mut y, 3);
    assert_eq!(y, [0.0; 6]);
    let narrow = PackedMatrix::from_blocks(Format::Q4_1, &[], 3, 0).unwrap();
    narrow.product_with_bias(&[], 2, 0, &[1.0, 2.0, 3.0], &mut y, 3);
    assert_eq!(y, [1.0, 2.0, 3.0, 1.0, 2.0, 3.0]);
    assert_eq!((narrow.bytes(), narrow.inputs(), narrow.outputs(), narrow.format()), (0, 0, 3, Format::Q4_1));
}

#[test]
fn bad_blocks_are_errors_that_name_the_numbers() {
    let error = |format, length: usize, outputs, inputs| {
        PackedMatrix::from_blocks(format, &vec![0; length], outputs, inputs).unwrap_err().to_string()
    };
    assert!(error(Format::F16, 0, 1, 32).contains("F16 is not a block format"));
    assert!(error(Format::Q4_0, 18, 1, 33).contains("33 inputs are not a multiple of 32"));
    assert!(error(Format::Q6K, 210, 1, 288).contains("288 inputs are not a multiple of 256"));
    let message = error(Format::Q8_0, 100, 3, 32);
    assert!(message.contains("takes 102 bytes, but 100 were given"), "{message}");
    assert!(error(Format::Q8_0, 0, usize::MAX, usize::MAX & !31).contains("but 0 were given"));
}

#[test]
fn packed_sizes_are_those_of_the_formats() {
    let bits = |format| random(format, 32, 64, 1).0.bytes() * 8 / (32 * 64);
    assert_eq!((bits(Format::F32), bits(Format::F16), bits(Format::Bf16)), (32, 16, 16));
    assert_eq!((bits(Format::Q4_1), random(Format::Q4_0, 32, 64, 1).0.bytes()), (5, 32 * 2 * 18));
    assert_eq!(random(Format::Q8_0, 32, 64, 1).0.bytes(), 32 * 2 * 34);
}

#[test]
fn several_products_at_once_are_each_alone() {
    let (inputs, rows) = (512, 13);
    let x = activations(rows * inputs, 3);
    let formats = [Format::Q4_1, Format::Q4_1, Format::Q4_0, Format::F16, Format::Q6K, Format::Q4_1];
    let matrices: Vec<PackedMatrix> =
        formats.into_iter().enumerate().map(|(i, format)| random(format, 20 + 7 * i, inputs, i as u64).0).collect();
    let mut together: Vec<Vec<f32>> = matrices.iter().map(|matrix| vec![0.0; rows * matrix.outputs()]).collect();
    let mut all: Vec<Product<'_>> = matrices
        .iter()
        .zip(&mut together)
        .map(|(weight, y)| Product { weight, bias: None, y, y_stride: weight.outputs() })
        .collect();
    products(&x, rows, inputs, &mut all);
    for (matrix, together) in matrices.iter().zip(&together) {
        let mut alone = vec![0.0; together.len()];
        matrix.product(&x, rows, inputs, &mut alone, matrix.outputs());
        assert_eq!(&alone, together, "{matrix:?}");
    }
}
