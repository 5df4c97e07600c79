//! Tokens per second against context length: lines where several lengths were measured, bars for a single one.

use std::collections::BTreeSet;

use super::chart::{Axis, WIDTH, image};
use super::lines::{self, shortened};
use super::markup::{code, escape};
use super::series::Series;
use crate::rows::quantity::{count, length, rate};
use crate::rows::summary::{PolicySummary, Speed};

/// What a chart shows of a [`Speed`].
struct Quantity {
    title: &'static str,
    value: fn(&Speed) -> Option<f64>,
    /// Whether to print the ratio to the full cache.
    ratio: bool,
}

const QUANTITIES: [Quantity; 2] = [
    Quantity { title: "Decode", value: |speed| speed.tok_s, ratio: true },
    Quantity { title: "Prefill", value: |speed| speed.prefill_tok_s, ratio: false },
];

/// A policy's values by length.
struct Line<'a> {
    series: &'a Series,
    points: Vec<(usize, f64, Option<f64>)>,
}

/// Both charts, or a sentence if no speed was measured.
pub fn section(summaries: &[PolicySummary], series: &[Series]) -> String {
    let charts: String = QUANTITIES.iter().filter_map(|quantity| figure(quantity, summaries, series)).collect();
    if charts.is_empty() {
        return "<p>Speed was not measured.</p>".to_owned();
    }
    let several = summaries.iter().any(|s| s.speed.len() > 1);
    let key: String = series.iter().map(|series| format!("<li>{}</li>", series.tag())).collect();
    let key = if several {
        format!(r#"<ul class="key" aria-label="Policies in the charts">{key}</ul>"#)
    } else {
        String::new()
    };
    format!(r#"<div class="charts">{charts}</div>{key}"#)
}

fn figure(quantity: &Quantity, summaries: &[PolicySummary], series: &[Series]) -> Option<String> {
    let line = |(summary, series): (&PolicySummary, &'_ Series)| {
        let points: Vec<_> = summary
            .speed
            .iter()
            .filter_map(|speed| {
                Some((
                    speed.t,
                    (quantity.value)(speed).filter(|v| v.is_finite())?,
                    speed.ratio.filter(|r| r.is_finite()),
                ))
            })
            .collect();
        (!points.is_empty()).then(|| (series.number - 1, points))
    };
    let lines: Vec<Line> =
        summaries.iter().zip(series).filter_map(line).map(|(i, points)| Line { series: &series[i], points }).collect();
    let lengths: BTreeSet<usize> = lines.iter().flat_map(|line| line.points.iter().map(|point| point.0)).collect();
    let (first, last) = (*lengths.first()?, *lengths.last()?);
    let (image, over) = if first == last {
        (bars(quantity, &lines, last), format!("after {} tokens", count(last)))
    } else {
        (curves(quantity, &lines, &lengths), format!("from {} to {} tokens of context", count(first), count(last)))
    };
    let fastest = fastest(quantity, &lines, last);
    let title = quantity.title;
    Some(format!(
        "<figure><figcaption><strong>{title}</strong>, tokens per second {over}; more is better</figcaption>{image}<p class=\"front\">{fastest}</p></figure>"
    ))
}

/// The picture in one sentence.
fn fastest(quantity: &Quantity, lines: &[Line], t: usize) -> String {
    let at = lines.iter().filter_map(|line| Some((line.series, line.points.iter().find(|point| point.0 == t)?)));
    let Some((series, point)) = at.max_by(|a, b| a.1.1.total_cmp(&b.1.1)) else { return String::new() };
    format!(
        "Fastest at {} tokens: {} {} ({}).",
        count(t),
        series.number,
        code(&series.policy),
        reading(quantity, point)
    )
}

fn reading(quantity: &Quantity, point: &(usize, f64, Option<f64>)) -> String {
    let ratio = point.2.filter(|_| quantity.ratio).map_or_else(String::new, |ratio| format!(", {ratio:.2}x full"));
    format!("{} tokens/s{ratio}", rate(point.1))
}

/// A horizontal bar per policy, its text above it, so that long ones need no second column.
fn bars(quantity: &Quantity, lines: &[Line], t: usize) -> String {
    const ROW: f64 = 31.0;
    let longest =
        lines.iter().flat_map(|line| line.points.iter().map(|point| point.1)).fold(f64::MIN_POSITIVE, f64::max);
    let room = WIDTH - 172.0;
    let baseline = lines
        .iter()
        .find(|line| line.series.class() == "full")
        .and_then(|line| line.points.first())
        .map(|point| point.1);
    let mut svg = String::new();
    for (i, line) in lines.iter().enumerate() {
        let Some(point) = line.points.first() else { continue };
        let (y, width) = (6.0 + ROW * i as f64, room * (point.1 / longest).clamp(0.0, 1.0));
        let name = shortened(&format!("{} {}", line.series.number, line.series.policy), 68);
        let (class, text) = (line.series.class(), reading(quantity, point));
        svg.push_str(&format!(
            r#"<g><title>{}: {text}</title><text class="label" x="2" y="{:.1}">{}</text><rect class="bar {class}" x="2" y="{:.1}" width="{width:.1}" height="11" rx="2"/><text class="tick" x="{:.1}" y="{:.1}">{text}</text></g>"#,
            escape(&line.series.policy), y + 10.0, escape(&name), y + 14.0, width + 8.0, y + 23.5
        ));
    }
    let height = 12.0 + ROW * lines.len() as f64;
    if let Some(full) = baseline {
        let x = 2.0 + room * (full / longest).clamp(0.0, 1.0);
        svg.push_str(&format!(r#"<line class="baseline" x1="{x:.1}" x2="{x:.1}" y1="4" y2="{:.1}"/>"#, height - 4.0));
    }
    let readings: Vec<_> = lines
        .iter()
        .filter_map(|line| Some(format!("{}: {}", line.series.policy, reading(quantity, line.points.first()?))))
        .collect();
    image(&format!("{} speed after {} tokens", quantity.title, count(t)), &readings.join("; "), height, &svg)
}

fn reading_at(quantity: &Quantity, point: &(usize, f64, Option<f64>)) -> String {
    format!("{} at {}", reading(quantity, point), length(point.0))
}

/// A line as it is drawn.
fn drawn<'a>(quantity: &Quantity, line: &Line<'a>) -> lines::Line<'a> {
    lines::Line {
        series: line.series,
        points: line.points.iter().map(|point| (point.0 as f64, point.1)).collect(),
        reading: line.points.iter().map(|point| reading_at(quantity, point)).collect::<Vec<_>>().join("; "),
        marked: true,
    }
}

fn curves(quantity: &Quantity, lines: &[Line], lengths: &BTreeSet<usize>) -> String {
    let ticks = lengths.iter().map(|&t| (t as f64, length(t))).collect();
    let x = Axis::log_with("tokens of context", ticks, lines::ACROSS);
    let values = || lines.iter().flat_map(|line| line.points.iter().map(|point| point.1));
    let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
    let along = lines::along(lines.len());
    // Beyond a factor of eight the slow end of a linear axis is unreadable.
    let y = if high > 8.0 * low && low > 0.0 {
        Axis::log("tokens/s (log scale)", [low * 0.8, high * 1.2], along)
    } else {
        Axis::linear("tokens/s", [0.0, high * 1.08], along, 5)
    };
    let drawn: Vec<lines::Line<'_>> = lines.iter().map(|line| drawn(quantity, line)).collect();
    let last = |line: &Line| Some(format!("{}: {}", line.series.policy, reading_at(quantity, line.points.last()?)));
    let readings: Vec<_> = lines.iter().filter_map(last).collect();
    lines::chart(&format!("{} speed by length", quantity.title), &readings.join("; "), &x, &y, &drawn)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::series::assign;
    use crate::rows::CacheRow;
    use crate::rows::summary::summarise;

    fn row(policy: &str, t: usize, tok_s: f64) -> CacheRow {
        let mut row = CacheRow::new(policy, "toy", "speed", t, 0);
        (row.tok_s, row.full_tok_s) = (Some(tok_s), Some(40.0));
        row
    }

    fn html(rows: &[CacheRow]) -> String {
        let summaries = summarise(rows);
        section(&summaries, &assign(&summaries))
    }

    #[test]
    fn one_length_makes_bars_and_several_make_lines() {
        let one = html(&[row("full", 512, 40.0), row("tova", 512, 60.0)]);
        assert!(one.contains(r#"class="bar c0""#) && !one.contains("polyline"), "{one}");
        assert!(
            one.contains("60.0 tokens/s, 1.50x full") && one.contains("Fastest at 512 tokens: 2 <code>tova</code>")
        );
        let two = html(&[row("full", 512, 40.0), row("full", 1024, 30.0), row("tova", 512, 60.0)]);
        assert!(two.contains("polyline") && !two.contains(r#"class="bar"#), "{two}");
    }

    #[test]
    fn without_speed_it_says_so() {
        assert!(html(&[CacheRow::new("full", "toy", "perplexity", 8, 0)]).contains("not measured"));
        assert!(html(&[row("full", 512, f64::NAN)]).contains("not measured"));
    }
}
