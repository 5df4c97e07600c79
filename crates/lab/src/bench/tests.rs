//! Plans, rows and a tiny run; never a time.

use burn::tensor::Device;
use headwise_engine::Engine;
use headwise_models::decoder::{Induction, Weights};

use super::*;
use crate::rows::{Envelope, Machine};

fn engine() -> Engine {
    let model = Induction::new(0).decoder(Weights::Stored, &Device::flex()).expect("the model is built in");
    Engine::new(model, 2).expect("two threads")
}

fn run(filter: &str, shape: &str) -> Result<Vec<BenchRow>, BenchError> {
    let engine = engine();
    let setup = Setup { repeats: Some(1), rotated_bytes: 1 << 16, ..Setup::new(&engine, Some("induction")) };
    Plan::new(Some(filter), Some(shape))?.run(&setup, |_, _| {})
}

#[test]
fn a_filter_is_a_name_or_a_part_of_names() {
    let names = |filter| {
        let plan = Plan::new(filter, None).expect("a plan");
        plan.benchmarks().map(Benchmark::name).collect::<Vec<_>>()
    };
    assert_eq!(names(Some("decode")), ["decode"], "an exact name is not a part of another");
    let attention = ["attention_forward", "attention_train", "attention_decode", "linear_attention"];
    assert_eq!(names(Some("attention")), attention);
    assert_eq!(names(None), Benchmark::ALL.map(Benchmark::name));
}

#[test]
fn an_unknown_filter_lists_the_names() {
    let error = Plan::new(Some("atention"), None).expect_err("no such name").to_string();
    assert!(error.starts_with("no benchmark is called `atention`"), "{error}");
    assert!(Benchmark::ALL.iter().all(|benchmark| error.contains(benchmark.name())), "{error}");
}

#[test]
fn a_shape_must_fit_every_benchmark_chosen() {
    assert!(Plan::new(Some("gelu"), Some("7")).is_ok());
    let error = Plan::new(Some("norm"), Some("3x")).expect_err("not a shape").to_string();
    assert!(error.contains("`3x` is not a shape"), "{error}");
    let error = Plan::new(None, Some("8x512x256")).expect_err("attention takes four sides").to_string();
    assert!(error.contains("attention_forward does not run on `8x512x256`"), "{error}");
}

#[test]
fn default_shapes_are_the_ones_peers_run() {
    let plan = Plan::new(None, None).expect("a plan");
    assert_eq!(plan.steps(), 3 + 3 + 1 + 3 + 12 + 1 + 1 + 1 + 4 + 4 + 4 + 1);
}

#[test]
fn a_model_is_needed_only_by_what_runs_one() {
    let plan = Plan::new(None, None).expect("a plan").without_models().expect("operators are left");
    assert!(plan.benchmarks().all(|benchmark| !benchmark.needs_model()));
    let error = Plan::new(Some("prefill"), None).expect("a plan").without_models().expect_err("nothing is left");
    assert!(error.to_string().starts_with("prefill measures a model"), "{error}");
    let engine = engine();
    let setup = Setup::new(&engine, None);
    let error = Plan::new(Some("decode"), None).expect("a plan").run(&setup, |_, _| {}).expect_err("no model");
    assert!(matches!(error, BenchError::NoModel { benchmark: "decode" }));
}

#[test]
fn every_benchmark_runs_and_fills_its_columns() {
    for benchmark in Benchmark::ALL {
        let shape = match benchmark {
            Benchmark::AttentionForward | Benchmark::AttentionTrain => "2x2x9x16",
            Benchmark::LinearAttention | Benchmark::Retention | Benchmark::Gla => "2x2x70x16",
            Benchmark::AttentionDecode => "2x6x70x32",
            Benchmark::TrainStep | Benchmark::DecoderStep => "2x9x64x1",
            Benchmark::QuantMatmul => "3x64x48",
            Benchmark::Prefill | Benchmark::Decode => "5",
            Benchmark::DecodeBatch => "3x7",
            _ => "3x7x20",
        };
        let rows = run(benchmark.name(), shape).expect("it runs");
        assert!(!rows.is_empty());
        for row in rows {
            assert_eq!(row.name, benchmark.name());
            assert!(row.min_ms > 0.0 && row.min_ms <= row.median_ms && row.median_ms <= row.max_ms, "{row:?}");
            // How much is left out depends on the numbers.
            let filtered = row.params.pass.as_deref() == Some("train_filtered");
            assert!(filtered || row.gflops.is_some() || row.gbs.is_some(), "{row:?}");
            assert!([row.gflops, row.gbs].into_iter().flatten().all(|rate| rate > 0.0), "{row:?}");
            assert_eq!(row.params.threads, 2);
            let texts = row.params.texts.map(|texts| format!("{texts}x")).unwrap_or_default();
            let same = row.params.shape.clone().or(row.params.tokens.map(|tokens| format!("{texts}{tokens}")));
            assert_eq!(same.as_deref(), Some(shape));
        }
    }
}

/// The only test of this crate that profiles: there is one profile per process.
#[test]
fn a_profile_says_where_the_time_of_a_row_went() {
    let engine = engine();
    let setup = Setup { repeats: Some(2), profile: true, ..Setup::new(&engine, Some("induction")) };
    let run = |filter: &str, shape: &str| Plan::new(Some(filter), Some(shape))?.run(&setup, |_, _| {});
    let rows = run("decode", "40").expect("it runs");
    let profile = rows[0].profile.as_ref().expect("a profile was asked for");
    let calls = |name: &str| profile.iter().find(|row| row.operation == name).and_then(|row| row.calls);
    // Two repeats of 48 tokens; the warm-up and the prompt are not among them.
    assert_eq!((calls("output head"), calls("attention, decode")), (Some(96), Some(2 * 96)));
    assert_eq!(calls("attention, prefill"), None);
    assert!((profile.iter().map(|row| row.share).sum::<f64>() - 100.0).abs() < 1e-6);
    let gelu = run("gelu", "3x7x20").expect("it runs");
    let operations = |row: &BenchRow| -> Vec<String> {
        row.profile.iter().flatten().filter(|row| row.calls == Some(2)).map(|row| row.operation.clone()).collect()
    };
    assert_eq!(operations(&gelu[0]), ["activation"]);
    assert_eq!(operations(&gelu[1]), ["activation, backward"]);
    let machine = Machine::detect(2, "scalar");
    let envelope = Envelope { version: "0".into(), machine, command: "headwise bench".into(), rows: gelu };
    let report = BenchReport { envelope, peaks: Peaks { matrix_product_gflops: 1.0, read_gbs: 1.0 }, load: None };
    let text = profiles(&report);
    assert!(text.contains("gelu 3x7x20 f32 backward, all timed calls: "), "{text}");
    let json = serde_json::to_value(&report).expect("a report serialises");
    assert_eq!(
        json["rows"][1]["profile"][0]["calls"].is_null(),
        json["rows"][1]["profile"][0]["operation"] == "between operations"
    );
    assert_eq!(serde_json::from_value::<BenchReport>(json).expect("a report reads back"), report);
}

#[test]
fn rows_are_what_peers_are_compared_by() {
    let rows = run("attention_forward", "1x2x8x16").expect("it runs");
    let machine = Machine::detect(2, "scalar");
    let envelope = Envelope { version: "0".into(), machine, command: "headwise bench".into(), rows };
    let report =
        BenchReport { envelope, peaks: Peaks { matrix_product_gflops: 100.0, read_gbs: 10.0 }, load: Some(1.5) };
    let json = serde_json::to_value(&report).expect("a report serialises");
    let keys = |value: &serde_json::Value| value.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&json), ["version", "machine", "command", "rows", "peaks", "load"]);
    let row = &json["rows"][0];
    assert_eq!(keys(row), ["name", "params", "median_ms", "min_ms", "max_ms", "gflops", "gbs"]);
    assert_eq!(row["params"], serde_json::json!({ "shape": "1x2x8x16", "dtype": "f32", "threads": 2 }));
    assert!(row["gbs"].is_null());
    assert_eq!(serde_json::from_value::<BenchReport>(json).expect("a report reads back"), report);
    let table = table(&report);
    assert!(table.contains("attention_forward") && table.contains("1x2x8x16 f32"), "{table}");
    assert!(table.contains("busy before (load 1.5)"), "{table}");
}

#[test]
fn figures_follow_from_the_time() {
    let times = Times { median: 2.0, min: 1.0, max: 4.0, profile: None };
    let row =
        BenchRow::new("decode", Params { tokens: Some(90), ..Params::default() }, times.clone(), Some(8e9), Some(4e6));
    assert_eq!((row.gflops, row.gbs, row.tokens_per_second()), (Some(4000.0), Some(2.0), Some(500.0)));
    let batch = Params { texts: Some(64), ..row.params.clone() };
    let batch = BenchRow::new("decode_batch", batch, times.clone(), None, None);
    assert_eq!(batch.tokens_per_second(), Some(32_000.0), "one token of every text");
    let row = BenchRow::new("prefill", row.params, times, None, None);
    assert_eq!((row.gflops, row.gbs, row.tokens_per_second()), (None, None, Some(45_000.0)));
}

#[test]
fn a_decoded_token_reads_all_matrices_once() {
    let engine = engine();
    let size = weights(engine.model());
    let spec = engine.spec();
    let heads = spec.layers[0].mixer.softmax().unwrap().sizes(spec.dim);
    let layer = spec.dim * heads.head_dim * (2 * heads.heads + 2 * heads.kv_heads);
    assert_eq!((size.layers, size.head), (2 * layer, spec.dim * spec.vocabulary));
    assert_eq!(size.bytes, 4 * (size.layers + size.head));
}

#[test]
fn a_prompt_beyond_the_context_is_an_error_with_the_numbers() {
    let short = engine().with_context(20);
    let setup = Setup::new(&short, Some("induction"));
    let error = Plan::new(Some("prefill"), Some("21")).expect("a plan").run(&setup, |_, _| {}).expect_err("too long");
    assert!(error.to_string().contains("21 tokens do not fit the context of 20"), "{error}");
}
