//! The clauses of the answer: size, recall, perplexity and speed of one policy, and only what the numbers show.

use super::markup::Prose;
use crate::rows::quantity::{bytes, change, count, percent, rate, score};
use crate::rows::summary::PolicySummary;
use crate::rows::{CacheRow, Metric, Setting};

/// Decode speeds within this factor of the full cache's are "about as fast".
const SAME_SPEED: f64 = 1.05;

/// When a setting's answer applies, as the start of a sentence.
pub fn when(setting: Option<Setting>) -> &'static str {
    match setting {
        Some(Setting::Agnostic) => "if the cache is compressed before the question is known (agnostic), ",
        Some(Setting::Aware) => "if the question is part of the prompt that is compressed (aware), ",
        None => "",
    }
}

/// With a capital first letter.
pub fn capital(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map_or_else(String::new, |first| first.to_uppercase().chain(rest).collect())
}

/// One sentence about a policy in a setting: recall, and if `whole` also size, speed and perplexity.
pub fn recommendation(
    prose: &mut Prose,
    chosen: &PolicySummary,
    setting: Option<Setting>,
    rows: &[CacheRow],
    whole: bool,
) {
    let subject = if whole { "It " } else { "With the question known it " };
    prose.text(subject).text(recall(chosen, setting, rows));
    if whole {
        prose.text(format!(" with {}{}; {}", size(chosen), decode(chosen), perplexity(chosen)));
        prose.text(peak(chosen));
    }
    prose.text(". ");
}

/// `keeps 96 % of the full cache's recall (finds 96 % of 50 needles; 95 % interval 87–99)`.
fn recall(chosen: &PolicySummary, setting: Option<Setting>, rows: &[CacheRow]) -> String {
    let Some((recall, _)) = chosen.pooled(setting) else { return "was not measured".to_owned() };
    let [low, high] = recall.ci95();
    let needles =
        rows.iter().filter(|row| row.metric == Some(Metric::Recall)).all(|row| row.task.starts_with("needle"));
    let things = if needles { "needles" } else { "answers" };
    let found = format!("{} % of {} {things}; 95 % interval {low:.0}–{high:.0}", score(recall.score), recall.n);
    match recall.full_score.zip(recall.kept()) {
        Some((full, _)) if full == recall.score => format!("finds as many {things} as the full cache ({found})"),
        Some((full, kept)) => {
            format!("keeps {:.0} % of the full cache's recall ({found}; full {} %)", 100.0 * kept, score(full))
        }
        None => format!("finds {found}"),
    }
}

/// `25.3 % of the KV bytes (23.9 MiB instead of 94.4 MiB at 4,096 tokens)`.
pub fn size(chosen: &PolicySummary) -> String {
    let memory = &chosen.memory;
    let Some(kv_pct) = memory.kv_pct else { return "an unknown size".to_owned() };
    let of_full = memory.kv_bytes.filter(|_| kv_pct > 0.0).map(|kv| {
        let full = (kv as f64 * 100.0 / kv_pct).round() as u64;
        format!(" ({} instead of {} at {} tokens)", bytes(kv), bytes(full), count(memory.t))
    });
    format!("{} % of the KV bytes{}", percent(kv_pct), of_full.unwrap_or_default())
}

/// `, decodes 1.61x as fast as full`.
pub fn decode(chosen: &PolicySummary) -> String {
    match chosen.speed().and_then(|speed| speed.ratio) {
        Some(ratio) if ratio >= SAME_SPEED => format!(" and decodes {ratio:.2}x as fast"),
        Some(ratio) if ratio <= 1.0 / SAME_SPEED => format!(" but decodes slower ({ratio:.2}x of full)"),
        Some(ratio) => format!(" and decodes about as fast ({ratio:.2}x)"),
        None => " (decode speed not measured)".to_owned(),
    }
}

/// `perplexity rises from 14.2 to 15.1 (+6.3 %)`, or that it does not differ.
pub fn perplexity(chosen: &PolicySummary) -> String {
    let Some((perplexity, full)) = chosen.perplexity().and_then(|p| Some((p, p.full_score?))) else {
        return "its perplexity was not measured".to_owned();
    };
    let (own, full_text) = (rate(perplexity.score), rate(full));
    match perplexity.ci95 {
        None => format!("perplexity is {own} (full {full_text}; no interval)"),
        Some(_) if !perplexity.differs() => format!("no difference in perplexity is shown ({own}, full {full_text})"),
        Some(_) => {
            let direction = if perplexity.score > full { "rises" } else { "falls" };
            format!("perplexity {direction} from {full_text} to {own} ({})", change(full, perplexity.score))
        }
    }
}

/// Says so when the cache is much larger while it is filled than it is afterwards.
fn peak(chosen: &PolicySummary) -> String {
    match (chosen.memory.kv_bytes, chosen.memory.peak_kv_bytes) {
        (Some(kv), Some(peak)) if peak as f64 > 1.5 * kv as f64 => {
            format!("; while it reads the prompt the cache still grows to {}", bytes(peak))
        }
        _ => String::new(),
    }
}
