//! The suites: named choices of tasks, lengths, shares and repetitions.

use std::fmt;
use std::str::FromStr;

use super::{CompareError, Task};

/// A named choice of what to measure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Suite {
    /// One needle in noise at 2k and 4k tokens, perplexity and speed at 4k.
    #[default]
    Quick,
    /// As quick, and needles in prose with several keys or values, and variable tracking.
    Standard,
    /// Every retrieval task at 4k.
    Ruler,
    /// Every retrieval task at 512 to 8k tokens, four shares per policy.
    Full,
    /// The hand-built induction model: exact answers, no tokenizer, no download.
    Toy,
}

/// What a suite measures.
#[derive(Clone, Debug)]
pub(super) struct Contents {
    pub tasks: Vec<Task>,
    /// Tokens of context.
    pub lengths: &'static [usize],
    /// Shares kept by every evicting policy.
    pub keeps: &'static [f64],
    /// Samples of every task, length and depth.
    pub samples: usize,
    /// Pieces of the text whose perplexity is measured; 0: none.
    pub segments: usize,
    /// Whether speed is measured at every length, or at the longest only.
    pub speed_at_all: bool,
    /// Runs of the decode speed.
    pub repeats: usize,
}

impl Suite {
    /// Every suite.
    pub const ALL: [Self; 5] = [Self::Quick, Self::Standard, Self::Ruler, Self::Full, Self::Toy];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Standard => "standard",
            Self::Ruler => "ruler",
            Self::Full => "full",
            Self::Toy => "toy",
        }
    }

    pub(super) fn contents(self) -> Contents {
        let named =
            |names: &[&str]| names.iter().filter_map(|name| headwise_tasks::find(name).ok().map(Task::Text)).collect();
        let quick = Contents {
            tasks: named(&["needle_single_1"]),
            lengths: &[2048, 4096],
            keeps: &[0.25, 0.1],
            samples: 1,
            segments: 2,
            speed_at_all: false,
            repeats: 2,
        };
        let every_task = || headwise_tasks::all().iter().copied().map(Task::Text).collect();
        match self {
            Self::Quick => quick,
            Self::Standard => Contents {
                tasks: named(&["needle_single_1", "needle_multikey_1", "needle_multivalue", "variable_tracking"]),
                segments: 4,
                repeats: 3,
                ..quick
            },
            Self::Ruler => Contents { tasks: every_task(), lengths: &[4096], segments: 4, repeats: 5, ..quick },
            Self::Full => Contents {
                tasks: every_task(),
                lengths: &[512, 1024, 2048, 4096, 8192],
                keeps: &[0.75, 0.5, 0.25, 0.1],
                segments: 4,
                speed_at_all: true,
                repeats: 5,
                ..quick
            },
            Self::Toy => Contents {
                tasks: vec![Task::Induction],
                lengths: &[512, 1024, 2048, 4096],
                samples: 4,
                segments: 0,
                speed_at_all: true,
                repeats: 3,
                ..quick
            },
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Suite {
    type Err = CompareError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|suite| suite.name() == name).ok_or_else(|| CompareError::UnknownSuite {
            name: name.into(),
            valid: Self::ALL.map(Self::name).join(", "),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_unknown_ones_named() {
        for suite in Suite::ALL {
            assert_eq!(suite.to_string().parse::<Suite>().unwrap(), suite);
        }
        let error = "quik".parse::<Suite>().unwrap_err().to_string();
        assert_eq!(error, "unknown suite `quik`; the suites are quick, standard, ruler, full, toy");
    }

    #[test]
    fn every_named_task_exists() {
        assert_eq!(Suite::Quick.contents().tasks.len(), 1);
        assert_eq!(Suite::Standard.contents().tasks.len(), 4);
        assert_eq!(Suite::Full.contents().tasks.len(), headwise_tasks::all().len());
    }
}
