//! The comparison of mixers end to end, on decoders that learn in seconds.

use std::sync::{Mutex, PoisonError};

use headwise_lab::compare::Moment;
use headwise_lab::compare::mixers::{MixerComparison, MixerRow, PageInput, answer, html, summarise, table};
use headwise_lab::rows::{Envelope, Machine};

/// Two mixers and two seeds, a few steps each.
fn tiny() -> MixerComparison {
    MixerComparison {
        mixers: ["softmax(heads=2)", "gla(heads=2)"].map(String::from).to_vec(),
        tasks: vec!["multi_query_recall(pairs=2, vocabulary=9)".into()],
        length: 8,
        test_lengths: vec![16],
        steps: 4,
        dim: 16,
        layers: 1,
        seeds: 2,
        test_sequences: 20,
    }
}

/// One comparison at a time: the generator of random weights is one for the whole program.
static ALONE: Mutex<()> = Mutex::new(());

fn run_with(comparison: &MixerComparison, said: &mut dyn FnMut(&Moment<'_>)) -> Vec<MixerRow> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    comparison.plan().unwrap().run(said).unwrap()
}

fn run(comparison: &MixerComparison) -> Vec<MixerRow> {
    run_with(comparison, &mut |_| {})
}

/// Everything but times.
fn untimed(rows: Vec<MixerRow>) -> Vec<MixerRow> {
    rows.into_iter().map(|row| MixerRow { train_tok_s: 0.0, ..row }).collect()
}

#[test]
fn every_mixer_seed_and_length_has_a_row() {
    let rows = run(&tiny());
    let keys: Vec<(&str, u64, usize)> =
        rows.iter().map(|row| (row.mixer.as_str(), row.seed, row.test_length)).collect();
    let expected = ["softmax(heads=2)", "gla(heads=2)"]
        .into_iter()
        .flat_map(|mixer| [(mixer, 0, 8), (mixer, 0, 16), (mixer, 1, 8), (mixer, 1, 16)]);
    assert_eq!(keys, expected.collect::<Vec<_>>());
    let least = rows.iter().map(|row| row.parameters).min().unwrap();
    for row in &rows {
        assert_eq!((row.length, row.steps, row.n), (8, 4, 40));
        assert!((0.0..=100.0).contains(&row.accuracy) && row.loss.is_finite() && row.train_tok_s > 0.0);
        assert!(row.parameters as f64 <= 1.02 * least as f64);
        assert_eq!(row.curve.as_ref().map(Vec::len), (row.test_length == 8).then_some(4));
    }
    // Keys and values of 16 channels in f16, twice the bytes for twice the length; two heads of a matrix 4 × 8 in f32.
    assert_eq!(rows.iter().map(|row| row.state_bytes).collect::<Vec<_>>(), [512, 1024, 512, 1024, 256, 256, 256, 256]);
}

#[test]
fn the_same_comparison_gives_the_same_rows_and_seeds_differ() {
    let comparison = MixerComparison { mixers: vec!["linear_attention(heads=2)".into()], ..tiny() };
    let rows = untimed(run(&comparison));
    assert_eq!(rows, untimed(run(&comparison)));
    assert_ne!(rows[0].curve, rows[2].curve);
}

#[test]
fn a_decoder_learns_what_can_be_learnt_in_a_few_steps() {
    // Of nine tokens four are values: the loss falls from ln 9 to ln 4 before anything is recalled.
    let comparison = MixerComparison { steps: 60, seeds: 1, mixers: vec!["softmax(heads=2)".into()], ..tiny() };
    let rows = run(&comparison);
    let curve = rows[0].curve.as_ref().unwrap();
    assert!(curve[0].loss > 1.9, "{curve:?}");
    assert!(rows[0].loss < 1.5, "{}", rows[0].loss);
}

#[test]
fn progress_goes_from_nothing_to_nearly_all() {
    let mut shares = Vec::new();
    run_with(&tiny(), &mut |moment| shares.push((moment.done, moment.doing.to_owned())));
    assert!(shares.is_sorted_by(|a, b| a.0 <= b.0) && shares[0].0 == 0.0, "{shares:?}");
    assert!(shares.iter().any(|share| share.1.contains("gla(heads=2) on multi_query_recall")), "{shares:?}");
}

#[test]
fn rows_survive_json_and_fill_a_table_an_answer_and_a_report() {
    let envelope = Envelope {
        version: "0.1.0".into(),
        machine: Machine::detect(2, "avx512"),
        command: "headwise compare mixers --steps 4".into(),
        rows: run(&tiny()),
    };
    let json = serde_json::to_string(&envelope).unwrap();
    assert_eq!(serde_json::from_str::<Envelope<MixerRow>>(&json).unwrap(), envelope);
    assert!(json.contains(r#""curve":null"#));
    assert_eq!(summarise(&envelope.rows).len(), 2);
    let text = table(&envelope.rows);
    assert!(text.contains("softmax(heads=2)") && text.contains("medians of 2 seeds"), "{text}");
    assert!(answer(&envelope.rows).to_string().contains("`gla(heads=2)`"));
    let page = html(&PageInput { title: "Tiny", envelope: &envelope, date: "today" });
    assert!(page.contains("Accuracy by length") && page.contains("--steps 4"));
}
