//! Names of answers, of which no two are alike.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Counts answers.
#[derive(Debug)]
pub struct Names {
    /// When the server began, in seconds since 1970.
    pub created: u64,
    asked: AtomicU64,
}

impl Names {
    /// Those of a server that begins now.
    pub fn new() -> Self {
        Self { created: now(), asked: AtomicU64::new(0) }
    }

    /// A number that no other request has.
    fn number(&self) -> u64 {
        self.asked.fetch_add(1, Ordering::Relaxed)
    }

    /// A name for an answer, such as `chatcmpl-18f3…`.
    pub fn id(&self, prefix: &str) -> String {
        format!("{prefix}-{:x}{:06x}", self.created, self.number())
    }

    /// A seed of draws: another one every time.
    pub fn seed(&self) -> u64 {
        self.created.wrapping_add(self.number()).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
