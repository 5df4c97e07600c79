//! The terminal table of a comparison of policies of scales.

use comfy_table::{Cell, CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};

use super::ScaleRow;
use crate::rows::quantity::{bytes, count, score};

/// Stands for pictures that do not differ at all.
pub(super) const SAME: &str = "same";

/// The table and what its columns mean.
pub fn table(rows: &[ScaleRow]) -> String {
    let Some(first) = rows.first() else { return "No rows.\n".to_owned() };
    let mut table = Table::new();
    let header_line = TableStyle::new().header_separator(LineStyle::new('─', '─', '─', '─'));
    table.load_style(header_line).set_content_arrangement(ContentArrangement::Disabled);
    let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
    let names = ["KV\n%", "KV", "codes\n%", "last map\n%", "PSNR\ndB", "class\n%", "drawn\ndB"];
    table.set_header(std::iter::once(Cell::new("policy")).chain(names.map(|name| right(name.to_owned()))));
    for row in rows {
        let cells = [
            score(row.kv_pct),
            bytes(row.kv_bytes),
            score(row.agreement),
            score(row.last_map_agreement),
            decibels(row.psnr),
            score(row.class_agreement),
            decibels(row.drawn_psnr),
        ];
        table.add_row(std::iter::once(Cell::new(&row.policy)).chain(cells.map(right)));
    }
    // The outermost characters are where the borders would be.
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    format!(
        "{}\n\nKV: keys and values held between two scales, for a picture with guidance. codes, last map, PSNR: against the full cache, the\n\
         likeliest codes of {} pictures. class: of {} pictures drawn with chance, those that show what was asked for; drawn: their PSNR\n\
         against the full cache's with the same seed.\n",
        lines.join("\n"),
        count(first.n[0]),
        count(first.n[1]),
    )
}

/// Decibels with one decimal.
pub(super) fn decibels(value: Option<f64>) -> String {
    value.map_or_else(|| SAME.to_owned(), |value| format!("{value:.1}"))
}

#[cfg(test)]
mod tests {
    use super::super::subject::tests::subject;
    use super::*;

    #[test]
    fn a_line_for_every_policy() {
        let full = subject().full();
        let other =
            ScaleRow { policy: "uniform(keep=0.25)".into(), psnr: Some(31.25), agreement: 87.5, ..full.clone() };
        let text = table(&[full, other]);
        let line = text.lines().find(|line| line.contains("uniform")).unwrap();
        assert!(line.contains("31.2") && line.contains("87.5"), "{line}");
        assert!(text.contains("24 pictures") && text.contains(SAME), "{text}");
        assert_eq!(table(&[]), "No rows.\n");
    }
}
