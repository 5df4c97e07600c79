//! The Hugging Face hub over HTTPS, and its local cache.
//!
//! A plain HTTP client and not the `hf-hub` crate: the hub's part here is one `HEAD` and one `GET` with a range, while
//! that crate brings an asynchronous runtime and about 250 more crates, and keeps files in its own layout without
//! resuming into ours.
//!
//! `HEAD endpoint/org/repo/resolve/revision/file` answers with `x-linked-size` and `x-linked-etag`, which for a large
//! file is its SHA-256.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::http::{Response, StatusCode, header};
use ureq::{Agent, Body};

use super::Progress;
use super::cache::{Cache, part_path};
use super::error::{PullError, SourceError};
use super::known::{HubFile, KnownModel};

/// Unreachable must be known quickly, for the next source to be tried.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(20);
/// A connection that delivers nothing for so long is broken.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a broken download is resumed without any progress in between.
const FRUITLESS_RETRIES: usize = 2;

type Result<T> = std::result::Result<T, SourceError>;

/// The hub at one address.
pub(super) struct Hub {
    endpoint: String,
    agent: Agent,
}

/// What the hub says of a file before it is fetched.
struct FileFacts {
    bytes: Option<u64>,
    /// The SHA-256, where the hub states one.
    sha256: Option<String>,
    /// Whatever identifies this version of the file.
    tag: String,
}

impl Hub {
    /// The hub that `HF_ENDPOINT` names, or the public one.
    pub(super) fn from_environment() -> Self {
        let endpoint = std::env::var("HF_ENDPOINT").ok().filter(|endpoint| !endpoint.is_empty());
        Self::at(endpoint.as_deref().unwrap_or("https://huggingface.co"))
    }

    /// The hub at `endpoint`, such as a mirror.
    pub(super) fn at(endpoint: &str) -> Self {
        let config = Agent::config_builder()
            .timeout_resolve(Some(CONNECT_TIMEOUT))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(RESPONSE_TIMEOUT))
            .timeout_per_read(Some(STALL_TIMEOUT))
            .http_status_as_error(false)
            .user_agent(concat!("headwise/", env!("CARGO_PKG_VERSION")))
            // Ranges count bytes of the file, not of a compressed form of it.
            .accept_encoding("identity")
            .build();
        Self { endpoint: endpoint.trim_end_matches('/').to_string(), agent: config.into() }
    }

    /// Downloads `file` to `target` by way of a `.part` file, which is resumed if there is one.
    pub(super) fn download(
        &self,
        file: &HubFile,
        known: Option<&KnownModel>,
        cache: &Cache,
        target: &Path,
        progress: &mut dyn Progress,
    ) -> Result<()> {
        let url = format!("{}/{}/resolve/{}/{}", self.endpoint, file.repository, file.revision, file.file);
        let mut facts = self.facts(&url)?;
        if let Some(model) = known {
            facts.check_against(model)?;
        }
        let part = part_path(target, facts.sha256.as_deref().unwrap_or(&facts.tag));
        progress.start(&format!("downloading {file}"), facts.bytes);
        let fetched = self.fetch(&url, &part, facts.bytes, progress);
        progress.finish();
        fetched?;
        cache.accept(&part, target, facts.bytes, facts.sha256.as_deref(), progress)
    }

    /// Asks for the size and checksum of a file. The answer is on the hub's own response, before the redirect to its
    /// storage.
    fn facts(&self, url: &str) -> Result<FileFacts> {
        let request = self.agent.head(url).config().max_redirects(0).max_redirects_will_error(false).build();
        let response = request.call().map_err(network)?;
        let status = response.status();
        if !status.is_success() && !status.is_redirection() {
            return Err(SourceError::Status { status: status.as_u16() });
        }
        let text = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let unquoted = |tag: &str| tag.trim_start_matches("W/").trim_matches('"').to_lowercase();
        let tag = text("x-linked-etag").or(text("etag")).map(unquoted).unwrap_or_default();
        let direct = text("content-length").filter(|_| status.is_success());
        let bytes = text("x-linked-size").or(direct).and_then(|bytes| bytes.parse().ok());
        let sha256 = (tag.len() == 64 && tag.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| tag.clone());
        Ok(FileFacts { bytes, sha256, tag })
    }

    /// Appends to `part` until it has `bytes` bytes (or the server has no more), resuming broken connections.
    fn fetch(&self, url: &str, part: &Path, bytes: Option<u64>, progress: &mut dyn Progress) -> Result<()> {
        let mut file = open(part).map_err(PullError::io("write", part))?;
        let mut have = file.metadata().map_err(PullError::io("read", part))?.len();
        progress.advance(have);
        let mut fruitless = 0;
        while bytes != Some(have) {
            let before = have;
            match self.fetch_from(url, &mut file, &mut have, part, progress) {
                Ok(()) if bytes.is_none_or(|bytes| have >= bytes) => break,
                Ok(()) => tracing::debug!("the connection ended after {have} bytes"),
                Err(error @ (SourceError::Status { .. } | SourceError::Local(_))) => return Err(error),
                Err(error) if fruitless == FRUITLESS_RETRIES => return Err(error),
                Err(error) => tracing::debug!("{error}; resuming at {have} bytes"),
            }
            fruitless = if have > before { 0 } else { fruitless + 1 };
            if fruitless > FRUITLESS_RETRIES {
                return Err(SourceError::Network(format!("the connection ended after {have} bytes")));
            }
        }
        file.sync_all().map_err(PullError::io("write", part))?;
        Ok(())
    }

    /// One request for the bytes from `have` on, appended to `file`.
    fn fetch_from(
        &self,
        url: &str,
        file: &mut File,
        have: &mut u64,
        part: &Path,
        progress: &mut dyn Progress,
    ) -> Result<()> {
        let mut request = self.agent.get(url);
        if *have > 0 {
            request = request.header(header::RANGE, format!("bytes={have}-"));
        }
        let mut response = request.call().map_err(network)?;
        match response.status() {
            StatusCode::PARTIAL_CONTENT if range_start(&response) == Some(*have) => {}
            StatusCode::OK => {
                // The server sends the whole file: what is there already is overwritten.
                file.set_len(0).map_err(PullError::io("write", part))?;
                *have = 0;
            }
            // The part is as long as the file, or longer: the checksum will tell.
            StatusCode::RANGE_NOT_SATISFIABLE => return Ok(()),
            status => return Err(SourceError::Status { status: status.as_u16() }),
        }
        file.seek(SeekFrom::Start(*have)).map_err(PullError::io("write", part))?;
        let mut body = response.body_mut().as_reader();
        let mut buffer = vec![0; 1 << 17];
        loop {
            let read = body.read(&mut buffer).map_err(|error| SourceError::Network(error.to_string()))?;
            if read == 0 {
                return Ok(());
            }
            file.write_all(&buffer[..read]).map_err(PullError::io("write", part))?;
            *have += read as u64;
            progress.advance(read as u64);
        }
    }
}

impl FileFacts {
    /// The hub's file must be the one of the table, as far as the hub says; the checksum of the table is the one to be
    /// met.
    fn check_against(&mut self, model: &KnownModel) -> Result<()> {
        if let Some(found) = self.bytes.filter(|&bytes| bytes != model.bytes) {
            return Err(SourceError::WrongSize { found, expected: model.bytes });
        }
        if let Some(found) = self.sha256.take().filter(|sha256| sha256 != model.sha256) {
            return Err(SourceError::WrongChecksum { found, expected: model.sha256.into() });
        }
        self.bytes = Some(model.bytes);
        self.sha256 = Some(model.sha256.into());
        Ok(())
    }
}

/// The first byte of a partial response.
fn range_start(response: &Response<Body>) -> Option<u64> {
    let range = response.headers().get(header::CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}

fn open(part: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).read(true).write(true).truncate(false).open(part)
}

fn network(error: ureq::Error) -> SourceError {
    SourceError::Network(error.to_string())
}

/// The `hub` directory of the local Hugging Face cache, by the variables that the Python library reads.
pub(super) fn local_cache() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("HF_HUB_CACHE")
        .or_else(|| variable("HF_HOME").map(|home| home.join("hub")))
        .or_else(|| variable("XDG_CACHE_HOME").map(|cache| cache.join("huggingface/hub")))
        .or_else(|| dirs::home_dir().map(|home| home.join(".cache/huggingface/hub")))
}

/// The copies of `file` in a local Hugging Face cache: one for each revision that was fetched.
pub(super) fn local_copies(hugging_face: &Path, file: &HubFile) -> Vec<PathBuf> {
    let repository = format!("models--{}", file.repository.replace('/', "--"));
    let snapshots = hugging_face.join(repository).join("snapshots");
    let Ok(revisions) = fs::read_dir(snapshots) else { return Vec::new() };
    let copies = revisions.flatten().map(|revision| revision.path().join(&file.file));
    copies.filter(|copy| copy.is_file()).collect()
}
