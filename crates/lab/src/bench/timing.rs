//! Wall times of repeated calls.

use std::time::Instant;

use headwise_kernels::profile::{self, Profile};

/// How often a call is timed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Repeats {
    /// At least so many times, and until so many seconds have passed.
    AtLeast(usize, f64),
    /// Exactly so many times (at least once).
    Exactly(usize),
}

/// Times of one call in milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Times {
    /// Half of the calls took longer.
    pub median: f64,
    /// The fastest.
    pub min: f64,
    /// The slowest.
    pub max: f64,
    /// Where the time of all timed calls went, if a profile ran.
    pub profile: Option<Profile>,
}

/// More calls than this tell nothing new.
const MOST: usize = 10_000;

impl Times {
    /// Of calls that took `milliseconds`, in any order; zeros without any.
    pub fn of(mut milliseconds: Vec<f64>) -> Self {
        milliseconds.sort_by(f64::total_cmp);
        let at = |index: usize| milliseconds.get(index).copied().unwrap_or(0.0);
        let count = milliseconds.len();
        let median = 0.5 * (at(count.saturating_sub(1) / 2) + at(count / 2));
        Self { median, min: at(0), max: at(count.saturating_sub(1)), profile: None }
    }

    /// Of one of the `count` alike parts of every call.
    pub fn per(self, count: usize) -> Self {
        let part = |milliseconds: f64| milliseconds / count.max(1) as f64;
        Self { median: part(self.median), min: part(self.min), max: part(self.max), ..self }
    }

    /// Calls `call` once without a clock, then as often as `repeats` says; `call` returns an error to stop.
    pub fn measure<E>(repeats: Repeats, mut call: impl FnMut() -> Result<(), E>) -> Result<Self, E> {
        call()?;
        profile::lap();
        let begin = Instant::now();
        let more = |count: usize| match repeats {
            Repeats::Exactly(exactly) => count < exactly.max(1),
            Repeats::AtLeast(least, seconds) => {
                count < least.max(1) || (count < MOST && begin.elapsed().as_secs_f64() < seconds)
            }
        };
        let mut times = Vec::new();
        while more(times.len()) {
            let start = Instant::now();
            call()?;
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        Ok(Self { profile: profile::lap(), ..Self::of(times) })
    }

    /// [`measure`](Self::measure) of a call that cannot fail.
    pub fn of_calls(repeats: Repeats, mut call: impl FnMut()) -> Self {
        let times = Self::measure(repeats, || {
            call();
            Ok::<(), std::convert::Infallible>(())
        });
        match times {
            Ok(times) => times,
            Err(never) => match never {},
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_and_the_ends() {
        assert_eq!(Times::of(vec![3.0, 1.0, 9.0]), Times { median: 3.0, min: 1.0, max: 9.0, profile: None });
        assert_eq!(Times::of(vec![4.0, 1.0, 9.0, 2.0]).median, 3.0);
    }

    #[test]
    fn a_warm_up_and_then_as_often_as_asked() {
        for (repeats, calls) in [(Repeats::Exactly(3), 4), (Repeats::Exactly(0), 2), (Repeats::AtLeast(5, 0.0), 6)] {
            let mut count = 0;
            Times::of_calls(repeats, || count += 1);
            assert_eq!(count, calls, "{repeats:?}");
        }
    }

    #[test]
    fn an_error_ends_it() {
        let mut count = 0;
        let result = Times::measure(Repeats::Exactly(9), || {
            count += 1;
            if count == 3 { Err("broken") } else { Ok(()) }
        });
        assert_eq!((result, count), (Err("broken"), 3));
    }
}
