//! SHA-256 of files, with progress.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::error::PullError;
use super::{Progress, Result};

/// The SHA-256 of the file at `path`, in lower-case hexadecimal digits.
pub(super) fn sha256(path: &Path, progress: &mut dyn Progress) -> Result<String> {
    let mut file = File::open(path).map_err(PullError::io("read", path))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    progress.start(&format!("verifying {name}"), file.metadata().ok().map(|metadata| metadata.len()));
    let result = digest(&mut file, progress);
    progress.finish();
    result.map_err(PullError::io("read", path))
}

fn digest(reader: &mut impl Read, progress: &mut dyn Progress) -> std::io::Result<String> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = reader.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
        progress.advance(read as u64);
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pull::Silent;

    #[test]
    fn equals_the_published_test_vectors() {
        let of = |text: &str| digest(&mut text.as_bytes(), &mut Silent).unwrap();
        assert_eq!(of(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(of("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
