//! Sixteen lanes in portable Rust; the definition that the others are tested against.

use super::{LANES, Level, Simd, check};

/// Portable lanes.
#[derive(Clone, Copy, Debug)]
pub struct Scalar;

#[inline(always)]
fn map(a: [f32; LANES], f: impl Fn(f32) -> f32) -> [f32; LANES] {
    std::array::from_fn(|i| f(a[i]))
}

#[inline(always)]
fn zip(a: [f32; LANES], b: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> [f32; LANES] {
    std::array::from_fn(|i| f(a[i], b[i]))
}

/// `a · b + c`: fused where the target has the instruction, since the software version is a hundred times slower.
#[inline(always)]
fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(any(target_arch = "aarch64", target_feature = "fma")) { a.mul_add(b, c) } else { a * b + c }
}

impl Simd for Scalar {
    type F = [f32; LANES];
    type I = [i32; LANES];
    type B = [u8; 4 * LANES];
    const LEVEL: Level = Level::Scalar;

    #[inline(always)]
    fn splat(self, value: f32) -> Self::F {
        [value; LANES]
    }
    #[inline(always)]
    fn from_array(self, values: [f32; LANES]) -> Self::F {
        values
    }
    #[inline(always)]
    fn to_array(self, a: Self::F) -> [f32; LANES] {
        a
    }
    #[inline(always)]
    unsafe fn load(self, source: &[f32], at: usize) -> Self::F {
        check(at, LANES, source.len());
        // SAFETY: the caller keeps the range inside `source`.
        unsafe { source.as_ptr().add(at).cast::<Self::F>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(self, target: &mut [f32], at: usize, a: Self::F) {
        check(at, LANES, target.len());
        // SAFETY: the caller keeps the range inside `target`.
        unsafe { target.as_mut_ptr().add(at).cast::<Self::F>().write_unaligned(a) }
    }
    #[inline(always)]
    unsafe fn load_f16(self, source: &[u16], at: usize) -> Self::F {
        check(at, LANES, source.len());
        // SAFETY: the caller keeps the range inside `source`.
        std::array::from_fn(|i| half::f16::from_bits(unsafe { *source.get_unchecked(at + i) }).to_f32())
    }
    #[inline(always)]
    unsafe fn store_f16(self, target: &mut [u16], at: usize, a: Self::F) {
        check(at, LANES, target.len());
        for (i, value) in a.into_iter().enumerate() {
            // SAFETY: the caller keeps the range inside `target`.
            unsafe { *target.get_unchecked_mut(at + i) = half::f16::from_f32(value).to_bits() };
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(self, source: &[u16], at: usize) -> Self::F {
        check(at, LANES, source.len());
        // SAFETY: the caller keeps the range inside `source`.
        std::array::from_fn(|i| f32::from_bits(u32::from(unsafe { *source.get_unchecked(at + i) }) << 16))
    }
    #[inline(always)]
    unsafe fn load_i8(self, source: &[i8], at: usize) -> Self::F {
        check(at, LANES, source.len());
        // SAFETY: the caller keeps the range inside `source`.
        std::array::from_fn(|i| f32::from(unsafe { *source.get_unchecked(at + i) }))
    }
    #[inline(always)]
    unsafe fn load_u8(self, source: &[u8], at: usize) -> Self::F {
        check(at, LANES, source.len());
        // SAFETY: the caller keeps the range inside `source`.
        std::array::from_fn(|i| f32::from(unsafe { *source.get_unchecked(at + i) }))
    }
    #[inline(always)]
    unsafe fn load_u4(self, source: &[u8], at: usize) -> Self::F {
        check(at, LANES / 2, source.len());
        // SAFETY: the caller keeps the range inside `source`.
        std::array::from_fn(|i| f32::from(unsafe { *source.get_unchecked(at + i / 2) } >> (i % 2 * 4) & 15))
    }
    #[inline(always)]
    unsafe fn load_u2(self, source: &[u8], at: usize) -> Self::F {
        check(at, LANES / 4, source.len());
        // SAFETY: the caller keeps the range inside `source`.
        std::array::from_fn(|i| f32::from(unsafe { *source.get_unchecked(at + i / 4) } >> (i % 4 * 2) & 3))
    }
    #[inline(always)]
    unsafe fn lookup_u4(self, source: &[u8], at: usize, table: Self::F) -> Self::F {
        check(at, LANES / 2, source.len());
        // SAFETY: the caller keeps the range inside `source`.
        std::array::from_fn(|i| table[usize::from(unsafe { *source.get_unchecked(at + i / 2) } >> (i % 2 * 4) & 15)])
    }
    #[inline(always)]
    unsafe fn lookup_u2(self, source: &[u8], at: usize, table: Self::F) -> Self::F {
        check(at, LANES / 4, source.len());
        // SAFETY: the caller keeps the range inside `source`.
        std::array::from_fn(|i| table[usize::from(unsafe { *source.get_unchecked(at + i / 4) } >> (i % 4 * 2) & 3)])
    }
    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a * b)
    }
    #[inline(always)]
    fn div(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a / b)
    }
    #[inline(always)]
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        std::array::from_fn(|i| multiply_add(a[i], b[i], c[i]))
    }
    #[inline(always)]
    fn sqrt(self, a: Self::F) -> Self::F {
        map(a, f32::sqrt)
    }
    #[inline(always)]
    fn max(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn min(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn abs(self, a: Self::F) -> Self::F {
        map(a, f32::abs)
    }
    #[inline(always)]
    fn round(self, a: Self::F) -> Self::F {
        map(a, f32::round_ties_even)
    }
    #[inline(always)]
    fn exp2_whole(self, n: Self::F) -> Self::F {
        map(n, |n| f32::from_bits(((n as i32).wrapping_add(127) as u32) << 23))
    }
    #[inline(always)]
    fn select_less(self, a: Self::F, b: Self::F, then: Self::F, otherwise: Self::F) -> Self::F {
        std::array::from_fn(|i| if a[i] < b[i] { then[i] } else { otherwise[i] })
    }
    #[inline(always)]
    unsafe fn store_i8(self, target: &mut [i8], at: usize, a: Self::F) {
        check(at, LANES, target.len());
        for (i, value) in a.into_iter().enumerate() {
            // SAFETY: the caller keeps the range inside `target`.
            unsafe { *target.get_unchecked_mut(at + i) = value.round_ties_even() as i8 };
        }
    }
    #[inline(always)]
    unsafe fn load_bytes(self, source: &[u8], at: usize) -> Self::B {
        check(at, 4 * LANES, source.len());
        // SAFETY: the caller keeps the range inside `source`.
        unsafe { source.as_ptr().add(at).cast::<Self::B>().read_unaligned() }
    }
    #[inline(always)]
    fn low_nibbles(self, a: Self::B) -> Self::B {
        a.map(|byte| byte & 0x0F)
    }
    #[inline(always)]
    fn high_nibbles(self, a: Self::B) -> Self::B {
        a.map(|byte| byte >> 4)
    }
    #[inline(always)]
    fn splat_i32(self, value: i32) -> Self::I {
        [value; LANES]
    }
    #[inline(always)]
    fn from_i32_array(self, values: [i32; LANES]) -> Self::I {
        values
    }
    #[inline(always)]
    fn add_i32(self, a: Self::I, b: Self::I) -> Self::I {
        std::array::from_fn(|lane| a[lane].wrapping_add(b[lane]))
    }
    #[inline(always)]
    fn xor(self, a: Self::I, b: Self::I) -> Self::I {
        std::array::from_fn(|lane| a[lane] ^ b[lane])
    }
    #[inline(always)]
    fn rotate_left(self, a: Self::I, bits: i32) -> Self::I {
        a.map(|lane| lane.rotate_left(bits as u32))
    }
    #[inline(always)]
    fn shift_right(self, a: Self::I, bits: i32) -> Self::I {
        a.map(|lane| (lane as u32 >> bits) as i32)
    }
    #[inline(always)]
    fn to_float(self, a: Self::I) -> Self::F {
        a.map(|value| value as f32)
    }
    #[inline(always)]
    fn append_byte(self, a: Self::I, b: Self::I) -> Self::I {
        std::array::from_fn(|lane| a[lane].wrapping_shl(8).wrapping_add(b[lane]))
    }
    #[inline(always)]
    fn dot_u8i8(self, sums: Self::I, bytes: Self::B, codes: i32) -> Self::I {
        let codes = codes.to_le_bytes().map(|code| i32::from(code as i8));
        std::array::from_fn(|lane| (0..4).fold(sums[lane], |sum, j| sum + i32::from(bytes[4 * lane + j]) * codes[j]))
    }
    #[inline(always)]
    fn sum(self, a: Self::F) -> f32 {
        let eight: [f32; 8] = std::array::from_fn(|i| a[i] + a[i + 8]);
        let four: [f32; 4] = std::array::from_fn(|i| eight[i] + eight[i + 4]);
        (four[0] + four[2]) + (four[1] + four[3])
    }
    #[inline(always)]
    fn largest(self, a: Self::F) -> f32 {
        a.into_iter().fold(f32::NEG_INFINITY, |largest, value| if value > largest { value } else { largest })
    }
}
