//! Writes GGUF and safetensors files byte by byte, so that tests can make any of them wrong.

/// The numbers of the metadata value types that the tests write.
pub const U32: u32 = 4;
pub const BOOL: u32 = 7;
pub const STRING: u32 = 8;
pub const ARRAY: u32 = 9;

/// The numbers of the tensor types that the tests write.
pub const F32: u32 = 0;
pub const Q4_0: u32 = 2;
pub const F64: u32 = 28;

/// The bytes of a file, written from start to end.
#[derive(Clone, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// A GGUF header.
    pub fn gguf(version: u32, tensors: u64, pairs: u64) -> Self {
        Self::default().raw(b"GGUF").u32(version).u64(tensors).u64(pairs)
    }

    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    pub fn u32(self, value: u32) -> Self {
        self.raw(&value.to_le_bytes())
    }

    pub fn u64(self, value: u64) -> Self {
        self.raw(&value.to_le_bytes())
    }

    /// A GGUF string.
    pub fn string(self, text: &[u8]) -> Self {
        self.u64(text.len() as u64).raw(text)
    }

    /// A metadata key and the type of its value, which is to follow.
    pub fn key(self, key: &str, ty: u32) -> Self {
        self.string(key.as_bytes()).u32(ty)
    }

    /// The element type and the count of an array, whose elements are to follow.
    pub fn array(self, ty: u32, count: u64) -> Self {
        self.u32(ty).u64(count)
    }

    /// An entry of the tensor directory, `dimensions` innermost first.
    pub fn tensor(self, name: &str, dimensions: &[u64], ty: u32, offset: u64) -> Self {
        let named = self.string(name.as_bytes()).u32(dimensions.len() as u32);
        dimensions.iter().fold(named, |writer, &length| writer.u64(length)).u32(ty).u64(offset)
    }

    /// Zeros up to a multiple of `alignment`, then `data` more of them.
    pub fn data(mut self, alignment: usize, data: usize) -> Self {
        let length = self.bytes.len().next_multiple_of(alignment) + data;
        self.bytes.resize(length, 0);
        self
    }

    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// A safetensors file: the length of `header`, the header, `data` zeros.
pub fn safetensors(header: &str, data: usize) -> Vec<u8> {
    Writer::default().u64(header.len() as u64).raw(header.as_bytes()).data(1, data).finish()
}

/// A safetensors file with tensors of one F32 each.
pub fn safetensors_of(names: &[&str]) -> Vec<u8> {
    let entry = |(i, name): (usize, &&str)| {
        format!(r#""{name}":{{"dtype":"F32","shape":[1],"data_offsets":[{},{}]}}"#, 4 * i, 4 * i + 4)
    };
    let entries: Vec<String> = names.iter().enumerate().map(entry).collect();
    safetensors(&format!("{{{}}}", entries.join(",")), 4 * names.len())
}
