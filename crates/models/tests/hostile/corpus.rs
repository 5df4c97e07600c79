//! The files of the corpus that are made by hand, one for each way to be malformed.

use super::writer::{ARRAY, BOOL, F32, F64, Q4_0, STRING, U32, Writer, safetensors, safetensors_of};

/// A file's name inside the corpus and its bytes.
pub type File = (&'static str, Vec<u8>);

pub fn files() -> Vec<File> {
    [headers(), metadata(), directory(), offsets(), safetensors_files(), shards()].concat()
}

fn headers() -> Vec<File> {
    vec![
        ("empty.gguf", Vec::new()),
        ("bad_magic.gguf", b"GGML\x03\0\0\0".to_vec()),
        ("version_1.gguf", Writer::gguf(1, 0, 0).finish()),
        ("version_4.gguf", Writer::gguf(4, 0, 0).finish()),
        ("big_endian.gguf", Writer::gguf(3u32.swap_bytes(), 0, 0).finish()),
        ("truncated_version.gguf", b"GGUF\x03\0".to_vec()),
        ("huge_tensor_count.gguf", Writer::gguf(3, u64::MAX, 0).finish()),
        ("huge_metadata_count.gguf", Writer::gguf(3, 0, 1 << 40).finish()),
    ]
}

fn metadata() -> Vec<File> {
    let one = || Writer::gguf(3, 0, 1);
    let aligned = |alignment| one().key("general.alignment", U32).u32(alignment).finish();
    let nested = (0..4).fold(one().key("deep", ARRAY), |writer, _| writer.array(ARRAY, 1)).array(U32, 0);
    vec![
        ("huge_key_length.gguf", one().u64(u64::MAX).raw(b"key and more").finish()),
        ("key_not_utf8.gguf", one().string(b"caf\xE9").u32(BOOL).raw(&[0]).finish()),
        ("value_not_utf8.gguf", one().key("name", STRING).string(b"caf\xE9").finish()),
        ("huge_string_value.gguf", one().key("name", STRING).u64(1 << 60).raw(b"short").finish()),
        ("duplicate_key.gguf", { Writer::gguf(3, 0, 2).key("twice", U32).u32(1).key("twice", U32).u32(2).finish() }),
        ("unknown_value_type.gguf", one().key("odd", 13).u64(0).finish()),
        ("unknown_element_type.gguf", one().key("odd", ARRAY).array(13, 0).finish()),
        ("bool_2.gguf", one().key("maybe", BOOL).raw(&[2]).finish()),
        ("huge_array.gguf", one().key("ids", ARRAY).array(U32, u64::MAX / 4).u64(0).finish()),
        ("huge_array_of_empty_arrays.gguf", one().key("ids", ARRAY).array(ARRAY, 1 << 32).array(U32, 0).finish()),
        ("nested_too_deep.gguf", nested.finish()),
        ("control_characters_in_key.gguf", one().key("\u{1b}[2J", 99).raw(&[0]).finish()),
        ("alignment_0.gguf", aligned(0)),
        ("alignment_24.gguf", aligned(24)),
        ("alignment_string.gguf", one().key("general.alignment", STRING).string(b"32").finish()),
        ("truncated_value.gguf", one().key("count", U32).raw(&[1, 2]).finish()),
    ]
}

fn directory() -> Vec<File> {
    let one = |dimensions: &[u64], ty| Writer::gguf(3, 1, 0).tensor("weight", dimensions, ty, 0).data(32, 64).finish();
    vec![
        ("duplicate_tensor.gguf", {
            Writer::gguf(3, 2, 0).tensor("twice", &[1], F32, 0).tensor("twice", &[1], F32, 32).data(32, 64).finish()
        }),
        ("five_dimensions.gguf", one(&[1, 1, 1, 1, 1], F32)),
        ("huge_dimension_count.gguf", Writer::gguf(3, 1, 0).string(b"weight").u32(u32::MAX).data(1, 64).finish()),
        ("zero_dimension.gguf", one(&[4, 0], F32)),
        ("shape_overflow.gguf", one(&[1 << 32, 1 << 32], F32)),
        ("size_overflow.gguf", one(&[1 << 61], F64)),
        ("type_iq4_nl.gguf", one(&[32], 20)),
        ("type_4242.gguf", one(&[32], 4242)),
        ("partial_block.gguf", one(&[33], Q4_0)),
        // 4 · 8 elements are one block, but rows of 8 are not.
        ("row_smaller_than_block.gguf", one(&[8, 4], Q4_0)),
    ]
}

fn offsets() -> Vec<File> {
    let at = |offset| Writer::gguf(3, 1, 0).tensor("weight", &[16], F32, offset).data(32, 64).finish();
    vec![
        ("offset_not_aligned.gguf", at(4)),
        ("offset_past_end.gguf", at(32)),
        ("offset_overflow.gguf", at(u64::MAX - 31)),
        ("no_data.gguf", Writer::gguf(3, 1, 0).tensor("weight", &[16], F32, 0).finish()),
        ("overlapping.gguf", {
            Writer::gguf(3, 2, 0).tensor("late", &[8], F32, 32).tensor("early", &[16], F32, 0).data(32, 64).finish()
        }),
        ("same_place.gguf", {
            Writer::gguf(3, 2, 0).tensor("a", &[8], F32, 0).tensor("b", &[8], F32, 0).data(32, 64).finish()
        }),
    ]
}

fn safetensors_files() -> Vec<File> {
    let one = |dtype: &str, shape: &str, start: u64, end: u64| {
        let header = format!(r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{start},{end}]}}}}"#);
        safetensors(&header, 8)
    };
    let two = |first: &str, second: &str, data| {
        let entry = |offsets| format!(r#"{{"dtype":"F32","shape":[1],"data_offsets":{offsets}}}"#);
        safetensors(&format!(r#"{{"a":{},"b":{}}}"#, entry(first), entry(second)), data)
    };
    vec![
        ("empty.safetensors", Vec::new()),
        ("header_truncated.safetensors", Writer::default().u64(100).raw(b"{}").finish()),
        ("header_too_large.safetensors", Writer::default().u64(u64::MAX).raw(b"{}").finish()),
        ("header_not_json.safetensors", safetensors("{\"a\":", 0)),
        ("header_not_utf8.safetensors", Writer::default().u64(6).raw(b"{\"\xE9\":1").finish()),
        ("header_nested.safetensors", safetensors(&format!("{{\"__metadata__\":{}", "[".repeat(500)), 0)),
        ("unknown_dtype.safetensors", one("F128", "[1]", 0, 8)),
        ("negative_length.safetensors", one("F32", "[-2]", 0, 8)),
        ("shape_overflow.safetensors", one("F32", "[9223372036854775807,4]", 0, 8)),
        ("wrong_size.safetensors", one("F32", "[3]", 0, 8)),
        ("half_byte.safetensors", one("F4", "[15]", 0, 8)),
        ("offsets_reversed.safetensors", one("F32", "[2]", 8, 0)),
        ("offset_past_end.safetensors", one("F32", "[4]", 0, 16)),
        ("offset_near_overflow.safetensors", one("U8", "[8]", u64::MAX - 8, u64::MAX)),
        ("trailing_bytes.safetensors", one("F32", "[1]", 0, 4)),
        ("overlapping.safetensors", two("[0,4]", "[2,6]", 6)),
        ("hole.safetensors", two("[0,4]", "[8,12]", 12)),
        ("duplicate_tensor.safetensors", safetensors_of(&["a", "b", "a"])),
    ]
}

fn shards() -> Vec<File> {
    let index = |map: &str| format!(r#"{{"metadata":{{}},"weight_map":{{{map}}}}}"#).into_bytes();
    vec![
        ("index_not_json/model.safetensors.index.json", b"{\"weight_map\": ".to_vec()),
        ("index_without_map/model.safetensors.index.json", b"{\"metadata\": {}}".to_vec()),
        ("shard_missing/model.safetensors.index.json", index(r#""a":"1.safetensors","b":"2.safetensors""#)),
        ("shard_missing/1.safetensors", safetensors_of(&["a"])),
        ("shard_without_tensor/model.safetensors.index.json", index(r#""a":"1.safetensors","b":"1.safetensors""#)),
        ("shard_without_tensor/1.safetensors", safetensors_of(&["a"])),
        ("shards_share_tensor/model.safetensors.index.json", index(r#""a":"1.safetensors","b":"2.safetensors""#)),
        ("shards_share_tensor/1.safetensors", safetensors_of(&["a"])),
        ("shards_share_tensor/2.safetensors", safetensors_of(&["b", "a"])),
        ("shard_outside/model.safetensors.index.json", index(r#""a":"../hole.safetensors""#)),
        ("no_checkpoint/tokenizer.json", b"{}".to_vec()),
    ]
}
