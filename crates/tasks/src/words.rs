//! Adjectives and nouns that keys are made of: 128 × 128 different `adjective-noun` pairs.

/// The first word of a key.
#[rustfmt::skip]
pub(crate) const ADJECTIVES: [&str; 128] = [
    "able", "agile", "alert", "amber", "ancient", "ardent", "autumn", "awake",
    "balmy", "bitter", "blunt", "bold", "brave", "breezy", "brief", "bright",
    "brisk", "broad", "calm", "candid", "careful", "cheery", "chilly", "civil",
    "clean", "clever", "cloudy", "coarse", "cosmic", "cozy", "crimson", "crisp",
    "curious", "curly", "daring", "deep", "dense", "distant", "dizzy", "dusty",
    "eager", "early", "earnest", "elegant", "empty", "even", "exotic", "faint",
    "fancy", "fearless", "fertile", "festive", "fierce", "flaky", "fluffy", "foggy",
    "formal", "fragile", "frank", "fresh", "frosty", "gentle", "giant", "glad",
    "gloomy", "golden", "graceful", "grand", "grumpy", "handy", "hasty", "hidden",
    "hollow", "honest", "humble", "icy", "idle", "jolly", "keen", "kind",
    "large", "lively", "lonely", "loyal", "lucky", "lunar", "magenta", "mellow",
    "merry", "mild", "modest", "muddy", "narrow", "neat", "noble", "noisy",
    "odd", "pale", "patient", "plain", "polite", "proud", "quaint", "quick",
    "quiet", "rapid", "ready", "rough", "royal", "rusty", "salty", "scarlet",
    "shiny", "silent", "silver", "slender", "smooth", "sober", "solar", "steady",
    "stormy", "sturdy", "subtle", "sunny", "tender", "tidy", "vivid", "witty",
];

/// The second word of a key.
#[rustfmt::skip]
pub(crate) const NOUNS: [&str; 128] = [
    "acorn", "anchor", "apple", "arrow", "badger", "bakery", "balloon", "banjo",
    "barrel", "basket", "beacon", "beetle", "blanket", "bottle", "bridge", "bucket",
    "butter", "button", "cabin", "cactus", "camel", "candle", "canyon", "carpet",
    "castle", "cellar", "cherry", "chimney", "circus", "clock", "clover", "cobra",
    "comet", "copper", "coral", "cradle", "crayon", "cricket", "crystal", "dagger",
    "daisy", "dolphin", "donkey", "dragon", "eagle", "engine", "falcon", "feather",
    "fiddle", "forest", "fountain", "fox", "garden", "garlic", "ginger", "glacier",
    "glove", "goose", "guitar", "hammer", "harbor", "harvest", "hazel", "helmet",
    "hermit", "hill", "island", "ivory", "jacket", "jaguar", "jungle", "kettle",
    "kitten", "ladder", "lagoon", "lantern", "lemon", "lily", "lizard", "locket",
    "magnet", "mango", "maple", "marble", "meadow", "mirror", "monkey", "mountain",
    "muffin", "napkin", "needle", "nickel", "oasis", "olive", "onion", "orchard",
    "otter", "paddle", "palace", "panther", "parrot", "pebble", "pepper", "pigeon",
    "pillow", "planet", "pocket", "potato", "puzzle", "rabbit", "river", "rocket",
    "saddle", "salmon", "shadow", "sparrow", "spider", "statue", "temple", "thunder",
    "ticket", "tiger", "tunnel", "turtle", "valley", "violin", "walnut", "window",
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn words_are_different_and_plain() {
        let words: HashSet<&str> = ADJECTIVES.iter().chain(&NOUNS).copied().collect();
        assert_eq!(words.len(), ADJECTIVES.len() + NOUNS.len());
        assert!(words.iter().all(|word| word.bytes().all(|byte| byte.is_ascii_lowercase())));
    }
}
