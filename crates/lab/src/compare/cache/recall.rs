//! Recall: can the answer still be read from the compressed cache?

use headwise_engine::cache::CachePolicy;

use super::answer::{read_on, write};
use super::progress::Clock;
use super::prompt::Prompt;
use super::reader::{Reader, readers};
use super::size::Size;
use super::{Answer, CompareError, Subject, Task};
use crate::rows::{CacheRow, Setting};

/// Both settings.
pub(super) const SETTINGS: [Setting; 2] = [Setting::Agnostic, Setting::Aware];

/// What is asked.
pub(super) struct Recall<'a> {
    pub subject: Subject<'a>,
    pub policies: &'a [CachePolicy],
    pub task: Task,
    pub length: usize,
    /// Where answers stand; one `None` for tasks that draw the place.
    pub depths: Vec<Option<f32>>,
    pub samples: usize,
    pub seed: u64,
    pub prose: &'a str,
}

/// Scores of one policy in one setting at one depth.
#[derive(Clone, Copy, Default)]
struct Cell {
    /// Score times expected answers.
    found: f64,
    answers: usize,
    size: Size,
}

impl Cell {
    fn add(&mut self, score: f64, answers: usize, size: Size) {
        self.found += score * answers as f64;
        self.answers += answers;
        self.size.add(size);
    }
}

/// What the policy at place `policy` answered, and the size of its cache at the end of the prompt.
struct Answered {
    policy: usize,
    ids: Vec<u32>,
    size: Size,
}

/// A prompt and the index of its depth.
struct Asked {
    depth: usize,
    prompt: Prompt,
}

impl Recall<'_> {
    /// One row per policy, setting and depth.
    pub fn run(&self, clock: &mut Clock<'_>) -> Result<Vec<CacheRow>, CompareError> {
        let names: Vec<String> = self.policies.iter().map(ToString::to_string).collect();
        let mut cells = vec![Cell::default(); names.len() * SETTINGS.len() * self.depths.len()];
        let asked = self.prompts()?;
        let mut readers = readers(self.subject.engine(), self.policies);
        let all: f64 = readers.iter().map(Reader::weight).sum::<f64>() * (asked.len() * SETTINGS.len()) as f64;
        let mut done = 0.0;
        for reader in &mut readers {
            for asked in &asked {
                for setting in SETTINGS {
                    clock.at(done / all, &self.doing(asked.depth));
                    done += reader.weight();
                    for answered in self.ask(reader, &asked.prompt, setting)? {
                        let Answered { policy, ids, size } = answered;
                        let prompt = &asked.prompt;
                        let score = prompt.score(&self.subject, &ids);
                        cells[self.index(policy, setting, asked.depth)].add(score, prompt.answers(), size);
                        clock.answered(&Answer {
                            policy: &names[policy],
                            task: self.task.name(),
                            setting,
                            length: self.length,
                            depth: self.depths[asked.depth],
                            prompt: &prompt.ids,
                            context: prompt.context,
                            ids: &ids,
                            score,
                        });
                    }
                }
            }
        }
        Ok(self.rows(&names, &cells))
    }

    /// Lets every policy of `reader` answer `prompt`.
    fn ask(&self, reader: &mut Reader<'_>, prompt: &Prompt, setting: Setting) -> Result<Vec<Answered>, CompareError> {
        let engine = self.subject.engine();
        let (read, rest) = match setting {
            Setting::Agnostic => prompt.ids.split_at(prompt.context),
            Setting::Aware => (&prompt.ids[..], &[][..]),
        };
        let mut texts = reader.read(read)?;
        let sizes: Vec<Size> = texts.iter().map(|text| Size::of(&text.sequence)).collect();
        read_on(engine, &mut texts, rest)?;
        let answers = write(engine, &mut texts, prompt.answer_tokens, self.subject.stop())?;
        let answered = reader.places().iter().zip(answers).zip(sizes);
        Ok(answered.map(|((&policy, ids), size)| Answered { policy, ids, size }).collect())
    }

    /// All prompts. Within a sample the deepest comes first: it shares its beginning with all others.
    fn prompts(&self) -> Result<Vec<Asked>, CompareError> {
        let mut asked = Vec::with_capacity(self.samples * self.depths.len());
        for sample in 0..self.samples {
            let seed = sample_seed(self.seed, sample);
            for depth in (0..self.depths.len()).rev() {
                let prompt = self.subject.prompt(&self.task, self.length, self.depths[depth], seed, self.prose)?;
                asked.push(Asked { depth, prompt });
            }
        }
        Ok(asked)
    }

    fn doing(&self, depth: usize) -> String {
        let at = self.depths[depth].map_or_else(String::new, |depth| format!(", depth {:.0} %", 100.0 * depth));
        format!("{} at {} tokens{at}", self.task.name(), self.length)
    }

    fn index(&self, policy: usize, setting: Setting, depth: usize) -> usize {
        (policy * SETTINGS.len() + setting as usize) * self.depths.len() + depth
    }

    fn rows(&self, names: &[String], cells: &[Cell]) -> Vec<CacheRow> {
        let mut rows = Vec::with_capacity(cells.len());
        for (policy, name) in names.iter().enumerate() {
            for setting in SETTINGS {
                for (index, depth) in self.depths.iter().enumerate() {
                    let (own, full) =
                        (&cells[self.index(policy, setting, index)], &cells[self.index(0, setting, index)]);
                    let score = |cell: &Cell| cell.found / cell.answers.max(1) as f64;
                    let row = CacheRow::new(name, self.subject.name(), self.task.name(), self.length, self.seed);
                    let mut row = row.with_recall(setting, score(own), score(full), own.answers as u64);
                    row.depth = depth.map(|depth| 100.0 * f64::from(depth));
                    own.size.describe(&mut row, &full.size);
                    rows.push(row);
                }
            }
        }
        rows
    }
}

/// The seed of a sample: the first has the comparison's own, and no two seeds share the others.
fn sample_seed(seed: u64, sample: usize) -> u64 {
    seed.wrapping_add((sample as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}
