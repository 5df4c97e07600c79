//! What a sampler is asked to do, and which values make sense.

use super::{Dry, Mirostat, Xtc};

/// How the next token is chosen; the default is greedy.
///
/// Scores are changed first, then tokens are cut, each cut looking at the probabilities of what the ones before it left, and one of
/// the rest is drawn:
///
/// 1. `repetition_penalty`, `frequency_penalty`, `presence_penalty`, `dry`, `logit_bias`; a constraint, if there is one; `min_tokens`
/// 2. `top_k`, `typical_p`, `top_p`, `min_p`, `xtc`, all at temperature 1
/// 3. `temperature`, and `mirostat` at it in place of all cuts
///
/// At temperature 0 nothing is drawn: the likeliest token is taken, whatever the second and the third step say.
///
/// Among equally likely tokens the lower id comes first.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Scores are divided by it before a token is drawn; below 1e-5 the likeliest token is taken. Default 0.
    pub temperature: f32,
    /// Keeps so many of the likeliest tokens; 0 keeps all, the default.
    pub top_k: usize,
    /// Keeps the likeliest tokens that together hold this share of the probability; in (0, 1], default 1.
    /// Holtzman et al. 2019, arXiv:1904.09751.
    pub top_p: f32,
    /// Keeps tokens at least this share as likely as the likeliest; in [0, 1], default 0. Nguyen et al. 2024, arXiv:2407.01082.
    pub min_p: f32,
    /// Keeps the tokens whose `-log p` is nearest to the entropy, as many as hold this share of the probability; in (0, 1],
    /// default 1. Meister et al. 2022, arXiv:2202.00666.
    pub typical_p: f32,
    /// Divides scores above 0 and multiplies those below, of every token that was read or written; above 0, default 1.
    /// Keskar et al. 2019, arXiv:1909.05858.
    pub repetition_penalty: f32,
    /// Taken off the score of every token that was written; in [-2, 2], default 0.
    pub presence_penalty: f32,
    /// Taken off the score of every token as often as it was written; in [-2, 2], default 0.
    pub frequency_penalty: f32,
    /// Held back repetitions; none by default.
    pub dry: Option<Dry>,
    /// Leaves out the likeliest tokens now and then; not by default.
    pub xtc: Option<Xtc>,
    /// Keeps surprise near a target; not by default, and never together with cuts.
    pub mirostat: Option<Mirostat>,
    /// Added to the scores of tokens, by id; each in [-100, 100].
    pub logit_bias: Vec<(u32, f32)>,
    /// Tokens that end a text are not chosen before so many others were written, unless nothing else can be; default 0.
    pub min_tokens: usize,
    /// Seed of the draws: the same seed draws the same, whatever else runs.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            typical_p: 1.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            dry: None,
            xtc: None,
            mirostat: None,
            logit_bias: Vec::new(),
            min_tokens: 0,
            seed: 0,
        }
    }
}

/// A parameter out of its range.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SamplingError {
    /// A number outside its range.
    #[error("{parameter} is {value}: it must be {range}")]
    Range {
        /// The field of [`Sampling`].
        parameter: &'static str,
        /// Its value.
        value: f32,
        /// The values it may have.
        range: &'static str,
    },
    /// A cut beside Mirostat.
    #[error("mirostat says itself how many tokens are drawn from: leave {parameter} out")]
    Beside {
        /// The field of [`Sampling`] that cuts, too.
        parameter: &'static str,
    },
    /// A bias outside its range.
    #[error("logit_bias of token {id} is {value}: it must be from -100 to 100")]
    Bias {
        /// The token.
        id: u32,
        /// Its bias.
        value: f32,
    },
    /// A bias of no token.
    #[error("logit_bias has token {id}: ids are below {vocabulary}")]
    UnknownToken {
        /// The token.
        id: u32,
        /// Tokens of the model.
        vocabulary: usize,
    },
}

/// A parameter, its value, whether that is in its range, and the range.
type Ranged = (&'static str, f32, bool, &'static str);

impl Sampling {
    fn dry_ranges(&self) -> impl Iterator<Item = Ranged> {
        self.dry.iter().flat_map(|dry| {
            let Dry { multiplier, base, allowed_length, .. } = *dry;
            [
                ("dry_multiplier", multiplier, multiplier.is_finite() && multiplier >= 0.0, "0 or more"),
                ("dry_base", base, base.is_finite() && base >= 1.0, "1 or more"),
                ("dry_allowed_length", allowed_length as f32, allowed_length > 0, "1 or more"),
            ]
        })
    }

    fn xtc_ranges(&self) -> impl Iterator<Item = Ranged> {
        self.xtc.into_iter().flat_map(|Xtc { probability, threshold }| {
            [
                ("xtc_probability", probability, (0.0..=1.0).contains(&probability), "from 0 to 1"),
                ("xtc_threshold", threshold, threshold > 0.0 && threshold <= 1.0, "above 0 and at most 1"),
            ]
        })
    }

    fn mirostat_ranges(&self) -> impl Iterator<Item = Ranged> {
        self.mirostat.into_iter().flat_map(|Mirostat { tau, eta }| {
            [
                ("mirostat_tau", tau, tau.is_finite() && tau > 0.0, "a number above 0"),
                ("mirostat_eta", eta, eta > 0.0 && eta <= 1.0, "above 0 and at most 1"),
            ]
        })
    }

    /// The first of the parameters that cut, of those that do.
    fn first_cut(&self) -> Option<&'static str> {
        let cuts = [
            ("top_k", self.top_k > 0),
            ("typical_p", self.typical_p < 1.0),
            ("top_p", self.top_p < 1.0),
            ("min_p", self.min_p > 0.0),
            ("xtc_probability", self.xtc.is_some()),
        ];
        cuts.into_iter().find(|(_, cuts)| *cuts).map(|(parameter, _)| parameter)
    }

    /// Whether tokens are cut whatever is drawn.
    pub(super) fn cuts(&self) -> bool {
        self.first_cut().is_some_and(|parameter| parameter != "xtc_probability")
    }

    /// Greedy from this temperature down.
    pub(super) const GREEDY: f32 = 1e-5;

    /// Whether every parameter is in its range, for a model of `vocabulary` tokens.
    pub fn check(&self, vocabulary: usize) -> Result<(), SamplingError> {
        let share = |value: f32| value > 0.0 && value <= 1.0;
        let penalty = |value: f32| (-2.0..=2.0).contains(&value);
        let (above_0, shares, penalties) = ("a number above 0", "above 0 and at most 1", "from -2 to 2");
        let finite = |value: f32| value.is_finite();
        for (parameter, value, valid, range) in [
            ("temperature", self.temperature, finite(self.temperature) && self.temperature >= 0.0, "0 or more"),
            ("top_p", self.top_p, share(self.top_p), shares),
            ("min_p", self.min_p, (0.0..=1.0).contains(&self.min_p), "from 0 to 1"),
            ("typical_p", self.typical_p, share(self.typical_p), shares),
            (
                "repetition_penalty",
                self.repetition_penalty,
                finite(self.repetition_penalty) && self.repetition_penalty > 0.0,
                above_0,
            ),
            ("presence_penalty", self.presence_penalty, penalty(self.presence_penalty), penalties),
            ("frequency_penalty", self.frequency_penalty, penalty(self.frequency_penalty), penalties),
        ]
        .into_iter()
        .chain(self.dry_ranges())
        .chain(self.xtc_ranges())
        .chain(self.mirostat_ranges())
        {
            if !valid {
                return Err(SamplingError::Range { parameter, value, range });
            }
        }
        if let (Some(_), Some(parameter)) = (self.mirostat, self.first_cut()) {
            return Err(SamplingError::Beside { parameter });
        }
        for &(id, value) in &self.logit_bias {
            if !(-100.0..=100.0).contains(&value) {
                return Err(SamplingError::Bias { id, value });
            }
            if id as usize >= vocabulary {
                return Err(SamplingError::UnknownToken { id, vocabulary });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_out_of_range_are_named_with_the_range() {
        let default = Sampling::default;
        let dry = |multiplier, base, allowed_length| Some(Dry { multiplier, base, allowed_length, ..Dry::default() });
        let xtc = |probability, threshold| Some(Xtc { probability, threshold });
        let mirostat = |tau, eta| Some(Mirostat { tau, eta });
        assert_eq!(default().check(1), Ok(()));
        for (wrong, message) in [
            (Sampling { temperature: -1.0, ..default() }, "temperature is -1: it must be 0 or more"),
            (Sampling { temperature: f32::NAN, ..default() }, "temperature is NaN: it must be 0 or more"),
            (Sampling { top_p: 0.0, ..default() }, "top_p is 0: it must be above 0 and at most 1"),
            (Sampling { min_p: 1.5, ..default() }, "min_p is 1.5: it must be from 0 to 1"),
            (Sampling { typical_p: 2.0, ..default() }, "typical_p is 2: it must be above 0 and at most 1"),
            (Sampling { repetition_penalty: 0.0, ..default() }, "repetition_penalty is 0: it must be a number above 0"),
            (Sampling { presence_penalty: 2.5, ..default() }, "presence_penalty is 2.5: it must be from -2 to 2"),
            (Sampling { frequency_penalty: -3.0, ..default() }, "frequency_penalty is -3: it must be from -2 to 2"),
            (Sampling { dry: dry(f32::NAN, 2.0, 2), ..default() }, "dry_multiplier is NaN: it must be 0 or more"),
            (Sampling { dry: dry(1.0, 0.5, 2), ..default() }, "dry_base is 0.5: it must be 1 or more"),
            (Sampling { dry: dry(1.0, 2.0, 0), ..default() }, "dry_allowed_length is 0: it must be 1 or more"),
            (Sampling { xtc: xtc(1.5, 0.1), ..default() }, "xtc_probability is 1.5: it must be from 0 to 1"),
            (Sampling { xtc: xtc(0.5, 0.0), ..default() }, "xtc_threshold is 0: it must be above 0 and at most 1"),
            (Sampling { mirostat: mirostat(0.0, 0.1), ..default() }, "mirostat_tau is 0: it must be a number above 0"),
            (
                Sampling { mirostat: mirostat(5.0, 2.0), ..default() },
                "mirostat_eta is 2: it must be above 0 and at most 1",
            ),
            (
                Sampling { mirostat: mirostat(5.0, 0.1), min_p: 0.1, ..default() },
                "mirostat says itself how many tokens are drawn from: leave min_p out",
            ),
            (
                Sampling { logit_bias: vec![(3, 101.0)], ..default() },
                "logit_bias of token 3 is 101: it must be from -100 to 100",
            ),
            (Sampling { logit_bias: vec![(9, 1.0)], ..default() }, "logit_bias has token 9: ids are below 9"),
        ] {
            assert_eq!(wrong.check(9).unwrap_err().to_string(), message);
        }
    }
}
