//! Laws of the whole page, on synthetic rows of every shape.

use super::sample::{QUICK, envelope, rows};
use super::*;
use crate::rows::Setting;

fn page(rows: Vec<CacheRow>) -> String {
    let notes = ["Synthetic numbers for a test.".to_owned(), "sha256 0123abcd model.gguf".to_owned()];
    html(&ReportInput { title: "Cache policies", envelope: &envelope(rows), date: "2026-11-21", notes: &notes })
}

/// Every opened element is closed, in order; attributes are quoted. A page that parses this way parses in a browser.
fn assert_well_formed(html: &str) {
    let mut open: Vec<&str> = Vec::new();
    let body = html.split_once("</style>").expect("a style sheet").1;
    for (start, _) in body.match_indices('<') {
        let tag = &body[start + 1..start + body[start..].find('>').expect("a tag ends")];
        assert_eq!(tag.matches('"').count() % 2, 0, "quotes in <{tag}>");
        let name = tag.split([' ', '/']).next().unwrap_or_default();
        if let Some(closed) = tag.strip_prefix('/') {
            let expected = if closed == "head" || closed == "html" { closed } else { open.pop().unwrap_or("nothing") };
            assert_eq!(closed, expected, "near {}", &body[start.saturating_sub(80)..start]);
        } else if !tag.ends_with('/') && !["wbr", "meta"].contains(&name) {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn the_page_is_complete_and_self_contained() {
    let html = page(rows(&QUICK, &[2048, 4096], false));
    assert_well_formed(&html);
    for forbidden in ["<script", "src=", "href=", "url(", "@import", "http:", "https:"] {
        assert!(!html.contains(forbidden), "{forbidden}");
    }
    for policy in QUICK {
        assert!(html.contains(&markup::code(policy.0)), "{} is missing", policy.0);
    }
    for needed in [
        "sha256 0123abcd",
        "headwise compare cache --model",
        "Example CPU",
        "2026-11-21",
        "Recall, agnostic",
        "Recall, aware",
        "Perplexity against KV bytes",
    ] {
        assert!(html.contains(needed), "{needed}");
    }
    assert!(html.find("The answer").expect("an answer") < html.find("Every policy").expect("a table"));
}

#[test]
fn every_text_is_escaped() {
    let evil = "<img src=x onerror='a'>\"&";
    let mut hostile = rows(&QUICK[..3], &[512, 1024], true);
    for row in &mut hostile {
        row.policy = format!("{}{evil}", row.policy);
        (row.model, row.version) = (evil.to_owned(), evil.to_owned());
        row.task.push_str(evil);
    }
    let mut envelope = envelope(hostile);
    envelope.machine.cpu = evil.to_owned();
    envelope.machine.os = evil.to_owned();
    envelope.machine.simd = evil.to_owned();
    (envelope.command, envelope.version) = (evil.to_owned(), evil.to_owned());
    let notes = [evil.to_owned(), format!("sha256 {evil}")];
    let html = html(&ReportInput { title: evil, envelope: &envelope, date: evil, notes: &notes });
    assert!(!html.contains("<img") && !html.contains("'a'") && html.contains("&lt;img"));
    assert_well_formed(&html);
}

#[test]
fn every_shape_of_rows_makes_a_page() {
    let all = || rows(&QUICK, &[1024, 2048, 4096], true);
    let without = |task: &str| all().into_iter().filter(|row| row.task != task).collect::<Vec<_>>();
    let mut toy = all();
    for row in &mut toy {
        row.task = row.task.replace("needle_single_1", "induction_pairs");
        row.depth = None;
    }
    let mut inconclusive = all();
    for row in inconclusive.iter_mut().filter(|row| row.depth.is_some()) {
        (row.full_score, row.delta) = (Some(40.0), None);
    }
    let mut broken = all();
    for row in &mut broken {
        (row.score, row.kv_pct, row.tok_s) = (row.score.map(|_| f64::NAN), Some(f64::INFINITY), Some(f64::NAN));
    }
    let mut many = Vec::new();
    for i in 0..24 {
        for mut row in rows(&QUICK[1..2], &[2048, 4096], true) {
            row.policy = format!("policy_number_{i}(keep=0.25, window=32) + kivi4");
            many.push(row);
        }
    }
    let single = rows(&QUICK[..1], &[512], false);
    for (name, rows) in [
        ("without perplexity", without("perplexity")),
        ("without speed", without("speed")),
        ("without recall", without("needle_single_1")),
        ("toy", toy),
        ("inconclusive", inconclusive),
        ("not numbers", broken),
        ("many", many),
        ("single", single),
        ("none", Vec::new()),
    ] {
        let html = page(rows);
        assert_well_formed(&html);
        assert!(!html.contains("NaN") && !html.contains("inf\"") && !html.contains("infinity"), "{name}");
    }
}

#[test]
fn inconclusive_recall_is_said_and_not_drawn() {
    let mut rows = rows(&QUICK, &[2048], false);
    for row in rows.iter_mut().filter(|row| row.setting == Some(Setting::Agnostic)) {
        (row.full_score, row.delta) = (Some(20.0), None);
    }
    let html = page(rows);
    assert!(html.contains("Recall in the agnostic setting is inconclusive"));
    assert!(!html.contains("<strong>Recall, agnostic</strong>") && html.contains("<strong>Recall, aware</strong>"));
    assert!(html.contains("<td>inconclusive</td>"));
}

#[test]
fn the_same_rows_make_the_same_page() {
    assert_eq!(page(rows(&QUICK, &[2048, 4096], true)), page(rows(&QUICK, &[2048, 4096], true)));
}

/// Writes sample pages where `REPORT_SAMPLE` points, to look at them.
#[test]
fn writes_samples_when_asked() {
    let Some(directory) = std::env::var_os("REPORT_SAMPLE").map(std::path::PathBuf::from) else { return };
    let many: Vec<CacheRow> = [0.25, 0.1]
        .into_iter()
        .flat_map(|keep| {
            rows(&QUICK, &[512, 1024, 2048, 4096, 8192], true).into_iter().map(move |mut row| {
                row.policy = if row.policy == "full" { row.policy } else { format!("{} + tag{keep}", row.policy) };
                row.kv_pct = row.kv_pct.map(|kv| if row.policy == "full" { kv } else { kv * (0.7 + keep) });
                row
            })
        })
        .collect();
    for (name, rows) in [("report-sample.html", rows(&QUICK, &[2048, 4096], false)), ("report-many.html", many)] {
        std::fs::write(directory.join(name), page(rows)).expect("the directory is writable");
    }
}
