//! K blocks: 256 elements `y` in groups of 16 or 32, each group with a small integer scale (and minimum), which
//! themselves share the `f16` scales `d` (and `dmin`) of the block.
//!
//! Elements are interleaved: a byte holds bits of elements that are 32 apart, so that one SIMD load serves several
//! groups. Below, `i` is an element, `g` its group, `s` and `m` the group's scale and minimum.
//!
//! | type | layout in bytes | group | formula |
//! |---|---|---|---|
//! | Q2_K | `scales` 16, `qs` 64, `d` 2, `dmin` 2 | 16 | `y = d·s · q - dmin·m`, `s` low and `m` high half of `scales[g]` |
//! | Q3_K | `high` 32, `qs` 64, `scales` 12, `d` 2 | 16 | `y = d·(s - 32) · (q - 4)`, `s` of 6 bits, `q` of 2 + 1 |
//! | Q4_K | `d` 2, `dmin` 2, `scales` 12, `qs` 128 | 32 | `y = d·s · q - dmin·m`, `s` and `m` of 6 bits |
//! | Q5_K | `d` 2, `dmin` 2, `scales` 12, `high` 32, `qs` 128 | 32 | as Q4_K, `q` of 4 + 1 bits |
//! | Q6_K | `ql` 128, `qh` 64, `scales` 16 signed, `d` 2 | 16 | `y = d·s · (q - 32)`, `q` of 4 + 2 bits |
//!
//! Where the bits of `q` are:
//! - two bits of Q2_K and Q3_K: byte `32·(i / 128) + i % 32`, shifted by `2·(i / 32 % 4)`;
//! - four bits of Q4_K and Q5_K: byte `32·(i / 64) + i % 32`, shifted by `4·(i / 32 % 2)`;
//! - four low bits of Q6_K: byte `64·(i / 128) + i % 64`, shifted by `4·(i / 64 % 2)`; two high bits as in Q2_K;
//! - the high bit of Q3_K and Q5_K: byte `i % 32`, shifted by `i / 32`.

use super::f16_at;

pub(super) fn q2_k(block: &[u8; 84], out: &mut [f32; 256]) {
    let (scales, qs) = (&block[..16], &block[16..80]);
    let (d, dmin) = (f16_at(block, 80), f16_at(block, 82));
    for (g, group) in out.chunks_exact_mut(16).enumerate() {
        let scale = d * f32::from(scales[g] & 0x0F);
        let minimum = dmin * f32::from(scales[g] >> 4);
        for (j, y) in group.iter_mut().enumerate() {
            *y = scale * f32::from(two_bits(qs, 16 * g + j)) - minimum;
        }
    }
}

pub(super) fn q3_k(block: &[u8; 110], out: &mut [f32; 256]) {
    let (high, qs, scales) = (&block[..32], &block[32..96], &block[96..108]);
    let d = f16_at(block, 108);
    for (g, group) in out.chunks_exact_mut(16).enumerate() {
        // Four low bits in the halves of bytes 0 to 7, two high bits in the quarters of bytes 8 to 11.
        let low_bits = (scales[g % 8] >> (4 * (g / 8))) & 0x0F;
        let high_bits = (scales[8 + g % 4] >> (2 * (g / 4))) & 0x03;
        let scale = d * f32::from((low_bits | (high_bits << 4)) as i8 - 32);
        for (j, y) in group.iter_mut().enumerate() {
            let i = 16 * g + j;
            let q = two_bits(qs, i) | (high_bit(high, i) << 2);
            *y = scale * f32::from(q as i8 - 4);
        }
    }
}

pub(super) fn q4_k(block: &[u8; 144], out: &mut [f32; 256]) {
    let (scales, qs) = (&block[4..16], &block[16..]);
    let (d, dmin) = (f16_at(block, 0), f16_at(block, 2));
    for (g, group) in out.chunks_exact_mut(32).enumerate() {
        let (scale, minimum) = scale_and_minimum(scales, g);
        let (scale, minimum) = (d * f32::from(scale), dmin * f32::from(minimum));
        for (j, y) in group.iter_mut().enumerate() {
            *y = scale * f32::from(four_bits(qs, 32 * g + j)) - minimum;
        }
    }
}

pub(super) fn q5_k(block: &[u8; 176], out: &mut [f32; 256]) {
    let (scales, high, qs) = (&block[4..16], &block[16..48], &block[48..]);
    let (d, dmin) = (f16_at(block, 0), f16_at(block, 2));
    for (g, group) in out.chunks_exact_mut(32).enumerate() {
        let (scale, minimum) = scale_and_minimum(scales, g);
        let (scale, minimum) = (d * f32::from(scale), dmin * f32::from(minimum));
        for (j, y) in group.iter_mut().enumerate() {
            let i = 32 * g + j;
            let q = four_bits(qs, i) | (high_bit(high, i) << 4);
            *y = scale * f32::from(q) - minimum;
        }
    }
}

pub(super) fn q6_k(block: &[u8; 210], out: &mut [f32; 256]) {
    let (low, high, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let d = f16_at(block, 208);
    for (g, group) in out.chunks_exact_mut(16).enumerate() {
        let scale = d * f32::from(scales[g] as i8);
        for (j, y) in group.iter_mut().enumerate() {
            let i = 16 * g + j;
            let low_bits = (low[64 * (i / 128) + i % 64] >> (4 * (i / 64 % 2))) & 0x0F;
            let q = low_bits | (two_bits(high, i) << 4);
            *y = scale * f32::from(q as i8 - 32);
        }
    }
}

/// The two bits of element `i` in 64 bytes.
fn two_bits(qs: &[u8], i: usize) -> u8 {
    (qs[32 * (i / 128) + i % 32] >> (2 * (i / 32 % 4))) & 0x03
}

/// The four bits of element `i` in 128 bytes.
fn four_bits(qs: &[u8], i: usize) -> u8 {
    (qs[32 * (i / 64) + i % 32] >> (4 * (i / 32 % 2))) & 0x0F
}

/// The one bit of element `i` in 32 bytes.
fn high_bit(high: &[u8], i: usize) -> u8 {
    (high[i % 32] >> (i / 32)) & 1
}

/// The scale and the minimum of group `g`, 6 bits each, of the 8 groups of Q4_K and Q5_K.
///
/// Groups 0 to 3 have theirs in the low 6 bits of bytes `g` and `g + 4`. Groups 4 to 7 have their low 4 bits in the
/// halves of byte `g + 4`, and their high 2 bits in what bytes `g - 4` and `g` have left.
fn scale_and_minimum(scales: &[u8], g: usize) -> (u8, u8) {
    if g < 4 {
        return (scales[g] & 0x3F, scales[g + 4] & 0x3F);
    }
    let halves = scales[g + 4];
    ((halves & 0x0F) | ((scales[g - 4] >> 6) << 4), (halves >> 4) | ((scales[g] >> 6) << 4))
}
