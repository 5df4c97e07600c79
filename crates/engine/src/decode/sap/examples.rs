//! Prompts with examples: examples are made of questions that have no answers, and several prompts answer the same question.
//!
//! Questions without answers are answered with the examples that were given, or none, and the best of the pairs become examples
//! themselves (bootstrapping). If there are examples for several prompts, each answers with its own, and the best answer is taken.
//! A pair is good if answer and question follow from each other: the mean log-probability of a token of the answer after the question, and
//! of the question after the answer, with equal weights. Patel et al. 2022, arXiv:2209.14500; the paper's score (mT5Score) is one in both
//! directions too, its weights are not known here. Both are judged as they are written, word after word, each in a gap of its own: as one
//! filling every long text is unlikely.

use super::words::Borders;
use super::{FillsGaps, Likelihood, Sap, SapAnswer, SapCost};

/// A question with its answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Example {
    /// The question.
    pub question: String,
    /// The answer.
    pub answer: String,
}

/// What is to be answered, and from what.
#[derive(Clone, Copy, Debug)]
pub struct SapTask<'a> {
    /// Questions with their answers.
    pub examples: &'a [Example],
    /// Questions to make examples of.
    pub unlabelled: &'a [String],
    /// The question.
    pub question: &'a str,
}

/// An answer to a question.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The answer.
    pub answer: SapAnswer,
    /// Examples that its prompt showed.
    pub examples: usize,
    /// Mean log-probability of a token, of the answer and of the question from it; none if there is nothing to compare it with.
    pub score: Option<f64>,
}

/// The answers to a question.
#[derive(Clone, Debug, PartialEq)]
pub struct SapAnswers {
    /// The answers, the best first; at least one.
    pub candidates: Vec<Candidate>,
    /// The examples that were made, with their scores, the best first; at most as many as prompts can show.
    pub made: Vec<(Example, f64)>,
    /// What writing all answers took, those of examples included.
    pub cost: SapCost,
}

impl Sap {
    /// Answers `task.question` after prompts with examples. `said` is told every piece that is taken over, of whatever answer.
    pub fn answer<F: FillsGaps>(
        &self,
        filler: &mut F,
        task: &SapTask<'_>,
        mut said: impl FnMut(&str),
    ) -> Result<SapAnswers, F::Error> {
        let shown = &task.examples[..task.examples.len().min(self.demonstrations)];
        let mut cost = SapCost::default();
        let made = self.make(filler, shown, task.unlabelled, &mut cost, &mut said)?;
        let known: Vec<&Example> = task.examples.iter().chain(made.iter().map(|(example, _)| example)).collect();
        // Examples are dealt out in turn, so that all prompts get equally good ones.
        let members = (known.len() / self.demonstrations.max(1)).clamp(1, self.members.max(1));
        let mut candidates = Vec::with_capacity(members);
        for member in 0..members {
            let own: Vec<&Example> =
                known.iter().copied().skip(member).step_by(members).take(self.demonstrations).collect();
            let prompt = self.prompt(&own, task.question);
            let answer = self.write(filler, &prompt, self.most(task.question), &mut said)?;
            cost.add(answer.cost);
            let score = match members {
                1 => None,
                _ => Some(self.score(filler, shown, task.question, answer.text.trim())?),
            };
            candidates.push(Candidate { answer, examples: own.len(), score });
        }
        candidates.sort_by(|a, b| b.score.unwrap_or(0.0).total_cmp(&a.score.unwrap_or(0.0)));
        Ok(SapAnswers { candidates, made, cost })
    }

    /// The best examples that can be made of `questions`, as many as all prompts can show.
    fn make<F: FillsGaps>(
        &self,
        filler: &mut F,
        shown: &[Example],
        questions: &[String],
        cost: &mut SapCost,
        said: &mut impl FnMut(&str),
    ) -> Result<Vec<(Example, f64)>, F::Error> {
        let mut made = Vec::new();
        for question in questions {
            let prompt = self.prompt(&shown.iter().collect::<Vec<_>>(), question);
            let answer = self.write(filler, &prompt, self.most(question), &mut *said)?;
            cost.add(answer.cost);
            let answer = answer.text.trim();
            if answer.is_empty() {
                continue;
            }
            let score = self.score(filler, shown, question, answer)?;
            if score.is_finite() {
                made.push((Example { question: question.clone(), answer: answer.into() }, score));
            }
        }
        made.sort_by(|a, b| b.1.total_cmp(&a.1));
        made.truncate(self.demonstrations.saturating_mul(self.members));
        Ok(made)
    }

    /// The text after which the answer to `question` stands.
    pub fn prompt(&self, examples: &[&Example], question: &str) -> String {
        let [end, source, target] = [self.line_end(), &self.source, &self.target];
        let instruction = match self.instruction.is_empty() {
            true => String::new(),
            false => format!("{}{end}", self.instruction),
        };
        let pair = |example: &&Example| {
            let Example { question, answer } = example;
            format!("{source} {question}{end}{target} {answer}{end}")
        };
        let examples: String = examples.iter().map(pair).collect();
        format!("{instruction}{examples}{source} {question}{end}{target}")
    }

    /// Most words of the answer to `question`.
    pub fn most(&self, question: &str) -> usize {
        self.words.unwrap_or_else(|| 2 * self.borders().count(question)).max(1)
    }

    /// How well `question` and `answer` follow from each other, after `shown`.
    fn score<F: FillsGaps>(
        &self,
        filler: &mut F,
        shown: &[Example],
        question: &str,
        answer: &str,
    ) -> Result<f64, F::Error> {
        let there = self.prompt(&shown.iter().collect::<Vec<_>>(), question);
        let there = self.likelihood(filler, there, answer)?;
        // The same with questions and answers in each other's place; the instruction is for one direction only.
        let (source, target) = (self.target.clone(), self.source.clone());
        let back = Self { source, target, instruction: String::new(), ..self.clone() };
        let turn =
            |Example { question, answer }: &Example| Example { question: answer.clone(), answer: question.clone() };
        let turned: Vec<Example> = shown.iter().map(turn).collect();
        let prompt = back.prompt(&turned.iter().collect::<Vec<_>>(), answer);
        let back = self.likelihood(filler, prompt, question)?;
        Ok((there.mean() + back.mean()) / 2.0)
    }

    /// How likely the words of `answer` are after `text`, each in a gap of its own.
    fn likelihood<F: FillsGaps>(&self, filler: &mut F, mut text: String, answer: &str) -> Result<Likelihood, F::Error> {
        let (said, borders) = (format!(" {answer}"), Borders { stop: "", ..self.borders() });
        let (mut rest, mut all) = (&said[..], Likelihood::default());
        loop {
            let word = borders.cut(rest, 1);
            if word.words == 0 {
                return Ok(all);
            }
            all = all.and(filler.judge(&text, word.text)?);
            text.push_str(word.text);
            rest = &rest[word.text.len()..];
        }
    }

    fn line_end(&self) -> &str {
        if self.stop.is_empty() { "\n" } else { &self.stop }
    }
}
