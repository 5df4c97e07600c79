//! The terminal table of an inspection: one line per layer.

use comfy_table::{Cell, CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};

use super::{HeadRow, Reading, SINK_HEAD};
use crate::rows::quantity::{or_absent, rate};

/// Means over the heads of each layer, then the paragraph.
pub fn table(rows: &[HeadRow]) -> String {
    let mut table = Table::new();
    let header_line = TableStyle::new().header_separator(LineStyle::new('─', '─', '─', '─'));
    table.load_style(header_line).set_content_arrangement(ContentArrangement::Disabled);
    let sink_heads = format!("heads > {:.0} %", 100.0 * SINK_HEAD);
    let header = ["layer", "first token", &sink_heads, "first four", "entropy", "of even", "distance", "of the rest"];
    let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
    table.set_header(header.map(|name| right(name.to_owned())));
    for layer in rows.chunk_by(|a, b| a.layer == b.layer) {
        let mean = |value: fn(&HeadRow) -> f64| layer.iter().map(value).sum::<f64>() / layer.len() as f64;
        let percent = |share: f64| format!("{:.0} %", 100.0 * share);
        let rests: Vec<f64> = layer.iter().filter_map(|row| row.distance_of_rest).collect();
        let rest = (!rests.is_empty()).then(|| rests.iter().sum::<f64>() / rests.len() as f64);
        let sinks = layer.iter().filter(|row| row.sink > SINK_HEAD).count();
        let cells = [
            layer[0].layer.to_string(),
            percent(mean(|row| row.sink)),
            format!("{sinks} of {}", layer.len()),
            percent(mean(|row| row.first_four)),
            rate(mean(|row| row.entropy)),
            percent(mean(HeadRow::entropy_share)),
            rate(mean(|row| row.distance)),
            or_absent(rest, rate),
        ];
        table.add_row(cells.map(right));
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    let reading = Reading::new(rows).map_or_else(|| "No heads.".to_owned(), |reading| reading.to_string());
    format!("{}\n\n{reading}\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::super::reading::tests::head;
    use super::*;

    #[test]
    fn a_line_per_layer() {
        let rows = [head(0, 0, 1.0, 0.5, Some(3.0)), head(0, 1, 2.0, 0.1, None), head(1, 0, 3.0, 0.0, None)];
        let text = table(&rows);
        let line = |layer: &str| {
            let line = text.lines().find(|line| line.trim_start().starts_with(layer)).expect("a line of the layer");
            line.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(line("0 "), "0 30 % 1 of 2 30 % 1.50 42 % 20.0 3.00");
        assert_eq!(line("1 "), "1 0 % 0 of 1 0 % 3.00 83 % 20.0 –");
        assert!(table(&[]).contains("No heads."));
    }
}
