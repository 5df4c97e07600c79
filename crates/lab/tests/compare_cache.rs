//! The cache comparison end to end, on the induction model, whose answers are known exactly.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use headwise_engine::cache::CachePolicy;
use headwise_engine::{Engine, Generation, Sampler, generate};
use headwise_lab::compare::cache::{
    Answer, CacheComparison, CompareError, Item, Moment, Progress, Silent, Subject, Suite, toy_engine,
};
use headwise_lab::report::{self, ReportInput};
use headwise_lab::rows::{CacheRow, Envelope, Machine, Setting};
use headwise_lab::table;

static ENGINE: LazyLock<Engine> = LazyLock::new(|| toy_engine(2).expect("the induction model is part of the program"));

const LENGTH: usize = 640;
const SAMPLES: usize = 2;

fn toy(caches: &[&str], seed: u64) -> CacheComparison {
    CacheComparison {
        suite: Suite::Toy,
        caches: caches.iter().map(|&cache| cache.into()).collect(),
        keep: vec![0.25],
        lengths: vec![LENGTH],
        samples: Some(SAMPLES),
        seed,
        ..CacheComparison::default()
    }
}

fn run(comparison: &CacheComparison, progress: &mut dyn Progress) -> Vec<CacheRow> {
    comparison.plan(Subject::Toy(&ENGINE)).unwrap().run(progress).unwrap()
}

/// Recall by depth in percent.
fn recall(rows: &[CacheRow], policy: &str, setting: Setting) -> BTreeMap<u32, f64> {
    let own = rows.iter().filter(|row| row.policy == policy && row.setting == Some(setting));
    own.map(|row| (row.depth.unwrap() as u32, row.score.unwrap())).collect()
}

fn all(score: f64) -> BTreeMap<u32, f64> {
    [0, 25, 50, 75, 100].map(|depth| (depth, score)).into()
}

#[test]
fn speed_rows_say_how_much_is_read() {
    let rows = run(&toy(&["long_heads(budget=160, chunk=16)", "streaming"], 0), &mut Silent);
    let read = |policy: &str| rows.iter().find(|row| row.policy == policy && row.task == "speed").unwrap().read_pct;
    let [most, least] = [160.0 / LENGTH as f64, 129.0 / (LENGTH as f64 + 400.0)].map(|share| 100.0 * share);
    let chosen = read("long_heads(budget=160, chunk=16)").unwrap();
    assert!((least..=most).contains(&chosen), "{chosen} %");
    assert_eq!((read("full"), read("streaming(keep=0.25)")), (None, None));
    assert!(table::cache(&rows, 200).contains("read"));
}

#[test]
fn recall_is_exactly_what_the_policies_keep() {
    let rows = run(&toy(&["streaming", "snapkv", "f32", "snapkv(keep=0.25, when=chunk)"], 0), &mut Silent);
    for setting in [Setting::Agnostic, Setting::Aware] {
        assert_eq!(recall(&rows, "full", setting), all(100.0));
        assert_eq!(recall(&rows, "f32", setting), all(100.0));
        // Pairs at 0 % are among the sinks, pairs at 100 % in the recent window of a quarter; the rest is gone.
        let kept = BTreeMap::from([(0, 100.0), (25, 0.0), (50, 0.0), (75, 0.0), (100, 100.0)]);
        assert_eq!(recall(&rows, "streaming(keep=0.25)", setting), kept, "{setting:?}");
    }
    // The question's own attention tells SnapKV what to keep, if it is there.
    assert_eq!(recall(&rows, "snapkv(keep=0.25)", Setting::Aware), all(100.0));
    let blind = recall(&rows, "snapkv(keep=0.25)", Setting::Agnostic);
    assert_eq!(blind[&100], 100.0, "in the window that always stays");
    assert!(blind.values().sum::<f64>() < 500.0, "without the question something is lost: {blind:?}");
    // Evicting while it reads, it cannot know either: the question stands in the last chunk.
    assert!(recall(&rows, "snapkv(keep=0.25, when=chunk)", Setting::Aware).values().sum::<f64>() < 500.0);
}

#[test]
fn rows_say_what_was_measured() {
    let rows = run(&toy(&["snapkv", "f32"], 3), &mut Silent);
    let policies = ["full", "snapkv(keep=0.25)", "f32"];
    // Two settings at five depths, and a speed row.
    assert_eq!(rows.len(), policies.len() * 11);
    for row in &rows {
        assert!(policies.contains(&row.policy.as_str()));
        assert_eq!((row.t, row.seed), (LENGTH, 3));
        let (own, peak) = (row.kv_bytes.unwrap(), row.peak_kv_bytes.unwrap());
        assert!(own <= peak);
        let kv_pct = row.kv_pct.unwrap();
        match row.policy.as_str() {
            "full" => assert!(kv_pct == 100.0 && row.ratio.is_none()),
            "f32" => assert!(kv_pct > 190.0 && row.ratio.is_none()),
            _ => {
                // A quarter of the pairs, and the window of queries, which weighs much in so small a model.
                assert!((25.0..50.0).contains(&kv_pct), "{kv_pct}");
                assert!((row.ratio.unwrap() - 0.75).abs() < 0.01);
                assert!(peak > 2 * own, "full attention first");
            }
        }
        if row.task == "speed" {
            assert!(row.score.is_none() && row.setting.is_none() && row.depth.is_none());
            let (tok_s, full_tok_s) = (row.tok_s.unwrap(), row.full_tok_s.unwrap());
            assert!(tok_s > 0.0 && full_tok_s > 0.0 && row.prefill_tok_s.unwrap() > 0.0);
            assert!(row.p50_ms.unwrap() <= row.p95_ms.unwrap());
            assert!(row.cpu_ms.unwrap() > 0.0 && row.prefill_cpu_s.unwrap() > 0.0);
        } else {
            assert_eq!((row.task.as_str(), row.n, row.full_score), ("induction", Some(SAMPLES as u64), Some(100.0)));
        }
    }
}

/// Everything but times.
fn untimed(rows: Vec<CacheRow>) -> Vec<CacheRow> {
    let without = |row: CacheRow| CacheRow {
        prefill_tok_s: None,
        tok_s: None,
        full_tok_s: None,
        p50_ms: None,
        p95_ms: None,
        prefill_cpu_s: None,
        cpu_ms: None,
        ..row
    };
    rows.into_iter().map(without).collect()
}

#[test]
fn a_seed_gives_the_same_rows_and_another_seed_other_prompts() {
    let compare = |seed| untimed(run(&toy(&["snapkv", "streaming"], seed), &mut Silent));
    assert_eq!(compare(1), compare(1));
    let mut prompts = [Prompts::default(), Prompts::default()];
    prompts.iter_mut().zip([1, 2]).for_each(|(prompts, seed)| drop(run(&toy(&["f32"], seed), prompts)));
    assert_ne!(prompts[0].0, prompts[1].0);
}

#[derive(Default)]
struct Prompts(Vec<Vec<u32>>);

impl Progress for Prompts {
    fn answered(&mut self, answer: &Answer<'_>) {
        self.0.push(answer.prompt.to_vec());
    }
}

/// Compares every answer of the aware setting with what `generate` writes for the same prompt and policy.
#[derive(Default)]
struct Generates(BTreeMap<String, usize>);

impl Progress for Generates {
    fn answered(&mut self, answer: &Answer<'_>) {
        let policy = CachePolicy::parse(answer.policy).unwrap();
        let mut sequence = ENGINE.sequence(&policy).unwrap();
        let generation = Generation { tokens: answer.ids.len(), stop: Vec::new() };
        let (read, rest) = match answer.setting {
            Setting::Aware => (answer.prompt, &[][..]),
            Setting::Agnostic => answer.prompt.split_at(answer.context),
        };
        let ids = if rest.is_empty() {
            generate(&ENGINE, &mut sequence, read, &generation, &mut Sampler::greedy(), |_| true).unwrap().ids
        } else {
            ENGINE.prefill(&mut sequence, read, |_| {}).unwrap();
            generate(&ENGINE, &mut sequence, rest, &generation, &mut Sampler::greedy(), |_| true).unwrap().ids
        };
        assert_eq!(ids, answer.ids, "{} {:?} at depth {:?}", answer.policy, answer.setting, answer.depth);
        *self.0.entry(answer.policy.into()).or_default() += 1;
    }
}

#[test]
fn answers_equal_what_generate_writes() {
    let comparison = CacheComparison { samples: Some(1), ..toy(&[], 5) };
    let plan = comparison.plan(Subject::Toy(&ENGINE)).unwrap().with_depths(&[0.3, 0.9]).unwrap();
    let policies: Vec<String> = plan.policies().iter().map(ToString::to_string).collect();
    let mut generates = Generates::default();
    plan.run(&mut generates).unwrap();
    assert!(policies.len() >= 10, "every policy of the suites: {policies:?}");
    for policy in policies {
        assert_eq!(generates.0.get(&policy), Some(&4), "{policy}: two depths in two settings");
    }
}

#[derive(Default)]
struct Course {
    done: Vec<f64>,
    started: Vec<String>,
    finished: usize,
}

impl Progress for Course {
    fn started(&mut self, item: &Item) {
        self.started.push(item.work.to_string());
    }

    fn moved(&mut self, moment: &Moment<'_>) {
        assert!(!moment.doing.is_empty());
        self.done.push(moment.done);
    }

    fn finished(&mut self, _: &Item) {
        self.finished += 1;
    }
}

#[test]
fn the_plan_is_told_before_and_followed_in_order() {
    let comparison = CacheComparison { lengths: vec![LENGTH, 128], ..toy(&["streaming"], 0) };
    let plan = comparison.plan(Subject::Toy(&ENGINE)).unwrap();
    let text = plan.to_string();
    for part in ["2 threads", "streaming(keep=0.25)", "induction at 128 tokens", "speed at 640 tokens", "everything"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(plan.seconds() > 0.0);
    let mut course = Course::default();
    plan.run(&mut course).unwrap();
    assert_eq!(
        course.started,
        ["induction at 128 tokens", "induction at 640 tokens", "speed at 128 tokens", "speed at 640 tokens"]
    );
    assert_eq!(course.finished, 4);
    assert!(course.done.is_sorted() && course.done.iter().all(|done| (0.0..=1.0).contains(done)));
}

#[test]
fn rows_survive_json_and_fill_a_table_and_a_report() {
    let rows = run(&toy(&["streaming", "snapkv"], 0), &mut Silent);
    let envelope = Envelope {
        version: "0.1.0".into(),
        machine: Machine::detect(2, "avx512"),
        command: "headwise compare cache --suite toy".into(),
        rows,
    };
    let json = serde_json::to_string(&envelope).unwrap();
    assert_eq!(serde_json::from_str::<Envelope<CacheRow>>(&json).unwrap(), envelope);
    let table = table::cache(&envelope.rows, 120);
    assert!(table.contains("streaming(keep=0.25)"), "{table}");
    let page = report::html(&ReportInput { title: "Toy", envelope: &envelope, date: "today", notes: &[] });
    assert!(page.contains("snapkv(keep=0.25)"));
}

#[test]
fn mistakes_are_found_before_anything_runs() {
    let error = |comparison: CacheComparison| comparison.plan(Subject::Toy(&ENGINE)).unwrap_err();
    let text = |comparison: CacheComparison| error(comparison).to_string();
    let unknown = text(toy(&["snapvk"], 0));
    assert!(unknown.contains("snapvk") && unknown.contains("streaming"), "{unknown}");
    assert!(text(toy(&["snapkv(keep=0)"], 0)).contains("above 0"));
    assert!(text(toy(&["snapkv(budget=641)"], 0)).contains("640"));
    assert!(text(CacheComparison { keep: vec![2.0], ..toy(&[], 0) }).contains("--keep 2"));
    assert!(text(CacheComparison { samples: Some(0), ..toy(&[], 0) }).contains("at least 1"));
    assert!(text(CacheComparison { lengths: vec![640, 4], ..toy(&["f32"], 0) }).contains("at least 16"));
    let wrong = error(CacheComparison { suite: Suite::Quick, ..toy(&[], 0) });
    assert!(matches!(wrong, CompareError::WrongSuite { .. }) && wrong.to_string().contains("--suite toy"));
    let small = toy_engine(1).unwrap().with_context(512);
    let above = toy(&["f32"], 0).plan(Subject::Toy(&small)).unwrap_err().to_string();
    assert!(above.contains("640") && above.contains("512"), "{above}");
}

#[test]
fn lengths_of_the_suite_that_do_not_fit_are_left_out() {
    let small = toy_engine(1).unwrap().with_context(1024);
    let comparison = CacheComparison { lengths: Vec::new(), ..toy(&["f32"], 0) };
    let plan = comparison.plan(Subject::Toy(&small)).unwrap();
    let works: Vec<String> = plan.items().iter().map(|item| item.work.to_string()).collect();
    assert_eq!(
        works,
        ["induction at 512 tokens", "induction at 1,024 tokens", "speed at 512 tokens", "speed at 1,024 tokens"]
    );
}
