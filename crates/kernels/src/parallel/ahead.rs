//! Reading ahead: what the helpers of a [team](super::team) do while its leader works alone.
//!
//! A decoded token reads every weight once, and memory is what it waits for. Between two products the leader normalises, rounds
//! and appends for some microseconds in which memory would rest. Weights are read in the same order for every token: each
//! remembers which ones followed, and idle helpers ask for those. To ask changes nothing but the caches.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use super::share;
use crate::simd::prefetch_address;

/// Memory that is read from start to end by the workers of a region, each its share, and what is read after it.
#[derive(Debug)]
pub(crate) struct Reading {
    /// Addresses: arrays that are read side by side.
    arrays: Vec<Range<usize>>,
    /// What followed it the first time.
    next: OnceLock<Weak<Reading>>,
}

impl Reading {
    /// Reading `arrays` side by side.
    pub fn of(arrays: &[&[u8]]) -> Arc<Self> {
        let addresses = |array: &&[u8]| {
            let Range { start, end } = array.as_ptr_range();
            start.addr()..end.addr()
        };
        Arc::new(Self { arrays: arrays.iter().map(addresses).collect(), next: OnceLock::new() })
    }

    /// Bytes of all arrays.
    pub fn bytes(&self) -> usize {
        self.arrays.iter().map(Range::len).sum()
    }
}

/// What the leader reads and will read next.
#[derive(Default)]
pub(super) struct Order {
    /// Counts what was read.
    readings: AtomicUsize,
    last: Mutex<Option<Arc<Reading>>>,
}

impl Order {
    /// The leader's region reads `reading`.
    pub fn note(&self, reading: &Arc<Reading>) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = &*last {
            last.next.get_or_init(|| Arc::downgrade(reading));
        }
        *last = Some(Arc::clone(reading));
        drop(last);
        self.readings.fetch_add(1, Ordering::Release);
    }
}

/// A helper's place in what is read next.
#[derive(Default)]
pub(super) struct Ahead {
    readings: usize,
    reading: Option<Arc<Reading>>,
    /// Steps taken in `reading`.
    steps: usize,
    /// Bytes asked for since the leader's last region.
    bytes: usize,
}

/// Bytes of a step: few, so that a helper sees a ticket soon.
const STEP: usize = 1 << 10;
/// Bytes to ask for at a time: a helper's second-level cache holds them beside what it works on.
const MOST: usize = 1 << 18;

impl Ahead {
    /// Asks for a little of what `worker` of `workers` will read next; false if there is nothing left to ask for.
    pub fn step(&mut self, order: &Order, (worker, workers): (usize, usize)) -> bool {
        let readings = order.readings.load(Ordering::Acquire);
        if readings != self.readings {
            let last = order.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
            *self = Self { readings, ..Self::after(last) };
        }
        let Some(reading) = &self.reading else { return false };
        let steps = (reading.bytes() / workers).div_ceil(STEP);
        if self.steps == steps {
            let next = Self::after(self.reading.take());
            (self.reading, self.steps) = (next.reading, 0);
            return self.reading.is_some();
        }
        for array in &reading.arrays {
            let own = share(array.len(), worker, workers);
            let piece = share(own.len(), self.steps, steps);
            prefetch_address(array.start + own.start + piece.start, piece.len());
        }
        self.steps += 1;
        self.bytes += STEP;
        if self.bytes >= MOST {
            self.reading = None;
        }
        true
    }

    /// The start of what follows `reading`.
    fn after(reading: Option<Arc<Reading>>) -> Self {
        let next = reading.and_then(|reading| reading.next.get()?.upgrade());
        Self { reading: next, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many steps `ahead` takes until there is nothing left to ask for.
    fn steps(ahead: &mut Ahead, order: &Order) -> usize {
        std::iter::repeat_with(|| ahead.step(order, (1, 2))).take_while(|&more| more).count()
    }

    #[test]
    fn what_followed_once_is_read_ahead() {
        let memory = vec![0u8; 16 * STEP];
        let [first, second] = [&memory[..8 * STEP], &memory[8 * STEP..]].map(|array| Reading::of(&[array]));
        let (order, mut ahead) = (Order::default(), Ahead::default());
        assert_eq!(steps(&mut ahead, &order), 0, "nothing was read yet");
        order.note(&first);
        assert_eq!(steps(&mut ahead, &order), 0, "nothing has followed yet");
        order.note(&second);
        let (order, mut ahead) = (Order::default(), Ahead::default());
        order.note(&first);
        assert_eq!(steps(&mut ahead, &order), 4, "half of the second");
        assert_eq!(steps(&mut ahead, &order), 0, "not twice");
    }

    #[test]
    fn a_circle_ends_and_what_is_gone_is_left_alone() {
        let memory = vec![0u8; 64 * STEP];
        let [first, second] = [&memory[..32 * STEP], &memory[32 * STEP..]].map(|array| Reading::of(&[array]));
        let (order, mut ahead) = (Order::default(), Ahead::default());
        [&first, &second, &first, &second].into_iter().for_each(|reading| order.note(reading));
        let most = MOST / STEP;
        assert!((most..=most + most / 16).contains(&steps(&mut ahead, &order)), "a circle would go on for ever");
        order.note(&first);
        drop(second);
        assert_eq!(steps(&mut ahead, &order), 0);
    }
}
