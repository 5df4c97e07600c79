//! What kernels allocate per call, on one thread and after a first call: working memory is kept from call to call, so the
//! counts are small and do not grow with the work.

use allocation_counter::{AllocationInfo, measure};
use headwise_kernels::attention::{AttnSpec, Rows, RowsMut, SPLIT, Segment, Shape, StatsOut, attend};
use headwise_kernels::kv::{Codec, KeyValues};
use headwise_kernels::matrix::{Format, PackedMatrix};
use headwise_kernels::rope::{HeadLayout, Rope};
use headwise_kernels::{activation, norm, softmax};

/// Allocations of the second call of `call`.
fn allocations(mut call: impl FnMut() + Send) -> AllocationInfo {
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    one.install(|| {
        call();
        measure(call)
    })
}

#[track_caller]
fn assert_none(what: &str, call: impl FnMut() + Send) {
    let found = allocations(call);
    assert_eq!((found.count_total, found.bytes_total), (0, 0), "{what} allocates");
}

#[test]
fn element_wise_kernels_and_norms_allocate_nothing() {
    let (x, weight) = (vec![0.5f32; 100 * 576], vec![1.0f32; 576]);
    let mut y = x.clone();
    let mut residual = x.clone();
    assert_none("softmax", || softmax::softmax(&x, 576, &mut y));
    assert_none("gelu", || activation::gelu(&x, &mut y));
    assert_none("swiglu", || activation::swiglu(&x, &x, &mut y));
    assert_none("rms_norm", || norm::rms_norm(&x, &weight, 1e-5, &mut y));
    assert_none("layer_norm", || norm::layer_norm(&x, &weight, Some(&weight), 1e-5, &mut y));
    assert_none("add_rms_norm", || norm::add_rms_norm(&x, &x, &weight, 1e-5, &mut residual, &mut y));
}

#[test]
fn rotation_allocates_one_angle_table_per_part() {
    let rope = Rope::new(vec![0.1f32; 32], 1.0, false);
    for (rows, parts) in [(1, 1), (100, 2)] {
        let positions: Vec<i32> = (0..rows).collect();
        let mut x = vec![0.5; rows as usize * 576];
        let layout = HeadLayout { row_stride: 576, heads: 9, head_dim: 64 };
        let found = allocations(|| rope.rotate(&mut x, layout, &positions));
        assert!(found.count_total <= parts, "{rows} rows: {found:?}");
    }
}

#[test]
fn products_allocate_as_much_for_any_number_of_outputs() {
    let x = vec![0.5f32; 12 * 512];
    for format in [Format::Q4_1, Format::Q8_0, Format::Q6K, Format::F16] {
        for rows in [1, 12] {
            let [few, many] = [64, 2048].map(|outputs| {
                let matrix = matrix(format, outputs, 512);
                let mut y = vec![0.0; rows * outputs];
                allocations(|| matrix.product(&x, rows, 512, &mut y, outputs))
            });
            assert_eq!(few, many, "{format:?}, {rows} rows");
            // Tiles and their chunks; block formats also round the activations.
            assert!(many.count_total <= 9, "{format:?}, {rows} rows: {many:?}");
            let rounded = rows * 512 * 4;
            assert!(many.bytes_total as usize <= 1024 + rounded, "{format:?}, {rows} rows: {many:?}");
        }
    }
}

fn matrix(format: Format, outputs: usize, inputs: usize) -> PackedMatrix {
    let block = |block, bytes| vec![0u8; outputs * inputs / block * bytes];
    match format {
        Format::F16 => PackedMatrix::from_f16_bits(&vec![0; outputs * inputs], outputs, inputs),
        Format::Q4_1 => PackedMatrix::from_blocks(format, &block(32, 20), outputs, inputs).unwrap(),
        Format::Q8_0 => PackedMatrix::from_blocks(format, &block(32, 34), outputs, inputs).unwrap(),
        _ => PackedMatrix::from_blocks(format, &block(256, 210), outputs, inputs).unwrap(),
    }
}

/// Allocations of attention from one row of nine heads to `slots` slots.
fn decode(codec: Codec, slots: usize) -> AllocationInfo {
    let shape = Shape { heads: 9, kv_heads: 3, head_dim: 64, value_dim: 64 };
    let mut pairs = KeyValues::new(codec, 64, 64);
    (0..slots).for_each(|slot| pairs.append(&[0.5; 64], &[0.25; 64], slot as i32));
    let caches = vec![pairs; 3];
    let (query, mut out, mut stats) = (vec![0.5; 9 * 64], vec![0.0; 9 * 64], StatsOut::default());
    let spec = AttnSpec::causal(64);
    allocations(|| {
        let (query, out) = (Rows { data: &query, stride: 9 * 64 }, RowsMut { data: &mut out, stride: 9 * 64 });
        attend(&spec, shape, query, &[Segment { rows: 0..1, heads: &caches }], out, &mut stats);
    })
}

#[test]
fn decode_attention_allocates_a_plan_whose_size_depends_on_splits_only() {
    for codec in [Codec::F32, Codec::F16, Codec::Int8, Codec::Int4] {
        let [short, one_split, four] = [10, SPLIT, 4 * SPLIT].map(|slots| decode(codec, slots));
        assert_eq!(short, one_split, "{codec}");
        for (splits, found) in [(1, short), (4, four)] {
            // Two lists for each unit (a split of a key/value head), one for each head, and those of the plan.
            assert!(found.count_total <= 3 * (2 * splits + 1) + 8, "{codec}, {splits} splits: {found:?}");
            // A record of 64 + 16 numbers for each of nine heads and each split, and the plan.
            assert!(found.bytes_total <= splits * 9 * 80 * 4 + 4096, "{codec}, {splits} splits: {found:?}");
        }
        // A last block that is not full is decoded, which takes lists of its own.
        let [longer, shorter] = [40, 100].map(|missing| decode(codec, 4 * SPLIT - missing));
        assert_eq!(longer, shorter, "{codec}");
        assert!(longer.count_total <= 3 * (2 * 4 + 1) + 8, "{codec}: {longer:?}");
    }
}
