//! What SAP asks of a model: what belongs into the gap at the end of a text.

/// Something that says what is missing at the end of a text.
pub trait FillsGaps {
    /// Why it cannot.
    type Error;

    /// What is missing after `text`; none if there is no room for more. It may stop as soon as `enough` of what it has said so far.
    fn fill(&mut self, text: &str, enough: &mut dyn FnMut(&str) -> bool) -> Result<Option<Filled>, Self::Error>;

    /// How likely it would say `answer` after `text`.
    fn judge(&mut self, text: &str, answer: &str) -> Result<Likelihood, Self::Error>;
}

/// What was said about a gap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filled {
    /// What is missing, or the beginning of it.
    pub text: String,
    /// Tokens of the text with its gap.
    pub shown: usize,
    /// How many of them had to be read: the others were read before.
    pub read: usize,
    /// Tokens that were written.
    pub written: usize,
}

/// How likely a text is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Likelihood {
    /// Log-probability of all its tokens together.
    pub log_probability: f64,
    /// Its tokens.
    pub tokens: usize,
}

impl Likelihood {
    /// Log-probability of a token; of no token, minus infinity.
    pub fn mean(&self) -> f64 {
        if self.tokens == 0 { f64::NEG_INFINITY } else { self.log_probability / self.tokens as f64 }
    }

    /// Both texts, one after the other.
    pub(super) fn and(self, other: Self) -> Self {
        Self { log_probability: self.log_probability + other.log_probability, tokens: self.tokens + other.tokens }
    }
}
