//! Token ids against llama.cpp, chat renderings against transformers (`oracles/tokenizer.py`), and malformed
//! tokenizers.

use std::path::PathBuf;

use headwise_models::chat::{ChatTemplate, Message};
use headwise_models::gguf::{Gguf, Metadata, Value};
use headwise_models::pull;
use headwise_models::tokenizer::{AddBos, Encode, TokenKind, Tokenizer};
use sha2::{Digest, Sha256};

const GOLDEN: &str = include_str!("golden/tokenizer.json");
const PARSED: Encode = Encode { add_bos: AddBos::Never, parse_special: true };
const PLAIN: Encode = Encode { add_bos: AddBos::Never, parse_special: false };

fn golden() -> serde_json::Value {
    serde_json::from_str(GOLDEN).unwrap()
}

fn strings(golden: &serde_json::Value) -> Vec<&str> {
    golden["strings"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

/// The model's GGUF file, if it is on this machine.
fn model(name: &str, variable: &str) -> Option<Gguf> {
    let path = match std::env::var_os(variable) {
        Some(path) => Some(PathBuf::from(path)),
        None => pull::resolve(name).ok(),
    };
    let Some(path) = path else {
        eprintln!("SKIPPED: {name} is not on this machine; run `headwise pull {name}` or set {variable} to its file");
        return None;
    };
    Some(Gguf::open(path).unwrap())
}

/// As `digest` in `oracles/tokenizer.py`.
fn digest(rows: &[Vec<u32>]) -> String {
    let mut sha = Sha256::new();
    for row in rows {
        sha.update((row.len() as u32).to_le_bytes());
        row.iter().for_each(|id| sha.update(id.to_le_bytes()));
    }
    sha.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Ids of all hostile strings against the golden ones, naming the first strings that differ.
fn assert_ids(tokenizer: &Tokenizer, name: &str) {
    let golden = golden();
    let strings = strings(&golden);
    let mut wrong = Vec::new();
    for (text, expected) in strings.iter().zip(golden["ids"][name].as_array().unwrap()) {
        let ids = tokenizer.encode(text, PARSED).unwrap();
        let found = ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
        if found != expected.as_str().unwrap() {
            wrong.push(format!("{text:?}: {found}, expected {expected}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{name}: {} of {} differ:\n{}",
        wrong.len(),
        strings.len(),
        wrong[..wrong.len().min(10)].join("\n")
    );
    // With control tokens as text like any other, only a digest is kept.
    let plain: Vec<_> = strings.iter().map(|text| tokenizer.encode(text, PLAIN).unwrap()).collect();
    assert_eq!(digest(&plain), golden["plain_sha256"][name].as_str().unwrap(), "{name}, control tokens not parsed");
}

/// Decoding gives the text back, whole and in a stream.
fn assert_round_trip(tokenizer: &Tokenizer, missing: impl Fn(u8) -> bool) {
    for text in strings(&golden()) {
        if text.bytes().any(&missing) {
            continue;
        }
        let ids = tokenizer.encode(text, PLAIN).unwrap();
        assert_eq!(tokenizer.decode(&ids, false), text);
        let mut decoder = tokenizer.decoder().keep_special();
        let mut streamed: String = ids.iter().map(|&id| decoder.push(id)).collect();
        streamed += &decoder.finish();
        assert_eq!(streamed, text);
    }
}

#[test]
fn smollm2_equals_llama_cpp_on_hostile_strings() {
    let Some(gguf) = model("smollm2-135m", "HEADWISE_SMOLLM2") else { return };
    let tokenizer = Tokenizer::from_gguf(gguf.metadata()).unwrap();
    assert_ids(&tokenizer, "smollm2-135m");
    // Some bytes have no token in this vocabulary: their text is dropped, as llama.cpp drops it.
    let have: Vec<Vec<u8>> = (0..tokenizer.vocab_size() as u32).filter_map(|id| tokenizer.token_bytes(id)).collect();
    assert_round_trip(&tokenizer, |byte| !have.contains(&vec![byte]));

    assert_eq!(tokenizer.vocab_size(), 49152);
    assert_eq!((tokenizer.bos_id(), tokenizer.eos_id()), (Some(1), Some(2)));
    assert!(!tokenizer.adds_bos());
    assert_eq!(tokenizer.end_of_generation_ids(), [0, 2]);
    assert_eq!(tokenizer.encode("Hi", Encode::TEXT).unwrap(), tokenizer.encode("Hi", PLAIN).unwrap());
    assert_eq!(tokenizer.encode("<|im_end|>", Encode::TEMPLATE).unwrap(), [2]);
    assert!(tokenizer.encode("<|im_end|>", Encode::TEXT).unwrap().len() > 1);
}

#[test]
fn gemma3_equals_llama_cpp_on_hostile_strings() {
    let Some(gguf) = model("gemma3-270m", "HEADWISE_GEMMA3") else { return };
    let tokenizer = Tokenizer::from_gguf(gguf.metadata()).unwrap();
    assert_ids(&tokenizer, "gemma3-270m");
    assert_round_trip(&tokenizer, |_| false);
    assert_eq!(tokenizer.vocab_size(), 262_144);
    assert_eq!(tokenizer.end_of_generation_ids(), [1, 106]);
    assert_eq!(tokenizer.encode("", Encode::TEXT).unwrap(), [2]);
    // `</s>` closes an HTML element here and does not end an answer.
    let id = tokenizer.token_id("</s>").unwrap();
    assert_eq!(tokenizer.token_kind(id), Some(TokenKind::UserDefined));
    assert!(!tokenizer.is_end_of_generation(id));
}

/// A byte-level vocabulary of the 256 bytes and the merges of the golden file, which were trained without any
/// splitting: they join what the patterns keep apart, so that the ids tell where the text was split.
fn discriminating(pre: &str) -> Metadata {
    let golden = golden();
    let merges: Vec<String> = golden["merges"].as_array().unwrap().iter().map(|m| m.as_str().unwrap().into()).collect();
    let visible = |byte: u32| matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
    let shifted = (0..256).filter(|&byte| !visible(byte)).enumerate().map(|(at, _)| 0x100 + at as u32);
    let alphabet = (0..256).filter(|&byte| visible(byte)).chain(shifted).filter_map(char::from_u32);
    let mut tokens: Vec<String> = alphabet.map(String::from).collect();
    tokens.extend(merges.iter().map(|merge| merge.replace(' ', "")));
    Metadata::from_iter([
        ("tokenizer.ggml.model", Value::from("gpt2")),
        ("tokenizer.ggml.pre", Value::from(pre)),
        ("tokenizer.ggml.tokens", Value::from(tokens)),
        ("tokenizer.ggml.merges", Value::from(merges)),
        ("tokenizer.ggml.add_bos_token", Value::from(false)),
    ])
}

#[test]
fn every_way_to_split_equals_llama_cpp_on_hostile_strings() {
    let golden = golden();
    let rows = golden["pre_sha256"].as_object().unwrap();
    assert!(rows.len() > 30);
    let wrong: Vec<_> = rows
        .iter()
        .filter(|(pre, expected)| {
            let tokenizer = Tokenizer::from_gguf(&discriminating(pre)).unwrap();
            let ids: Vec<_> = strings(&golden).iter().map(|text| tokenizer.encode(text, PARSED).unwrap()).collect();
            if let Some(folder) = std::env::var_os("HEADWISE_PRE_IDS") {
                std::fs::write(PathBuf::from(folder).join(format!("{pre}.json")), serde_json::to_string(&ids).unwrap())
                    .unwrap();
            }
            digest(&ids) != expected.as_str().unwrap()
        })
        .map(|(pre, _)| pre)
        .collect();
    assert!(wrong.is_empty(), "{wrong:?} differ");
}

#[test]
fn a_byte_level_vocabulary_gives_every_string_back() {
    let tokenizer = Tokenizer::from_gguf(&discriminating("qwen2")).unwrap();
    assert_round_trip(&tokenizer, |_| false);
    let long = format!("{}x{}", " ".repeat(100_000), "\n".repeat(100_000));
    assert_eq!(tokenizer.decode(&tokenizer.encode(&long, PLAIN).unwrap(), false), long);
}

/// `metadata` with one value replaced, or taken out.
fn with(mut metadata: Metadata, key: &str, value: Option<Value>) -> Metadata {
    match value {
        Some(value) => {
            metadata.insert(key, value);
            metadata
        }
        None => metadata.iter().filter(|(name, _)| *name != key).map(|(name, value)| (name, value.clone())).collect(),
    }
}

fn texts(texts: &[&str]) -> Value {
    Value::from(texts.iter().map(|text| text.to_string()).collect::<Vec<_>>())
}

fn byte_level() -> Metadata {
    Metadata::from_iter([
        ("tokenizer.ggml.model", Value::from("gpt2")),
        ("tokenizer.ggml.pre", Value::from("gpt-2")),
        ("tokenizer.ggml.tokens", texts(&["a", "b", "ab", "<s>"])),
        ("tokenizer.ggml.token_type", Value::from(vec![1i32, 1, 1, 3])),
        ("tokenizer.ggml.merges", texts(&["a b"])),
        ("tokenizer.ggml.bos_token_id", Value::from(3u32)),
    ])
}

fn scored() -> Metadata {
    let mut tokens = vec!["<unk>".to_string(), "<s>".into(), "</s>".into()];
    tokens.extend((0..=255).map(|byte| format!("<0x{byte:02X}>")));
    tokens.extend(["▁", "a", "b", "ab", "ba", "▁a", "aba"].map(String::from));
    let mut types = vec![2i32, 3, 3];
    types.extend([6; 256]);
    types.extend([1; 7]);
    let mut scores = vec![0f32; 259];
    scores.extend([-9.0, -9.0, -9.0, -2.0, -1.0, -3.0, -4.0]);
    Metadata::from_iter([
        ("tokenizer.ggml.model", Value::from("llama")),
        ("tokenizer.ggml.tokens", Value::from(tokens)),
        ("tokenizer.ggml.token_type", Value::from(types)),
        ("tokenizer.ggml.scores", Value::from(scores)),
    ])
}

#[test]
fn a_small_byte_level_vocabulary() {
    let tokenizer = Tokenizer::from_gguf(&byte_level()).unwrap();
    let encode = |text, options| tokenizer.encode(text, options).unwrap();
    assert_eq!(encode("abba<s>", PARSED), [2, 1, 0, 3]);
    assert_eq!(encode("abba<s>", PLAIN), [2, 1, 0]);
    assert_eq!(encode("ab", Encode { add_bos: AddBos::Always, ..PLAIN }), [3, 2]);
    // A byte without a token is dropped, but what is left and right of it does not merge.
    assert_eq!(encode("a?b", PLAIN), [0, 1]);
    assert_eq!(tokenizer.decode(&[3, 2, 99], true), "ab\u{FFFD}");
    assert_eq!(tokenizer.decode(&[3, 2], false), "<s>ab");
    assert_eq!(tokenizer.special_tokens().collect::<Vec<_>>(), [(3, "<s>")]);
}

#[test]
fn a_small_scored_vocabulary() {
    let tokenizer = Tokenizer::from_gguf(&scored()).unwrap();
    let id = |text| tokenizer.token_id(text).unwrap();
    let encode = |text, options| tokenizer.encode(text, options).unwrap();
    // "ba" scores highest and merges first, so "▁abab" is "▁a", "ba", "b".
    assert_eq!(encode("abab", Encode::TEXT), [1, id("▁a"), id("ba"), id("b")]);
    assert_eq!(encode("é", PLAIN), [id("▁"), id("<0xC3>"), id("<0xA9>")]);
    assert_eq!(encode("a</s>a", PARSED), [id("▁a"), 2, id("▁a")]);
    assert_eq!(encode("", Encode::TEXT), [1]);
    assert_eq!(tokenizer.decode(&encode("ab é", Encode::TEXT), true), "ab é");
    let mut decoder = tokenizer.decoder();
    let streamed: Vec<_> = encode("aé", Encode::TEXT).iter().map(|&id| decoder.push(id)).collect();
    assert_eq!(streamed, ["", " a", "", "é"]);
    assert_eq!(tokenizer.end_of_generation_ids(), [2]);
}

#[test]
fn a_small_word_piece_vocabulary() {
    let tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "▁hug", "ging", "▁face", "▁!", "▁cafe", "s"];
    let metadata = Metadata::from_iter([
        ("tokenizer.ggml.model", Value::from("bert")),
        ("tokenizer.ggml.tokens", texts(&tokens)),
        ("tokenizer.ggml.token_type", Value::from(vec![3i32, 3, 3, 3, 1, 1, 1, 1, 1, 1])),
        ("tokenizer.ggml.unknown_token_id", Value::from(1u32)),
        ("tokenizer.ggml.cls_token_id", Value::from(2u32)),
        ("tokenizer.ggml.seperator_token_id", Value::from(3u32)),
    ]);
    let tokenizer = Tokenizer::from_gguf(&metadata).unwrap();
    let ids = tokenizer.encode("Hugging  FACE! Cafés xyz", Encode::TEXT).unwrap();
    assert_eq!(ids, [2, 4, 5, 6, 7, 8, 9, 1, 3]);
    assert_eq!(tokenizer.decode(&ids[..ids.len() - 2], true), "hugging face ! cafes");
}

#[test]
fn every_malformed_tokenizer_has_its_own_error() {
    let list = |texts_: &[&str]| Some(texts(texts_));
    let cases: Vec<(Metadata, &str, Option<Value>, &str)> = vec![
        (byte_level(), "tokenizer.ggml.model", None, "\"tokenizer.ggml.model\" is missing"),
        (byte_level(), "tokenizer.ggml.model", Some("t5".into()), "\"t5\"; supported are gpt2"),
        (byte_level(), "tokenizer.ggml.pre", Some("no-such".into()), "\"no-such\"; supported are default"),
        (byte_level(), "tokenizer.ggml.tokens", None, "\"tokenizer.ggml.tokens\" is missing"),
        (byte_level(), "tokenizer.ggml.tokens", Some(vec![1i32].into()), "array of i32; expected an array of strings"),
        (byte_level(), "tokenizer.ggml.tokens", list(&["a", "b", "a", "c"]), "tokens 0 and 2 are both \"a\""),
        (byte_level(), "tokenizer.ggml.token_type", Some(vec![1i32].into()), "1 entries for 4 tokens"),
        (byte_level(), "tokenizer.ggml.token_type", Some(vec![1i32, 1, 1, 7].into()), "token 3 has the type 7"),
        (
            byte_level(),
            "tokenizer.ggml.token_type",
            Some(vec![6i32, 1, 1, 1].into()),
            "\"a\" is not of the form <0x41>",
        ),
        (byte_level(), "tokenizer.ggml.merges", None, "\"tokenizer.ggml.merges\" is missing"),
        (byte_level(), "tokenizer.ggml.merges", list(&["ab"]), "merge 0 is \"ab\", not two tokens"),
        (byte_level(), "tokenizer.ggml.merges", list(&[""]), "merge 0 is \"\", not two tokens"),
        (byte_level(), "tokenizer.ggml.merges", list(&["a b", "a x"]), "merge 1 is \"a x\", but \"x\" is not a token"),
        (byte_level(), "tokenizer.ggml.merges", list(&["b a"]), "\"ba\" is not a token"),
        (
            byte_level(),
            "tokenizer.ggml.bos_token_id",
            Some(4u32.into()),
            "bos_token_id is 4, but there are only 4 tokens",
        ),
        (byte_level(), "tokenizer.ggml.bos_token_id", Some((-1i32).into()), "is -1; expected an integer"),
        (byte_level(), "tokenizer.ggml.add_eos_token", Some(true.into()), "eos_token_id is missing"),
        (byte_level(), "tokenizer.ggml.add_bos_token", Some(1u32.into()), "u32; expected a bool"),
        (scored(), "tokenizer.ggml.scores", None, "\"tokenizer.ggml.scores\" is missing"),
        (scored(), "tokenizer.ggml.scores", Some(vec![0f32].into()), "1 entries for 266 tokens"),
        (scored(), "tokenizer.ggml.scores", Some(vec![f32::NAN; 266].into()), "token 0 has the score NaN"),
    ];
    for (metadata, key, value, expected) in cases {
        let message = Tokenizer::from_gguf(&with(metadata, key, value)).unwrap_err().to_string();
        assert!(message.contains(expected), "{message:?} does not contain {expected:?}");
    }
    let empty = with(with(byte_level(), "tokenizer.ggml.tokens", list(&[])), "tokenizer.ggml.token_type", None);
    assert!(Tokenizer::from_gguf(&empty).unwrap_err().to_string().contains("is empty"));
    let no_bos = with(byte_level(), "tokenizer.ggml.bos_token_id", None);
    let tokenizer = Tokenizer::from_gguf(&no_bos).unwrap();
    assert!(tokenizer.encode("a", Encode { add_bos: AddBos::Always, ..PLAIN }).is_err());
}

#[test]
fn a_hugging_face_directory_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| std::fs::write(directory.path().join(name), text).unwrap();
    let missing = Tokenizer::from_file(directory.path()).unwrap_err().to_string();
    assert!(missing.contains("tokenizer.json"), "{missing}");
    write("tokenizer.json", "{".into());
    assert!(Tokenizer::from_file(directory.path()).is_err());

    let added = |id: u32, text: &str| {
        serde_json::json!({
            "id": id, "content": text, "special": true,
            "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
        })
    };
    let bytes = serde_json::json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": true,
    });
    let bos = serde_json::json!({"SpecialToken": {"id": "<s>", "type_id": 0}});
    let sequence = |id: &str| serde_json::json!({"Sequence": {"id": id, "type_id": 0}});
    let description = serde_json::json!({
        "version": "1.0",
        "truncation": {"max_length": 2, "strategy": "LongestFirst", "stride": 0, "direction": "Right"},
        "padding": null,
        "added_tokens": [added(4, "<s>"), added(5, "<|im_end|>")],
        "normalizer": null,
        "pre_tokenizer": bytes,
        "decoder": bytes,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [bos, sequence("A")],
            "pair": [sequence("A"), sequence("B")],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [4], "tokens": ["<s>"]}},
        },
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "Ġ": 3}, "merges": [["a", "b"]]},
    });
    write("tokenizer.json", description.to_string());
    write(
        "tokenizer_config.json",
        r#"{"eos_token": {"content": "<|im_end|>"}, "chat_template": "{{ bos_token }}{{ messages[0].content }}"}"#
            .into(),
    );
    let tokenizer = Tokenizer::from_file(directory.path()).unwrap();
    assert_eq!(tokenizer.encode("ab ab<s>", Encode { parse_special: true, ..Encode::TEXT }).unwrap(), [4, 2, 3, 2, 4]);
    assert_eq!(tokenizer.encode("<s>ab", PLAIN).unwrap(), [2]);
    assert_eq!((tokenizer.bos_id(), tokenizer.eos_id(), tokenizer.adds_bos()), (Some(4), Some(5), true));
    assert_eq!(tokenizer.end_of_generation_ids(), [5]);
    assert_eq!(tokenizer.decode(&[4, 2, 3, 2, 5], true), "ab ab");
    let template = ChatTemplate::from_directory(directory.path(), &tokenizer).unwrap();
    assert_eq!(template.render(&[Message::user("x")], &[], false).unwrap(), "<s>x");
    write("chat_template.jinja", "own {{ messages[0].role }}".into());
    let template = ChatTemplate::from_directory(directory.path(), &tokenizer).unwrap();
    assert_eq!(template.render(&[Message::user("x")], &[], false).unwrap(), "own user");
}
