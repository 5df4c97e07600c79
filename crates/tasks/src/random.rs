//! The one source of randomness: ChaCha8 from a 64-bit seed, the same on every machine.

use std::collections::HashSet;
use std::hash::Hash;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// The generator every task draws from.
pub(crate) fn seeded(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// Repeats `draw` until it gives something not yet in `seen`, and remembers it.
///
/// The caller makes sure that there is something left to draw.
pub(crate) fn unseen<T: Clone + Eq + Hash>(seen: &mut HashSet<T>, mut draw: impl FnMut() -> T) -> T {
    loop {
        let candidate = draw();
        if seen.insert(candidate.clone()) {
            return candidate;
        }
    }
}
