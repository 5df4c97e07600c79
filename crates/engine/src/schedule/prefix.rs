//! What was read for earlier prompts, for later ones that begin alike.
//!
//! A node is a text with the state of its cache as it was before its prompt ended, so before any policy let go of anything. It
//! serves every policy that stores pairs alike and needs no more statistics than were gathered. The last queries, which many policies want, are
//! not kept: so many tokens are read again. Where nothing but pairs was kept, any beginning of a node can be used: pages are shared, the
//! rest is taken back. Otherwise a node serves whole.
//! Nodes share the pages of what they have in common, and a page counts once.

use std::collections::HashMap;
use std::sync::Arc;

use crate::cache::{CachePolicy, Needs};
use crate::{Adapter, Engine, EngineError, Sequence, adapter};

/// Earlier prompts, up to a limit of memory.
#[derive(Debug)]
pub(super) struct PrefixCache {
    pub(super) nodes: Vec<Node>,
    pages: Pages,
    limit: usize,
    clock: u64,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) ids: Arc<[u32]>,
    pub(super) state: Sequence,
    /// When it was used last.
    used: u64,
    /// Texts that go on from it or from nodes that it has replaced hold clones.
    readers: Vec<Reader>,
    /// Bytes beside the pages.
    beside: usize,
}

/// Held by a text that shares pages with a node, which stays meanwhile.
pub(super) type Reader = Arc<()>;

/// A text that begins with what was there.
#[derive(Debug)]
pub(super) struct Found {
    /// The text so far, under its own policy.
    pub sequence: Sequence,
    /// Its tokens.
    pub tokens: usize,
    /// Keeps the node.
    pub reader: Reader,
}

impl PrefixCache {
    /// An empty cache of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { nodes: Vec::new(), pages: Pages::default(), limit, clock: 0 }
    }

    /// Bytes of all nodes together.
    pub fn bytes(&self) -> usize {
        self.pages.bytes + self.nodes.iter().map(|node| node.beside).sum::<usize>()
    }

    /// Whether a node has `page`.
    #[cfg(test)]
    pub fn holds(&self, page: usize) -> bool {
        self.pages.holders.contains_key(&page)
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The longest beginning of `ids` that is there for `policy` and `adapter`, if it has more than `beyond` tokens; at least [`left_to_read`] tokens
    /// are left to be read.
    pub fn find(
        &mut self,
        engine: &Engine,
        ids: &[u32],
        policy: &CachePolicy,
        adapter: Option<&Arc<Adapter>>,
        beyond: usize,
    ) -> Result<Option<Found>, EngineError> {
        let usable = self.nodes.iter().enumerate().filter(|(_, node)| node.state.reads_for(policy, adapter));
        let ids = &ids[..ids.len().saturating_sub(left_to_read(policy))];
        let best = usable.map(|(index, node)| (node.common(ids), index)).max().filter(|(tokens, _)| *tokens > beyond);
        let Some((tokens, index)) = best else { return Ok(None) };
        self.clock += 1;
        let node = &mut self.nodes[index];
        node.used = self.clock;
        let mut sequence = engine.adapted_sequence(policy, adapter)?;
        sequence.adopt(&node.state);
        sequence.rollback(tokens);
        Ok(Some(Found { sequence, tokens, reader: node.reader() }))
    }

    /// Keeps `state`, which has read `ids` and nothing else, its prompt not ended under a policy that lets go of anything; whoever
    /// goes on with it shares its pages.
    pub fn keep(&mut self, ids: &[u32], state: &Sequence) -> Option<Reader> {
        if self.limit == 0 {
            return None;
        }
        debug_assert_eq!(ids.len(), state.tokens());
        self.clock += 1;
        let covers = |node: &Node| {
            let reaches = node.ids.len() == ids.len() || node.serves_beginnings();
            node.ids.starts_with(ids) && reaches && node.state.reads_for(&state.policy, state.adapter())
        };
        if let Some(node) = self.nodes.iter_mut().find(|node| covers(node)) {
            node.used = self.clock;
            // Its pages may be others with the same contents.
            return None;
        }
        let mut state = state.clone();
        state.forget_queries();
        let bytes = state.bytes();
        let beside = bytes.statistics + bytes.positions + bytes.states;
        let mut node = Node { ids: ids.into(), state, used: self.clock, readers: Vec::new(), beside };
        self.pages.add(&node.state);
        if node.serves_beginnings() {
            let replaced = |old: &mut Node| {
                ids.starts_with(&old.ids) && node.state.reads_for(&old.state.policy, old.state.adapter())
            };
            for mut old in self.nodes.extract_if(.., replaced) {
                self.pages.remove(&old.state);
                node.readers.append(&mut old.readers);
            }
        }
        let reader = node.reader();
        self.nodes.push(node);
        Some(reader)
    }

    /// Comes back to the limit, as far as nodes are not in use.
    pub fn hold(&mut self) {
        self.shrink(self.limit);
    }

    /// Lets go of nodes, those used longest ago first, until the rest has at most `limit` bytes or is in use.
    pub fn shrink(&mut self, limit: usize) {
        while self.bytes() > limit {
            let idle = self.nodes.iter().enumerate().filter(|(_, node)| !node.in_use());
            let Some((index, _)) = idle.min_by_key(|(_, node)| node.used) else { return };
            let node = self.nodes.swap_remove(index);
            self.pages.remove(&node.state);
        }
    }

    /// Lets go of everything.
    pub fn clear(&mut self) {
        self.nodes.clear();
        self.pages = Pages::default();
    }
}

impl Sequence {
    /// Whether a text under `policy` with `adapter` would have read the same, before its prompt ended.
    pub(super) fn reads_for(&self, policy: &CachePolicy, adapter: Option<&Arc<Adapter>>) -> bool {
        adapter::same(self.adapter(), adapter) && self.policy.reads_for(policy)
    }
}

impl Node {
    fn reader(&mut self) -> Reader {
        let reader = Reader::default();
        self.readers.retain(|reader| Arc::strong_count(reader) > 1);
        self.readers.push(reader.clone());
        reader
    }

    /// Tokens that can be used of it for a text that begins with `ids`.
    fn common(&self, ids: &[u32]) -> usize {
        let common = common(&self.ids, ids);
        if self.serves_beginnings() || common == self.ids.len() { common } else { 0 }
    }

    /// Whether tokens can be taken back to any beginning.
    fn serves_beginnings(&self) -> bool {
        self.state.policy.needs().without_queries() == Needs::default() && self.state.is_whole()
    }

    fn in_use(&self) -> bool {
        self.readers.iter().any(|reader| Arc::strong_count(reader) > 1)
    }
}

/// How many tokens both texts begin with.
pub(super) fn common(one: &[u32], other: &[u32]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}

/// Tokens at the end of a prompt that are always read: one for its scores, and those whose queries `policy` wants.
pub(super) fn left_to_read(policy: &CachePolicy) -> usize {
    policy.needs().query_window.max(1)
}

/// Pages that nodes hold, with how many nodes do.
#[derive(Debug, Default)]
struct Pages {
    holders: HashMap<usize, u32>,
    bytes: usize,
}

impl Pages {
    fn add(&mut self, state: &Sequence) {
        for (page, bytes) in state.pages() {
            let holders = self.holders.entry(page).or_default();
            *holders += 1;
            self.bytes += if *holders == 1 { bytes } else { 0 };
        }
    }

    fn remove(&mut self, state: &Sequence) {
        for (page, bytes) in state.pages() {
            if let Some(holders) = self.holders.get_mut(&page) {
                *holders -= 1;
                if *holders == 0 {
                    self.holders.remove(&page);
                    self.bytes -= bytes;
                }
            }
        }
    }
}
