//! A decoder that fills gaps by copying.

use burn::tensor::Device;
use headwise_models::decoder::{Decoder, DecoderSpec, Sentinels};
use headwise_nn::mixer::Heads;

use super::induction_heads::COPY;
use super::weights::{Copying, EMBEDDING, Weights, gain, plain_heads, plain_stream};

headwise_spec::method! {
    /// A decoder that already fills gaps, for `span_corruption`: what followed the two tokens before a gap when they stood there before is said
    /// first, and then what followed the last two tokens; all else is random or zero.
    ///
    /// Where a gap is, the third layer finds the same two tokens before; when the gap is asked about, the fifth finds its sentinel and takes
    /// what was found there (it is a head that finds duplicate tokens, as in Wang et al. 2022, arXiv:2211.00593), and the sixth
    /// copies like `induction_heads`. The fourth layer is free, to find better words before the fifth takes them.
    pub struct GapHeads {
        /// Score of one token that is alike.
        pub gain: f32 = 12.0,
    }
}

/// How much more than the sentinel what was found at a gap counts: more than [`COPY`], for what follows a gap is copied too.
const FILL: f32 = 12.0;
/// How much a sentinel avoids itself when it looks for the tokens before it, in scores of a token.
const AVOID: f32 = 2.0;

/// What a model must be.
const NEEDED: &str = "needs a decoder with tied token vectors of `dim` channels and RMSNorm before each part, whose layers have weights \
                      of their own and mix with softmax: twice \
                      (window=2, position=nope), (position=nope), any, twice (position=nope), then any; with heads of one width";

impl GapHeads {
    /// The heads that copy, and the tokens that mark gaps; an error if the circuit does not fit the model.
    fn fitting(spec: &DecoderSpec) -> Result<(Heads, Sentinels), String> {
        let layers = [(0, Some(2)), (1, Some(2)), (2, None), (4, None), (5, None)];
        let heads = layers.map(|(layer, window)| plain_heads(spec, layer, window));
        let ([Some(first), Some(second), Some(third), Some(fifth), Some(sixth)], true) = (heads, plain_stream(spec))
        else {
            return Err(format!("gap_heads {NEEDED}"));
        };
        let Some(sentinels) = spec.sentinels else {
            return Err("gap_heads needs a model that fills gaps: set `objective` to \"span_corruption\"".into());
        };
        let (code, needed) = (sixth.head_dim, (4 + sixth.kv_heads) * sixth.head_dim);
        match [first, second, third, fifth].iter().all(|heads| heads.head_dim == code) && spec.dim >= needed {
            true => Ok((sixth, sentinels)),
            false => Err(format!("gap_heads {NEEDED}, and here with at least {needed} channels: it has {}", spec.dim)),
        }
    }

    /// The residual stream is `[token vector | last two tokens | last three tokens | found at a gap | sentinel]`. A token's code is the
    /// first channels of its vector, as many as a head has.
    pub(super) fn apply(&self, model: Decoder, device: &Device) -> Result<Decoder, String> {
        let (heads, sentinels) = Self::fitting(model.spec())?;
        let (dim, code) = (model.spec().dim, heads.head_dim);
        let vector = dim - 4 * code;
        let [last_two, last_three, found, sentinel] = [0, 1, 2, 3].map(|region| vector + region * code);
        // What a norm divides by before each layer, in units of a token vector's channels: codes add up like independent numbers.
        let root = |codes: f32| ((vector as f32 + code as f32 * codes) / dim as f32).sqrt();
        let [before, with_last, with_found] = [root(2.0), root(2.0 + 1.5), root(2.0 + 1.5 + 1.0)];
        let mut weights = Weights::silent(&model, vector);
        weights.write_down_last(last_two, last_three, code, [root(0.0), before]);
        let table = &mut weights.of("embedding.weight").values;
        for id in sentinels.ids() {
            let row = &mut table[id as usize * dim..][..dim];
            row.copy_within(..code, sentinel);
        }

        // Queries and keys are c[t-1] + c[t-2]; a sentinel is not to find itself, so its code counts against it.
        let look = gain(self.gain, code, with_last);
        let name = |part: &str| format!("blocks.2.mixer.{part}.weight");
        for (part, own) in [("query", 1.0), ("key", -AVOID)] {
            weights.set(&name(part), 0, last_two, code, -look);
            weights.add(&name(part), 0, last_three, code, 2.0 * look);
            weights.add(&name(part), 0, sentinel, code, own * look);
        }
        weights.set(&name("value"), 0, 0, code, with_last);
        weights.add(&name("output"), found, 0, code, EMBEDDING);

        // A sentinel finds itself where the gap is. Elsewhere what was found is the token itself, and nothing is left of it.
        let take = gain(self.gain, code, with_found);
        let name = |part: &str| format!("blocks.4.mixer.{part}.weight");
        weights.set(&name("query"), 0, sentinel, code, take);
        weights.set(&name("key"), 0, sentinel, code, take);
        weights.set(&name("value"), 0, found, code, with_found);
        weights.add(&name("value"), 0, 0, code, -with_found);
        weights.add(&name("output"), 0, 0, code, FILL * EMBEDDING);

        let copying = Copying { gain: gain(self.gain, code, with_found), norm: with_found, times: COPY };
        weights.copy_what_followed(5, heads, [last_two, last_three], copying);
        Ok(weights.fill(model, device))
    }
}

#[cfg(test)]
mod tests {
    use super::super::StartSpec;
    use super::super::tests::{likeliest_two, next, started};
    use super::*;

    const LAYERS: &str = r#"
        vocabulary = 209
        dim = 192
        context = 128
        epsilon = 1e-6
        tied = true
        final_norm = true
        sentinels = { first = 201, count = 8, end = 200 }
        layers = [
            { mixer = "softmax(heads=6, kv_heads=2, window=2, position=nope)", norms = "pre", norm = "rms", channel = "gated(hidden=32)" },
            { mixer = "softmax(heads=6, kv_heads=2, window=2, position=nope)", norms = "pre", norm = "rms" },
            { mixer = "softmax(heads=6, kv_heads=2, position=nope)", norms = "pre", norm = "rms" },
            { mixer = "softmax(heads=6, kv_heads=2, window=16)", norms = "pre", norm = "rms" },
            { mixer = "softmax(heads=6, kv_heads=2, position=nope)", norms = "pre", norm = "rms" },
            { mixer = "softmax(heads=6, kv_heads=2, position=nope)", norms = "pre", norm = "rms", channel = "gated(hidden=32)" },
        ]
    "#;

    fn start() -> StartSpec {
        GapHeads::default().into()
    }

    #[test]
    fn a_gap_is_filled_with_what_followed_the_tokens_before_it() {
        let model = started(LAYERS, &start()).unwrap();
        let text: Vec<u32> = (0..40).map(|i| i * 37 % 200).collect();
        let places = 3..37;
        let (mut first, mut then) = (0, 0);
        for at in places.clone() {
            let gap = [&text[..], &text[..at], &[201, 200, 201]].concat();
            // What follows the gap, its end, is copied too: training has to find out which counts.
            first += usize::from(likeliest_two(&model, &gap).contains(&text[at]));
            let begun = [&gap[..], &text[at..at + 2]].concat();
            then += usize::from(next(&model, &begun) == text[at + 2]);
        }
        let share = |right: usize| right as f64 / places.len() as f64;
        assert!(share(first) >= 0.7 && share(then) >= 0.9, "{first} and {then} of {}", places.len());
    }

    #[test]
    fn models_that_the_circuit_does_not_fit_are_refused() {
        for (from, to, part) in [
            ("tied = true", "tied = false", "(window=2, position=nope)"),
            ("window=2", "window=4", "(window=2, position=nope)"),
            (
                "kv_heads=2, position=nope)\", norms = \"pre\", norm = \"rms\", channel",
                "kv_heads=6, position=nope)\", norms = \"pre\", norm = \"rms\", channel",
                "at least 320 channels",
            ),
            ("sentinels = {", "# {", "span_corruption"),
        ] {
            assert!(LAYERS.contains(from), "{from}");
            let error = started(&LAYERS.replace(from, to), &start()).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
