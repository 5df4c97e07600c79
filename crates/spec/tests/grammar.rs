//! The grammar: what it takes, what it refuses, and where its errors point.

use headwise_spec::{Call, Chain, MAX_DEPTH, Problem, Value, parse_call, parse_chain};

#[test]
fn takes_and_prints() {
    for (text, canonical) in [
        ("full", "full"),
        ("full()", "full"),
        ("  full ( ) ", "full"),
        ("_a1", "_a1"),
        ("snapkv(budget=1024,window=32)", "snapkv(budget=1024, window=32)"),
        ("snapkv(\n  budget = 1024,\n  window = 32\n)", "snapkv(budget=1024, window=32)"),
        ("snapkv(budget=1024)+int8", "snapkv(budget=1024) + int8"),
        ("a+b + c(x=1)", "a + b + c(x=1)"),
        ("a(x=0.25)", "a(x=0.25)"),
        ("a(x=0.10)", "a(x=0.1)"),
        ("a(x=1.0)", "a(x=1.0)"),
        ("a(x=1e3)", "a(x=1000.0)"),
        ("a(x=1E-5)", "a(x=0.00001)"),
        ("a(x=1e-9)", "a(x=1e-9)"),
        ("a(x=2.5e+20)", "a(x=2.5e+20)"),
        ("a(x=-7)", "a(x=-7)"),
        ("a(x=007)", "a(x=7)"),
        ("a(x=-0)", "a(x=0)"),
        ("a(x=18446744073709551615)", "a(x=18446744073709551615)"),
        ("a(x=-9223372036854775808)", "a(x=-9223372036854775808)"),
        ("a(x=true, y=false, z=none)", "a(x=true, y=false, z=none)"),
        (r#"a(x="end")"#, "a(x=end)"),
        (r#"a(x="none")"#, r#"a(x="none")"#),
        (r#"a(x="32 MiB")"#, r#"a(x="32 MiB")"#),
        (r#"a(x="\"\\\n\t\r\u{1f980}\u{0}")"#, r#"a(x="\"\\\n\t\r🦀\u{0}")"#),
        ("a(x=[])", "a(x=[])"),
        ("a(x=[1,[2,three],b(y=4),c()])", "a(x=[1, [2, three], b(y=4), c()])"),
        ("a(x=b(y=c(z=1)))", "a(x=b(y=c(z=1)))"),
        ("a(x=b())", "a(x=b())"),
        ("a(true=true)", "a(true=true)"),
    ] {
        let chain = parse_chain(text).unwrap_or_else(|error| panic!("{error:#}"));
        assert_eq!(chain.to_string(), canonical, "{text}");
        assert_eq!(parse_chain(canonical).unwrap(), chain, "{text}");
    }
}

#[test]
fn integers_stay_integers() {
    let call = parse_call("a(i=1024, f=1024.0, n=-3)").unwrap();
    assert!(matches!(&call.args["i"], Value::Number(n) if n.is_u64()));
    assert!(matches!(&call.args["f"], Value::Number(n) if n.is_f64()));
    assert!(matches!(&call.args["n"], Value::Number(n) if n.is_i64() && !n.is_u64()));
    assert_ne!(call.args["i"], call.args["f"]);
}

#[test]
fn data_built_by_hand_equals_what_is_read() {
    let built = Call::new("snapkv").with("budget", 1024).with("inner", Call::new("full").with("when", "end"));
    assert_eq!(parse_call("snapkv(budget=1024, inner=full(when=end))").unwrap(), built);
}

/// The text, its column, and the message.
const REFUSED: &[(&str, usize, &str)] = &[
    ("", 1, "expected the name of a method, found the end of the text"),
    ("   ", 4, "expected the name of a method, found the end of the text"),
    ("8bit", 1, "expected the name of a method, found `8`"),
    ("größe", 3, "expected `+` or the end of the text, found `ö`"),
    ("a b", 3, "expected `+` or the end of the text, found `b`"),
    ("a)", 2, "expected `+` or the end of the text, found `)`"),
    ("a +", 4, "expected the name of a method, found the end of the text"),
    ("a + + b", 5, "expected the name of a method, found `+`"),
    ("+ a", 1, "expected the name of a method, found `+`"),
    ("a(", 3, "expected the name of a parameter, found the end of the text"),
    ("a(1)", 3, "expected the name of a parameter, found `1`"),
    ("a(x)", 4, "expected `=` and a value, found `)`"),
    ("a(x=)", 5, "expected a value, found `)`"),
    ("a(x=1", 6, "expected `,` or `)`, found the end of the text"),
    ("a(x=1,)", 7, "expected the name of a parameter, found `)`"),
    ("a(x=1 y=2)", 7, "expected `,` or `)`, found `y`"),
    ("a(x=[1 2])", 8, "expected `,` or `]`, found `2`"),
    ("a(x=[1,])", 8, "expected a value, found `]`"),
    ("a(x={})", 5, "expected a value, found `{`"),
    ("a(x=1, y=2, x=3)", 13, "parameter `x` is given twice"),
    ("a(type=b)", 3, "`type` cannot be a parameter: it names the method in TOML and JSON"),
    ("a(x=\"b", 5, "this string has no closing `\"`"),
    ("a(x=\"b\\\")", 5, "this string has no closing `\"`"),
    ("a(x=\"b\\z\")", 7, r#"unknown escape; valid: \" \\ \n \r \t \u{hex}"#),
    ("a(x=\"\\u{d800}\")", 6, r#"unknown escape; valid: \" \\ \n \r \t \u{hex}"#),
    ("a(x=\"\\u{1234567}\")", 6, r#"unknown escape; valid: \" \\ \n \r \t \u{hex}"#),
    ("a(x=\"\\u{}\")", 6, r#"unknown escape; valid: \" \\ \n \r \t \u{hex}"#),
    ("a\0", 2, "expected `+` or the end of the text, found `\\u{0}`"),
    ("🦀", 1, "expected the name of a method, found `🦀`"),
    ("a(x=\"🦀🦀\") 🦀", 11, "expected `+` or the end of the text, found `🦀`"),
];

#[test]
fn refuses_and_points() {
    for (text, column, message) in REFUSED {
        let error = parse_chain(text).unwrap_err();
        assert_eq!((error.column(), error.problem().to_string().as_str()), (Some(*column), *message), "{text}");
        assert_eq!(error.to_string(), format!("column {column}: {message}"));
    }
}

#[test]
fn numbers_no_machine_holds_are_refused() {
    let long = "9".repeat(100_000);
    for number in [
        "18446744073709551616",
        "-9223372036854775809",
        "1e999",
        "-1e999",
        "-",
        ".5",
        "5.",
        "1.e5",
        "1e",
        "1e+",
        "1_000",
        "0x10",
        "1.2.3",
        "1-2",
        "32MiB",
        "١",
        &long,
    ] {
        let error = parse_chain(&format!("a(x={number})")).unwrap_err();
        assert_eq!(error.column(), Some(5), "{number}");
        let message = error.to_string();
        assert!(number == "١" || matches!(error.problem(), Problem::Number { .. }), "{message}");
        assert!(message.len() < 250, "{message}");
    }
}

#[test]
fn nesting_is_limited() {
    let calls = |depth: usize| format!("{}a{}", "a(x=".repeat(depth), ")".repeat(depth));
    let lists = |depth: usize| format!("a(x={}{})", "[".repeat(depth - 1), "]".repeat(depth - 1));
    for nested in [calls, lists] {
        let text = nested(MAX_DEPTH);
        assert_eq!(parse_chain(&text).unwrap().to_string(), text);
        for depth in [MAX_DEPTH + 1, 100_000] {
            let error = parse_chain(&nested(depth)).unwrap_err();
            assert_eq!(error.problem(), &Problem::TooDeep);
            assert_eq!(error.column(), parse_chain(&nested(MAX_DEPTH + 1)).unwrap_err().column());
        }
    }
    assert_eq!(parse_chain(&calls(MAX_DEPTH + 1)).unwrap_err().column(), Some(4 * MAX_DEPTH + 2));
    // Depth is that of the place, not of the text so far.
    assert!(parse_chain(&vec![calls(MAX_DEPTH); 3].join(" + ")).is_ok());
}

#[test]
fn long_texts_are_read_in_linear_time() {
    let arguments: Vec<String> = (0..50_000).map(|index| format!("x{index}={index}")).collect();
    let text = format!("a({})", arguments.join(", "));
    assert_eq!(parse_call(&text).unwrap().to_string(), text);
    let repeated = format!("a({}, x7=7)", arguments.join(", "));
    let error = parse_call(&repeated).unwrap_err();
    assert_eq!(error.problem(), &Problem::Repeated { parameter: "x7".into() });
    assert!(error.render().len() < 500, "{}", error.render());
}

#[test]
fn one_call_is_not_a_chain() {
    let error = parse_call("snapkv(budget=8) + int8 + int4").unwrap_err();
    let picture = "\
one method is wanted here, not a chain of 3
  snapkv(budget=8) + int8 + int4
                     ^";
    assert_eq!(error.render(), picture);
    assert_eq!(parse_call("int8").unwrap(), Call::new("int8"));
    assert_eq!(parse_chain("int8").unwrap(), Chain(vec![Call::new("int8")]));
}

#[test]
fn rendering_shows_the_place() {
    for (text, picture) in [
        (
            "snapkv(budget=1024",
            "\
expected `,` or `)`, found the end of the text
  snapkv(budget=1024
                    ^",
        ),
        (
            "a(x=\"🦀\", y=#)",
            "\
expected a value, found `#`
  a(x=\"🦀\", y=#)
              ^",
        ),
        (
            "a(\n\tx=1 2)",
            "\
expected `,` or `)`, found `2`
  a(  x=1 2)
          ^",
        ),
    ] {
        let error = parse_chain(text).unwrap_err();
        assert_eq!(error.render(), picture);
        assert_eq!(format!("{error:#}"), picture);
    }
}
