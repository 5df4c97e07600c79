//! What is measured of a policy, and what may be claimed from it.
//!
//! A difference to the full cache is claimed only if its 95 % interval excludes zero: Newcombe's interval for recall, the
//! paired bootstrap's for perplexity.

use super::interval::{difference, wilson};
use super::{GATE, Setting};

/// Recall over `n` expected answers, and the full cache's on the same.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recall {
    /// Share found, 0–100.
    pub score: f64,
    /// Share the full cache found, where it was run.
    pub full_score: Option<f64>,
    /// Expected answers.
    pub n: u64,
}

impl Recall {
    /// Wilson's 95 % interval of the score.
    pub fn ci95(&self) -> [f64; 2] {
        wilson(self.score, self.n)
    }

    /// Whether the full cache can do the task at all, so that a comparison means something.
    pub fn conclusive(&self) -> bool {
        self.full_score.is_some_and(|full| full >= GATE)
    }

    /// Difference to the full cache in points, if [`conclusive`](Self::conclusive).
    pub fn delta(&self) -> Option<f64> {
        self.full_score.filter(|_| self.conclusive()).map(|full| self.score - full)
    }

    /// Share of the full cache's recall that is kept, if [`conclusive`](Self::conclusive).
    pub fn kept(&self) -> Option<f64> {
        self.full_score.filter(|_| self.conclusive()).map(|full| self.score / full)
    }

    /// Whether the 95 % interval of the difference to the full cache excludes zero.
    pub fn differs(&self) -> bool {
        self.full_score.filter(|_| self.conclusive()).is_some_and(|full| {
            let [low, high] = difference(self.score, full, self.n);
            low > 0.0 || high < 0.0
        })
    }

    /// The mean over several, weighted by their numbers of answers. `None` if there are none.
    pub fn pool<'a>(parts: impl IntoIterator<Item = &'a Recall>) -> Option<Recall> {
        let (mut n, mut found, mut full) = (0, 0.0, Some(0.0));
        for part in parts {
            n += part.n;
            found += part.score * part.n as f64;
            full = full.zip(part.full_score).map(|(sum, score)| sum + score * part.n as f64);
        }
        (n > 0).then(|| Recall { score: found / n as f64, full_score: full.map(|sum| sum / n as f64), n })
    }
}

/// Recall of one policy on one task, setting and length.
#[derive(Clone, Debug, PartialEq)]
pub struct RecallGroup {
    /// The task.
    pub task: String,
    /// What the policy knew of the question.
    pub setting: Option<Setting>,
    /// Tokens of context.
    pub t: usize,
    /// Over all depths and seeds.
    pub recall: Recall,
    /// Mean size of the cache in percent of `full` in f16.
    pub kv_pct: Option<f64>,
}

/// Perplexity of one policy after one length of context.
#[derive(Clone, Debug, PartialEq)]
pub struct Perplexity {
    /// The task.
    pub task: String,
    /// Tokens of context before the scored ones.
    pub t: usize,
    /// The perplexity (geometric mean over the seeds).
    pub score: f64,
    /// The full cache's.
    pub full_score: Option<f64>,
    /// 95 % interval of the score, paired with the full cache.
    pub ci95: Option<[f64; 2]>,
    /// Tokens scored.
    pub n: u64,
    /// Mean size of the cache in percent of `full` in f16.
    pub kv_pct: Option<f64>,
}

impl Perplexity {
    /// Whether the full cache's perplexity lies outside the interval.
    pub fn differs(&self) -> bool {
        self.full_score.zip(self.ci95).is_some_and(|(full, [low, high])| full < low || full > high)
    }

    /// Perplexity relative to the full cache's.
    pub fn relative(&self) -> Option<f64> {
        self.full_score.map(|full| self.score / full)
    }
}

/// Speed of one policy at one length: medians over the runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Speed {
    /// Tokens of context.
    pub t: usize,
    /// Prompt tokens read per second.
    pub prefill_tok_s: Option<f64>,
    /// Tokens decoded per second.
    pub tok_s: Option<f64>,
    /// Pairs that decoded tokens read, in percent of those held, where a policy chooses them.
    pub read_pct: Option<f64>,
    /// Decode speed divided by the full cache's, measured in turns with it.
    pub ratio: Option<f64>,
    /// Median time of a decoded token in milliseconds.
    pub p50_ms: Option<f64>,
    /// 95th percentile of that time.
    pub p95_ms: Option<f64>,
    /// Processor time of the prompt in seconds.
    pub prefill_cpu_s: Option<f64>,
    /// Processor time of a decoded token in milliseconds.
    pub cpu_ms: Option<f64>,
}

/// Size of the cache at one length.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Memory {
    /// Tokens of context.
    pub t: usize,
    /// Percent of `full` in f16.
    pub kv_pct: Option<f64>,
    /// Bytes after the prompt.
    pub kv_bytes: Option<u64>,
    /// Most bytes at any time.
    pub peak_kv_bytes: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_differences_beyond_the_interval_are_claimed() {
        let recall = |score, n| Recall { score, full_score: Some(100.0), n };
        assert!(!recall(90.0, 10).differs() && recall(20.0, 10).differs());
        assert!(!Recall { score: 0.0, full_score: Some(50.0), n: 1000 }.differs(), "inconclusive");
        let ppl = |ci95| Perplexity {
            task: String::new(),
            t: 1,
            score: 12.0,
            full_score: Some(10.0),
            ci95,
            n: 128,
            kv_pct: None,
        };
        assert!(ppl(Some([11.0, 13.0])).differs());
        assert!(!ppl(Some([9.9, 14.0])).differs());
        assert!(!ppl(None).differs());
    }
}
