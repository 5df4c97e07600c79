//! Where the files of a spec are.

use std::path::Path;

use super::{SpecError, TrainSpec};
use crate::checkpoint;
use crate::data::{SourceSpec, TokenizerSpec};

impl TrainSpec {
    /// Reads the file at `path`. Paths in it are relative to its folder.
    pub fn open(path: &Path) -> Result<Self, SpecError> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|source| SpecError::Io { path: name.clone(), source })?;
        let mut spec = Self::parse(&text).map_err(|error| match error {
            SpecError::Toml { reason, .. } => SpecError::Toml { path: name, reason },
            other => other,
        })?;
        spec.folder = path.parent().unwrap_or(Path::new("")).to_owned();
        let folder = spec.folder.clone();
        spec.each_path(|path| *path = folder.join(&*path).to_string_lossy().into_owned());
        Ok(spec)
    }

    /// SHA-256 of the spec with its paths as they are from its own folder, so that a run which moves with its files goes on.
    pub fn hash(&self) -> String {
        let mut written = self.clone();
        written.each_path(|path| {
            if let Ok(inside) = Path::new(&*path).strip_prefix(&self.folder) {
                *path = inside.to_string_lossy().into_owned();
            }
        });
        checkpoint::hash(toml::to_string(&written).expect("a spec is plain data").as_bytes())
    }

    fn each_path(&mut self, change: impl FnMut(&mut String)) {
        let teacher = self.distil.iter_mut().map(|distil| &mut distil.teacher);
        let tokenizer = match &mut self.data.tokenizer {
            TokenizerSpec::TokenizerFile(file) => Some(&mut file.path),
            _ => None,
        };
        let evaluation = self.evaluation.iter_mut().flat_map(|evaluation| &mut evaluation.sources);
        let staged = self.stages.iter_mut().filter_map(|stage| stage.sources.as_mut()).flatten();
        let sources = self.data.sources.iter_mut().chain(staged).chain(evaluation);
        let start = self.model.start.path().into_iter();
        start.chain(teacher).chain(tokenizer).chain(sources.filter_map(SourceSpec::path)).for_each(change);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_moves_keeps_its_hash() {
        let text = |path: &str| {
            format!(
                "[model]\ndim = 8\ncontext = 8\nlayers = [{{ mixer = \"softmax(heads=2)\", channel = \"gated(hidden=8)\" }}]\n\
                 [data]\nsources = [\"text(path=\\\"{path}\\\")\"]\n[[stages]]\nsteps = 1\nsequences = 1\nlength = 8\n"
            )
        };
        let open = |folder: &Path, path: &str| {
            let file = folder.join("run.toml");
            std::fs::write(&file, text(path)).unwrap();
            TrainSpec::open(&file).unwrap()
        };
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (mut original, moved) = (open(here.path(), "book.txt"), open(there.path(), "book.txt"));
        assert_ne!(original.data.sources, moved.data.sources, "paths are resolved");
        assert_eq!(original.hash(), moved.hash());
        assert_eq!(original.hash(), TrainSpec::parse(&text("book.txt")).unwrap().hash());
        assert_ne!(original.hash(), open(there.path(), "other.txt").hash());
        original.seed = 1;
        assert_ne!(original.hash(), moved.hash());
    }
}
