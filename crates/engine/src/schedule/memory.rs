//! How much memory a text may need, before it has it.

use headwise_kernels::kv::{Codec, PAGE};
use headwise_models::decoder::DecoderSpec;

use super::Request;
use crate::cache::{CachePolicy, Needs, StoreShape};

/// What the cache of a text grows by, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Growth {
    /// Of a page in every head of every layer, positions and statistics included.
    pages: usize,
    /// Of it, what forks do not share.
    positions: usize,
    /// What does not grow with the text.
    fixed: usize,
}

impl Growth {
    /// Of texts of `model` under `policy`.
    pub fn new(model: &DecoderSpec, policy: &CachePolicy) -> Self {
        let (mut pages, mut positions, mut fixed) = (0, 0, 0);
        let (codec, needs) = (policy.codec(), policy.needs());
        for layer in &model.layers {
            let sizes = StoreShape::of(layer, model.dim);
            fixed += layer.mixer.state(model.dim).bytes();
            pages += sizes.kv_heads * head(codec, needs, sizes.head_dim);
            positions += sizes.kv_heads * PAGE * per_slot(needs);
            if policy.selector().is_some() {
                // What a selector chose last may be there as a copy, with its slots and where it lay.
                pages += sizes.kv_heads * (head(codec, Needs::default(), sizes.head_dim) + 2 * PAGE * size_of::<u32>());
                fixed += 4 * sizes.heads * sizes.head_dim;
            }
            // Rows that wait to be added to the column sums, and those of the query window.
            let rows = needs.query_window + if needs.column_sums { 2 * PAGE } else { 0 };
            let moments = if needs.query_moments { sizes.head_dim * (sizes.head_dim + 2) } else { 0 };
            fixed += 4 * sizes.heads * (rows * (sizes.head_dim + 1) + moments);
        }
        Self { pages, positions, fixed }
    }

    /// Of the text of `request`.
    pub fn of_request(model: &DecoderSpec, request: &Request) -> Self {
        let growth = Self::new(model, &request.policy);
        let lengths = request.segments.iter().flat_map(|text| text.segments.iter().map(Vec::len));
        // Every segment has pages of its own, for its pairs and for its keys without positions.
        let pages: usize = lengths.map(|tokens| 2 * tokens.div_ceil(PAGE)).sum();
        let beams = request
            .search
            .as_ref()
            .map_or(0, |search| search.beams.saturating_mul(search.candidates.saturating_add(1)));
        let beams = beams.saturating_mul(growth.beam(request.prompt.len(), request.tokens.min(model.context)));
        Self { fixed: (growth.fixed + growth.of_pages(pages)).saturating_add(beams), ..growth }
    }

    /// Bytes of a beam that has written `tokens` tokens behind a prompt of `prompt` tokens, whose full pages it shares.
    fn beam(&self, prompt: usize, tokens: usize) -> usize {
        let own = tokens.div_ceil(PAGE) + 1;
        self.fixed + self.of_pages(own) + prompt.div_ceil(PAGE) * self.positions
    }

    /// Bytes of `tokens` tokens at most.
    pub fn of(&self, tokens: usize) -> usize {
        self.fixed.saturating_add(tokens.div_ceil(PAGE) * self.pages)
    }

    /// Bytes of `pages` pages in every head.
    pub fn of_pages(&self, pages: usize) -> usize {
        pages * self.pages
    }

    /// Bytes that the next tokens may need at once: a page in every head.
    pub fn next(&self) -> usize {
        self.pages
    }
}

/// Bytes of a slot beside its pair: its position and statistics.
fn per_slot(needs: Needs) -> usize {
    size_of::<i32>() + 4 * (usize::from(needs.column_sums) + usize::from(needs.key_norms))
}

/// Bytes of a page of one head.
fn head(codec: Codec, needs: Needs, head_dim: usize) -> usize {
    // A page that is still open holds half-precision floats, whatever it is coded as later.
    let open = if codec.full_precision_window().is_some() { Codec::F16 } else { codec };
    let pairs = PAGE * codec.pair_bytes(head_dim, head_dim).max(open.pair_bytes(head_dim, head_dim));
    let bounds = if needs.key_bounds { 8 * head_dim } else { 0 };
    let chunks = if needs.chunk > 0 { 4 * head_dim * PAGE.div_ceil(needs.chunk) } else { 0 };
    // Vectors grow by doubling, so that up to half of them may be empty.
    pairs + PAGE * per_slot(needs) + 2 * (bounds + chunks)
}
