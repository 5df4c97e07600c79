//! What a linear recurrence reads.

use super::CHUNK;
use crate::attention::View4;

/// What is computed, besides the decay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recurrence {
    /// Factor of the queries.
    pub scale: f32,
    /// Outputs are divided by `q · Σ k + 1e-10`; the sum of the keys is one more column of the state.
    pub normalise: bool,
}

/// The sizes of a linear recurrence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dims {
    /// Independent rows of tokens.
    pub batch: usize,
    /// Heads.
    pub heads: usize,
    /// Tokens of a row, of all its sequences.
    pub tokens: usize,
    /// Elements of a query and of a key.
    pub key_dim: usize,
    /// Elements of a value.
    pub value_dim: usize,
}

impl Dims {
    /// Elements of the output.
    pub fn output(&self) -> usize {
        self.batch * self.tokens * self.heads * self.value_dim
    }

    /// Elements of one state.
    pub fn state(&self, spec: &Recurrence) -> usize {
        self.key_dim * self.columns(spec)
    }

    /// Columns of a state: those of the values, and one for the normaliser.
    pub(super) fn columns(&self, spec: &Recurrence) -> usize {
        self.value_dim + usize::from(spec.normalise)
    }
}

/// The log-decays, all at most 0; −∞ forgets what was before.
#[derive(Clone, Copy, Debug)]
pub enum Decay<'a> {
    /// Nothing is forgotten.
    None,
    /// One for each head, the same at every token.
    Head(&'a [f32]),
    /// One for each token: `[batch, heads, tokens, 1]`.
    Token(View4<'a>),
    /// One for each channel of the keys: `[batch, heads, tokens, key_dim]`.
    Channel(View4<'a>),
}

/// The tensors that a recurrence reads.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// `[batch, heads, tokens, key_dim]`.
    pub query: View4<'a>,
    /// `[batch, heads, tokens, key_dim]`.
    pub key: View4<'a>,
    /// `[batch, heads, tokens, value_dim]`.
    pub value: View4<'a>,
    /// How the state decays.
    pub decay: Decay<'a>,
    /// Where sequences start and, last, where the final one ends: `[0, …, tokens]`. Each has a state of its own.
    pub offsets: &'a [usize],
    /// The states that the sequences start from, `[batch, sequences, heads, key_dim, columns]`; none is zero. The columns
    /// are those of the values, then one with the sum of the keys if outputs are normalised.
    pub state: Option<&'a [f32]>,
}

impl Inputs<'_> {
    /// How many sequences each row of the batch holds.
    pub fn sequences(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Elements of the states of all sequences.
    pub fn states(&self, spec: &Recurrence, dims: &Dims) -> usize {
        dims.batch * self.sequences() * dims.heads * dims.state(spec)
    }

    /// Chunks of all sequences of a row.
    pub(super) fn chunks(&self) -> usize {
        self.offsets.windows(2).map(|sequence| (sequence[1] - sequence[0]).div_ceil(CHUNK)).sum()
    }

    /// Elements of the states at the starts of all chunks, which the gradient needs.
    pub fn chunk_states(&self, spec: &Recurrence, dims: &Dims) -> usize {
        dims.batch * dims.heads * self.chunks() * dims.state(spec)
    }

    /// Panics unless the tensors have the sizes that `dims` states.
    pub(super) fn check(&self, spec: &Recurrence, dims: &Dims) {
        let Dims { batch, heads, tokens, key_dim, value_dim } = *dims;
        let sizes = [batch, heads, tokens];
        self.query.check("query", sizes, key_dim);
        self.key.check("key", sizes, key_dim);
        self.value.check("value", sizes, value_dim);
        match &self.decay {
            Decay::None => {}
            Decay::Head(decays) => assert_eq!(decays.len(), heads, "a log-decay for each head"),
            Decay::Token(decays) => decays.check("decay", sizes, 1),
            Decay::Channel(decays) => decays.check("decay", sizes, key_dim),
        }
        let ascending = self.offsets.windows(2).all(|sequence| sequence[0] <= sequence[1]);
        let ends = (self.offsets.first(), self.offsets.last());
        assert!(ascending && ends == (Some(&0), Some(&tokens)), "offsets {:?} of {tokens} tokens", self.offsets);
        if let Some(state) = self.state {
            assert_eq!(state.len(), self.states(spec, dims), "elements of the states");
        }
    }
}
