//! How attention knows where tokens stand.

mod alibi;
mod rope;

pub use alibi::Alibi;
pub(crate) use alibi::slopes;
pub use rope::{Divisors, Linear, Llama3, RopeScaling, RopeSpec};

headwise_spec::method! {
    /// Nothing: only the order in which causal attention sees tokens says where they stand.
    ///
    /// Kazemnejad et al. 2023, arXiv:2305.19466.
    pub struct Nope {}
}

headwise_spec::family! {
    /// How attention knows where tokens stand.
    pub enum PositionSpec: "position" {
        rope => RopeSpec,
        alibi => Alibi,
        nope => Nope,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_families_keep_their_promises() {
        headwise_spec::check_family::<super::PositionSpec>();
        headwise_spec::check_family::<super::RopeScaling>();
    }
}
