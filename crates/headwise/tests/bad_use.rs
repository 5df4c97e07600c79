//! What the commands say to bad input: one line that names what is wrong and what is right, exit status 2, nothing written.

mod letters;

use std::process::Command;

use letters::Model;

/// Runs the program without a model cache and without a network; standard error of a run that must fail.
fn refused(arguments: &[&str]) -> String {
    let cache = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_headwise"))
        .args(arguments)
        .env("HEADWISE_CACHE", cache.path())
        .current_dir(cache.path())
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
    assert_eq!(cache.path().read_dir().unwrap().count(), 0, "{arguments:?} left files behind");
    error
}

/// Whether the last line of `error` has all of `parts`.
fn says(error: &str, parts: &[&str]) {
    for part in parts {
        assert!(error.contains(part), "no {part:?} in: {error}");
    }
}

#[test]
fn the_model_of_these_tests_writes() {
    let model = Model::new();
    let output = Command::new(env!("CARGO_BIN_EXE_headwise"))
        .args(["generate", model.path(), "-p", "once upon a time", "-n", "3", "--ids"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8(output.stdout).unwrap().split_whitespace().count(), 3);
}

#[test]
fn policies_that_do_not_exist_or_cannot_be() {
    let model = Model::new();
    let cache = |text: &str| refused(&["generate", model.path(), "-p", "once", "--cache", text]);
    says(&cache("snapvk"), &["snapvk", "snapkv"]);
    says(&cache("nothing_like_it"), &["nothing_like_it", "streaming", "snapkv", "int8"]);
    says(&cache("snapkv(keeep=0.5)"), &["keeep", "keep"]);
    says(&cache("streaming(budget=9, windows=2)"), &["windows", "sinks", "budget"]);
    says(&cache("snapkv(budget=0)"), &["budget=0", "at least 1"]);
    says(&cache("h2o(budget=129)"), &["budget=129", "128"]);
    says(&cache("tova(keep=0)"), &["keep=0", "above 0 and at most 1"]);
    says(&cache("tova(keep=1.5)"), &["keep=1.5", "above 0 and at most 1"]);
    says(&cache("tova"), &["budget=", "keep=", "bytes="]);
    says(&cache("int8 + kivi4"), &["int8", "kivi4", "one"]);
    says(&cache("full + tova(keep=0.5)"), &["full", "tova"]);
    says(&cache("razor(keep=0.5, heads=[[9, 0]])"), &["[9, 0]", "layers"]);
    says(&cache("adakv"), &["adakv", "snapkv(keep=0.25)"]);
    let compare = refused(&["compare", "cache", "--model", model.path(), "--cache", "snapvk"]);
    says(&compare, &["snapvk", "snapkv"]);
    says(&refused(&["compare", "--suite", "huge"]), &["huge", "quick, standard, ruler, full, toy"]);
    says(&refused(&["compare", "mixers", "--mixer", "retenton"]), &["retenton", "retention"]);
    says(&refused(&["compare", "mixers", "--mixer", "gla(heads=3)"]), &["gla(heads=3)", "--dim 64"]);
    says(&refused(&["compare", "mixers", "--task", "needle"]), &["no right answers", "multi_query_recall"]);
    says(&refused(&["compare", "mixers", "--length", "8"]), &["at 8 tokens", "pairs = 16"]);
    says(&refused(&["compare", "mixers", "--steps", "0"]), &["--steps is 0", "at least 1"]);
    says(&refused(&["compare", "scales", "--cache", "scalekw"]), &["scalekw", "scalekv"]);
    says(&refused(&["compare", "scales", "--cache", "uniform(keep=2)"]), &["keep=2", "at most 1"]);
    says(&refused(&["compare", "scales", "--scales", "1,5"]), &["16 pixels", "5 cells"]);
    says(&refused(&["compare", "scales", "--keep", "0"]), &["--keep 0"]);
}

#[test]
fn experts_that_cannot_stay_in_their_file() {
    let model = Model::new();
    let generate = |text: &str| refused(&["generate", model.path(), "-p", "once", "--experts", text]);
    says(&generate("lru"), &["has no experts", "headwise.toml", "leave it out"]);
    says(&generate("expertflw"), &["expertflw", "expertflow"]);
    says(&generate("lru(capacity=2)"), &["capacity=2", "above 0 and at most 1"]);
    says(&generate("on_demand(capacity=0.5)"), &["capacity"]);
    says(&refused(&["generate", "-p", "once", "--experts", "lru"]), &["has no experts"]);
    says(&refused(&["serve", model.path(), "--experts", "expertflow(cut=2)"]), &["cut=2", "below 1"]);
    says(&refused(&["compare", "experts", "--experts", "lruu"]), &["lruu", "lru"]);
    says(&refused(&["compare", "experts", "--model", "nowhere"]), &["nowhere", "no folder"]);
    says(&refused(&["compare", "experts", "--tokens", "0"]), &["--tokens is 0", "at least 1"]);
    says(&refused(&["compare", "experts", "--model", model.path(), "--experts", "lru"]), &["has no experts"]);
}

#[test]
fn models_that_cannot_be_made_smaller() {
    let model = Model::new();
    let quantize = |more: &[&str]| refused(&[&["quantize", model.path(), "--out", "small.gguf"], more].concat());
    says(&quantize(&["--to", "q9_0"]), &["q9_0", "rtn", "q4_k"]);
    says(&quantize(&["--to", "gptq(bit=4)"]), &["bit", "bits"]);
    says(&quantize(&["--to", "gptq(bits=9)"]), &["bits=9", "2 to 8"]);
    says(&quantize(&["--to", "smoothquant(alpha=2)"]), &["alpha=2", "at most 1"]);
    says(&quantize(&["--to", "rtn(bits=8, symmetric=false)"]), &["no type stores", "minimum"]);
    says(&quantize(&["--to", "q8_0", "--embedding", "q7"]), &["q7", "q8_0"]);
    let short = model.file("short.txt", b"abc");
    says(&quantize(&["--to", "awq", "--calibration", short.to_str().unwrap()]), &["3 tokens", "at least 16"]);
    let nowhere = ["quantize", model.path(), "--to", "q8_0", "--out", "nowhere/small.gguf"];
    says(&refused(&nowhere), &["nowhere/small.gguf", "no folder"]);
    let prune = |method: &str| refused(&["prune", model.path(), "--out", "small.gguf", "--method", method]);
    says(&prune("wandaa"), &["wandaa", "wanda"]);
    says(&prune("layers(share=1)"), &["share=1", "below 1"]);
    says(&prune("magnitude(keep_of=[3, 2])"), &["[3, 2]"]);
    says(&prune("evolve(mutation=2)"), &["mutation=2", "at most 1"]);
    says(&prune("fusee"), &["fusee", "layers", "`fuse`"]);
    says(&prune("fuse(group=1)"), &["group=1", "at least 2"]);
    says(&prune("fuse(epoch=1)"), &["epoch", "epochs"]);
    let words = "once upon a time there was a king ".repeat(20);
    let text = model.file("words.txt", words.as_bytes());
    let fuse = ["prune", model.path(), "--out", "small.gguf", "--calibration", text.to_str().unwrap(), "--method"];
    says(&refused(&[fuse.as_slice(), &["fuse(layers=[99])"]].concat()), &["layers=[99]", "layers 0 to"]);
}

#[test]
fn a_smaller_model_is_a_model() {
    let model = Model::new();
    let text = model.file("text.txt", "once upon a time there was a king ".repeat(20).as_bytes());
    let small = model.folder().join("small.gguf");
    let program = || Command::new(env!("CARGO_BIN_EXE_headwise"));
    const FUSE: [&str; 3] = ["prune", "--method", "fuse(share=0.5, group=2, epochs=1, rank=4)"];
    const EVOLVE: [&str; 3] = ["prune", "--method", "evolve(population=4, generations=1)"];
    for command in [
        ["quantize", "--to", "gptq"],
        ["quantize", "--to", "smoothquant"],
        ["prune", "--method", "layers(share=0.5)"],
        FUSE,
        EVOLVE,
    ] {
        let more = ["--out", small.to_str().unwrap(), "--evaluate", "--tokens", "100", "--calibration-tokens", "128"];
        let texts = ["--text", text.to_str().unwrap(), "--calibration", text.to_str().unwrap()];
        let output = program().args(command).arg(model.path()).args(more).args(texts).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let table = String::from_utf8(output.stdout).unwrap();
        says(&table, &["before", "bits per weight", "perplexity", "small.gguf"]);
        let arguments = ["generate", small.to_str().unwrap(), "-p", "once upon a time", "-n", "3", "--ids"];
        let output = program().args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8(output.stdout).unwrap().split_whitespace().count(), 3);
    }
}

#[test]
fn texts_that_cannot_be_read() {
    let model = Model::new();
    says(&refused(&["generate", model.path(), "-p", ""]), &["the prompt is empty"]);
    let empty = model.file("empty.txt", b"");
    says(&refused(&["generate", model.path(), "--prompt-file", empty.to_str().unwrap()]), &["the prompt is empty"]);
    let broken = model.file("broken.txt", b"fine so far \xff\xfe not here");
    for command in ["generate", "perplexity"] {
        let file = broken.to_str().unwrap();
        let arguments = match command {
            "generate" => vec![command, model.path(), "--prompt-file", file],
            _ => vec![command, model.path(), file],
        };
        says(&refused(&arguments), &["broken.txt", "not UTF-8", "byte 12"]);
    }
    let words = model.file("words.txt", b"once upon a time there was a king");
    let softmax = |form: &str| refused(&["perplexity", model.path(), words.to_str().unwrap(), "--softmax", form]);
    says(&softmax("log2_softmax(bits=9)"), &["bits=9", "1 to 8"]);
    says(&softmax("log3_softmax"), &["log3_softmax", "log2_softmax"]);
    let missing = model.folder().join("missing.txt");
    says(&refused(&["perplexity", model.path(), missing.to_str().unwrap()]), &["missing.txt", "No such file"]);
    let short = model.file("short.txt", b"a");
    says(&refused(&["perplexity", model.path(), short.to_str().unwrap()]), &["1 tokens", "at least 2"]);
}

#[test]
fn segments_that_are_no_set() {
    let model = Model::new();
    let (file, empty) = (model.file("one.txt", b"one"), model.file("empty.txt", b""));
    let (file, empty) = (file.to_str().unwrap(), empty.to_str().unwrap());
    let generate = |more: &[&str]| {
        refused(&[&["generate", model.path(), "--suffix", "which", "--segment", file, "--segment"], more].concat())
    };
    says(&generate(&[empty]), &["empty.txt is empty", "segment"]);
    says(&generate(&["missing.txt"]), &["missing.txt", "No such file"]);
    says(&generate(&[file, "--positions", "pin"]), &["pin", "pine", "ordinary"]);
    says(&generate(&[file, "--cache", "snapkv(keep=0.5)"]), &["snapkv(keep=0.5)", "lets pairs go", "`full`"]);
    says(&generate(&[file, "--beams", "2"]), &["--segment", "--beams"]);
    says(&generate(&[file, "--ctx", "10"]), &["do not fit the context of 10"]);
    says(&refused(&["generate", model.path(), "--segment", file]), &["nothing stands after the segments", "--suffix"]);
    says(&refused(&["generate", model.path(), "-p", "once", "--suffix", "which"]), &["--segment"]);
    says(&refused(&["generate", model.path(), "-p", "once", "--positions", "pine"]), &["--segment"]);
    says(&refused(&["ask", model.path(), "-q", "which"]), &["--text"]);
    says(&refused(&["ask", model.path(), "-q", "which", "-q", "who", "--document", file]), &["one question"]);
    says(
        &refused(&["ask", model.path(), "-q", "which", "--text", file, "--document", file]),
        &["--document", "--text"],
    );
    says(&refused(&["ask", model.path(), "-q", "which", "--document", empty]), &["empty.txt is empty"]);
}

#[test]
fn texts_that_make_no_tokens() {
    let model = Model::new();
    let tokenize = |more: &[&str]| refused(&[&["tokenize", "--out", "tokens"], more].concat());
    let broken = model.file("broken.txt", b"fine so far \xff\xfe not here");
    says(&tokenize(&[broken.to_str().unwrap()]), &["broken.txt", "not UTF-8", "byte 12"]);
    let short = model.file("short.txt", b"a");
    says(&tokenize(&[short.to_str().unwrap()]), &["less than two tokens"]);
    let missing = model.folder().join("missing.txt");
    says(&tokenize(&[missing.to_str().unwrap()]), &["missing.txt", "No such file"]);
    says(&tokenize(&["--tokenizer", missing.to_str().unwrap(), short.to_str().unwrap()]), &["missing.txt"]);
    says(&tokenize(&[]), &["PATHS"]);
    let text = model.file("text.txt", b"enough");
    let nowhere = ["tokenize", "--out", "nowhere/tokens", text.to_str().unwrap()];
    says(&refused(&nowhere), &["nowhere/tokens", "No such file"]);
}

#[test]
fn texts_longer_than_the_context() {
    let model = Model::new();
    let long = "a".repeat(150);
    says(&refused(&["generate", model.path(), "-p", &long]), &["150", "128"]);
    says(&refused(&["generate", model.path(), "-p", &"a".repeat(20), "--ctx", "16"]), &["20", "16"]);
}

#[test]
fn models_that_are_none() {
    let model = Model::with_letters((0..200).map(|i| char::from_u32(0x4E00 + i).unwrap().to_string()));
    let error = refused(&["generate", model.path(), "-p", "once"]);
    says(&error, &["200 tokens", "the model 96", "do not belong together"]);
    std::fs::remove_file(model.folder().join("tokenizer.json")).unwrap();
    says(&refused(&["generate", model.path(), "-p", "once"]), &["tokenizer.json"]);
    let text = model.file("notes.gguf", b"these are my notes, not a model");
    says(&refused(&["generate", text.to_str().unwrap(), "-p", "once"]), &["notes.gguf", "GGUF"]);
    let unknown = refused(&["generate", "smollm3000", "-p", "once", "--offline"]);
    says(&unknown, &["smollm3000", "smollm2-135m"]);
    let unknown = refused(&["inspect", "heads", "--model", "smollm3000", "--offline"]);
    says(&unknown, &["smollm3000", "smollm2-135m"]);
    says(&refused(&["inspect", "heads", "--model", model.path(), "--top", "many"]), &["--top"]);
}

#[test]
fn reports_that_cannot_be_written() {
    let model = Model::new();
    let nowhere = model.folder().join("nowhere/report.html");
    let nowhere = nowhere.to_str().unwrap();
    // No row is printed: the run has not begun.
    for arguments in [
        ["compare", "--suite", "toy", "--html", nowhere],
        ["inspect", model.path(), "--html", nowhere, "--offline"],
        ["bench", "--filter", "softmax", "--json", nowhere],
    ] {
        says(&refused(&arguments), &["nowhere", "No such file"]);
    }
    says(&refused(&["compare", "scales", "--html", nowhere]), &["nowhere", "No such file"]);
    says(&refused(&["compare", "mixers", "--html", nowhere]), &["nowhere", "No such file"]);
    let both = refused(&["compare", "--suite", "toy", "--html", "-", "--json", "-"]);
    says(&both, &["--html", "--json", "standard output"]);
}

#[test]
fn ways_of_writing_that_cannot_be() {
    let model = Model::new();
    let generate = |more: &[&str]| refused(&[&["generate", model.path(), "-p", "once"], more].concat());
    says(&generate(&["--n", "3"]), &["--n 3", "--temperature", "--beams 3"]);
    says(&generate(&["--n", "0"]), &["--n is 0"]);
    says(&generate(&["--top-p", "1.5"]), &["top_p is 1.5", "above 0 and at most 1"]);
    says(&generate(&["--logit-bias", "99999=1"]), &["token 99999", "ids are below"]);
    says(&generate(&["--logit-bias", "5"]), &["42=-5"]);
    says(&generate(&["--beams", "2", "--top-k", "4"]), &["--beams", "--top-k"]);
    says(&generate(&["--beams", "2", "--mirostat", "2"]), &["--beams", "--mirostat"]);
    says(&generate(&["--regex", "a", "--choice", "a"]), &["--regex", "--choice"]);
    says(&generate(&["--regex", "(a"]), &["regular expression cannot be followed", "unclosed group"]);
    says(&generate(&["--beams", "0"]), &["--beams is 0"]);
    says(&generate(&["--beams", "2", "--length-penalty", "nan"]), &["--length-penalty NaN"]);
    says(&generate(&["--length-penalty", "2"]), &["--beams"]);
    says(&generate(&["--beams", "2", "--n", "2"]), &["--beams", "--n"]);
    says(
        &generate(&["--prompt-lookup", "4", "--cache", "tova(keep=0.5)"]),
        &["tova(keep=0.5)", "take tokens back", "evicts"],
    );
    says(&generate(&["--prompt-lookup", "4", "--cache", "kivi4"]), &["kivi4", "int8"]);
    says(&generate(&["--opera", "opera(alfa=2)"]), &["alfa", "alpha"]);
    says(&generate(&["--opera", "opera(beams=0)"]), &["`opera`: beams must be at least 1"]);
    says(&generate(&["--opera", "--cache", "h2o(budget=9)"]), &["h2o(budget=9)", "take tokens back"]);
    says(&generate(&["--opera", "sap"]), &["--opera takes `opera`, not `sap`", "--sap"]);
    says(&generate(&["--sap", "sap(comit=2)"]), &["comit", "commit"]);
    says(&generate(&["--sap", "sap(commit=0)"]), &["`sap`: commit must be at least 1"]);
    says(&generate(&["--sap", "opera"]), &["--sap takes `sap`, not `opera`", "--opera"]);
    says(&generate(&["--sap"]), &["no sentinels", "`span_corruption`"]);
    says(&generate(&["--sap", "--temperature", "1"]), &["--sap", "--temperature"]);
    says(&generate(&["--examples", "pairs.tsv"]), &["--sap"]);
    let pairs = model.file("pairs.tsv", b"one\tuno\ntwo dos\n");
    says(
        &generate(&["--sap", "--examples", pairs.to_str().unwrap()]),
        &["line 2 of", "a question, a tab and the answer"],
    );
    let questions = model.file("questions.txt", b"one\n\ntwo\n");
    says(
        &generate(&["--sap", "--unlabelled", questions.to_str().unwrap()]),
        &["line 2 of", "every line must be a question"],
    );
    says(&generate(&["--logprobs", "few"]), &["--logprobs"]);
    says(&generate(&["--exit", "early_exit(layer=9)"]), &["layer=9", "the layers of the model"]);
    says(&generate(&["--exit", "early_exit(confidense=1)"]), &["confidense", "confidence"]);
    says(&generate(&["--exit", "--cache", "tova(keep=0.5)"]), &["tova(keep=0.5)", "only stores"]);
    says(&generate(&["--exit", "--prompt-lookup", "4"]), &["--exit", "--prompt-lookup"]);
}

#[test]
fn sessions_that_cannot_be_taken_up() {
    let model = Model::new();
    let file = model.folder().join("text.session");
    let path = file.to_str().unwrap();
    let generate = |more: &[&str]| refused(&[&["generate", model.path(), "-n", "3"], more].concat());
    says(&generate(&["--session", path]), &["text.session", "No such file"]);
    says(&generate(&["-p", "once", "--save-session", "nowhere/text.session"]), &["nowhere", "No such file"]);
    let output = Command::new(env!("CARGO_BIN_EXE_headwise"))
        .args([
            "generate",
            model.path(),
            "-p",
            "once upon a time",
            "-n",
            "3",
            "--cache",
            "int8",
            "--save-session",
            path,
        ])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    says(&generate(&["--session", path, "--cache", "int4"]), &["`int8`", "`int4`"]);
    let kept = std::fs::read(&file).unwrap();
    let damaged = model.file("damaged.session", &kept[..kept.len() - 9]);
    says(&generate(&["--session", damaged.to_str().unwrap()]), &["not a session"]);
    let mut changed = kept.clone();
    let last = changed.len() - 1;
    changed[last] ^= 1;
    let changed = model.file("changed.session", &changed);
    says(&generate(&["--session", changed.to_str().unwrap()]), &["damaged", "checksum"]);
    says(&generate(&["--session", model.file("notes.session", b"my notes").to_str().unwrap()]), &["not a session"]);
    let other = refused(&["generate", "-p", "once", "--session", path]);
    says(&other, &["another model"]);
    assert_eq!(std::fs::read(&file).unwrap(), kept, "nothing is lost");
}
