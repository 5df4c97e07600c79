//! A needle in a text that is far longer than the model can read.

use headwise_engine::TextModel;
use headwise_engine::retrieve::{By, InfiniRetri, Question, Retriever};
use headwise_models::decoder::Weights;
use headwise_tasks::{NeedleTask, Request, Task, find};

fn model() -> TextModel {
    TextModel::embedded(Weights::Stored, 0).unwrap()
}

#[test]
fn the_sentence_with_the_answer_is_kept_wherever_it_stands() {
    let model = model();
    let count = |text: &str| model.encode(text).unwrap().len();
    let mut bytes = Vec::new();
    for (depth, length, by) in [(0.1, 8_000, By::Question), (0.8, 16_000, By::Question), (0.8, 8_000, By::Last)] {
        let request = Request::new(length, &count).seed(3).depth(depth);
        let sample = find("needle_single_2").unwrap().sample(&request).unwrap();
        let retriever = Retriever::from(InfiniRetri { layer: Some(2), by, ..InfiniRetri::default() });
        let question = Question { question: &sample.question, answer_start: &sample.answer_prefix };
        let mut parts = 0;
        let found = retriever.retrieve(&model, &sample.context, question, |part, of| {
            parts += 1;
            assert!(part == parts && part <= of);
        });
        let found = found.unwrap();
        assert_eq!(parts, found.parts);
        assert!(found.tokens > length * 9 / 10 && found.text.len() < sample.context.len() / 8);
        assert!(found.text.contains(&sample.expected[0]), "{}", found.text);
        bytes.push(found.peak_bytes as f64);
    }
    assert!((bytes[1] / bytes[0] - 1.0).abs() < 0.1, "memory is that of a part: {bytes:?}");
}

#[test]
fn what_stands_in_a_sentence_longer_than_the_memory_is_kept() {
    let model = model();
    let count = |text: &str| model.encode(text).unwrap().len();
    let request = Request::new(6_000, &count).seed(3).depth(0.5);
    let sample = find("needle_single_2").unwrap().sample(&request).unwrap();
    let needle = sample.needle_spans[0].clone();
    // Clauses without a full stop are one sentence, and the needle is its end.
    let from = sample.context.floor_char_boundary(needle.start - 3_000);
    let clauses = sample.context[from..needle.start].replace(". ", "; ");
    let text = [&sample.context[..from], &clauses, &sample.context[needle.start..]].concat();
    let memory = 200;
    assert!(count(&clauses) > 2 * memory);
    let retriever = Retriever::from(InfiniRetri { layer: Some(2), memory, ..InfiniRetri::default() });
    let question = Question { question: &sample.question, answer_start: &sample.answer_prefix };
    let found = retriever.retrieve(&model, &text, question, |_, _| {}).unwrap();
    assert!(found.text.contains(&sample.expected[0]), "{}", found.text);
}

#[test]
fn questions_that_share_a_reading_each_get_their_sentences() {
    let model = model();
    let count = |text: &str| model.encode(text).unwrap().len();
    let task = NeedleTask { keys: 3, queries: 3, ..NeedleTask::SINGLE_2 };
    let ask = |key: &str| {
        let about = format!("the special magic number for {key} mentioned in the provided text");
        [format!("What is {about}?"), format!(" The{} is", &about[3..])]
    };
    for (length, window) in [(900, 1024), (9_000, 1024)] {
        let sample = task.sample(&Request::new(length, &count).seed(5)).unwrap();
        let keys = sample.question.split(" for ").nth(1).unwrap().split(" mentioned").next().unwrap();
        let words: Vec<[String; 2]> = keys.split(", ").map(|key| ask(key.trim_start_matches("and "))).collect();
        let questions: Vec<Question<'_>> =
            words.iter().map(|[question, answer_start]| Question { question, answer_start }).collect();
        let retriever = Retriever::from(InfiniRetri { layer: Some(2), window, memory: 200, ..InfiniRetri::default() });
        let together = retriever.retrieve_all(&model, &sample.context, &questions, |_, _| {}).unwrap();
        assert_eq!(together.len(), 3);
        for ((found, question), expected) in together.iter().zip(&questions).zip(&sample.expected) {
            assert!(found.text.contains(expected), "{question:?}: {}", found.text);
            let alone = retriever.retrieve(&model, &sample.context, *question, |_, _| {}).unwrap();
            assert_eq!((found.tokens, found.parts), (alone.tokens, alone.parts));
            if found.parts == 1 {
                assert_eq!((&found.text, &found.prompt), (&alone.text, &alone.prompt), "one part is the same to all");
                assert!(found.peak_bytes < 2 * alone.peak_bytes, "what stands before the questions is held once");
            }
        }
        assert_eq!(together[0].parts == 1, length < window);
    }
    assert!(
        Retriever::from(InfiniRetri::default()).retrieve_all(&model, "No. One.", &[], |_, _| {}).unwrap().is_empty()
    );
    let many = [Question { question: "Who?", answer_start: "" }; 10];
    let error = Retriever::from(InfiniRetri::default()).retrieve_all(&model, "No. One.", &many, |_, _| {}).unwrap_err();
    assert!(error.to_string().contains("memory=512 for each of 10 questions"), "{error}");
}

#[test]
fn parameters_that_do_not_fit_are_named() {
    let model = model();
    let ask = |method: InfiniRetri, text: &str| {
        Retriever::from(method).retrieve(&model, text, Question { question: "Who?", answer_start: "" }, |_, _| {})
    };
    for (method, says) in [
        (InfiniRetri { layer: Some(6), ..InfiniRetri::default() }, "layers 0 to 5"),
        (InfiniRetri { window: 0, ..InfiniRetri::default() }, "at least 1"),
        (InfiniRetri { window: 9000, ..InfiniRetri::default() }, "context of 4096"),
    ] {
        let error = ask(method, "Nobody. Me.").unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    let found = ask(InfiniRetri::default(), "Nobody. Me.").unwrap();
    assert_eq!((found.text.as_str(), found.parts), ("Nobody. Me.", 1));
    // One word without end is cut into pieces that fit.
    let found = ask(InfiniRetri { window: 50, ..InfiniRetri::default() }, &"x9".repeat(3000)).unwrap();
    assert!(found.parts > 20 && found.prompt.len() < 700);
}
