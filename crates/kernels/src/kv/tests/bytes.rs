//! The memory that a store reports, against the definitions of the formats.

use super::*;

/// The bytes of `slots` appended pairs, from the definitions of the formats.
fn defined_bytes(codec: Codec, slots: usize, head_dim: usize, value_dim: usize) -> StoreBytes {
    let pages = slots.div_ceil(PAGE);
    let groups = |channels: usize| channels.div_ceil(32);
    let bits = match codec {
        Codec::F32 => 32,
        Codec::F16 | Codec::Bf16 => 16,
        Codec::Int8 => 8,
        Codec::Int4 | Codec::Kivi4 => 4,
        Codec::Kivi2 => 2,
    };
    // A value's codes fill whole bytes; a key's are spread over the rows of its page.
    let coded =
        |slots: usize, bits: usize| (slots * head_dim * bits).div_ceil(8) + slots * (value_dim * bits).div_ceil(8);
    let scales = match codec {
        Codec::F32 | Codec::F16 | Codec::Bf16 => 0,
        Codec::Int8 => 8,
        Codec::Int4 => 4 * (groups(head_dim) + groups(value_dim)),
        Codec::Kivi4 | Codec::Kivi2 => 0,
    };
    let positions = 4 * slots;
    if pairwise(codec) {
        let (pairs, scales_used) = (coded(slots, bits), scales * slots);
        let allocated = coded(pages * PAGE, bits) + scales * pages * PAGE;
        return StoreBytes {
            pairs,
            scales: scales_used,
            positions,
            statistics: 0,
            states: 0,
            waste: allocated - pairs - scales_used,
        };
    }
    let settled = slots.saturating_sub(128) / PAGE * PAGE;
    StoreBytes {
        pairs: coded(settled, bits) + coded(slots - settled, 16),
        scales: settled / PAGE * head_dim * 4 + settled * groups(value_dim) * 4,
        positions,
        statistics: 0,
        states: 0,
        waste: coded(pages * PAGE - slots, 16),
    }
}

#[test]
fn bytes_are_exact() {
    for codec in Codec::ALL {
        for (head_dim, value_dim) in [(64, 64), (40, 24), (80, 33)] {
            let pairs = draw(400, head_dim, value_dim);
            for slots in [1, 31, 32, 33, 128, 159, 160, 161, 200, 224, 399, 400] {
                let store = store(codec, &pairs[..slots]);
                let defined = defined_bytes(codec, slots, head_dim, value_dim);
                assert_eq!(store.bytes(), defined, "{codec} {slots} {head_dim} {value_dim}");
            }
        }
    }
}

#[test]
fn a_further_pair_costs_pair_bytes_in_the_long_run() {
    let pairs = draw(4096, 64, 64);
    for codec in Codec::ALL {
        let (half, whole) = (store(codec, &pairs[..2048]), store(codec, &pairs));
        let per_pair = (whole.bytes().coded() - half.bytes().coded()) as f64 / 2048.0;
        assert_eq!(per_pair, codec.pair_bytes(64, 64) as f64, "{codec}");
    }
    let bits = store(Codec::Kivi2, &pairs).bytes().coded() as f64 * 8.0 / (4096.0 * 128.0);
    // 3 bits, and 13 more for the 128 pairs of the window.
    assert_eq!(bits, 3.0 + 13.0 * 128.0 / 4096.0);
}
