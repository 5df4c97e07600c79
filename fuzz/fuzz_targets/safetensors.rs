//! Any bytes as a safetensors file: an error that can be printed, or the tensors that the reference implementation sees.
//!
//! `cargo fuzz run safetensors fuzz/corpus/safetensors crates/models/tests/hostile`

#![no_main]

use headwise_models::mapped::Mapped;
use headwise_models::safetensors::Checkpoint;
use libfuzzer_sys::fuzz_target;
use safetensors::SafeTensors;

fuzz_target!(|bytes: &[u8]| {
    let checkpoint = match Checkpoint::parse(&Mapped::from(bytes.to_vec())) {
        Ok(checkpoint) => checkpoint,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let reference = SafeTensors::deserialize(bytes).expect("the reference implementation accepts what we accept");
    assert_eq!(reference.len(), checkpoint.names().len());
    for tensor in checkpoint.tensors() {
        let expected = reference.tensor(&tensor.name).expect("the same names");
        assert_eq!((expected.shape(), expected.dtype()), (&tensor.shape[..], tensor.dtype));
        assert_eq!(expected.data(), tensor.blob.bytes());
        if let Ok(values) = tensor.to_f32() {
            assert_eq!(values.len(), tensor.elements());
        }
    }
});
