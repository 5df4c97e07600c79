//! A chart of lines, each labelled at its end.

use super::chart::{Axis, BOTTOM, HEIGHT, LEFT, TOP, WIDTH, frame, image};
use super::labels::spread;
use super::markup::escape;
use super::series::Series;

/// Height of a label.
const LABEL: f64 = 13.0;

/// Right edge of the plotting area; the labels stand beyond it.
const RIGHT: f64 = WIDTH - 138.0;

/// Left and right pixel of a chart of lines.
pub const ACROSS: [f64; 2] = [LEFT + 8.0, RIGHT];

/// Bottom and top pixel of a chart of so many lines: many labels make a taller one.
pub fn along(lines: usize) -> [f64; 2] {
    [BOTTOM.max(TOP + 4.0 + LABEL * lines as f64), TOP]
}

/// A line, from left to right.
#[derive(Clone, Debug)]
pub struct Line<'a> {
    /// Whose line it is.
    pub series: &'a Series,
    /// Its points, in the units of the axes.
    pub points: Vec<(f64, f64)>,
    /// What it says, for readers who do not see it.
    pub reading: String,
    /// Whether its points are marked.
    pub marked: bool,
}

/// The chart; `x` runs over [`ACROSS`] and `y` over [`along`].
pub fn chart(title: &str, description: &str, x: &Axis, y: &Axis, lines: &[Line<'_>]) -> String {
    let [bottom, top] = along(lines.len());
    let mut svg = frame(x, y);
    let ends: Vec<f64> = lines.iter().map(|line| line.points.last().map_or(bottom, |point| y.at(point.1))).collect();
    let labels = spread(&ends, LABEL, [top + 4.0, bottom]);
    for (line, (&end, &label)) in lines.iter().zip(ends.iter().zip(&labels)) {
        let at: Vec<_> = line.points.iter().map(|&(a, b)| (x.at(a), y.at(b))).collect();
        let path: Vec<_> = at.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let class = line.series.class();
        svg.push_str(&format!("<g><title>{}: {}</title>", escape(&line.series.policy), escape(&line.reading)));
        svg.push_str(&format!(r#"<polyline class="line {class}" points="{}"/>"#, path.join(" ")));
        let marked = if line.marked { at.as_slice() } else { &[] };
        svg.extend(marked.iter().map(|&(x, y)| line.series.mark(x, y, 3.6)));
        let from = at.last().map_or(RIGHT, |end| end.0);
        let name = shortened(&format!("{} {}", line.series.number, line.series.family), 19);
        svg.push_str(&format!(
            r#"<line class="leader" x1="{:.1}" y1="{end:.1}" x2="{:.1}" y2="{label:.1}"/><text class="label" x="{:.1}" y="{:.1}">{}</text></g>"#,
            from + 5.0, RIGHT + 12.0, RIGHT + 14.0, label + 4.0, escape(&name)
        ));
    }
    image(title, description, bottom + (HEIGHT - BOTTOM), &svg)
}

/// `text` with at most so many characters.
pub fn shortened(text: &str, characters: usize) -> String {
    if text.chars().count() <= characters {
        return text.to_owned();
    }
    text.chars().take(characters - 1).chain(std::iter::once('…')).collect()
}
