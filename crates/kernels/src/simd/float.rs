//! The forms in which floats are stored.

use super::Simd;

/// A stored float type.
pub(crate) trait Float: Copy + Send + Sync {
    /// What is stored.
    type Stored: Copy + Send + Sync;
    /// Sixteen numbers from `data[at..]`.
    ///
    /// # Safety
    /// The range must lie inside `data`.
    unsafe fn load<S: Simd>(s: S, data: &[Self::Stored], at: usize) -> S::F;
}

/// Single precision.
#[derive(Clone, Copy)]
pub(crate) struct F32;
/// IEEE half precision.
#[derive(Clone, Copy)]
pub(crate) struct F16;
/// bfloat16.
#[derive(Clone, Copy)]
pub(crate) struct Bf16;

impl Float for F32 {
    type Stored = f32;
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, data: &[f32], at: usize) -> S::F {
        // SAFETY: the caller keeps the range inside.
        unsafe { s.load(data, at) }
    }
}

impl Float for F16 {
    type Stored = u16;
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, data: &[u16], at: usize) -> S::F {
        // SAFETY: the caller keeps the range inside.
        unsafe { s.load_f16(data, at) }
    }
}

impl Float for Bf16 {
    type Stored = u16;
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, data: &[u16], at: usize) -> S::F {
        // SAFETY: the caller keeps the range inside.
        unsafe { s.load_bf16(data, at) }
    }
}
