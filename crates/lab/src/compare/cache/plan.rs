//! What a comparison will do, checked, and how long it will take.

use std::fmt;

use headwise_engine::cache::CachePolicy;

use super::cost::Costs;
use super::policies::policies;
use super::reader::readers;
use super::recall::SETTINGS;
use super::suite::Contents;
use super::{CompareError, Subject, Suite, Task, perplexity, speed};
use crate::rows::quantity::count;

/// Depths of answers, as shares of the text.
const DEPTHS: [f32; 5] = [0.0, 0.25, 0.5, 0.75, 1.0];

/// What is to be compared. The default is the quick suite with everything of its own.
#[derive(Clone, Debug, Default)]
pub struct CacheComparison {
    /// The suite.
    pub suite: Suite,
    /// Policies such as `snapkv(budget=512) + int8`; empty: those of the suites. `full` is always added.
    ///
    /// An evicting policy that does not say how much it keeps is taken at every share of `keep`.
    pub caches: Vec<String>,
    /// Shares kept; empty: those of the suite.
    pub keep: Vec<f64>,
    /// Tokens of context; empty: those of the suite that fit the model.
    pub lengths: Vec<usize>,
    /// Samples of every task, length and depth; `None`: as the suite says.
    pub samples: Option<usize>,
    /// Prose for perplexity, speed and haystacks; `None`: [`headwise_tasks::DEFAULT_TEXT`].
    pub text: Option<String>,
    /// Seed of everything random.
    pub seed: u64,
}

/// A checked comparison, ready to run.
#[derive(Debug)]
pub struct Plan<'a> {
    pub(super) subject: Subject<'a>,
    pub(super) policies: Vec<CachePolicy>,
    pub(super) items: Vec<Item>,
    pub(super) contents: Contents,
    pub(super) depths: Vec<f32>,
    pub(super) prose: String,
    /// Tokens of the running text, for perplexity and speed.
    pub(super) ids: Vec<u32>,
    pub(super) seed: u64,
}

/// A part of a comparison.
#[derive(Clone, Debug)]
pub struct Item {
    /// What is measured.
    pub work: Work,
    /// Estimated time in seconds.
    pub cost: f64,
}

/// What a part of a comparison measures, for all policies.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// Recall at all depths and in both settings.
    Recall {
        /// The task.
        task: Task,
        /// Tokens of context.
        length: usize,
    },
    /// Perplexity after a context.
    Perplexity {
        /// Tokens of context.
        length: usize,
    },
    /// Prefill and decode speed.
    Speed {
        /// Tokens of context.
        length: usize,
    },
}

impl CacheComparison {
    /// Checks everything against `subject` and estimates the time, which takes about a second.
    pub fn plan<'a>(&self, subject: Subject<'a>) -> Result<Plan<'a>, CompareError> {
        self.check_suite(&subject)?;
        let mut contents = self.suite.contents();
        contents.samples = self.samples.unwrap_or(contents.samples);
        if contents.samples == 0 {
            return Err(CompareError::NoSamples);
        }
        let lengths = self.lengths(&subject, contents.lengths)?;
        let longest = lengths.last().copied().unwrap_or(0);
        let keeps = if self.keep.is_empty() { contents.keeps } else { &self.keep };
        let policies = policies(&self.caches, keeps, longest)?;
        // What does not fit the model is said now.
        for policy in &policies {
            subject.engine().sequence(policy)?;
        }
        let prose = self.text.clone().unwrap_or_else(|| headwise_tasks::DEFAULT_TEXT.to_owned());
        let needed = perplexity::needed(longest).max(longest + speed::decoded(contents.repeats));
        let ids = subject.running_text(&prose, needed, self.seed)?;
        let read = perplexity::readable(&subject, longest);
        if contents.segments > 0 && ids.len() < perplexity::needed(read) {
            let needed = perplexity::needed(read);
            return Err(CompareError::TextTooShort { tokens: ids.len(), length: read, needed });
        }
        for task in &contents.tasks {
            // The shortest prompt is where a task does not fit.
            subject.prompt(task, lengths[0], None, self.seed, &prose)?;
        }
        let items = items(&contents, &lengths);
        let depths = DEPTHS.to_vec();
        let mut plan = Plan { subject, policies, items, contents, depths, prose, ids, seed: self.seed };
        plan.estimate()?;
        Ok(plan)
    }

    fn check_suite(&self, subject: &Subject<'_>) -> Result<(), CompareError> {
        let reason = match (self.suite, subject) {
            (Suite::Toy, Subject::Text(_)) => "it is for the induction model; leave the model out",
            (suite, Subject::Toy(_)) if suite != Suite::Toy => "it needs a language model; use --suite toy",
            _ => return Ok(()),
        };
        Err(CompareError::WrongSuite { suite: self.suite.name(), model: subject.name().into(), reason })
    }

    /// The lengths, ascending: those asked for, each of which must fit, or those of the suite that fit.
    fn lengths(&self, subject: &Subject<'_>, suite: &[usize]) -> Result<Vec<usize>, CompareError> {
        let (context, model) = (subject.engine().context(), subject.name());
        if let Some(&length) = self.lengths.iter().find(|&&length| length > context) {
            return Err(CompareError::AboveContext { length, context, model: model.into() });
        }
        let mut lengths = self.lengths.clone();
        if lengths.is_empty() {
            lengths.extend(suite.iter().filter(|&&length| length <= context));
        }
        if lengths.is_empty() {
            lengths.push(context);
        }
        lengths.sort_unstable();
        lengths.dedup();
        Ok(lengths)
    }
}

fn items(contents: &Contents, lengths: &[usize]) -> Vec<Item> {
    let longest = &lengths[lengths.len() - 1..];
    let recall =
        contents.tasks.iter().flat_map(|&task| lengths.iter().map(move |&length| Work::Recall { task, length }));
    let perplexity = longest.iter().filter(|_| contents.segments > 0).map(|&length| Work::Perplexity { length });
    let timed = if contents.speed_at_all { lengths } else { longest };
    let speed = timed.iter().map(|&length| Work::Speed { length });
    recall.chain(perplexity).chain(speed).map(|work| Item { work, cost: 0.0 }).collect()
}

impl Plan<'_> {
    /// The parts, in the order they run.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// The policies, `full` first.
    pub fn policies(&self) -> &[CachePolicy] {
        &self.policies
    }

    /// Estimated time of everything, in seconds.
    pub fn seconds(&self) -> f64 {
        self.items.iter().map(|item| item.cost).sum()
    }

    /// The same plan with answers at `depths` (0 to 1) instead of five evenly spread ones.
    pub fn with_depths(mut self, depths: &[f32]) -> Result<Self, CompareError> {
        self.depths = depths.to_vec();
        self.estimate()?;
        Ok(self)
    }

    /// Depths of a task; one `None` per sample where it draws the places itself.
    pub(super) fn depths_of(&self, task: &Task) -> Vec<Option<f32>> {
        if task.takes_depth() { self.depths.iter().copied().map(Some).collect() } else { vec![None] }
    }

    /// Samples at every depth; tasks without depths get as many samples as the others.
    pub(super) fn samples_of(&self, task: &Task) -> usize {
        self.contents.samples * if task.takes_depth() { 1 } else { self.depths.len() }
    }

    fn estimate(&mut self) -> Result<(), CompareError> {
        let costs = Costs::measure(self.subject.engine())?;
        let groups = readers(self.subject.engine(), &self.policies).len();
        let seconds: Vec<f64> = self.items.iter().map(|item| self.cost(&item.work, &costs, groups)).collect();
        for (item, seconds) in self.items.iter_mut().zip(seconds) {
            item.cost = seconds;
        }
        Ok(())
    }

    fn cost(&self, work: &Work, costs: &Costs, groups: usize) -> f64 {
        // Pairs that all policies together hold, as a share of the text.
        let held: f64 = self.policies.iter().map(|policy| policy.keep().unwrap_or(1.0)).sum();
        let steps = |steps: usize, length: usize| {
            let each = costs.step(self.policies.len().div_ceil(groups), held * length as f64 / groups as f64);
            (steps * groups) as f64 * each
        };
        match *work {
            Work::Recall { task, length } => {
                let prompts = self.depths_of(&task).len() * self.samples_of(&task);
                // About a third of the beginning is shared between depths; the second setting rereads little.
                let read = groups as f64 * costs.read(length, 0) * if task.takes_depth() { 0.75 } else { 1.1 };
                prompts as f64 * (read + SETTINGS.len() as f64 * steps(task.answer_tokens() / 2, length))
            }
            Work::Perplexity { length } => {
                let read = groups as f64 * costs.read(length, 0);
                self.contents.segments as f64 * (read + steps(perplexity::SCORED, length))
            }
            Work::Speed { length } => {
                let read = self.policies.len() as f64 * costs.read(length, 0);
                let tokens = speed::decoded(self.contents.repeats) as f64;
                let alone = |keep: f64| costs.step(1, keep * length as f64);
                let decode: f64 =
                    self.policies.iter().map(|policy| alone(policy.keep().unwrap_or(1.0)) + alone(1.0)).sum();
                read + tokens * decode
            }
        }
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Recall { task, length } => write!(f, "{} at {} tokens", task.name(), count(*length)),
            Self::Perplexity { length } => write!(f, "perplexity after {} tokens", count(*length)),
            Self::Speed { length } => write!(f, "speed at {} tokens", count(*length)),
        }
    }
}

impl fmt::Display for Plan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let threads = self.subject.engine().threads();
        let plural = if threads == 1 { "" } else { "s" };
        writeln!(f, "{} on {threads} thread{plural}, {} cache policies:", self.subject.name(), self.policies.len())?;
        for policy in &self.policies {
            writeln!(f, "  {policy}")?;
        }
        for item in &self.items {
            writeln!(f, "{:<44} about {}", item.work.to_string(), time(item.cost))?;
        }
        write!(f, "{:<44} about {}", "everything", time(self.seconds()))
    }
}

/// `40 s`, `7 min`, `2.5 h`.
fn time(seconds: f64) -> String {
    match seconds {
        s if s < 60.0 => format!("{:.0} s", s.max(1.0)),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

impl fmt::Debug for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
