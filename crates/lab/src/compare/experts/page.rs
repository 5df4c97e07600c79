//! The report of a comparison of ways to hold experts: the answer first, then the picture and every number.

use super::{ExpertsRow, WHOLE, answer};
use crate::report::chart::Axis;
use crate::report::escape;
use crate::report::lines::{self, Line};
use crate::report::page::{distinct, page, run, section};
use crate::report::series::{Series, named};
use crate::report::tables;
use crate::rows::Envelope;
use crate::rows::quantity::{bytes, count, or_absent, percent, rate};

/// What a report is made from.
#[derive(Clone, Copy, Debug)]
pub struct PageInput<'a> {
    /// Title of the page.
    pub title: &'a str,
    /// The rows, the machine and the command.
    pub envelope: &'a Envelope<ExpertsRow>,
    /// When the rows were measured, as it should be printed.
    pub date: &'a str,
    /// What a reader must know before the numbers.
    pub notes: &'a [String],
}

/// The page: self-contained, without scripts.
pub fn html(input: &PageInput<'_>) -> String {
    let rows = &input.envelope.rows;
    let series = named(rows.iter().map(|row| row.policy.as_str()));
    let notes: String = input.notes.iter().map(|note| format!("<p>{}</p>", escape(note))).collect();
    let notes =
        if notes.is_empty() { notes } else { format!("<aside class=\"notes\" aria-label=\"Notes\">{notes}</aside>\n") };
    let content = [
        notes,
        format!(
            "<section class=\"answer\" aria-labelledby=\"answer\"><h2 id=\"answer\">The answer</h2><p>{}</p><p class=\"small\">How it was \
             chosen: the fastest policy whose scores have the bits of the whole model's.</p></section>\n",
            answer(rows).html()
        ),
        section("Every policy", "policies", &policies(rows, &series)),
        section("Hits by layer", "layers", &format!("<div class=\"charts\">{}</div>", by_layer(rows, &series))),
        section("What the words mean", "words", &definitions()),
        section("What was run", "run", &run(facts(rows), input.envelope, input.date)),
    ];
    let models = distinct(rows, |row| row.model.clone()).join(", ");
    let lead = format!("{models} · {} ways · {} · {}", rows.len(), input.date, input.envelope.machine.cpu);
    page(input.title, &lead, &content.concat())
}

/// One row per policy; what matters most stands left.
fn policies(rows: &[ExpertsRow], series: &[Series]) -> String {
    let head =
        ["policy", "hits %", "late %", "loads a token", "on demand", "ahead", "memory at most", "tok/s", "same bits"]
            .map(str::to_owned);
    let row = |(row, series): (&ExpertsRow, &Series)| {
        let number = |loads: u64| count(usize::try_from(loads).unwrap_or(usize::MAX));
        let cells = vec![
            or_absent(row.hits_pct, percent),
            or_absent(row.hits_pct.map(|_| row.late_pct), percent),
            rate(row.loads_per_token()),
            number(row.loads_on_demand),
            number(row.loads_ahead),
            bytes(row.peak_bytes),
            rate(row.tok_s),
            if row.same_bits { "yes" } else { "no" }.to_owned(),
        ];
        (series.tag(), cells)
    };
    tables::table("What each policy finds, loads and costs", &head, rows.iter().zip(series).map(row))
}

/// The share of hits by layer.
fn by_layer(rows: &[ExpertsRow], series: &[Series]) -> String {
    let line = |(row, series): (&ExpertsRow, &'_ Series)| {
        let hits = || row.layer_hits_pct.iter().enumerate().filter(|(_, hits)| hits.is_finite());
        let points: Vec<(f64, f64)> = hits().map(|(layer, &hits)| (layer as f64, hits)).collect();
        let reading: Vec<String> = hits().map(|(layer, &hits)| format!("{} % at {layer}", percent(hits))).collect();
        (points.len() > 1).then(|| (series.number - 1, points, reading.join("; ")))
    };
    let lines: Vec<Line<'_>> = rows
        .iter()
        .zip(series)
        .filter_map(line)
        .map(|(index, points, reading)| Line { series: &series[index], points, reading, marked: true })
        .collect();
    let Some(last) = lines.iter().flat_map(|line| &line.points).map(|point| point.0).reduce(f64::max) else {
        return String::new();
    };
    let x = Axis::linear("mixture", [0.0, last], lines::ACROSS, 4);
    let y = Axis::linear("in memory, %", [-4.0, 104.0], lines::along(lines.len()), 5);
    let title = "Hits by layer";
    let said: Vec<String> = lines.iter().map(|line| format!("{}: {}", line.series.policy, line.reading)).collect();
    let image = lines::chart(title, &said.join(". "), &x, &y, &lines);
    format!(
        "<figure><figcaption><strong>{title}</strong>; up is better, the first has no lead time</figcaption>{image}</figure>"
    )
}

fn facts(rows: &[ExpertsRow]) -> Vec<(&'static str, String)> {
    let numbers = |numbers: Vec<usize>| numbers.into_iter().map(count).collect::<Vec<_>>().join(", ");
    let slow: Vec<String> =
        distinct(rows, |row| row.delay_ms.to_bits()).into_iter().map(|bits| rate(f64::from_bits(bits))).collect();
    vec![
        ("model", distinct(rows, |row| row.model.clone()).join(", ")),
        ("texts", format!("two batches of {}", numbers(distinct(rows, |row| row.batch)))),
        ("tokens", format!("{} of each text", numbers(distinct(rows, |row| row.tokens)))),
        ("loads", format!("{} ms slower than they are", slow.join(", "))),
    ]
}

/// Every word of the report in one line each.
const DEFINITIONS: [(&str, &str); 7] = [
    (WHOLE, "All experts in memory: what the others are compared with."),
    ("hits %", "Of the experts that a layer needed, those that were in memory when it began."),
    ("late %", "Those that were being read then."),
    ("loads a token", "Experts read for a token of a text, on demand and ahead."),
    ("on demand, ahead", "Experts that were read because a layer waited for them, and before one did."),
    ("memory at most", "The most bytes that experts took at any time, those being read included."),
    ("tok/s", "Tokens read a second, one of every text at a time, in two batches."),
];

fn definitions() -> String {
    let item = |(word, meaning): &(&str, &str)| format!("<dt>{}</dt><dd>{}</dd>", escape(word), escape(meaning));
    format!("<dl>{}</dl>", DEFINITIONS.iter().map(item).collect::<String>())
}
