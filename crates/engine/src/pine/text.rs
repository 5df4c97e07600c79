//! A text with a set of segments in words, and how the positions of the segments are named.

use headwise_models::chat::Message;
use headwise_models::tokenizer::{AddBos, Encode};

use super::SegmentsError;
use crate::{Engine, EngineError, Sequence, TextError, TextModel};

headwise_spec::method! {
    /// Every head puts the segments in an order of its own, the most important one nearest to the token that looks.
    ///
    /// Scores are the same, bit for bit, in whatever order the segments are given. Costs one more pass over the keys of the segments, which
    /// are kept a second time, without positions. With storage codecs only. SmolLM2-135M picks the right one of three
    /// short documents that are alike less often with it (I13). Wang et al. 2024, arXiv:2407.01100.
    pub struct Pine {}
}

headwise_spec::method! {
    /// Segments stand in the order given, as in any other text.
    pub struct Ordinary {}
}

headwise_spec::family! {
    /// Where the segments of a set stand.
    pub enum SegmentPositions: "segment_positions" {
        pine => Pine,
        ordinary => Ordinary,
    }
}

impl SegmentPositions {
    /// Reads what of `text` has to be read together into `sequence`; returns the tokens that are to be read next, at least one.
    pub fn begin(
        &self,
        engine: &Engine,
        sequence: &mut Sequence,
        text: &SegmentedText,
    ) -> Result<Vec<u32>, EngineError> {
        let SegmentedText { prefix, segments, suffix } = text;
        if suffix.is_empty() {
            return Err(SegmentsError::NothingAfter.into());
        }
        let ids = text.ids();
        engine.check_text(sequence.tokens(), &ids)?;
        match self {
            Self::Pine(_) => {
                engine.read_segments(sequence, prefix, segments)?;
                Ok(suffix.clone())
            }
            Self::Ordinary(_) => Ok(ids),
        }
    }
}

/// What a user says with a set of segments in it.
#[derive(Clone, Copy, Debug)]
pub struct SegmentedWords<'a> {
    /// Before the segments.
    pub before: &'a str,
    /// The segments.
    pub segments: &'a [String],
    /// After them.
    pub after: &'a str,
    /// How the answer begins.
    pub answer_start: &'a str,
}

/// The tokens of a text with a set of segments in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SegmentedText {
    /// Before the segments.
    pub prefix: Vec<u32>,
    /// Of every segment.
    pub segments: Vec<Vec<u32>>,
    /// After them.
    pub suffix: Vec<u32>,
}

impl SegmentedText {
    /// All tokens, the segments in the order given.
    pub fn ids(&self) -> Vec<u32> {
        [self.prefix.clone(), self.segments.concat(), self.suffix.clone()].concat()
    }
}

/// The tokens of a text in the middle of another.
const INNER: Encode = Encode { add_bos: AddBos::Never, parse_special: false };

impl TextModel {
    /// The tokens of a user's turn with segments in it, ready for the answer; with `raw`, or without a chat template, of the text itself.
    ///
    /// A line ends before, between and after segments: a line break is added where there is none. The tokens of a segment depend on
    /// nothing but its text.
    pub fn encode_segments(&self, words: SegmentedWords<'_>, raw: bool) -> Result<SegmentedText, TextError> {
        // A character that no text has, in the place of the segments.
        const PLACE: &str = "\u{10fffd}";
        let SegmentedWords { before, segments, after, answer_start } = words;
        let before = line(before);
        let Some(template) = self.template.as_ref().filter(|_| !raw) else {
            return self.encode_around(&before, segments, &format!("{after}{answer_start}"), true);
        };
        let turn = template.render_continuation(&[Message::user(format!("{before}{PLACE}{after}"))], answer_start)?;
        let (before, after) = turn.split_once(PLACE).unwrap_or(("", &turn));
        self.encode_around(before, segments, after, false)
    }

    /// The tokens of `segments` between two texts, which a chat template has written or, if `raw`, which are as they are. What stands before
    /// the segments should end a line.
    pub fn encode_around(
        &self,
        before: &str,
        segments: &[String],
        after: &str,
        raw: bool,
    ) -> Result<SegmentedText, TextError> {
        let inner = |text: &str| Ok::<_, TextError>(self.tokenizer.encode(text, INNER)?);
        let segments = segments.iter().map(|text| inner(&line(text))).collect::<Result<_, _>>()?;
        let encode = |text: &str| Ok::<_, TextError>(self.tokenizer.encode(text, Encode::TEMPLATE)?);
        let (prefix, suffix) = match raw {
            true => (self.encode(before)?, inner(after)?),
            false => (encode(before)?, encode(after)?),
        };
        Ok(SegmentedText { prefix, segments, suffix })
    }
}

/// `text` with a line break at its end, unless it is empty.
fn line(text: &str) -> String {
    let missing = !text.is_empty() && !text.ends_with('\n');
    format!("{text}{}", if missing { "\n" } else { "" })
}

#[cfg(test)]
mod tests {
    use headwise_models::decoder::Weights;

    use super::*;

    #[test]
    fn the_family_keeps_its_promises() {
        headwise_spec::check_family::<SegmentPositions>();
    }

    #[test]
    fn tokens_of_a_segment_are_its_own() {
        let model = TextModel::embedded(Weights::Stored, 1).unwrap();
        let segments = ["One text.".to_owned(), "Another one.\n".to_owned()];
        let words =
            SegmentedWords { before: "Two texts:", segments: &segments, after: "What now?", answer_start: " We" };
        let text = model.encode_segments(words, true).unwrap();
        assert_eq!(model.tokenizer.decode(&text.segments[0], false), "One text.\n");
        assert_eq!(model.tokenizer.decode(&text.segments[1], false), "Another one.\n");
        assert_eq!(text.prefix, model.encode("Two texts:\n").unwrap());
        assert_eq!(model.tokenizer.decode(&text.suffix, false), "What now? We");
        let turned = [segments[1].clone(), segments[0].clone()];
        let turned = model.encode_segments(SegmentedWords { segments: &turned, ..words }, true).unwrap();
        assert_eq!(turned.segments, [text.segments[1].clone(), text.segments[0].clone()]);
        let empty = SegmentedWords { before: "", segments: &[], after: "", answer_start: "" };
        let empty = model.encode_segments(empty, true).unwrap();
        assert!(empty.suffix.is_empty());
    }
}
