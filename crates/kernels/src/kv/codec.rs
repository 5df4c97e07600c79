//! How a key-value pair is stored.

use std::fmt;
use std::str::FromStr;

/// A storage format of keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// 32-bit floats.
    F32,
    /// IEEE half precision; the default.
    F16,
    /// bfloat16.
    Bf16,
}

impl Codec {
    /// Every codec.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::Bf16];

    /// The name used in specs and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        }
    }

    /// Bytes of one pair, scales included, where all pairs cost the same; the long-run mean elsewhere.
    pub fn pair_bytes(self, head_dim: usize, value_dim: usize) -> usize {
        match self {
            Self::F32 => 4 * (head_dim + value_dim),
            Self::F16 | Self::Bf16 => 2 * (head_dim + value_dim),
        }
    }

    /// Most recent pairs that stay in half precision before whole pages are coded; `None`: coded at once.
    pub fn full_precision_window(self) -> Option<usize> {
        None
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
