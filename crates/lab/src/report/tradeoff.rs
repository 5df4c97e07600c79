//! Quality against size: one point per policy, the Pareto front drawn through those that no other beats.

use super::chart::{Axis, BOTTOM, LEFT, TOP, WIDTH, frame, image};
use super::labels::{Bounds, Request, place};
use super::markup::{code, escape};
use super::pareto::front;
use super::series::Series;
use crate::rows::quantity::{percent, rate, score};
use crate::rows::summary::{PolicySummary, settings};
use crate::rows::{Metric, Setting};

const RIGHT: f64 = WIDTH - 12.0;

/// A policy's size (percent of `full` in f16) and quality.
struct Point<'a> {
    series: &'a Series,
    kv_pct: f64,
    value: f64,
    ci95: Option<[f64; 2]>,
}

/// What a chart shows.
struct Chart<'a> {
    title: String,
    metric: Metric,
    points: Vec<Point<'a>>,
}

/// The charts of this comparison: recall in each conclusive setting, and perplexity.
pub fn section(summaries: &[PolicySummary], series: &[Series]) -> String {
    let mut charts: Vec<Chart> =
        settings(summaries).into_iter().map(|setting| recall_chart(summaries, series, setting)).collect();
    charts.push(perplexity_chart(summaries, series));
    let figures: String = charts.iter().filter(|chart| chart.points.len() > 1).map(Chart::figure).collect();
    let inconclusive = settings(summaries)
        .into_iter()
        .filter(|&setting| summaries.iter().filter_map(|s| s.pooled(setting)).all(|(recall, _)| !recall.conclusive()))
        .map(|setting| format!("<p class=\"warn\">Recall{} is inconclusive: the full cache itself finds fewer than 60 %, so it is not drawn.</p>", in_setting(setting)));
    let key: String = series.iter().map(|series| format!("<li>{}</li>", series.tag())).collect();
    match figures.is_empty() {
        true => format!(
            "{}<p>Nothing to draw: a chart needs two policies with a size and a score.</p>",
            inconclusive.collect::<String>()
        ),
        false => format!(
            "{}<div class=\"charts\">{figures}</div><ul class=\"key\" aria-label=\"Policies in the charts\">{key}</ul>",
            inconclusive.collect::<String>()
        ),
    }
}

/// Whether a value has a place on a logarithmic axis.
fn drawable(value: f64) -> bool {
    value.is_finite() && value > 0.0
}

fn in_setting(setting: Option<Setting>) -> String {
    setting.map_or_else(String::new, |s| format!(" in the {} setting", s.name()))
}

fn recall_chart<'a>(summaries: &[PolicySummary], series: &'a [Series], setting: Option<Setting>) -> Chart<'a> {
    let point = |(summary, series): (&PolicySummary, &'a Series)| {
        let (recall, kv_pct) = summary.pooled(setting).filter(|(recall, _)| recall.conclusive())?;
        let kv_pct = kv_pct.or(summary.memory.kv_pct).filter(|kv| drawable(*kv))?;
        Some(Point { series, kv_pct, value: recall.score, ci95: Some(recall.ci95()) })
    };
    let title = setting.map_or_else(|| "Recall".to_owned(), |s| format!("Recall, {}", s.name()));
    Chart { title, metric: Metric::Recall, points: summaries.iter().zip(series).filter_map(point).collect() }
}

fn perplexity_chart<'a>(summaries: &[PolicySummary], series: &'a [Series]) -> Chart<'a> {
    let point = |(summary, series): (&PolicySummary, &'a Series)| {
        let perplexity = summary.perplexity().filter(|p| drawable(p.score))?;
        let kv_pct = perplexity.kv_pct.or(summary.memory.kv_pct).filter(|kv| drawable(*kv))?;
        Some(Point { series, kv_pct, value: perplexity.score, ci95: perplexity.ci95 })
    };
    Chart {
        title: "Perplexity".to_owned(),
        metric: Metric::Ppl,
        points: summaries.iter().zip(series).filter_map(point).collect(),
    }
}

impl Chart<'_> {
    fn better(&self) -> &'static str {
        match self.metric {
            Metric::Recall => "up and to the left is better",
            Metric::Ppl => "down and to the left is better",
        }
    }

    fn print(&self, value: f64) -> String {
        match self.metric {
            Metric::Recall => format!("{} %", score(value)),
            Metric::Ppl => rate(value),
        }
    }

    fn front(&self) -> Vec<bool> {
        let quality = |point: &Point| match self.metric {
            Metric::Recall => point.value,
            Metric::Ppl => -point.value,
        };
        front(&self.points.iter().map(|point| (point.kv_pct, quality(point))).collect::<Vec<_>>())
    }

    fn axes(&self) -> (Axis, Axis) {
        let sizes = || self.points.iter().map(|point| point.kv_pct);
        let low = sizes().fold(f64::INFINITY, f64::min);
        let high = sizes().fold(100.0, f64::max);
        let x = Axis::log(
            "KV bytes, % of the full cache in f16",
            [(low * 0.75).clamp(0.1, 75.0), high * 1.2],
            [LEFT, RIGHT],
        );
        let y = match self.metric {
            Metric::Recall => Axis::linear("recall, %", [-4.0, 108.0], [BOTTOM, TOP], 5),
            Metric::Ppl => self.perplexity_axis(),
        };
        (x, y)
    }

    fn perplexity_axis(&self) -> Axis {
        let values = || self.points.iter().map(|point| point.value).filter(|v| v.is_finite());
        let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
        if high > 4.0 * low {
            return Axis::log("perplexity (log scale)", [low * 0.8, high * 1.25], [BOTTOM, TOP]);
        }
        let margin = (0.12 * (high - low)).max(0.01 * high);
        Axis::linear("perplexity", [low - margin, high + margin], [BOTTOM, TOP], 5)
    }

    fn figure(&self) -> String {
        let (x, y) = self.axes();
        let on_front = self.front();
        let at: Vec<(f64, f64)> = self.points.iter().map(|point| (x.at(point.kv_pct), y.at(point.value))).collect();
        let mut svg = frame(&x, &y);
        let worst = match self.metric {
            Metric::Recall => BOTTOM,
            Metric::Ppl => TOP,
        };
        let steps = staircase(&at, &on_front, worst);
        svg.push_str(&path(&steps));
        for ((point, &(px, py)), &front) in self.points.iter().zip(&at).zip(&on_front) {
            let ring = if front {
                format!(r#"<circle class="ring" cx="{px:.1}" cy="{py:.1}" r="8.5"/>"#)
            } else {
                String::new()
            };
            let mark = point.series.mark(px, py, 4.6);
            svg.push_str(&format!("<g><title>{}</title>{ring}{mark}</g>", escape(&self.describe(point))));
        }
        svg.push_str(&self.labels(&at, &on_front, &steps));
        let description = format!("One point per policy; {}. The values are in the table above.", self.better());
        let image = image(&format!("{} against KV bytes", self.title), &description, super::chart::HEIGHT, &svg);
        format!(
            "<figure><figcaption><strong>{}</strong> against KV bytes; {}</figcaption>{image}<p class=\"front\">On the front: {}.</p></figure>",
            escape(&self.title),
            self.better(),
            self.front_list(&on_front)
        )
    }

    fn describe(&self, point: &Point) -> String {
        let interval =
            point.ci95.map_or_else(String::new, |[low, high]| format!(" (95 % interval {}–{})", rate(low), rate(high)));
        format!(
            "{} {}: {}{interval} at {} % of the bytes",
            point.series.number,
            point.series.policy,
            self.print(point.value),
            percent(point.kv_pct)
        )
    }

    /// Labels, those of the front first and with their family's name where there is room.
    fn labels(&self, at: &[(f64, f64)], on_front: &[bool], steps: &[(f64, f64)]) -> String {
        let mut order: Vec<usize> = (0..at.len()).collect();
        order.sort_by_key(|&i| !on_front[i]);
        let request = |&i: &usize| {
            let series = self.points[i].series;
            let number = series.number.to_string();
            let texts = if on_front[i] || at.len() <= 10 {
                vec![format!("{number} {}", series.family), number]
            } else {
                vec![number]
            };
            Request { at: at[i], texts }
        };
        let requests: Vec<_> = order.iter().map(request).collect();
        let line = |w: &[(f64, f64)]| {
            Bounds(w[0].0.min(w[1].0), w[0].1.min(w[1].1), w[0].0.max(w[1].0) + 0.1, w[0].1.max(w[1].1) + 0.1)
        };
        let lines: Vec<Bounds> = steps.windows(2).map(line).collect();
        let placed = place(&requests, Bounds(LEFT + 1.0, TOP, RIGHT, BOTTOM - 1.0), &lines);
        let draw = |(request, label): (&Request, &super::labels::Placed)| {
            let (nx, ny) = label.nearest(request.at);
            let (px, py) = request.at;
            let line = if label.leader {
                format!(r#"<line class="leader" x1="{px:.1}" y1="{py:.1}" x2="{nx:.1}" y2="{ny:.1}"/>"#)
            } else {
                String::new()
            };
            format!(
                r#"{line}<text class="label" x="{:.1}" y="{:.1}">{}</text>"#,
                label.at.0,
                label.at.1,
                escape(&label.text)
            )
        };
        requests.iter().zip(&placed).map(draw).collect()
    }

    fn front_list(&self, on_front: &[bool]) -> String {
        let mut front: Vec<&Point> =
            self.points.iter().zip(on_front).filter(|(_, on)| **on).map(|(point, _)| point).collect();
        front.sort_by(|a, b| a.kv_pct.total_cmp(&b.kv_pct));
        let item = |point: &&Point| {
            format!(
                "{} {} ({} at {} %)",
                point.series.number,
                code(&point.series.policy),
                self.print(point.value),
                percent(point.kv_pct)
            )
        };
        front.iter().map(item).collect::<Vec<_>>().join("; ")
    }
}

/// The corners of the line through the front: the best that can be had at each size, level from a point of the front
/// to the next larger one, then on to it. Before its first point there is nothing, so it starts at the `worst` edge.
fn staircase(at: &[(f64, f64)], on_front: &[bool], worst: f64) -> Vec<(f64, f64)> {
    let mut points: Vec<(f64, f64)> = at.iter().zip(on_front).filter(|(_, on)| **on).map(|(p, _)| *p).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    let Some(&(x, mut level)) = points.first() else { return Vec::new() };
    let mut corners = vec![(x, worst)];
    for (x, y) in points {
        corners.extend([(x, level), (x, y)]);
        level = y;
    }
    corners.push((RIGHT, level));
    corners.dedup();
    corners
}

fn path(corners: &[(f64, f64)]) -> String {
    let points: Vec<_> = corners.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    format!(r#"<polyline class="front" points="{}"/>"#, points.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_staircase_goes_through_the_front_only() {
        let at = [(300.0, 20.0), (100.0, 80.0), (150.0, 200.0), (200.0, 20.0)];
        let corners = staircase(&at, &[false, true, false, true], BOTTOM);
        assert_eq!(corners, [(100.0, BOTTOM), (100.0, 80.0), (200.0, 80.0), (200.0, 20.0), (RIGHT, 20.0)]);
        assert!(staircase(&[], &[], BOTTOM).is_empty());
    }
}
