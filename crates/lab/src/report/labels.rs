//! Where the labels of points go: next to their point, over no mark and no other label.
//!
//! Greedy: labels are placed in the order given (important ones first); each tries places around its point, nearest
//! first, and its texts from the longest to the shortest. A label away from its point gets a line to it.

/// What a label may say, longest first, and where its point is.
#[derive(Clone, Debug)]
pub struct Request {
    /// The point.
    pub at: (f64, f64),
    /// Its texts, longest first.
    pub texts: Vec<String>,
}

/// A label that found its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    /// Left end of the text's base line.
    pub at: (f64, f64),
    /// The text that fitted.
    pub text: String,
    /// Whether it is far enough from its point to need a line.
    pub leader: bool,
    bounds: Bounds,
}

/// A rectangle: left, top, right, bottom.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds(pub f64, pub f64, pub f64, pub f64);

impl Bounds {
    fn overlaps(self, other: Self) -> bool {
        self.0 < other.2 && other.0 < self.2 && self.1 < other.3 && other.1 < self.3
    }

    fn inside(self, outer: Self) -> bool {
        self.0 >= outer.0 && self.1 >= outer.1 && self.2 <= outer.2 && self.3 <= outer.3
    }
}

/// Width of a character of a label and height of its line, in the chart's units.
const CHARACTER: f64 = 6.1;
const LINE: f64 = 12.0;

/// Half the size of a mark with its ring.
const MARK: f64 = 7.5;

/// Places every label, inside `area` and off the `obstacles` where that is possible.
pub fn place(requests: &[Request], area: Bounds, obstacles: &[Bounds]) -> Vec<Placed> {
    let mark = |(x, y): (f64, f64)| Bounds(x - MARK, y - MARK, x + MARK, y + MARK);
    let mut taken: Vec<Bounds> =
        requests.iter().map(|request| mark(request.at)).chain(obstacles.iter().copied()).collect();
    let mut placed = Vec::with_capacity(requests.len());
    for request in requests {
        let free =
            |label: &Placed| label.bounds.inside(area) && !taken.iter().any(|other| other.overlaps(label.bounds));
        let clear = |label: &Placed| free(label) && !requests.iter().any(|other| label.line_hits(request.at, other.at));
        let shortest = || candidates(request.at, request.texts.last().map_or("", String::as_str));
        let mut best = request.texts.iter().flat_map(|text| candidates(request.at, text));
        let label = best.find(clear).or_else(|| shortest().find(free)).or_else(|| shortest().next());
        if let Some(label) = label {
            taken.push(label.bounds);
            placed.push(label);
        }
    }
    placed
}

/// Places around a point: right, left, diagonal, above and below, in growing rings. Long texts stay near, numbers may
/// go further away.
fn candidates(at: (f64, f64), text: &str) -> impl Iterator<Item = Placed> {
    const DIRECTIONS: [(f64, f64); 12] = [
        (1.0, 0.0),
        (-1.0, 0.0),
        (0.7, -0.7),
        (0.7, 0.7),
        (-0.7, -0.7),
        (-0.7, 0.7),
        (0.0, -1.0),
        (0.0, 1.0),
        (0.45, -0.9),
        (-0.45, -0.9),
        (0.45, 0.9),
        (-0.45, 0.9),
    ];
    let width = CHARACTER * text.chars().count() as f64;
    let rings = if text.len() > 3 { 3 } else { 9 };
    let text = text.to_owned();
    (0..rings).flat_map(move |ring| {
        let text = text.clone();
        let radius = 10.0 + 11.0 * f64::from(ring);
        DIRECTIONS.into_iter().map(move |(dx, dy)| {
            let middle = (at.0 + dx * (radius + 0.5 * width), at.1 + dy * (radius + 0.35 * LINE));
            let bounds =
                Bounds(middle.0 - 0.5 * width, middle.1 - 0.5 * LINE, middle.0 + 0.5 * width, middle.1 + 0.5 * LINE);
            Placed { at: (bounds.0, middle.1 + 4.0), text: text.clone(), leader: ring > 0, bounds }
        })
    })
}

impl Placed {
    /// Whether the way from the label to its point `from` leads over another point, to which it would seem to belong.
    fn line_hits(&self, from: (f64, f64), other: (f64, f64)) -> bool {
        let to = self.nearest(from);
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let (ox, oy) = (other.0 - from.0, other.1 - from.1);
        let length = dx.hypot(dy).max(f64::MIN_POSITIVE);
        let along = (ox * dx + oy * dy) / length;
        let beside = (ox * dy - oy * dx).abs() / length;
        // Points that all but coincide cannot be told apart anyway.
        ox.hypot(oy) > 3.0 && (0.0..=length).contains(&along) && beside < MARK - 2.0
    }

    /// The point of the label's edge that is nearest to `from`, where the line ends.
    pub fn nearest(&self, from: (f64, f64)) -> (f64, f64) {
        let Bounds(left, top, right, bottom) = self.bounds;
        (from.0.clamp(left, right), from.1.clamp(top + 2.0, bottom - 2.0))
    }
}

/// Moves values apart so that neighbours are at least `gap` from each other, keeping their order and, where there is
/// room, the range. Returns the new values in the order given.
pub fn spread(values: &[f64], gap: f64, [low, high]: [f64; 2]) -> Vec<f64> {
    let gap = if values.len() > 1 { gap.min((high - low) / (values.len() - 1) as f64) } else { gap };
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut spread = values.to_vec();
    let mut next = low;
    for &i in &order {
        spread[i] = spread[i].max(next);
        next = spread[i] + gap;
    }
    let mut next = high;
    for &i in order.iter().rev() {
        spread[i] = spread[i].min(next);
        next = spread[i] - gap;
    }
    spread
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twenty_four_coincident_points_get_labels_that_do_not_overlap() {
        let request = |i: usize| Request {
            at: if i.is_multiple_of(2) { (120.0, 40.0) } else { (200.0, 40.0) },
            texts: vec![format!("{i} snapkv + kivi4"), format!("{i}")],
        };
        let obstacle = Bounds(100.0, 60.0, 300.0, 62.0);
        let placed = place(&(0..24).map(request).collect::<Vec<_>>(), Bounds(46.0, 10.0, 460.0, 290.0), &[obstacle]);
        assert_eq!(placed.len(), 24);
        for (i, a) in placed.iter().enumerate() {
            assert!(a.bounds.inside(Bounds(46.0, 10.0, 460.0, 290.0)));
            assert!(!a.bounds.overlaps(obstacle));
            assert!(placed[..i].iter().all(|b| !a.bounds.overlaps(b.bounds)), "{a:?}");
        }
        assert!(placed[0].text.len() > 3, "the first label has room for its long text");
    }

    #[test]
    fn no_line_leads_over_another_point() {
        let points: Vec<(f64, f64)> = (0..12).map(|i| (100.0 + 9.0 * f64::from(i), 100.0)).collect();
        let requests: Vec<_> = points.iter().map(|&at| Request { at, texts: vec!["12".into()] }).collect();
        let placed = place(&requests, Bounds(0.0, 0.0, 460.0, 330.0), &[]);
        for (label, &from) in placed.iter().zip(&points) {
            assert!(points.iter().all(|&other| !label.line_hits(from, other)), "{label:?}");
        }
        let label = Placed { at: (0.0, 0.0), text: "1".into(), leader: true, bounds: Bounds(40.0, -6.0, 46.0, 6.0) };
        assert!(label.line_hits((0.0, 0.0), (20.0, 1.0)) && !label.line_hits((0.0, 0.0), (20.0, 9.0)));
        assert!(!label.line_hits((0.0, 0.0), (-20.0, 0.0)));
    }

    #[test]
    fn a_label_without_room_is_still_there() {
        let tiny = Bounds(0.0, 0.0, 1.0, 1.0);
        let placed = place(&[Request { at: (0.5, 0.5), texts: vec!["long".into(), "1".into()] }], tiny, &[]);
        assert_eq!(placed.len(), 1);
        assert_eq!(placed[0].text, "1");
    }

    #[test]
    fn spread_keeps_order_gap_and_range() {
        let values = [10.0, 10.0, 10.5, 99.0, 98.0, 50.0];
        let moved = spread(&values, 8.0, [0.0, 100.0]);
        let mut sorted = moved.clone();
        sorted.sort_by(f64::total_cmp);
        assert!(sorted.windows(2).all(|w| w[1] - w[0] >= 8.0 - 1e-9), "{moved:?}");
        assert!(sorted[0] >= 0.0 && sorted[5] <= 100.0);
        assert!(moved[4] < moved[3] && moved[5] == 50.0);
        let crowded = spread(&[5.0; 30], 8.0, [0.0, 100.0]);
        assert!(crowded.iter().all(|v| (-1e-6..=100.0 + 1e-6).contains(v)));
        assert!(spread(&[], 8.0, [0.0, 1.0]).is_empty());
    }
}
