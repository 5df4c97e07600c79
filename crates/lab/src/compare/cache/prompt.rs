//! Prompts with known answers, split where the context ends.

use std::cell::RefCell;

use headwise_engine::{TextError, TextModel};
use headwise_models::chat::Message;
use headwise_models::decoder::Induction;
use headwise_models::tokenizer::Encode;
use headwise_tasks::{Request, Sample, TokenTask};

use super::{CompareError, Subject};

/// A retrieval task.
#[derive(Clone, Copy)]
pub enum Task {
    /// One of [`headwise_tasks::all`].
    Text(&'static dyn headwise_tasks::Task),
    /// A pair `A B` in filler, and the token after it: asked for `A`, the induction model answers both.
    ///
    /// Two tokens, because the first follows from the prompt's last scores, which no policy has touched.
    Induction,
}

impl std::fmt::Debug for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Answer tokens of the induction task.
const PAIR: usize = 2;

/// The shortest induction prompt that has room for a pair.
const SHORTEST_INDUCTION: usize = 16;

impl Task {
    /// The name in rows.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Text(task) => task.name(),
            Self::Induction => "induction",
        }
    }

    /// Whether the place of the answer can be chosen.
    pub(super) fn takes_depth(&self) -> bool {
        match self {
            Self::Text(task) => task.takes_depth(),
            Self::Induction => true,
        }
    }

    /// Most tokens of an answer.
    pub(super) fn answer_tokens(&self) -> usize {
        match self {
            Self::Text(task) => task.answer_tokens(),
            Self::Induction => PAIR,
        }
    }
}

/// A prompt whose answer is known.
#[derive(Clone, Debug)]
pub(super) struct Prompt {
    /// The whole prompt, ready for the first token of the answer.
    pub ids: Vec<u32>,
    /// How many of them are context: all that a question-agnostic policy sees before it compresses.
    pub context: usize,
    expected: Expected,
    pub answer_tokens: usize,
}

#[derive(Clone, Debug)]
enum Expected {
    Strings(Sample),
    Tokens(Vec<u32>),
}

impl Prompt {
    /// Expected answers.
    pub fn answers(&self) -> usize {
        match &self.expected {
            Expected::Strings(sample) => sample.expected.len(),
            Expected::Tokens(_) => 1,
        }
    }

    /// Score of the answer `ids`, 0–100.
    pub fn score(&self, subject: &Subject<'_>, ids: &[u32]) -> f64 {
        match (&self.expected, subject) {
            (Expected::Strings(sample), Subject::Text(model)) => sample.score(&model.tokenizer.decode(ids, true)),
            (Expected::Tokens(expected), _) => f64::from(u8::from(ids == expected)) * 100.0,
            (Expected::Strings(_), Subject::Toy(_)) => 0.0,
        }
    }
}

impl Subject<'_> {
    /// A prompt of at most `length` tokens, answer included, with the answer at `depth` (0 to 1); `prose` for the tasks that
    /// hide something in an essay.
    pub(super) fn prompt(
        &self,
        task: &Task,
        length: usize,
        depth: Option<f32>,
        seed: u64,
        prose: &str,
    ) -> Result<Prompt, CompareError> {
        match (task, self) {
            (Task::Text(task), Self::Text(model)) => text_prompt(model, *task, length, depth, seed, prose),
            _ => induction_prompt(length, depth, seed),
        }
    }
}

fn text_prompt(
    model: &TextModel,
    task: &dyn headwise_tasks::Task,
    length: usize,
    depth: Option<f32>,
    seed: u64,
    prose: &str,
) -> Result<Prompt, CompareError> {
    let failed: RefCell<Option<TextError>> = RefCell::new(None);
    let count = |text: &str| match model.encode_turn(text, "") {
        Ok(ids) => ids.len(),
        Err(error) => {
            failed.borrow_mut().get_or_insert(error);
            0
        }
    };
    let request = Request { seed, length, depth, text: prose, count_tokens: &count };
    let sample = task.sample(&request);
    if let Some(error) = failed.take() {
        return Err(error.into());
    }
    let sample = sample?;
    let ids = model.encode_turn(&sample.user_turn(), &sample.answer_prefix)?;
    let context = context_tokens(model, &sample, &ids)?;
    Ok(Prompt { ids, context, answer_tokens: task.answer_tokens(), expected: Expected::Strings(sample) })
}

/// How many of the prompt's tokens `ids` the context decides alone: those before the first that depends on the question.
fn context_tokens(model: &TextModel, sample: &Sample, ids: &[u32]) -> Result<usize, CompareError> {
    let up_to_context = match &model.template {
        Some(template) => {
            let text = template
                .render_continuation(&[Message::user(sample.user_turn())], &sample.answer_prefix)
                .map_err(TextError::from)?;
            let changed = || CompareError::TemplateChangesText { model: model.name.clone() };
            // Templates may trim the turn; its inner part stays.
            let context = sample.context.trim_start();
            let end = text.find(context).ok_or_else(changed)? + context.len();
            model.tokenizer.encode(&text[..end], Encode::TEMPLATE).map_err(TextError::from)?
        }
        None => model.encode(&sample.context)?,
    };
    Ok(up_to_context.iter().zip(ids).take_while(|(a, b)| a == b).count())
}

fn induction_prompt(length: usize, depth: Option<f32>, seed: u64) -> Result<Prompt, CompareError> {
    if length < SHORTEST_INDUCTION {
        return Err(CompareError::TooShort { length, least: SHORTEST_INDUCTION });
    }
    // One token stands first; the answer's are not in the prompt.
    let length = length - 1 - PAIR;
    let last = length - 2 - PAIR;
    let position = depth.map(|depth| (f64::from(depth) * last as f64).round() as usize);
    let task = headwise_tasks::Induction { vocabulary: Induction::TOKENS, length, position };
    let sample = task.sample(seed)?;
    let answer = sample.queries.first().map_or(0, |query| query.source);
    let expected = sample.tokens[answer..answer + PAIR].to_vec();
    let mut ids = vec![Induction::START];
    ids.extend(sample.tokens);
    let context = ids.len() - 1;
    Ok(Prompt { ids, context, answer_tokens: PAIR, expected: Expected::Tokens(expected) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_induction_pair_stands_at_its_depth_and_ends_with_its_key() {
        for (depth, at) in [(0.0, 1), (0.5, 30), (1.0, 58)] {
            let prompt = induction_prompt(64, Some(depth), 3).unwrap();
            assert_eq!((prompt.ids.len(), prompt.context), (62, 61));
            assert_eq!(prompt.ids[at], prompt.ids[61], "depth {depth}");
            let Expected::Tokens(expected) = &prompt.expected else { panic!("tokens") };
            assert_eq!(&prompt.ids[at + 1..at + 3], expected);
        }
    }

    #[test]
    fn a_length_without_room_is_refused() {
        assert!(induction_prompt(15, None, 0).unwrap_err().to_string().contains("at least 16"));
    }
}
