//! Files that a command will write, opened before its work begins.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;

use serde::Serialize;

use super::Outcome;

/// A file to be written, or standard output. The file appears under its name only when it is whole.
pub struct Output {
    target: Option<Target>,
}

struct Target {
    path: PathBuf,
    part: PathBuf,
    file: File,
}

impl Output {
    /// Opens `name`; `-` is standard output. Fails now if the file cannot be written later.
    pub fn open(name: &str) -> Result<Self, String> {
        if name == "-" {
            return Ok(Self { target: None });
        }
        let path = PathBuf::from(name);
        let failed = |error: io::Error| format!("cannot write {name}: {error}");
        if path.is_dir() {
            return Err(format!("cannot write {name}: it is a directory"));
        }
        let part = PathBuf::from(format!("{name}.part"));
        let file = File::create(&part).map_err(failed)?;
        Ok(Self { target: Some(Target { path, part, file }) })
    }

    /// Whether this is standard output.
    pub fn is_stdout(&self) -> bool {
        self.target.is_none()
    }

    /// Writes `value` as JSON.
    pub fn write_json(self, value: &impl Serialize) -> Outcome {
        Ok(self.write(serde_json::to_string_pretty(value)? + "\n")?)
    }

    /// Writes everything.
    pub fn write(mut self, contents: impl AsRef<[u8]>) -> io::Result<()> {
        match self.target.take() {
            Some(Target { path, part, mut file }) => {
                file.write_all(contents.as_ref())?;
                file.sync_all()?;
                fs::rename(part, path)
            }
            None => io::stdout().lock().write_all(contents.as_ref()),
        }
    }
}

impl Drop for Output {
    /// A command that failed leaves no empty file, and an older one as it was.
    fn drop(&mut self) {
        if let Some(Target { part, .. }) = &self.target {
            let _ = fs::remove_file(part);
        }
    }
}

/// The time, as pages show it.
pub fn now() -> String {
    jiff::Zoned::now().strftime("%Y-%m-%d %H:%M").to_string()
}

/// The page and the rows that a command writes, opened before its work begins.
pub struct Report {
    page: Output,
    /// The name of the page's file.
    name: String,
    rows: Option<Output>,
}

impl Report {
    /// Opens the page `html` and, if wanted, the rows `json`; only one of them can be standard output.
    pub fn open(html: &str, json: Option<&str>) -> Result<Self, String> {
        let page = Output::open(html)?;
        let rows = json.map(Output::open).transpose()?;
        if page.is_stdout() && rows.as_ref().is_some_and(Output::is_stdout) {
            return Err("--html - and --json - cannot both be standard output".into());
        }
        Ok(Self { page, name: html.to_owned(), rows })
    }

    /// Prints `summary`, on standard error if standard output is taken, and writes rows and page.
    pub fn write(self, summary: &str, rows: &impl Serialize, page: &str) -> Outcome {
        if self.page.is_stdout() || self.rows.as_ref().is_some_and(Output::is_stdout) {
            eprint!("{summary}");
        } else {
            print!("{summary}");
        }
        if let Some(json) = self.rows {
            json.write_json(rows)?;
        }
        let written = !self.page.is_stdout();
        self.page.write(page)?;
        if written {
            eprintln!("report: {}", self.name);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_appear_whole_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("report.html");
        fs::write(&path, "old").unwrap();
        drop(Output::open(path.to_str().unwrap()).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        Output::open(path.to_str().unwrap()).unwrap().write("new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_written_is_an_error_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing/report.html");
        assert!(Output::open(missing.to_str().unwrap()).is_err());
        assert!(Output::open(directory.path().to_str().unwrap()).is_err());
    }
}
