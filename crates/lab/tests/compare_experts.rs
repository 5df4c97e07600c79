//! The comparison of ways to hold experts end to end, on a mixture that is trained in a moment.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use headwise_lab::compare::experts::{
    ExpertsComparison, ExpertsRow, PageInput, TinyMixture, WHOLE, answer, html, table,
};
use headwise_lab::rows::{Envelope, Machine};

fn tiny() -> ExpertsComparison {
    ExpertsComparison {
        policies: ["on_demand", "lru", "next_gate(capacity=0.5)", "expertflow"].map(String::from).to_vec(),
        tiny: TinyMixture { layers: 2, experts: 4, hidden: 16, steps: 3 },
        batch: 2,
        prompt: 8,
        tokens: 6,
        threads: 2,
        ..ExpertsComparison::default()
    }
}

/// One comparison at a time: the generator of random weights is one for the whole program.
static ALONE: Mutex<()> = Mutex::new(());

fn run(comparison: &ExpertsComparison) -> Vec<ExpertsRow> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    comparison.plan().unwrap().run(&mut |_| {}).unwrap()
}

#[test]
fn every_policy_has_a_row_with_the_bits_of_the_whole_model() {
    let rows = run(&tiny());
    let policies: Vec<&str> = rows.iter().map(|row| row.policy.as_str()).collect();
    assert_eq!(policies[0], WHOLE);
    assert_eq!(policies.len(), 5);
    for row in &rows {
        assert!(row.same_bits && row.tok_s > 0.0 && row.peak_bytes <= row.capacity_bytes, "{row:?}");
        assert_eq!(row.total_bytes, rows[0].total_bytes);
    }
    let [whole, on_demand, lru, ..] = &rows[..] else { panic!("five rows") };
    assert_eq!((whole.hits_pct, whole.loads_per_token()), (None, 0.0));
    assert_eq!((on_demand.hits_pct, on_demand.loads_ahead), (Some(0.0), 0));
    assert_eq!(on_demand.layer_hits_pct, [0.0, 0.0]);
    assert_eq!(lru.capacity_bytes * 4, lru.total_bytes);
    // Random routers may never come back to an expert while it is there.
    assert!(lru.hits_pct >= on_demand.hits_pct && lru.loads_per_token() <= on_demand.loads_per_token());
    assert_eq!(lru.hits_pct > Some(0.0), lru.loads_per_token() < on_demand.loads_per_token());
}

#[test]
fn loads_that_are_slowed_down_take_their_time() {
    let policies = vec!["on_demand".to_owned()];
    let rows = run(&ExpertsComparison { policies, delay: Duration::from_millis(3), ..tiny() });
    // Six tokens in two batches through two layers, each of which waits at least once.
    assert!(rows[1].tok_s < 24.0 / (24.0 * 0.003), "{}", rows[1].tok_s);
    assert_eq!(rows[1].delay_ms, 3.0);
}

#[test]
fn what_cannot_be_compared_is_named() {
    let error = |comparison: ExpertsComparison| comparison.plan().unwrap_err().to_string();
    let with = |policy: &str| ExpertsComparison { policies: vec![policy.to_owned()], ..tiny() };
    assert!(error(with("expertflw")).contains("expertflow"));
    assert!(error(with("lru(capacity=3)")).contains("at most 1"));
    assert!(error(ExpertsComparison { batch: 0, ..tiny() }).contains("--batch is 0"));
    let missing = ExpertsComparison { model: Some("no/such/folder".into()), ..tiny() };
    assert!(missing.plan().unwrap().run(&mut |_| {}).is_err());
    let folder = tempfile::tempdir().unwrap();
    {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        tiny().tiny.write(folder.path(), 0, |_| {}).unwrap();
    }
    let long = ExpertsComparison { model: Some(folder.path().to_owned()), tokens: 100_000, ..tiny() };
    assert!(long.plan().unwrap().run(&mut |_| {}).unwrap_err().to_string().contains("shorter"));
}

#[test]
fn rows_survive_json_and_fill_a_table_an_answer_and_a_report() {
    let envelope = Envelope {
        version: "0.1.0".into(),
        machine: Machine::detect(2, "avx512"),
        command: "headwise compare experts --batch 2".into(),
        rows: run(&tiny()),
    };
    let json = serde_json::to_string(&envelope).unwrap();
    assert_eq!(serde_json::from_str::<Envelope<ExpertsRow>>(&json).unwrap(), envelope);
    let text = table(&envelope.rows);
    assert!(text.contains("on_demand") && text.contains("mixture 1") && text.contains("yes"), "{text}");
    assert_eq!(table(&[]), "No rows.\n");
    let said = answer(&envelope.rows).to_string();
    assert!(said.contains("Use `") && said.contains("of experts in memory"), "{said}");
    let mut wrong = envelope.rows.clone();
    wrong[1].same_bits = false;
    assert!(answer(&wrong).to_string().contains("`on_demand` are not those of the whole model"));
    let notes = ["<b>a note</b>".to_owned()];
    let page = html(&PageInput { title: "Tiny", envelope: &envelope, date: "today", notes: &notes });
    for part in ["Hits by layer", "--batch 2", "&lt;b&gt;a note", "<svg class=\"chart\""] {
        assert!(page.contains(part), "{part} is missing");
    }
    assert!(!page.contains("<script") && !page.contains("http"));
}
