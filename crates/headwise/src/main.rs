//! The `headwise` command line.
fn main() {}
