//! `inspect heads` on a small model: what it prints, what it keeps, and what becomes of a file that is not what it kept.

mod letters;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use letters::Model;
use serde_json::Value;

fn headwise(cache: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headwise"));
    let output = command.args(arguments).env("HEADWISE_CACHE", cache).current_dir(cache).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// The rows that the command writes for `model`.
fn rows(cache: &Path, model: &Model) -> Vec<Value> {
    let output = headwise(cache, &["inspect", "heads", "--model", model.path(), "--json"]);
    let table = String::from_utf8(output.stderr).unwrap();
    assert!(table.contains("induction") && table.contains("retrieval heads, as [layer, head]:"), "{table}");
    let envelope: Value = serde_json::from_slice(&output.stdout).unwrap();
    envelope["rows"].as_array().unwrap().clone()
}

/// The one file that is kept.
fn kept(cache: &Path) -> PathBuf {
    let files: Vec<PathBuf> = cache.join("heads").read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

#[test]
fn scores_are_kept_per_model_and_measured_again_if_the_file_is_spoiled() {
    let (cache, model) = (tempfile::tempdir().unwrap(), Model::new());
    let measured = rows(cache.path(), &model);
    let induction = |row: &Value| row["induction"].as_f64().unwrap();
    assert!(measured.is_sorted_by(|a, b| induction(a) >= induction(b)), "the best head first");
    assert!(measured.iter().any(|row| row["class"] == "retrieval"));
    let file = kept(cache.path());
    let text = std::fs::read_to_string(&file).unwrap();

    // What is kept is what is shown: another model's key makes another file.
    let mut contents: Value = serde_json::from_str(&text).unwrap();
    contents["heads"][0]["induction"] = 0.875.into();
    std::fs::write(&file, contents.to_string()).unwrap();
    assert_eq!(induction(&rows(cache.path(), &model)[0]), 0.875);

    let foreign = text.replace("\"kv_head\": 0", "\"kv_head\": 5");
    for spoiled in ["", "{}", "not JSON", &text[..text.len() / 2], foreign.as_str()] {
        std::fs::write(&file, spoiled).unwrap();
        assert_eq!(rows(cache.path(), &model).len(), measured.len());
        assert_eq!(std::fs::read_to_string(kept(cache.path())).unwrap(), text, "written anew after {spoiled:?}");
    }

    let more = model.file("more.json", b"{}");
    rows(cache.path(), &model);
    assert_eq!(cache.path().join("heads").read_dir().unwrap().count(), 2, "{} changes the model", more.display());
}

#[test]
fn a_cache_that_cannot_be_written_is_no_error() {
    let (folder, model) = (tempfile::tempdir().unwrap(), Model::new());
    std::fs::write(folder.path().join("heads"), "a file in the way").unwrap();
    assert!(!rows(folder.path(), &model).is_empty());
}

#[test]
fn razor_finds_the_heads_by_itself() {
    let (cache, model) = (tempfile::tempdir().unwrap(), Model::new());
    let prompt = "once upon a time there was a head that looked far back";
    let policy = ["--cache", "razor(keep=0.6)"];
    headwise(cache.path(), &[&["generate", model.path(), "-p", prompt, "-n", "4", "--ids"], &policy[..]].concat());
    kept(cache.path());
}

#[test]
fn inspect_still_takes_a_model() {
    let (cache, model) = (tempfile::tempdir().unwrap(), Model::new());
    let text = model.file("text.txt", b"once upon a time");
    let text = text.to_str().unwrap();
    headwise(cache.path(), &["inspect", model.path(), "--text", text, "--html", "page.html"]);
    assert!(cache.path().join("page.html").is_file());
}
