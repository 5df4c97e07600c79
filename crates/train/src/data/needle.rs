//! Needles in a haystack as training texts: a haystack with needles, then questions about some of them with their answers.

use headwise_tasks::{Request, Sample, TaskError, find};
use rand::RngExt;
use rand::seq::index;

use super::text::{self, Text};
use super::{Codec, DataError, Slot, Source, SourceMethod};
use crate::draws::{Draws, Purpose, draws};
use crate::objective::Document;

headwise_spec::method! {
    /// Needles in a haystack with questions and answers, in the words of the needle tasks.
    pub struct Needle {
        /// The tasks: their names, drawn from alike.
        pub tasks: Vec<String> = vec!["needle_single_1".to_owned()],
        /// Most questions about one haystack.
        pub questions: usize = 4,
        /// A file or folder with the prose of haystacks; none takes the built-in text.
        pub path: Option<String> = None,
        /// Files whose path contains one of these are left out.
        pub exclude: Vec<String> = Vec::new(),
        /// How much a token of the haystack and the questions counts; one of an answer counts 1.
        pub context_weight: f64 = 0.1,
        /// Share of the sequences, compared with the other sources.
        pub weight: f64 = 1.0,
    }
}

impl SourceMethod for Needle {
    fn path(&mut self) -> Option<&mut String> {
        self.path.as_mut()
    }

    fn texts(&self) -> Result<Vec<String>, DataError> {
        let source = NeedleSource::open(self, &Codec::Bytes)?;
        let mut texts = Vec::new();
        for index in 0..TEXTS {
            let slot = Slot { seed: 0, stage: 0, step: 0, index, length: TEXT_LENGTH };
            for document in source.documents(&slot, index, &Codec::Bytes)? {
                let bytes: Vec<u8> = document.ids.iter().map(|&id| id as u8).collect();
                texts.push(String::from_utf8_lossy(&bytes).into_owned());
            }
        }
        Ok(texts)
    }

    fn open(&self, codec: &Codec) -> Result<Box<dyn Source>, DataError> {
        Ok(Box::new(NeedleSource::open(self, codec)?))
    }
}

/// Texts that a vocabulary learns from.
const TEXTS: u64 = 200;
/// Their length in bytes.
const TEXT_LENGTH: usize = 4000;

/// Makes haystacks.
#[derive(Debug)]
struct NeedleSource {
    spec: Needle,
    prose: String,
    /// Tokens of a byte of prose, measured.
    density: f64,
}

/// Bytes of prose of which the density is measured.
const SAMPLE: usize = 1 << 16;

impl NeedleSource {
    /// Reads the prose and checks the names of the tasks.
    fn open(spec: &Needle, codec: &Codec) -> Result<Self, DataError> {
        spec.tasks.iter().try_for_each(|name| find(name).map(drop))?;
        if spec.tasks.is_empty() {
            return Err(DataError::Mixture("`needle` has no task: name at least one under `tasks`".into()));
        }
        let prose = match &spec.path {
            None => headwise_tasks::DEFAULT_TEXT.to_owned(),
            Some(path) => {
                let files = Text { path: path.clone(), exclude: spec.exclude.clone(), ..Text::default() };
                text::files(&files)?.iter().map(|path| text::read(path)).collect::<Result<_, _>>()?
            }
        };
        let sample = &prose[..prose.floor_char_boundary(SAMPLE)];
        let density = codec.encode(sample)?.len() as f64 / sample.len().max(1) as f64;
        Ok(Self { spec: spec.clone(), prose, density })
    }

    /// The text of a sequence, of at most its length.
    fn text(&self, slot: &Slot, codec: &Codec) -> Result<Document, DataError> {
        let mut random = draws(slot.seed, Purpose::Document, slot.step, slot.index);
        let first = random.random_range(0..self.spec.tasks.len());
        let seed = random.random();
        let wanted = random.random_range(1..=self.spec.questions.max(1));
        let prose = self.excerpt(slot.length, &mut random);
        // Tokens are guessed from bytes, because counting them would take far longer; then the text is made shorter
        // until it fits.
        let mut density = self.density;
        loop {
            let count = |text: &str| (text.len() as f64 * density) as usize;
            let request = Request::new(slot.length, &count).seed(seed).text(prose);
            let sample = self.sample(first, &request)?;
            let mut questions = questions(&sample.context);
            let expected = format!("{}{}", sample.question, sample.answer_prefix);
            let first = questions.iter().position(|(question, _)| *question == expected);
            let chosen = match first {
                // The question of the task, and others about the same haystack.
                Some(first) => {
                    let asked = questions.swap_remove(first);
                    let more = index::sample(&mut random.clone(), questions.len(), (wanted - 1).min(questions.len()));
                    std::iter::once(asked).chain(more.into_iter().map(|i| questions[i].clone())).collect()
                }
                None => vec![(expected, sample.expected.join(", "))],
            };
            let document = self.document(&sample.context, &chosen, slot.length, codec)?;
            match document {
                Some(document) => return Ok(document),
                None => density *= 1.1,
            }
        }
    }

    /// A sample of the task number `first`, or of the next one whose shortest text fits.
    fn sample(&self, first: usize, request: &Request<'_>) -> Result<Sample, TaskError> {
        let (before, from) = self.spec.tasks.split_at(first);
        let mut last = None;
        for name in from.iter().chain(before) {
            match find(name)?.sample(request) {
                Err(error @ TaskError::TooShort { .. }) => last = Some(error),
                sample => return sample,
            }
        }
        Err(last.expect("there is a task"))
    }

    /// Prose from somewhere on, enough for so many tokens.
    fn excerpt(&self, tokens: usize, random: &mut Draws) -> &str {
        const BYTES_OF_A_TOKEN: usize = 8;
        let length = tokens.saturating_mul(BYTES_OF_A_TOKEN);
        let start = random.random_range(0..=self.prose.len().saturating_sub(length));
        let end = start.saturating_add(length).min(self.prose.len());
        &self.prose[self.prose.floor_char_boundary(start)..self.prose.floor_char_boundary(end)]
    }

    /// Context, questions and answers; the last questions that do not fit are left out. None if not one fits.
    fn document(
        &self,
        context: &str,
        questions: &[(String, String)],
        length: usize,
        codec: &Codec,
    ) -> Result<Option<Document>, DataError> {
        let context_weight = self.spec.context_weight as f32;
        let mut tokens = codec.encode(context)?;
        let mut weights = vec![context_weight; tokens.len()];
        let mut asked = 0;
        for (question, answer) in questions {
            let (question, answer) = (codec.encode(question)?, codec.encode(&format!(" {answer}."))?);
            if tokens.len() + question.len() + answer.len() > length {
                break;
            }
            weights.extend(std::iter::repeat_n(context_weight, question.len()));
            weights.extend(std::iter::repeat_n(1.0, answer.len()));
            tokens.extend(question.into_iter().chain(answer));
            asked += 1;
        }
        if let (Some(end), true) = (codec.end(), tokens.len() < length) {
            tokens.push(end);
            weights.push(1.0);
        }
        Ok((asked > 0).then(|| Document::weighted(&tokens, &weights)))
    }
}

impl Source for NeedleSource {
    fn documents(&self, slot: &Slot, _: u64, codec: &Codec) -> Result<Vec<Document>, DataError> {
        Ok(vec![self.text(slot, codec)?])
    }
}

/// A question for each needle of `context`, in the words of the tasks with one answer, and the answer.
fn questions(context: &str) -> Vec<(String, String)> {
    const START: &str = "One of the special magic ";
    let needle = |rest: &str| {
        let (kind, rest) = rest.split_once("s for ")?;
        let (key, rest) = rest.split_once(" is: ")?;
        let (value, _) = rest.split_once('.')?;
        let about = format!("the special magic {kind} for {key} mentioned in the provided text");
        Some((format!("\nWhat is {about}? T{} is", &about[1..]), value.to_owned()))
    };
    context.split(START).skip(1).filter_map(needle).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_question_is_the_task_s_own() {
        for name in ["needle_single_1", "needle_single_2", "needle_multikey_2", "needle_single_3", "needle_multivalue"]
        {
            let spec = Needle { tasks: vec![name.to_owned()], ..Needle::default() };
            let source = NeedleSource::open(&spec, &Codec::Bytes).unwrap();
            for index in 0..5 {
                let slot = Slot { seed: 1, stage: 0, step: 2, index, length: 2000 };
                let document = source.text(&slot, &Codec::Bytes).unwrap();
                assert!(document.ids.len() <= 2000 && document.ids.len() > 1200, "{}", document.ids.len());
                let text = String::from_utf8(document.ids.iter().map(|&id| id as u8).collect()).unwrap();
                let asked = text.split("\nWhat ").skip(1).count();
                assert!((1..=4).contains(&asked), "{name}: {asked}");
                let task = find(name).unwrap();
                // The solver answers the first question from the text before its answer.
                let prefix = text.find(" mentioned in the provided text is").or(text.find("provided text are"));
                assert!(prefix.is_some(), "{name}");
                if name != "needle_multivalue" {
                    let marker = " mentioned in the provided text is";
                    let cut = text.find(marker).unwrap() + marker.len();
                    let cut = cut
                        + text[cut..]
                            .find(marker)
                            .map_or(0, |at| if text[..cut].ends_with('?') { at + marker.len() } else { 0 });
                    let answer = task.solve(&text[..cut]);
                    assert!(
                        text[cut..].starts_with(&format!(" {}", answer.trim())),
                        "{name}: {answer}: {}",
                        &text[cut..]
                    );
                }
                let answered = document.weights.iter().filter(|&&weight| weight == 1.0).count();
                assert!(answered >= 8 * asked, "{name}: {answered} tokens of answers");
            }
        }
    }
}
