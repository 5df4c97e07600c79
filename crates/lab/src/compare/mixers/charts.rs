//! The pictures of a report: accuracy against length, state and speed, and the loss over the run.

use super::MixerSummary;
use crate::report::chart::{Axis, BOTTOM, HEIGHT, LEFT, TOP, WIDTH, frame, image};
use crate::report::escape;
use crate::report::labels::{Bounds, Request, place};
use crate::report::lines::{self, Line};
use crate::report::series::Series;
use crate::rows::quantity::{byte_unit, count, length, rate, score};

/// Right edge of a chart of points.
const RIGHT: f64 = WIDTH - 14.0;

/// Range of an axis of accuracies, with room for marks at its ends.
const ACCURACY: [f64; 2] = [-4.0, 104.0];

/// All pictures of one task; `series` has one entry per mixer.
pub(super) fn charts(mixers: &[MixerSummary], series: &[Series]) -> String {
    let figures = [
        curves(mixers, series),
        by_length(mixers, series),
        against(mixers, series, &STATE),
        against(mixers, series, &SPEED),
    ];
    format!(r#"<div class="charts">{}</div>"#, figures.concat())
}

fn figure(title: &str, explanation: &str, image: &str) -> String {
    format!("<figure><figcaption><strong>{title}</strong>; {explanation}</figcaption>{image}</figure>")
}

/// The loss over the run.
fn curves(mixers: &[MixerSummary], series: &[Series]) -> String {
    let line = |(mixer, series): (&MixerSummary, &'_ Series)| {
        let points: Vec<(f64, f64)> = mixer.curve.iter().map(|point| (point.step as f64, point.loss)).collect();
        let last = points.last().filter(|point| point.1.is_finite())?;
        let reading = format!("loss {} after {} steps", rate(last.1), count(last.0 as usize));
        Some((series.number - 1, points, reading))
    };
    let lines: Vec<Line<'_>> = mixers
        .iter()
        .zip(series)
        .filter_map(line)
        .map(|(index, points, reading)| Line { series: &series[index], points, reading, marked: false })
        .collect();
    if lines.is_empty() {
        return String::new();
    }
    let points = || lines.iter().flat_map(|line| &line.points);
    let (last, most) = points().fold((0.0, 0.0), |(x, y): (f64, f64), point| (x.max(point.0), y.max(point.1)));
    let x = Axis::linear("steps", [0.0, last], lines::ACROSS, 4);
    let y = Axis::linear("training loss, nats", [0.0, most * 1.05], lines::along(lines.len()), 5);
    let title = "Loss over the run";
    figure(title, "down is better", &lines::chart(title, &readings(&lines), &x, &y, &lines))
}

/// Accuracy by length of the test.
fn by_length(mixers: &[MixerSummary], series: &[Series]) -> String {
    let lines: Vec<Line<'_>> = mixers
        .iter()
        .zip(series)
        .map(|(mixer, series)| {
            let at = |test: &super::Tested| format!("{} % at {}", score(test.accuracy.median), length(test.length));
            Line {
                series,
                points: mixer.tests.iter().map(|test| (test.length as f64, test.accuracy.median)).collect(),
                reading: mixer.tests.iter().map(at).collect::<Vec<_>>().join("; "),
                marked: true,
            }
        })
        .collect();
    let Some(first) = mixers.first().filter(|mixer| mixer.tests.len() > 1) else { return String::new() };
    let ticks = first.tests.iter().map(|test| (test.length as f64, length(test.length))).collect();
    let x = Axis::log_with("tokens of a test", ticks, lines::ACROSS);
    let y = Axis::linear("right answers, %", ACCURACY, lines::along(lines.len()), 5);
    let title = "Accuracy by length";
    let explanation = format!("trained at {} tokens; up is better", count(first.length));
    figure(title, &explanation, &lines::chart(title, &readings(&lines), &x, &y, &lines))
}

/// What is on the horizontal axis of a chart of points.
struct Cost {
    title: &'static str,
    better: &'static str,
    value: fn(&MixerSummary) -> Option<f64>,
    /// The unit of an axis up to the largest value, and its size.
    unit: fn(f64) -> (&'static str, f64),
    label: &'static str,
}

const STATE: Cost = Cost {
    title: "Accuracy against state",
    better: "up and to the left is better",
    value: |mixer| mixer.trained().map(|test| test.state_bytes as f64),
    unit: |most| byte_unit(most as u64),
    label: "state at the length of training",
};

const SPEED: Cost = Cost {
    title: "Accuracy against training speed",
    better: "up and to the right is better",
    value: |mixer| Some(mixer.train_tok_s),
    unit: |_| ("thousands", 1e3),
    label: "tokens trained on per second",
};

/// Accuracy at the length of training against a cost, a point per mixer.
fn against(mixers: &[MixerSummary], series: &[Series], cost: &Cost) -> String {
    let point = |(mixer, series): (&MixerSummary, &'_ Series)| {
        let value = (cost.value)(mixer).filter(|value| value.is_finite() && *value > 0.0)?;
        Some((series.number - 1, value, mixer.trained()?.accuracy.median))
    };
    let points: Vec<(usize, f64, f64)> = mixers.iter().zip(series).filter_map(point).collect();
    let most = points.iter().map(|point| point.1).fold(0.0, f64::max);
    if most == 0.0 {
        return String::new();
    }
    let (unit, size) = (cost.unit)(most);
    let x = Axis::linear(&format!("{}, {unit}", cost.label), [0.0, 1.08 * most / size], [LEFT, RIGHT], 5);
    let y = Axis::linear("right answers, %", ACCURACY, [BOTTOM, TOP], 5);
    let at: Vec<(f64, f64)> = points.iter().map(|&(_, value, right)| (x.at(value / size), y.at(right))).collect();
    let request = |(&(index, ..), &at): (&(usize, f64, f64), &(f64, f64))| {
        let Series { number, family, .. } = &series[index];
        Request { at, texts: vec![format!("{number} {family}"), number.to_string()] }
    };
    let requests: Vec<Request> = points.iter().zip(&at).map(request).collect();
    let labels = place(&requests, Bounds(LEFT + 1.0, TOP, RIGHT, BOTTOM - 1.0), &[]);
    let mut svg = frame(&x, &y);
    let mut readings = Vec::new();
    for ((&(index, value, right), &(px, py)), label) in points.iter().zip(&at).zip(&labels) {
        let series = &series[index];
        let reading = format!("{}: {} % at {} {unit}", series.policy, score(right), rate(value / size));
        let (nx, ny) = label.nearest((px, py));
        let leader = match label.leader {
            true => format!(r#"<line class="leader" x1="{px:.1}" y1="{py:.1}" x2="{nx:.1}" y2="{ny:.1}"/>"#),
            false => String::new(),
        };
        svg.push_str(&format!(
            r#"<g><title>{}</title>{}{leader}<text class="label" x="{:.1}" y="{:.1}">{}</text></g>"#,
            escape(&reading),
            series.mark(px, py, 4.6),
            label.at.0,
            label.at.1,
            escape(&label.text)
        ));
        readings.push(reading);
    }
    let image = image(cost.title, &readings.join("; "), HEIGHT, &svg);
    figure(cost.title, cost.better, &image)
}

/// What all lines say, in one sentence.
fn readings(lines: &[Line<'_>]) -> String {
    lines.iter().map(|line| format!("{}: {}", line.series.policy, line.reading)).collect::<Vec<_>>().join("; ")
}
