//! The sources together: a local HTTP server plays the hub, a local directory the Hugging Face cache.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};

use super::cache::{Cache, part_path};
use super::hub::Hub;
use super::known::{HubFile, KnownHubFile, KnownModel};
use super::reference::Reference;
use super::{PullError, Silent, SourceError, fetch};

/// A file server that knows `HEAD`, ranges, and how to break off.
struct Server {
    endpoint: String,
    /// The request lines and range headers seen.
    requests: Arc<Mutex<Vec<String>>>,
}

/// How the server behaves.
#[derive(Clone)]
struct Behaviour {
    file: Vec<u8>,
    tag: String,
    /// The first response to a `GET` ends after so many bytes.
    break_off: Option<usize>,
    ranges: bool,
}

impl Server {
    fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = requests.clone();
        std::thread::spawn(move || {
            let mut behaviour = behaviour;
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let _ = answer(stream, &mut behaviour, &seen);
            }
        });
        Self { endpoint, requests }
    }

    fn ranges(&self) -> Vec<String> {
        let requests = self.requests.lock().unwrap();
        requests.iter().filter(|line| line.to_lowercase().starts_with("range:")).cloned().collect()
    }
}

fn answer(stream: TcpStream, behaviour: &mut Behaviour, seen: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().unwrap_or(Ok(String::new()))?;
    let mut start = 0;
    seen.lock().unwrap().push(request.clone());
    for line in lines {
        let line = line?;
        if line.is_empty() {
            break;
        }
        if let Some(range) = line.to_lowercase().strip_prefix("range: bytes=") {
            seen.lock().unwrap().push(line.clone());
            if behaviour.ranges {
                start = range.trim_end_matches('-').parse().unwrap();
            }
        }
    }
    let mut stream = stream;
    let total = behaviour.file.len();
    if request.starts_with("HEAD") {
        let tag = &behaviour.tag;
        return write!(
            stream,
            "HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\nx-linked-size: {total}\r\nx-linked-etag: \"{tag}\"\r\n\
             content-length: 0\r\nconnection: close\r\n\r\n"
        );
    }
    let body = &behaviour.file[start.min(total)..];
    let status = if start > 0 { "206 Partial Content" } else { "200 OK" };
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\ncontent-range: bytes {start}-{}/{total}\r\nconnection: close\r\n\r\n",
        body.len(),
        total - 1
    )?;
    let sent = behaviour.break_off.take().unwrap_or(body.len());
    stream.write_all(&body[..sent.min(body.len())])
}

fn contents() -> Vec<u8> {
    (0..200_000u32).flat_map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

fn hexadecimal_sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn server(break_off: Option<usize>, ranges: bool) -> Server {
    Server::start(Behaviour { file: contents(), tag: hexadecimal_sha256(&contents()), break_off, ranges })
}

fn hub_reference() -> Reference {
    Reference::Hub(HubFile { repository: "org/repo".into(), revision: "main".into(), file: "model.gguf".into() })
}

fn known_reference(sha256: &str, bytes: u64) -> Reference {
    Reference::Known(KnownModel {
        name: "tiny",
        aliases: &[],
        description: "",
        licence: "",
        file: "tiny.gguf",
        sha256: sha256.to_string().leak(),
        bytes,
        hub: KnownHubFile { repository: "org/repo", revision: "main", file: "model.gguf" },
        package: &[],
    })
}

fn known() -> Reference {
    known_reference(&hexadecimal_sha256(&contents()), contents().len() as u64)
}

fn pull_from(endpoint: &str, reference: &Reference, root: &Path) -> super::Result<std::path::PathBuf> {
    fetch(reference, &Cache::at(root, None), false, &Hub::at(endpoint), &mut Silent)
}

/// An address that refuses connections.
fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[test]
fn a_file_is_fetched_verified_and_then_found_without_the_network() {
    let root = tempfile::tempdir().unwrap();
    for reference in [hub_reference(), known()] {
        let path = pull_from(&server(None, true).endpoint, &reference, root.path()).unwrap();
        assert_eq!(fs::read(&path).unwrap(), contents());
        assert_eq!(pull_from(&nowhere(), &reference, root.path()).unwrap(), path);
    }
    let left: Vec<_> = fs::read_dir(root.path().join("models")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().ends_with(".part")), "{left:?}");
}

#[test]
fn a_broken_connection_is_resumed_with_a_range() {
    let root = tempfile::tempdir().unwrap();
    let server = server(Some(123_456), true);
    let path = pull_from(&server.endpoint, &known(), root.path()).unwrap();
    assert_eq!(fs::read(path).unwrap(), contents());
    assert_eq!(server.ranges().len(), 1, "{:?}", server.ranges());
    assert!(server.ranges()[0].ends_with("bytes=123456-"));
}

#[test]
fn a_part_of_an_earlier_run_is_resumed() {
    let root = tempfile::tempdir().unwrap();
    let reference = known();
    let target = Cache::at(root.path(), None).path(&reference);
    fs::create_dir_all(target.parent().unwrap()).unwrap();
    fs::write(part_path(&target, &hexadecimal_sha256(&contents())), &contents()[..500_000]).unwrap();
    let server = server(None, true);
    let path = pull_from(&server.endpoint, &reference, root.path()).unwrap();
    assert_eq!(fs::read(path).unwrap(), contents());
    assert!(server.ranges()[0].ends_with("bytes=500000-"), "{:?}", server.ranges());
}

#[test]
fn a_server_without_ranges_sends_the_file_again() {
    let root = tempfile::tempdir().unwrap();
    let path = pull_from(&server(Some(1_000), false).endpoint, &known(), root.path()).unwrap();
    assert_eq!(fs::read(path).unwrap(), contents());
}

#[test]
fn another_file_on_the_hub_is_refused_before_it_is_fetched() {
    let root = tempfile::tempdir().unwrap();
    let server = server(None, true);
    let reference = known_reference(&"0".repeat(64), contents().len() as u64);
    let error = pull_from(&server.endpoint, &reference, root.path()).unwrap_err();
    let PullError::AllSourcesFailed { tried, .. } = &error else { panic!("{error}") };
    assert!(matches!(tried[0].error, SourceError::WrongChecksum { .. }), "{error}");
    assert!(server.requests.lock().unwrap().iter().all(|line| !line.starts_with("GET")));
}

#[test]
fn a_download_that_does_not_match_its_checksum_leaves_nothing_behind() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(Behaviour { file: contents(), tag: "f".repeat(64), break_off: None, ranges: true });
    let error = pull_from(&server.endpoint, &hub_reference(), root.path()).unwrap_err().to_string();
    assert!(error.contains(&hexadecimal_sha256(&contents())) && error.contains(&"f".repeat(64)), "{error}");
    let folder = root.path().join("models/org/repo");
    let left: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["model.gguf.lock"]);
}

#[test]
fn an_unreachable_hub_fails_quickly_and_says_what_was_tried() {
    let root = tempfile::tempdir().unwrap();
    let started = std::time::Instant::now();
    let error = pull_from(&nowhere(), &known(), root.path()).unwrap_err().to_string();
    assert!(started.elapsed().as_secs() < 5);
    assert!(error.contains("the hub (org/repo/model.gguf)") && error.contains("tiny.gguf"), "{error}");
}

#[test]
fn offline_says_what_to_run_and_where_the_file_is_expected() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::at(root.path(), None);
    let error = fetch(&known(), &cache, true, &Hub::at(&nowhere()), &mut Silent).unwrap_err().to_string();
    assert!(error.contains("headwise pull tiny") && error.contains("tiny.gguf"), "{error}");
}

#[test]
fn a_copy_in_the_hugging_face_cache_is_used_where_it_lies() {
    let root = tempfile::tempdir().unwrap();
    let hugging_face = tempfile::tempdir().unwrap();
    let snapshot = |revision: &str| hugging_face.path().join("models--org--repo/snapshots").join(revision);
    for (revision, bytes) in [("old", b"another revision".to_vec()), ("new", contents())] {
        fs::create_dir_all(snapshot(revision)).unwrap();
        fs::write(snapshot(revision).join("model.gguf"), bytes).unwrap();
    }
    let cache = Cache::at(root.path(), Some(hugging_face.path()));
    let path = fetch(&known(), &cache, true, &Hub::at(&nowhere()), &mut Silent).unwrap();
    assert_eq!(path, snapshot("new").join("model.gguf"));
}

#[test]
fn a_changed_file_in_the_cache_is_noticed() {
    let root = tempfile::tempdir().unwrap();
    let path = pull_from(&server(None, true).endpoint, &known(), root.path()).unwrap();
    let mut changed = contents();
    changed[1000] ^= 1;
    fs::write(&path, &changed).unwrap();
    let error = pull_from(&nowhere(), &known(), root.path()).unwrap_err();
    assert!(matches!(error, PullError::Corrupt { what: "SHA-256", .. }), "{error}");
    fs::write(&path, b"short").unwrap();
    let error = pull_from(&nowhere(), &known(), root.path()).unwrap_err();
    assert!(matches!(error, PullError::Corrupt { what: "size", .. }), "{error}");
}

#[test]
fn two_pulls_at_once_fetch_once() {
    let root = tempfile::tempdir().unwrap();
    let server = server(None, true);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| pull_from(&server.endpoint, &known(), root.path()).unwrap());
        }
    });
    let gets = server.requests.lock().unwrap().iter().filter(|line| line.starts_with("GET")).count();
    assert_eq!(gets, 1);
}

#[test]
fn an_existing_path_is_resolved_as_it_is_and_a_missing_one_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("my.gguf");
    fs::write(&path, b"x").unwrap();
    let cache = Cache::at(root.path(), None);
    assert_eq!(super::locate(&path, &cache).unwrap(), path);
    let error = super::locate(Path::new("smollm2-135m"), &cache).unwrap_err();
    assert!(matches!(error, PullError::NotCached { .. }), "{error}");
    let error = super::locate(&root.path().join("none.gguf"), &cache).unwrap_err();
    assert!(matches!(error, PullError::Unknown { .. }), "{error}");
}
