//! Sixteen `f32` lanes on whatever the processor offers, chosen once at run time.
//!
//! A kernel is a struct with its arguments that implements [`Kernel`]; [`dispatch`] runs it with the widest instruction
//! set of the machine. The value `S: Simd` that the kernel receives is the proof that the instructions exist, so its
//! methods are safe; only the unchecked loads and stores are not, and `--cfg checked` checks those too.
//!
//! Every implementation works on 16 lanes in the same order, so a reduction adds in the same order everywhere.
//! `HEADWISE_SIMD=scalar|avx2|avx512` forces a narrower set, for tests and measurements.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub(crate) mod float;
mod math;
mod scalar;
pub(crate) mod slices;

use std::sync::OnceLock;

pub use scalar::Scalar;

#[cfg(target_arch = "x86_64")]
pub use {avx2::Avx2, avx512::Avx512};

/// Lanes of one vector.
pub const LANES: usize = 16;

/// An instruction set that the kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Portable Rust.
    Scalar,
    /// AVX2 with FMA and F16C.
    Avx2,
    /// AVX-512 F, BW, DQ, VL and VNNI.
    Avx512,
}

impl Level {
    /// The name used by `HEADWISE_SIMD` and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }

    /// Whether this processor can run the level.
    #[cfg(target_arch = "x86_64")]
    pub fn is_available(self) -> bool {
        match self {
            Self::Scalar => true,
            Self::Avx2 => {
                is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
            }
            Self::Avx512 => {
                Self::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512vnni")
            }
        }
    }

    /// Whether this processor can run the level.
    #[cfg(not(target_arch = "x86_64"))]
    pub fn is_available(self) -> bool {
        self == Self::Scalar
    }

    /// All levels this processor can run, narrowest first.
    pub fn available() -> Vec<Self> {
        [Self::Scalar, Self::Avx2, Self::Avx512].into_iter().filter(|level| level.is_available()).collect()
    }

    /// The level kernels run at: the widest available, or a narrower one forced by `HEADWISE_SIMD`.
    ///
    /// # Panics
    /// If `HEADWISE_SIMD` names no level, or one that this processor cannot run.
    pub fn current() -> Self {
        static CURRENT: OnceLock<Level> = OnceLock::new();
        *CURRENT.get_or_init(|| {
            let available = Self::available();
            let names: Vec<&str> = available.iter().map(|level| level.name()).collect();
            match std::env::var("HEADWISE_SIMD") {
                Ok(wanted) if !wanted.is_empty() => *available
                    .iter()
                    .find(|level| level.name() == wanted)
                    .unwrap_or_else(|| panic!("HEADWISE_SIMD={wanted}: this processor can run {}", names.join(", "))),
                _ => *available.last().expect("scalar is always available"),
            }
        })
    }
}

/// A computation written once over [`Simd`]. Mark `run` `#[inline(always)]`, and everything generic that it calls.
pub trait Kernel {
    /// What the computation returns.
    type Output;
    /// Runs with the given instruction set.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// Runs `kernel` at [`Level::current`].
pub fn dispatch<K: Kernel>(kernel: K) -> K::Output {
    dispatch_at(Level::current(), kernel)
}

/// Runs `kernel` at `level`.
///
/// # Panics
/// If the processor cannot run `level`.
pub fn dispatch_at<K: Kernel>(level: Level, kernel: K) -> K::Output {
    match level {
        Level::Scalar => kernel.run(Scalar),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => avx2::run(kernel),
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => avx512::run(kernel),
        #[cfg(not(target_arch = "x86_64"))]
        _ => panic!("{} needs an x86-64 processor", level.name()),
    }
}

/// Panics under `--cfg checked` when `at..at + length` is outside a slice of `total` elements.
#[inline(always)]
pub(crate) fn check(at: usize, length: usize, total: usize) {
    #[cfg(checked)]
    assert!(at.checked_add(length).is_some_and(|end| end <= total), "{at} + {length} exceeds {total}");
    #[cfg(not(checked))]
    let _ = (at, length, total);
}

/// Asks the processor to bring `data[at..at + count]`, as far as it exists, near while something else is computed.
#[inline(always)]
pub fn prefetch<T>(data: &[T], at: usize, count: usize) {
    #[cfg(target_arch = "x86_64")]
    prefetch_bytes::<{ std::arch::x86_64::_MM_HINT_T0 }>(data.as_ptr().wrapping_add(at).cast(), count * size_of::<T>());
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (data, at, count);
}

/// As [`prefetch`], but only into the second-level cache: for more than the first one has room for.
#[inline(always)]
pub fn prefetch_second_level<T>(data: &[T], at: usize, count: usize) {
    prefetch_address(data.as_ptr().wrapping_add(at).addr(), count * size_of::<T>());
}

/// Asks for `bytes` from `address` on, which need not exist any more, for the second-level cache.
#[inline(always)]
pub fn prefetch_address(address: usize, bytes: usize) {
    #[cfg(target_arch = "x86_64")]
    prefetch_bytes::<{ std::arch::x86_64::_MM_HINT_T1 }>(std::ptr::without_provenance(address), bytes);
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (address, bytes);
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn prefetch_bytes<const HINT: i32>(start: *const i8, bytes: usize) {
    /// Bytes that move together.
    const LINE: usize = 64;
    for byte in (0..bytes).step_by(LINE) {
        // SAFETY: a prefetch changes nothing but the caches, wherever the address points; every x86-64 processor has it.
        unsafe { std::arch::x86_64::_mm_prefetch::<HINT>(start.wrapping_add(byte)) };
    }
}

/// Sixteen `f32` lanes. Values exist only where the instructions do.
pub trait Simd: Copy + Send + Sync + 'static {
    /// Sixteen lanes.
    type F: Copy;
    /// Sixteen `i32` lanes.
    type I: Copy;
    /// Sixty-four unsigned bytes, four for each lane.
    type B: Copy;

    /// The level this is.
    const LEVEL: Level;

    /// All lanes equal `value`.
    fn splat(self, value: f32) -> Self::F;
    /// Sixteen values from an array.
    #[allow(clippy::wrong_self_convention, reason = "`self` is the proof that the instructions exist")]
    fn from_array(self, values: [f32; LANES]) -> Self::F;
    /// The sixteen values.
    fn to_array(self, a: Self::F) -> [f32; LANES];
    /// Loads `source[at..at + 16]`.
    ///
    /// # Safety
    /// The range must lie inside `source`.
    unsafe fn load(self, source: &[f32], at: usize) -> Self::F;
    /// Stores to `target[at..at + 16]`.
    ///
    /// # Safety
    /// The range must lie inside `target`.
    unsafe fn store(self, target: &mut [f32], at: usize, a: Self::F);
    /// Loads sixteen IEEE half-precision values (as bits) from `source[at..]`.
    ///
    /// # Safety
    /// The range must lie inside `source`.
    unsafe fn load_f16(self, source: &[u16], at: usize) -> Self::F;
    /// Stores sixteen values rounded to half precision (nearest even).
    ///
    /// # Safety
    /// The range must lie inside `target`.
    unsafe fn store_f16(self, target: &mut [u16], at: usize, a: Self::F);
    /// Loads sixteen bfloat16 values (as bits) from `source[at..]`.
    ///
    /// # Safety
    /// The range must lie inside `source`.
    unsafe fn load_bf16(self, source: &[u16], at: usize) -> Self::F;
    /// Loads sixteen signed bytes and converts them.
    ///
    /// # Safety
    /// The range must lie inside `source`.
    unsafe fn load_i8(self, source: &[i8], at: usize) -> Self::F;
    /// Loads sixteen unsigned bytes and converts them.
    ///
    /// # Safety
    /// The range must lie inside `source`.
    unsafe fn load_u8(self, source: &[u8], at: usize) -> Self::F;
    /// Loads sixteen 4-bit codes from the eight bytes `source[at..]`, the low half of a byte first, and converts them.
    ///
    /// # Safety
    /// The bytes must lie inside `source`.
    unsafe fn load_u4(self, source: &[u8], at: usize) -> Self::F;
    /// Loads sixteen 2-bit codes from the four bytes `source[at..]`, the lowest bits of a byte first, and converts them.
    ///
    /// # Safety
    /// The bytes must lie inside `source`.
    unsafe fn load_u2(self, source: &[u8], at: usize) -> Self::F;
    /// What `table` holds for each of the sixteen 4-bit codes in the eight bytes `source[at..]`, the low half of a byte first.
    ///
    /// # Safety
    /// The bytes must lie inside `source`.
    unsafe fn lookup_u4(self, source: &[u8], at: usize, table: Self::F) -> Self::F;
    /// What `table`, which repeats its first four numbers, holds for each of the sixteen 2-bit codes in the four bytes
    /// `source[at..]`, the lowest bits of a byte first.
    ///
    /// # Safety
    /// The bytes must lie inside `source`.
    unsafe fn lookup_u2(self, source: &[u8], at: usize, table: Self::F) -> Self::F;

    /// `a + b`
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a - b`
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a · b`
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a / b`
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a · b + c`, rounded once where the processor can.
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// Square root.
    fn sqrt(self, a: Self::F) -> Self::F;
    /// The larger of two numbers; the second if one is NaN.
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// The smaller of two numbers; the second if one is NaN.
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    /// Magnitude.
    fn abs(self, a: Self::F) -> Self::F;
    /// Rounds to the nearest integer, ties to even.
    fn round(self, a: Self::F) -> Self::F;
    /// `2^n` for whole `n` in `-126..=127`.
    fn exp2_whole(self, n: Self::F) -> Self::F;
    /// `a · 2^n` for whole `n` in `-126..=127`, else unspecified.
    #[inline(always)]
    fn times_exp2(self, a: Self::F, n: Self::F) -> Self::F {
        self.mul(a, self.exp2_whole(n))
    }
    /// `then` where `a < b`, else `otherwise`.
    fn select_less(self, a: Self::F, b: Self::F, then: Self::F, otherwise: Self::F) -> Self::F;

    /// Rounds to whole numbers (ties to even) and stores them as signed bytes, saturating.
    ///
    /// The byte is unspecified for NaN and beyond ±2^31.
    ///
    /// # Safety
    /// The range must lie inside `target`.
    unsafe fn store_i8(self, target: &mut [i8], at: usize, a: Self::F);
    /// Loads sixty-four bytes.
    ///
    /// # Safety
    /// The range must lie inside `source`.
    unsafe fn load_bytes(self, source: &[u8], at: usize) -> Self::B;
    /// The low four bits of each byte.
    fn low_nibbles(self, a: Self::B) -> Self::B;
    /// The high four bits of each byte, moved down.
    fn high_nibbles(self, a: Self::B) -> Self::B;
    /// All integer lanes equal `value`.
    fn splat_i32(self, value: i32) -> Self::I;
    /// Sixteen integers from an array.
    #[allow(clippy::wrong_self_convention, reason = "`self` is the proof that the instructions exist")]
    fn from_i32_array(self, values: [i32; LANES]) -> Self::I;
    /// `a + b` in each lane, wrapping.
    fn add_i32(self, a: Self::I, b: Self::I) -> Self::I;
    /// `a ^ b` in each lane.
    fn xor(self, a: Self::I, b: Self::I) -> Self::I;
    /// The bits of each lane shifted left by `bits`, of `1..=31`, those that leave coming in again on the right.
    fn rotate_left(self, a: Self::I, bits: i32) -> Self::I;
    /// The bits of each lane shifted right by `bits`, of `0..=31`, with zeros coming in.
    fn shift_right(self, a: Self::I, bits: i32) -> Self::I;
    /// Converts sixteen integers.
    fn to_float(self, a: Self::I) -> Self::F;
    /// `256 · a + b` in each lane, wrapping.
    fn append_byte(self, a: Self::I, b: Self::I) -> Self::I;
    /// `sums[l] + Σ_j bytes[4 l + j] · codes[j]` with `codes` the four signed bytes of a little-endian word; exact.
    fn dot_u8i8(self, sums: Self::I, bytes: Self::B, codes: i32) -> Self::I;

    /// Sum over lanes, as a fixed tree: lane `i` + lane `i + 8`, then 4, 2, 1.
    fn sum(self, a: Self::F) -> f32;
    /// The sum of all lanes of each vector: lane `i` is that of vector `i`.
    #[inline(always)]
    fn sums(self, vectors: [Self::F; LANES]) -> Self::F {
        self.from_array(vectors.map(
            #[inline(always)]
            |vector| self.sum(vector),
        ))
    }
    /// Largest lane.
    fn largest(self, a: Self::F) -> f32;

    /// Transposes a 16 × 16 matrix: lane `j` of row `i` becomes lane `i` of row `j`.
    #[inline(always)]
    fn transpose(self, rows: [Self::F; LANES]) -> [Self::F; LANES] {
        let rows = rows.map(
            #[inline(always)]
            |row| self.to_array(row),
        );
        let mut columns = [self.zero(); LANES];
        for (j, column) in columns.iter_mut().enumerate() {
            *column = self.from_array(std::array::from_fn(
                #[inline(always)]
                |i| rows[i][j],
            ));
        }
        columns
    }

    /// All lanes zero.
    #[inline(always)]
    fn zero(self) -> Self::F {
        self.splat(0.0)
    }

    /// The first values of a short slice; missing lanes are `fill`.
    #[inline(always)]
    fn load_partial(self, source: &[f32], fill: f32) -> Self::F {
        let mut lanes = [fill; LANES];
        let length = source.len().min(LANES);
        lanes[..length].copy_from_slice(&source[..length]);
        self.from_array(lanes)
    }

    /// Loads `source[at..]`, at most sixteen values; missing lanes are `fill`.
    #[inline(always)]
    fn read(self, source: &[f32], at: usize, fill: f32) -> Self::F {
        if at + LANES <= source.len() {
            // SAFETY: the range is inside `source`, as just checked.
            unsafe { self.load(source, at) }
        } else {
            self.load_partial(&source[at..], fill)
        }
    }

    /// Stores into `target[at..]`, at most sixteen values.
    #[inline(always)]
    fn write(self, target: &mut [f32], at: usize, a: Self::F) {
        if at + LANES <= target.len() {
            // SAFETY: the range is inside `target`, as just checked.
            unsafe { self.store(target, at, a) }
        } else {
            self.store_partial(&mut target[at..], a);
        }
    }

    /// Stores the first lanes into a short slice.
    #[inline(always)]
    fn store_partial(self, target: &mut [f32], a: Self::F) {
        let length = target.len().min(LANES);
        target[..length].copy_from_slice(&self.to_array(a)[..length]);
    }

    /// `e^a`, within 2 units in the last place; exactly 0 below −87.3 and for −∞; NaN stays NaN.
    #[inline(always)]
    fn exp(self, a: Self::F) -> Self::F {
        math::exp(self, a)
    }

    /// `e^a` for `a ≤ 0` in two thirds of the instructions of [`exp`](Self::exp); exactly 0 below −87.3 and for −∞, NaN stays
    /// NaN. Its error is `3e-7 + 2^-24 |a|` of it, the latter no more than what rounding `a` itself causes.
    #[inline(always)]
    fn exp_below_zero(self, a: Self::F) -> Self::F {
        math::exp_below_zero(self, a)
    }

    /// Logistic function `1 / (1 + e^-a)`.
    #[inline(always)]
    fn sigmoid(self, a: Self::F) -> Self::F {
        let one = self.splat(1.0);
        self.div(one, self.add(one, self.exp(self.sub(self.zero(), a))))
    }

    /// Hyperbolic tangent, within 1e-6.
    #[inline(always)]
    fn tanh(self, a: Self::F) -> Self::F {
        math::tanh(self, a)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Everything;

    impl Kernel for Everything {
        type Output = Vec<f32>;
        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Vec<f32> {
            let source: Vec<f32> = (0..32).map(|i| (i as f32 - 11.3) * 0.77).collect();
            let halves: Vec<u16> = source.iter().map(|&x| half::f16::from_f32(x).to_bits()).collect();
            let brains: Vec<u16> = source.iter().map(|&x| half::bf16::from_f32(x).to_bits()).collect();
            let bytes: Vec<i8> = (0..32).map(|i| (i * 7 - 100) as i8).collect();
            let unsigned: Vec<u8> = (0..32).map(|i| (i * 8) as u8).collect();
            let mut out = Vec::new();
            // SAFETY: offsets plus 16 lanes stay inside the 32-element arrays above.
            let (a, b) = unsafe { (s.load(&source, 3), s.load_f16(&halves, 5)) };
            // SAFETY: as above.
            let (c, d, e) = unsafe { (s.load_bf16(&brains, 1), s.load_i8(&bytes, 16), s.load_u8(&unsigned, 16)) };
            // SAFETY: 17 + 8 and 23 + 4 bytes are inside the 32-element array.
            for value in unsafe { [s.load_u4(&unsigned, 17), s.load_u2(&unsigned, 23)] } {
                out.extend(s.to_array(value));
            }
            let table = s.from_array(std::array::from_fn(|i| (i % 4) as f32 - 1.5));
            // SAFETY: as above.
            for value in unsafe { [s.lookup_u4(&unsigned, 17, a), s.lookup_u2(&unsigned, 23, table)] } {
                out.extend(s.to_array(value));
            }
            for value in [a, b, c, d, e, s.add(a, b), s.sub(a, b), s.mul(a, b), s.div(a, e), s.max(a, b), s.min(a, b)] {
                out.extend(s.to_array(value));
            }
            let n = s.round(a);
            let powers = [s.exp2_whole(n), s.times_exp2(b, n)];
            for value in powers.into_iter().chain([s.sqrt(s.abs(a)), n, s.select_less(a, b, d, e)]) {
                out.extend(s.to_array(value));
            }
            let mut rows = [a; LANES];
            for (i, row) in rows.iter_mut().enumerate() {
                let base = (i * LANES) as f32;
                *row = s.from_array(std::array::from_fn(|j| base + j as f32));
            }
            for (j, column) in s.transpose(rows).into_iter().enumerate() {
                assert_eq!(s.to_array(column), std::array::from_fn(|i| (i * LANES + j) as f32), "column {j}");
            }
            for (lane, row) in s.to_array(s.sums(rows)).into_iter().zip(rows) {
                assert_eq!(lane, s.sum(row));
            }
            let mut stored = vec![0u16; 20];
            // SAFETY: 2 + 16 is less than 20.
            unsafe { s.store_f16(&mut stored, 2, a) };
            out.extend(stored.iter().map(|&bits| f32::from(bits)));
            out.push(s.sum(a));
            out.push(s.largest(a));
            self.integers(s, b, &mut out);
            out
        }
    }

    impl Everything {
        /// Appends the results of the integer operations.
        #[inline(always)]
        fn integers<S: Simd>(self, s: S, a: S::F, out: &mut Vec<f32>) {
            let mut stored = vec![0i8; 20];
            // SAFETY: 3 + 16 is less than 20.
            unsafe { s.store_i8(&mut stored, 3, s.mul(a, s.splat(15.5))) };
            out.extend(stored.iter().map(|&byte| f32::from(byte)));
            let bytes: Vec<u8> = (0..70).map(|i| (255 - i * 3) as u8).collect();
            // SAFETY: 5 + 64 is less than 70.
            let bytes = unsafe { s.load_bytes(&bytes, 5) };
            for codes in [[127i8, 127, 127, 127], [-127, 127, -1, 0], [-128, -128, -128, -128], [3, -7, 50, -100]] {
                let codes = i32::from_le_bytes(codes.map(|code| code as u8));
                for operand in [bytes, s.low_nibbles(bytes), s.high_nibbles(bytes)] {
                    let dots = s.dot_u8i8(s.splat_i32(-77), operand, codes);
                    out.extend(s.to_array(s.to_float(dots)));
                    out.extend(s.to_array(s.to_float(s.append_byte(dots, s.splat_i32(-3)))));
                    let lanes = s.from_i32_array(std::array::from_fn(|lane| (lane as i32 - 7) << (lane + 13)));
                    for value in [s.add_i32(dots, lanes), s.xor(dots, lanes), s.rotate_left(lanes, 13)] {
                        out.extend(s.to_array(s.to_float(value)));
                        out.extend(s.to_array(s.to_float(s.shift_right(value, 8))));
                    }
                }
            }
        }
    }

    #[test]
    fn the_integer_dot_product_is_its_definition() {
        let bytes: [u8; 64] = std::array::from_fn(|i| (i * 37 % 256) as u8);
        let codes = [-128i8, 127, 5, -6];
        let word = i32::from_le_bytes(codes.map(|code| code as u8));
        let sums = Scalar.dot_u8i8(Scalar.splat_i32(9), bytes, word);
        for (lane, &sum) in sums.iter().enumerate() {
            let exact: i32 = (0..4).map(|j| i32::from(bytes[4 * lane + j]) * i32::from(codes[j])).sum();
            assert_eq!(sum, 9 + exact);
            assert_eq!(Scalar.append_byte(sums, Scalar.splat_i32(-5))[lane], 256 * (9 + exact) - 5);
        }
    }

    #[test]
    fn bits_of_integers_move_as_defined() {
        let lanes: [i32; LANES] = std::array::from_fn(|lane| (lane as i32 + 1).wrapping_mul(0x1234_5679));
        assert_eq!(Scalar.rotate_left(lanes, 29), lanes.map(|lane| lane.rotate_left(29)));
        assert_eq!(Scalar.shift_right(lanes, 8), lanes.map(|lane| (lane as u32 >> 8) as i32));
        assert_eq!(Scalar.add_i32(lanes, lanes), lanes.map(|lane| lane.wrapping_mul(2)));
        assert_eq!(Scalar.xor(lanes, Scalar.splat_i32(-1)), lanes.map(|lane| !lane));
    }

    #[test]
    fn small_codes_are_unpacked_from_the_low_bits_up() {
        let bytes = [0xEE, 0x21, 0x43, 0x65, 0x87, 0xA9, 0xCB, 0xED, 0x0F, 0xEE];
        // SAFETY: the array holds ten bytes.
        let (four, two) = unsafe { (Scalar.load_u4(&bytes, 1), Scalar.load_u2(&bytes, 1)) };
        assert_eq!(four, [1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12., 13., 14., 15., 0.]);
        assert_eq!(two, [1., 0., 2., 0., 3., 0., 0., 1., 1., 1., 2., 1., 3., 1., 0., 2.]);
        let squares: [f32; LANES] = std::array::from_fn(|i| (i * i) as f32);
        let signs: [f32; LANES] = std::array::from_fn(|i| [-1., 1., -2., 2.][i % 4]);
        // SAFETY: as above.
        let (four, two) = unsafe { (Scalar.lookup_u4(&bytes, 1, squares), Scalar.lookup_u2(&bytes, 1, signs)) };
        assert_eq!(four, std::array::from_fn(|i| ((i + 1) % 16 * ((i + 1) % 16)) as f32));
        assert_eq!(two, [1., -1., -2., -1., 2., -1., -1., 1., 1., 1., -2., 1., 2., 1., -1., -2.]);
    }

    struct Extremes;

    impl Kernel for Extremes {
        type Output = [f32; 4];
        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> [f32; 4] {
            let (one, nan) = (s.splat(1.0), s.splat(f32::NAN));
            [s.max(one, nan), s.max(nan, one), s.min(one, nan), s.min(nan, one)].map(|value| s.to_array(value)[7])
        }
    }

    #[test]
    fn beside_nan_the_second_number_is_taken() {
        for level in Level::available() {
            let [a, b, c, d] = dispatch_at(level, Extremes);
            assert!(a.is_nan() && b == 1.0 && c.is_nan() && d == 1.0, "{level:?}");
        }
    }

    #[test]
    fn all_levels_agree_with_scalar() {
        let expected = dispatch_at(Level::Scalar, Everything);
        for level in Level::available() {
            assert_eq!(dispatch_at(level, Everything), expected, "{level:?}");
        }
    }
}
