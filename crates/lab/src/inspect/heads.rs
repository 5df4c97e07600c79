//! The scores of a model's heads as rows and as a table: which of them copy from far back.

use comfy_table::{Cell, CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};
use headwise_engine::heads::HeadScores;
use serde::{Deserialize, Serialize};

use super::Copies;

/// What a head is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadClass {
    /// Its key-value head is one of the retrieval heads, which cache policies such as `razor` keep whole.
    Retrieval,
    /// Any other.
    Other,
}

/// One query head; see [`headwise_engine::heads`] for the definitions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeadScoreRow {
    /// Name of the model.
    pub model: String,
    /// Layer, from 0.
    pub layer: usize,
    /// Query head, from 0.
    pub head: usize,
    /// The key-value head it reads.
    pub kv_head: usize,
    /// Weight on the tokens that followed earlier occurrences of a token, 0–1.
    pub induction: f64,
    /// Weight on these occurrences, 0–1.
    pub echo: f64,
    /// Truncated matrix entropy of its queries, 0–1.
    pub entropy: f64,
    /// Share of the answers to needle prompts that it copied, 0–1, if it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retrieval: Option<f64>,
    /// Share of these answers in which it copied at all, 0–1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation: Option<f64>,
    /// Of the tokens that repeated random tokens ask for, the share that its layer picks as `gemfilter` does, 0–1; `null` if the layer
    /// does not see a whole text.
    #[serde(default)]
    pub layer_picks: Option<f64>,
    /// The share of needles' values that its layer picks, 0–1, if it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer_picks_needles: Option<f64>,
    /// What the head is.
    pub class: HeadClass,
}

/// What was seen on needle prompts.
#[derive(Clone, Debug, PartialEq)]
pub struct Needles {
    /// What every head copied of the answers.
    pub copies: Copies,
    /// What every layer would pick of the needles' values, 0–1; none for layers that do not see a whole prompt.
    pub picks: Vec<Option<f64>>,
}

/// Every query head of `model`; the best by what it copied first, where that is known, and by induction.
pub fn rows(model: &str, scores: &HeadScores, needles: Option<&Needles>) -> Vec<HeadScoreRow> {
    let retrieval = scores.retrieval();
    let copies = needles.map(|needles| &needles.copies);
    let mut rows: Vec<HeadScoreRow> = scores
        .heads()
        .iter()
        .map(|score| HeadScoreRow {
            model: model.into(),
            layer: score.layer,
            head: score.head,
            kv_head: score.kv_head,
            induction: score.induction,
            echo: score.echo,
            entropy: score.entropy,
            retrieval: copies.map(|copies| copies.score[score.layer][score.head]),
            activation: copies.map(|copies| copies.activation[score.layer][score.head]),
            layer_picks: scores.picks()[score.layer],
            layer_picks_needles: needles.and_then(|needles| needles.picks[score.layer]),
            class: match retrieval.contains(&[score.layer, score.kv_head]) {
                true => HeadClass::Retrieval,
                false => HeadClass::Other,
            },
        })
        .collect();
    let order = |row: &HeadScoreRow| [row.retrieval.unwrap_or(0.0), row.induction];
    rows.sort_by(|a, b| {
        let ([retrieval_a, induction_a], [retrieval_b, induction_b]) = (order(a), order(b));
        let scores = retrieval_b.total_cmp(&retrieval_a).then(induction_b.total_cmp(&induction_a));
        scores.then((a.layer, a.head).cmp(&(b.layer, b.head)))
    });
    rows
}

/// The first `count` of `rows`, and which key-value heads are retrieval heads.
pub fn table(rows: &[HeadScoreRow], count: usize) -> String {
    let mut table = Table::new();
    let header_line = TableStyle::new().header_separator(LineStyle::new('─', '─', '─', '─'));
    table.load_style(header_line).set_content_arrangement(ContentArrangement::Disabled);
    let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
    let copies = rows.first().is_some_and(|row| row.retrieval.is_some());
    let measured = if copies { &["retrieval", "activation"][..] } else { &[] };
    let names =
        ["layer", "head", "key-value head"].iter().chain(measured).chain(&["induction", "echo", "entropy", "class"]);
    table.set_header(names.map(|name| right((*name).into())));
    for row in rows.iter().take(count) {
        let class = if row.class == HeadClass::Retrieval { "retrieval" } else { "other" };
        let numbers = [row.layer, row.head, row.kv_head].map(|number| number.to_string());
        let scores = row.retrieval.into_iter().chain(row.activation).chain([row.induction, row.echo, row.entropy]);
        let scores = scores.map(|score| format!("{score:.4}"));
        table.add_row(numbers.into_iter().chain(scores).chain([class.to_owned()]).map(right));
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    let left = rows.len().saturating_sub(count);
    let more = if left > 0 { format!("{left} more heads: --top 0 prints all\n") } else { String::new() };
    format!("{}\n{more}\n{}\n", lines.join("\n"), reading(rows))
}

/// What every layer picks; `layer` is the one that `gemfilter` takes.
pub fn layers(rows: &[HeadScoreRow], scores: &HeadScores, layer: Option<usize>) -> String {
    let mut table = Table::new();
    let header_line = TableStyle::new().header_separator(LineStyle::new('─', '─', '─', '─'));
    table.load_style(header_line).set_content_arrangement(ContentArrangement::Disabled);
    let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
    let needles = rows.iter().any(|row| row.layer_picks_needles.is_some());
    let names = ["layer", "picks"].into_iter().chain(needles.then_some("needles"));
    table.set_header(names.map(|name| right(name.into())));
    for (layer, picks) in scores.picks().iter().enumerate() {
        let Some((picks, row)) = picks.zip(rows.iter().find(|row| row.layer == layer)) else { continue };
        let shares = [picks].into_iter().chain(row.layer_picks_needles).map(|share| format!("{share:.4}"));
        table.add_row([layer.to_string()].into_iter().chain(shares).map(right));
    }
    let Some(layer) = layer else { return String::new() };
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    let of = if needles { "repeated random tokens (picks) and of needles" } else { "repeated random tokens" };
    format!(
        "Of what is asked for, the share among the tokens that each layer would pick, of {of}:\n\n{}\n\nThe cache policy `gemfilter` picks tokens in layer {layer} unless told otherwise.\n",
        lines.join("\n")
    )
}

/// The retrieval heads in a sentence.
fn reading(rows: &[HeadScoreRow]) -> String {
    let heads_of = |rows: &mut dyn Iterator<Item = &HeadScoreRow>| {
        let mut heads: Vec<[usize; 2]> = rows.map(|row| [row.layer, row.kv_head]).collect();
        heads.sort_unstable();
        heads.dedup();
        heads
    };
    let all = heads_of(&mut rows.iter());
    let retrieval = heads_of(&mut rows.iter().filter(|row| row.class == HeadClass::Retrieval));
    let named: Vec<String> = retrieval.iter().map(|[layer, head]| format!("[{layer}, {head}]")).collect();
    format!(
        "{} of {} key-value heads are retrieval heads, as [layer, head]: {}.\nThe cache policy `razor` keeps them whole.",
        retrieval.len(),
        all.len(),
        named.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::cache::toy_engine;

    #[test]
    fn the_induction_head_stands_first() {
        let engine = toy_engine(2).expect("the model is built in");
        let rows = rows("toy", engine.head_scores().expect("it is measured"), None);
        assert_eq!(rows.len(), 8);
        let best = &rows[0];
        assert_eq!((best.layer, best.head, best.kv_head, best.class), (1, 0, 0, HeadClass::Retrieval));
        assert!(best.induction > 0.99 && rows[1].induction < 0.05, "{rows:?}");
        // Head 1 reads the same keys and values.
        let classes: Vec<(usize, usize)> =
            rows.iter().filter(|row| row.class == HeadClass::Retrieval).map(|row| (row.layer, row.head)).collect();
        assert_eq!(classes.len(), 2);
        assert!(classes.contains(&(1, 1)), "{classes:?}");

        let text = table(&rows, 3);
        let first = text.lines().nth(2).expect("a line per head").split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(first.starts_with("1 0 0 0.99") || first.starts_with("1 0 0 1.00"), "{text}");
        assert!(first.ends_with("retrieval") && text.contains("5 more heads"), "{text}");
        assert!(text.contains("1 of 4 key-value heads are retrieval heads, as [layer, head]: [1, 0]."), "{text}");
        assert!(!table(&rows, 8).contains("more heads"));

        let text = layers(
            &rows,
            engine.head_scores().expect("it is measured"),
            engine.picking_layer().expect("it is measured"),
        );
        assert!(text.contains("`gemfilter` picks tokens in layer 1 unless"), "{text}");
        assert_eq!(text.lines().filter(|line| line.contains("0.") || line.contains("1.0")).count(), 2, "{text}");
    }
}
