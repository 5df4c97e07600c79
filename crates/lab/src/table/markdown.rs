//! The table of a cache comparison as a page of Markdown: the command, the machine, every column, and what they say.

use super::{Column, columns, notes};
use crate::report::answer;
use crate::rows::quantity::count;
use crate::rows::summary::summarise;
use crate::rows::{CacheRow, Envelope};

/// A page with the title `title` about what was measured on `date`.
pub fn markdown(title: &str, envelope: &Envelope<CacheRow>, date: &str) -> String {
    let summaries = summarise(&envelope.rows);
    let columns = columns(&summaries);
    let mut tasks: Vec<&str> = envelope.rows.iter().map(|row| row.task.as_str()).collect();
    tasks.sort_unstable();
    tasks.dedup();
    let mut lengths: Vec<usize> = envelope.rows.iter().map(|row| row.t).collect();
    lengths.sort_unstable();
    lengths.dedup();
    let mut page = format!(
        "# {title}\n\n```sh\n{}\n```\n\nMeasured on {date} with version {} on {}, {} threads, {}. Tasks: {}; {} tokens.\n\n",
        envelope.command,
        envelope.version,
        envelope.machine.cpu,
        envelope.machine.threads,
        envelope.machine.simd,
        tasks.join(", "),
        lengths.into_iter().map(count).collect::<Vec<_>>().join(", "),
    );
    let line = |cells: &mut dyn Iterator<Item = String>| format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "));
    let header = |column: &Column| column.header.replace('\n', " ");
    page += &line(&mut ["policy".to_owned()].into_iter().chain(columns.iter().map(header)));
    page += &line(&mut ["---".to_owned()].into_iter().chain(columns.iter().map(|_| "---:".to_owned())));
    for (row, summary) in summaries.iter().enumerate() {
        let cells = columns.iter().map(|column| column.cells[row].replace('|', r"\|"));
        page += &line(&mut [format!("`{}`", summary.policy)].into_iter().chain(cells));
    }
    // A mark at the start of a line is not to become a list.
    let notes = notes(&summaries).into_iter().map(|note| note.replace('*', r"\*"));
    page + "\n" + &notes.collect::<Vec<_>>().join("  \n") + &format!("\n\n{}\n", answer(&envelope.rows))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::{Machine, Setting};

    #[test]
    fn every_policy_and_column_is_in_the_page() {
        let mut rows = Vec::new();
        for (policy, found) in [("full", 100.0), ("snapkv(keep=0.25)", 20.0)] {
            for (task, share) in [("needle_single_1", 1.0), ("variable_tracking", 0.5)] {
                let row = CacheRow::new(policy, "toy", task, 4096, 0);
                rows.push(row.with_recall(Setting::Agnostic, found * share, 100.0 * share, 100));
            }
            let mut row =
                CacheRow::new(policy, "toy", "perplexity", 4096, 0).with_perplexity(12.5, 10.0, Some([0.1, 0.3]), 128);
            (row.kv_bytes, row.kv_pct, row.peak_kv_bytes) = (Some(50 << 20), Some(25.0), Some(90 << 20));
            rows.push(row);
            let mut row = CacheRow::new(policy, "toy", "speed", 4096, 0);
            (row.prefill_tok_s, row.tok_s, row.full_tok_s) = (Some(330.0), Some(74.0), Some(46.0));
            rows.push(row);
        }
        let command = "headwise compare cache --markdown page.md".to_owned();
        let envelope = Envelope { version: "9.9".into(), machine: Machine::detect(2, "scalar"), command, rows };
        let page = markdown("Policies", &envelope, "today");
        assert!(page.starts_with("# Policies\n\n```sh\nheadwise compare cache --markdown page.md\n```\n"), "{page}");
        assert!(page.contains("Tasks: needle_single_1, perplexity, speed, variable_tracking; 4,096 tokens."), "{page}");
        let table: Vec<Vec<&str>> = page
            .lines()
            .filter(|line| line.starts_with('|'))
            .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
            .collect();
        assert_eq!(table.len(), 4, "{page}");
        let cell = |row: usize, name: &str| {
            let column = table[0].iter().position(|header| *header == name);
            table[row][column.unwrap_or_else(|| panic!("no column {name}: {page}"))]
        };
        let names = ["policy", "agn. 4k", "ppl", "ppl change", "KV %", "peak MiB", "prefill tok/s", "decode tok/s"];
        // The mean of 20 and 10.
        let expected = ["`snapkv(keep=0.25)`", "15*", "12.5", "+25.0%*", "25", "90.0", "330", "74.0"];
        assert_eq!(names.map(|name| cell(3, name)), expected, "{page}");
        assert!(page.contains(r"\*: differs from full"), "{page}");
    }
}
