//! `--profile` as a user sees it.

mod letters;

use std::process::{Command, Output};

use letters::Model;
use serde_json::Value;

fn headwise(arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_headwise")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// The calls of `operation` in a table.
fn calls(table: &str, operation: &str) -> Option<u64> {
    let line = table.lines().find_map(|line| line.strip_prefix(operation).filter(|rest| rest.starts_with(' ')))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[test]
fn generate_prints_where_the_time_of_prompt_and_text_went() {
    let model = Model::new();
    let generate = ["generate", model.path(), "-p", "once upon a time", "-n", "6", "--ids"];
    let with = |more: &[&str]| headwise(&[&generate[..], more].concat());
    let (plain, profiled) = (with(&[]), with(&["--profile", "--cache", "full"]));
    assert_eq!(plain.stdout, profiled.stdout, "the text is the same, and nothing else is on standard output");
    assert_eq!(String::from_utf8_lossy(&plain.stderr), "");

    let text = String::from_utf8(profiled.stderr).unwrap();
    let (prompt, steps) = text.split_at(text.find("5 further tokens: ").expect("a second table"));
    assert!(prompt.contains("prompt of 16 tokens: "), "{text}");
    let layers = 2;
    for (operation, in_prompt, in_steps) in [
        ("matrix product, f32", Some(7 * layers), Some(5 * 7 * layers)),
        ("attention, prefill", Some(layers), None),
        ("attention, decode", None, Some(5 * layers)),
        ("rotary encoding", Some(2 * layers), Some(5 * 2 * layers)),
        ("key-value append", Some(layers), Some(5 * layers)),
        ("norm", Some(2 * layers), Some(5 * 2 * layers)),
        ("gated activation", Some(layers), Some(5 * layers)),
        ("residual sum", Some(2 * layers), Some(5 * 2 * layers)),
        ("embedding lookup", Some(1), Some(5)),
        ("output head", Some(1), Some(5)),
        ("tokenisation", Some(1), None),
        ("sampling", None, Some(6)),
        ("writing text", None, Some(6)),
        ("eviction, scores", None, None),
    ] {
        assert_eq!((calls(prompt, operation), calls(steps, operation)), (in_prompt, in_steps), "{operation}: {text}");
    }
    for table in [prompt, steps] {
        assert!(table.lines().any(|line| line.starts_with("between operations ")), "{text}");
    }
}

#[test]
fn eviction_has_rows_of_its_own() {
    let model = Model::new();
    let cache = ["--cache", "snapkv(budget=8, window=4, slack=0)", "--profile"];
    let output = headwise(&[&["generate", model.path(), "-p", "once upon a time", "-n", "6"], &cache[..]].concat());
    let text = String::from_utf8(output.stderr).unwrap();
    let (prompt, steps) = text.split_at(text.find("5 further tokens: ").expect("a second table"));
    for operation in ["eviction, scores", "eviction, compaction", "eviction, statistics"] {
        assert_eq!((calls(prompt, operation), calls(steps, operation)), (Some(2), Some(10)), "{operation}: {text}");
    }
    assert_eq!(calls(steps, "attention, decode"), Some(10), "attention of the scores counts as theirs: {text}");
}

#[test]
fn bench_has_a_profile_for_each_row() {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("rows.json");
    let softmax = ["bench", "--filter", "softmax", "--shape", "3x40", "--repeats", "5", "--profile", "--json"];
    let text = headwise(&[&softmax[..], &[json.to_str().unwrap()]].concat()).stdout;
    assert!(String::from_utf8_lossy(&text).contains("softmax 3x40 f32 forward, all timed calls: "));
    let report: Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    for (row, name) in [(0, "softmax"), (1, "softmax, backward")] {
        let profile = report["rows"][row]["profile"].as_array().unwrap();
        let kernel = profile.iter().find(|row| row["operation"] == name).unwrap();
        assert_eq!((&kernel["calls"], kernel["gflops"].is_null()), (&Value::from(5), true), "{profile:?}");
        assert!(kernel["gbs"].as_f64().unwrap() > 0.0);
        assert!(profile.iter().any(|row| row["operation"] == "between operations"));
    }
}
