//! What a comparison of mixers will do, checked.

use std::fmt;
use std::path::PathBuf;

use headwise_models::decoder::Decoder;
use headwise_nn::mixer::MixerSpec;
use headwise_train::data::SourceSpec;
use headwise_train::loss::Loss;
use headwise_train::objective::ObjectiveSpec;
use headwise_train::optimiser::AdamWSpec;
use headwise_train::schedule::Cosine;
use headwise_train::spec::{CheckpointSpec, DataSpec, Stage, TrainSpec};

use super::model::Frame;
use super::{MixersError, state, task};
use crate::rows::quantity::count;

/// The mixers of a comparison that names none: softmax, and memories with as many channels of keys as the default task has pairs:
/// with half as many `gla` learns it on one seed and not on the next, with four times as many all of them do.
///
/// Recall takes a key that knows the token before it. A short convolution gives it that; without one so small a model stays for
/// long at answering with any of the values it has seen.
pub const MIXERS: [&str; 4] = [
    "softmax(convolution=3)",
    "linear_attention(heads=1, key_dim=16, convolution=3)",
    "retention(heads=1, key_dim=16, convolution=3)",
    "gla(heads=1, key_dim=16, convolution=3)",
];

/// Sequences of a step.
const SEQUENCES: u64 = 64;

/// The largest learning rate of AdamW.
const LEARNING_RATE: f64 = 3e-3;

/// Share of the steps in which the learning rate rises.
const WARMUP: f64 = 0.1;

/// Share of the learning rate at the end.
const FLOOR: f64 = 0.05;

/// The norm of all gradients is brought down to this.
const CLIP: f64 = 1.0;

/// What is to be compared.
#[derive(Clone, Debug)]
pub struct MixerComparison {
    /// Mixers such as `gla(heads=2)`; empty: [`MIXERS`].
    pub mixers: Vec<String>,
    /// Tasks such as `multi_query_recall(pairs=8)`; empty: that with its defaults.
    pub tasks: Vec<String>,
    /// Tokens of a sequence in training.
    pub length: usize,
    /// Tokens of a sequence in tests, besides the length of training; empty: twice and four times that length.
    pub test_lengths: Vec<usize>,
    /// Steps of the optimiser.
    pub steps: u64,
    /// Channels of the decoders.
    pub dim: usize,
    /// Layers of the decoders.
    pub layers: usize,
    /// Runs of every mixer on every task, with the seeds from 0 on.
    pub seeds: u64,
    /// Sequences of a test.
    pub test_sequences: u64,
}

impl Default for MixerComparison {
    fn default() -> Self {
        Self {
            mixers: Vec::new(),
            tasks: Vec::new(),
            length: 48,
            test_lengths: Vec::new(),
            steps: 800,
            dim: 64,
            layers: 2,
            seeds: 1,
            test_sequences: 256,
        }
    }
}

/// A mixer in its decoder.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    /// Canonical text of the mixer.
    pub name: String,
    /// The mixer.
    pub mixer: MixerSpec,
    /// Inner width of the channel layers, chosen for equal parameters.
    pub hidden: usize,
    /// Parameters of the decoder.
    pub parameters: usize,
    /// Bytes that the decoder keeps of a text of each tested length, shortest first: keys and values in f16 for softmax
    /// attention, matrices in f32 for the others.
    pub state_bytes: Vec<u64>,
}

/// A task and the decoders that learn it.
#[derive(Clone, Debug)]
pub struct Contest {
    pub(super) name: String,
    pub(super) task: SourceSpec,
    pub(super) frame: Frame,
    pub(super) subjects: Vec<Subject>,
}

/// A checked comparison, ready to run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(super) contests: Vec<Contest>,
    /// Ascending; the length of training is one of them.
    pub(super) test_lengths: Vec<usize>,
    pub(super) comparison: MixerComparison,
}

impl MixerComparison {
    /// Checks everything and sizes the decoders, which takes no noticeable time.
    pub fn plan(&self) -> Result<Plan, MixersError> {
        let numbers = [
            ("--length", self.length as u64),
            ("--steps", self.steps),
            ("--dim", self.dim as u64),
            ("--layers", self.layers as u64),
            ("--seeds", self.seeds),
            ("--test-sequences", self.test_sequences),
        ];
        let lengths = self.test_lengths.iter().map(|&length| ("--test-lengths", length as u64));
        if let Some((option, _)) = numbers.into_iter().chain(lengths).find(|&(_, number)| number == 0) {
            return Err(MixersError::Zero { option });
        }
        let test_lengths = self.all_lengths();
        let tasks = named(&self.tasks, &task::TASKS[..1]);
        let contests = tasks.iter().map(|text| self.contest(text, &test_lengths)).collect::<Result<_, _>>()?;
        Ok(Plan { contests, test_lengths, comparison: self.clone() })
    }

    /// The lengths of the tests, that of training among them, ascending.
    fn all_lengths(&self) -> Vec<usize> {
        let mut lengths = self.test_lengths.clone();
        if lengths.is_empty() {
            lengths.extend([2, 4].map(|factor| self.length.saturating_mul(factor)));
        }
        lengths.push(self.length);
        lengths.sort_unstable();
        lengths.dedup();
        lengths
    }

    fn contest(&self, text: &str, lengths: &[usize]) -> Result<Contest, MixersError> {
        let task = task::parse(text)?;
        lengths.iter().try_for_each(|&length| task::check(&task, length))?;
        let vocabulary = task.vocabulary().unwrap_or_default() as usize;
        let context = lengths.last().copied().unwrap_or(self.length);
        let frame = Frame { vocabulary, dim: self.dim, layers: self.layers, context };
        let wanted = frame.parameters()?;
        let mut subjects: Vec<Subject> = Vec::new();
        for text in named(&self.mixers, &MIXERS) {
            let subject = subject(&frame, &text, wanted, lengths)?;
            if subjects.iter().all(|other| other.name != subject.name) {
                subjects.push(subject);
            }
        }
        Ok(Contest { name: headwise_spec::to_text(&task), task, frame, subjects })
    }
}

/// What was asked for, or what stands for nothing.
fn named(given: &[String], otherwise: &[&str]) -> Vec<String> {
    match given {
        [] => otherwise.iter().copied().map(str::to_owned).collect(),
        _ => given.to_vec(),
    }
}

fn subject(frame: &Frame, text: &str, wanted: usize, lengths: &[usize]) -> Result<Subject, MixersError> {
    let mixer: MixerSpec =
        headwise_spec::from_text(text).map_err(|source| MixersError::Mixer { mixer: text.into(), source })?;
    let hidden = frame.hidden(&mixer, wanted)?;
    let decoder: Decoder = frame.decoder(&mixer, hidden)?;
    Ok(Subject {
        name: headwise_spec::to_text(&mixer),
        hidden,
        parameters: burn::module::Module::num_params(&decoder),
        state_bytes: lengths.iter().map(|&length| state::state_bytes(decoder.spec(), length)).collect(),
        mixer,
    })
}

impl Plan {
    /// The lengths of the tests, ascending.
    pub fn test_lengths(&self) -> &[usize] {
        &self.test_lengths
    }

    /// The mixers on every task, in the order in which they run.
    pub fn subjects(&self) -> impl Iterator<Item = (&str, &Subject)> {
        self.contests.iter().flat_map(|contest| contest.subjects.iter().map(|subject| (contest.name.as_str(), subject)))
    }

    /// Decoders to be trained.
    pub fn runs(&self) -> u64 {
        self.subjects().count() as u64 * self.comparison.seeds
    }

    /// The training of one decoder.
    pub(super) fn training(&self, contest: &Contest, subject: &Subject, seed: u64) -> TrainSpec {
        let MixerComparison { length, steps, .. } = self.comparison;
        TrainSpec {
            folder: PathBuf::new(),
            seed,
            objective: ObjectiveSpec::default(),
            loss: Loss::default(),
            optimiser: AdamWSpec { learning_rate: LEARNING_RATE, ..AdamWSpec::default() }.into(),
            schedule: Cosine { warmup: (WARMUP * steps as f64) as u64, floor: FLOOR }.into(),
            clip: Some(CLIP),
            average: None,
            restraint: None,
            supernet: None,
            distil: None,
            model: contest.frame.model(&subject.mixer, subject.hidden),
            data: DataSpec { tokenizer: headwise_train::data::Bytes {}.into(), sources: vec![contest.task.clone()] },
            stages: vec![Stage { steps, sequences: SEQUENCES, length, parts: 1, sources: None }],
            evaluation: None,
            checkpoints: CheckpointSpec::default(),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MixerComparison { length, steps, seeds, dim, layers, .. } = self.comparison;
        let plural = |n: u64| if n == 1 { "" } else { "s" };
        writeln!(
            f,
            "{layers} layer{} of {dim} channels, {} steps of {SEQUENCES} sequences of {} tokens, {seeds} seed{}:",
            plural(layers as u64),
            count(usize::try_from(steps).unwrap_or(usize::MAX)),
            count(length),
            plural(seeds)
        )?;
        for contest in &self.contests {
            writeln!(f, "{}", contest.name)?;
            for Subject { name, parameters, hidden, .. } in &contest.subjects {
                writeln!(f, "  {name:<42} {} parameters, channel layers {hidden} wide", count(*parameters))?;
            }
        }
        let lengths: Vec<String> = self.test_lengths.iter().copied().map(count).collect();
        write!(f, "tested at {} tokens", lengths.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(comparison: MixerComparison) -> String {
        comparison.plan().unwrap_err().to_string()
    }

    #[test]
    fn the_default_compares_the_family_at_equal_parameters() {
        let plan = MixerComparison::default().plan().unwrap();
        assert_eq!(plan.test_lengths(), [48, 96, 192]);
        let names: Vec<&str> = plan.subjects().map(|(_, subject)| subject.name.as_str()).collect();
        assert_eq!(names, MIXERS);
        let sizes: Vec<usize> = plan.subjects().map(|(_, subject)| subject.parameters).collect();
        let (least, most) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
        assert!((most - least) as f64 <= super::super::model::TOLERANCE * *most as f64, "{sizes:?}");
        let text = plan.to_string();
        for part in ["2 layers of 64 channels", "1 seed", "tested at 48, 96, 192 tokens", "multi_query_recall"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn state_grows_for_softmax_and_stays_for_the_others() {
        let plan = MixerComparison { mixers: vec!["softmax(window=100)".into()], ..MixerComparison::default() };
        let states = |plan: Plan| plan.subjects().map(|(_, subject)| subject.state_bytes.clone()).collect::<Vec<_>>();
        // Two layers, keys and values of 64 channels in two bytes each.
        let token = 2 * 2 * 64 * 2;
        assert_eq!(states(plan.plan().unwrap()), [[48 * token, 96 * token, 100 * token]]);
        let all = states(MixerComparison::default().plan().unwrap());
        // The convolution keeps two tokens of queries, keys and values in four bytes each.
        let tails = |channels: u64| 2 * 2 * 4 * channels;
        assert_eq!(all[0], [48, 96, 192].map(|tokens| tokens * token + tails(3 * 64)));
        // A matrix of 16 × 64, for linear attention with its divisors, in each layer; retention's values are twice as wide.
        assert_eq!(all[1], [2 * 16 * 65 * 4 + tails(16 + 16 + 64); 3]);
        assert_eq!(all[2], [2 * 16 * 128 * 4 + tails(16 + 16 + 128); 3]);
        assert_eq!(all[3], [2 * 16 * 64 * 4 + tails(16 + 16 + 64); 3]);
    }

    #[test]
    fn mistakes_are_found_before_anything_runs() {
        let mixers = |text: &str| error(MixerComparison { mixers: vec![text.into()], ..MixerComparison::default() });
        let tasks = |text: &str| error(MixerComparison { tasks: vec![text.into()], ..MixerComparison::default() });
        let unknown = mixers("retenton");
        assert!(unknown.contains("--mixer retenton") && unknown.contains("retention"), "{unknown}");
        assert!(mixers("softmax(heads=7)").contains("--dim 64"));
        assert!(mixers("softmax(causal=false)").contains("not causal"));
        let unknown = tasks("multi_query_recal");
        assert!(unknown.contains("--task") && unknown.contains("multi_query_recall"), "{unknown}");
        assert!(tasks("needle").contains("no right answers") && tasks("markov").contains("no right answers"));
        assert!(tasks("shape_images(path=\"batch.bin\")").contains("without `path`"));
        let short = tasks("shape_images");
        assert!(short.contains("at 48 tokens") && short.contains("1024"), "{short}");
        assert!(tasks("multi_query_recall(pairs=40)").contains("at 48 tokens"));
        assert!(error(MixerComparison { seeds: 0, ..MixerComparison::default() }).contains("--seeds is 0"));
        let lengths = error(MixerComparison { test_lengths: vec![96, 12], ..MixerComparison::default() });
        assert!(lengths.contains("at 12 tokens"), "{lengths}");
    }

    #[test]
    fn a_mixer_named_twice_runs_once() {
        let mixers = ["gla(heads=4)", "gla", "softmax"].map(String::from).to_vec();
        let plan = MixerComparison { mixers, seeds: 3, ..MixerComparison::default() }.plan().unwrap();
        assert_eq!(plan.runs(), 6);
    }
}
