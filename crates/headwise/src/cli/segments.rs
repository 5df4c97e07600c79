//! Segments of a prompt as options: files that stand between what is said before and after them.

use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use headwise::engine::cache::CachePolicy;
use headwise::engine::pine::{SegmentPositions, SegmentedWords};
use headwise::engine::{Sequence, TextModel};

/// Options of a prompt with segments.
#[derive(Debug, Args)]
pub struct SegmentOptions {
    /// A file that stands after the prompt as one of several documents or options; name each. In what order they are named changes
    /// nothing
    #[arg(
        long = "segment",
        value_name = "FILE",
        conflicts_with_all = ["prompts", "beams", "opera", "sap", "confidence", "session", "save_session"],
    )]
    pub files: Vec<PathBuf>,
    /// What is said after the segments, for example a question about them
    #[arg(long, requires = "files", default_value = "")]
    suffix: String,
    #[command(flatten)]
    order: OrderOption,
}

/// Where segments, the argument `files`, stand.
#[derive(Debug, Args)]
pub struct OrderOption {
    /// Where segments stand: `pine` lets every head put those that matter to a token nearest to it, `ordinary` leaves them in the order
    /// named
    #[arg(long, value_name = "SPEC", default_value = "pine", requires = "files")]
    positions: String,
}

/// A text with segments, read so far that the rest is a prompt like any other.
pub struct Begun {
    pub sequence: Sequence,
    /// Tokens that are to be read next.
    pub ids: Vec<u32>,
    /// Tokens that have been read.
    pub read: Vec<u32>,
    /// How long that took.
    pub time: Duration,
}

impl SegmentOptions {
    /// A text of `prompt`, the segments and what follows them; with `raw` without the chat template.
    pub fn begin(
        &self,
        model: &TextModel,
        policy: &CachePolicy,
        prompt: &str,
        raw: bool,
    ) -> Result<Begun, Box<dyn Error>> {
        let segments = read_all(&self.files)?;
        let words = SegmentedWords { before: prompt, segments: &segments, after: &self.suffix, answer_start: "" };
        self.order.begin(model, policy, words, raw)
    }
}

impl OrderOption {
    /// The text that `words` make.
    pub fn begin(
        &self,
        model: &TextModel,
        policy: &CachePolicy,
        words: SegmentedWords<'_>,
        raw: bool,
    ) -> Result<Begun, Box<dyn Error>> {
        let positions: SegmentPositions = headwise::spec::from_text(&self.positions)?;
        let text = model.encode_segments(words, raw)?;
        let mut sequence = model.engine.sequence(policy)?;
        let started = Instant::now();
        let ids = positions.begin(&model.engine, &mut sequence, &text)?;
        let mut read = [text.prefix, text.segments.concat()].concat();
        read.truncate(sequence.tokens());
        Ok(Begun { sequence, ids, read, time: started.elapsed() })
    }
}

/// The texts of `files`, none of them empty.
pub fn read_all(files: &[PathBuf]) -> Result<Vec<String>, Box<dyn Error>> {
    let read = |path: &PathBuf| match super::read_text(path)? {
        text if text.is_empty() => Err(format!("{} is empty: a segment must have some text", path.display()).into()),
        text => Ok(text),
    };
    files.iter().map(read).collect()
}
