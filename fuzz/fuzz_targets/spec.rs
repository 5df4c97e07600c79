//! Specs from anyone: whatever is read, prints and converts to something that reads back as the same.

#![no_main]

use headwise_spec::{Chain, from_chain_json, from_chain_text, parse_chain, to_chain_text, to_full_text};
use libfuzzer_sys::fuzz_target;

headwise_spec::method! {
    /// A method with a parameter of every kind.
    struct Leaf {
        /// Integer.
        i: i8 = -1,
        /// Optional number.
        f: Option<f32> = Some(0.1),
        /// Text.
        s: String = "end".into(),
        /// List.
        l: Vec<bool> = vec![true],
    }
}

headwise_spec::method! {
    /// A method that holds others.
    struct Tree {
        /// One.
        a: Box<Toy> = Box::new(Leaf::default().into()),
        /// More.
        b: Vec<Toy> = vec![],
    }
}

headwise_spec::family! {
    /// The smallest family with everything.
    enum Toy: "toy" { l => Leaf, t => Tree }
}

fuzz_target!(|text: &str| {
    match parse_chain(text) {
        Ok(chain) => {
            let printed = chain.to_string();
            assert_eq!(parse_chain(&printed).as_ref(), Ok(&chain));
            assert_eq!(parse_chain(&printed).map(|chain| chain.to_string()), Ok(printed));
            assert_eq!(Chain::from_json(&chain.to_json()).as_ref(), Ok(&chain));
            typed(text, &chain);
        }
        Err(error) => {
            let column = error.column().expect("an error in a text has a column");
            assert!((1..=text.chars().count() + 1).contains(&column));
            assert_eq!(error.render().lines().count(), 3);
        }
    }
});

fn typed(text: &str, chain: &Chain) {
    match from_chain_text::<Toy>(text) {
        Ok(toys) => {
            let printed = to_chain_text(&toys);
            assert_eq!(from_chain_text::<Toy>(&printed).map(|toys| to_chain_text(&toys)), Ok(printed));
            for toy in &toys {
                let full = to_full_text(toy);
                assert_eq!(from_chain_text::<Toy>(&full).map(|toys| to_full_text(&toys[0])), Ok(full));
            }
        }
        Err(error) => {
            assert!(error.column().is_some());
            assert!(from_chain_json::<Toy>(&chain.to_json()).is_err());
        }
    }
}
