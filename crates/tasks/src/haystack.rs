//! Haystacks: the lines a needle hides among, and their joining.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;

use crate::task::TaskError;

/// The line that a noise haystack repeats (RULER).
pub(crate) const NOISE: &str =
    "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.";

/// What a needle hides among.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Haystack {
    /// One line of five short sentences, repeated; lines joined by a newline.
    Noise,
    /// Sentences of natural prose, in order and repeated if need be; joined by a space.
    Essay,
    /// Sentences like the needle with other keys and values; joined by a newline.
    Needle,
}

impl Haystack {
    /// What stands between two lines.
    pub(crate) fn separator(self) -> &'static str {
        match self {
            Self::Noise | Self::Needle => "\n",
            Self::Essay => " ",
        }
    }
}

/// The sentences of `text` by the rules of UAX #29, each on one line.
///
/// A single line break inside a paragraph counts as a space; an empty line ends the paragraph.
pub(crate) fn sentences(text: &str, task: &'static str) -> Result<Vec<String>, TaskError> {
    let text = text.replace("\r\n", "\n");
    let paragraphs = text.split("\n\n").map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "));
    let sentences: Vec<String> = paragraphs
        .flat_map(|paragraph| {
            let sentences = paragraph.unicode_sentences();
            sentences.map(|sentence| sentence.trim().to_owned()).collect::<Vec<_>>()
        })
        .collect();
    if sentences.is_empty() {
        return Err(TaskError::Text { task, unit: "sentence", needed: 1, found: 0 });
    }
    Ok(sentences)
}

/// A line put into a haystack.
pub(crate) struct Insertion {
    /// Share of the haystack's lines that stand before it, 0 to 1.
    pub(crate) depth: f64,
    /// The line.
    pub(crate) text: String,
}

/// Appends `lines` with the insertions between them to `context`; returns where in `context` each insertion stands.
///
/// An insertion at depth `x` of `n` lines comes before line `⌊x n⌋`; equal places keep their order.
pub(crate) fn append<'a>(
    context: &mut String,
    lines: impl ExactSizeIterator<Item = &'a str>,
    separator: &str,
    insertions: &[Insertion],
) -> Vec<Range<usize>> {
    let count = lines.len();
    let place = |insertion: &Insertion| (insertion.depth * count as f64) as usize;
    let mut order: Vec<usize> = (0..insertions.len()).collect();
    order.sort_by_key(|&index| place(&insertions[index]));
    let mut waiting = order.into_iter().peekable();

    let mut spans = vec![0..0; insertions.len()];
    let first = context.len();
    let mut push = |line: &str| {
        if context.len() > first {
            context.push_str(separator);
        }
        let start = context.len();
        context.push_str(line);
        start..context.len()
    };
    for (number, line) in lines.enumerate() {
        while let Some(index) = waiting.next_if(|&index| place(&insertions[index]) <= number) {
            spans[index] = push(&insertions[index].text);
        }
        push(line);
    }
    for index in waiting {
        spans[index] = push(&insertions[index].text);
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_whole_and_on_one_line() {
        let text = "I. HEADING\r\n\r\nFirst of all, it\r\nwraps. \"Second!\" Third?\n\n* * *\n\nLast";
        let found = sentences(text, "test").unwrap();
        assert_eq!(found, ["I.", "HEADING", "First of all, it wraps.", "\"Second!\"", "Third?", "Last"]);
        assert!(matches!(sentences(" \n\n ", "test"), Err(TaskError::Text { .. })));
    }

    #[test]
    fn insertions_stand_at_their_depth() {
        let insertion = |depth, text: &str| Insertion { depth, text: text.into() };
        let insertions =
            [insertion(1.0, "end"), insertion(0.0, "start"), insertion(0.5, "middle"), insertion(0.5, "second")];
        let mut context = String::from("> ");
        let spans = append(&mut context, ["a", "b", "c", "d"].into_iter(), "|", &insertions);
        assert_eq!(context, "> start|a|b|middle|second|c|d|end");
        let found: Vec<&str> = spans.into_iter().map(|span| &context[span]).collect();
        assert_eq!(found, ["end", "start", "middle", "second"]);
    }
}
