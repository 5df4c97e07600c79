//! The test every family owes.

use std::collections::BTreeSet;

use crate::family::Family;
use crate::typed::{from_text, to_full_text, to_text};
use crate::value::{Call, is_name};

/// Checks that a family keeps its promises; call it from a test of the crate that declares the family.
///
/// Names are unique, in snake case; every parameter is documented under its own name, in the order of the
/// fields; a bare name gives the method with its defaults, which prints as that name and, with every
/// parameter, as a text that reads back to the same.
///
/// # Panics
/// At the first promise broken, with its name.
pub fn check_family<F: Family>() {
    let mut seen = BTreeSet::new();
    for &name in F::NAMES {
        assert!(seen.insert(name), "{}: `{name}` stands twice", F::FAMILY);
        assert!(is_name(name) && name == name.to_lowercase(), "`{name}` is not in snake case");
        check_method::<F>(name);
    }
}

fn check_method<F: Family>(name: &str) {
    let signature = F::signature(name).unwrap_or_else(|| panic!("`{name}` has no signature"));
    assert!(!signature.summary().is_empty(), "`{name}` has no description");
    let documented: Vec<&str> = signature.parameters.iter().map(|parameter| parameter.name).collect();
    let method: F = from_text(name).unwrap_or_else(|error| panic!("`{name}` alone: {error:#}"));
    let call: Call = method.to_call().unwrap_or_else(|error| panic!("`{name}`: {error}"));
    let fields: Vec<&str> = call.args.keys().map(String::as_str).collect();
    assert_eq!(documented, fields, "parameters documented for `{name}`, and its fields");
    for parameter in &signature.parameters {
        assert!(!parameter.doc.is_empty(), "`{}` of `{name}` has no description", parameter.name);
        assert!(!parameter.type_name.is_empty(), "`{}` of `{name}` has no type", parameter.name);
    }
    assert_eq!(method.name(), name);
    assert_eq!(to_text(&method), name, "text of the defaults of `{name}`");
    let full = to_full_text(&method);
    let again: F = from_text(&full).unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!(to_full_text(&again), full, "`{full}` read back");
}
