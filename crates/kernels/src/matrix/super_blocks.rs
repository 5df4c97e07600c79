//! The K blocks of GGUF: 256 inputs in groups of 16 or 32, whose small integer scales share the half-precision scales of
//! the block.
//!
//! | format | fields in bytes | group | weight |
//! |---|---|---|---|
//! | Q3_K | `high` 32, `low` 64, `scales` 12, `d` 2 | 16 | `d·(s - 32) · (q - 4)`, `q` of 2 + 1 bits |
//! | Q4_K | `d` 2, `dmin` 2, `scales` 12, `codes` 128 | 32 | `d·s · q - dmin·m` |
//! | Q5_K | `d` 2, `dmin` 2, `scales` 12, `high` 32, `codes` 128 | 32 | as Q4_K, `q` of 4 + 1 bits |
//! | Q6_K | `low` 128, `high` 64, `scales` 16 signed, `d` 2 | 16 | `d·s · (q - 32)`, `q` of 4 + 2 bits |
//!
//! Bits are interleaved so that a byte serves inputs that are 32 apart: input `i` has its nibble in byte
//! `32 (i / 64) + i % 32` (Q6_K: `64 (i / 128) + i % 64`), its two bits in byte `32 (i / 128) + i % 32` and its one bit in byte
//! `i % 32`.

use half::f16;

use super::Format;
use super::blocks::BLOCK;

/// Inputs of a K block.
pub(super) const SUPER_BLOCK: usize = 256;

/// The codes of inputs `32 group..32 group + 32`.
pub(super) fn codes(format: Format, block: &[u8], group: usize) -> [u8; BLOCK] {
    std::array::from_fn(|j| {
        let i = group * BLOCK + j;
        let nibble = |codes: &[u8]| (codes[32 * (i / 64) + i % 32] >> (4 * (i / 32 % 2))) & 0x0F;
        let two_bits = |codes: &[u8]| (codes[32 * (i / 128) + i % 32] >> (2 * (i / 32 % 4))) & 0x03;
        let one_bit = |codes: &[u8]| (codes[i % 32] >> (i / 32)) & 1;
        match format {
            Format::Q3K => two_bits(&block[32..96]) | one_bit(&block[..32]) << 2,
            Format::Q5K => nibble(&block[48..176]) | one_bit(&block[16..48]) << 4,
            Format::Q6K => {
                let low = block[64 * (i / 128) + i % 64] >> (4 * (i / 64 % 2)) & 0x0F;
                low | two_bits(&block[128..192]) << 4
            }
            _ => nibble(&block[16..144]),
        }
    })
}

/// The scales of the two halves of a group of 32.
pub(super) fn scales(format: Format, block: &[u8], group: usize) -> [f32; 2] {
    match format {
        Format::Q3K => [0, 1].map(|half| {
            let (g, scales) = (2 * group + half, &block[96..108]);
            let low = scales[g % 8] >> (4 * (g / 8)) & 0x0F;
            let high = scales[8 + g % 4] >> (2 * (g / 4)) & 0x03;
            half_at(block, 108) * f32::from((low | high << 4) as i8 - 32)
        }),
        Format::Q6K => [0, 1].map(|half| half_at(block, 208) * f32::from(block[192 + 2 * group + half] as i8)),
        _ => [half_at(block, 0) * f32::from(six_bits(&block[4..16], group).0); 2],
    }
}

/// What is added to all weights of a group of 32, in the formats that have it.
pub(super) fn minimum(block: &[u8], group: usize) -> f32 {
    -(half_at(block, 2) * f32::from(six_bits(&block[4..16], group).1))
}

/// The scale and the minimum of a group of Q4_K and Q5_K: groups 0–3 have theirs in the low 6 bits of bytes `g` and `g + 4`;
/// groups 4–7 have four low bits in the halves of byte `g + 4` and two high bits on top of bytes `g - 4` and `g`.
fn six_bits(scales: &[u8], group: usize) -> (u8, u8) {
    if group < 4 {
        return (scales[group] & 0x3F, scales[group + 4] & 0x3F);
    }
    let halves = scales[group + 4];
    (halves & 0x0F | scales[group - 4] >> 6 << 4, halves >> 4 | scales[group] >> 6 << 4)
}

fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}
