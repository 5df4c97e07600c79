//! Text, data and JSON are three forms of one thing.

use headwise_spec::{Call, Chain, Value, parse_call, parse_chain};
use proptest::prelude::*;

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[A-Za-z_][A-Za-z0-9_]{0,8}".prop_filter("`type` is taken", |name| name != "type"),
        Just("true".to_owned()),
        Just("none".to_owned()),
    ]
}

fn call(value: impl Strategy<Value = Value> + Clone) -> impl Strategy<Value = Call> {
    (name(), prop::collection::vec((name(), value), 0..4))
        .prop_map(|(name, args)| Call { name, args: args.into_iter().collect() })
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::None),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<f32>().prop_map(|number| Value::from(f64::from(number))),
        name().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from), call(inner).prop_map(Value::from)]
    })
}

proptest! {
    #[test]
    fn printed_data_reads_back(calls in prop::collection::vec(call(value().boxed()), 1..4)) {
        let chain = Chain(calls);
        let text = chain.to_string();
        let again = parse_chain(&text).map_err(|error| TestCaseError::fail(error.render()))?;
        prop_assert_eq!(&again, &chain);
        prop_assert_eq!(again.to_string(), text);
    }

    #[test]
    fn json_reads_back(call in call(value().boxed())) {
        let json = serde_json::to_string(&call).unwrap();
        let again: Call = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(&again, &call);
        prop_assert_eq!(again.to_string(), call.to_string());
    }

    #[test]
    fn white_space_does_not_matter(call in call(value().boxed())) {
        let strings_apart = call.to_string();
        prop_assume!(!strings_apart.contains('"'));
        let spread: String = strings_apart
            .chars()
            .flat_map(|c| if "()[]=,".contains(c) { vec![' ', c, '\n'] } else { vec![c] })
            .collect();
        prop_assert_eq!(parse_call(&spread).unwrap(), call);
    }

    #[test]
    fn anything_is_read_or_refused_with_a_place(text in ".{0,64}") {
        check(&text)?;
    }

    #[test]
    fn texts_of_the_right_letters_are_too(text in "[a(=)\\[\\],+ 1.e\"\\\\-]{0,32}") {
        check(&text)?;
    }
}

fn check(text: &str) -> Result<(), TestCaseError> {
    match parse_chain(text) {
        Ok(chain) => prop_assert_eq!(parse_chain(&chain.to_string()), Ok(chain)),
        Err(error) => {
            let column = error.column().ok_or_else(|| TestCaseError::fail("no column"))?;
            prop_assert!((1..=text.chars().count() + 1).contains(&column));
            prop_assert_eq!(error.render().lines().count(), 3);
        }
    }
    Ok(())
}
