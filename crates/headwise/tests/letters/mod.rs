//! A small model with a tokenizer, as a folder that the program opens.

#![allow(dead_code)] // Not every test uses all of it.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A small random Llama with a tokenizer of single letters.
pub struct Model(TempDir);

impl Model {
    pub fn new() -> Self {
        Self::with_letters(('a'..='z').map(String::from).chain(["Ġ".into(), "Ċ".into()]))
    }

    pub fn with_letters(letters: impl IntoIterator<Item = String>) -> Self {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/tests/golden/tiny_llama");
        let folder = tempfile::tempdir().unwrap();
        for entry in source.read_dir().unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
        }
        let vocabulary: Value = letters.into_iter().enumerate().map(|(id, letter)| (letter, json!(id))).collect();
        let byte_level =
            json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
        let tokenizer = json!({
            "version": "1.0",
            "added_tokens": [],
            "pre_tokenizer": byte_level,
            "decoder": byte_level,
            "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
        });
        std::fs::write(folder.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
        Self(folder)
    }

    pub fn folder(&self) -> &Path {
        self.0.path()
    }

    pub fn path(&self) -> &str {
        self.0.path().to_str().unwrap()
    }

    /// A file beside the model.
    pub fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}
