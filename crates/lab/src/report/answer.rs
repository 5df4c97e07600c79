//! The answer in plain words: which policy to use, what it saves and what it costs.
//!
//! The rule: of the policies that keep at least [`RECALL_KEPT`] of the full cache's recall and add at most
//! [`PERPLEXITY_ADDED`] to its perplexity, the one with the fewest key-value bytes; among near ties the better recall,
//! then the faster decoding. Each setting has its own answer. Where the full cache misses the gate the answer is
//! "inconclusive", and where no policy qualifies it is "keep `full`".

use std::collections::BTreeSet;

use super::markup::Prose;
use super::wording;
use crate::rows::quantity::{count, percent, score};
use crate::rows::summary::{PolicySummary, Recall, recall_of, settings, summarise};
use crate::rows::{CacheRow, FULL, Setting};

/// Share of the full cache's recall a recommended policy keeps.
pub const RECALL_KEPT: f64 = 0.9;

/// Relative rise of perplexity a recommended policy may cause.
pub const PERPLEXITY_ADDED: f64 = 0.1;

/// A cache above this (percent of `full` in f16) saves nothing worth a recommendation.
const SAVES_BELOW: f64 = 95.0;

/// Sizes within this factor of the smallest are a tie.
const NEAR: f64 = 1.1;

/// Sizes within this factor are compared: "the same bytes spent otherwise lose the needles".
const SIMILAR: f64 = 1.25;

/// What a setting's rows say.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict<'a> {
    /// Use this policy.
    Use(&'a PolicySummary),
    /// No policy qualifies; the one that came nearest, if any is smaller than the full cache.
    KeepFull(Option<&'a PolicySummary>),
    /// The full cache itself misses the gate.
    Inconclusive(Recall),
}

/// The verdict for a setting with retrieval rows.
pub fn verdict(summaries: &[PolicySummary], setting: Option<Setting>) -> Option<Verdict<'_>> {
    let measured: Vec<_> = summaries.iter().filter_map(|s| Some((s, s.pooled(setting)?.0))).collect();
    let (_, any) = measured.first()?;
    let any = measured.iter().find(|(s, _)| s.is_full()).map_or(any, |(_, recall)| recall);
    if measured.iter().all(|(_, recall)| !recall.conclusive()) {
        return Some(Verdict::Inconclusive(*any));
    }
    let smaller: Vec<_> = measured.iter().filter(|(s, recall)| saves(s) && recall.conclusive()).collect();
    let qualifies = |(s, recall): &&&(&PolicySummary, Recall)| keeps_recall(recall) && keeps_perplexity(s);
    let best = smallest(smaller.iter().filter(qualifies).map(|(s, recall)| (*s, recall.score)));
    Some(best.map_or_else(|| Verdict::KeepFull(nearest(&smaller)), Verdict::Use))
}

/// The smallest policy by perplexity alone, for comparisons without a conclusive retrieval task.
fn by_perplexity(summaries: &[PolicySummary]) -> Option<&PolicySummary> {
    let measured = summaries.iter().filter(|s| saves(s) && keeps_perplexity(s));
    smallest(measured.filter_map(|s| Some((s, -s.perplexity()?.relative()?))))
}

/// Of policies with a quality (more is better), the smallest; near ties go to quality, then speed.
fn smallest<'a>(policies: impl Iterator<Item = (&'a PolicySummary, f64)>) -> Option<&'a PolicySummary> {
    let policies: Vec<_> = policies.filter_map(|(s, quality)| Some((s, quality, s.memory.kv_pct?))).collect();
    let least = policies.iter().map(|p| p.2).fold(f64::INFINITY, f64::min);
    let ratio = |s: &PolicySummary| s.speed().and_then(|s| s.ratio).unwrap_or(0.0);
    policies
        .into_iter()
        .filter(|p| p.2 <= least * NEAR)
        .reduce(|a, b| if (b.1, ratio(b.0)) > (a.1, ratio(a.0)) { b } else { a })
        .map(|p| p.0)
}

/// The policy to name when none qualifies: one that keeps the recall if there is any, else the best recall.
fn nearest<'a>(smaller: &[&(&'a PolicySummary, Recall)]) -> Option<&'a PolicySummary> {
    let key = |(_, recall): &(&PolicySummary, Recall)| recall.kept().unwrap_or(0.0);
    smaller.iter().copied().reduce(|a, b| if key(b) > key(a) { b } else { a }).map(|(s, _)| *s)
}

fn saves(summary: &PolicySummary) -> bool {
    !summary.is_full() && summary.memory.kv_pct.is_some_and(|kv| kv < SAVES_BELOW)
}

fn keeps_recall(recall: &Recall) -> bool {
    recall.kept().is_some_and(|kept| kept >= RECALL_KEPT)
}

/// Whether perplexity is kept; a policy whose perplexity was not measured is not held back by it.
fn keeps_perplexity(summary: &PolicySummary) -> bool {
    summary.perplexity().and_then(|p| p.relative()).is_none_or(|relative| relative <= 1.0 + PERPLEXITY_ADDED)
}

/// The answer paragraph for these rows.
pub fn answer(rows: &[CacheRow]) -> Prose {
    let summaries = summarise(rows);
    let mut prose = Prose::default();
    prose.text(preamble(rows));
    if !summaries.iter().any(saves) {
        prose.text("no policy smaller than the full cache was measured, so there is nothing to choose between.");
        return prose;
    }
    let verdicts: Vec<_> =
        settings(&summaries).into_iter().filter_map(|s| Some((s, verdict(&summaries, s)?))).collect();
    let inconclusive = |v: &Verdict| matches!(v, Verdict::Inconclusive(_));
    match verdicts.as_slice() {
        [] => prose.text("recall was not measured. "),
        [(_, Verdict::Use(a)), (_, Verdict::Use(b))] if a.policy == b.policy => {
            prose
                .text("use ")
                .policy(&a.policy)
                .text(", whether the question is known when the cache is compressed or comes later. ");
            for (i, (setting, _)) in verdicts.iter().enumerate() {
                wording::recommendation(&mut prose, a, *setting, rows, i == 0);
            }
            &mut prose
        }
        all => {
            for (i, (setting, verdict)) in all.iter().enumerate() {
                describe(&mut prose, verdict, *setting, rows, i == 0);
            }
            &mut prose
        }
    };
    if verdicts.iter().all(|(_, v)| inconclusive(v)) {
        perplexity_only(&mut prose, &summaries);
    }
    for (setting, verdict) in &verdicts {
        if let Verdict::Use(chosen) = verdict {
            contrast(&mut prose, chosen, *setting, &summaries, rows);
        }
    }
    prose
}

fn preamble(rows: &[CacheRow]) -> String {
    let models: BTreeSet<&str> = rows.iter().map(|row| row.model.as_str()).collect();
    let lengths: BTreeSet<usize> = rows.iter().map(|row| row.t).collect();
    let models: Vec<_> = models.into_iter().collect();
    let span = match (lengths.first(), lengths.last()) {
        (Some(low), Some(high)) if low != high => format!("{} to {} tokens of context", count(*low), count(*high)),
        (Some(only), _) => format!("{} tokens of context", count(*only)),
        _ => "no context".to_owned(),
    };
    format!("For {} at {span}: ", models.join(" and "))
}

fn describe(prose: &mut Prose, verdict: &Verdict, setting: Option<Setting>, rows: &[CacheRow], first: bool) {
    let when = wording::when(setting);
    let when = if first { when.to_owned() } else { wording::capital(when) };
    match verdict {
        Verdict::Use(chosen) => {
            prose.text(format!("{when}use ")).policy(&chosen.policy).text(". ");
            wording::recommendation(prose, chosen, setting, rows, true);
        }
        Verdict::KeepFull(nearest) => {
            prose.text(format!("{when}nothing is worth it: keep ")).policy(FULL);
            prose.text(format!(
                ". No smaller cache keeps {:.0} % of its recall without adding more than {:.0} % to perplexity. ",
                100.0 * RECALL_KEPT,
                100.0 * PERPLEXITY_ADDED
            ));
            if let Some(nearest) = nearest {
                prose.text("The nearest: ");
                wording::recommendation(prose, nearest, setting, rows, true);
            }
        }
        Verdict::Inconclusive(recall) => {
            let full = recall
                .full_score
                .map_or_else(|| "was not run".to_owned(), |full| format!("itself finds only {} %", score(full)));
            prose.text(format!("{when}recall is inconclusive: the full cache {full}, and a comparison needs 60 %. "));
        }
    }
}

fn perplexity_only(prose: &mut Prose, summaries: &[PolicySummary]) {
    match by_perplexity(summaries) {
        Some(chosen) => {
            prose.text("By perplexity alone, the smallest cache that adds at most 10 % is ").policy(&chosen.policy);
            prose.text(format!(": {}{}; ", wording::size(chosen), wording::decode(chosen)));
            prose.text(format!("{}. ", wording::perplexity(chosen)));
        }
        None if summaries.iter().any(|s| s.perplexity().is_some()) => {
            prose
                .text("By perplexity, nothing is worth it: keep ")
                .policy(FULL)
                .text(". Every smaller cache adds more than 10 %. ");
        }
        None => {
            prose.text("Perplexity was not measured either, so these rows recommend nothing. ");
        }
    }
}

/// Names the policy of about the same size that loses most, if the loss is beyond its interval.
fn contrast(
    prose: &mut Prose,
    chosen: &PolicySummary,
    setting: Option<Setting>,
    summaries: &[PolicySummary],
    rows: &[CacheRow],
) {
    let (Some(kv), Some((own, _))) = (chosen.memory.kv_pct, chosen.pooled(setting)) else { return };
    let worst = summaries
        .iter()
        .filter(|s| !s.is_full() && s.memory.kv_pct.is_some_and(|other| other <= kv * SIMILAR && other >= kv / SIMILAR))
        .filter_map(|s| Some((s, s.pooled(setting)?.0)))
        .filter(|(_, recall)| recall.differs() && recall.score < own.score && !keeps_recall(recall))
        .min_by(|a, b| a.1.score.total_cmp(&b.1.score));
    let Some((worst, recall)) = worst else { return };
    prose.text("At a similar size ").policy(&worst.policy).text(format!(
        " ({} % of the bytes) finds only {} %{}{}. ",
        percent(worst.memory.kv_pct.unwrap_or(kv)),
        score(recall.score),
        setting.map_or_else(String::new, |s| format!(" in the {} setting", s.name())),
        lost_depths(rows, &worst.policy, setting)
    ));
}

/// The depths at which a policy finds nothing that the full cache finds.
fn lost_depths(rows: &[CacheRow], policy: &str, setting: Option<Setting>) -> String {
    let own = || rows.iter().filter(|row| row.policy == policy && row.setting == setting && row.score.is_some());
    let mut depths: Vec<f64> = own().filter_map(|row| row.depth).collect();
    depths.sort_by(f64::total_cmp);
    depths.dedup();
    let at = |depth: f64| recall_of(own().filter(|row| row.depth == Some(depth)));
    let lost: Vec<_> = depths
        .iter()
        .filter(|&&d| at(d).is_some_and(|r| r.score == 0.0 && r.conclusive()))
        .map(|&d| score(d))
        .collect();
    match lost.as_slice() {
        [] => String::new(),
        all if all.len() == depths.len() => ", none at any depth".to_owned(),
        [only] => format!(", none at depth {only} %"),
        [first @ .., last] => format!(", none at depths {} and {last} %", first.join(", ")),
    }
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
