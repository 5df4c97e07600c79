//! The numbers: one row per policy, one row per policy, task and length, and what each column means.

use super::markup::escape;
use super::series::Series;
use crate::rows::Setting;
use crate::rows::quantity::{ABSENT, bytes, change, count, length, or_absent, percent, rate, score};
use crate::rows::summary::{Perplexity, PolicySummary, Recall, recall_columns};

/// Stands for a difference that its interval does not show.
const SAME: &str = "≈";

/// One row per policy, in the order they were run. What matters most stands left, where a phone shows it.
pub fn summary(summaries: &[PolicySummary], series: &[Series]) -> String {
    let recalls = recall_columns(summaries);
    let mut head: Vec<String> = ["policy", "KV %"].map(str::to_owned).to_vec();
    head.extend(
        recalls.iter().map(|(setting, t)| format!("{} {}", setting.map_or("recall", Setting::name), length(*t))),
    );
    head.extend(["perplexity", "change", "decode tok/s", "x full", "p50 ms", "p95 ms", "CPU ms"].map(str::to_owned));
    head.extend(["prefill tok/s", "prefill CPU s", "KV bytes", "peak KV"].map(str::to_owned));
    let row = |(s, series): (&PolicySummary, &Series)| {
        let mut cells = vec![or_absent(s.memory.kv_pct, percent)];
        cells.extend(recalls.iter().map(|&(setting, t)| or_absent(s.recall_at(setting, t), recall_cell)));
        let speed = s.speed();
        cells.extend([
            or_absent(s.perplexity(), |p| rate(p.score)),
            or_absent(s.perplexity().filter(|_| !s.is_full()), perplexity_change),
            or_absent(speed.and_then(|s| s.tok_s), rate),
            or_absent(speed.and_then(|s| s.ratio), |ratio| format!("{ratio:.2}")),
            or_absent(speed.and_then(|s| s.p50_ms), rate),
            or_absent(speed.and_then(|s| s.p95_ms), rate),
            or_absent(speed.and_then(|s| s.cpu_ms), rate),
            or_absent(speed.and_then(|s| s.prefill_tok_s), rate),
            or_absent(speed.and_then(|s| s.prefill_cpu_s), rate),
            or_absent(s.memory.kv_bytes, bytes),
            or_absent(s.memory.peak_kv_bytes, bytes),
        ]);
        (series.tag(), cells)
    };
    table("What each policy costs and gains", &head, summaries.iter().zip(series).map(row))
}

/// One row per policy, task, setting and length, over depths and seeds.
pub fn details(summaries: &[PolicySummary], series: &[Series]) -> String {
    let head = ["policy", "task", "setting", "length", "KV %", "score", "full", "delta", "95 % interval", "n"]
        .map(str::to_owned);
    let rows = summaries.iter().zip(series).flat_map(|(summary, series)| {
        let recalls = summary.recall.iter().map(|group| {
            let r = &group.recall;
            let delta = match r.delta() {
                None => "inconclusive".to_owned(),
                Some(_) if summary.is_full() => ABSENT.to_owned(),
                Some(delta) if r.differs() => format!("{}*", signed(delta)),
                Some(_) => SAME.to_owned(),
            };
            let setting = group.setting.map_or(ABSENT, Setting::name).to_owned();
            row_of(
                &group.task,
                setting,
                group.t,
                group.kv_pct,
                [score(r.score), or_absent(r.full_score, score), delta],
                Some(r.ci95()),
                r.n,
            )
        });
        let perplexities = summary.perplexity.iter().map(|p| {
            let delta = if summary.is_full() { ABSENT.to_owned() } else { perplexity_change(p) };
            row_of(
                &p.task,
                ABSENT.to_owned(),
                p.t,
                p.kv_pct,
                [rate(p.score), or_absent(p.full_score, rate), delta],
                p.ci95,
                p.n,
            )
        });
        recalls.chain(perplexities).map(|cells| (series.tag(), cells)).collect::<Vec<_>>()
    });
    let rows: Vec<_> = rows.collect();
    let summary = format!("<summary>Every task by length, over depths and seeds ({} rows)</summary>", rows.len());
    format!("<details>{summary}{}</details>", table("Every task, over depths and seeds", &head, rows.into_iter()))
}

fn row_of(
    task: &str,
    setting: String,
    t: usize,
    kv_pct: Option<f64>,
    scores: [String; 3],
    ci95: Option<[f64; 2]>,
    n: u64,
) -> Vec<String> {
    let mut cells = vec![escape(task), setting, count(t), or_absent(kv_pct, percent)];
    cells.extend(scores);
    cells.push(or_absent(ci95, |[low, high]| format!("{}–{}", rate(low), rate(high))));
    cells.push(count(usize::try_from(n).unwrap_or(usize::MAX)));
    cells
}

fn signed(delta: f64) -> String {
    format!("{}{}", if delta < 0.0 { "−" } else { "+" }, score(delta.abs()))
}

/// The score, `*` for a difference to the full cache beyond the interval, `?` where the full cache fails itself.
fn recall_cell(recall: Recall) -> String {
    let [low, high] = recall.ci95();
    let (mark, why) = match recall.conclusive() {
        false => ("?", "inconclusive; "),
        true if recall.differs() => ("*", "differs from full; "),
        true => ("", ""),
    };
    format!(
        r#"<span title="{why}n = {}, 95 % interval {low:.0}–{high:.0}">{}{mark}</span>"#,
        recall.n,
        score(recall.score)
    )
}

fn perplexity_change(perplexity: &Perplexity) -> String {
    match (perplexity.full_score, perplexity.ci95) {
        (None, _) => ABSENT.to_owned(),
        (Some(full), None) => format!("({}, no interval)", change(full, perplexity.score)),
        (Some(full), Some(_)) if perplexity.differs() => format!("{}*", change(full, perplexity.score)),
        (Some(_), Some(_)) => SAME.to_owned(),
    }
}

/// A table that scrolls sideways by itself; the first column stays. Cells are HTML already.
pub fn table(caption: &str, head: &[String], rows: impl Iterator<Item = (String, Vec<String>)>) -> String {
    let head: String = head.iter().map(|name| format!(r#"<th scope="col">{}</th>"#, escape(name))).collect();
    let body: String = rows
        .map(|(name, cells)| {
            let cells: String = cells.iter().map(|cell| format!("<td>{cell}</td>")).collect();
            format!(r#"<tr><th scope="row">{name}</th>{cells}</tr>"#)
        })
        .collect();
    format!(
        r#"<div class="scroll" role="region" tabindex="0" aria-label="{caption}"><table class="data"><caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"#
    )
}

/// Every column and word of the report in one line each.
const DEFINITIONS: [(&str, &str); 20] = [
    (
        "policy",
        "What the cache keeps and how it stores it; parts joined by + work together. full keeps everything in 16-bit floats.",
    ),
    ("KV %", "Measured bytes of the key-value cache after the prompt, in percent of full in f16 at the same length."),
    ("KV bytes", "The same in bytes, at the longest context measured."),
    ("peak KV", "Most bytes the cache held at any time, reading the prompt included."),
    (
        "agnostic",
        "The context is compressed before the question is known, as when one cached document serves many questions. The harder and more honest setting.",
    ),
    ("aware", "The question is part of the prompt when the cache is compressed."),
    ("recall", "Percent of the expected answers that appear in the greedy output, over all depths and seeds."),
    ("depth", "Where in the context the needle was put: 0 % is the beginning, 100 % the end."),
    (
        "length",
        "Tokens of context; k stands for 1,024 where the length is a multiple of it, else for a rounded thousand.",
    ),
    (
        "perplexity",
        "How surprised the model is by the true next tokens after the compressed context (exp of the mean negative log-likelihood); less is better.",
    ),
    ("change, delta", "Difference to the full cache on the same inputs: percent for perplexity, points for recall."),
    (
        "95 % interval",
        "Of the score: Wilson's for recall, paired bootstrap for perplexity. A difference to full is claimed (*) only if its own interval excludes zero (Newcombe's, for recall); ≈ or no mark: it is within the interval.",
    ),
    (
        "inconclusive, ?",
        "The full cache itself finds fewer than 60 %: what a policy loses there cannot be told from what the model cannot do.",
    ),
    ("n", "Expected answers, or tokens, that were scored."),
    ("p50 ms, p95 ms", "Median and 95th percentile of the time of a decoded token, in milliseconds."),
    (
        "CPU ms",
        "Processor time of a decoded token, all threads together; a thread that waits for work for less than 60 µs counts as working.",
    ),
    ("prefill tok/s", "Prompt tokens read per second, at the longest context measured."),
    ("prefill CPU s", "Processor time of reading the prompt, all threads together."),
    (
        "decode tok/s",
        "New tokens written per second after that prompt. x full: divided by the full cache's, measured in turns with it.",
    ),
    ("front", "The Pareto front: the policies that no other beats on both size and quality."),
];

/// The list of definitions.
pub fn definitions() -> String {
    let item = |(word, meaning): &(&str, &str)| format!("<dt>{}</dt><dd>{}</dd>", escape(word), escape(meaning));
    format!("<dl>{}</dl>", DEFINITIONS.iter().map(item).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::series::assign;
    use crate::rows::CacheRow;
    use crate::rows::summary::summarise;

    #[test]
    fn inconclusive_stands_in_place_of_the_delta() {
        let rows = [30.0, 100.0].map(|full| {
            let task = if full == 30.0 { "needle_multikey_1" } else { "needle_single_1" };
            CacheRow::new("tova(keep=0.1)", "toy", task, 512, 0).with_recall(Setting::Agnostic, 20.0, full, 50)
        });
        let summaries = summarise(&rows);
        let html = details(&summaries, &assign(&summaries));
        assert_eq!(html.matches("<td>inconclusive</td>").count(), 1);
        assert_eq!(html.matches("<td>−80*</td>").count(), 1, "{html}");
    }

    #[test]
    fn missing_values_are_dashes() {
        let summaries = summarise(&[CacheRow::new("full", "toy", "speed", 512, 0)]);
        let html = summary(&summaries, &assign(&summaries));
        assert_eq!(html.matches("<td>–</td>").count(), 12, "{html}");
    }
}
