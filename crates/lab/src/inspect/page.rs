//! The report of an inspection: the paragraph first, then a map of layers × heads for each figure, then the tokens and the
//! command.

use super::{HeadRow, InspectReport, Reading};
use crate::report::escape;
use crate::report::page::{page, run, section};
use crate::report::tables;
use crate::rows::quantity::{ABSENT, count, or_absent, rate};

/// What a report is made from.
#[derive(Clone, Copy, Debug)]
pub struct PageInput<'a> {
    /// Title of the page.
    pub title: &'a str,
    /// The rows, the machine, the command and the tokens.
    pub report: &'a InspectReport,
    /// What was read.
    pub text: &'a str,
    /// When, as it should be printed.
    pub date: &'a str,
}

/// The page: self-contained, without scripts.
pub fn html(input: &PageInput<'_>) -> String {
    let (envelope, rows) = (&input.report.envelope, &input.report.envelope.rows);
    let (model, tokens) = rows.first().map_or((ABSENT, 0), |row| (row.model.as_str(), row.tokens));
    let layers = rows.chunk_by(|a, b| a.layer == b.layer).count();
    let lead = format!("{model} · {layers} layers · {} heads · {} tokens · {}", rows.len(), count(tokens), input.date);
    let facts = vec![("model", model.to_owned()), ("text", input.text.to_owned()), ("tokens", count(tokens))];
    let content = [
        answer(rows),
        section("Layers and heads", "maps", &maps(rows)),
        section("Heads that look farthest back", "far", &farthest(rows)),
        section("Tokens that draw attention", "tokens", &drawing(input.report)),
        section("What the words mean", "words", &definitions()),
        section("What was run", "run", &run(facts, envelope, input.date)),
    ];
    page(input.title, &lead, &content.concat())
}

fn answer(rows: &[HeadRow]) -> String {
    let text = Reading::new(rows).map_or_else(|| "The model has no attention heads.".to_owned(), |r| r.to_string());
    format!(
        "<section class=\"answer\" aria-labelledby=\"answer\"><h2 id=\"answer\">What the heads do</h2><p>{}</p></section>\n",
        escape(&text).replace(" %", "\u{a0}%")
    )
}

/// One map: what it shows, where on the scale from 0 to 1 a head is, and what its cell says.
struct Map {
    title: &'static str,
    scale: &'static str,
    share: fn(&HeadRow) -> Option<f64>,
    text: fn(&HeadRow) -> String,
}

const MAPS: [Map; 4] = [
    Map {
        title: "Attention on the first token, %",
        scale: "dark: none, bright: all",
        share: |row| Some(row.sink),
        text: |row| format!("{:.0}", 100.0 * row.sink),
    },
    Map {
        title: "Entropy, nats",
        scale: "dark: one key, bright: all keys evenly",
        share: |row| Some(row.entropy_share()),
        text: |row| format!("{:.1}", row.entropy),
    },
    Map {
        title: "Mean distance, tokens",
        scale: "dark: 0, bright: half the text, the mean distance of the first token",
        share: |row| Some(distance_share(row, row.distance)),
        text: |row| whole(row.distance),
    },
    Map {
        title: "Mean distance of what is not on the first token, tokens",
        scale: "the same scale; – where less than 0.1 % is left",
        share: |row| row.distance_of_rest.map(|distance| distance_share(row, distance)),
        text: |row| or_absent(row.distance_of_rest, whole),
    },
];

/// Steps of the colour scale, classes `h0` … `h10`.
const STEPS: f64 = 10.0;

fn whole(value: f64) -> String {
    if value < 9.95 { format!("{value:.1}") } else { format!("{value:.0}") }
}

/// A distance on a scale from 0 to half the text, the mean distance of the first token.
fn distance_share(row: &HeadRow, distance: f64) -> f64 {
    distance / (0.5 * row.tokens as f64).max(1.0)
}

fn maps(rows: &[HeadRow]) -> String {
    let even = rows.first().map_or_else(String::new, |row| {
        format!(
            " A head that looked at everything evenly would have entropy {} and distance {}.",
            rate(row.even_entropy),
            whole(row.even_distance)
        )
    });
    let windows = if rows.iter().any(|row| row.window.is_some()) {
        " Layers marked w have a sliding window, and even attention in them is even over the window."
    } else {
        ""
    };
    let cards: String = MAPS.iter().map(|map| map.card(rows)).collect();
    format!(
        "<p>Each row is a layer, the first on top, each column a head; means over all {} queries.{even}{windows}</p><div class=\"cards wide\">{cards}</div>",
        count(rows.first().map_or(0, |row| row.tokens))
    )
}

impl Map {
    fn card(&self, rows: &[HeadRow]) -> String {
        let heads = rows.iter().map(|row| row.head + 1).max().unwrap_or(0);
        let head: String = (0..heads).map(|head| format!(r#"<th scope="col">{head}</th>"#)).collect();
        let line = |layer: &[HeadRow]| {
            let mark = if layer[0].window.is_some() { " w" } else { "" };
            let cells: String = layer.iter().map(|row| self.cell(row)).collect();
            format!(r#"<tr><th scope="row">{}{mark}</th>{cells}</tr>"#, layer[0].layer)
        };
        let body: String = rows.chunk_by(|a, b| a.layer == b.layer).map(line).collect();
        let Self { title, scale, .. } = self;
        format!(
            r#"<article class="card"><h3>{title}</h3><p class="small">{scale}</p><div class="scroll" role="region" tabindex="0" aria-label="{title}"><table class="heat"><caption class="hidden">{title}, by layer and head</caption><thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table></div></article>"#
        )
    }

    fn cell(&self, row: &HeadRow) -> String {
        let text = (self.text)(row);
        match (self.share)(row) {
            None => format!("<td>{text}</td>"),
            Some(share) => {
                let step = (share * STEPS).round().clamp(0.0, STEPS);
                format!(
                    r#"<td class="h{step:.0}" title="layer {}, head {}, key-value head {}">{text}</td>"#,
                    row.layer, row.head, row.kv_head
                )
            }
        }
    }
}

/// Heads listed.
const LISTED: usize = 10;

fn farthest(rows: &[HeadRow]) -> String {
    let mut far: Vec<(&HeadRow, f64)> =
        rows.iter().filter_map(|row| row.distance_of_rest.map(|distance| (row, distance))).collect();
    // A distance counts as much as there is attention at it.
    let reach = |(row, distance): &(&HeadRow, f64)| (1.0 - row.sink) * distance;
    far.sort_by(|a, b| reach(b).total_cmp(&reach(a)));
    far.truncate(LISTED);
    let head = ["head", "distance of the rest", "first token", "first four", "entropy", "keys"].map(str::to_owned);
    let line = |(row, distance): (&HeadRow, f64)| {
        let percent = |share: f64| format!("{:.1} %", 100.0 * share);
        let cells = vec![
            whole(distance),
            percent(row.sink),
            percent(row.first_four),
            rate(row.entropy),
            rate(row.entropy.exp()),
        ];
        (format!("layer {}, head {}", row.layer, row.head), cells)
    };
    tables::table("By the distance of what is not on the first token times its share", &head, far.into_iter().map(line))
}

fn drawing(report: &InspectReport) -> String {
    let head = ["token", "position", "of all attention", "times even"].map(str::to_owned);
    let lines = report.tokens.iter().map(|token| {
        let shown = token.text.replace('\n', "⏎").replace('\t', "⇥");
        let cells = vec![count(token.position), format!("{:.2} %", 100.0 * token.share), rate(token.times_even)];
        (format!("<code>“{}”</code>", escape(&shown)), cells)
    });
    let table = tables::table("Share of the attention of all heads, layers and queries", &head, lines);
    format!(
        "<p>A token that draws many times its even share wherever it stands is an attention sink too, even if it is not the first.</p>{table}"
    )
}

/// Every figure in one line.
const DEFINITIONS: [(&str, &str); 7] = [
    ("attention", "The weights with which a query adds up the values of the tokens up to its own; they sum to 1."),
    ("entropy", "How widely a query's attention is spread, in nats: 0 is one key."),
    ("keys", "exp of the entropy: how many keys an evenly shared attention of this entropy has."),
    (
        "first token",
        "The share of attention on the first token. Where no key matters, heads rest there: an attention sink.",
    ),
    ("distance", "How many tokens lie between query and key on average, weighted by attention."),
    ("distance of the rest", "The same of the attention that is not on the first token."),
    (
        "times even",
        "What a token received over what it would have received from heads that look at everything they see evenly. Early tokens are seen by more queries.",
    ),
];

fn definitions() -> String {
    let item = |(word, meaning): &(&str, &str)| format!("<dt>{}</dt><dd>{}</dd>", escape(word), escape(meaning));
    format!("<dl>{}</dl>", DEFINITIONS.iter().map(item).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::super::TokenRow;
    use super::super::reading::tests::head;
    use super::*;
    use crate::rows::{Envelope, Machine};

    fn report() -> InspectReport {
        let mut rows =
            vec![head(0, 0, 0.0, 0.95, None), head(0, 1, 3.6, 0.0, Some(45.0)), head(1, 0, 1.8, 0.5, Some(1.0))];
        rows[2].window = Some(7);
        let machine = Machine::detect(2, "scalar");
        let envelope = Envelope { version: "0".into(), machine, command: "headwise inspect <toy>".into(), rows };
        let token = TokenRow { position: 3, text: "<b>\n".into(), share: 0.25, times_even: 4.0 };
        InspectReport { envelope, tokens: vec![token] }
    }

    #[test]
    fn cells_are_coloured_by_their_own_scale() {
        let report = report();
        let html = html(&PageInput { title: "Toy", report: &report, text: "a text", date: "today" });
        for cell in [r#">95</td>"#, r#"class="h10" title="layer 0, head 1, key-value head 0">3.6</td>"#] {
            assert!(html.contains(cell), "{cell} in {html}");
        }
        assert!(html.contains("<td>–</td>"), "no distance where nothing is left");
        assert!(html.contains(r#"<th scope="row">1 w</th>"#), "a layer with a window is marked");
        assert_eq!(html.matches("<article").count(), 4);
    }

    #[test]
    fn nothing_active_and_nothing_loaded() {
        let report = report();
        let html = html(&PageInput { title: "a <title>", report: &report, text: "<text>", date: "today" });
        assert!(html.contains("&lt;b&gt;⏎") && html.contains("headwise inspect &lt;toy&gt;"));
        assert!(!html.contains("<script") && !html.contains("http") && !html.contains("<b>"));
    }

    #[test]
    fn json_has_the_envelope_and_a_row_per_head() {
        let json = serde_json::to_value(report()).expect("a report serialises");
        let keys: Vec<_> = json.as_object().expect("an object").keys().collect();
        assert_eq!(keys, ["version", "machine", "command", "rows", "tokens"]);
        let row = &json["rows"][0];
        for field in ["model", "tokens", "layer", "head", "kv_head", "entropy", "even_entropy", "sink", "first_four"] {
            assert!(!row[field].is_null(), "{field}");
        }
        assert!(row["distance_of_rest"].is_null() && row["window"].is_null());
        assert_eq!(serde_json::from_value::<InspectReport>(json).expect("a report reads back"), report());
    }
}
