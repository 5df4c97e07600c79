//! One measurement of one policy of scales.

use serde::{Deserialize, Serialize};

/// A generator under one policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScaleRow {
    /// Canonical text of the policy, or `full`.
    pub policy: String,
    /// Width and height of the maps of all scales.
    pub scales: Vec<usize>,
    /// Slots of each layer and head when the last scale is entered.
    pub slots: Vec<usize>,
    /// The most that the cache held between two scales, in bytes for a picture with guidance.
    pub kv_bytes: u64,
    /// The most that it held at any time, the map being drawn included.
    pub peak_kv_bytes: u64,
    /// `kv_bytes` of those of the full cache, 0–100.
    pub kv_pct: f64,
    /// Codes that are those of the full cache, 0–100: the likeliest codes, one picture of each class.
    pub agreement: f64,
    /// The same of the last map alone, which is most of a picture and all that the policy may have changed if only the last scale was
    /// entered with less.
    pub last_map_agreement: f64,
    /// Peak signal to noise of those pictures to those of the full cache, in dB over all of them; `null` if they are the same.
    pub psnr: Option<f64>,
    /// Pictures, drawn with chance, whose nearest clean picture is of the class that was asked for, 0–100.
    pub class_agreement: f64,
    /// Peak signal to noise of those to the full cache's with the same seed; `null` if they are the same.
    pub drawn_psnr: Option<f64>,
    /// Pictures by the likeliest codes, and those drawn with chance.
    pub n: [usize; 2],
    /// Seed of the weights, the pictures that were learnt from and the draws.
    pub seed: u64,
    /// Version of the program.
    pub version: String,
}
