//! What reading policies have in common: every pair stays, and each query of a text that goes on reads some of them.
//!
//! A [`Selector`] names what one query reads of a layer; the kernel then attends over that alone. Prompts are read with full
//! attention. Rows after the prompt select one by one, so a row gets the same bits alone and in a chunk.

use std::fmt::Debug;
use std::ops::Range;

use headwise_kernels::attention::AttnSpec;
use headwise_kernels::kv::KeyValues;
use headwise_kernels::kv::saved::{put, put_list, take, take_count, take_list};
use headwise_kernels::{parallel, profile};

use super::saved::take_slots;
use super::{LayerStore, Needs};

/// A policy that chooses which of the pairs held a query reads.
pub trait Selector: Debug + Send + Sync {
    /// Checks the parameters.
    fn check(&self) -> Result<(), String>;

    /// The statistics that the store has to gather for `select`.
    fn needs(&self) -> Needs {
        Needs::default()
    }

    /// Whether pairs that are read count as consecutive, whatever their positions are.
    fn reindexes(&self) -> bool {
        false
    }

    /// What the query of `reading` reads; `memory` is what this policy left there at an earlier query of the same layer.
    fn select(&self, reading: &Reading<'_>, memory: &mut Memory) -> Selection;
}

/// A query and what it could read.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    /// The layer, which holds the query's own pairs already.
    pub store: &'a LayerStore,
    /// The rotated query, `[heads · head_dim]`.
    pub query: &'a [f32],
    /// The query before rotation.
    pub raw_query: &'a [f32],
    /// How the layer attends.
    pub spec: &'a AttnSpec,
    /// Slots at the end of every head that belong to later tokens.
    pub later: usize,
}

impl Reading<'_> {
    /// Slots of a key-value head that the query may see, its own the last of them.
    pub fn slots(&self, head: usize) -> usize {
        self.store.pairs()[head].len() - self.later
    }

    /// Slots of the longest head.
    pub fn longest(&self) -> usize {
        self.store.longest() - self.later
    }

    /// The queries of the group of a key-value head, `[group, head_dim]`.
    pub fn group(&self, head: usize) -> &[f32] {
        let width = self.store.shape().group() * self.store.shape().head_dim;
        &self.query[head * width..][..width]
    }

    /// `f` of every key-value head, on as many threads as there are.
    pub fn heads<T: Clone + Default + Send>(&self, f: impl Fn(usize) -> T + Sync) -> Vec<T> {
        let mut found = vec![T::default(); self.store.shape().kv_heads];
        parallel::pieces(&mut found, 1, |head, found| found[0] = f(head));
        found
    }
}

/// What a query reads.
#[derive(Clone, Debug)]
pub enum Selection {
    /// Every slot that it may see.
    All,
    /// These pages of every key-value head, ascending, the query's own the last: read where they are stored.
    Pages(Vec<Vec<u32>>),
    /// These slots of every key-value head, ascending, the query's own the last: copied, but for those that begin the list
    /// as they began the one before.
    Slots(Vec<Vec<u32>>),
}

/// What a selector remembers of a layer between queries; forgotten when slots move.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// The query that was chosen for.
    pub query: Vec<f32>,
    /// Slots chosen of every key-value head.
    pub slots: Vec<Vec<u32>>,
    /// Queries since then.
    pub age: usize,
    copies: Vec<Copies>,
}

impl Memory {
    /// Memory held, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let slots: usize = self.slots.iter().map(|slots| size_of_val(&slots[..])).sum();
        size_of_val(&self.query[..]) + slots + self.copies.iter().map(Copies::bytes).sum::<usize>()
    }
}

impl Memory {
    /// Appends everything to `out`.
    pub(super) fn save(&self, out: &mut Vec<u8>) {
        put_list(out, &self.query);
        put(out, &[self.age as u64, self.slots.len() as u64, self.copies.len() as u64]);
        self.slots.iter().for_each(|slots| put_list(out, slots));
        for copies in &self.copies {
            put_list(out, &copies.slots);
            put(out, &[u8::from(copies.pairs.is_some())]);
            copies.pairs.iter().for_each(|pairs| pairs.save(out));
        }
    }

    /// Takes what [`Memory::save`] wrote off the front of `bytes`: of queries of `width` channels and of `held`, the pairs of a text of
    /// `tokens`. `None` if `bytes` are something else.
    pub(super) fn load(&mut self, bytes: &mut &[u8], width: usize, held: &[KeyValues], tokens: usize) -> Option<()> {
        self.query = take_list(bytes, width)?;
        self.age = take_count(bytes, usize::MAX)?;
        let [chosen, copied] = [take_count(bytes, held.len())?, take_count(bytes, held.len())?];
        let all = |count: usize, most: usize| count == 0 || count == most;
        if !all(self.query.len(), width) || !all(chosen, held.len()) || !all(copied, held.len()) {
            return None;
        }
        self.slots = held.iter().take(chosen).map(|pairs| take_slots(bytes, pairs)).collect::<Option<_>>()?;
        for pairs in held.iter().take(copied) {
            let slots = take_slots(bytes, pairs)?;
            let copies = match take::<u8>(bytes, 1)?[..] {
                [0] => None,
                _ => Some(pairs.load(bytes, tokens)?),
            };
            if copies.as_ref().is_some_and(|copies| copies.len() != slots.len()) {
                return None;
            }
            self.copies.push(Copies { slots, pairs: copies });
        }
        Some(())
    }
}

/// Copies of some slots of a head.
#[derive(Clone, Debug, Default)]
struct Copies {
    slots: Vec<u32>,
    pairs: Option<KeyValues>,
}

impl Copies {
    /// Copies `slots` of `held`, but for those that the list before began with, too.
    fn update(&mut self, held: &KeyValues, slots: &[u32]) -> KeyValues {
        let alike = self.slots.iter().zip(slots).take_while(|(a, b)| a == b).count();
        let pairs = match &mut self.pairs {
            Some(pairs) => {
                pairs.truncate(alike);
                pairs.gather(held, &slots[alike..]);
                pairs.clone()
            }
            None => self.pairs.insert(held.gathered(slots)).clone(),
        };
        self.slots = slots.to_vec();
        pairs
    }

    fn bytes(&self) -> usize {
        let pairs = self.pairs.as_ref().map_or(0, |pairs| pairs.bytes().total());
        size_of_val(&self.slots[..]) + pairs
    }
}

/// How many pairs the queries after the prompt have read, summed over them and the key-value heads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PairsRead {
    /// Pairs that were read.
    pub read: usize,
    /// Pairs that were held.
    pub held: usize,
}

impl std::ops::AddAssign for PairsRead {
    fn add_assign(&mut self, other: Self) {
        self.read += other.read;
        self.held += other.held;
    }
}

/// What some rows read.
pub(crate) struct Read {
    /// The rows, counted from the first that was appended.
    pub rows: Range<usize>,
    /// The pairs; those that the store holds if `None`.
    pub pairs: Option<Vec<KeyValues>>,
}

impl LayerStore {
    /// What the rows that were appended last read under `selector`: `rows` are rotated queries and the same before rotation,
    /// `[rows, heads · head_dim]` each.
    pub(crate) fn reads(&mut self, selector: &dyn Selector, rows: [&[f32]; 2], spec: &AttnSpec) -> Vec<Read> {
        let _span = profile::whole("read selection");
        self.extend_chunks(rows[0], spec);
        let width = self.shape().heads * self.shape().head_dim;
        let count = rows[0].len() / width;
        let row = |row: usize| rows.map(|rows| &rows[row * width..][..width]);
        let chosen: Vec<_> = (0..count).map(|at| self.choose(selector, row(at), spec, count - 1 - at)).collect();
        if chosen.iter().all(Option::is_none) {
            return vec![Read { rows: 0..count, pairs: None }];
        }
        let read = |(row, pairs): (usize, Option<Vec<KeyValues>>)| {
            let pairs = pairs.or_else(|| (row + 1 < count).then(|| self.before(count - 1 - row)));
            Read { rows: row..row + 1, pairs }
        };
        chosen.into_iter().enumerate().map(read).collect()
    }

    /// Counts what the rows that were appended last have read.
    pub(crate) fn count_reads(&mut self, reads: &[Read]) {
        let count = reads.last().map_or(0, |read| read.rows.end);
        let pairs = |pairs: &[KeyValues]| pairs.iter().map(KeyValues::len).sum::<usize>();
        let (held, heads) = (pairs(self.pairs()), self.shape().kv_heads);
        for read in reads {
            for row in read.rows.clone() {
                let held = held - (count - 1 - row) * heads;
                let read = read.pairs.as_deref().map_or(held, pairs);
                self.pairs_read += PairsRead { read, held };
            }
        }
    }

    /// The pairs that one query reads, `None` for all; `later` tokens were appended after its own.
    fn choose(
        &mut self,
        selector: &dyn Selector,
        [query, raw_query]: [&[f32]; 2],
        spec: &AttnSpec,
        later: usize,
    ) -> Option<Vec<KeyValues>> {
        let mut memory = std::mem::take(&mut self.memory);
        let reading = Reading { store: self, query, raw_query, spec, later };
        let selection = selector.select(&reading, &mut memory);
        let slots = |pairs: &KeyValues| pairs.len() - later;
        let chosen = match selection {
            Selection::All => None,
            Selection::Pages(pages) => {
                let of_head = |(pairs, pages): (&KeyValues, Vec<u32>)| pairs.of_pages(&pages, slots(pairs));
                Some(self.pairs().iter().zip(pages).map(of_head).collect())
            }
            Selection::Slots(slots) => {
                let rope = self.attention().and_then(|(_, rope)| rope).filter(|_| selector.reindexes());
                memory.copies.resize_with(slots.len(), Copies::default);
                let mut copied: Vec<_> = memory.copies.iter_mut().map(|copies| (copies, None)).collect();
                parallel::pieces(&mut copied, 1, |head, copied| {
                    let (copies, found) = &mut copied[0];
                    let mut pairs = copies.update(&self.pairs()[head], &slots[head]);
                    if let Some(rope) = rope {
                        pairs.make_consecutive(rope, &[]);
                    }
                    *found = Some(pairs);
                });
                copied.into_iter().map(|(_, pairs)| pairs).collect()
            }
        };
        self.memory = memory;
        chosen
    }

    /// All pairs but the last `later` of every head.
    fn before(&self, later: usize) -> Vec<KeyValues> {
        let mut before = self.pairs().to_vec();
        before.iter_mut().for_each(|pairs| pairs.truncate(pairs.len() - later));
        before
    }
}
