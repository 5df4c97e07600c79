//! Sixteen lanes in two AVX2 registers.

use std::arch::x86_64::*;

use super::{Kernel, LANES, Level, Simd, check};

/// AVX2 lanes; a value exists only inside [`run`].
#[derive(Clone, Copy, Debug)]
pub struct Avx2(());

/// Lanes 0–7 and 8–15.
#[derive(Clone, Copy, Debug)]
pub struct Pair(__m256, __m256);

/// Lanes 0–7 and 8–15 of integers, or bytes 0–31 and 32–63.
#[derive(Clone, Copy, Debug)]
pub struct IntegerPair(__m256i, __m256i);

/// Runs `kernel` compiled for AVX2.
pub(super) fn run<K: Kernel>(kernel: K) -> K::Output {
    #[target_feature(enable = "avx2,fma,f16c")]
    fn inner<K: Kernel>(kernel: K) -> K::Output {
        kernel.run(Avx2(()))
    }
    assert!(Level::Avx2.is_available(), "this processor has no AVX2");
    // SAFETY: the processor has the instructions, as just checked.
    unsafe { inner(kernel) }
}

/// Applies a register-only intrinsic to both halves.
macro_rules! halves {
    ($f:ident($($x:ident),+)) => {
        // SAFETY: `self` exists, so the processor has AVX2; the intrinsic touches registers only.
        unsafe { Pair($f($($x.0),+), $f($($x.1),+)) }
    };
}

/// Reads one half with `$load` at `$source + offset` for the offsets 0 and 8.
macro_rules! load_halves {
    ($source:ident, $at:ident, |$p:ident| $load:expr) => {{
        check($at, LANES, $source.len());
        // SAFETY: the caller keeps the range inside the slice; AVX2 exists.
        unsafe {
            let $p = $source.as_ptr().add($at);
            let low = $load;
            let $p = $source.as_ptr().add($at + 8);
            Pair(low, $load)
        }
    }};
}

/// Sixteen codes of four bits as the lowest bits of integers; the bits above are those of the codes after them.
///
/// # Safety
/// Eight bytes from `at` on must lie inside `source`, and the processor must have AVX2.
#[inline(always)]
unsafe fn nibbles(source: &[u8], at: usize) -> [__m256i; 2] {
    check(at, LANES / 2, source.len());
    // SAFETY: the caller's promise.
    unsafe {
        let words = source.as_ptr().add(at).cast::<i32>();
        let shifts = _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28);
        [
            _mm256_srlv_epi32(_mm256_set1_epi32(words.read_unaligned()), shifts),
            _mm256_srlv_epi32(_mm256_set1_epi32(words.add(1).read_unaligned()), shifts),
        ]
    }
}

/// As [`nibbles`], codes of two bits from four bytes.
///
/// # Safety
/// Four bytes from `at` on must lie inside `source`, and the processor must have AVX2.
#[inline(always)]
unsafe fn bit_pairs(source: &[u8], at: usize) -> [__m256i; 2] {
    check(at, LANES / 4, source.len());
    // SAFETY: the caller's promise.
    unsafe {
        let word = _mm256_set1_epi32(source.as_ptr().add(at).cast::<i32>().read_unaligned());
        [
            _mm256_srlv_epi32(word, _mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14)),
            _mm256_srlv_epi32(word, _mm256_setr_epi32(16, 18, 20, 22, 24, 26, 28, 30)),
        ]
    }
}

impl Simd for Avx2 {
    type F = Pair;
    type I = IntegerPair;
    type B = IntegerPair;
    const LEVEL: Level = Level::Avx2;

    #[inline(always)]
    fn splat(self, value: f32) -> Self::F {
        // SAFETY: AVX2 exists.
        let half = unsafe { _mm256_set1_ps(value) };
        Pair(half, half)
    }
    #[inline(always)]
    fn from_array(self, values: [f32; LANES]) -> Self::F {
        // SAFETY: the array holds 16 values.
        unsafe { self.load(&values, 0) }
    }
    #[inline(always)]
    fn to_array(self, a: Self::F) -> [f32; LANES] {
        let mut values = [0.0; LANES];
        // SAFETY: the array holds 16 values.
        unsafe { self.store(&mut values, 0, a) };
        values
    }
    #[inline(always)]
    unsafe fn load(self, source: &[f32], at: usize) -> Self::F {
        load_halves!(source, at, |p| _mm256_loadu_ps(p))
    }
    #[inline(always)]
    unsafe fn store(self, target: &mut [f32], at: usize, a: Self::F) {
        check(at, LANES, target.len());
        // SAFETY: the caller keeps the range inside `target`; AVX2 exists.
        unsafe {
            _mm256_storeu_ps(target.as_mut_ptr().add(at), a.0);
            _mm256_storeu_ps(target.as_mut_ptr().add(at + 8), a.1);
        }
    }
    #[inline(always)]
    unsafe fn load_f16(self, source: &[u16], at: usize) -> Self::F {
        load_halves!(source, at, |p| _mm256_cvtph_ps(_mm_loadu_si128(p.cast())))
    }
    #[inline(always)]
    unsafe fn store_f16(self, target: &mut [u16], at: usize, a: Self::F) {
        check(at, LANES, target.len());
        // SAFETY: the caller keeps the range inside `target`; AVX2 and F16C exist.
        unsafe {
            _mm_storeu_si128(target.as_mut_ptr().add(at).cast(), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(a.0));
            _mm_storeu_si128(target.as_mut_ptr().add(at + 8).cast(), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(a.1));
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(self, source: &[u16], at: usize) -> Self::F {
        load_halves!(source, at, |p| {
            let bits = _mm256_cvtepu16_epi32(_mm_loadu_si128(p.cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(bits))
        })
    }
    #[inline(always)]
    unsafe fn load_i8(self, source: &[i8], at: usize) -> Self::F {
        load_halves!(source, at, |p| _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(p.cast()))))
    }
    #[inline(always)]
    unsafe fn load_u8(self, source: &[u8], at: usize) -> Self::F {
        load_halves!(source, at, |p| _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(p.cast()))))
    }
    #[inline(always)]
    unsafe fn load_u4(self, source: &[u8], at: usize) -> Self::F {
        // SAFETY: the caller keeps the range inside `source`; AVX2 exists.
        unsafe {
            let half = |codes| _mm256_cvtepi32_ps(_mm256_and_si256(codes, _mm256_set1_epi32(15)));
            let [low, high] = nibbles(source, at);
            Pair(half(low), half(high))
        }
    }
    #[inline(always)]
    unsafe fn load_u2(self, source: &[u8], at: usize) -> Self::F {
        // SAFETY: the caller keeps the range inside `source`; AVX2 exists.
        unsafe {
            let half = |codes| _mm256_cvtepi32_ps(_mm256_and_si256(codes, _mm256_set1_epi32(3)));
            let [low, high] = bit_pairs(source, at);
            Pair(half(low), half(high))
        }
    }
    #[inline(always)]
    unsafe fn lookup_u4(self, source: &[u8], at: usize, table: Self::F) -> Self::F {
        // SAFETY: the caller keeps the range inside `source`; AVX2 exists.
        unsafe {
            let half = |codes| {
                let (low, high) = (_mm256_permutevar8x32_ps(table.0, codes), _mm256_permutevar8x32_ps(table.1, codes));
                // The fourth bit, moved to the sign, chooses between the halves of the table.
                _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32::<28>(codes)))
            };
            let [low, high] = nibbles(source, at);
            Pair(half(low), half(high))
        }
    }
    #[inline(always)]
    unsafe fn lookup_u2(self, source: &[u8], at: usize, table: Self::F) -> Self::F {
        // SAFETY: the caller keeps the range inside `source`; AVX2 exists.
        unsafe {
            // The bit above the code does not matter in a table that repeats.
            let half = |codes| _mm256_permutevar8x32_ps(table.0, codes);
            let [low, high] = bit_pairs(source, at);
            Pair(half(low), half(high))
        }
    }
    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        halves!(_mm256_add_ps(a, b))
    }
    #[inline(always)]
    fn sub(self, a: Self::F, b: Self::F) -> Self::F {
        halves!(_mm256_sub_ps(a, b))
    }
    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        halves!(_mm256_mul_ps(a, b))
    }
    #[inline(always)]
    fn div(self, a: Self::F, b: Self::F) -> Self::F {
        halves!(_mm256_div_ps(a, b))
    }
    #[inline(always)]
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        halves!(_mm256_fmadd_ps(a, b, c))
    }
    #[inline(always)]
    fn sqrt(self, a: Self::F) -> Self::F {
        halves!(_mm256_sqrt_ps(a))
    }
    #[inline(always)]
    fn max(self, a: Self::F, b: Self::F) -> Self::F {
        halves!(_mm256_max_ps(a, b))
    }
    #[inline(always)]
    fn min(self, a: Self::F, b: Self::F) -> Self::F {
        halves!(_mm256_min_ps(a, b))
    }
    #[inline(always)]
    fn abs(self, a: Self::F) -> Self::F {
        let sign = self.splat(-0.0);
        halves!(_mm256_andnot_ps(sign, a))
    }
    #[inline(always)]
    fn round(self, a: Self::F) -> Self::F {
        const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        // SAFETY: AVX2 exists; registers only.
        unsafe { Pair(_mm256_round_ps::<NEAREST>(a.0), _mm256_round_ps::<NEAREST>(a.1)) }
    }
    #[inline(always)]
    fn exp2_whole(self, n: Self::F) -> Self::F {
        // SAFETY: AVX2 exists; registers only.
        let half = |n| unsafe {
            let biased = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
        };
        Pair(half(n.0), half(n.1))
    }
    #[inline(always)]
    fn select_less(self, a: Self::F, b: Self::F, then: Self::F, otherwise: Self::F) -> Self::F {
        // SAFETY: AVX2 exists; registers only.
        unsafe {
            Pair(
                _mm256_blendv_ps(otherwise.0, then.0, _mm256_cmp_ps::<_CMP_LT_OQ>(a.0, b.0)),
                _mm256_blendv_ps(otherwise.1, then.1, _mm256_cmp_ps::<_CMP_LT_OQ>(a.1, b.1)),
            )
        }
    }
    #[inline(always)]
    unsafe fn store_i8(self, target: &mut [i8], at: usize, a: Self::F) {
        check(at, LANES, target.len());
        // SAFETY: the caller keeps the range inside `target`; AVX2 exists.
        unsafe {
            // Packing works within 128-bit halves, so the words come out as 0-3, 8-11, 4-7, 12-15 and are put in order.
            let words = _mm256_packs_epi32(_mm256_cvtps_epi32(a.0), _mm256_cvtps_epi32(a.1));
            let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(words);
            let bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
            _mm_storeu_si128(target.as_mut_ptr().add(at).cast(), bytes);
        }
    }
    #[inline(always)]
    unsafe fn load_bytes(self, source: &[u8], at: usize) -> Self::B {
        check(at, 4 * LANES, source.len());
        // SAFETY: the caller keeps the range inside `source`; AVX2 exists.
        unsafe {
            let start = source.as_ptr().add(at);
            IntegerPair(_mm256_loadu_si256(start.cast()), _mm256_loadu_si256(start.add(32).cast()))
        }
    }
    #[inline(always)]
    fn low_nibbles(self, a: Self::B) -> Self::B {
        // SAFETY: AVX2 exists; registers only.
        let half = |a| unsafe { _mm256_and_si256(a, _mm256_set1_epi8(0x0F)) };
        IntegerPair(half(a.0), half(a.1))
    }
    #[inline(always)]
    fn high_nibbles(self, a: Self::B) -> Self::B {
        // SAFETY: AVX2 exists; registers only.
        let half = |a| unsafe { _mm256_and_si256(_mm256_srli_epi16::<4>(a), _mm256_set1_epi8(0x0F)) };
        IntegerPair(half(a.0), half(a.1))
    }
    #[inline(always)]
    fn splat_i32(self, value: i32) -> Self::I {
        // SAFETY: AVX2 exists.
        let half = unsafe { _mm256_set1_epi32(value) };
        IntegerPair(half, half)
    }
    #[inline(always)]
    fn from_i32_array(self, values: [i32; LANES]) -> Self::I {
        let halves = values.as_ptr().cast::<__m256i>();
        // SAFETY: the array holds 16 values and AVX2 exists.
        unsafe { IntegerPair(_mm256_loadu_si256(halves), _mm256_loadu_si256(halves.add(1))) }
    }
    #[inline(always)]
    fn add_i32(self, a: Self::I, b: Self::I) -> Self::I {
        // SAFETY: AVX2 exists; registers only.
        unsafe { IntegerPair(_mm256_add_epi32(a.0, b.0), _mm256_add_epi32(a.1, b.1)) }
    }
    #[inline(always)]
    fn xor(self, a: Self::I, b: Self::I) -> Self::I {
        // SAFETY: AVX2 exists; registers only.
        unsafe { IntegerPair(_mm256_xor_si256(a.0, b.0), _mm256_xor_si256(a.1, b.1)) }
    }
    #[inline(always)]
    fn rotate_left(self, a: Self::I, bits: i32) -> Self::I {
        // SAFETY: AVX2 exists; registers only.
        let half = |a| unsafe {
            let (left, right) = (_mm256_set1_epi32(bits), _mm256_set1_epi32(32 - bits));
            _mm256_or_si256(_mm256_sllv_epi32(a, left), _mm256_srlv_epi32(a, right))
        };
        IntegerPair(half(a.0), half(a.1))
    }
    #[inline(always)]
    fn shift_right(self, a: Self::I, bits: i32) -> Self::I {
        // SAFETY: AVX2 exists; registers only.
        let half = |a| unsafe { _mm256_srlv_epi32(a, _mm256_set1_epi32(bits)) };
        IntegerPair(half(a.0), half(a.1))
    }
    #[inline(always)]
    fn to_float(self, a: Self::I) -> Self::F {
        // SAFETY: AVX2 exists; registers only.
        unsafe { Pair(_mm256_cvtepi32_ps(a.0), _mm256_cvtepi32_ps(a.1)) }
    }
    #[inline(always)]
    fn append_byte(self, a: Self::I, b: Self::I) -> Self::I {
        // SAFETY: AVX2 exists; registers only.
        let half = |a, b| unsafe { _mm256_add_epi32(_mm256_slli_epi32::<8>(a), b) };
        IntegerPair(half(a.0, b.0), half(a.1, b.1))
    }
    #[inline(always)]
    fn dot_u8i8(self, sums: Self::I, bytes: Self::B, codes: i32) -> Self::I {
        // The byte product `maddubs` saturates its 16-bit sums, so even and odd bytes are widened and multiplied apart.
        // SAFETY: AVX2 exists; registers only.
        let half = |sums, bytes| unsafe {
            let codes = _mm256_set1_epi32(codes);
            let even_codes = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(codes));
            let even = _mm256_madd_epi16(_mm256_and_si256(bytes, _mm256_set1_epi16(0xFF)), even_codes);
            let odd = _mm256_madd_epi16(_mm256_srli_epi16::<8>(bytes), _mm256_srai_epi16::<8>(codes));
            _mm256_add_epi32(sums, _mm256_add_epi32(even, odd))
        };
        IntegerPair(half(sums.0, bytes.0), half(sums.1, bytes.1))
    }
    #[inline(always)]
    fn sum(self, a: Self::F) -> f32 {
        // SAFETY: AVX2 exists; registers only.
        unsafe {
            let eight = _mm256_add_ps(a.0, a.1);
            let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
        }
    }
    #[inline(always)]
    fn largest(self, a: Self::F) -> f32 {
        self.to_array(a)
            .into_iter()
            .fold(f32::NEG_INFINITY, |largest, value| if value > largest { value } else { largest })
    }
}
