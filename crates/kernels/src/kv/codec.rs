//! How a key-value pair is stored.

use std::fmt;
use std::str::FromStr;

use super::grid::GROUP;

/// A storage format of keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// 32-bit floats.
    F32,
    /// IEEE half precision; the default. Numbers beyond its range become ±65504.
    F16,
    /// bfloat16.
    Bf16,
    /// Signed bytes with one `f32` scale per key and per value: `code = round(x / scale)`, `scale = max|x| / 127`.
    Int8,
    /// Four bits per number, with a half-precision scale and minimum for every 32 channels of a key or value:
    /// `code = round((x - min) / scale)`, `scale = (max - min) / 15`.
    Int4,
    /// KIVI with four bits; see [`Codec::Kivi2`].
    Kivi4,
    /// KIVI with two bits: keys coded per channel over the 32 slots of a page, values per slot over 32 channels, with
    /// half-precision scales and minima; the most recent 128 pairs stay in half precision (Liu et al. 2024,
    /// arXiv:2402.02750).
    ///
    /// A page is coded, keys and values together, when it is full and lies wholly behind the most recent 128. The
    /// published code flushes keys 128 at a time and lets the window of the values slide token by token; here both
    /// windows slide by a page, so that 128 to 159 pairs are in half precision.
    Kivi2,
}

impl Codec {
    /// Every codec.
    pub const ALL: [Self; 7] = [Self::F32, Self::F16, Self::Bf16, Self::Int8, Self::Int4, Self::Kivi4, Self::Kivi2];

    /// The name used in specs and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
            Self::Int4 => "int4",
            Self::Kivi4 => "kivi4",
            Self::Kivi2 => "kivi2",
        }
    }

    /// Bytes of one pair, scales included, where all pairs cost the same; the long-run mean elsewhere.
    pub fn pair_bytes(self, head_dim: usize, value_dim: usize) -> usize {
        // A half-precision scale and minimum per group.
        let grouped = |channels: usize, bits: usize| (channels * bits).div_ceil(8) + 4 * channels.div_ceil(GROUP);
        match self {
            Self::F32 => 4 * (head_dim + value_dim),
            Self::F16 | Self::Bf16 => 2 * (head_dim + value_dim),
            Self::Int8 => (head_dim + 4) + (value_dim + 4),
            Self::Int4 => grouped(head_dim, 4) + grouped(value_dim, 4),
            // The scale and minimum of a channel, 32 bits, are shared by 32 slots.
            Self::Kivi4 => (head_dim * 5).div_ceil(8) + grouped(value_dim, 4),
            Self::Kivi2 => (head_dim * 3).div_ceil(8) + grouped(value_dim, 2),
        }
    }

    /// Most recent pairs that stay in half precision before whole pages are coded; `None`: coded at once.
    pub fn full_precision_window(self) -> Option<usize> {
        self.settled_bits().map(|_| 128)
    }

    /// Bits of a code in pages behind the full-precision window; `None`: pages never change their form.
    pub(super) fn settled_bits(self) -> Option<usize> {
        match self {
            Self::Kivi4 => Some(4),
            Self::Kivi2 => Some(2),
            Self::F32 | Self::F16 | Self::Bf16 | Self::Int8 | Self::Int4 => None,
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Codec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|codec| codec.name() == text).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|codec| codec.name()).collect();
            format!("unknown codec `{text}`: the codecs are {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for codec in Codec::ALL {
            assert_eq!(codec.to_string().parse(), Ok(codec));
        }
        let error = "int3".parse::<Codec>().expect_err("no such codec");
        assert_eq!(error, "unknown codec `int3`: the codecs are f32, f16, bf16, int8, int4, kivi4, kivi2");
    }

    #[test]
    fn a_pair_of_64_channels_costs_what_the_definitions_say() {
        let bytes = Codec::ALL.map(|codec| codec.pair_bytes(64, 64));
        // KIVI-2: (2 + 2·16/32) bits = 3 bits for each of 128 numbers.
        assert_eq!(bytes, [512, 256, 256, 136, 80, 80, 48]);
        assert_eq!(Codec::Int4.pair_bytes(40, 24), (20 + 8) + (12 + 4));
    }
}
