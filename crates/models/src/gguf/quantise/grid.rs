//! The grid on which the weights of a block lie.
//!
//! Symmetric: `w = scale · (code - 2^(bits-1))`; asymmetric: `w = scale · code + minimum`, both numbers in half precision. The
//! symmetric scale puts the weight of the largest magnitude on the outermost code, so that of the 16 codes of 4 bits all are
//! used; it may be negative. With 8 bits the codes end at ±127 on both sides, as ggml has them.

use half::f16;

use crate::gguf::TensorType;

/// Weights of a stored block.
pub const BLOCK: usize = 32;

/// What kind of grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GridForm {
    /// Bits of a code, 2 to 8.
    pub bits: u32,
    /// Where the codes lie.
    pub kind: GridKind,
}

/// Where the codes of a grid lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GridKind {
    /// Around zero, with the extreme weight on the outermost code.
    Symmetric,
    /// From the smallest weight to the largest.
    Asymmetric,
    /// Around zero with a power of two as scale, so large that no code is outermost on one side only: block-wise compression,
    /// arXiv:2304.01483.
    PowerOfTwo,
}

impl GridForm {
    /// The grid whose codes blocks of type `ty` hold.
    ///
    /// # Panics
    /// If `ty` is no type of 32 weights on one grid.
    pub(super) fn stored_in(ty: TensorType) -> Self {
        let (bits, kind) = match ty {
            TensorType::Q4_0 => (4, GridKind::Symmetric),
            TensorType::Q4_1 => (4, GridKind::Asymmetric),
            TensorType::Q5_0 => (5, GridKind::Symmetric),
            TensorType::Q5_1 => (5, GridKind::Asymmetric),
            TensorType::Q8_0 => (8, GridKind::Symmetric),
            other => panic!("{other} has no blocks of {BLOCK} weights on one grid"),
        };
        Self { bits, kind }
    }

    /// The smallest type whose blocks hold these codes and scales exactly; none for 6 to 8 bits with a minimum.
    pub fn storage(self) -> Option<TensorType> {
        Some(match (self.bits, self.kind) {
            (2..=4, GridKind::Asymmetric) => TensorType::Q4_1,
            (5, GridKind::Asymmetric) => TensorType::Q5_1,
            (_, GridKind::Asymmetric) => return None,
            (2..=4, _) => TensorType::Q4_0,
            (5, _) => TensorType::Q5_0,
            _ => TensorType::Q8_0,
        })
    }
}

/// A grid and the scale that some weights gave it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    bits: u32,
    /// The distance of neighbouring codes, a half-precision number.
    scale: f32,
    /// The weight of code 0, where zero has no code of its own.
    minimum: Option<f32>,
    /// The smallest code that is used.
    least: i32,
}

impl Grid {
    /// The grid of the form `form` for `weights`.
    pub fn of(form: GridForm, weights: &[f32]) -> Self {
        let GridForm { bits, kind } = form;
        let half = (1i32 << (bits - 1)) as f32;
        match kind {
            GridKind::Symmetric => {
                let extreme = weights.iter().fold(0.0f32, |most, &w| if w.abs() > most.abs() { w } else { most });
                match bits {
                    8 => Self { bits, scale: in_half(extreme.abs() / 127.0), minimum: None, least: 1 },
                    _ => Self { bits, scale: in_half(extreme / -half), minimum: None, least: 0 },
                }
            }
            GridKind::Asymmetric => {
                let least = weights.iter().fold(f32::INFINITY, |least, &w| least.min(w));
                let most = weights.iter().fold(f32::NEG_INFINITY, |most, &w| most.max(w));
                let scale = in_half((most - least) / (2.0 * half - 1.0));
                Self { bits, scale, minimum: Some(in_half(least)), least: 0 }
            }
            GridKind::PowerOfTwo => {
                let extreme = weights.iter().fold(0.0f32, |most, &w| most.max(w.abs()));
                let scale = shift(extreme, bits).map_or(0.0, |shift| in_half((-f64::from(shift)).exp2() as f32));
                Self { bits, scale, minimum: None, least: 1 }
            }
        }
    }

    /// The distance of neighbouring weights.
    pub fn step(self) -> f32 {
        self.scale.abs()
    }

    /// The code of the weight nearest to `weight`.
    pub fn code(self, weight: f32) -> u8 {
        let zero = self.zero();
        if self.scale == 0.0 {
            return zero as u8;
        }
        // Beyond all codes of 8 bits, and far from the end of integers.
        let code = ((weight - self.minimum.unwrap_or(0.0)) / self.scale).round().clamp(-512.0, 512.0) as i32 + zero;
        code.clamp(self.least, (1 << self.bits) - 1) as u8
    }

    /// The weight of `code`.
    pub fn weight(self, code: u8) -> f32 {
        self.scale * (i32::from(code) - self.zero()) as f32 + self.minimum.unwrap_or(0.0)
    }

    /// Writes a block of type `ty` with these `codes`; `ty` is the form's [`GridForm::storage`].
    ///
    /// # Panics
    /// If `out` is not a block of `ty`, or `ty` has no such grid.
    pub fn store(self, ty: TensorType, codes: &[u8; BLOCK], out: &mut [u8]) {
        assert_eq!(out.len(), ty.block_bytes(), "a block of {ty}");
        out[..2].copy_from_slice(&f16::from_f32(self.scale).to_le_bytes());
        // Codes of fewer bits stand in the middle of those of the type.
        let offset = match ty {
            TensorType::Q8_0 => 0,
            TensorType::Q4_0 => 8,
            TensorType::Q5_0 => 16,
            _ => self.zero(),
        };
        let stored = codes.map(|code| (i32::from(code) - self.zero() + offset) as u8);
        let rest = match self.minimum {
            Some(minimum) => {
                out[2..4].copy_from_slice(&f16::from_f32(minimum).to_le_bytes());
                &mut out[4..]
            }
            None => &mut out[2..],
        };
        match ty {
            TensorType::Q8_0 => rest.copy_from_slice(&stored),
            TensorType::Q4_0 | TensorType::Q4_1 => nibbles(&stored, rest),
            TensorType::Q5_0 | TensorType::Q5_1 => {
                let (high, low) = rest.split_at_mut(4);
                let bits = (0..BLOCK).fold(0u32, |bits, i| bits | u32::from(stored[i] >> 4) << i);
                high.copy_from_slice(&bits.to_le_bytes());
                nibbles(&stored.map(|code| code & 0x0F), low);
            }
            other => panic!("{other} has no blocks of {BLOCK} weights on one grid"),
        }
    }

    /// The code of the weight zero in a symmetric grid.
    fn zero(self) -> i32 {
        if self.minimum.is_some() { 0 } else { 1 << (self.bits - 1) }
    }
}

/// The largest `s` for which no `x · 2^s` with `|x| ≤ extreme` is beyond `2^(bits-1) - 1`: `⌊log2((2^(bits-1) - 1) / extreme)⌋`,
/// at most 24, which half precision ends at. None if no weight is anything but zero, or all are too small for a code at all.
fn shift(extreme: f32, bits: u32) -> Option<i32> {
    if extreme == 0.0 {
        return None;
    }
    let most = f64::from((1i32 << (bits - 1)) - 1);
    let shift = (most / f64::from(extreme)).log2().floor() as i32;
    Some(shift.clamp(-15, 24))
}

/// The nearest half-precision number that is finite.
fn in_half(value: f32) -> f32 {
    f16::from_f32(value.clamp(-f16::MAX.to_f32(), f16::MAX.to_f32())).to_f32()
}

/// Codes of 4 bits in pairs: `i` low, `i + 16` high.
fn nibbles(codes: &[u8; BLOCK], out: &mut [u8]) {
    let (low, high) = codes.split_at(BLOCK / 2);
    for ((out, low), high) in out.iter_mut().zip(low).zip(high) {
        *out = low | high << 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::dequantise;

    const KINDS: [GridKind; 3] = [GridKind::Symmetric, GridKind::Asymmetric, GridKind::PowerOfTwo];

    fn weights(seed: usize) -> [f32; BLOCK] {
        std::array::from_fn(|i| ((i * 37 + seed * 101) % 97) as f32 / 97.0 - 0.41)
    }

    #[test]
    fn blocks_hold_codes_of_any_width_exactly() {
        for kind in KINDS {
            for bits in 2..=8 {
                let form = GridForm { bits, kind };
                let Some(ty) = form.storage() else {
                    assert!(kind == GridKind::Asymmetric && bits > 5);
                    continue;
                };
                for seed in 0..20 {
                    let weights = weights(seed);
                    let grid = Grid::of(form, &weights);
                    let codes = weights.map(|weight| grid.code(weight));
                    assert!(codes.iter().all(|&code| u32::from(code) < 1 << bits));
                    let mut block = vec![0; ty.block_bytes()];
                    grid.store(ty, &codes, &mut block);
                    let mut found = [f32::NAN; BLOCK];
                    dequantise(ty, &block, &mut found).unwrap();
                    assert_eq!(found, codes.map(|code| grid.weight(code)), "{form:?} in {ty}");
                }
            }
        }
    }

    #[test]
    fn powers_of_two_never_clamp() {
        for bits in [2, 4, 8] {
            let form = GridForm { bits, kind: GridKind::PowerOfTwo };
            for exponent in -14i32..12 {
                let weights = weights(exponent.unsigned_abs() as usize).map(|w| w * (exponent as f32).exp2());
                let grid = Grid::of(form, &weights);
                assert_eq!(grid.step().log2().fract(), 0.0);
                for weight in weights {
                    let error = (grid.weight(grid.code(weight)) - weight).abs();
                    assert!(error <= grid.step() / 2.0, "{bits} bits, {weight}: {error} with steps of {}", grid.step());
                    assert!((i32::from(grid.code(weight)) - (1 << (bits - 1))).abs() < 1 << (bits - 1));
                }
            }
        }
    }

    #[test]
    fn zeros_and_denormals_are_no_trouble() {
        for kind in KINDS {
            let form = GridForm { bits: 4, kind };
            for weights in [[0.0; BLOCK], [1e-40; BLOCK], [-1e-45; BLOCK]] {
                let grid = Grid::of(form, &weights);
                let found = weights.map(|weight| grid.weight(grid.code(weight)));
                assert!(found.iter().all(|weight| weight.abs() < 1e-7), "{kind:?}: {}", found[0]);
            }
            let grid = Grid::of(form, &[1e30; BLOCK]);
            assert!(grid.weight(grid.code(1e30)).is_finite(), "{kind:?}");
        }
    }
}
