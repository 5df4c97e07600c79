//! One self-contained HTML page about a cache comparison: the answer first, then the pictures, then every number.
//!
//! The page loads nothing, needs no script, follows the reader's light or dark setting, and can be read on a phone and
//! by a screen reader: charts are inline SVG with titles and descriptions, heat maps and numbers are tables.

mod answer;
pub(crate) mod chart;
mod heat_map;
pub(crate) mod labels;
pub(crate) mod lines;
pub(crate) mod markup;
pub(crate) mod page;
mod pareto;
pub(crate) mod picture;
pub(crate) mod series;
mod speed;
pub(crate) mod tables;
mod tradeoff;
mod wording;

use crate::rows::quantity::count;
use crate::rows::summary::summarise;
use crate::rows::{CacheRow, Envelope};
pub use answer::{PERPLEXITY_ADDED, RECALL_KEPT, answer};
pub use markup::{Prose, escape};
use page::{distinct, section};
pub use pareto::{dominates, front};

/// What a report is made from.
#[derive(Clone, Copy, Debug)]
pub struct ReportInput<'a> {
    /// Title of the page.
    pub title: &'a str,
    /// The rows, the machine and the command.
    pub envelope: &'a Envelope<CacheRow>,
    /// When the rows were measured, as it should be printed.
    pub date: &'a str,
    /// What a reader must know before the numbers. Notes that begin with `sha256` are checksums of what was run and stand
    /// there.
    pub notes: &'a [String],
}

/// The page.
pub fn html(input: &ReportInput) -> String {
    let rows = &input.envelope.rows;
    let summaries = summarise(rows);
    let series = series::assign(&summaries);
    let (checksums, notes): (Vec<&String>, Vec<&String>) =
        input.notes.iter().partition(|note| note.starts_with("sha256"));
    let sections = [
        answer_section(rows),
        section(
            "Every policy",
            "policies",
            &format!(
                "<p>* differs from full beyond its 95 % interval. ≈ or no mark: within the interval, no difference is claimed. ? inconclusive: the full cache itself finds fewer than 60 %.</p>{}",
                tables::summary(&summaries, &series)
            ),
        ),
        section("Quality against memory", "quality", &tradeoff::section(&summaries, &series)),
        section("Where needles are found", "needles", &heat_map::section(rows, &series)),
        section("Speed", "speed", &speed::section(&summaries, &series)),
        section("All results", "results", &tables::details(&summaries, &series)),
        section("What the words mean", "words", &tables::definitions()),
        section("What was run", "run", &run(input, &checksums)),
    ];
    let (title, lead) = (input.title, lead(input, summaries.len()));
    page::page(title, &lead, &format!("{}{}", note_block(&notes), sections.concat()))
}

fn answer_section(rows: &[CacheRow]) -> String {
    let rule = format!(
        "How it was chosen: the fewest KV bytes among the policies that keep at least {:.0} % of the full cache's recall and add at most {:.0} % to its \
         perplexity, for each setting by itself; near ties go to recall, then to decode speed.",
        100.0 * RECALL_KEPT,
        100.0 * PERPLEXITY_ADDED
    );
    format!(
        "<section class=\"answer\" aria-labelledby=\"answer\"><h2 id=\"answer\">The answer</h2><p>{}</p><p class=\"small\">{rule}</p></section>\n",
        answer(rows).html()
    )
}

fn lead(input: &ReportInput, policies: usize) -> String {
    let models = distinct(&input.envelope.rows, |row| row.model.clone()).join(", ");
    let plural = if policies == 1 { "policy" } else { "policies" };
    format!("{models} · {policies} cache {plural} · {} · {}", input.date, input.envelope.machine.cpu)
}

fn note_block(notes: &[&String]) -> String {
    if notes.is_empty() {
        return String::new();
    }
    let items: String = notes.iter().map(|note| format!("<p>{}</p>", escape(note))).collect();
    format!("<aside class=\"notes\" aria-label=\"Notes\">{items}</aside>\n")
}

/// What was run, where, and the command to run it again.
fn run(input: &ReportInput, checksums: &[&String]) -> String {
    let envelope = input.envelope;
    let lengths = distinct(&envelope.rows, |row| row.t).into_iter().map(count).collect::<Vec<_>>().join(", ");
    let mut facts = vec![("model", distinct(&envelope.rows, |row| row.model.clone()).join(", "))];
    facts.extend(checksums.iter().map(|checksum| ("checksum", (*checksum).clone())));
    facts.extend([
        ("tasks", distinct(&envelope.rows, |row| row.task.clone()).join(", ")),
        ("lengths", format!("{lengths} tokens")),
        ("seeds", distinct(&envelope.rows, |row| row.seed).iter().map(u64::to_string).collect::<Vec<_>>().join(", ")),
    ]);
    page::run(facts, envelope, input.date)
}

#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;
