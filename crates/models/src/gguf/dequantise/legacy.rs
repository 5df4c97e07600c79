//! Blocks of 32 elements `y` with one scale `d` and, in the `_1` types, one minimum `m`; both `f16`.
//!
//! The 16 bytes `qs` hold 4 bits of each element: byte `i` has element `i` in its low half and element `i + 16` in its
//! high half. In the 5-bit types, bit `i` of the little-endian `u32` `qh` is the fifth bit of element `i`.
//!
//! | type | layout in bytes | formula |
//! |---|---|---|
//! | Q4_0 | `d` 2, `qs` 16 | `y = d · (q - 8)` |
//! | Q4_1 | `d` 2, `m` 2, `qs` 16 | `y = d · q + m` |
//! | Q5_0 | `d` 2, `qh` 4, `qs` 16 | `y = d · (q - 16)` |
//! | Q5_1 | `d` 2, `m` 2, `qh` 4, `qs` 16 | `y = d · q + m` |
//! | Q8_0 | `d` 2, `qs` 32 signed | `y = d · q` |

use super::f16_at;

pub(super) fn q4_0(block: &[u8; 18], out: &mut [f32; 32]) {
    let d = f16_at(block, 0);
    for (i, y) in out.iter_mut().enumerate() {
        *y = d * f32::from(four_bits(&block[2..], i) as i8 - 8);
    }
}

pub(super) fn q4_1(block: &[u8; 20], out: &mut [f32; 32]) {
    let (d, m) = (f16_at(block, 0), f16_at(block, 2));
    for (i, y) in out.iter_mut().enumerate() {
        *y = d * f32::from(four_bits(&block[4..], i)) + m;
    }
}

pub(super) fn q5_0(block: &[u8; 22], out: &mut [f32; 32]) {
    let d = f16_at(block, 0);
    for (i, y) in out.iter_mut().enumerate() {
        let q = four_bits(&block[6..], i) | fifth_bit(&block[2..6], i);
        *y = d * f32::from(q as i8 - 16);
    }
}

pub(super) fn q5_1(block: &[u8; 24], out: &mut [f32; 32]) {
    let (d, m) = (f16_at(block, 0), f16_at(block, 2));
    for (i, y) in out.iter_mut().enumerate() {
        let q = four_bits(&block[8..], i) | fifth_bit(&block[4..8], i);
        *y = d * f32::from(q) + m;
    }
}

pub(super) fn q8_0(block: &[u8; 34], out: &mut [f32; 32]) {
    let d = f16_at(block, 0);
    for (y, q) in out.iter_mut().zip(&block[2..]) {
        *y = d * f32::from(*q as i8);
    }
}

/// The low four bits of element `i`.
fn four_bits(qs: &[u8], i: usize) -> u8 {
    (qs[i % 16] >> (4 * (i / 16))) & 0x0F
}

/// The fifth bit of element `i`, in its place.
fn fifth_bit(qh: &[u8], i: usize) -> u8 {
    ((qh[i / 8] >> (i % 8)) & 1) << 4
}
