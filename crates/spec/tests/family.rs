//! A toy family: typed reading and printing, signatures, and errors that point.

use headwise_spec::{
    Call, Family, MAX_DEPTH, Method, Problem, Value, check_family, family, from_chain_json, from_chain_text, from_json,
    from_text, method, to_chain_text, to_full_text, to_text,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// When eviction happens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum When {
    #[default]
    End,
    Chunk,
}

method! {
    /// Keeps every pair.
    pub struct Full {}
}

method! {
    /// Keeps the pairs that the last queries
    /// attend to.
    ///
    /// Li et al. 2024, arXiv:2404.14469.
    pub struct SnapKv {
        /// Pairs kept per head.
        pub budget: Option<usize> = None,
        /// Share of the pairs kept.
        pub keep: Option<f64> = None,
        /// Queries that vote.
        pub window: usize = 32,
        /// Width of the pooling.
        kernel: u8 = 7,
        /// When eviction happens.
        pub when: When = When::End,
        /// Pull towards uniform.
        pub smoothing: f32 = 0.1,
        /// Layers left alone.
        pub skip: Vec<u32> = vec![0],
        /// Pairs never evicted, or none.
        pub floor: Option<i64> = Some(4),
        /// Whether heads share.
        pub shared: bool = false,
        /// Name of the store.
        pub store: String = "f16".into(),
    }
}

method! {
    /// Divides the budget among heads.
    pub struct AdaKv {
        /// What scores the pairs.
        inner: Box<Policy> = Box::new(SnapKv { window: 16, ..SnapKv::default() }.into()),
        /// Others to try.
        others: Vec<Policy> = vec![],
        /// Share every head keeps.
        floor: f64 = 0.2,
    }
}

/// Quantises to eight bits: a method declared without the macro.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Int8 {
    group: usize,
}

impl Default for Int8 {
    fn default() -> Self {
        Self { group: 64 }
    }
}

impl Method for Int8 {
    const ABOUT: &'static str = "Quantises to eight bits.";
    const DOCS: &'static [(&'static str, &'static str)] = &[("group", "Values per scale.")];
}

family! {
    /// What stays in the cache.
    enum Policy: "cache" {
        full => Full,
        snapkv => SnapKv,
        adakv => AdaKv,
        int8 => Int8,
    }
}

fn render<T: serde::de::DeserializeOwned + std::fmt::Debug>(text: &str) -> String {
    from_text::<T>(text).unwrap_err().render()
}

#[test]
fn families_keep_their_promises() {
    check_family::<Policy>();
    assert_eq!(Policy::names(), ["full", "snapkv", "adakv", "int8"]);
    assert_eq!(Policy::FAMILY, "cache");
}

#[test]
fn reads_and_prints_the_difference_from_the_defaults() {
    let budget = |budget| SnapKv { budget: Some(budget), ..SnapKv::default() };
    for (text, policy, canonical) in [
        ("full", Full {}.into(), "full"),
        ("full()", Full {}.into(), "full"),
        ("snapkv", SnapKv::default().into(), "snapkv"),
        ("snapkv(window=32, budget=1024)", budget(1024).into(), "snapkv(budget=1024)"),
        ("snapkv(budget=none)", SnapKv::default().into(), "snapkv"),
        ("snapkv(keep=0.25)", SnapKv { keep: Some(0.25), ..Default::default() }.into(), "snapkv(keep=0.25)"),
        ("snapkv(keep=1)", SnapKv { keep: Some(1.0), ..Default::default() }.into(), "snapkv(keep=1.0)"),
        ("snapkv(keep=inf)", SnapKv { keep: Some(f64::INFINITY), ..Default::default() }.into(), "snapkv(keep=inf)"),
        ("snapkv(when=chunk)", SnapKv { when: When::Chunk, ..Default::default() }.into(), "snapkv(when=chunk)"),
        ("snapkv(smoothing=0.3)", SnapKv { smoothing: 0.3, ..Default::default() }.into(), "snapkv(smoothing=0.3)"),
        ("snapkv(skip=[])", SnapKv { skip: vec![], ..Default::default() }.into(), "snapkv(skip=[])"),
        ("snapkv(skip=[0])", SnapKv::default().into(), "snapkv"),
        ("snapkv(floor=none)", SnapKv { floor: None, ..Default::default() }.into(), "snapkv(floor=none)"),
        ("snapkv(floor=-4)", SnapKv { floor: Some(-4), ..Default::default() }.into(), "snapkv(floor=-4)"),
        ("snapkv(store=\"a b\")", SnapKv { store: "a b".into(), ..Default::default() }.into(), "snapkv(store=\"a b\")"),
        ("snapkv(store=none)", SnapKv { store: "none".into(), ..Default::default() }.into(), "snapkv(store=\"none\")"),
    ] {
        let read: Policy = from_text(text).unwrap_or_else(|error| panic!("{error:#}"));
        assert_eq!(read, policy, "{text}");
        assert_eq!(to_text(&policy), canonical);
        assert_eq!(policy.to_string(), canonical);
        assert_eq!(canonical.parse::<Policy>().unwrap(), policy);
        assert_eq!(to_full_text(&policy).parse::<Policy>().unwrap(), policy);
    }
    let full =
        "snapkv(budget=8, window=32, kernel=7, when=end, smoothing=0.1, skip=[0], floor=4, shared=false, store=f16)";
    assert_eq!(to_full_text(&Policy::from(budget(8))), full);
}

#[test]
fn methods_nest() {
    for (text, canonical) in [
        ("adakv", "adakv"),
        ("adakv(inner=snapkv(window=16))", "adakv"),
        ("adakv(inner=snapkv)", "adakv(inner=snapkv)"),
        ("adakv(inner=snapkv(window=32))", "adakv(inner=snapkv)"),
        ("adakv(inner=adakv(floor=0.5))", "adakv(inner=adakv(floor=0.5))"),
        ("adakv(inner=full)", "adakv(inner=full)"),
        ("adakv(inner=full())", "adakv(inner=full)"),
        ("adakv(inner=\"snapkv(budget=8)\")", "adakv(inner=snapkv(budget=8))"),
        ("adakv(inner=snapkv(budget=8, window=32))", "adakv(inner=snapkv(budget=8))"),
        ("adakv(others=[full, int8(group=64), int8(group=32)])", "adakv(others=[full, int8, int8(group=32)])"),
    ] {
        let policy: Policy = from_text(text).unwrap_or_else(|error| panic!("{error:#}"));
        assert_eq!(to_text(&policy), canonical, "{text}");
        assert_eq!(canonical.parse::<Policy>().unwrap(), policy);
    }
}

#[test]
fn chains() {
    let text = "snapkv(budget=8) + int8";
    let policies: Vec<Policy> = from_chain_text(text).unwrap();
    assert_eq!(policies.len(), 2);
    assert_eq!(to_chain_text(&policies), text);
    for json in
        [json!(text), json!(["snapkv(budget=8)", "int8"]), json!([{"type": "snapkv", "budget": 8}, {"type": "int8"}])]
    {
        assert_eq!(from_chain_json::<Policy>(&json).unwrap(), policies);
    }
    assert_eq!(from_chain_json::<Policy>(&json!({"type": "int8"})).unwrap(), policies[1..]);
    assert_eq!(from_chain_text::<Policy>("int8 + full(x=1)").unwrap_err().column(), Some(13));
}

#[test]
fn errors_point_into_the_text() {
    for picture in [
        "\
unknown name `snapkb`; did you mean `snapkv`? valid: full, snapkv, adakv, int8
  snapkb(budget=1024)
  ^",
        "\
unknown name `retention`; valid: full, snapkv, adakv, int8
  retention
  ^",
        "\
unknown parameter `buget` of `snapkv`; did you mean `budget`? valid: budget, keep, window, kernel, when, smoothing, \
skip, floor, shared, store
  snapkv(window=8, buget=1024)
                   ^",
        "\
unknown parameter `budget` of `full`; there are none
  full(budget=1)
       ^",
        "\
wanted a whole number for `budget` of `snapkv`, not `many`
  snapkv(window=8, budget=many)
                          ^",
        "\
wanted a whole number for `window` of `snapkv`, not `-1`
  snapkv(window = -1)
                  ^",
        "\
wanted a whole number for `window` of `snapkv`, not `1.0`
  snapkv(window=1.0)
                ^",
        "\
wanted a whole number up to 255 for `kernel` of `snapkv`, not `256`
  snapkv(kernel=256)
                ^",
        "\
wanted a whole number for `window` of `snapkv`, not `none`
  snapkv(window=none)
                ^",
        "\
wanted true or false for `shared` of `snapkv`, not `1`
  snapkv(shared=1)
                ^",
        "\
wanted text for `store` of `snapkv`, not a method
  snapkv(store=f16(x=1))
               ^",
        "\
wanted a list for `skip` of `snapkv`, not `3`
  snapkv(skip=3)
              ^",
        "\
wanted a whole number up to 4294967295 for `skip` of `snapkv`, not `two`
  snapkv(skip=[1, two])
                  ^",
        "\
unknown name `ending` for `when`; did you mean `end`? valid: end, chunk
  snapkv(when=ending)
              ^",
        "\
unknown parameter `x` of `end`; there are none
  snapkv(when=end(x=1))
                  ^",
    ] {
        let text = picture.lines().nth(1).unwrap().trim();
        assert_eq!(render::<Policy>(text), picture);
    }
}

#[test]
fn errors_point_into_nested_methods() {
    for picture in [
        "\
unknown name `snapkb` for `inner`; did you mean `snapkv`? valid: full, snapkv, adakv, int8
  adakv(inner=snapkb(budget=8))
              ^",
        "\
unknown parameter `buget` of `snapkv`; did you mean `budget`? valid: budget, keep, window, kernel, when, smoothing, \
skip, floor, shared, store
  adakv(inner=snapkv(buget=8))
                     ^",
        "\
wanted a number for `keep` of `snapkv`, not `half`
  adakv(others=[full, snapkv(keep=half)])
                                  ^",
        "\
wanted a `cache` method for `inner` of `adakv`, not `3`
  adakv(inner=3)
              ^",
        "\
expected `,` or `)`, found the end of the text
  adakv(inner=\"snapkv(budget=8\")
              ^",
    ] {
        let text = picture.lines().nth(1).unwrap().trim();
        assert_eq!(render::<Policy>(text), picture);
    }
}

#[test]
fn specs_in_strings_do_not_get_round_the_depth_limit() {
    let once = Call::new("adakv").with("inner", "adakv(inner=snapkv(budget=8))").to_string();
    assert_eq!(from_text::<Policy>(&once).unwrap().to_string(), "adakv(inner=adakv(inner=snapkv(budget=8)))");
    let twice = Call::new("adakv").with("inner", Call::new("adakv").with("inner", once.as_str()).to_string());
    let error = from_text::<Policy>(&twice.to_string()).unwrap_err();
    assert_eq!((error.problem(), error.column()), (&Problem::TooDeep, Some(13)));
}

#[test]
fn the_deepest_spec_reads_and_prints() {
    let text = format!("{}full{}", "adakv(inner=".repeat(MAX_DEPTH), ")".repeat(MAX_DEPTH));
    assert_eq!(from_text::<Policy>(&text).unwrap().to_string(), text);
}

#[test]
fn long_specs_print_in_time() {
    let layers: Vec<u32> = (1..20_000).collect();
    let policy = Policy::from(SnapKv { skip: layers, ..Default::default() });
    assert_eq!(policy.to_string().parse::<Policy>().unwrap(), policy);
    assert!(policy.to_string().starts_with("snapkv(skip=[1, 2, "));

    let others = vec![Int8 { group: 32 }.into(); 20_000];
    let policy = Policy::from(AdaKv { others, ..Default::default() });
    assert_eq!(policy.to_string().parse::<Policy>().unwrap(), policy);
}

#[test]
fn json_and_toml_take_text_and_objects() {
    let policy: Policy = from_text("snapkv(budget=8, when=chunk)").unwrap();
    for json in [json!("snapkv(budget=8, when=chunk)"), json!({"when": "chunk", "budget": 8, "type": "snapkv"})] {
        assert_eq!(serde_json::from_value::<Policy>(json.clone()).unwrap(), policy);
        assert_eq!(from_json::<Policy>(&json).unwrap(), policy);
    }
    let json = serde_json::to_value(&policy).unwrap();
    assert_eq!((&json["type"], &json["budget"], &json["keep"]), (&json!("snapkv"), &json!(8), &json!(null)));
    assert_eq!(serde_json::from_value::<Policy>(json).unwrap(), policy);

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct File {
        one: Policy,
        #[serde(with = "headwise_spec::chain")]
        cache: Vec<Policy>,
    }
    let file: File = toml::from_str(
        "one = { type = 'snapkv', budget = 8, when = 'chunk' }\ncache = 'snapkv(budget=8, when=chunk) + int8'",
    )
    .unwrap();
    assert_eq!((&file.one, &file.cache[0], file.cache.len()), (&policy, &policy, 2));
    assert_eq!(toml::from_str::<File>(&toml::to_string(&file).unwrap()).unwrap(), file);
    let json = serde_json::to_value(&file).unwrap();
    assert_eq!(json["cache"], json!("snapkv(budget=8, when=chunk) + int8"));
    assert_eq!(serde_json::from_value::<File>(json).unwrap(), file);

    let message = toml::from_str::<File>("one = 'snapkv(buget=8)'\ncache = 'int8'").unwrap_err().to_string();
    assert!(message.contains("unknown parameter `buget` of `snapkv`; did you mean `budget`?"), "{message}");
    let message = from_json::<Policy>(&json!({"type": "snapkv", "window": "x"})).unwrap_err().to_string();
    assert_eq!(message, "wanted a whole number for `window` of `snapkv`, not `x`");
}

#[test]
fn parses_calls() {
    let call = Call::new("int8").with("group", Value::from(32));
    let policy = Policy::parse(&call).unwrap();
    assert_eq!(policy, Int8 { group: 32 }.into());
    assert_eq!((policy.name(), policy.to_call().unwrap()), ("int8", call));
}

#[test]
fn signatures_tell_names_kinds_defaults_and_docs() {
    let signature = Policy::signature("snapkv").unwrap();
    assert_eq!(signature.summary(), "Keeps the pairs that the last queries attend to.");
    assert!(signature.about.ends_with("\n\nLi et al. 2024, arXiv:2404.14469."), "{:?}", signature.about);
    assert_eq!(signature.parameters[2].doc, "Queries that vote.");
    assert_eq!(
        signature.to_string(),
        "snapkv(budget: a whole number, optional, keep: a number, optional, window: a whole number = 32, \
         kernel: a whole number up to 255 = 7, when: end | chunk = end, smoothing: a number = 0.1, \
         skip: a list, each item a whole number up to 4294967295 = [0], floor: an integer = 4, \
         shared: true or false = false, store: text = f16)"
    );
    let inner = &Policy::signature("adakv").unwrap().parameters[0];
    assert_eq!(inner.to_string(), "inner: a `cache` method = snapkv(window=16)");
    assert!(Policy::signature("nothing").is_none());
}

/// A family with a parameter that nobody has described.
mod undocumented {
    use super::*;

    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    pub struct Mystery {
        known: usize,
        unknown: usize,
    }

    impl Method for Mystery {
        const ABOUT: &'static str = "Nobody knows.";
        const DOCS: &'static [(&'static str, &'static str)] = &[("known", "Known.")];
    }

    family! {
        pub enum Mysteries: "mystery" { mystery => Mystery }
    }

    #[test]
    #[should_panic(expected = "parameters documented for `mystery`")]
    fn the_check_notices() {
        check_family::<Mysteries>();
    }
}
