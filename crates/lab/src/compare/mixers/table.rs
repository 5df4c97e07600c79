//! The terminal table of a comparison of mixers: one line per mixer, a table for each task.

use comfy_table::{Cell, CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};

use super::{MixerRow, MixerSummary, summarise};
use crate::rows::quantity::{ABSENT, bytes, count, length, or_absent, rate, score};

/// The tables and what their columns mean.
pub fn table(rows: &[MixerRow]) -> String {
    let summaries = summarise(rows);
    let tables: Vec<String> = summaries.chunk_by(|a, b| a.task == b.task).map(of_task).collect();
    match summaries.iter().map(|summary| summary.seeds).max() {
        None => "No rows.\n".to_owned(),
        Some(seeds) => format!("{}{}", tables.concat(), notes(&summaries[0], seeds)),
    }
}

/// The table of the mixers of one task.
fn of_task(mixers: &[MixerSummary]) -> String {
    let mut table = Table::new();
    let header_line = TableStyle::new().header_separator(LineStyle::new('─', '─', '─', '─'));
    table.load_style(header_line).set_content_arrangement(ContentArrangement::Disabled);
    let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
    let tests = &mixers[0].tests;
    let lengths = tests.iter().map(|test| right(format!("% right\n{}", length(test.length))));
    let others = ["loss", "state", "train\ntok/s", "parameters"].map(|name| right(name.to_owned()));
    table.set_header(std::iter::once(Cell::new("mixer")).chain(lengths).chain(others));
    for mixer in mixers {
        let accuracies = mixer.tests.iter().map(|test| right(score(test.accuracy.median)));
        let others = [
            or_absent(mixer.trained(), |test| rate(test.loss)),
            or_absent(mixer.longest(), |test| bytes(test.state_bytes)),
            rate(mixer.train_tok_s),
            count(mixer.parameters),
        ];
        table.add_row(std::iter::once(Cell::new(&mixer.mixer)).chain(accuracies).chain(others.map(right)));
    }
    // The outermost characters are where the borders would be.
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    format!("{}\n{}\n\n", mixers[0].task, lines.join("\n"))
}

fn notes(first: &MixerSummary, seeds: usize) -> String {
    let trained = count(first.length);
    let longest = first.longest().map_or_else(|| ABSENT.to_owned(), |test| count(test.length));
    let over = if seeds == 1 { "one seed".to_owned() } else { format!("medians of {seeds} seeds") };
    format!(
        "Trained at {trained} tokens, {over}. % right: of the answers, by length of the test; loss: at {trained} tokens, in nats;\n\
         state: what the decoder keeps of a text of {longest} tokens, keys and values in f16 or matrices in f32.\n"
    )
}

#[cfg(test)]
mod tests {
    use super::super::summary::tests::rows;
    use super::*;

    #[test]
    fn a_line_for_every_mixer_with_its_medians() {
        let text = table(&rows());
        let line = |mixer: &str| {
            let line = text.lines().find(|line| line.trim_start().starts_with(mixer)).expect("a line of the mixer");
            line.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(line("softmax"), "softmax 99.5 40 0.50 48.0 KiB 1000 98,000");
        assert_eq!(line("gla"), "gla 80 70 0.50 8.00 KiB 2000 98,100");
        assert!(text.contains("medians of 3 seeds") && text.contains("text of 96 tokens"), "{text}");
        assert_eq!(table(&[]), "No rows.\n");
    }
}
