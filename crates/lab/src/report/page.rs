//! What every report has: the page around its sections, and how to run it again.

use std::collections::BTreeSet;

use super::markup::escape;
use crate::rows::Envelope;
use crate::rows::quantity::bytes;

const STYLE: &str = include_str!("style.css");

/// A whole page; `content` is HTML, the other two are text.
pub fn page(title: &str, lead: &str, content: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <header><h1>{title}</h1><p class=\"lead\">{lead}</p></header>\n{content}</main>\n</body>\n</html>\n",
        title = escape(title),
        lead = escape(lead),
    )
}

/// A section with a heading; `content` is HTML.
pub fn section(title: &str, id: &str, content: &str) -> String {
    format!("<section aria-labelledby=\"{id}\"><h2 id=\"{id}\">{title}</h2>{content}</section>\n")
}

/// What was run, where, and the command to run it again; `facts` come first.
pub fn run<R>(mut facts: Vec<(&str, String)>, envelope: &Envelope<R>, date: &str) -> String {
    let machine = &envelope.machine;
    let memory = machine.memory_bytes.map_or_else(String::new, |memory| format!(", {} of memory", bytes(memory)));
    facts.extend([
        (
            "machine",
            format!("{}, {} of {} cores, {}{memory}", machine.cpu, machine.threads, machine.cores, machine.simd),
        ),
        ("system", machine.os.clone()),
        ("date", date.to_owned()),
        ("version", envelope.version.clone()),
    ]);
    let facts: String =
        facts.iter().map(|(name, value)| format!("<dt>{name}</dt><dd>{}</dd>", escape(value))).collect();
    format!(
        "<dl class=\"facts\">{facts}</dl><p>To run it again:</p><pre tabindex=\"0\"><code>{}</code></pre>",
        escape(&envelope.command)
    )
}

/// The values of all rows, each once, in order.
pub fn distinct<R, T: Ord>(rows: &[R], value: impl Fn(&R) -> T) -> Vec<T> {
    rows.iter().map(value).collect::<BTreeSet<T>>().into_iter().collect()
}
