//! Any bytes as a GGUF file: an error that can be printed, or tensors that can be read.
//!
//! `cargo fuzz run gguf fuzz/corpus/gguf crates/models/tests/hostile crates/models/tests/golden`

#![no_main]

use headwise_models::gguf::{Gguf, dequantise};
use headwise_models::mapped::Mapped;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let gguf = match Gguf::parse(Mapped::from(bytes.to_vec())) {
        Ok(gguf) => gguf,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    for tensor in gguf.tensors() {
        assert_eq!(gguf.tensor(&tensor.name).map(|found| found.blob.range()), Some(tensor.blob.range()));
        assert_eq!(tensor.ty.bytes_for(tensor.elements()), Some(tensor.blob.bytes().len()));
        let mut values = vec![0.0; tensor.elements()];
        let is_integer = tensor.ty.name().starts_with('I');
        assert_eq!(dequantise(tensor.ty, tensor.blob.bytes(), &mut values).is_err(), is_integer);
    }
});
