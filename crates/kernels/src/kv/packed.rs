//! Codes of two or four bits, packed into bytes.

use super::saved::Part;
use crate::simd::Simd;

/// Rows of unsigned codes. Code `i` of a row fills the bits from `i · bits` on, low bits first; rows are whole bytes.
#[derive(Clone, Debug)]
pub(super) struct Packed {
    /// 2 or 4.
    bits: usize,
    row_bytes: usize,
    data: Box<[u8]>,
}

impl Packed {
    /// Everything held.
    pub fn part(&mut self) -> Part<'_> {
        Part::U8(&mut self.data)
    }

    /// Zeros, `[rows, width]`.
    pub fn new(bits: usize, rows: usize, width: usize) -> Self {
        debug_assert!(bits == 2 || bits == 4);
        let row_bytes = (width * bits).div_ceil(8);
        Self { bits, row_bytes, data: vec![0; rows * row_bytes].into() }
    }

    /// Bits of a code.
    pub fn bits(&self) -> usize {
        self.bits
    }

    /// Memory of all codes.
    pub fn bytes(&self) -> usize {
        self.data.len()
    }

    /// Code `index` of `row`.
    pub fn get(&self, row: usize, index: usize) -> u8 {
        let bit = index * self.bits;
        self.data[row * self.row_bytes + bit / 8] >> (bit % 8) & self.mask()
    }

    /// Stores code `index` of `row`.
    pub fn set(&mut self, row: usize, index: usize, code: u8) {
        let bit = index * self.bits;
        let mask = self.mask() << (bit % 8);
        let byte = &mut self.data[row * self.row_bytes + bit / 8];
        *byte = *byte & !mask | code << (bit % 8) & mask;
    }

    /// Stores codes of `row` from code `index` on, a multiple of 4.
    pub fn set_run(&mut self, row: usize, index: usize, codes: &[u8]) {
        let per_byte = 8 / self.bits;
        let start = row * self.row_bytes + index / per_byte;
        for (byte, codes) in self.data[start..].iter_mut().zip(codes.chunks(per_byte)) {
            *byte = codes.iter().rev().fold(0, |byte, code| byte << self.bits | code);
        }
    }

    fn mask(&self) -> u8 {
        (1 << self.bits) - 1
    }

    /// Copies `count` rows from row `source` of `from`, which has the same shape, to row `row`.
    pub fn copy_rows(&mut self, row: usize, from: &Self, source: usize, count: usize) {
        let length = count * self.row_bytes;
        let source = source * self.row_bytes;
        self.data[row * self.row_bytes..][..length].copy_from_slice(&from.data[source..source + length]);
    }

    /// In every row, copies `count` codes from code `source` of `from`, which has the same shape, to code `index`.
    ///
    /// Rows are at most 128 bits.
    pub fn copy_columns(&mut self, index: usize, from: &Self, source: usize, count: usize) {
        let run = u128::MAX.checked_shr((128 - count * self.bits) as u32).unwrap_or(0);
        let rows = self.data.chunks_exact_mut(self.row_bytes).zip(from.data.chunks_exact(from.row_bytes));
        for (to, from) in rows {
            let kept = word(to) & !(run << (index * self.bits));
            let moved = (word(from) >> (source * self.bits) & run) << (index * self.bits);
            to.copy_from_slice(&(kept | moved).to_le_bytes()[..self.row_bytes]);
        }
    }

    /// All codes, row after row.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// Memory of a row.
    pub fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    /// Sixteen codes of `row` from code `index` on.
    ///
    /// # Safety
    /// The codes exist, and `index` is a multiple of 4.
    #[inline(always)]
    pub unsafe fn load<S: Simd>(&self, s: S, row: usize, index: usize) -> S::F {
        let at = row * self.row_bytes + index * self.bits / 8;
        // SAFETY: sixteen codes are `2 · bits` bytes, and they exist.
        unsafe { if self.bits == 4 { s.load_u4(&self.data, at) } else { s.load_u2(&self.data, at) } }
    }
}

/// A row as one little-endian number.
fn word(row: &[u8]) -> u128 {
    let mut bytes = [0; 16];
    bytes[..row.len()].copy_from_slice(row);
    u128::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(bits: usize, row: usize, index: usize) -> u8 {
        ((row * 7 + index * 5 + index / 3) % (1 << bits)) as u8
    }

    fn filled(bits: usize, rows: usize, width: usize) -> Packed {
        let mut packed = Packed::new(bits, rows, width);
        for row in 0..rows {
            // Written twice, so that a write must clear what was there.
            for index in (0..width).chain(0..width) {
                packed.set(row, index, if packed.get(row, index) == 0 { 3 } else { 0 });
                packed.set(row, index, code(bits, row, index));
            }
        }
        let mut by_runs = Packed::new(bits, rows, width);
        for row in 0..rows {
            for start in (0..width).step_by(12) {
                let codes: Vec<u8> = (start..width.min(start + 12)).map(|index| code(bits, row, index)).collect();
                by_runs.set_run(row, start, &codes);
            }
        }
        assert_eq!(packed.data, by_runs.data);
        packed
    }

    #[test]
    fn codes_are_bits_from_the_low_end() {
        for (bits, width) in [(2, 32), (4, 32), (2, 13), (4, 7), (4, 80)] {
            let packed = filled(bits, 3, width);
            assert_eq!(packed.bytes(), 3 * (width * bits).div_ceil(8));
            for row in 0..3 {
                for index in 0..width {
                    assert_eq!(packed.get(row, index), code(bits, row, index));
                    let value = (0..bits).fold(0, |value, bit| {
                        let at = index * bits + bit;
                        value | (packed.data[row * packed.row_bytes + at / 8] >> (at % 8) & 1) << bit
                    });
                    assert_eq!(value, code(bits, row, index));
                }
            }
        }
    }

    #[test]
    fn runs_of_columns_move() {
        for bits in [2, 4] {
            let from = filled(bits, 5, 32);
            for (index, source, count) in
                [(0, 0, 32), (3, 9, 1), (31, 0, 1), (0, 31, 1), (5, 17, 15), (17, 5, 15), (4, 4, 0)]
            {
                let mut to = Packed::new(bits, 5, 32);
                (0..5).for_each(|row| (0..32).for_each(|index| to.set(row, index, 1)));
                to.copy_columns(index, &from, source, count);
                for row in 0..5 {
                    for at in 0..32 {
                        let moved = (index..index + count).contains(&at);
                        let expected = if moved { code(bits, row, at - index + source) } else { 1 };
                        assert_eq!(to.get(row, at), expected, "{bits} bits, {count} from {source} to {index}, at {at}");
                    }
                }
            }
        }
    }
}
