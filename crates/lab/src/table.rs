//! The terminal table of a cache comparison: one row per policy, in the order they were run.
//!
//! Columns that do not fit the terminal go into further tables below, each starting with the policy again, so nothing is
//! cut off or squeezed. A `*` marks a difference to the full cache beyond its 95 % interval; without it none is claimed.

mod markdown;

use comfy_table::{Cell, CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};

use crate::rows::quantity::{ABSENT, byte_unit, change, length, or_absent, rate, score};
use crate::rows::summary::{PolicySummary, Recall, recall_columns, summarise};
use crate::rows::{CacheRow, Setting, interval};

pub use markdown::markdown;

/// Width that is used when the terminal's is not known.
pub const DEFAULT_WIDTH: u16 = 100;

/// A policy's text is wrapped beyond this many characters …
const POLICY_WIDTH: usize = 30;

/// … and squeezed to this many if that saves a second table.
const POLICY_WIDTH_SQUEEZED: usize = 20;

/// Between two columns.
const GAP: usize = 2;

/// A column: its two-line header, a unit for narrow columns included, and its text for each policy.
struct Column {
    header: String,
    cells: Vec<String>,
}

impl Column {
    fn new(header: impl Into<String>, summaries: &[PolicySummary], cell: impl Fn(&PolicySummary) -> String) -> Self {
        Self { header: header.into(), cells: summaries.iter().map(cell).collect() }
    }

    fn width(&self) -> usize {
        self.header.lines().chain(self.cells.iter().map(String::as_str)).map(display_width).max().unwrap_or(0)
    }

    fn is_empty(&self) -> bool {
        self.cells.iter().all(|cell| cell == ABSENT)
    }
}

/// The table and the notes that explain its marks, at most `width` columns wide (and at least 40).
pub fn cache(rows: &[CacheRow], width: u16) -> String {
    let summaries = summarise(rows);
    if summaries.is_empty() {
        return "No rows.\n".to_owned();
    }
    let width = usize::from(width).max(40);
    let policy = Column::new("policy", &summaries, |s| s.policy.clone());
    let columns = columns(&summaries);
    let needed: usize = columns.iter().map(|column| GAP + column.width()).sum();
    let widest = policy.width().clamp(6, POLICY_WIDTH.min(width / 2));
    let squeezed = width.saturating_sub(needed);
    let policy_width = if squeezed >= POLICY_WIDTH_SQUEEZED { widest.min(squeezed) } else { widest };
    let mut text = String::new();
    for columns in packed(columns, width - policy_width) {
        text.push_str(&table(&policy, policy_width, &columns));
        text.push_str("\n\n");
    }
    text.extend(notes(&summaries).iter().map(|note| wrapped(note, width) + "\n"));
    text
}

fn columns(summaries: &[PolicySummary]) -> Vec<Column> {
    let largest = summaries.iter().flat_map(|s| [s.memory.kv_bytes, s.memory.peak_kv_bytes]).flatten().max();
    let (unit, size) = byte_unit(largest.unwrap_or(0));
    let in_unit = |bytes: u64| rate(bytes as f64 / size);
    let mut columns = vec![
        Column::new("KV\n%", summaries, |s| or_absent(s.memory.kv_pct, score)),
        Column::new(format!("KV\n{unit}"), summaries, |s| or_absent(s.memory.kv_bytes, in_unit)),
        Column::new(format!("peak\n{unit}"), summaries, |s| or_absent(s.memory.peak_kv_bytes, in_unit)),
    ];
    for (setting, t) in recall_columns(summaries) {
        let header = match setting {
            Some(Setting::Agnostic) => "agn.",
            Some(Setting::Aware) => "aware",
            None => "recall",
        };
        let header = format!("{header}\n{}", length(t));
        columns.push(Column::new(header, summaries, |s| or_absent(s.recall_at(setting, t), recall_cell)));
    }
    columns.extend([
        Column::new("ppl", summaries, |s| or_absent(s.perplexity(), |p| rate(p.score))),
        Column::new("ppl\nchange", summaries, perplexity_change),
        Column::new("read\n%", summaries, |s| or_absent(s.speed().and_then(|s| s.read_pct), score)),
        Column::new("prefill\ntok/s", summaries, |s| or_absent(s.speed().and_then(|s| s.prefill_tok_s), rate)),
        Column::new("decode\ntok/s", summaries, |s| or_absent(s.speed().and_then(|s| s.tok_s), rate)),
        Column::new("x\nfull", summaries, |s| or_absent(s.speed().and_then(|s| s.ratio), |r| format!("{r:.2}"))),
    ]);
    columns.retain(|column| !column.is_empty());
    columns
}

/// `90`, `20*` (beyond its interval) or `20?` (inconclusive).
fn recall_cell(recall: Recall) -> String {
    let mark = match recall.conclusive() {
        false => "?",
        true if recall.differs() => "*",
        true => "",
    };
    format!("{}{mark}", score(recall.score))
}

/// The relative change of perplexity, `same` within the interval, in brackets where there is no interval to judge by.
fn perplexity_change(summary: &PolicySummary) -> String {
    let Some((perplexity, full)) = summary.perplexity().and_then(|p| Some((p, p.full_score?))) else {
        return ABSENT.to_owned();
    };
    match perplexity.ci95 {
        _ if summary.is_full() => ABSENT.to_owned(),
        None => format!("({})", change(full, perplexity.score).replace(' ', "")),
        Some(_) if perplexity.differs() => format!("{}*", change(full, perplexity.score).replace(' ', "")),
        Some(_) => "same".to_owned(),
    }
}

/// Columns in order, in as few tables as the width allows; each table has at least one.
fn packed(columns: Vec<Column>, width: usize) -> Vec<Vec<Column>> {
    let mut tables: Vec<Vec<Column>> = vec![Vec::new()];
    let mut used = 0;
    for column in columns {
        let needed = GAP + column.width();
        if used + needed > width && used > 0 {
            tables.push(Vec::new());
            used = 0;
        }
        used += needed;
        if let Some(last) = tables.last_mut() {
            last.push(column);
        }
    }
    tables
}

fn table(policy: &Column, policy_width: usize, columns: &[Column]) -> String {
    let width = policy_width + columns.iter().map(|column| GAP + column.width()).sum::<usize>();
    let mut table = Table::new();
    // Only a line under the header: borders would cost a quarter of a narrow terminal.
    let header_line = TableStyle::new().header_separator(LineStyle::new('─', '─', '─', '─'));
    table.load_style(header_line).set_content_arrangement(ContentArrangement::Disabled);
    let headers = columns.iter().map(|column| Cell::new(&column.header).set_alignment(CellAlignment::Right));
    table.set_header(std::iter::once(Cell::new(&policy.header)).chain(headers));
    for (i, name) in policy.cells.iter().enumerate() {
        let values = columns.iter().map(|column| Cell::new(&column.cells[i]).set_alignment(CellAlignment::Right));
        table.add_row(std::iter::once(Cell::new(wrapped(name, policy_width))).chain(values));
    }
    for (i, column) in table.column_iter_mut().enumerate() {
        // One of the gap's characters is the separator's place.
        column.set_padding(if i == 0 { (0, 0) } else { (GAP as u16 - 1, 0) });
    }
    // The outermost characters are where the borders would be.
    let inner = |line: String| line.chars().skip(1).take(width).collect::<String>().trim_end().to_owned();
    table.lines().map(inner).collect::<Vec<_>>().join("\n")
}

/// Breaks a text at spaces and after opening brackets, inside a word only if it is too long by itself.
fn wrapped(text: &str, width: usize) -> String {
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split_inclusive([' ', '(']) {
        let last = lines.last().map_or(0, |line| display_width(line));
        if last > 0 && last + display_width(word.trim_end()) > width {
            lines.push("  ".to_owned());
        }
        for character in word.chars() {
            if lines.last().is_some_and(|line| display_width(line) >= width) && character != ' ' {
                lines.push("  ".to_owned());
            }
            if let Some(line) = lines.last_mut() {
                line.push(character);
            }
        }
    }
    lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n")
}

/// What the columns and marks mean.
fn notes(summaries: &[PolicySummary]) -> Vec<String> {
    let groups: Vec<_> = summaries.iter().flat_map(|s| &s.recall).collect();
    let mut notes = Vec::new();
    if let Some(t) = summaries.iter().map(|s| s.memory.t).max().filter(|&t| t > 0) {
        notes.push(format!(
            "KV: size after a prompt of {} tokens, % of the full cache in f16; peak: the most it held.",
            length(t)
        ));
    }
    if let Some(n) = groups.iter().map(|group| group.recall.n).min() {
        let [low, _] = interval::wilson(100.0, n);
        notes.push(format!(
            "agn. (agnostic), aware: % of needles found when the cache was compressed before, or with, the question; \
             n = {n} per policy, length and task, so 100 means {low:.0}–100 (95 % interval)."
        ));
    }
    if summaries.iter().any(|s| s.speed().is_some_and(|speed| speed.read_pct.is_some())) {
        notes.push("read: % of the pairs held that a decoded token reads, where a policy chooses.".to_owned());
    }
    notes.push("*: differs from full beyond the 95 % interval; unmarked: no difference shown.".to_owned());
    if groups.iter().any(|group| !group.recall.conclusive()) {
        notes.push("?: inconclusive, the full cache itself finds fewer than 60 %.".to_owned());
    }
    notes
}

fn display_width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needle(policy: &str, setting: Setting, t: usize, found: f64, full: f64) -> CacheRow {
        CacheRow::new(policy, "toy", "needle_single_1", t, 0).with_recall(setting, found, full, 10)
    }

    fn rows() -> Vec<CacheRow> {
        let mut rows = Vec::new();
        for (policy, found) in
            [("full", 100.0), ("snapkv(keep=0.25, window=32) + kivi4", 90.0), ("streaming(keep=0.25)", 20.0)]
        {
            for setting in [Setting::Agnostic, Setting::Aware] {
                for t in [1024, 2048, 4096] {
                    rows.push(needle(policy, setting, t, found, if t == 4096 { 50.0 } else { 100.0 }));
                }
            }
            let mut row =
                CacheRow::new(policy, "toy", "perplexity", 4096, 0).with_perplexity(12.5, 10.0, Some([0.1, 0.3]), 128);
            (row.kv_bytes, row.kv_pct, row.peak_kv_bytes) = (Some(98_985_574), Some(100.0), Some(98_985_574));
            rows.push(row);
            let mut row = CacheRow::new(policy, "toy", "speed", 4096, 0);
            (row.prefill_tok_s, row.tok_s, row.full_tok_s) = (Some(330.0), Some(74.0), Some(46.0));
            rows.push(row);
        }
        rows
    }

    #[test]
    fn every_width_is_respected_and_nothing_is_lost() {
        for width in [40, 60, 80, 100, 200] {
            let text = cache(&rows(), width);
            println!("{text}");
            for line in text.lines() {
                assert!(display_width(line) <= usize::from(width), "{} > {width}: {line}\n{text}", display_width(line));
            }
            for needed in [
                "snapkv(",
                "kivi4",
                "streaming(",
                "94.4",
                "20*",
                "20?",
                "330",
                "74.0",
                "1.61",
                "+25.0%*",
                "inconclusive",
            ] {
                assert!(text.contains(needed), "{needed} missing at {width}:\n{text}");
            }
        }
    }

    #[test]
    fn nothing_is_claimed_inside_the_interval() {
        let mut rows = rows();
        for row in rows.iter_mut().filter(|row| row.task == "perplexity") {
            row.ci95 = Some([9.0, 14.0]);
        }
        let text = cache(&rows, 100);
        assert!(text.contains("same") && !text.contains("+25.0"), "{text}");
        assert!(
            text.contains(" 90 ") && !text.contains("90*"),
            "9 of 10 is not shown to be worse than 10 of 10\n{text}"
        );
    }

    #[test]
    fn columns_without_values_are_left_out() {
        let rows = [needle("full", Setting::Aware, 512, 100.0, 100.0)];
        let text = cache(&rows, 100);
        assert!(text.contains("aware") && !text.contains("tok/s") && !text.contains("perpl"), "{text}");
        assert_eq!(cache(&[], 100), "No rows.\n");
    }
}
