//! Axes and the frame of a chart, as SVG.
//!
//! Written by hand instead of through `plotters`: the marks need CSS classes (light and dark pages), `<title>`s and
//! labels for readers who do not see the picture, which its SVG backend cannot emit.

use std::fmt::Write;

use super::markup::escape;

/// Size of a chart in its own units; a phone shows it at about this size, so 12 units of text stay readable.
pub const WIDTH: f64 = 460.0;
/// Height of a chart.
pub const HEIGHT: f64 = 330.0;
/// Left, right, top and bottom edge of the plotting area.
pub const LEFT: f64 = 46.0;
/// See [`LEFT`].
pub const TOP: f64 = 16.0;
/// See [`LEFT`].
pub const BOTTOM: f64 = HEIGHT - 44.0;

/// Maps values to pixels and knows where its ticks are.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    label: String,
    range: [f64; 2],
    pixels: [f64; 2],
    log: bool,
    ticks: Vec<(f64, String)>,
}

impl Axis {
    /// A linear axis over `range` with about `ticks` round ticks.
    pub fn linear(label: &str, range: [f64; 2], pixels: [f64; 2], ticks: usize) -> Self {
        let range = finite(range, [0.0, 1.0]);
        let step = round_step((range[1] - range[0]) / ticks.max(1) as f64);
        let first = (range[0] / step).ceil() as i64;
        let last = (range[1] / step + 1e-9).floor() as i64;
        let decimals = (-step.log10().floor()).max(0.0) as usize;
        let tick = |i: i64| (i as f64 * step, format!("{:.decimals$}", i as f64 * step));
        Self { label: label.to_owned(), range, pixels, log: false, ticks: (first..=last).map(tick).collect() }
    }

    /// A logarithmic axis over a positive `range`, with ticks at 1, 2 and 5 times the powers of ten.
    pub fn log(label: &str, range: [f64; 2], pixels: [f64; 2]) -> Self {
        let [low, high] = finite(range, [1.0, 100.0]);
        let range = [low.clamp(1e-3, 1e12), high.clamp(2e-3, 1e13)];
        let decades = range[0].log10().floor() as i32..=range[1].log10().ceil() as i32;
        let ticks = decades
            .flat_map(|power| [1.0, 2.0, 5.0].map(|factor| factor * 10f64.powi(power)))
            .filter(|value| (range[0] * 0.999..=range[1] * 1.001).contains(value))
            .map(|value| {
                (
                    value,
                    if value < 1.0 {
                        format!("{value:.3}").trim_end_matches('0').to_owned()
                    } else {
                        format!("{value:.0}")
                    },
                )
            })
            .collect();
        Self { label: label.to_owned(), range, pixels, log: true, ticks }
    }

    /// A logarithmic axis with these ticks.
    pub fn log_with(label: &str, ticks: Vec<(f64, String)>, pixels: [f64; 2]) -> Self {
        let low = ticks.iter().map(|tick| tick.0).fold(f64::INFINITY, f64::min);
        let high = ticks.iter().map(|tick| tick.0).fold(0.0, f64::max);
        Self { label: label.to_owned(), range: [low, high], pixels, log: true, ticks }
    }

    /// The pixel of a value; values outside the range, or not finite, are drawn at its edge.
    pub fn at(&self, value: f64) -> f64 {
        let scale = |v: f64| if self.log { v.max(1e-9).ln() } else { v };
        let [low, high] = self.range.map(scale);
        let share = if high > low { (scale(value) - low) / (high - low) } else { 0.5 };
        let share = if share.is_nan() { 1.0 } else { share.clamp(0.0, 1.0) };
        self.pixels[0] + share * (self.pixels[1] - self.pixels[0])
    }
}

/// The range, or another where it is empty or not finite: the number of ticks must not depend on what a file says.
fn finite(range: [f64; 2], otherwise: [f64; 2]) -> [f64; 2] {
    let [low, high] = range;
    if low.is_finite() && high.is_finite() && low <= high && high.abs() < 1e15 { range } else { otherwise }
}

/// 1, 2, 2.5 or 5 times a power of ten, at least `raw`.
fn round_step(raw: f64) -> f64 {
    if !(raw > 0.0 && raw.is_finite()) {
        return 1.0;
    }
    let power = 10f64.powf(raw.log10().floor());
    [1.0, 2.0, 2.5, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|&step| step >= raw * 0.999).unwrap_or(raw)
}

/// Grid lines, ticks and labels of both axes.
pub fn frame(x: &Axis, y: &Axis) -> String {
    let mut svg = String::new();
    let ([left, right], [bottom, top]) = (x.pixels, y.pixels);
    for (value, text) in &y.ticks {
        let at = y.at(*value);
        let _ = write!(svg, r#"<line class="grid" x1="{left:.1}" x2="{right:.1}" y1="{at:.1}" y2="{at:.1}"/>"#);
        let _ = write!(
            svg,
            r#"<text class="tick" x="{:.1}" y="{:.1}" text-anchor="end">{text}</text>"#,
            left - 6.0,
            at + 4.0
        );
    }
    let mut free_from = f64::NEG_INFINITY;
    for (value, text) in &x.ticks {
        let at = x.at(*value);
        let _ = write!(svg, r#"<line class="grid" x1="{at:.1}" x2="{at:.1}" y1="{top:.1}" y2="{bottom:.1}"/>"#);
        let half = 3.5 * text.chars().count() as f64;
        if at - half > free_from {
            let _ = write!(
                svg,
                r#"<text class="tick" x="{at:.1}" y="{:.1}" text-anchor="middle">{text}</text>"#,
                bottom + 16.0
            );
            free_from = at + half + 4.0;
        }
    }
    let _ = write!(
        svg,
        r#"<text class="axis" x="{:.1}" y="{:.1}" text-anchor="middle">{}</text>"#,
        0.5 * (left + right),
        bottom + 36.0,
        escape(&x.label)
    );
    let (across, along) = (13.0, 0.5 * (top + bottom));
    let _ = write!(
        svg,
        r#"<text class="axis" x="{across:.1}" y="{along:.1}" text-anchor="middle" transform="rotate(-90 {across:.1} {along:.1})">{}</text>"#,
        escape(&y.label)
    );
    svg
}

/// A whole chart: `content` in an image with a title and a description for readers who do not see it.
pub fn image(title: &str, description: &str, height: f64, content: &str) -> String {
    let (title, description) = (escape(title), escape(description));
    format!(
        r#"<svg class="chart" viewBox="0 0 {WIDTH} {height:.0}" role="img" aria-label="{title}. {description}"><title>{title}</title><desc>{description}</desc>{content}</svg>"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        let labels = |axis: &Axis| axis.ticks.iter().map(|t| t.1.clone()).collect::<Vec<_>>();
        assert_eq!(labels(&Axis::linear("", [0.0, 100.0], [0.0, 1.0], 5)), ["0", "20", "40", "60", "80", "100"]);
        assert_eq!(labels(&Axis::linear("", [14.1, 14.9], [0.0, 1.0], 4)), ["14.2", "14.4", "14.6", "14.8"]);
        assert_eq!(labels(&Axis::log("", [8.0, 110.0], [0.0, 1.0])), ["10", "20", "50", "100"]);
        assert!(!Axis::linear("", [3.0, 3.0], [0.0, 1.0], 4).ticks.is_empty());
        for range in [[f64::NAN, 1.0], [0.0, f64::INFINITY], [f64::INFINITY, 0.0], [1e300, 1e301]] {
            assert!(Axis::linear("", range, [0.0, 1.0], 4).ticks.len() < 20);
            assert!(Axis::log("", range, [0.0, 1.0]).ticks.len() < 60);
        }
    }

    #[test]
    fn values_stay_inside_the_frame() {
        for axis in [Axis::linear("", [0.0, 100.0], [300.0, 10.0], 5), Axis::log("", [5.0, 200.0], [300.0, 10.0])] {
            for value in [f64::NEG_INFINITY, -1.0, 0.0, 7.0, 1e9, f64::INFINITY, f64::NAN] {
                assert!((10.0..=300.0).contains(&axis.at(value)), "{value} in {axis:?}");
            }
        }
        let axis = Axis::log("", [10.0, 1000.0], [0.0, 100.0]);
        assert!((axis.at(100.0) - 50.0).abs() < 1e-9);
    }
}
