//! The full cache: every pair stays. The baseline of every comparison.

headwise_spec::method! {
    /// Keeps every pair.
    pub struct Full {}
}
