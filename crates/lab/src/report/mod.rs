//! One self-contained HTML page about a cache comparison: the answer first, then the pictures, then every number.
//!
//! The page loads nothing, needs no script, follows the reader's light or dark setting, and can be read on a phone and
//! by a screen reader: charts are inline SVG with titles and descriptions, heat maps and numbers are tables.

mod answer;
mod chart;
mod heat_map;
mod labels;
mod markup;
mod pareto;
mod series;
mod speed;
mod tables;
mod tradeoff;
mod wording;

use std::collections::BTreeSet;

use crate::rows::quantity::{bytes, count};
use crate::rows::summary::summarise;
use crate::rows::{CacheRow, Envelope};
pub use answer::{PERPLEXITY_ADDED, RECALL_KEPT, answer};
pub use markup::{Prose, escape};
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

const STYLE: &str = include_str!("style.css");

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
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <header><h1>{title}</h1><p class=\"lead\">{lead}</p></header>\n{notes}{sections}</main>\n</body>\n</html>\n",
        title = escape(input.title),
        lead = lead(input, summaries.len()),
        notes = note_block(&notes),
        sections = sections.concat(),
    )
}

fn section(title: &str, id: &str, content: &str) -> String {
    format!("<section aria-labelledby=\"{id}\"><h2 id=\"{id}\">{title}</h2>{content}</section>\n")
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
    escape(&format!("{models} · {policies} cache {plural} · {} · {}", input.date, input.envelope.machine.cpu))
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
    let (envelope, machine) = (input.envelope, &input.envelope.machine);
    let memory = machine.memory_bytes.map_or_else(String::new, |memory| format!(", {} of memory", bytes(memory)));
    let lengths = distinct(&envelope.rows, |row| row.t).into_iter().map(count).collect::<Vec<_>>().join(", ");
    let mut facts = vec![("model", distinct(&envelope.rows, |row| row.model.clone()).join(", "))];
    facts.extend(checksums.iter().map(|checksum| ("checksum", (*checksum).clone())));
    facts.extend([
        ("tasks", distinct(&envelope.rows, |row| row.task.clone()).join(", ")),
        ("lengths", format!("{lengths} tokens")),
        ("seeds", distinct(&envelope.rows, |row| row.seed).iter().map(u64::to_string).collect::<Vec<_>>().join(", ")),
        (
            "machine",
            format!("{}, {} of {} cores, {}{memory}", machine.cpu, machine.threads, machine.cores, machine.simd),
        ),
        ("system", machine.os.clone()),
        ("date", input.date.to_owned()),
        ("version", envelope.version.clone()),
    ]);
    let facts: String =
        facts.iter().map(|(name, value)| format!("<dt>{name}</dt><dd>{}</dd>", escape(value))).collect();
    format!(
        "<dl class=\"facts\">{facts}</dl><p>To run it again:</p><pre tabindex=\"0\"><code>{}</code></pre>",
        escape(&envelope.command)
    )
}

fn distinct<T: Ord>(rows: &[CacheRow], value: impl Fn(&CacheRow) -> T) -> Vec<T> {
    rows.iter().map(value).collect::<BTreeSet<T>>().into_iter().collect()
}

#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;
