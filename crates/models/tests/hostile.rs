//! Malformed model files: every one is refused with an error that says what is wrong, and nothing panics.
//!
//! The folder `hostile/` holds the files and a README with the exact message for each; a file or a line without its
//! counterpart fails. What is made by hand is in `hostile/corpus.rs` and written by
//! `cargo test -p headwise-models --test hostile -- --ignored`; findings of the fuzzer are added as they are.

#[path = "hostile/corpus.rs"]
mod corpus;
#[path = "hostile/writer.rs"]
mod writer;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use headwise_models::gguf::{Array, Gguf, Value};
use headwise_models::mapped::Mapped;
use headwise_models::safetensors::Checkpoint;
use writer::{ARRAY, BOOL, F32, Q4_0, STRING, U32, Writer};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hostile")
}

/// The rows `| file | message |` of the README.
fn expectations() -> BTreeMap<String, String> {
    let readme = fs::read_to_string(folder().join("README.md")).expect("the README of the corpus");
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |")?.split_once("` | "));
    rows.map(|(file, message)| (file.to_owned(), message.to_owned())).collect()
}

/// The files and folders of the corpus.
fn names() -> Vec<String> {
    let entries = fs::read_dir(folder()).expect("the corpus").map(|entry| entry.expect("a readable entry"));
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().into_string().expect("UTF-8")).collect();
    names.retain(|name| !name.ends_with(".rs") && name != "README.md");
    names.sort();
    names
}

/// What opening a file or folder of the corpus says, with paths as seen from the corpus.
fn message(name: &str) -> Option<String> {
    let path = folder().join(name);
    let error = match name.ends_with(".gguf") {
        true => Gguf::open(&path).err()?.to_string(),
        false => Checkpoint::open(&path).err()?.to_string(),
    };
    let message = error.replace(&format!("{}/", folder().display()), "");
    // Most messages start with the file.
    Some(message.strip_prefix(&format!("{name}: ")).map(str::to_owned).unwrap_or(message))
}

#[test]
fn every_file_is_refused_with_the_message_of_the_readme() {
    let expectations = expectations();
    let messages: BTreeMap<String, String> =
        names().into_iter().map(|name| (name.clone(), message(&name).unwrap_or("opened".to_owned()))).collect();
    assert!(messages.len() > 50, "the corpus is there");
    for (name, message) in &messages {
        assert_eq!(expectations.get(name), Some(message), "{name}");
    }
    assert_eq!(expectations.len(), messages.len(), "a file is missing");
}

#[test]
fn the_corpus_is_what_the_code_writes() {
    for (name, bytes) in corpus::files() {
        assert_eq!(fs::read(folder().join(name)).ok(), Some(bytes), "{name}");
    }
}

#[test]
#[ignore = "rewrites the files made by hand, and prints the messages for the README"]
fn write_the_corpus() {
    for (name, bytes) in corpus::files() {
        let path = folder().join(name);
        fs::create_dir_all(path.parent().expect("inside the corpus")).expect("a folder");
        fs::write(path, bytes).expect("a writable corpus");
    }
    for name in names() {
        println!("| `{name}` | {} |", message(&name).unwrap_or("opened".to_owned()));
    }
}

/// A small valid file with values and tensors of several kinds; it ends with the last tensor.
fn valid() -> Vec<u8> {
    Writer::gguf(3, 2, 4)
        .key("name", STRING)
        .string("né".as_bytes())
        .key("flag", BOOL)
        .raw(&[1])
        .key("general.alignment", U32)
        .u32(8)
        .key("nested", ARRAY)
        .array(ARRAY, 2)
        .array(U32, 1)
        .u32(7)
        .array(STRING, 1)
        .string(b"x")
        .tensor("matrix", &[32, 2], Q4_0, 8)
        .tensor("vector", &[2], F32, 0)
        .data(8, 8 + 2 * 18)
        .finish()
}

#[test]
fn a_valid_file_reads_back() {
    let gguf = Gguf::parse(Mapped::from(valid())).expect("a valid file");
    assert_eq!(gguf.metadata().string("name"), Ok("né"));
    assert_eq!(gguf.metadata().bool("flag"), Ok(true));
    let nested = Array::Array(vec![Array::U32(vec![7]), Array::String(vec!["x".to_owned()])]);
    assert_eq!(gguf.metadata().get("nested"), Some(&Value::Array(nested)));
    // The file has the innermost dimension first, the shape the outermost; tensors stay in the order of the directory.
    assert_eq!(gguf.tensors()[0].name, "matrix");
    assert_eq!(gguf.tensors()[0].shape, [2, 32]);
    let file = valid().len();
    assert_eq!(gguf.tensor("matrix").map(|tensor| tensor.blob.range()), Some(file - 36..file));
    assert_eq!(gguf.tensor("vector").map(|tensor| tensor.blob.range()), Some(file - 44..file - 36));
}

#[test]
fn every_truncation_is_an_error() {
    let bytes = valid();
    for length in 0..bytes.len() {
        let parsed = Gguf::parse(Mapped::from(bytes[..length].to_vec()));
        assert!(parsed.is_err(), "cut to {length} of {} bytes", bytes.len());
    }
}

/// Whatever one byte is changed to, tensors that are handed out are inside the file and of the size their shape says.
#[test]
fn any_changed_byte_leaves_tensors_inside_the_file() {
    let bytes = valid();
    let mut accepted = 0;
    for at in 0..bytes.len() {
        for value in [0, 1, 2, 5, 0x20, 0x7F, 0x80, 0xFF] {
            let mut changed = bytes.clone();
            changed[at] = value;
            let Ok(gguf) = Gguf::parse(Mapped::from(changed)) else { continue };
            accepted += 1;
            for tensor in gguf.tensors() {
                assert_eq!(tensor.ty.bytes_for(tensor.elements()), Some(tensor.blob.bytes().len()));
            }
        }
    }
    // Names, numbers and weights may be anything; the rest may not.
    assert!((200..bytes.len() * 8 / 2).contains(&accepted), "{accepted} accepted");
}
