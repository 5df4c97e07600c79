//! Which blocks of keys each block of queries sees.

use super::source::BLOCK;

/// The blocks of keys that each block of queries sees, beside what causality and a window hide. Blocks that nobody sees cost
/// nothing: with `n` of them for each block of queries, attention is linear in the tokens.
///
/// Queries and keys are cut into blocks of [`BLOCK`] slots, from slot 0 on; a query stands at the slot of its own key. So are
/// given fixed patterns (Child et al. 2019, arXiv:1904.10509), BigBird's local, global and random blocks (Zaheer et al.
/// 2020, arXiv:2007.14062) and blocks chosen by content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockMask {
    /// `[heads, query_blocks, words]`: bit `k` of a row says whether block `k` of keys is seen.
    bits: Vec<u64>,
    heads: usize,
    query_blocks: usize,
    words: usize,
}

impl BlockMask {
    /// `visible[h][i]` lists the blocks of keys that block `i` of the queries of head `h` sees, in any order; a single head
    /// stands for all. Blocks of queries without a list see nothing.
    ///
    /// # Panics
    /// If there is no head.
    pub fn new(visible: &[Vec<Vec<usize>>]) -> Self {
        assert!(!visible.is_empty(), "a block mask needs the lists of one head at least");
        let query_blocks = visible.iter().map(Vec::len).max().unwrap_or(0);
        let last = visible.iter().flatten().flatten().max();
        let words = last.map_or(0, |last| last / WORD + 1);
        let mut bits = vec![0; visible.len() * query_blocks * words];
        for (head, lists) in visible.iter().enumerate() {
            for (query_block, list) in lists.iter().enumerate() {
                let row = (head * query_blocks + query_block) * words;
                list.iter().for_each(|block| bits[row + block / WORD] |= 1 << (block % WORD));
            }
        }
        Self { bits, heads: visible.len(), query_blocks, words }
    }

    /// Whether the query at slot `query` of `head` may see `key`.
    pub fn sees(&self, head: usize, query: isize, key: usize) -> bool {
        self.row(head, query).sees(key / BLOCK)
    }

    /// How many heads have lists of their own; 1 also if all share them.
    pub fn heads(&self) -> usize {
        self.heads
    }

    /// What the query at slot `query` of `head` sees; nothing before slot 0.
    pub(super) fn row(&self, head: usize, query: isize) -> BlockRow<'_> {
        let block = usize::try_from(query).map_or(self.query_blocks, |query| query / BLOCK);
        if block >= self.query_blocks {
            return BlockRow(Some(&[]));
        }
        let row = (head % self.heads * self.query_blocks + block) * self.words;
        BlockRow(Some(&self.bits[row..][..self.words]))
    }
}

/// Bits of a word.
const WORD: usize = u64::BITS as usize;

/// The blocks that one query sees; all of them if there is no mask.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct BlockRow<'a>(Option<&'a [u64]>);

impl BlockRow<'_> {
    /// Whether the query may see keys of `block`.
    #[inline(always)]
    pub fn sees(self, block: usize) -> bool {
        self.0.is_none_or(|bits| bits.get(block / WORD).is_some_and(|word| word >> (block % WORD) & 1 == 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_what_is_seen() {
        let lists = [vec![vec![0], vec![70, 1], vec![]], vec![vec![2]]];
        let mask = BlockMask::new(&lists);
        let no_list = Vec::new();
        for (head, lists) in lists.iter().enumerate() {
            for query in -1..5 * BLOCK as isize {
                for block in 0..80 {
                    let list = usize::try_from(query).ok().and_then(|query| lists.get(query / BLOCK));
                    let expected = list.unwrap_or(&no_list).contains(&block);
                    assert_eq!(mask.sees(head, query, block * BLOCK + 63), expected, "{head} {query} {block}");
                }
            }
        }
        assert!(!BlockMask::new(&[vec![]]).sees(3, 0, 0));
    }
}
