//! The report of a comparison of policies of scales: the answer first, then the pictures, then every number.

use headwise_tasks::ColouredShapes;

use super::table::decibels;
use super::{ScaleRow, Strip, answer};
use crate::report::escape;
use crate::report::page::{distinct, page, run, section};
use crate::report::picture::picture;
use crate::report::series::{Series, named};
use crate::report::tables;
use crate::rows::Envelope;
use crate::rows::quantity::{bytes, score};

/// What a report is made from.
#[derive(Clone, Copy, Debug)]
pub struct PageInput<'a> {
    /// Title of the page.
    pub title: &'a str,
    /// The rows, the machine and the command.
    pub envelope: &'a Envelope<ScaleRow>,
    /// What was drawn, in the order of the rows.
    pub strips: &'a [Strip],
    /// When the rows were measured, as it should be printed.
    pub date: &'a str,
}

/// The page: self-contained, without scripts.
pub fn html(input: &PageInput<'_>) -> String {
    let rows = &input.envelope.rows;
    let series = named(rows.iter().map(|row| row.policy.as_str()));
    let pictures: String =
        input.strips.iter().zip(&series).map(|(strip, series)| drawn(strip, series, input)).collect();
    let why = "<p>One picture of every class by the likeliest codes. What differs from the full cache’s is drawn beside it.</p>";
    let content = [
        format!(
            "<section class=\"answer\" aria-labelledby=\"answer\"><h2 id=\"answer\">The answer</h2><p>{}</p></section>\n",
            answer(rows).html()
        ),
        section("What they draw", "pictures", &format!("{why}{pictures}")),
        section("Every policy", "policies", &numbers(rows, &series)),
        section("What the words mean", "words", &definitions()),
        section("What was run", "run", &run(facts(rows), input.envelope, input.date)),
    ];
    let policies = rows.len().saturating_sub(1);
    let plural = if policies == 1 { "policy" } else { "policies" };
    let lead = format!("{policies} {plural} · {} · {}", input.date, input.envelope.machine.cpu);
    page(input.title, &lead, &content.concat())
}

/// The pictures of a policy; those that are not the full cache's are marked.
fn drawn(strip: &Strip, series: &Series, input: &PageInput<'_>) -> String {
    let size = ColouredShapes::SIZE;
    let each = 3 * size * size;
    let full = input.strips.first().map_or(&[][..], |strip| &strip.pixels);
    let picture = |(class, pixels): (usize, &[f32])| {
        let other = full.get(class * each..(class + 1) * each).is_some_and(|full| differs(full, pixels));
        let name = ColouredShapes::class_name(class % ColouredShapes::CLASSES);
        let shades: Vec<u8> = pixels.iter().map(|value| value.round() as u8).collect();
        let (mark, said) = if other { (" class=\"other\"", ", not as with the full cache") } else { ("", "") };
        format!("<li{mark}>{}</li>", picture(&shades, size, &format!("{name}{said}")))
    };
    let items: String = strip.pixels.chunks_exact(each).enumerate().map(picture).collect();
    format!("<h3>{}</h3><ul class=\"pictures\">{items}</ul>", series.tag())
}

/// Whether a reader could see a difference: a shade of a pixel by more than a tenth of the range.
fn differs(full: &[f32], found: &[f32]) -> bool {
    full.iter().zip(found).any(|(one, other)| (one - other).abs() > 25.5)
}

fn numbers(rows: &[ScaleRow], series: &[Series]) -> String {
    let head = [
        "policy",
        "KV %",
        "KV bytes",
        "peak KV",
        "codes %",
        "last map %",
        "PSNR dB",
        "class %",
        "drawn PSNR dB",
        "slots of the layers",
    ];
    let row = |(row, series): (&ScaleRow, &Series)| {
        let slots: Vec<String> = row.slots.iter().map(usize::to_string).collect();
        let cells = vec![
            score(row.kv_pct),
            bytes(row.kv_bytes),
            bytes(row.peak_kv_bytes),
            score(row.agreement),
            score(row.last_map_agreement),
            decibels(row.psnr),
            score(row.class_agreement),
            decibels(row.drawn_psnr),
            slots.join(", "),
        ];
        (series.tag(), cells)
    };
    tables::table(
        "What each policy holds and what it draws",
        &head.map(str::to_owned),
        rows.iter().zip(series).map(row),
    )
}

fn facts(rows: &[ScaleRow]) -> Vec<(&'static str, String)> {
    let listed = |scales: &[usize]| scales.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    let scales: Vec<String> = distinct(rows, |row| row.scales.clone()).iter().map(|scales| listed(scales)).collect();
    let n = distinct(rows, |row| row.n);
    let counts: Vec<String> = n.iter().map(|[likeliest, drawn]| format!("{likeliest} and {drawn}")).collect();
    let seeds: Vec<String> = distinct(rows, |row| row.seed).iter().map(u64::to_string).collect();
    vec![
        ("scales", scales.join("; ")),
        ("pictures", format!("{} (the likeliest codes, drawn with chance)", counts.join("; "))),
        ("seeds", seeds.join(", ")),
    ]
}

/// Every word of the report in one line each.
const DEFINITIONS: [(&str, &str); 7] = [
    (
        "policy",
        "What stays of keys and values of the maps so far before the next, larger map is drawn. The generator is the same.",
    ),
    (
        "KV %, KV bytes",
        "The most that was held between two scales, for one picture with and without its class, and its share of the full cache.",
    ),
    ("peak KV", "The most at any time: what is held and the map that is being drawn."),
    (
        "codes %, last map %",
        "Codes that are those of the full cache, over all maps and in the last, by the likeliest codes.",
    ),
    (
        "PSNR",
        "Peak signal to noise of the pictures to those of the full cache, over all of them; 25 dB is hard to see at this size.",
    ),
    (
        "class %",
        "Of pictures drawn with chance (top 50 codes, 95 %), those whose nearest clean picture is of the class that was asked for.",
    ),
    (
        "slots of the layers",
        "Slots of each head when the last scale is entered, layer by layer: drafters have many, refiners few.",
    ),
];

fn definitions() -> String {
    let item = |(word, meaning): &(&str, &str)| format!("<dt>{}</dt><dd>{}</dd>", escape(word), escape(meaning));
    format!("<dl>{}</dl>", DEFINITIONS.iter().map(item).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::super::subject::tests::subject;
    use super::*;
    use crate::rows::Machine;

    #[test]
    fn the_page_has_the_answer_every_picture_and_the_numbers() {
        let subject = subject();
        let full = subject.full();
        let hostile = ScaleRow { policy: "<img onerror=x>".into(), psnr: Some(f64::NAN), ..full.clone() };
        let pixels = subject.likeliest().pixels.clone();
        let mut changed = pixels.clone();
        changed[0] = 255.0 - changed[0];
        changed[1] = 255.0;
        changed[2] = 0.0;
        let strips =
            [Strip { policy: "full".into(), pixels }, Strip { policy: hostile.policy.clone(), pixels: changed }];
        let envelope = Envelope {
            version: "0.1.0".into(),
            machine: Machine::detect(2, "avx512"),
            command: "headwise compare scales".into(),
            rows: vec![full, hostile],
        };
        let page = html(&PageInput { title: "Scales", envelope: &envelope, strips: &strips, date: "today" });
        assert_eq!(page.matches("src=\"data:image/png;base64,").count(), 48);
        assert_eq!(page.matches("<li class=\"other\"").count(), 1);
        for part in [
            "The answer",
            "alt=\"red square\"",
            "not as with the full cache",
            "21, 21, 21, 21",
            "headwise compare scales",
        ] {
            assert!(page.contains(part), "{part} is missing");
        }
        for forbidden in ["<script", "<img onerror", "href=", "http"] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
    }
}
