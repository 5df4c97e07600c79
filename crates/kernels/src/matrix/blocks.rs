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

use half::f16;

use super::Format;
use super::aligned::Aligned;
use crate::parallel;
use crate::simd::LANES;

/// Inputs that share a scale.
pub(super) const BLOCK: usize = 32;

/// Where the fields of a GGUF block are.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    /// Bytes of a block.
    pub bytes: usize,
    /// Bits of a code.
    bits: u32,
    /// Whether there is a minimum after the scale.
    minimum: bool,
    /// What is subtracted from a stored code.
    pub offset: i32,
}

impl Layout {
    /// The layout of `format`, if it has blocks.
    pub fn of(format: Format) -> Option<Self> {
        let (bytes, bits, minimum, offset) = match format {
            Format::Q8_0 => (34, 8, false, 128),
            Format::Q4_0 => (18, 4, false, 8),
            Format::Q4_1 => (20, 4, true, 0),
            Format::Q5_0 => (22, 5, false, 16),
            Format::Q5_1 => (24, 5, true, 0),
            Format::F32 | Format::F16 | Format::Bf16 => return None,
        };
        Some(Self { bytes, bits, minimum, offset })
    }

    /// Whether two codes share a byte once packed.
    fn nibbles(self) -> bool {
        self.bits == 4
    }

    /// Bytes of the codes of a panel block.
    fn panel_block_bytes(self) -> usize {
        if self.nibbles() { BLOCK / 2 * LANES } else { BLOCK * LANES }
    }

    /// The unsigned codes of a block.
    fn codes(self, block: &[u8]) -> [u8; BLOCK] {
        let fields = &block[if self.minimum { 4 } else { 2 }..];
        let pair = |codes: &[u8], i: usize| (codes[i % 16] >> (4 * (i / 16))) & 0x0F;
        std::array::from_fn(|i| match self.bits {
            8 => fields[i] ^ 0x80,
            5 => pair(&fields[4..], i) | (((fields[i / 8] >> (i % 8)) & 1) << 4),
            _ => pair(fields, i),
        })
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

/// A matrix in panel blocks `[panel][block]`, with the scales and minimums `[panel][block][16]` beside them.
pub(super) struct Blocks {
    layout: Layout,
    /// Blocks of a row.
    pub count: usize,
    codes: Aligned<u8>,
    scales: Aligned<u16>,
    minimums: Option<Aligned<u16>>,
}

impl Blocks {
    /// Repacks the rows of `count` blocks each in `bytes`, whose length is right.
    pub fn pack(layout: Layout, bytes: &[u8], outputs: usize, count: usize) -> Self {
        let panel_blocks = outputs.div_ceil(LANES) * count;
        let row = count * layout.bytes;
        let rows_of = |panel: usize| bytes.chunks_exact(row).skip(panel * LANES).take(LANES).enumerate();
        let halves = |at: usize| {
            let mut packed = Aligned::zeros(panel_blocks * LANES);
            parallel::pieces(packed.values_mut(), (count * LANES).max(1), |panel, packed| {
                for (lane, row) in rows_of(panel) {
                    for (block, target) in row.chunks_exact(layout.bytes).zip(packed.chunks_exact_mut(LANES)) {
                        target[lane] = u16::from_le_bytes([block[at], block[at + 1]]);
                    }
                }
            });
            packed
        };
        let (scales, minimums) = (halves(0), layout.minimum.then(|| halves(2)));
        let panel_block = layout.panel_block_bytes();
        let mut codes = Aligned::zeros(panel_blocks * panel_block);
        parallel::pieces(codes.values_mut(), (count * panel_block).max(1), |panel, packed| {
            for (lane, row) in rows_of(panel) {
                for (block, target) in row.chunks_exact(layout.bytes).zip(packed.chunks_exact_mut(panel_block)) {
                    layout.place(&layout.codes(block), lane, target);
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

    /// Half-precision scales `[panel][block][16]`.
    #[inline(always)]
    pub fn scales(&self) -> &[u16] {
        self.scales.values()
    }

    /// Half-precision minimums `[panel][block][16]` of the formats that have them.
    #[inline(always)]
    pub fn minimums(&self) -> Option<&[u16]> {
        self.minimums.as_ref().map(Aligned::values)
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        self.codes.bytes() + self.scales.bytes() + self.minimums.as_ref().map_or(0, Aligned::bytes)
    }

    /// Writes row `index` as numbers.
    pub fn row(&self, index: usize, out: &mut [f32]) {
        let (panel, lane) = (index / LANES, index % LANES);
        let panel_block = self.layout.panel_block_bytes();
        for (block, out) in out.chunks_exact_mut(BLOCK).enumerate() {
            let at = panel * self.count + block;
            let codes = &self.codes()[at * panel_block..][..panel_block];
            let half = |values: &[u16]| f16::from_bits(values[at * LANES + lane]).to_f32();
            let (scale, minimum) = (half(self.scales()), self.minimums().map_or(0.0, half));
            for (i, out) in out.iter_mut().enumerate() {
                *out = scale * (self.layout.code(codes, lane, i) - self.layout.offset) as f32 + minimum;
            }
        }
    }
}
