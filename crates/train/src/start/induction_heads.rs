//! A decoder that copies what followed the last two tokens before.

use burn::tensor::Device;
use headwise_models::decoder::{Decoder, DecoderSpec};
use headwise_nn::mixer::Heads;

use super::weights::{Copying, Weights, gain, plain_heads, plain_stream};

headwise_spec::method! {
    /// A decoder that already copies: what followed the last two tokens before follows them again; all else is random or zero.
    ///
    /// The first two layers see two tokens each and write down which tokens came before, the third one finds where those came
    /// before. Small models learn this circuit late or never; from it they learn in minutes what to copy. The circuit is that of
    /// Olsson et al. 2022, arXiv:2209.11895; to start from weights that imitate trained ones is Trockman and Kolter 2023,
    /// arXiv:2305.09828.
    pub struct InductionHeads {
        /// Score of one token that is alike.
        pub gain: f32 = 12.0,
    }
}

/// How much more the copied token counts than the one that is read.
pub(super) const COPY: f32 = 4.0;

/// What a model must be.
const NEEDED: &str = "needs a decoder with tied token vectors of `dim` channels and RMSNorm before each part, whose layers have weights \
                      of their own and are first twice softmax(window=2, position=nope) and once softmax(position=nope), with heads of \
                      one width";

impl InductionHeads {
    /// The heads that copy; an error if the circuit does not fit the model.
    fn heads(spec: &DecoderSpec) -> Result<Heads, String> {
        let heads = [(0, Some(2)), (1, Some(2)), (2, None)].map(|(layer, window)| plain_heads(spec, layer, window));
        let ([Some(first), Some(second), Some(third)], true) = (heads, plain_stream(spec)) else {
            return Err(format!("induction_heads {NEEDED}"));
        };
        let (code, needed) = (third.head_dim, (2 + third.kv_heads) * third.head_dim);
        match (first.head_dim, second.head_dim) == (code, code) && spec.dim >= needed {
            true => Ok(third),
            false => {
                Err(format!("induction_heads {NEEDED}, and here with at least {needed} channels: it has {}", spec.dim))
            }
        }
    }

    /// The residual stream is `[token vector | last two tokens | last three tokens]`. A token's code is the first channels of its
    /// vector, as many as a head has.
    pub(super) fn apply(&self, model: Decoder, device: &Device) -> Result<Decoder, String> {
        let heads = Self::heads(model.spec())?;
        let (dim, code) = (model.spec().dim, heads.head_dim);
        let vector = dim - 2 * code;
        let (last_two, last_three) = (vector, vector + code);
        // What a norm divides by before each layer, in units of a token vector's channels: codes add up like independent numbers.
        let root = |last_two: f32, last_three: f32| {
            ((vector as f32 + code as f32 * (last_two + last_three)) / dim as f32).sqrt()
        };
        let norm = root(2.0, 1.5);
        let mut weights = Weights::silent(&model, vector);
        weights.write_down_last(last_two, last_three, code, [root(0.0, 0.0), root(2.0, 0.0)]);
        let copy = Copying { gain: gain(self.gain, code, norm), norm, times: COPY };
        weights.copy_what_followed(2, heads, [last_two, last_three], copy);
        Ok(weights.fill(model, device))
    }
}

#[cfg(test)]
mod tests {
    use super::super::StartSpec;
    use super::super::tests::{next, started};
    use super::*;

    const LAYERS: &str = r#"
        vocabulary = 200
        dim = 192
        context = 64
        epsilon = 1e-6
        tied = true
        final_norm = true
        layers = [
            { mixer = "softmax(heads=6, kv_heads=2, window=2, position=nope)", norms = "pre", norm = "rms", channel = "gated(hidden=32)" },
            { mixer = "softmax(heads=6, kv_heads=2, window=2, position=nope)", norms = "pre", norm = "rms" },
            { mixer = "softmax(heads=6, kv_heads=2, position=nope)", norms = "pre", norm = "rms" },
            { mixer = "softmax(heads=6, kv_heads=2)", norms = "pre", norm = "rms", channel = "gated(hidden=32)" },
        ]
    "#;

    fn start() -> StartSpec {
        InductionHeads::default().into()
    }

    #[test]
    fn what_followed_two_tokens_follows_them_again() {
        let model = started(LAYERS, &start()).unwrap();
        let text: Vec<u32> = (0..50).map(|i| i * 37 % 200).collect();
        let right = (3..48).filter(|&at| next(&model, &[&text[..], &text[at..at + 2]].concat()) == text[at + 2]);
        let right = right.count();
        assert!(right >= 40, "{right} of 45");
    }

    #[test]
    fn models_that_the_circuit_does_not_fit_are_refused() {
        for (from, to) in [("tied = true", "tied = false"), ("window=2", "window=4"), ("kv_heads=2", "kv_heads=6")] {
            let error = started(&LAYERS.replace(from, to), &start()).unwrap_err();
            assert!(error.contains("softmax(window=2, position=nope)"), "{error}");
        }
    }
}
