//! What holds for every task: it can be solved, only with its needles, at the length asked for, the same every time.

use headwise_tasks::{
    ByteRetrieval, ByteSentiment, ClassifyTask, ColouredShapes, Copying, DEFAULT_TEXT, Dyck, Induction, KeyValueRecall,
    ListOps, MultiQueryRecall, Pathfinder, PhoneBook, Request, SelectiveCopying, ShapeImages, TaskError, TokenTask,
    Transliteration, all, find,
};
use proptest::prelude::*;

/// A stand-in for a tokenizer: words, single digits, and every other character that is not white space.
fn count_tokens(text: &str) -> usize {
    let mut in_word = false;
    let starts = text.chars().filter(|c| {
        let continues = in_word && c.is_alphabetic();
        in_word = c.is_alphabetic();
        !continues && !c.is_whitespace()
    });
    starts.count()
}

#[test]
fn solvers_score_100_and_without_needles_0() {
    for task in all() {
        // The shortest list of common words is long.
        let lengths = if task.name() == "common_words" { [2048, 3000, 4096] } else { [600, 2048, 4096] };
        for length in lengths {
            for seed in 0..12 {
                let request = Request::new(length, &count_tokens).seed(seed);
                let sample = task.sample(&request).unwrap();
                let case = format!("{} at {length}, seed {seed}", task.name());
                assert_eq!(sample.score(&task.solve(&sample.prompt())), 100.0, "{case}");

                let corrupted = sample.without_needles();
                assert!(corrupted.context.len() < sample.context.len(), "{case}");
                assert_eq!(corrupted.score(&task.solve(&corrupted.prompt())), 0.0, "{case}");
            }
        }
    }
}

/// A model that answers a quarter of what it is asked for does not get full marks.
#[test]
fn partial_answers_get_partial_credit() {
    let task = find("needle_multiquery").unwrap();
    let sample = task.sample(&Request::new(1000, &count_tokens)).unwrap();
    assert_eq!(sample.score(&sample.expected[2]), 25.0);
}

#[test]
fn needle_spans_hold_the_expected_strings() {
    for task in all() {
        let sample = task.sample(&Request::new(2000, &count_tokens).seed(11)).unwrap();
        for (number, answer) in sample.expected.iter().enumerate() {
            let mut needles = sample.needle_spans.iter().map(|span| &sample.context[span.clone()]);
            let found = match task.name() {
                "common_words" => needles.filter(|needle| needle.contains(&format!(" {answer} "))).count() == 30,
                "frequent_words" => needles.filter(|needle| needle.contains(answer)).count() > 30,
                _ => needles.nth(number).is_some_and(|needle| needle.contains(answer)),
            };
            assert!(found, "{}: {answer}", task.name());
        }
    }
}

#[test]
fn depth_is_kept_where_it_makes_sense_and_refused_elsewhere() {
    for task in all() {
        let request = Request::new(2048, &count_tokens);
        let sampled = task.sample(&request.depth(0.25));
        if task.takes_depth() {
            let sample = sampled.unwrap();
            assert_eq!(sample.depth, Some(0.25));
            // Depth counts sentences, and those are not equally long.
            let share = sample.needle_spans[0].start as f64 / sample.context.len() as f64;
            assert!((0.1..0.4).contains(&share), "{}: {share}", task.name());
        } else {
            assert_eq!(sampled, Err(TaskError::DepthOfMany { task: task.name() }));
            assert_eq!(task.sample(&request).unwrap().depth, None);
        }
        for depth in [-0.1, 1.1, f32::NAN] {
            assert!(task.sample(&request.depth(depth)).is_err());
        }
    }
}

#[test]
fn lengths_that_cannot_be_met_are_errors() {
    for task in all() {
        let short = task.sample(&Request::new(60, &count_tokens)).unwrap_err();
        let TaskError::TooShort { needed, .. } = short else { panic!("{short}") };
        let sample = task.sample(&Request::new(needed, &count_tokens)).unwrap();
        assert_eq!(count_tokens(&sample.prompt()) + task.answer_tokens(), needed);
        let long = task.sample(&Request::new(usize::MAX, &count_tokens)).unwrap_err();
        assert_eq!(long, TaskError::TooLong { length: usize::MAX });
    }
}

#[test]
fn a_count_that_does_not_grow_still_ends() {
    let constant = |_: &str| 1;
    let sample = find("needle_single_1").unwrap().sample(&Request::new(100, &constant)).unwrap();
    assert!(sample.context.lines().count() >= 100);
}

#[test]
fn unknown_names_list_the_known_ones() {
    let error = find("needle_single_4").err().unwrap().to_string();
    assert!(error.starts_with("unknown task `needle_single_4`; the tasks are needle_single_1, "));
    for task in all() {
        assert!(error.contains(task.name()));
        assert_eq!(find(task.name()).unwrap().name(), task.name());
    }
}

#[test]
fn default_text_is_long_clean_prose() {
    assert!(DEFAULT_TEXT.chars().count() > 200_000);
    assert!(DEFAULT_TEXT.starts_with("To the Congress of the United States:\n"));
    assert!(DEFAULT_TEXT.chars().all(|c| c == '\n' || !c.is_control()));
}

fn token_tasks() -> Vec<Box<dyn TokenTask>> {
    vec![
        Box::new(KeyValueRecall::default()),
        Box::new(KeyValueRecall { length: 3, distractors: 0, ..KeyValueRecall::default() }),
        Box::new(MultiQueryRecall::default()),
        Box::new(MultiQueryRecall { queries: 5, length: 200, ..MultiQueryRecall::default() }),
        Box::new(Copying::default()),
        Box::new(SelectiveCopying::default()),
        Box::new(Induction::default()),
        Box::new(Induction { length: 3, ..Induction::default() }),
        Box::new(Dyck::default()),
        Box::new(Dyck { vocabulary: 5..11, max_depth: 1, length: 30 }),
        Box::new(PhoneBook::default()),
        Box::new(PhoneBook { entries: 1, queries: 1 }),
        Box::new(Transliteration::default()),
        Box::new(Transliteration { vocabulary: 7..30, scripts: 1, words: 3..=3, length: 61 }),
    ]
}

fn classify_tasks() -> Vec<Box<dyn ClassifyTask>> {
    vec![
        Box::new(ListOps::default()),
        Box::new(ListOps::short()),
        Box::new(ByteSentiment::default()),
        Box::new(ByteSentiment { length: 64, judgements: 1 }),
        Box::new(ByteRetrieval::default()),
        Box::new(ByteRetrieval { length: 64 }),
        Box::new(ShapeImages),
        Box::new(ColouredShapes),
        Box::new(Pathfinder::short()),
    ]
}

#[test]
fn classify_solvers_are_right_and_every_class_is_drawn() {
    for task in classify_tasks() {
        let mut counts = vec![0; task.classes()];
        for seed in 0..300 {
            let sample = task.sample(seed).unwrap();
            assert_eq!(task.solve(&sample.tokens), Some(sample.label), "{}, seed {seed}", task.name());
            assert!(sample.tokens.iter().all(|&token| (token as usize) < task.vocabulary()));
            assert_eq!(sample.tokens.len() % task.documents(), 0);
            assert_eq!(task.sample(seed).unwrap(), sample);
            assert!(task.sample(seed + 1).unwrap().tokens != sample.tokens);
            counts[sample.label] += 1;
        }
        // A fifth of an equal share: ListOps has fewer fours than nines.
        assert!(counts.iter().all(|&count| 5 * count * task.classes() > 300), "{}: {counts:?}", task.name());
        assert_eq!(task.solve(&[]), None, "{}", task.name());
        assert_eq!(task.solve(&[u32::MAX; 10]), None, "{}", task.name());
    }
}

#[test]
fn token_solvers_are_right_and_sources_hold_the_answers() {
    for task in token_tasks() {
        for seed in 0..200 {
            let sample = task.sample(seed).unwrap();
            let answers: Vec<u32> = sample.queries.iter().map(|query| query.answer).collect();
            assert_eq!(task.solve(&sample.tokens), answers, "{}, seed {seed}", task.name());
            for query in &sample.queries {
                assert_eq!(task.answer_of(sample.tokens[query.source]), query.answer);
                assert!(query.source <= query.position && query.position < sample.tokens.len());
            }
            assert_eq!(task.sample(seed).unwrap(), sample);
            assert!(task.sample(seed + 1).unwrap() != sample);
        }
    }
}

/// With another token in the source slot the solver answers otherwise: it does read that slot.
#[test]
fn token_answers_depend_on_their_source() {
    for task in token_tasks() {
        let sample = task.sample(3).unwrap();
        for (number, query) in sample.queries.iter().enumerate() {
            let mut corrupted = sample.tokens.clone();
            corrupted[query.source] = u32::MAX;
            assert_ne!(task.solve(&corrupted)[number], query.answer, "{}", task.name());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Prompt and answer fit, and another line would not.
    #[test]
    fn length_is_met_within_a_line(seed: u64, length in 2000..5000_usize, which in 0..all().len()) {
        let task = all()[which];
        let sample = task.sample(&Request::new(length, &count_tokens).seed(seed)).unwrap();
        let used = count_tokens(&sample.prompt()) + task.answer_tokens();
        prop_assert!(used <= length);
        let longest_line = match task.name() {
            "needle_single_1" | "needle_multikey_2" | "variable_tracking" | "common_words" => 30,
            // Several ranks may gain a word at once.
            "frequent_words" => 12,
            "documents_one_hop" | "documents_two_hops" => 50,
            "needle_multikey_3" => 90,
            // The longest sentence of the default text.
            _ => 140,
        };
        prop_assert!(length - used < longest_line, "{}: {used} of {length}", task.name());
    }

    #[test]
    fn the_seed_decides_everything(seed: u64, which in 0..all().len()) {
        let task = all()[which];
        let sample = |seed| task.sample(&Request::new(2000, &count_tokens).seed(seed)).unwrap();
        prop_assert_eq!(sample(seed), sample(seed));
        prop_assert_ne!(sample(seed).expected, sample(seed ^ 1).expected);
    }

    #[test]
    fn a_deeper_needle_starts_later(seed: u64, a in 0.0..=1.0_f32, b in 0.0..=1.0_f32, which in 0..all().len()) {
        let task = all()[which];
        prop_assume!(task.takes_depth());
        let start = |depth| {
            let request = Request::new(1500, &count_tokens).seed(seed).depth(depth);
            task.sample(&request).unwrap().needle_spans[0].start
        };
        prop_assert!(start(a.min(b)) <= start(a.max(b)));
        prop_assert!(start(0.0) < start(1.0));
    }
}
