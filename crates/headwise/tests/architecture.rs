//! Crates depend in one direction only: a crate may use those to its left.

use std::collections::HashMap;

/// From left to right; a crate may depend on crates that stand before it.
const ORDER: [&str; 11] = [
    "headwise-spec",
    "headwise-tasks",
    "headwise-kernels",
    "headwise-ops",
    "headwise-nn",
    "headwise-models",
    "headwise-engine",
    "headwise-train",
    "headwise-lab",
    "headwise-serve",
    "headwise",
];

#[test]
fn arrows_run_one_way() {
    let metadata = cargo_metadata::MetadataCommand::new().no_deps().exec().unwrap();
    let place: HashMap<&str, usize> = ORDER.into_iter().enumerate().map(|(place, name)| (name, place)).collect();
    let mut seen = 0;
    for package in &metadata.packages {
        let from =
            *place.get(package.name.as_str()).unwrap_or_else(|| panic!("{} has no place in ORDER", package.name));
        seen += 1;
        for dependency in &package.dependencies {
            if let Some(&to) = place.get(dependency.name.as_str()) {
                assert!(to < from, "{} must not depend on {}", package.name, dependency.name);
            }
        }
    }
    assert_eq!(seen, ORDER.len(), "a crate of ORDER is gone");
    // The three foundations know nothing of each other.
    let foundations = &ORDER[..3];
    for package in metadata.packages.iter().filter(|package| foundations.contains(&package.name.as_str())) {
        let uses: Vec<_> =
            package.dependencies.iter().filter(|other| place.contains_key(other.name.as_str())).collect();
        assert!(uses.is_empty(), "{} must stand alone", package.name);
    }
}
