//! The loop with fillers that follow a script.

use super::*;

/// Knows what to say after a prompt, and says so many words of it at a time.
struct Scripted {
    prompt: String,
    target: &'static str,
    span: usize,
    /// Words of a filling after the first are wrong.
    only_first: bool,
    asked: Vec<String>,
}

impl Scripted {
    fn new(target: &'static str, span: usize) -> Self {
        Self { prompt: "from: x\nto:".into(), target, span, only_first: false, asked: Vec::new() }
    }
}

impl FillsGaps for Scripted {
    type Error = std::convert::Infallible;

    fn fill(&mut self, text: &str, _: &mut dyn FnMut(&str) -> bool) -> Result<Option<Filled>, Self::Error> {
        self.asked.push(text.to_owned());
        let said = text.strip_prefix(&self.prompt).unwrap();
        let rest = self.target.strip_prefix(said).unwrap_or("");
        let borders = Borders { separators: "", stop: "" };
        let filling = match self.only_first {
            true => format!("{} and nonsense", borders.cut(rest, 1).text),
            false => borders.cut(rest, self.span).text.to_owned(),
        };
        // Once all words have been said the line ends, if the target has an end.
        let text = if filling.is_empty() { rest.to_owned() } else { filling };
        let shown = self.prompt.len() + said.len();
        Ok(Some(Filled { text, shown, read: 1, written: 3 }))
    }

    fn judge(&mut self, text: &str, answer: &str) -> Result<Likelihood, Self::Error> {
        let said = text.strip_prefix(&self.prompt).map(|said| said.len()).unwrap_or(0);
        let right = self.target.get(said..).is_some_and(|rest| rest.starts_with(answer));
        Ok(Likelihood { log_probability: if right { -0.5 } else { -8.0 }, tokens: 1 })
    }
}

fn written(filler: &mut Scripted, commit: usize) -> SapAnswer {
    let prompt = filler.prompt.clone();
    let Ok(answer) = Sap { commit, ..Sap::default() }.write(filler, &prompt, 20, |_| {});
    answer
}

const TARGET: &str = " the quick, brown fox jumps over “the” lazy dög\nfrom: y";

#[test]
fn a_filler_of_three_words_writes_the_whole_target_and_stops() {
    for commit in [1, 2, 3] {
        let mut filler = Scripted::new(TARGET, 3);
        let answer = written(&mut filler, commit);
        assert_eq!(answer.text, TARGET.split('\n').next().unwrap(), "commit={commit}");
        assert_eq!((answer.words, answer.end), (9, SapEnd::Said));
        assert_eq!(answer.cost.calls, (9 + 1usize).div_ceil(commit));
        let shown: usize = filler.asked.iter().map(String::len).sum();
        let calls = answer.cost.calls;
        assert_eq!(answer.cost, SapCost { calls, shown, read: calls, written: 3 * calls });
    }
}

#[test]
fn only_the_first_word_has_to_be_right() {
    let first = |commit| {
        let mut filler = Scripted { only_first: true, ..Scripted::new(TARGET, 3) };
        written(&mut filler, commit).text
    };
    assert_eq!(first(1), TARGET.split('\n').next().unwrap());
    assert!(first(3).starts_with(" the and nonsense"));
}

#[test]
fn every_gap_stands_directly_behind_what_was_taken_over() {
    let mut filler = Scripted::new(" a b\n", 3);
    let mut pieces = Vec::new();
    let prompt = filler.prompt.clone();
    let Ok(_) = Sap::default().write(&mut filler, &prompt, 20, |piece| pieces.push(piece.to_owned()));
    assert_eq!(filler.asked, ["from: x\nto:", "from: x\nto: a", "from: x\nto: a b"]);
    assert_eq!(pieces.concat(), " a b");
}

#[test]
fn an_answer_ends_when_nothing_is_said_or_it_is_long_enough() {
    let silent = written(&mut Scripted::new(" one two", 3), 1);
    assert_eq!((silent.text.as_str(), silent.end, silent.cost.calls), (" one two", SapEnd::Said, 3));
    let nothing = written(&mut Scripted::new("", 3), 1);
    assert_eq!((nothing.text.as_str(), nothing.words, nothing.end), ("", 0, SapEnd::Said));
    let mut filler = Scripted::new(TARGET, 3);
    let prompt = filler.prompt.clone();
    let Ok(cut) = Sap { commit: 3, ..Sap::default() }.write(&mut filler, &prompt, 4, |_| {});
    assert_eq!((cut.text.as_str(), cut.words, cut.end), (" the quick, brown fox", 4, SapEnd::Length));
    assert_eq!(cut.cost.calls, 2, "the second filling gives the one word that is left");
}

#[test]
fn a_word_said_in_parts_is_one_word_and_one_that_never_ends_is_left() {
    /// Says a letter at a time.
    struct Letters(usize);
    impl FillsGaps for Letters {
        type Error = std::convert::Infallible;
        fn fill(&mut self, _: &str, _: &mut dyn FnMut(&str) -> bool) -> Result<Option<Filled>, Self::Error> {
            self.0 = self.0.saturating_sub(1);
            let text = if self.0 == 0 { "\n".into() } else { "a".into() };
            Ok(Some(Filled { text, ..Filled::default() }))
        }
        fn judge(&mut self, _: &str, _: &str) -> Result<Likelihood, Self::Error> {
            Ok(Likelihood::default())
        }
    }
    let Ok(answer) = Sap::default().write(&mut Letters(6), "", 2, |_| {});
    assert_eq!((answer.text.as_str(), answer.words, answer.end), ("aaaaa", 1, SapEnd::Said));
    let Ok(answer) = Sap::default().write(&mut Letters(usize::MAX), "", 2, |_| {});
    assert_eq!((answer.text.as_str(), answer.end), ("aaaaaaaa", SapEnd::Length));
}

fn example(question: &str, answer: &str) -> Example {
    Example { question: question.into(), answer: answer.into() }
}

#[test]
fn prompts_have_the_label_last_and_nothing_after_it() {
    let sap = Sap { source: "from:".into(), target: "to:".into(), ..Sap::default() };
    assert_eq!(sap.prompt(&[&example("a b", "A B")], "c"), "from: a b\nto: A B\nfrom: c\nto:");
    let told = Sap { instruction: "Shout.".into(), stop: "\n\n".into(), ..sap };
    assert_eq!(told.prompt(&[], "c"), "Shout.\n\nfrom: c\n\nto:");
    assert_eq!((told.most("a b c"), Sap { words: Some(2), ..told }.most("a b c")), (6, 2));
}

/// Shouts what is asked, badly if the prompt shows fewer than two examples; finds what is shouted likely.
struct Shouts {
    prompts: Vec<String>,
}

impl FillsGaps for Shouts {
    type Error = std::convert::Infallible;

    fn fill(&mut self, text: &str, _: &mut dyn FnMut(&str) -> bool) -> Result<Option<Filled>, Self::Error> {
        let (before, said) = text.rsplit_once("to:").unwrap();
        if said.is_empty() {
            self.prompts.push(text.to_owned());
        }
        let examples = before.matches("from:").count() - 1;
        let question = before.trim_end().rsplit_once("from: ").unwrap().1;
        let question = if examples < 2 && question.starts_with('b') { "wrong" } else { question };
        let rest = question.to_uppercase();
        let rest = rest.strip_prefix(said.trim_start()).unwrap_or("").trim_start();
        let text = if rest.is_empty() { "\n".into() } else { format!(" {rest}\n") };
        Ok(Some(Filled { text, ..Filled::default() }))
    }

    fn judge(&mut self, text: &str, answer: &str) -> Result<Likelihood, Self::Error> {
        let line = text.lines().rev().nth(1).unwrap();
        let right = line.to_uppercase().contains(&answer.trim().to_uppercase());
        Ok(Likelihood { log_probability: if right { -1.0 } else { -10.0 }, tokens: 1 })
    }
}

#[test]
fn good_answers_to_unlabelled_questions_become_examples() {
    let sap = Sap { source: "from:".into(), target: "to:".into(), demonstrations: 2, members: 2, ..Sap::default() };
    let unlabelled = ["b c", "a b", "c d", "b b", "e", "a"].map(String::from);
    let mut filler = Shouts { prompts: Vec::new() };
    let task = SapTask { examples: &[], unlabelled: &unlabelled, question: "b x" };
    let Ok(found) = sap.answer(&mut filler, &task, |_| {});
    let made: Vec<_> = found.made.iter().map(|(example, score)| (example.clone(), *score)).collect();
    let good = [("a b", "A B"), ("c d", "C D"), ("e", "E"), ("a", "A")];
    assert_eq!(made, good.map(|(question, answer)| (example(question, answer), -1.0)), "wrong ones are no examples");
    let last = &filler.prompts[6..];
    assert_eq!(last.len(), 2);
    assert!(last[0].starts_with("from: a b\nto: A B\nfrom: e\nto: E\nfrom: b x"), "{last:?}");
    assert!(last[1].starts_with("from: c d\nto: C D\nfrom: a\nto: A\nfrom: b x"), "{last:?}");
    assert_eq!(found.candidates.len(), 2);
    let best = &found.candidates[0];
    assert_eq!((best.answer.text.as_str(), best.examples, best.score), (" B X", 2, Some(-1.0)));
}

#[test]
fn the_better_of_several_answers_is_taken() {
    let sap = Sap { source: "from:".into(), target: "to:".into(), demonstrations: 1, members: 2, ..Sap::default() };
    /// Right only after the second example.
    struct Fickle(Shouts);
    impl FillsGaps for Fickle {
        type Error = std::convert::Infallible;
        fn fill(&mut self, text: &str, enough: &mut dyn FnMut(&str) -> bool) -> Result<Option<Filled>, Self::Error> {
            let said = text.ends_with("to:");
            let wrong = Filled { text: if said { " no\n".into() } else { "\n".into() }, ..Filled::default() };
            if text.starts_with("from: a") { Ok(Some(wrong)) } else { self.0.fill(text, enough) }
        }
        fn judge(&mut self, text: &str, answer: &str) -> Result<Likelihood, Self::Error> {
            self.0.judge(text, answer)
        }
    }
    let examples = [example("a", "A"), example("c", "C"), example("d", "D")];
    let task = SapTask { examples: &examples, unlabelled: &[], question: "x y" };
    let Ok(found) = sap.answer(&mut Fickle(Shouts { prompts: Vec::new() }), &task, |_| {});
    let texts: Vec<_> =
        found.candidates.iter().map(|candidate| (candidate.answer.text.as_str(), candidate.score)).collect();
    assert_eq!(texts, [(" X Y", Some(-1.0)), (" no", Some((-10.0 - 10.0) / 2.0))]);
    // With one prompt there is nothing to compare.
    let Ok(alone) = Sap { demonstrations: 3, ..sap }.answer(&mut Shouts { prompts: Vec::new() }, &task, |_| {});
    assert_eq!((alone.candidates.len(), alone.candidates[0].score, alone.candidates[0].examples), (1, None, 3));
}

#[test]
fn numbers_that_make_no_sense_are_refused() {
    for (sap, name) in [
        (Sap { commit: 0, ..Sap::default() }, "commit"),
        (Sap { words: Some(0), ..Sap::default() }, "words"),
        (Sap { span: 0, ..Sap::default() }, "span"),
        (Sap { demonstrations: 0, ..Sap::default() }, "demonstrations"),
        (Sap { members: 0, ..Sap::default() }, "members"),
    ] {
        assert_eq!(sap.check().unwrap_err().to_string(), format!("`sap`: {name} must be at least 1"));
    }
}
