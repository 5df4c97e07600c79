//! Where needles are found: recall by depth and length, one small map per policy and setting.
//!
//! The maps are tables with coloured cells, not pictures: they can be read aloud, copied and read on a phone. All share
//! one scale (cividis, readable with every common colour-blindness, dark to bright) and show the number in each cell.

use std::collections::{BTreeMap, BTreeSet};

use super::markup::escape;
use super::series::Series;
use crate::rows::quantity::{ABSENT, count, length, score};
use crate::rows::summary::{Recall, recall_of};
use crate::rows::{CacheRow, Metric, Setting};

/// Steps of the colour scale, classes `h0` … `h10`.
const STEPS: f64 = 10.0;

/// A depth as a key that orders: thousandths of a percent, or none for tasks without a depth.
type DepthKey = Option<i64>;

/// All maps: a block per task, in it a card per policy, in it a map per setting.
pub fn section(rows: &[CacheRow], series: &[Series]) -> String {
    let rows: Vec<&CacheRow> =
        rows.iter().filter(|row| row.metric == Some(Metric::Recall) && row.score.is_some()).collect();
    let mut tasks: Vec<&str> = Vec::new();
    for row in &rows {
        if !tasks.contains(&row.task.as_str()) {
            tasks.push(&row.task);
        }
    }
    if tasks.is_empty() {
        return "<p>No retrieval task was run.</p>".to_owned();
    }
    let legend: String = (0..=10).map(|step| format!(r#"<td class="h{step}">{}</td>"#, step * 10)).collect();
    let legend = format!(
        r#"<table class="heat legend"><caption>Percent found; the scale of all maps</caption><tbody><tr>{legend}</tr></tbody></table>"#
    );
    let several = tasks.len() > 1;
    let blocks: String =
        tasks.iter().enumerate().map(|(i, task)| block(&rows, task, series, several, i == 0)).collect();
    format!("{legend}{blocks}")
}

fn block(rows: &[&CacheRow], task: &str, series: &[Series], several: bool, open: bool) -> String {
    let rows: Vec<&CacheRow> = rows.iter().filter(|row| row.task == task).copied().collect();
    let cards: String = series.iter().filter_map(|series| card(&rows, series)).collect();
    let cards = format!(r#"<div class="cards">{cards}</div>"#);
    match several {
        true => format!(
            "<details{}><summary>Task {}</summary>{cards}</details>",
            if open { " open" } else { "" },
            escape(task)
        ),
        false => format!("<p>Task {}.</p>{cards}", escape(task)),
    }
}

fn card(rows: &[&CacheRow], series: &Series) -> Option<String> {
    let own: Vec<&CacheRow> = rows.iter().filter(|row| row.policy == series.policy).copied().collect();
    let settings: BTreeSet<(bool, Option<Setting>)> =
        own.iter().map(|row| (row.setting.is_none(), row.setting)).collect();
    let maps: String = settings
        .into_iter()
        .map(|(_, setting)| {
            map(&own.iter().filter(|row| row.setting == setting).copied().collect::<Vec<_>>(), setting, series)
        })
        .collect();
    (!own.is_empty())
        .then(|| format!(r#"<article class="card"><h3>{}</h3><div class="maps">{maps}</div></article>"#, series.tag()))
}

fn map(rows: &[&CacheRow], setting: Option<Setting>, series: &Series) -> String {
    let mut cells: BTreeMap<(DepthKey, usize), Vec<&CacheRow>> = BTreeMap::new();
    for row in rows {
        let depth = row.depth.filter(|depth| depth.is_finite()).map(|depth| (depth * 1000.0) as i64);
        cells.entry((depth, row.t)).or_default().push(row);
    }
    let lengths: BTreeSet<usize> = cells.keys().map(|key| key.1).collect();
    let depths: BTreeSet<DepthKey> = cells.keys().map(|key| key.0).collect();
    let inconclusive =
        |t: usize| recall_of(rows.iter().copied().filter(|row| row.t == t)).is_some_and(|recall| !recall.conclusive());
    let head: String = lengths
        .iter()
        .map(|&t| {
            let mark = if inconclusive(t) {
                r#"<abbr title="inconclusive: the full cache finds fewer than 60 %">?</abbr>"#
            } else {
                ""
            };
            format!(r#"<th scope="col" title="{} tokens">{}{mark}</th>"#, count(t), length(t))
        })
        .collect();
    let row = |depth: &DepthKey| {
        let name = depth.map_or_else(|| "any".to_owned(), |depth| format!("{} %", score(depth as f64 / 1000.0)));
        let cells: String = lengths
            .iter()
            .map(|&t| cell(cells.get(&(*depth, t)).and_then(|rows| recall_of(rows.iter().copied()))))
            .collect();
        format!(r#"<tr><th scope="row">{name}</th>{cells}</tr>"#)
    };
    let body: String = depths.iter().map(row).collect();
    let setting = setting.map_or("recall", Setting::name);
    format!(
        r#"<table class="heat"><caption>{setting}<span class="hidden">: percent found by policy {}, by depth and length</span></caption><thead><tr><th scope="col">depth</th>{head}</tr></thead><tbody>{body}</tbody></table>"#,
        series.name()
    )
}

fn cell(recall: Option<Recall>) -> String {
    match recall {
        None => format!("<td>{ABSENT}</td>"),
        Some(recall) => {
            let step = (recall.score / 100.0 * STEPS).round().clamp(0.0, STEPS);
            let [low, high] = recall.ci95();
            format!(
                r#"<td class="h{step:.0}" title="n = {}, 95 % interval {low:.0}–{high:.0}">{:.0}</td>"#,
                recall.n, recall.score
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::series::assign;
    use crate::rows::summary::summarise;

    fn needle(t: usize, depth: Option<f64>, found: f64, full: f64) -> CacheRow {
        let mut row = CacheRow::new("a<b", "toy", "needle_single_1", t, 0).with_recall(Setting::Aware, found, full, 1);
        row.depth = depth;
        row
    }

    #[test]
    fn cells_hold_the_mean_and_missing_ones_a_dash() {
        let rows = [
            needle(1024, Some(0.0), 100.0, 100.0),
            needle(1024, Some(0.0), 0.0, 100.0),
            needle(2048, Some(50.0), 100.0, 0.0),
        ];
        let html = section(&rows, &assign(&summarise(&rows)));
        assert!(html.contains(r#"class="h5" title="n = 2"#) && html.contains(">50</td>"), "{html}");
        assert!(html.contains("<td>–</td>"));
        assert!(html.contains("2k<abbr") && !html.contains("1k<abbr"), "only the inconclusive length is marked");
        assert!(!html.contains("a<b"));
    }

    #[test]
    fn tasks_without_depth_have_one_row() {
        let rows = [needle(1024, None, 25.0, 100.0)];
        let html = section(&rows, &assign(&summarise(&rows)));
        assert!(html.contains(">any</th>") && html.contains(">25</td>"), "{html}");
        assert!(section(&[], &[]).contains("No retrieval task"));
    }
}
