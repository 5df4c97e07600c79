//! Constructed cases in which the right answer is known.

use super::*;

/// What one policy measures: KV percent, agnostic and aware recall of 100 needles per setting, perplexity, decode ratio.
struct Case(&'static str, f64, f64, f64, Option<f64>, Option<f64>);

fn rows(full_recall: f64, cases: &[Case]) -> Vec<CacheRow> {
    let mut rows = Vec::new();
    let full = Case(FULL, 100.0, full_recall, full_recall, Some(10.0), Some(1.0));
    for Case(policy, kv, agnostic, aware, ppl, ratio) in std::iter::once(&full).chain(cases) {
        let new = |task| {
            let mut row = CacheRow::new(policy, "test-model", task, 4096, 0);
            (row.kv_pct, row.kv_bytes) = (Some(*kv), Some((kv * 1e6) as u64));
            row
        };
        for (setting, score) in [(Setting::Agnostic, agnostic), (Setting::Aware, aware)] {
            rows.push(new("needle_single_1").with_recall(setting, *score, full_recall, 100));
        }
        if let Some(ppl) = ppl {
            rows.push(new("perplexity").with_perplexity(
                *ppl,
                10.0,
                Some([(ppl / 10.0).ln() - 0.01, (ppl / 10.0).ln() + 0.01]),
                128,
            ));
        }
        if let Some(ratio) = ratio {
            let mut row = new("speed");
            (row.tok_s, row.full_tok_s) = (Some(40.0 * ratio), Some(40.0));
            rows.push(row);
        }
    }
    rows
}

fn text(rows: &[CacheRow]) -> String {
    answer(rows).to_string()
}

#[test]
fn each_setting_gets_the_smallest_policy_that_keeps_the_quality() {
    let text = text(&rows(
        100.0,
        &[
            Case("int8", 53.0, 100.0, 100.0, Some(10.0), Some(1.1)),
            Case("kivi4", 28.0, 97.0, 97.0, Some(10.5), Some(1.2)),
            Case("snapkv(keep=0.25)", 25.0, 30.0, 96.0, Some(10.3), Some(1.6)),
            Case("streaming(keep=0.25)", 25.0, 20.0, 20.0, Some(10.2), Some(1.7)),
            Case("snapkv(keep=0.1)", 10.0, 5.0, 60.0, Some(10.9), Some(1.9)),
        ],
    ));
    assert!(text.contains("(agnostic), use `kivi4`"), "{text}");
    assert!(text.contains("(aware), use `snapkv(keep=0.25)`. It keeps 96 % of the full cache's recall"), "{text}");
    assert!(text.contains("25.0 % of the KV bytes") && text.contains("decodes 1.60x as fast"), "{text}");
    assert!(
        text.contains(
            "At a similar size `streaming(keep=0.25)` (25.0 % of the bytes) finds only 20 % in the aware setting"
        ),
        "{text}"
    );
    assert!(text.contains("perplexity rises from 10.0 to 10.5 (+5.0 %)"), "{text}");
}

#[test]
fn one_policy_for_both_settings_is_named_once() {
    let text = text(&rows(100.0, &[Case("kivi4", 28.0, 100.0, 98.0, Some(10.05), Some(0.8))]));
    assert!(text.contains("use `kivi4`, whether"), "{text}");
    assert!(text.contains("finds as many needles as the full cache"), "{text}");
    assert!(text.contains("decodes slower (0.80x of full)"), "{text}");
    assert!(text.contains("no difference in perplexity is shown"), "{text}");
}

#[test]
fn near_ties_in_size_go_to_recall_then_speed() {
    let cases = |first, second| {
        rows(100.0, &[Case("a", 25.0, first, first, None, Some(1.1)), Case("b", 25.5, second, second, None, Some(1.5))])
    };
    assert!(text(&cases(95.0, 99.0)).contains("use `b`"));
    assert!(text(&cases(99.0, 95.0)).contains("use `a`"));
    assert!(text(&cases(95.0, 95.0)).contains("use `b`"));
}

#[test]
fn perplexity_can_veto() {
    let text = text(&rows(
        100.0,
        &[
            Case("kivi2", 15.0, 100.0, 100.0, Some(14.0), Some(1.3)),
            Case("int8", 53.0, 100.0, 100.0, Some(10.0), Some(1.1)),
        ],
    ));
    assert!(text.contains("use `int8`") && !text.contains("use `kivi2`"), "{text}");
}

#[test]
fn nothing_is_worth_it() {
    let text = text(&rows(
        100.0,
        &[
            Case("streaming(keep=0.25)", 25.0, 20.0, 20.0, Some(10.2), Some(1.7)),
            Case("snapkv(keep=0.25)", 25.0, 30.0, 70.0, Some(10.3), Some(1.6)),
        ],
    ));
    assert!(text.contains("nothing is worth it: keep `full`") && !text.contains(" use `"), "{text}");
    assert!(text.contains("keeps 70 %"), "the nearest is named: {text}");
}

#[test]
fn a_policy_as_large_as_full_is_no_recommendation() {
    let text = text(&rows(100.0, &[Case("f32", 200.0, 100.0, 100.0, Some(10.0), Some(0.9))]));
    assert!(text.contains("nothing to choose between"), "{text}");
}

#[test]
fn inconclusive_recall_recommends_by_perplexity_only() {
    let cases = [
        Case("int8", 53.0, 40.0, 40.0, Some(10.0), Some(1.1)),
        Case("tova(keep=0.1)", 10.0, 0.0, 0.0, Some(13.0), Some(1.9)),
    ];
    let with = text(&rows(40.0, &cases));
    assert!(with.contains("inconclusive: the full cache itself finds only 40 %"), "{with}");
    assert!(with.contains("By perplexity alone, the smallest cache that adds at most 10 % is `int8`"), "{with}");
    let mut without = rows(40.0, &cases);
    without.retain(|row| row.task != "perplexity");
    let without = text(&without);
    assert!(without.contains("recommend nothing") && !without.contains(" use `"), "{without}");
}

#[test]
fn depths_without_any_needle_are_named() {
    let mut rows = rows(100.0, &[Case("snapkv(keep=0.25)", 25.0, 100.0, 100.0, None, None)]);
    for depth in [0.0, 50.0, 100.0] {
        let found = if depth == 100.0 { 100.0 } else { 0.0 };
        let mut row = CacheRow::new("streaming(keep=0.25)", "test-model", "needle_single_1", 4096, 0).with_recall(
            Setting::Agnostic,
            found,
            100.0,
            10,
        );
        (row.depth, row.kv_pct) = (Some(depth), Some(25.2));
        rows.push(row);
    }
    let text = text(&rows);
    assert!(text.contains("finds only 33.3 % in the agnostic setting, none at depths 0 and 50 %"), "{text}");
}

#[test]
fn few_samples_make_no_contrast() {
    let mut rows = rows(100.0, &[Case("a", 25.0, 100.0, 100.0, None, None), Case("b", 25.0, 80.0, 80.0, None, None)]);
    assert!(text(&rows).contains("At a similar size `b`"));
    for row in &mut rows {
        row.n = row.n.map(|_| 5);
    }
    assert!(!text(&rows).contains("At a similar size `b`"), "4 of 5 is not shown to be worse than 5 of 5");
}

#[test]
fn only_the_full_cache_or_nothing_at_all() {
    assert!(text(&rows(100.0, &[])).contains("nothing to choose between"));
    assert!(text(&[]).contains("nothing to choose between"));
}
