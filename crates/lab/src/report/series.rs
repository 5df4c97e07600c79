//! How a policy is drawn: its number, and a colour and shape for its family.
//!
//! With twenty policies colour alone cannot tell them apart, so every point carries the number of its policy in the
//! tables. Families (the policy without its parameters) differ in colour *and* shape; the colours are those of Okabe and
//! Ito, distinguishable with every common colour-blindness. The style sheet gives them for light and dark pages.

use super::markup::{code, escape};
use crate::rows::FULL;
use crate::rows::summary::PolicySummary;

/// Colour classes `c0` … in the style sheet; `full` has its own.
const COLOURS: usize = 7;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Circle,
    Square,
    Triangle,
    Diamond,
    Cross,
}

const SHAPES: [Shape; 5] = [Shape::Circle, Shape::Square, Shape::Triangle, Shape::Diamond, Shape::Cross];

/// How one policy is drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its place in the tables, from 1.
    pub number: usize,
    /// Its canonical text.
    pub policy: String,
    /// The text without parameters.
    pub family: String,
    class: String,
    shape: Shape,
}

/// One entry per policy, in order.
pub fn assign(summaries: &[PolicySummary]) -> Vec<Series> {
    named(summaries.iter().map(|summary| summary.policy.as_str()))
}

/// One entry per method, in order.
pub fn named<'a>(methods: impl Iterator<Item = &'a str>) -> Vec<Series> {
    let mut families: Vec<String> = Vec::new();
    let style = |(i, method): (usize, &str)| {
        let family = family(method);
        let (class, shape) = if method == FULL {
            ("full".to_owned(), Shape::Diamond)
        } else {
            let known = families.iter().position(|known| *known == family);
            let k = known.unwrap_or_else(|| {
                families.push(family.clone());
                families.len() - 1
            });
            // Steps of both at once: neighbours differ in both, and the pair repeats only after 7 × 5 families.
            (format!("c{}", k % COLOURS), SHAPES[k % SHAPES.len()])
        };
        Series { number: i + 1, policy: method.to_owned(), family, class, shape }
    };
    methods.enumerate().map(style).collect()
}

/// A policy without what stands in brackets: `snapkv(keep=0.25) + int8` → `snapkv + int8`.
fn family(policy: &str) -> String {
    let mut depth = 0usize;
    let outside = |&c: &char| match c {
        '(' => {
            depth += 1;
            false
        }
        ')' => {
            depth = depth.saturating_sub(1);
            false
        }
        _ => depth == 0,
    };
    policy.chars().filter(outside).collect()
}

impl Series {
    /// The CSS class of the colour.
    pub fn class(&self) -> &str {
        &self.class
    }

    /// The mark at `(x, y)`, about `2·r` wide.
    pub fn mark(&self, x: f64, y: f64, r: f64) -> String {
        let class = &self.class;
        let polygon = |points: &[(f64, f64)]| {
            let points: Vec<_> = points.iter().map(|(dx, dy)| format!("{:.1},{:.1}", x + dx * r, y + dy * r)).collect();
            format!(r#"<polygon class="mark {class}" points="{}"/>"#, points.join(" "))
        };
        match self.shape {
            Shape::Circle => format!(r#"<circle class="mark {class}" cx="{x:.1}" cy="{y:.1}" r="{r:.1}"/>"#),
            Shape::Square => polygon(&[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)]),
            Shape::Triangle => polygon(&[(0.0, -1.15), (1.1, 0.85), (-1.1, 0.85)]),
            Shape::Diamond => polygon(&[(0.0, -1.25), (1.25, 0.0), (0.0, 1.25), (-1.25, 0.0)]),
            Shape::Cross => {
                let (a, b) = (0.4, 1.15);
                polygon(&[
                    (-a, -b),
                    (a, -b),
                    (a, -a),
                    (b, -a),
                    (b, a),
                    (a, a),
                    (a, b),
                    (-a, b),
                    (-a, a),
                    (-b, a),
                    (-b, -a),
                    (-a, -a),
                ])
            }
        }
    }

    /// Number, mark and policy for tables and lists.
    pub fn tag(&self) -> String {
        format!(
            r#"<span class="tag"><span class="num">{}</span><svg class="swatch" viewBox="0 0 14 14" aria-hidden="true">{}</svg>{}</span>"#,
            self.number,
            self.mark(7.0, 7.0, 5.0),
            code(&self.policy)
        )
    }

    /// Number and policy as escaped text.
    pub fn name(&self) -> String {
        format!("{} {}", self.number, escape(&self.policy))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::CacheRow;
    use crate::rows::summary::summarise;

    #[test]
    fn families_have_distinct_looks_and_share_one() {
        let policies =
            ["full", "snapkv(keep=0.25)", "tova(keep=0.1)", "snapkv(keep=0.1) + int8", "snapkv(keep=0.1, window=8)"];
        let rows: Vec<_> = policies.iter().map(|p| CacheRow::new(p, "toy", "speed", 8, 0)).collect();
        let series = assign(&summarise(&rows));
        let families: Vec<_> = series.iter().map(|s| s.family.as_str()).collect();
        assert_eq!(families, ["full", "snapkv", "tova", "snapkv + int8", "snapkv"]);
        let look = |i: usize| (series[i].class.clone(), series[i].shape);
        assert_eq!(look(1), look(4));
        assert!(look(1) != look(2) && look(2) != look(3) && look(1) != look(3));
        assert_eq!(series[4].number, 5);
    }

    #[test]
    fn thirty_five_families_do_not_repeat_a_look() {
        let rows: Vec<_> = (0..35).map(|i| CacheRow::new(&format!("p{i}"), "toy", "speed", 8, 0)).collect();
        let series = assign(&summarise(&rows));
        for (i, a) in series.iter().enumerate() {
            assert!(series[..i].iter().all(|b| (&a.class, a.shape) != (&b.class, b.shape)));
        }
    }
}
