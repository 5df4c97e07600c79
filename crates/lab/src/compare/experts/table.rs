//! The terminal table of a comparison of ways to hold experts: one line per policy.

use comfy_table::{Cell, CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};

use super::ExpertsRow;
use crate::rows::quantity::{bytes, or_absent, percent, rate};

/// The table and what its columns mean.
pub fn table(rows: &[ExpertsRow]) -> String {
    let Some(first) = rows.first() else { return "No rows.\n".to_owned() };
    let mut table = Table::new();
    let header_line = TableStyle::new().header_separator(LineStyle::new('─', '─', '─', '─'));
    table.load_style(header_line).set_content_arrangement(ContentArrangement::Disabled);
    let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
    let layers = rows.iter().map(|row| row.layer_hits_pct.len()).max().unwrap_or(0);
    let names = ["hits\n%", "late\n%", "loads\na token", "memory\nat most", "tok/s", "same\nbits"].map(str::to_owned);
    let by_layer = (0..layers).map(|layer| format!("hits\nmixture {layer}"));
    table.set_header(std::iter::once(Cell::new("policy")).chain(names.into_iter().chain(by_layer).map(right)));
    for row in rows {
        let cells = [
            or_absent(row.hits_pct, percent),
            or_absent(row.hits_pct.map(|_| row.late_pct), percent),
            rate(row.loads_per_token()),
            bytes(row.peak_bytes),
            rate(row.tok_s),
            if row.same_bits { "yes" } else { "NO" }.to_owned(),
        ];
        let by_layer = (0..layers).map(|layer| or_absent(row.layer_hits_pct.get(layer).copied(), percent));
        table.add_row(std::iter::once(Cell::new(&row.policy)).chain(cells.into_iter().chain(by_layer).map(right)));
    }
    // The outermost characters are where the borders would be.
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    format!(
        "{}\n{}\n\n{}",
        first.model,
        lines.join("\n"),
        "hits: of the experts that a layer needed, those in memory when it began (the first mixture has no lead time); late: on their way.\n"
    )
}
