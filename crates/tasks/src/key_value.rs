//! Keys and values that needles are made of, each given out once.

use std::collections::HashSet;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::random::unseen;
use crate::task::TaskError;
use crate::words::{ADJECTIVES, NOUNS};

/// What a needle's key looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// `adjective-noun`.
    Words,
    /// A random UUID (version 4).
    Uuid,
}

/// What a needle's value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// A number of seven digits.
    Number,
    /// A random UUID (version 4).
    Uuid,
}

impl ValueKind {
    /// Its name in a prompt.
    pub(crate) fn singular(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Uuid => "uuid",
        }
    }
}

/// Draws keys and values, none of them twice.
pub(crate) struct KeyValueSource {
    rng: ChaCha8Rng,
    key_kind: KeyKind,
    value_kind: ValueKind,
    keys: HashSet<String>,
    values: HashSet<String>,
}

impl KeyValueSource {
    /// A source that draws from `rng`.
    pub(crate) fn new(rng: ChaCha8Rng, key_kind: KeyKind, value_kind: ValueKind) -> Self {
        Self { rng, key_kind, value_kind, keys: HashSet::new(), values: HashSet::new() }
    }

    /// A new key.
    pub(crate) fn key(&mut self) -> Result<String, TaskError> {
        let rng = &mut self.rng;
        match self.key_kind {
            KeyKind::Uuid => Ok(unseen(&mut self.keys, || uuid(rng))),
            KeyKind::Words => {
                let available = ADJECTIVES.len() * NOUNS.len();
                if self.keys.len() == available {
                    return Err(TaskError::KeysExhausted { available });
                }
                Ok(unseen(&mut self.keys, || adjective_noun(rng)))
            }
        }
    }

    /// A new value.
    pub(crate) fn value(&mut self) -> String {
        let rng = &mut self.rng;
        match self.value_kind {
            // MAX_LENGTH is below the nine million values there are: they cannot run out.
            ValueKind::Number => unseen(&mut self.values, || rng.random_range(1_000_000..=9_999_999_u32).to_string()),
            ValueKind::Uuid => unseen(&mut self.values, || uuid(rng)),
        }
    }
}

fn adjective_noun(rng: &mut ChaCha8Rng) -> String {
    let adjective = ADJECTIVES[rng.random_range(0..ADJECTIVES.len())];
    let noun = NOUNS[rng.random_range(0..NOUNS.len())];
    format!("{adjective}-{noun}")
}

/// 122 random bits around the version and variant digits of RFC 9562.
fn uuid(rng: &mut ChaCha8Rng) -> String {
    let [a, b, c, d, e] = [32, 16, 12, 14, 48].map(|bits| rng.random::<u64>() & ((1_u64 << bits) - 1));
    format!("{a:08x}-{b:04x}-4{c:03x}-{:04x}-{e:012x}", 0x8000 | d)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::seeded;

    #[test]
    fn word_keys_run_out_with_an_error() {
        let mut source = KeyValueSource::new(seeded(1), KeyKind::Words, ValueKind::Number);
        for _ in 0..128 * 128 {
            source.key().unwrap();
        }
        assert_eq!(source.key(), Err(TaskError::KeysExhausted { available: 128 * 128 }));
    }

    #[test]
    fn uuids_have_version_4_and_numbers_seven_digits() {
        let mut source = KeyValueSource::new(seeded(2), KeyKind::Uuid, ValueKind::Number);
        for _ in 0..1000 {
            let key = source.key().unwrap();
            let lengths: Vec<usize> = key.split('-').map(str::len).collect();
            assert_eq!(lengths, [8, 4, 4, 4, 12], "{key}");
            assert_eq!(key.as_bytes()[14], b'4', "{key}");
            assert!(b"89ab".contains(&key.as_bytes()[19]), "{key}");
            assert_eq!(source.value().len(), 7);
        }
    }
}
