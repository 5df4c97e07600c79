//! The terminal table of benchmark rows, with the share of the machine's limits that each reaches.

use comfy_table::{Cell, CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};

use super::{BenchReport, BenchRow, Params, roofline};
use crate::profile;
use crate::rows::quantity::{ABSENT, or_absent, rate};

/// A load from which on other work disturbs the figures.
const BUSY: f64 = 0.5;

/// One line per row, and what the machine can do below.
pub fn table(report: &BenchReport) -> String {
    let peaks = report.peaks;
    let mut table = Table::new();
    let header_line = TableStyle::new().header_separator(LineStyle::new('─', '─', '─', '─'));
    table.load_style(header_line).set_content_arrangement(ContentArrangement::Disabled);
    let header = ["benchmark", "on", "median ms", "min – max", "GFLOP/s", "of peak", "GB/s", "of peak", "tokens/s"];
    table.set_header(header);
    for row in &report.envelope.rows {
        let mut cells = vec![row.name.clone(), describe(&row.params), milliseconds(row.median_ms)];
        cells.push(format!("{} – {}", milliseconds(row.min_ms), milliseconds(row.max_ms)));
        for (value, peak) in [(row.gflops, peaks.matrix_product_gflops), (row.gbs, peaks.read_gbs)] {
            cells.push(or_absent(value, rate));
            cells.push(or_absent(value, |value| format!("{:.0} %", 100.0 * value / peak)));
        }
        cells.push(or_absent(BenchRow::tokens_per_second(row), rate));
        table.add_row(cells.into_iter().enumerate().map(|(column, cell)| {
            let side = if column < 2 { CellAlignment::Left } else { CellAlignment::Right };
            Cell::new(cell).set_alignment(side)
        }));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 1));
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    let model = report.envelope.rows.iter().find_map(|row| row.params.model.as_ref());
    let model = model.map_or_else(String::new, |model| format!("Model: {model}.\n"));
    let busy = match report.load {
        Some(load) if load > BUSY => {
            format!("The machine was busy before (load {load:.1}): these figures say little.\n")
        }
        _ => String::new(),
    };
    format!(
        "{}\n\nThis machine, measured in the same run on {} threads: f32 multiplication and addition {} GFLOP/s, reading memory {} GB/s.\n\
         More than 100 % of them: integer arithmetic, or data that stays in the processor's caches.\n{model}{busy}",
        lines.join("\n"),
        report.envelope.machine.threads,
        rate(peaks.matrix_product_gflops),
        rate(peaks.read_gbs),
    )
}

/// Where the time of each row went, of rows that were profiled, and what the machine would need at least.
pub fn profiles(report: &BenchReport) -> String {
    let table = |row: &BenchRow| {
        let title = format!("\n{} {}, all timed calls", row.name, describe(&row.params));
        let roofline = |rows| roofline::table(&report.peaks.roofline(rows));
        row.profile.as_ref().map(|rows| format!("{}\n{}", profile::table(&title, rows), roofline(rows)))
    };
    report.envelope.rows.iter().filter_map(table).collect()
}

/// Everything that tells rows of a benchmark apart, in a few words.
fn describe(params: &Params) -> String {
    let tokens = params.tokens.map(|tokens| match params.texts {
        Some(texts) => format!("{texts} texts of {tokens} tokens"),
        None => format!("{tokens} tokens"),
    });
    let parts = [&params.shape, &tokens, &params.dtype, &params.pass];
    let words: Vec<&str> = parts.into_iter().flatten().map(String::as_str).collect();
    if words.is_empty() { ABSENT.to_owned() } else { words.join(" ") }
}

fn milliseconds(value: f64) -> String {
    if value < 1.0 { format!("{value:.3}") } else { rate(value) }
}
