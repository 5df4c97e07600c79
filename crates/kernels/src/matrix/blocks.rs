//! The block formats of GGUF, repacked so that one SIMD lane holds one output.
//!
//! A GGUF row is a sequence of blocks of 32 inputs: an `f16` scale `d`, in the `_1` formats an `f16` minimum `m`, in the 5-bit
//! formats 32 fifth bits, then the codes; 4-bit codes are in pairs, input `i` in the low and `i + 16` in the high half of
//! byte `i`. Here a *panel block* holds that block of 16 outputs. Its inputs are in 8 groups of 4, since the integer dot
//! product multiplies 4 bytes per lane:
//!
//! - bytes: `[group][output][4]`, 512 bytes;
//! - nibbles: `[group 0-3][output][4]`, 256 bytes, with group `g + 4` in the high halves.
//!
//! Codes are unsigned, so the signed codes of Q8_0 are stored as `q + 128`; `Layout::offset` is subtracted again.
//!
//! K blocks (`super_blocks.rs`) become panel blocks of 32 inputs too. Their scales and minimums are products of two numbers, kept
//! in single precision; where a scale is for 16 inputs, a panel block has two.

use half::f16;

use super::Format;
use super::super_blocks::{self, SUPER_BLOCK};
use crate::aligned::Aligned;
use crate::parallel;
use crate::simd::LANES;

/// Inputs that share a scale.
pub(super) const BLOCK: usize = 32;

/// What a GGUF format stores for 32 inputs of one output.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    format: Format,
    /// Inputs of a GGUF block.
    pub inputs: usize,
    /// Bytes of a GGUF block.
    pub bytes: usize,
    /// Bits of a code.
    bits: u32,
    /// Whether there is a minimum beside the scale.
    minimum: bool,
    /// What is subtracted from a stored code.
    pub offset: i32,
    /// Scales of 32 inputs.
    scales: usize,
}

impl Layout {
    /// The layout of `format`, if it has blocks.
    pub fn of(format: Format) -> Option<Self> {
        let (inputs, bytes, bits, minimum, offset, scales) = match format {
            Format::Q8_0 => (BLOCK, 34, 8, false, 128, 1),
            Format::Q4_0 => (BLOCK, 18, 4, false, 8, 1),
            Format::Q4_1 => (BLOCK, 20, 4, true, 0, 1),
            Format::Q5_0 => (BLOCK, 22, 5, false, 16, 1),
            Format::Q5_1 => (BLOCK, 24, 5, true, 0, 1),
            Format::Q3K => (SUPER_BLOCK, 110, 3, false, 4, 2),
            Format::Q4K => (SUPER_BLOCK, 144, 4, true, 0, 1),
            Format::Q5K => (SUPER_BLOCK, 176, 5, true, 0, 1),
            Format::Q6K => (SUPER_BLOCK, 210, 6, false, 32, 2),
            Format::F32 | Format::F16 | Format::Bf16 => return None,
        };
        Some(Self { format, inputs, bytes, bits, minimum, offset, scales })
    }

    /// Whether blocks have groups with scales of their own.
    fn is_super(self) -> bool {
        self.inputs == SUPER_BLOCK
    }

    /// Whether two codes share a byte once packed.
    fn nibbles(self) -> bool {
        self.bits == 4
    }

    /// Bytes of the codes of a panel block.
    fn panel_block_bytes(self) -> usize {
        if self.nibbles() { BLOCK / 2 * LANES } else { BLOCK * LANES }
    }

    /// The GGUF block of `row` that holds inputs `32 index..32 index + 32`, and which group of it they are.
    fn find(self, row: &[u8], index: usize) -> (&[u8], usize) {
        let groups = self.inputs / BLOCK;
        (&row[index / groups * self.bytes..][..self.bytes], index % groups)
    }

    /// The unsigned codes of block `index` of a row.
    fn codes(self, row: &[u8], index: usize) -> [u8; BLOCK] {
        let (block, group) = self.find(row, index);
        if self.is_super() {
            return super_blocks::codes(self.format, block, group);
        }
        let fields = &block[if self.minimum { 4 } else { 2 }..];
        let pair = |codes: &[u8], i: usize| (codes[i % 16] >> (4 * (i / 16))) & 0x0F;
        std::array::from_fn(|i| match self.bits {
            8 => fields[i] ^ 0x80,
            5 => pair(&fields[4..], i) | (((fields[i / 8] >> (i % 8)) & 1) << 4),
            _ => pair(fields, i),
        })
    }

    /// The scales of both halves of block `index` of a row.
    fn scales(self, row: &[u8], index: usize) -> [f32; 2] {
        let (block, group) = self.find(row, index);
        if self.is_super() {
            super_blocks::scales(self.format, block, group)
        } else {
            [f16::from_le_bytes([block[0], block[1]]).to_f32(); 2]
        }
    }

    /// The minimum of block `index` of a row.
    fn minimum(self, row: &[u8], index: usize) -> f32 {
        let (block, group) = self.find(row, index);
        if self.is_super() {
            super_blocks::minimum(block, group)
        } else {
            f16::from_le_bytes([block[2], block[3]]).to_f32()
        }
    }

    /// Puts the codes of one output into its places of a panel block.
    fn place(self, codes: &[u8; BLOCK], lane: usize, panel_block: &mut [u8]) {
        let (packed, high) = if self.nibbles() { codes.split_at(BLOCK / 2) } else { codes.split_at(BLOCK) };
        for (i, &code) in packed.iter().enumerate() {
            let code = code | high.get(i).map_or(0, |high| high << 4);
            panel_block[place(i, lane)] = code;
        }
    }

    /// The code of input `i` of one output.
    fn code(self, panel_block: &[u8], lane: usize, i: usize) -> i32 {
        if self.nibbles() {
            i32::from((panel_block[place(i % 16, lane)] >> (4 * (i / 16))) & 0x0F)
        } else {
            i32::from(panel_block[place(i, lane)])
        }
    }
}

/// Where input `i` of an output lies in `[group][output][4]`.
fn place(i: usize, lane: usize) -> usize {
    i / 4 * 4 * LANES + lane * 4 + i % 4
}

/// Numbers beside the codes, `[panel][block][16]` or, two to a block, `[panel][block][2][16]`.
pub(super) enum Numbers {
    /// In half precision, as GGUF has them.
    Half(Aligned<u16>),
    /// In single precision.
    Single(Aligned<f32>),
}

impl Numbers {
    fn zeros(single: bool, length: usize) -> Self {
        if single { Self::Single(Aligned::zeros(length)) } else { Self::Half(Aligned::zeros(length)) }
    }

    /// Calls `fill(panel, set)` for every panel of `length` numbers, where `set(index, value)` writes one.
    fn fill_panels(&mut self, length: usize, fill: impl Fn(usize, &mut dyn FnMut(usize, f32)) + Sync) {
        let length = length.max(1);
        match self {
            Self::Half(values) => parallel::pieces(values.values_mut(), length, |panel, values| {
                fill(panel, &mut |at, value| values[at] = f16::from_f32(value).to_bits());
            }),
            Self::Single(values) => parallel::pieces(values.values_mut(), length, |panel, values| {
                fill(panel, &mut |at, value| values[at] = value);
            }),
        }
    }

    fn get(&self, at: usize) -> f32 {
        match self {
            Self::Half(values) => f16::from_bits(values.values()[at]).to_f32(),
            Self::Single(values) => values.values()[at],
        }
    }

    fn memory(&self) -> &[u8] {
        match self {
            Self::Half(values) => values.memory(),
            Self::Single(values) => values.memory(),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Half(values) => values.bytes(),
            Self::Single(values) => values.bytes(),
        }
    }
}

/// A matrix in panel blocks `[panel][block]`, with the scales and minimums beside them.
pub(super) struct Blocks {
    layout: Layout,
    /// Panel blocks of a row.
    pub count: usize,
    codes: Aligned<u8>,
    scales: Numbers,
    minimums: Option<Numbers>,
}

impl Blocks {
    /// Repacks the rows of `inputs` weights each in `bytes`, whose length is right.
    pub fn pack(layout: Layout, bytes: &[u8], outputs: usize, inputs: usize) -> Self {
        let (count, row) = (inputs / BLOCK, inputs / layout.inputs * layout.bytes);
        let panels = outputs.div_ceil(LANES);
        let rows_of = |panel: usize| bytes.chunks_exact(row.max(1)).skip(panel * LANES).take(LANES).enumerate();
        let (parts, single) = (layout.scales, layout.is_super());
        let mut scales = Numbers::zeros(single, panels * count * parts * LANES);
        scales.fill_panels(count * parts * LANES, |panel, set| {
            for (lane, row) in rows_of(panel) {
                for at in 0..count * parts {
                    set(at * LANES + lane, layout.scales(row, at / parts)[at % parts]);
                }
            }
        });
        let minimums = layout.minimum.then(|| {
            let mut minimums = Numbers::zeros(single, panels * count * LANES);
            minimums.fill_panels(count * LANES, |panel, set| {
                for (lane, row) in rows_of(panel) {
                    (0..count).for_each(|block| set(block * LANES + lane, layout.minimum(row, block)));
                }
            });
            minimums
        });
        let panel_block = layout.panel_block_bytes();
        let mut codes = Aligned::zeros(panels * count * panel_block);
        parallel::pieces(codes.values_mut(), (count * panel_block).max(1), |panel, packed| {
            for (lane, row) in rows_of(panel) {
                for (block, target) in packed.chunks_exact_mut(panel_block).enumerate() {
                    layout.place(&layout.codes(row, block), lane, target);
                }
            }
        });
        Self { layout, count, codes, scales, minimums }
    }

    /// What is subtracted from a stored code.
    pub fn offset(&self) -> i32 {
        self.layout.offset
    }

    /// Whether two codes share a byte.
    pub fn nibbles(&self) -> bool {
        self.layout.nibbles()
    }

    /// The packed codes, `[panel][block]` panel blocks.
    #[inline(always)]
    pub fn codes(&self) -> &[u8] {
        self.codes.values()
    }

    /// The scales: one of a panel block or, if [`Self::has_halves`], two.
    #[inline(always)]
    pub fn scales(&self) -> &Numbers {
        &self.scales
    }

    /// The minimums of the formats that have them.
    #[inline(always)]
    pub fn minimums(&self) -> Option<&Numbers> {
        self.minimums.as_ref()
    }

    /// Whether 16 inputs share a scale instead of 32.
    pub fn has_halves(&self) -> bool {
        self.layout.scales == 2
    }

    /// All memory: codes, scales and minimums.
    pub fn arrays(&self) -> Vec<&[u8]> {
        let numbers = std::iter::once(&self.scales).chain(&self.minimums);
        std::iter::once(self.codes.memory()).chain(numbers.map(Numbers::memory)).collect()
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        self.codes.bytes() + self.scales.bytes() + self.minimums.as_ref().map_or(0, Numbers::bytes)
    }

    /// Writes row `index` as numbers.
    pub fn row(&self, index: usize, out: &mut [f32]) {
        let (panel, lane) = (index / LANES, index % LANES);
        let panel_block = self.layout.panel_block_bytes();
        for (block, out) in out.chunks_exact_mut(BLOCK).enumerate() {
            let at = panel * self.count + block;
            let codes = &self.codes()[at * panel_block..][..panel_block];
            let parts = self.layout.scales;
            let minimum = self.minimums.as_ref().map_or(0.0, |minimums| minimums.get(at * LANES + lane));
            for (i, out) in out.iter_mut().enumerate() {
                let scale = self.scales.get((at * parts + i * parts / BLOCK) * LANES + lane);
                *out = scale * (self.layout.code(codes, lane, i) - self.layout.offset) as f32 + minimum;
            }
        }
    }
}
