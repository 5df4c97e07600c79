//! Files that were written are read, others are not.

use super::*;
use crate::data::{Slot, SourceSpec, Text};
use std::path::PathBuf;

/// Three texts, one of them empty, and a file of their bytes.
fn written() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let texts = folder.path().join("texts");
    std::fs::create_dir(&texts).unwrap();
    for (name, text) in [("a.txt", "abcdefghij".repeat(5)), ("b.txt", String::new()), ("c.txt", "0123".repeat(9))] {
        std::fs::write(texts.join(name), text).unwrap();
    }
    let out = folder.path().join("tokens");
    let mut read = 0;
    let found = write_tokens(&[texts], &Codec::Bytes, &out, &mut |_| read += 1).unwrap();
    assert_eq!((found, read), (Written { texts: 3, tokens: 86 }, 3));
    (folder, out)
}

fn open(path: &Path, codec: &Codec) -> Result<Box<dyn Source>, String> {
    let spec = SourceSpec::from(Tokens { path: path.display().to_string(), ..Tokens::default() });
    spec.open(codec).map_err(|error| error.to_string())
}

#[test]
fn windows_are_those_of_the_text() {
    let (folder, out) = written();
    let texts = Text { path: folder.path().join("texts").display().to_string(), ..Text::default() };
    let sources = [open(&out, &Codec::Bytes).unwrap(), SourceSpec::from(texts).open(&Codec::Bytes).unwrap()];
    for length in [1, 7, 16, 85, 200] {
        for index in 0..40 {
            let slot = Slot { seed: 5, stage: 1, step: 3, index, length };
            let [file, text] = sources.each_ref().map(|source| source.documents(&slot, index, &Codec::Bytes).unwrap());
            assert_eq!(file, text, "{length} tokens, sequence {index}");
        }
    }
    // Nothing but the two is left.
    assert_eq!(folder.path().read_dir().unwrap().count(), 2);
}

#[test]
fn ids_of_four_bytes_are_read() {
    let (_folder, out) = written();
    let narrow = std::fs::read(&out).unwrap();
    let header = Header { width: 4, ..Header::read(&narrow).unwrap() };
    let starts = &narrow[header.starts()];
    let ids = narrow[header.starts().end..].chunks_exact(2).flat_map(|id| [id[0], id[1], 0, 0]);
    let wide: Vec<u8> = header.bytes(starts).into_iter().chain(starts.iter().copied()).chain(ids).collect();
    let other = out.with_extension("wide");
    std::fs::write(&other, wide).unwrap();
    let slot = Slot { seed: 5, stage: 1, step: 3, index: 0, length: 16 };
    let [narrow, wide] =
        [out, other].map(|path| open(&path, &Codec::Bytes).unwrap().documents(&slot, 0, &Codec::Bytes).unwrap());
    assert_eq!(narrow, wide);
}

#[test]
fn other_tokenizers_and_files_are_refused() {
    let (folder, out) = written();
    let refused = |bytes: &[u8]| {
        let path = folder.path().join("other");
        std::fs::write(&path, bytes).unwrap();
        open(&path, &Codec::Bytes).unwrap_err()
    };
    let good = std::fs::read(&out).unwrap();
    assert!(refused(b"").contains("does not begin"));
    assert!(refused(b"some text, no tokens").contains("does not begin"));
    assert!(refused(&good[..60]).contains("60 bytes, within its header"));
    assert!(refused(&good[..good.len() - 1]).contains("its 86 ids of 3 texts take 276"), "{}", good.len());
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    assert!(refused(&with(8, 9)).contains("version 9"));
    assert!(refused(&with(12, 3)).contains("3 bytes each"));
    assert!(refused(&with(31, 255)).contains("damaged"));
    assert!(refused(&with(39, 255)).contains("damaged"));
    assert!(refused(&with(16, 7)).contains("checksum"));
    assert!(refused(&with(40, 7)).contains("checksum"));
    assert!(refused(&with(81, 7)).contains("checksum"));
    // A sound header with starts that make no sense.
    let header = Header::read(&good).unwrap();
    for starts in [[0_u64, 50, 87], [0, 51, 50]] {
        let starts: Vec<u8> = starts.iter().flat_map(|start| start.to_le_bytes()).collect();
        let file = [&header.bytes(&starts), starts.as_slice(), &good[header.starts().end..]].concat();
        assert!(refused(&file).contains("one after the other"));
    }
    let other = Header { tokenizer: [1; 32], ..header.clone() };
    let file = [&other.bytes(&good[header.starts()]), &good[HEADER..]].concat();
    assert!(refused(&file).contains("another tokenizer"));
    assert!(open(&folder.path().join("none"), &Codec::Bytes).unwrap_err().contains("none"));
}

#[test]
fn what_cannot_be_written_leaves_nothing() {
    let (folder, _) = written();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("broken"), [b'a', 0xff]).unwrap();
    std::fs::write(path("short"), "a").unwrap();
    let refused = |input: &str, out: &str| {
        write_tokens(&[path(input)], &Codec::Bytes, &path(out), &mut |_| {}).unwrap_err().to_string()
    };
    for (input, part) in [("broken", "byte 1"), ("short", "less than two tokens"), ("none", "none")] {
        let error = refused(input, "out");
        assert!(error.contains(part), "{error}");
        assert!(!path("out").exists() && !path("out.part").exists());
    }
    assert!(refused("texts", "texts").contains("directory") && path("texts").is_dir());
}
