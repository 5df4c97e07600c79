//! Block-wise compression: blocks with a power of two as scale, `x ≈ code · 2^-s`. arXiv:2304.01483.
//!
//! `s = ⌊log2((2^(n-1) - 1) / max|x|)⌋`, `code = round(x · 2^s)`: no code is ever cut off, so `|x - x̂| ≤ 2^-s / 2`. A shift takes one
//! byte: `n + 8 / block` bits per weight. GGUF has no such type, so codes are stored in the blocks of 32 of the types that hold
//! them exactly, whose half-precision scales are the same power of two in every 32 weights.

headwise_spec::method! {
    /// Blocks with a power of two as scale: no data, integer arithmetic, no code cut off.
    ///
    /// `s = floor(log2((2^(bits-1) - 1) / max|x|))`, `code = round(x 2^s)`. A power of two wastes up to one bit against a free scale.
    /// arXiv:2304.01483.
    pub struct Bct {
        /// Bits of a weight, 2 to 8.
        pub bits: u32 = 8,
        /// Weights of a row that share a scale, a multiple of 32; 0 is the whole row.
        pub block: usize = 64,
    }
}

impl Bct {
    /// Bits of a weight, its share of the shift included, for rows of `inputs`.
    pub fn bits_per_weight(&self, inputs: usize) -> f64 {
        let block = if self.block == 0 { inputs } else { self.block.min(inputs) };
        f64::from(self.bits) + 8.0 / block as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shift_of_a_byte_is_shared_by_the_block() {
        let times_smaller = |bits, block| 32.0 / Bct { bits, block }.bits_per_weight(1 << 20);
        for (bits, block, expected) in [(4, 64, 7.76), (4, 1024, 7.98), (8, 64, 3.94)] {
            assert!((times_smaller(bits, block) / expected - 1.0).abs() < 0.01, "{bits} bits, {block}");
        }
        assert_eq!(Bct { bits: 8, block: 0 }.bits_per_weight(32), 8.25);
    }
}
