//! Where texts that lie one after the other begin.

/// Panics unless `offsets` are `[0, …, tokens]`, ascending.
pub(crate) fn check(offsets: &[usize], tokens: usize) {
    let ends = (offsets.first(), offsets.last());
    assert!(offsets.is_sorted() && ends == (Some(&0), Some(&tokens)), "offsets {offsets:?} of {tokens} tokens");
}
