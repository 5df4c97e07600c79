//! `headwise train`: runs that are killed, interrupted or refused lose nothing, and say what to do.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// A spec file in a folder of its own.
struct Run {
    folder: TempDir,
}

/// Long enough to be killed half-way, short enough for a test.
const SPEC: &str = r#"
seed = 5
average = 0.9
clip = 1.0
[model]
dim = 32
context = 64
layers = [{ repeat = 2, mixer = "softmax(heads=2)", channel = "gated(hidden=64)" }]
[data]
sources = [{ type = "text", path = "text.txt" }]
[[stages]]
steps = 120
sequences = 4
length = 48
[evaluation]
every = 40
sequences = 2
sources = [{ type = "text", path = "text.txt" }]
[checkpoints]
every = 10
"#;

impl Run {
    fn new(spec: &str) -> Self {
        let run = Self { folder: tempfile::tempdir().unwrap() };
        let text: String =
            (0..400).map(|i| format!("{} times {} is {}.\n", i % 7, i % 11, (i % 7) * (i % 11))).collect();
        fs::write(run.path("text.txt"), text).unwrap();
        fs::write(run.path("spec.toml"), spec).unwrap();
        run
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `headwise train`, with its results in the folder `out`.
    fn command(&self, out: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_headwise"));
        command.arg("train").arg(self.path("spec.toml")).arg("--out").arg(self.path(out)).args(arguments);
        command.stderr(Stdio::piped()).stdout(Stdio::piped());
        command
    }

    fn finish(&self, out: &str, arguments: &[&str]) -> Vec<u8> {
        let output = self.command(out, arguments).output().unwrap();
        assert!(output.status.success(), "{}", error(&output));
        fs::read(self.path(out).join("model/model.safetensors")).unwrap()
    }

    /// What the command says that must fail.
    fn refused(&self, out: &str, arguments: &[&str]) -> String {
        let output = self.command(out, arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", error(&output));
        error(&output)
    }

    /// The names of the checkpoints in `out`.
    fn checkpoints(&self, out: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path(out).join("checkpoints")) else { return Vec::new() };
        let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
        let mut names: Vec<String> =
            entries.map(|entry| name(entry.unwrap())).filter(|name| !name.starts_with('.')).collect();
        names.sort();
        names
    }

    /// Starts the command and waits for its first checkpoint.
    fn start(&self, out: &str, arguments: &[&str]) -> Child {
        let mut child = self.command(out, arguments).spawn().unwrap();
        while self.checkpoints(out).is_empty() {
            assert_eq!(child.try_wait().unwrap(), None, "the run ended without a checkpoint");
            std::thread::sleep(Duration::from_millis(1));
        }
        child
    }
}

fn error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn says(error: &str, parts: &[&str]) {
    for part in parts {
        assert!(error.contains(part), "no {part:?} in: {error}");
    }
}

#[test]
fn a_killed_run_ends_as_if_it_had_not_been() {
    let run = Run::new(SPEC);
    for threads in ["1", "2"] {
        let arguments = ["--threads", threads];
        let expected = run.finish(&format!("whole-{threads}"), &arguments);
        let killed = format!("killed-{threads}");
        let mut child = run.start(&killed, &arguments);
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().code(), None, "the run ended before it was killed");
        let output = run.command(&killed, &arguments).output().unwrap();
        says(&error(&output), &["going on after step"]);
        assert!(run.finish(&killed, &arguments) == expected, "--threads {threads}: other weights");
        assert_eq!(run.checkpoints(&killed), ["step-00000110", "step-00000120"]);
    }
}

#[cfg(unix)]
#[test]
fn an_interrupt_saves() {
    let run = Run::new(SPEC);
    let child = run.start("out", &[]);
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", error(&output));
    says(&error(&output), &["saving after this step", "stopped after step", "the same command goes on"]);
    assert!(!run.path("out").join("model").exists());
    let last = run.checkpoints("out").pop().unwrap();
    let step = last.trim_start_matches("step-").trim_start_matches('0').to_owned();
    says(&error(&output), &[&format!("stopped after step {step};")]);
    let again = run.command("out", &[]).output().unwrap();
    says(&error(&again), &[&format!("going on after step {step}")]);
    assert!(again.status.success());
    let never = run.refused("out", &["--resume", "never"]);
    says(&never, &["has checkpoints", "--out", "--resume auto"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_the_last_checkpoint() {
    let run = Run::new(SPEC);
    let mut child = run.start("out", &[]);
    child.kill().unwrap();
    child.wait().unwrap();
    let kept = run.checkpoints("out");
    // Files of more than 64 blocks of 512 bytes cannot be written any more: the log and the events can, the weights not.
    let limited = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_headwise"), "train"])
        .args([run.path("spec.toml"), "--out".into(), run.path("out")])
        .output()
        .unwrap();
    assert_eq!(limited.status.code(), Some(2), "{}", error(&limited));
    says(&error(&limited), &["model.bpk", "too large"]);
    assert_eq!(run.checkpoints("out"), kept);
    let expected = run.finish("whole", &[]);
    assert!(run.finish("out", &[]) == expected, "other weights after the disk was full");
}

#[test]
fn bad_specs_and_folders_are_refused() {
    let run = Run::new(SPEC);
    let written = |from: &str, to: &str| {
        assert!(SPEC.contains(from));
        fs::write(run.path("spec.toml"), SPEC.replace(from, to)).unwrap();
        run.refused("none", &[])
    };
    says(&written("clip = 1.0", "clipp = 1.0"), &["spec.toml", "line 4", "did you mean `clip`?"]);
    says(&written("text.txt", "missing.txt"), &["missing.txt", "No such file"]);
    says(&written("length = 48", "length = 65"), &["length=65", "context of 64"]);
    says(&written("dim = 32", "vocabulary = 64\ndim = 32"), &["token 1", "vocabulary of 64"]);
    says(&written("clip = 1.0", "objective = \"masked\""), &["model.family", "causal = false", "next_token"]);
    fs::write(run.path("empty.txt"), "").unwrap();
    says(&written("text.txt", "empty.txt"), &["empty.txt", "nothing to predict"]);
    let rate = "optimiser = \"adamw(learning_rate=1e30)\"\nschedule = \"constant(warmup=0)\"";
    says(&written("clip = 1.0", rate), &["step 2", "learning rate"]);
    let missing = Command::new(env!("CARGO_BIN_EXE_headwise")).args(["train", "no-such.toml"]).output().unwrap();
    says(&error(&missing), &["no-such.toml", "No such file"]);
    // The output folder is a file.
    fs::write(run.path("spec.toml"), SPEC).unwrap();
    says(&run.refused("text.txt", &[]), &["text.txt"]);
}

/// A run that reads tokens is the run that reads the text.
#[test]
fn tokens_train_the_model_of_their_text() {
    let run = Run::new(SPEC);
    let tokenize = Command::new(env!("CARGO_BIN_EXE_headwise"))
        .arg("tokenize")
        .args([run.path("text.txt"), "--out".into(), run.path("tokens")])
        .output()
        .unwrap();
    assert!(tokenize.status.success(), "{}", error(&tokenize));
    says(&String::from_utf8_lossy(&tokenize.stdout), &["tokens of 1 texts"]);
    let expected = run.finish("text", &[]);
    let spec = SPEC.replace("type = \"text\", path = \"text.txt\"", "type = \"tokens\", path = \"tokens\"");
    fs::write(run.path("spec.toml"), spec).unwrap();
    assert!(run.finish("out", &[]) == expected, "other weights");
    fs::write(run.path("tokens"), "these are my notes").unwrap();
    says(&run.refused("none", &[]), &["tokens cannot be read as tokens", "does not begin"]);
}

#[test]
fn checkpoints_that_cannot_be_used_are_kept() {
    let run = Run::new(SPEC);
    let mut child = run.start("out", &[]);
    child.kill().unwrap();
    child.wait().unwrap();
    let kept = run.checkpoints("out");
    fs::write(run.path("spec.toml"), SPEC.replace("seed = 5", "seed = 6")).unwrap();
    says(&run.refused("out", &[]), &["belongs to another spec", kept.last().unwrap()]);
    fs::write(run.path("spec.toml"), SPEC).unwrap();
    let weights = run.path("out/checkpoints").join(kept.last().unwrap()).join("model.bpk");
    let mut bytes = fs::read(&weights).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&weights, &bytes).unwrap();
    says(&run.refused("out", &[]), &["model.bpk is damaged", "checksum", "go on from the checkpoint before it"]);
    assert_eq!(run.checkpoints("out"), kept);
    assert_eq!(fs::read(&weights).unwrap(), bytes);
}

/// The specs that ship, `embedded` apart, which needs texts that do not.
const SMALL: [&str; 4] = ["bytes", "masked", "recall", "recall-gla"];

#[test]
fn every_spec_that_ships_is_read_and_the_small_ones_run() {
    let specs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../specs");
    let mut names = Vec::new();
    for entry in fs::read_dir(&specs).unwrap() {
        let path = entry.unwrap().path();
        let mut spec = headwise::train::spec::TrainSpec::open(&path).unwrap_or_else(|error| panic!("{error}"));
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if SMALL.contains(&name.as_str()) {
            let folder = tempfile::tempdir().unwrap();
            spec.stages[0].sequences = 2;
            let mut trainer = headwise::train::trainer::Trainer::new(spec, folder.path()).unwrap();
            let first = trainer.step().unwrap();
            assert!(first.loss.is_finite() && trainer.step().unwrap().step == 2, "{name}");
        }
        names.push(name);
    }
    assert!(SMALL.iter().all(|name| names.iter().any(|found| found == name)), "{names:?}");
}

#[cfg(not(feature = "mpi"))]
#[test]
fn processes_that_cannot_talk_do_not_start() {
    let run = Run::new(SPEC);
    let output = run.command("out", &[]).env("OMPI_COMM_WORLD_SIZE", "2").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    says(&error(&output), &["2 processes", "built without MPI", "--features mpi"]);
}

#[cfg(not(feature = "cuda"))]
#[test]
fn gpus_need_a_program_with_cuda() {
    let run = Run::new(SPEC);
    let refused = |devices: &str| {
        let output = run.command("out", &["--devices", devices]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{devices}");
        error(&output)
    };
    says(&refused("cuda:0,cuda:1"), &["`cuda:0,cuda:1`", "built without CUDA", "--features cuda"]);
    says(&refused("gpu"), &["`gpu`", "`cpu`", "`cuda:0,cuda:1`"]);
    assert!(!run.path("out").exists());
}

/// A model that learned to fill gaps says with which tokens, and writes with them.
#[test]
fn a_model_that_fills_gaps_writes_long_answers() {
    let spec = SPEC
        .replace("seed = 5", "seed = 5\nobjective = \"span_corruption(sentinels=4)\"")
        .replace("[data]", "[data]\ntokenizer = \"bpe(vocabulary=300)\"")
        .replace("steps = 120", "steps = 20");
    let run = Run::new(&spec);
    run.finish("out", &[]);
    let model = run.path("out/model");
    let described = fs::read_to_string(model.join("headwise.toml")).unwrap();
    let described: toml::Table = described.parse().unwrap();
    let number = |key: &str| described["sentinels"][key].as_integer().unwrap();
    // They stand behind the tokens of the tokenizer.
    assert!(number("end") > 256 && number("end") <= 300, "{described}");
    assert_eq!((number("first"), number("count")), (number("end") + 1, 4));
    let generate = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_headwise"));
        let output = command.arg("generate").arg(&model).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", error(&output));
        (String::from_utf8(output.stdout.clone()).unwrap(), error(&output))
    };
    let prompt = ["-p", "3 times 4 is", "-n", "3"];
    let (text, said) = generate(&[&prompt[..], &["--sap", "--stats"]].concat());
    let (calls, rest) = said.split_once(" calls; ").unwrap();
    assert!((1..=12).contains(&calls.parse::<usize>().unwrap()), "{said}");
    assert!(rest.contains(" tokens shown, ") && text.split_whitespace().count() <= 3, "{text}{said}");
    let (line, _) = generate(&[&prompt[..], &["--sap", "--json"]].concat());
    let answer: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((answer["prompt"].as_str(), answer["text"].as_str()), (Some("3 times 4 is"), text.strip_suffix('\n')));

    fs::write(run.path("pairs.tsv"), "1 times 1\t1\n2 times 3\t6\n").unwrap();
    let examples = run.path("pairs.tsv");
    let spec = "sap(words=2, demonstrations=1, members=2, source=\"Q:\", target=\"A:\")";
    let (lines, _) = generate(&["-p", "3 times 4", "--sap", spec, "--examples", examples.to_str().unwrap(), "--json"]);
    let scores: Vec<f64> = lines
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter_map(|answer| answer["score"].as_f64())
        .collect();
    assert_eq!(lines.lines().count(), 2, "{lines}");
    assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
}

/// Several processes, which `mpirun` starts.
#[cfg(feature = "mpi")]
mod processes {
    use super::*;

    const STEPS: &str = "steps = 20";

    fn run() -> Run {
        Run::new(&SPEC.replace("steps = 120", STEPS))
    }

    impl Run {
        /// The command in so many processes, each with a thread.
        fn processes(&self, count: &str, out: &str) -> Command {
            let alone = self.command(out, &["--threads", "1"]);
            let mut command = Command::new("mpirun");
            command.args(["--allow-run-as-root", "--oversubscribe", "-n", count]).arg(alone.get_program());
            command.args(alone.get_args()).stderr(Stdio::piped()).stdout(Stdio::piped());
            command
        }
    }

    /// The weights in a safetensors file of 32-bit floats.
    fn weights(file: &[u8]) -> Vec<f32> {
        let (length, rest) = file.split_first_chunk::<8>().unwrap();
        let (numbers, _) = rest[u64::from_le_bytes(*length) as usize..].as_chunks::<4>();
        numbers.iter().map(|&number| f32::from_le_bytes(number)).collect()
    }

    #[test]
    fn make_the_model_of_one() {
        let run = run();
        let expected = weights(&run.finish("one", &["--threads", "1"]));
        for count in ["2", "3"] {
            let output = run.processes(count, count).output().unwrap();
            assert!(output.status.success(), "{}", error(&output));
            let found = weights(&fs::read(run.path(count).join("model/model.safetensors")).unwrap());
            assert_eq!(found.len(), expected.len());
            let apart = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(apart <= 1e-5, "{count} processes: {apart}");
        }
        assert!(weights(&run.finish("other", &["--threads", "1"])) == expected);
    }

    #[test]
    fn go_on_from_the_checkpoint_of_one() {
        let run = run();
        let mut child = run.start("out", &[]);
        child.kill().unwrap();
        child.wait().unwrap();
        let output = run.processes("2", "out").output().unwrap();
        assert!(output.status.success(), "{}", error(&output));
        says(&error(&output), &["going on after step"]);
    }

    #[test]
    fn too_many_are_refused() {
        let output = run().processes("5", "out").output().unwrap();
        assert!(!output.status.success());
        says(&error(&output), &["4 sequences", "5 processes", "raise `sequences` to 5"]);
    }

    #[test]
    fn one_that_dies_ends_the_run_with_an_error() {
        let run = Run::new(&SPEC.replace("steps = 120", "steps = 100000"));
        let child = run.processes("2", "out").spawn().unwrap();
        while run.checkpoints("out").is_empty() {
            std::thread::sleep(Duration::from_millis(5));
        }
        let of_run = |id: &u32| {
            let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            line.starts_with(env!("CARGO_BIN_EXE_headwise")) && line.contains(&*run.path("out").to_string_lossy())
        };
        let ids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let ranks: Vec<u32> = ids.filter(of_run).collect();
        assert_eq!(ranks.len(), 2);
        assert!(Command::new("kill").args(["-9", &ranks[1].to_string()]).status().unwrap().success());
        let output = child.wait_with_output().unwrap();
        assert!(!output.status.success());
        says(&error(&output), &["signal 9"]);
        assert!(!ranks.iter().any(of_run), "a process goes on alone");
        assert!(!run.path("out").join("model").exists() && !run.checkpoints("out").is_empty());
    }
}

#[test]
fn a_model_that_keeps_states_writes_and_goes_on_where_a_session_ends() {
    let hybrid = r#"layers = [
        { mixer = "gla(heads=2, convolution=3)", channel = "gated(hidden=64)" },
        { mixer = "softmax(heads=2)", channel = "gated(hidden=64)" },
        { mixer = "retention(heads=2)", channel = "gated(hidden=64)" },
    ]"#;
    let attention = r#"layers = [{ repeat = 2, mixer = "softmax(heads=2)", channel = "gated(hidden=64)" }]"#;
    let run = Run::new(&SPEC.replace(attention, hybrid).replace("steps = 120", "steps = 10"));
    run.finish("out", &[]);
    let generate = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_headwise"));
        command.arg("generate").arg(run.path("out/model")).args(["--raw", "--ignore-eos"]).args(arguments);
        command.output().unwrap()
    };
    let text = |arguments: &[&str]| {
        let output = generate(arguments);
        assert!(output.status.success(), "{}", error(&output));
        String::from_utf8_lossy(&output.stdout).trim_end_matches('\n').to_owned()
    };
    let session = run.path("session").display().to_string();
    let whole = text(&["-p", "3 times", "-n", "12"]);
    let first = text(&["-p", "3 times", "-n", "5", "--save-session", &session]);
    let rest = text(&["-n", "7", "-p", "", "--session", &session]);
    assert!(!whole.is_empty(), "something is written");
    assert_eq!(format!("{first}{rest}"), whole);
    let refused = generate(&["-p", "3 times", "-n", "5", "--prompt-lookup", "4"]);
    assert_eq!(refused.status.code(), Some(2));
    says(&error(&refused), &["layer 0", "`gla`", "tokens cannot be taken back"]);
    let refused = generate(&["-p", "3 times", "-n", "5", "--cache", "uncomp_stages"]);
    says(&error(&refused), &["layer 0", "`gla`", "leaves tokens out"]);
}
