//! The arithmetic of a profile: a stack of operations under way, and what was spent by name.

use std::time::{Duration, Instant};

use super::{Operation, Profile, Work};

/// What has been recorded.
#[derive(Debug)]
pub(super) struct Recorder {
    /// Which profile this is: spans of an earlier one that are still open are none of its business.
    profile: u32,
    /// When the profile or its lap began; none before the first.
    begun: Option<Instant>,
    stack: Vec<Frame>,
    /// In the order of their first end; there are a few dozen names at most.
    operations: Vec<Operation>,
}

/// An operation under way.
#[derive(Debug)]
struct Frame {
    name: &'static str,
    whole: bool,
    opened: Instant,
    /// Time of the operations inside that have ended.
    inside: Duration,
    work: Work,
}

/// A place on the stack.
#[derive(Debug)]
pub(super) struct Opened {
    profile: u32,
    depth: usize,
    /// Counted as the operation around it.
    absorbed: bool,
}

impl Recorder {
    pub const fn new() -> Self {
        Self { profile: 0, begun: None, stack: Vec::new(), operations: Vec::new() }
    }

    pub fn start(&mut self, now: Instant) {
        self.profile = self.profile.wrapping_add(1);
        self.stack.clear();
        self.operations.clear();
        self.begun = Some(now);
    }

    pub fn lap(&mut self, now: Instant) -> Profile {
        let wall = self.begun.map_or(Duration::ZERO, |begun| now - begun);
        let mut operations = std::mem::take(&mut self.operations);
        operations.sort_by(|a, b| b.time.cmp(&a.time).then(a.name.cmp(b.name)));
        self.begun = Some(now);
        for frame in &mut self.stack {
            (frame.opened, frame.inside, frame.work) = (now, Duration::ZERO, Work::default());
        }
        Profile { wall, operations }
    }

    pub fn finish(&mut self, now: Instant) -> Profile {
        let profile = self.lap(now);
        self.stack.clear();
        self.begun = None;
        profile
    }

    pub fn open(&mut self, name: &'static str, whole: bool, now: Instant) -> Opened {
        let absorbed = self.stack.last().is_some_and(|frame| frame.whole);
        let opened = Opened { profile: self.profile, depth: self.stack.len(), absorbed };
        if !absorbed {
            let (inside, work) = (Duration::ZERO, Work::default());
            self.stack.push(Frame { name, whole, opened: now, inside, work });
        }
        opened
    }

    pub fn add(&mut self, opened: &Opened, work: Work) {
        let depth = opened.depth - usize::from(opened.absorbed);
        if opened.profile == self.profile
            && let Some(frame) = self.stack.get_mut(depth)
        {
            frame.work += work;
        }
    }

    pub fn close(&mut self, opened: &Opened, now: Instant) {
        if opened.profile != self.profile || opened.absorbed || self.stack.len() <= opened.depth {
            return;
        }
        // Spans are values of nested scopes, so this is the last one.
        self.stack.truncate(opened.depth + 1);
        let Some(frame) = self.stack.pop() else { return };
        let time = now - frame.opened;
        if let Some(around) = self.stack.last_mut() {
            around.inside += time;
        }
        let own = time.saturating_sub(frame.inside);
        match self.operations.iter_mut().find(|operation| operation.name == frame.name) {
            Some(operation) => {
                operation.calls += 1;
                operation.time += own;
                operation.work += frame.work;
            }
            None => self.operations.push(Operation { name: frame.name, calls: 1, time: own, work: frame.work }),
        }
    }
}
