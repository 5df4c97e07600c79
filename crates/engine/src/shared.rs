//! One reading of a prompt for several policies.
//!
//! A policy that waits for the end of the prompt changes nothing before it, so all such policies with one storage codec
//! see the same prefill. [`SharedPrefill`] runs it once, gathering the statistics that any of them needs;
//! [`ReadPrompt::under`] then ends the prompt under one policy. The result equals a prefill under that policy alone, bit
//! for bit, its bytes and peak included: the chunks are those of [`Engine::prefill`].
//!
//! Prompts that begin alike share that beginning too: states are kept at chunk boundaries and reused as far as the next
//! prompt agrees with the last one.

use crate::cache::{CachePolicy, KnownHeads, Stage};
use crate::forward::{PROMPT_CHUNK, places};
use crate::{Chunk, Engine, EngineError, Logits, Sequence, Wanted};

/// Reads prompts for several policies at once.
#[derive(Debug)]
pub struct SharedPrefill<'a> {
    engine: &'a Engine,
    /// The text of the states.
    ids: Vec<u32>,
    /// The state after every whole chunk of `ids`, and before the first.
    states: Vec<Sequence>,
}

impl<'a> SharedPrefill<'a> {
    /// A reader for `policies`; `None` if they cannot share: one of them evicts while it reads, or they store pairs or cut
    /// them into chunks differently.
    pub fn new(engine: &'a Engine, policies: &[&CachePolicy]) -> Option<Self> {
        let together = CachePolicy::together(policies)?;
        Some(Self {
            engine,
            ids: Vec::new(),
            states: vec![Sequence::new(engine.spec(), &together, &KnownHeads::default())],
        })
    }

    /// Reads `ids` as a whole prompt. `progress` is told how many tokens of it have been read.
    pub fn read(&mut self, ids: &[u32], mut progress: impl FnMut(usize)) -> Result<ReadPrompt<'a>, EngineError> {
        let alike = self.ids.iter().zip(ids).take_while(|(a, b)| a == b).count();
        // The last chunk is always read, because its scores are wanted.
        let reused = alike.min(ids.len().saturating_sub(1)) / PROMPT_CHUNK;
        self.states.truncate(reused + 1);
        self.ids.truncate(reused * PROMPT_CHUNK);
        let mut state = self.states[reused].clone();
        self.engine.check_text(state.tokens, &ids[self.ids.len()..])?;
        let mut before = state.clone();
        let mut logits = Logits::default();
        progress(self.ids.len());
        while self.ids.len() < ids.len() {
            let rest = &ids[self.ids.len()..];
            let part = &rest[..rest.len().min(PROMPT_CHUNK)];
            let wanted = if part.len() == rest.len() { Wanted::Last } else { Wanted::Nothing };
            before = state.clone();
            let chunk = Chunk { sequence: &mut state, ids: part, prompt_ends: false, wanted };
            logits = self.engine.forward(&mut [chunk])?.pop().unwrap_or_default();
            self.ids.extend(part);
            if part.len() == PROMPT_CHUNK {
                self.states.push(state.clone());
            }
            progress(self.ids.len());
        }
        Ok(ReadPrompt { engine: self.engine, before, whole: state, logits })
    }
}

/// A prompt that has been read, and not yet ended under any policy.
#[derive(Debug)]
pub struct ReadPrompt<'a> {
    engine: &'a Engine,
    /// Before the last chunk.
    before: Sequence,
    whole: Sequence,
    logits: Logits,
}

impl ReadPrompt<'_> {
    /// Tokens read.
    pub fn tokens(&self) -> usize {
        self.whole.tokens()
    }

    /// Scores after the last token; the same under every policy.
    pub fn logits(&self) -> &[f32] {
        self.logits.last()
    }

    /// The text with its prompt ended under `policy`, one of those it was read for.
    pub fn under(&self, policy: &CachePolicy) -> Result<Sequence, EngineError> {
        let mut fork = self.engine.sequence(policy)?;
        for (layer, read) in fork.layers.iter_mut().zip(&self.before.layers) {
            layer.adopt(read);
        }
        fork.note_peak();
        // As in a forward: a layer reads the last chunk, then the policy evicts from it, then comes the next layer.
        for (index, place) in places(self.engine.spec()).enumerate() {
            fork.layers[index].adopt(&self.whole.layers[index]);
            fork.note_peak();
            policy.hold(&mut fork.layers[index], place, self.whole.tokens, Stage::PromptEnd);
        }
        fork.tokens = self.whole.tokens;
        fork.prompt_ended = true;
        fork.note_peak();
        Ok(fork)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use headwise_models::decoder::{Induction, Weights};
    use headwise_spec::Family;

    use super::*;
    use crate::cache::CacheMethod;

    fn engine() -> Engine {
        Engine::new(Induction::new(0).decoder(Weights::Stored, &Device::flex()).unwrap(), 2).unwrap()
    }

    fn text(length: usize, seed: u32) -> Vec<u32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            1 + (state >> 16) % 255
        };
        std::iter::once(Induction::START).chain((1..length).map(|_| next())).collect()
    }

    /// Every method that shares prefills by itself, evicting ones at a quarter, and some in company.
    fn policies() -> Vec<CachePolicy> {
        let others = ["adakv", "uncomp_groups", "uncomp_stages", "act", "gemfilter"];
        let alone = CacheMethod::NAMES.iter().filter(|name| !others.contains(name));
        let named = alone.map(|name| {
            CachePolicy::parse(&format!("{name}(keep=0.25)")).or_else(|_| CachePolicy::parse(name)).unwrap()
        });
        let more = [
            "snapkv(keep=0.1) + streaming(budget=100)",
            "snapkv(budget=64) + f32",
            "quest(budget=96, dense_layers=0)",
            "token_select(budget=200)",
            "long_heads(budget=256)",
            "hip(budget=300, dense_layers=0)",
            "h2o(keep=0.5) + quest(budget=128, dense_layers=0)",
            "adakv + pyramidkv(keep=0.25, window=16)",
            "uncomp_groups + h2o(keep=0.25)",
        ];
        named.chain(more.map(|text| CachePolicy::parse(text).unwrap())).collect()
    }

    fn assert_same(engine: &Engine, policy: &CachePolicy, read: &ReadPrompt<'_>, ids: &[u32]) {
        let mut alone = engine.sequence(policy).unwrap();
        let logits = engine.prefill(&mut alone, ids, |_| {}).unwrap();
        let mut fork = read.under(policy).unwrap();
        assert_eq!(logits.last(), read.logits(), "{policy}: scores after the prompt");
        for (token, id) in text(70, 9).into_iter().enumerate() {
            assert_eq!(fork.bytes(), alone.bytes(), "{policy}: bytes after {token} tokens");
            assert_eq!(fork.peak_bytes(), alone.peak_bytes(), "{policy}: peak after {token} tokens");
            let (own, expected) = (engine.step(&mut fork, id).unwrap(), engine.step(&mut alone, id).unwrap());
            assert_eq!(own, expected, "{policy}: scores after {token} tokens");
        }
    }

    #[test]
    fn every_policy_gets_what_its_own_prefill_gives() {
        let engine = engine();
        let policies = policies();
        let mut seen = 0;
        for codec in headwise_kernels::kv::Codec::ALL {
            let together: Vec<&CachePolicy> = policies.iter().filter(|policy| policy.codec() == codec).collect();
            let Some(mut prefill) = SharedPrefill::new(&engine, &together) else { continue };
            let first = text(1300, 1);
            // Shares 600 tokens, one whole chunk, with the first.
            let second = [&first[..600], &text(500, 2)].concat();
            for ids in [&first, &second, &second[..512].to_vec()] {
                let read = prefill.read(ids, |_| {}).unwrap();
                assert_eq!(read.tokens(), ids.len());
                together.iter().for_each(|policy| assert_same(&engine, policy, &read, ids));
            }
            seen += together.len();
        }
        assert_eq!(seen, policies.len(), "every policy belongs to a codec");
    }

    #[test]
    fn only_like_policies_share() {
        let engine = engine();
        let parse = |text: &str| CachePolicy::parse(text).unwrap();
        let share = |a: &str, b: &str| SharedPrefill::new(&engine, &[&parse(a), &parse(b)]).is_some();
        assert!(share("full", "snapkv(keep=0.5)"));
        assert!(!share("full", "f32"), "another codec");
        assert!(!share("full", "snapkv(keep=0.5, when=chunk)"), "evicts while it reads");
        assert!(!share("long_heads(chunk=64)", "long_heads(chunk=32)"), "other chunks");
        assert!(!share("full", "uncomp_stages"), "layers that do not read everything");
        assert!(!share("full", "act"), "another attention");
        assert!(SharedPrefill::new(&engine, &[]).is_none());
    }

    #[test]
    fn a_failed_read_leaves_the_reader_usable() {
        let engine = engine().with_context(1000);
        let full = CachePolicy::full();
        let mut prefill = SharedPrefill::new(&engine, &[&full]).unwrap();
        prefill.read(&text(600, 1), |_| {}).unwrap();
        assert!(matches!(prefill.read(&[], |_| {}), Err(EngineError::EmptyPrompt)));
        assert!(matches!(prefill.read(&text(1001, 1), |_| {}), Err(EngineError::ContextOverflow { .. })));
        let read = prefill.read(&text(700, 1), |_| {}).unwrap();
        assert_same(&engine, &full, &read, &text(700, 1));
    }
}
