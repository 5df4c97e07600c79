//! The answer in plain words: which mixer to use for a task, and what the others give up.
//!
//! The rule: of the mixers that come within [`NEAR`] points of the most accurate at the length of training, the one with the
//! least state at the longest test; among equals the faster. Where even the most accurate misses the [`GATE`] the answer
//! is that the task was not learnt.

use super::{MixerRow, MixerSummary, summarise};
use crate::report::Prose;
use crate::rows::GATE;
use crate::rows::quantity::{bytes, count, score};

/// Points of accuracy that a smaller state may cost.
pub const NEAR: f64 = 5.0;

/// What the rows of one task say.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict<'a> {
    /// Use this mixer.
    Use(&'a MixerSummary),
    /// The task was not learnt; the mixer that came nearest.
    NotLearnt(&'a MixerSummary),
}

/// The verdict over the mixers of one task; none without any.
pub fn verdict(mixers: &[MixerSummary]) -> Option<Verdict<'_>> {
    let best = mixers.iter().max_by(|a, b| accuracy(a).total_cmp(&accuracy(b)))?;
    if accuracy(best) < GATE {
        return Some(Verdict::NotLearnt(best));
    }
    let state = |mixer: &MixerSummary| mixer.longest().map_or(u64::MAX, |test| test.state_bytes);
    let near = mixers.iter().filter(|mixer| accuracy(mixer) >= accuracy(best) - NEAR);
    near.min_by(|a, b| state(a).cmp(&state(b)).then(b.train_tok_s.total_cmp(&a.train_tok_s))).map(Verdict::Use)
}

/// The median accuracy at the length of training.
fn accuracy(mixer: &MixerSummary) -> f64 {
    mixer.trained().map_or(0.0, |test| test.accuracy.median)
}

/// The answer paragraph for these rows.
pub fn answer(rows: &[MixerRow]) -> Prose {
    let summaries = summarise(rows);
    let mut prose = Prose::default();
    for mixers in summaries.chunk_by(|a, b| a.task == b.task) {
        of_task(&mut prose, mixers);
    }
    prose
}

fn of_task(prose: &mut Prose, mixers: &[MixerSummary]) {
    let (Some(verdict), [first, ..]) = (verdict(mixers), mixers) else { return };
    let trained = count(first.length);
    let over = if first.seeds == 1 { "one seed".to_owned() } else { format!("median of {} seeds", first.seeds) };
    prose.text("For ").policy(&first.task).text(format!(" at {trained} tokens ({over}): "));
    let (Verdict::Use(chosen) | Verdict::NotLearnt(chosen)) = verdict;
    match verdict {
        Verdict::Use(_) => {
            prose.text("use ").policy(&chosen.mixer).text(format!(", which is right in {}", right(chosen)));
            if let Some(test) = chosen.longest() {
                let size = bytes(test.state_bytes);
                prose.text(format!(" and keeps {size} of a text of {} tokens", count(test.length)));
            }
        }
        Verdict::NotLearnt(_) => {
            prose.text("no mixer learnt it, so there is nothing to choose between; the nearest, ");
            prose.policy(&chosen.mixer).text(format!(", is right in {}", right(chosen)));
        }
    }
    prose.text(". ");
    others(prose, mixers, chosen);
    longer(prose, mixers, chosen);
}

/// What the other mixers do at the length of training.
fn others(prose: &mut Prose, mixers: &[MixerSummary], chosen: &MixerSummary) {
    let mut others: Vec<&MixerSummary> = mixers.iter().filter(|mixer| mixer.mixer != chosen.mixer).collect();
    others.sort_by(|a, b| accuracy(b).total_cmp(&accuracy(a)));
    for (place, other) in others.iter().enumerate() {
        prose.text(if place == 0 { "Of the same size, " } else { ", " }).policy(&other.mixer);
        prose.text(format!(" is right in {}", right(other)));
        if let Some(test) = other.longest() {
            prose.text(format!(" ({})", bytes(test.state_bytes)));
        }
    }
    if !others.is_empty() {
        prose.text(". ");
    }
}

/// What becomes of the chosen mixer in texts longer than those it was trained on, and who is better there.
fn longer(prose: &mut Prose, mixers: &[MixerSummary], chosen: &MixerSummary) {
    let Some(own) = chosen.longest().filter(|test| test.length > chosen.length) else { return };
    let at_longest = |mixer: &MixerSummary| mixer.longest().map_or(0.0, |test| test.accuracy.median);
    let factor = own.length as f64 / chosen.length as f64;
    let (length, factor) = (count(own.length), score(factor));
    prose.text(format!("At {length} tokens, {factor} times the length of training, "));
    prose.policy(&chosen.mixer).text(format!(" is right in {} %", score(own.accuracy.median)));
    let best = mixers.iter().max_by(|a, b| at_longest(a).total_cmp(&at_longest(b)));
    match best.filter(|best| at_longest(best) > own.accuracy.median) {
        Some(best) => {
            prose.text(", and ").policy(&best.mixer).text(format!(" in {} %. ", score(at_longest(best))));
        }
        None if mixers.len() > 1 => {
            prose.text(", more than any other. ");
        }
        None => {
            prose.text(". ");
        }
    }
}

/// The accuracy at the length of training, with its extremes over several seeds.
fn right(mixer: &MixerSummary) -> String {
    let Some(test) = mixer.trained() else { return score(0.0) };
    let spread = test.accuracy;
    match mixer.seeds {
        1 => format!("{} %", score(spread.median)),
        _ => format!("{} % ({}–{})", score(spread.median), score(spread.least), score(spread.most)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::summary::tests::rows;
    use super::*;

    #[test]
    fn a_smaller_state_wins_only_among_the_accurate() {
        let summaries = summarise(&rows());
        assert!(matches!(verdict(&summaries), Some(Verdict::Use(mixer)) if mixer.mixer == "softmax"));
        let mut near = rows();
        near.iter_mut().filter(|row| row.mixer == "gla").for_each(|row| row.accuracy = 95.0);
        assert!(matches!(verdict(&summarise(&near)), Some(Verdict::Use(mixer)) if mixer.mixer == "gla"));
        let text = answer(&near).to_string();
        assert!(text.contains("use `gla`") && text.contains("8.00 KiB of a text of 96 tokens"), "{text}");
    }

    #[test]
    fn the_paragraph_says_what_the_others_do_and_what_length_does() {
        let text = answer(&rows()).to_string();
        for part in [
            "For `multi_query_recall` at 48 tokens (median of 3 seeds): use `softmax`, which is right in 99.5 % (98–100)",
            "`gla` is right in 80 % (10–85)",
            "At 96 tokens, 2 times the length of training, `softmax` is right in 40 %, and `gla` in 70 %.",
        ] {
            assert!(text.contains(part), "no {part:?} in {text}");
        }
    }

    #[test]
    fn nothing_is_recommended_where_nothing_was_learnt() {
        let mut poor = rows();
        poor.iter_mut().for_each(|row| row.accuracy *= 0.5);
        let text = answer(&poor).to_string();
        assert!(text.contains("no mixer learnt it") && !text.contains("use `"), "{text}");
        assert_eq!(answer(&[]).to_string(), "");
    }
}
