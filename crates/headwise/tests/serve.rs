//! `headwise serve` as a process: it listens, answers, and ends when it is asked to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

struct Server {
    process: Child,
    address: String,
}

impl Server {
    fn start(arguments: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_headwise"))
            .args(["serve", "--port", "0"])
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let address = lines
            .find_map(|line| Some(line.unwrap().strip_prefix("http://")?.split(' ').next()?.to_owned()))
            .expect("the address");
        // What is logged later is read and forgotten, so that the process can write it.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, address }
    }

    fn connect(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream
    }

    fn send(&self, request: &str) -> String {
        let mut text = String::new();
        self.connect(request).read_to_string(&mut text).unwrap();
        text
    }

    fn post(&self, body: &str) -> String {
        self.send(&post(body))
    }

    #[cfg(unix)]
    fn terminate(&mut self) -> std::process::ExitStatus {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        self.process.wait().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn post(body: &str) -> String {
    let length = body.len();
    format!("POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}")
}

const BODY: &str =
    r#"{"prompt": "The boats lay still in the harbour that morning.", "max_tokens": 8, "temperature": 0}"#;

#[cfg(unix)]
#[test]
fn prompts_of_one_run_are_there_in_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let prompts = directory.path().join("prompts");
    let cached = |answer: &str| answer.contains("\"cached_tokens\":0}");
    let mut first = Server::start(&["--prefix-dir", prompts.to_str().unwrap()]);
    let said = first.post(BODY);
    assert!(said.starts_with("HTTP/1.1 200") && cached(&said), "{said}");
    assert!(first.terminate().success());
    assert!(Path::new(&prompts).read_dir().unwrap().count() > 0);
    let second = Server::start(&["--prefix-dir", prompts.to_str().unwrap()]);
    let again = second.post(BODY);
    assert!(again.starts_with("HTTP/1.1 200") && !cached(&again), "{again}");
    let text =
        |answer: &str| answer.split("\"text\":").nth(1).and_then(|rest| rest.split("\",").next().map(str::to_owned));
    assert_eq!(text(&said), text(&again));
}

#[cfg(unix)]
#[test]
fn several_models_keep_their_prompts_apart() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = ["--prefix-dir", directory.path().to_str().unwrap(), "headwise-tiny", "other=headwise-tiny"];
    let of = |name: &str| BODY.replacen('{', &format!("{{\"model\": \"{name}\", "), 1);
    let mut first = Server::start(&arguments);
    let said = first.post(&of("other"));
    assert!(said.starts_with("HTTP/1.1 200") && said.contains("\"model\":\"other\""), "{said}");
    assert!(first.terminate().success());
    let second = Server::start(&arguments);
    let cached = |answer: &str| !answer.contains("\"cached_tokens\":0}");
    assert!(!cached(&second.post(BODY)), "the first model has read nothing yet");
    assert!(cached(&second.post(&of("other"))));
}

#[cfg(unix)]
#[test]
fn answers_end_before_the_server_does() {
    let mut server = Server::start(&["--drain", "60"]);
    let body = r#"{"prompt": "The boats", "max_tokens": 300, "ignore_eos": true, "stream": true}"#;
    let mut stream = server.connect(&post(body));
    let mut begun = [0; 400];
    stream.read_exact(&mut begun).unwrap();
    assert!(server.terminate().success());
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("\"finish_reason\":\"length\"") && rest.contains("data: [DONE]"), "{rest}");
}

#[test]
fn heads_of_requests_must_come_in_time() {
    let server = Server::start(&["--request-timeout", "1"]);
    let begun = Instant::now();
    let mut slow = server.connect("POST /v1/completions HTTP/1.1\r\nHost");
    let mut text = String::new();
    let _ = slow.read_to_string(&mut text);
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert!(server.post(BODY).starts_with("HTTP/1.1 200"));
}

#[test]
fn a_template_that_is_broken_ends_the_start_unless_there_is_another() {
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/embedded");
    let directory = tempfile::tempdir().unwrap();
    for name in ["model.safetensors", "tokenizer.json", "headwise.toml"] {
        std::fs::copy(files.join(name), directory.path().join(name)).unwrap();
    }
    std::fs::write(directory.path().join("chat_template.jinja"), "{% for %}").unwrap();
    let model = directory.path().to_str().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_headwise")).args(["serve", "--port", "0", model]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("chat template is not valid"), "{said}");
    let other = directory.path().join("other.jinja");
    std::fs::write(&other, "{{ messages[0].content }}").unwrap();
    let server = Server::start(&["--chat-template", other.to_str().unwrap(), model]);
    assert!(server.post(BODY).starts_with("HTTP/1.1 200"));
}

#[test]
fn wrong_options_are_refused_before_anything_is_loaded() {
    let refused = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_headwise")).arg("serve").args(arguments).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(refused(&["--cache", "snapkw"]).contains("snapkv"));
    assert!(refused(&["--kv-mem", "lots"]).contains("--kv-mem"));
    assert!(refused(&["--api-key-file", "/nowhere"]).contains("/nowhere"));
    assert!(refused(&["headwise-tiny", "headwise-tiny"]).contains("NAME=MODEL"));
    assert!(refused(&["a=headwise-tiny", "a=other"]).contains("`a`"));
    assert!(refused(&["=headwise-tiny"]).contains("NAME=MODEL"));
    assert!(refused(&["--lora", "adapter"]).contains("NAME=FOLDER"));
    assert!(refused(&["--lora", "headwise-tiny=adapter"]).contains("`headwise-tiny`"));
    assert!(refused(&["--lora", "a=/nowhere"]).contains("adapter_config.json"));
    assert!(refused(&["--alias", "a", "headwise-tiny", "b=headwise-tiny"]).contains("--alias"));
}
