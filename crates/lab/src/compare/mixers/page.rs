//! The report of a comparison of mixers: the answer first, then for each task the pictures and every number.

use super::answer::NEAR;
use super::charts::charts;
use super::{MixerRow, MixerSummary, Spread, answer, summarise};
use crate::report::escape;
use crate::report::page::{distinct, page, run, section};
use crate::report::series::{Series, named};
use crate::report::tables;
use crate::rows::Envelope;
use crate::rows::quantity::{bytes, count, length, or_absent, rate, score};

/// What a report is made from.
#[derive(Clone, Copy, Debug)]
pub struct PageInput<'a> {
    /// Title of the page.
    pub title: &'a str,
    /// The rows, the machine and the command.
    pub envelope: &'a Envelope<MixerRow>,
    /// When the rows were measured, as it should be printed.
    pub date: &'a str,
}

/// The page: self-contained, without scripts.
pub fn html(input: &PageInput<'_>) -> String {
    let rows = &input.envelope.rows;
    let summaries = summarise(rows);
    let mut content = answer_section(rows);
    for (index, mixers) in summaries.chunk_by(|a, b| a.task == b.task).enumerate() {
        let series = named(mixers.iter().map(|mixer| mixer.mixer.as_str()));
        let body = format!("{}{}", tasks_table(mixers, &series), charts(mixers, &series));
        content.push_str(&section(&escape(&mixers[0].task), &format!("task{index}"), &body));
    }
    content.push_str(&section("What the words mean", "words", &definitions()));
    content.push_str(&section("What was run", "run", &run(facts(rows), input.envelope, input.date)));
    let mixers = distinct(rows, |row| row.mixer.clone()).len();
    let plural = if mixers == 1 { "" } else { "s" };
    let lead = format!("{mixers} token mixer{plural} · {} · {}", input.date, input.envelope.machine.cpu);
    page(input.title, &lead, &content)
}

fn answer_section(rows: &[MixerRow]) -> String {
    let rule = format!(
        "How it was chosen: the least state at the longest test among the mixers within {NEAR:.0} points of the most accurate at the \
         length of training; among equals the faster. Decoders of equal size, trained on the same sequences."
    );
    format!(
        "<section class=\"answer\" aria-labelledby=\"answer\"><h2 id=\"answer\">The answer</h2><p>{}</p><p class=\"small\">{rule}</p></section>\n",
        answer(rows).html()
    )
}

/// One row per mixer; what matters most stands left.
fn tasks_table(mixers: &[MixerSummary], series: &[Series]) -> String {
    let tests = mixers.first().map_or(&[][..], |mixer| &mixer.tests);
    let mut head = vec!["mixer".to_owned()];
    head.extend(tests.iter().map(|test| format!("% right at {}", length(test.length))));
    head.extend(tests.iter().map(|test| format!("state at {}", length(test.length))));
    head.extend(["loss", "train tok/s", "parameters", "channel width"].map(str::to_owned));
    let row = |(mixer, series): (&MixerSummary, &Series)| {
        let mut cells: Vec<String> = mixer.tests.iter().map(|test| spread(test.accuracy, mixer.seeds)).collect();
        cells.extend(mixer.tests.iter().map(|test| bytes(test.state_bytes)));
        cells.extend([
            or_absent(mixer.trained(), |test| rate(test.loss)),
            rate(mixer.train_tok_s),
            count(mixer.parameters),
            count(mixer.hidden),
        ]);
        (series.tag(), cells)
    };
    tables::table("What each mixer learns, keeps and costs", &head, mixers.iter().zip(series).map(row))
}

/// The median, and its extremes over several seeds.
fn spread(spread: Spread, seeds: usize) -> String {
    match seeds {
        1 => score(spread.median),
        _ => format!(
            r#"{} <span class="small">{}–{}</span>"#,
            score(spread.median),
            score(spread.least),
            score(spread.most)
        ),
    }
}

fn facts(rows: &[MixerRow]) -> Vec<(&'static str, String)> {
    let numbers = |numbers: Vec<usize>| numbers.into_iter().map(count).collect::<Vec<_>>().join(", ");
    let seeds: Vec<String> = distinct(rows, |row| row.seed).iter().map(u64::to_string).collect();
    let steps = distinct(rows, |row| usize::try_from(row.steps).unwrap_or(usize::MAX));
    vec![
        ("tasks", distinct(rows, |row| row.task.clone()).join(", ")),
        ("trained at", format!("{} tokens", numbers(distinct(rows, |row| row.length)))),
        ("tested at", format!("{} tokens", numbers(distinct(rows, |row| row.test_length)))),
        ("answers", format!("{} in every test", numbers(distinct(rows, |row| row.n as usize)))),
        ("steps", numbers(steps)),
        ("seeds", seeds.join(", ")),
    ]
}

/// Every word of the report in one line each.
const DEFINITIONS: [(&str, &str); 8] = [
    (
        "mixer",
        "What moves information between tokens; the decoders differ in nothing else but the width of their channel layers.",
    ),
    (
        "% right at",
        "Answers whose token was the likeliest, in sequences of so many tokens that were not trained on: the median over the seeds, then the least and the most.",
    ),
    (
        "state at",
        "What the decoder must keep of one text of so many tokens: keys and values in f16 for softmax attention, matrices in f32 for the others.",
    ),
    (
        "loss",
        "Mean negative log-likelihood of the right answers at the length of training, in nats; the median over the seeds.",
    ),
    ("train tok/s", "Tokens trained on per second, the median over the steps and the seeds."),
    ("parameters", "Trainable numbers of the decoder: equal for all mixers to 2 %."),
    (
        "channel width",
        "Inner width of the layers that treat every token alone, chosen so that the parameters are equal.",
    ),
    ("seed", "Of the weights and of the sequences; all mixers see the same sequences under the same seed."),
];

fn definitions() -> String {
    let item = |(word, meaning): &(&str, &str)| format!("<dt>{}</dt><dd>{}</dd>", escape(word), escape(meaning));
    format!("<dl>{}</dl>", DEFINITIONS.iter().map(item).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::super::summary::tests::rows;
    use super::*;
    use crate::rows::Machine;

    fn page(rows: Vec<MixerRow>) -> String {
        let machine = Machine::detect(2, "avx512");
        let command = "headwise compare mixers --seeds 3".into();
        let envelope = Envelope { version: "0.1.0".into(), machine, command, rows };
        html(&PageInput { title: "Mixers", envelope: &envelope, date: "today" })
    }

    #[test]
    fn the_page_has_the_answer_the_numbers_and_four_pictures() {
        let html = page(rows());
        for part in [
            "use <code>softmax</code>",
            "99.5 <span class=\"small\">98–100</span>",
            "Loss over the run",
            "Accuracy by length",
            "Accuracy against state",
            "Accuracy against training speed",
            "48.0 KiB",
            "linear_<wbr>attention",
            "--seeds 3",
        ] {
            assert!(html.contains(part), "{part} is missing");
        }
        assert_eq!(html.matches("<svg class=\"chart\"").count(), 4);
        assert!(html.find("The answer") < html.find("Loss over the run"));
        for forbidden in ["<script", "src=", "href=", "http"] {
            assert!(!html.contains(forbidden), "{forbidden}");
        }
    }

    #[test]
    fn odd_rows_make_a_page_and_nothing_active() {
        let mut hostile = rows();
        for row in &mut hostile {
            row.task = "<img src=x>".into();
            (row.accuracy, row.train_tok_s) = (f64::NAN, f64::INFINITY);
            row.curve = None;
        }
        let html = page(hostile);
        assert!(!html.contains("<img") && !html.contains("NaN") && !html.contains("inf\""), "{html}");
        assert!(page(Vec::new()).contains("The answer"));
    }
}
