//! Operations against their composed form, and together.

mod attention;
mod check;
mod cross_entropy;
mod element_wise;
mod linear_recurrence;
mod rope;
mod short_convolution;
mod training;
