//! A needle in a text that is far longer than the model can read.

use headwise_engine::TextModel;
use headwise_engine::retrieve::{InfiniRetri, Question, Retriever};
use headwise_models::decoder::Weights;
use headwise_tasks::{Request, find};

fn model() -> TextModel {
    TextModel::embedded(Weights::Stored, 0).unwrap()
}

#[test]
fn the_sentence_with_the_answer_is_kept_wherever_it_stands() {
    let model = model();
    let count = |text: &str| model.encode(text).unwrap().len();
    let mut bytes = Vec::new();
    for (depth, length) in [(0.1, 8_000), (0.8, 16_000)] {
        let request = Request::new(length, &count).seed(3).depth(depth);
        let sample = find("needle_single_2").unwrap().sample(&request).unwrap();
        let retriever = Retriever::from(InfiniRetri { layer: Some(2), ..InfiniRetri::default() });
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
