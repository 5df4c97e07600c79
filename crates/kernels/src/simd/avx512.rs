//! Sixteen lanes in one AVX-512 register.

use std::arch::x86_64::*;

use super::{Kernel, LANES, Level, Simd, check};

/// AVX-512 lanes; a value exists only inside [`run`].
#[derive(Clone, Copy, Debug)]
pub struct Avx512(());

/// Runs `kernel` compiled for AVX-512.
pub(super) fn run<K: Kernel>(kernel: K) -> K::Output {
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    fn inner<K: Kernel>(kernel: K) -> K::Output {
        kernel.run(Avx512(()))
    }
    assert!(Level::Avx512.is_available(), "this processor has no AVX-512");
    // SAFETY: the processor has the instructions, as just checked.
    unsafe { inner(kernel) }
}

/// Wraps register-only intrinsics, whose one requirement is the instruction set.
macro_rules! lanes {
    ($body:expr) => {
        // SAFETY: `self` exists, so the processor has AVX-512; the intrinsic touches registers only.
        unsafe { $body }
    };
}

/// Sixteen codes of four bits as the lowest bits of integers; the bits above are those of the codes after them.
///
/// # Safety
/// Eight bytes from `at` on must lie inside `source`, and the processor must have AVX-512.
#[inline(always)]
unsafe fn nibbles(source: &[u8], at: usize) -> __m512i {
    check(at, LANES / 2, source.len());
    // SAFETY: the caller's promise.
    unsafe {
        let words = source.as_ptr().add(at).cast::<i32>();
        let low = _mm512_set1_epi32(words.read_unaligned());
        let both = _mm512_mask_set1_epi32(low, 0xFF00, words.add(1).read_unaligned());
        _mm512_srlv_epi32(both, _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 0, 4, 8, 12, 16, 20, 24, 28))
    }
}

/// As [`nibbles`], codes of two bits from four bytes.
///
/// # Safety
/// Four bytes from `at` on must lie inside `source`, and the processor must have AVX-512.
#[inline(always)]
unsafe fn bit_pairs(source: &[u8], at: usize) -> __m512i {
    check(at, LANES / 4, source.len());
    // SAFETY: the caller's promise.
    unsafe {
        let word = _mm512_set1_epi32(source.as_ptr().add(at).cast::<i32>().read_unaligned());
        _mm512_srlv_epi32(word, _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30))
    }
}

impl Simd for Avx512 {
    type F = __m512;
    type I = __m512i;
    type B = __m512i;
    const LEVEL: Level = Level::Avx512;

    #[inline(always)]
    fn splat(self, value: f32) -> Self::F {
        lanes!(_mm512_set1_ps(value))
    }
    #[inline(always)]
    fn from_array(self, values: [f32; LANES]) -> Self::F {
        // SAFETY: the array holds 16 values and AVX-512 exists.
        unsafe { _mm512_loadu_ps(values.as_ptr()) }
    }
    #[inline(always)]
    fn to_array(self, a: Self::F) -> [f32; LANES] {
        let mut values = [0.0; LANES];
        // SAFETY: the array holds 16 values and AVX-512 exists.
        unsafe { _mm512_storeu_ps(values.as_mut_ptr(), a) };
        values
    }
    #[inline(always)]
    unsafe fn load(self, source: &[f32], at: usize) -> Self::F {
        check(at, LANES, source.len());
        // SAFETY: the caller keeps the range inside `source`; AVX-512 exists.
        unsafe { _mm512_loadu_ps(source.as_ptr().add(at)) }
    }
    #[inline(always)]
    unsafe fn store(self, target: &mut [f32], at: usize, a: Self::F) {
        check(at, LANES, target.len());
        // SAFETY: the caller keeps the range inside `target`; AVX-512 exists.
        unsafe { _mm512_storeu_ps(target.as_mut_ptr().add(at), a) }
    }
    #[inline(always)]
    unsafe fn load_f16(self, source: &[u16], at: usize) -> Self::F {
        check(at, LANES, source.len());
        // SAFETY: the caller keeps the range inside `source`; AVX-512 exists.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(source.as_ptr().add(at).cast())) }
    }
    #[inline(always)]
    unsafe fn store_f16(self, target: &mut [u16], at: usize, a: Self::F) {
        check(at, LANES, target.len());
        // SAFETY: the caller keeps the range inside `target`; AVX-512 exists.
        unsafe {
            let halves = _mm512_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a);
            _mm256_storeu_si256(target.as_mut_ptr().add(at).cast(), halves);
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(self, source: &[u16], at: usize) -> Self::F {
        check(at, LANES, source.len());
        // SAFETY: the caller keeps the range inside `source`; AVX-512 exists.
        unsafe {
            let bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256(source.as_ptr().add(at).cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(bits))
        }
    }
    #[inline(always)]
    unsafe fn load_i8(self, source: &[i8], at: usize) -> Self::F {
        check(at, LANES, source.len());
        // SAFETY: the caller keeps the range inside `source`; AVX-512 exists.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(source.as_ptr().add(at).cast()))) }
    }
    #[inline(always)]
    unsafe fn load_u8(self, source: &[u8], at: usize) -> Self::F {
        check(at, LANES, source.len());
        // SAFETY: the caller keeps the range inside `source`; AVX-512 exists.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(source.as_ptr().add(at).cast()))) }
    }
    #[inline(always)]
    unsafe fn load_u4(self, source: &[u8], at: usize) -> Self::F {
        // SAFETY: the caller keeps the range inside `source`; AVX-512 exists.
        unsafe { _mm512_cvtepi32_ps(_mm512_and_si512(nibbles(source, at), _mm512_set1_epi32(15))) }
    }
    #[inline(always)]
    unsafe fn load_u2(self, source: &[u8], at: usize) -> Self::F {
        // SAFETY: the caller keeps the range inside `source`; AVX-512 exists.
        unsafe { _mm512_cvtepi32_ps(_mm512_and_si512(bit_pairs(source, at), _mm512_set1_epi32(3))) }
    }
    #[inline(always)]
    unsafe fn lookup_u4(self, source: &[u8], at: usize, table: Self::F) -> Self::F {
        // SAFETY: the caller keeps the range inside `source`; AVX-512 exists.
        unsafe {
            // The instruction looks at the lowest four bits only.
            _mm512_permutexvar_ps(nibbles(source, at), table)
        }
    }
    #[inline(always)]
    unsafe fn lookup_u2(self, source: &[u8], at: usize, table: Self::F) -> Self::F {
        // SAFETY: the caller keeps the range inside `source`; AVX-512 exists.
        unsafe {
            // The two bits above the code do not matter in a table that repeats.
            _mm512_permutexvar_ps(bit_pairs(source, at), table)
        }
    }
    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        lanes!(_mm512_add_ps(a, b))
    }
    #[inline(always)]
    fn sub(self, a: Self::F, b: Self::F) -> Self::F {
        lanes!(_mm512_sub_ps(a, b))
    }
    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        lanes!(_mm512_mul_ps(a, b))
    }
    #[inline(always)]
    fn div(self, a: Self::F, b: Self::F) -> Self::F {
        lanes!(_mm512_div_ps(a, b))
    }
    #[inline(always)]
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        lanes!(_mm512_fmadd_ps(a, b, c))
    }
    #[inline(always)]
    fn sqrt(self, a: Self::F) -> Self::F {
        lanes!(_mm512_sqrt_ps(a))
    }
    #[inline(always)]
    fn max(self, a: Self::F, b: Self::F) -> Self::F {
        lanes!(_mm512_max_ps(a, b))
    }
    #[inline(always)]
    fn min(self, a: Self::F, b: Self::F) -> Self::F {
        lanes!(_mm512_min_ps(a, b))
    }
    #[inline(always)]
    fn abs(self, a: Self::F) -> Self::F {
        lanes!(_mm512_abs_ps(a))
    }
    #[inline(always)]
    fn round(self, a: Self::F) -> Self::F {
        lanes!(_mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a))
    }
    #[inline(always)]
    fn exp2_whole(self, n: Self::F) -> Self::F {
        lanes!({
            let biased = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(biased))
        })
    }
    #[inline(always)]
    fn times_exp2(self, a: Self::F, n: Self::F) -> Self::F {
        lanes!(_mm512_scalef_ps(a, n))
    }
    #[inline(always)]
    fn select_less(self, a: Self::F, b: Self::F, then: Self::F, otherwise: Self::F) -> Self::F {
        lanes!(_mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b), otherwise, then))
    }
    #[inline(always)]
    unsafe fn store_i8(self, target: &mut [i8], at: usize, a: Self::F) {
        check(at, LANES, target.len());
        // SAFETY: the caller keeps the range inside `target`; AVX-512 exists.
        unsafe { _mm_storeu_si128(target.as_mut_ptr().add(at).cast(), _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(a))) }
    }
    #[inline(always)]
    unsafe fn load_bytes(self, source: &[u8], at: usize) -> Self::B {
        check(at, 4 * LANES, source.len());
        // SAFETY: the caller keeps the range inside `source`; AVX-512 exists.
        unsafe { _mm512_loadu_si512(source.as_ptr().add(at).cast()) }
    }
    #[inline(always)]
    fn low_nibbles(self, a: Self::B) -> Self::B {
        lanes!(_mm512_and_si512(a, _mm512_set1_epi8(0x0F)))
    }
    #[inline(always)]
    fn high_nibbles(self, a: Self::B) -> Self::B {
        lanes!(_mm512_and_si512(_mm512_srli_epi16::<4>(a), _mm512_set1_epi8(0x0F)))
    }
    #[inline(always)]
    fn splat_i32(self, value: i32) -> Self::I {
        lanes!(_mm512_set1_epi32(value))
    }
    #[inline(always)]
    fn from_i32_array(self, values: [i32; LANES]) -> Self::I {
        // SAFETY: the array holds 16 values and AVX-512 exists.
        unsafe { _mm512_loadu_epi32(values.as_ptr()) }
    }
    #[inline(always)]
    fn add_i32(self, a: Self::I, b: Self::I) -> Self::I {
        lanes!(_mm512_add_epi32(a, b))
    }
    #[inline(always)]
    fn xor(self, a: Self::I, b: Self::I) -> Self::I {
        lanes!(_mm512_xor_si512(a, b))
    }
    #[inline(always)]
    fn rotate_left(self, a: Self::I, bits: i32) -> Self::I {
        lanes!(_mm512_rolv_epi32(a, _mm512_set1_epi32(bits)))
    }
    #[inline(always)]
    fn shift_right(self, a: Self::I, bits: i32) -> Self::I {
        lanes!(_mm512_srlv_epi32(a, _mm512_set1_epi32(bits)))
    }
    #[inline(always)]
    fn to_float(self, a: Self::I) -> Self::F {
        lanes!(_mm512_cvtepi32_ps(a))
    }
    #[inline(always)]
    fn append_byte(self, a: Self::I, b: Self::I) -> Self::I {
        lanes!(_mm512_add_epi32(_mm512_slli_epi32::<8>(a), b))
    }
    #[inline(always)]
    fn dot_u8i8(self, sums: Self::I, bytes: Self::B, codes: i32) -> Self::I {
        lanes!(_mm512_dpbusd_epi32(sums, bytes, _mm512_set1_epi32(codes)))
    }
    #[inline(always)]
    fn transpose(self, r: [Self::F; LANES]) -> [Self::F; LANES] {
        // Pairs of rows, then of pairs (4 × 4 blocks inside each quarter register), then the quarters themselves.
        let (mut pairs, mut fours, mut eights, mut out) = (r, r, r, r);
        for i in 0..8 {
            pairs[2 * i] = lanes!(_mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]));
            pairs[2 * i + 1] = lanes!(_mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]));
        }
        for i in 0..4 {
            for half in 0..2 {
                let (a, b) = (pairs[4 * i + half], pairs[4 * i + 2 + half]);
                fours[4 * i + 2 * half] = lanes!(_mm512_shuffle_ps::<0x44>(a, b));
                fours[4 * i + 2 * half + 1] = lanes!(_mm512_shuffle_ps::<0xee>(a, b));
            }
        }
        for i in 0..2 {
            for j in 0..4 {
                let (a, b) = (fours[8 * i + j], fours[8 * i + 4 + j]);
                eights[8 * i + j] = lanes!(_mm512_shuffle_f32x4::<0x88>(a, b));
                eights[8 * i + 4 + j] = lanes!(_mm512_shuffle_f32x4::<0xdd>(a, b));
            }
        }
        for j in 0..8 {
            out[j] = lanes!(_mm512_shuffle_f32x4::<0x88>(eights[j], eights[8 + j]));
            out[8 + j] = lanes!(_mm512_shuffle_f32x4::<0xdd>(eights[j], eights[8 + j]));
        }
        out
    }
    #[inline(always)]
    fn sums(self, r: [Self::F; LANES]) -> Self::F {
        // In the order of `sum`: halves of 2 vectors at once, quarters of 4, pairs of lanes of 8, lanes of all.
        let (mut halves, mut quarters, mut pairs) = ([self.zero(); 8], [self.zero(); 4], [self.zero(); 2]);
        for i in 0..8 {
            let (a, b) = (r[i % 4 + i / 4 * 8], r[i % 4 + i / 4 * 8 + 4]);
            halves[i] = lanes!(_mm512_add_ps(_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0xee>(a, b)));
        }
        for i in 0..4 {
            let (a, b) = (halves[i], halves[i + 4]);
            quarters[i] = lanes!(_mm512_add_ps(_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0xdd>(a, b)));
        }
        for i in 0..2 {
            let (a, b) = (quarters[2 * i], quarters[2 * i + 1]);
            pairs[i] = lanes!(_mm512_add_ps(_mm512_shuffle_ps::<0x44>(a, b), _mm512_shuffle_ps::<0xee>(a, b)));
        }
        let [a, b] = pairs;
        lanes!(_mm512_add_ps(_mm512_shuffle_ps::<0x88>(a, b), _mm512_shuffle_ps::<0xdd>(a, b)))
    }
    #[inline(always)]
    fn sum(self, a: Self::F) -> f32 {
        lanes!({
            let eight = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps::<1>(a));
            let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
        })
    }
    #[inline(always)]
    fn largest(self, a: Self::F) -> f32 {
        lanes!(_mm512_reduce_max_ps(a))
    }
}
