//! Answers as `generate` prints them.

mod letters;

use std::process::Command;

use letters::Model;
use serde_json::Value;

/// Standard output of `generate` with `arguments` after a prompt.
fn generated(model: &Model, arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_headwise"))
        .args(["generate", model.path(), "-p", "once upon a time"])
        .args(if arguments.contains(&"-n") { &[][..] } else { &["-n", "12"] })
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn log_probabilities_of_all_tokens_as_json_and_as_a_table() {
    let model = Model::new();
    let answer = &lines(&generated(&model, &["--logprobs", "2", "--json"]))[0];
    assert_eq!(answer["prompt"], "once upon a time");
    let tokens = answer["tokens"].as_array().unwrap();
    assert_eq!(tokens.len(), 12);
    for token in tokens {
        let likeliest = token["likeliest"].as_array().unwrap();
        assert_eq!(likeliest.len(), 2);
        // Greedy: the likeliest token is the one that was written.
        assert_eq!((&token["id"], &token["log_probability"]), (&likeliest[0]["id"], &likeliest[0]["log_probability"]));
        assert!(likeliest[0]["log_probability"].as_f64().unwrap() >= likeliest[1]["log_probability"].as_f64().unwrap());
        assert!(token["log_probability"].as_f64().unwrap() < 0.0);
    }
    let text = generated(&model, &["--logprobs", "2"]);
    let (answer_text, table) = text.split_once("\n\n").unwrap();
    assert_eq!(answer_text, answer["text"].as_str().unwrap());
    assert_eq!(table.lines().count(), 12);
}

#[test]
fn several_answers_come_best_first() {
    let model = Model::new();
    let drawn = lines(&generated(&model, &["--n", "4", "--temperature", "1", "--json"]));
    let found = lines(&generated(&model, &["--beams", "4", "--json"]));
    let opera = lines(&generated(&model, &["--opera", "opera(beams=2, candidates=2)", "--json"]));
    assert_eq!((drawn.len(), found.len(), opera.len()), (4, 4, 2));
    for answers in [&drawn, &found, &opera] {
        let scores: Vec<f64> = answers.iter().map(|answer| answer["score"].as_f64().unwrap()).collect();
        assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
    }
    let best = |answers: &[Value]| answers[0]["log_probability"].as_f64().unwrap();
    assert!(best(&found) >= best(&drawn) - 1e-6, "what is searched for is at least as likely as what is drawn");
    let text = generated(&model, &["--beams", "2"]);
    assert!(text.starts_with("[1] log-probability -") && text.contains("\n[2] "), "{text}");
}

#[test]
fn drafts_from_the_prompt_change_no_answer() {
    let model = Model::new();
    for more in [&[][..], &["--temperature", "0.7"], &["--cache", "int8"]] {
        let plain = generated(&model, more);
        assert_eq!(generated(&model, &[more, &["--prompt-lookup", "5"]].concat()), plain);
    }
}

#[test]
fn tokens_that_leave_after_the_last_layer_say_the_same() {
    let model = Model::new();
    let late = generated(&model, &["--exit", "early_exit(layer=2)"]);
    assert_eq!(late, generated(&model, &[]));
    let output = Command::new(env!("CARGO_BIN_EXE_headwise"))
        .args(["generate", model.path(), "-p", "once upon a time", "-n", "5", "--stats"])
        .args(["--exit", "early_exit(layer=1, confidence=0)"])
        .output()
        .unwrap();
    let statistics = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(statistics.contains("written 5, through 1.0 of 2 layers each"), "{statistics}");
}

#[test]
fn the_confidence_of_an_answer_that_is_there() {
    let model = Model::new();
    let text = generated(&model, &[]);
    let letter = text.chars().rev().find(char::is_ascii_alphanumeric).expect("the model writes letters");
    let end = &letter.to_string();
    let sure = &lines(&generated(&model, &["--confidence", end, "--json"]))[0]["confidence"];
    let number = |key: &str| sure[key].as_f64().unwrap_or_else(|| panic!("no {key} in {sure}"));
    assert!(0.0 < number("raw") && number("raw") <= number("norm") && number("norm") <= 1.0, "{sure}");
    assert!((0.0..=1.0).contains(&number("answer")));
    assert!(generated(&model, &["--confidence", end]).contains("\nconfidence "));
    assert!(generated(&model, &["--confidence"]).contains("no answer found"));
    assert_eq!(lines(&generated(&model, &["--confidence", "nowhere", "--json"]))[0].get("confidence"), None);
}

#[test]
fn a_text_that_was_put_away_goes_on() {
    let model = Model::new();
    let (first, second) = (model.folder().join("first"), model.folder().join("second"));
    let [first, second] = [first.to_str().unwrap(), second.to_str().unwrap()];
    let whole = generated(&model, &["-n", "12", "--ids"]);
    let start = generated(&model, &["-n", "5", "--ids", "--save-session", first]);
    let go_on = |from: &str, more: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_headwise"))
            .args(["generate", model.path(), "--session", from, "--ids"])
            .args(more)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let middle = go_on(first, &["-n", "4", "--save-session", second]);
    let end = go_on(second, &["-n", "3"]);
    assert_eq!([start, middle, end].map(|part| part.trim().to_owned()).join(" "), whole.trim());
    assert_ne!(go_on(second, &["-n", "3", "-p", "and then"]), go_on(second, &["-n", "3"]));
}

#[test]
fn answers_follow_the_form_that_was_asked_for() {
    let model = Model::with_letters(('a'..='z').map(String::from).chain(["Ġ".into(), "Ċ".into(), "\"".into()]));
    let schema = model.folder().join("schema.json");
    std::fs::write(&schema, r#"{ "enum": ["yes", "no"] }"#).unwrap();
    let grammar = model.folder().join("grammar.lark");
    std::fs::write(&grammar, "start: \"the \" NAME\nNAME: \"cat\" | \"dog\"\n").unwrap();
    for (form, answers) in [
        (["--choice", "cat", "--choice", "dog"], &["cat", "dog"][..]),
        (["--regex", "a{2}b", "--seed", "1"], &["aab"]),
        (["--json-schema", schema.to_str().unwrap(), "--seed", "1"], &["\"yes\"", "\"no\""]),
        (["--grammar", grammar.to_str().unwrap(), "--seed", "1"], &["the cat", "the dog"]),
    ] {
        let answer = &lines(&generated(&model, &[&form[..], &["--json"]].concat()))[0];
        let text = answer["text"].as_str().unwrap();
        assert!(answers.contains(&text), "{form:?}: {text:?}");
        assert_eq!(answer["finish_reason"], "stop", "{form:?}");
    }
    let drawn =
        lines(&generated(&model, &["--choice", "cat", "--choice", "dog", "--n", "5", "--temperature", "5", "--json"]));
    assert!(drawn.iter().all(|answer| answer["text"] == "cat" || answer["text"] == "dog"), "{drawn:?}");
}

#[test]
fn an_answer_ends_before_a_stop_text() {
    let model = Model::new();
    let text = |more: &[&str]| lines(&generated(&model, &[more, &["--json"]].concat()))[0].clone();
    let whole = text(&[]);
    let whole = whole["text"].as_str().unwrap();
    // A letter of its middle: what stands before the first of its kind is the answer.
    let stop = &whole.chars().nth(6).unwrap().to_string();
    let before = whole.split(stop.as_str()).next().unwrap();
    let answer = text(&["--stop", stop]);
    assert_eq!((answer["text"].as_str(), answer["finish_reason"].as_str()), (Some(before), Some("stop")));
    assert_eq!(generated(&model, &["--stop", stop]), format!("{before}\n"));
    assert_eq!(text(&["--stop", "no such text"])["text"], whole);
}

#[test]
fn the_order_of_segments_changes_nothing_unless_asked() {
    let model = Model::new();
    let files = ["one is red", "two is a little blue\n", "three"].map(|text| {
        let name = format!("{}.txt", text.split(' ').next().unwrap());
        model.file(&name, text.as_bytes()).to_str().unwrap().to_owned()
    });
    let orders = [[0, 1, 2], [1, 2, 0], [2, 1, 0]];
    let answer = |order: [usize; 3], more: &[&str]| {
        let segments = order.map(|segment| ["--segment", files[segment].as_str()]).concat();
        lines(&generated(
            &model,
            &[&segments[..], &["--suffix", "which is blue", "--logprobs", "1", "--json"], more].concat(),
        ))
    };
    let pine = orders.map(|order| answer(order, &[]));
    assert!(pine[1] == pine[0] && pine[2] == pine[0]);
    let drawn = orders.map(|order| answer(order, &["--n", "3", "--temperature", "1", "--repetition-penalty", "1.3"]));
    assert!(drawn[1] == drawn[0] && drawn[2] == drawn[0] && drawn[0].len() == 3);
    let ordinary = orders.map(|order| answer(order, &["--positions", "ordinary"]));
    assert!(ordinary[1] != ordinary[0] && ordinary[0] != pine[0]);
    let asked = orders.map(|order| {
        let documents = order.map(|document| ["--document", files[document].as_str()]).concat();
        let output = Command::new(env!("CARGO_BIN_EXE_headwise"))
            .args(["ask", model.path(), "-q", "which is blue", "-n", "9"])
            .args(documents)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    });
    assert!(asked[1] == asked[0] && asked[2] == asked[0] && asked[0].len() > 1);
}
