//! CPU kernels on plain slices, with the instruction set chosen at run time.
//!
//! Everything here is independent of any tensor library: slices in, slices out. Each kernel is written once over
//! [`simd::Simd`] and compiled for AVX-512, AVX2 and portable scalar code; [`parallel`] is the only way a kernel
//! reaches other threads.

pub mod activation;
pub mod adamw;
mod aligned;
pub mod attention;
pub mod convolution;
mod disjoint;
pub mod dropout;
#[cfg(test)]
mod finite_differences;
pub mod gemm;
pub mod integer;
pub mod kv;
pub mod linear;
pub mod log2_softmax;
pub mod loss;
pub mod matrix;
pub mod norm;
pub mod parallel;
mod product;
pub mod profile;
pub mod rope;
pub mod scores;
pub mod simd;
pub mod softmax;
mod sum_rows;
