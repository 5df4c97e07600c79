//! InfiniRetri: a text of any length is read in parts; the attention of the question picks the sentences that go on to the next.
//!
//! Every part `C_i` is read after what has been kept so far, `M`, and before the question. The score of a token is the attention of one
//! layer, the last one unless another is named, that it receives from all tokens of the question, averaged over `phrase` neighbours. The
//! sentences of the tokens with the largest scores are the next `M`. Memory does not depend on the length of the text, time is linear
//! in it. Ye et al. 2025, arXiv:2502.12962.

use headwise_kernels::kv::Codec;
use headwise_models::chat::Message;
use headwise_models::tokenizer::Encode;

use super::parts::{INNER, Piece, parts, tokens};
use super::{Question, Retrieved};
use crate::cache::Needs;
use crate::{EngineError, TextError, TextModel, neighbours};

headwise_spec::method! {
    /// Reads a text part by part and keeps the sentences that the question attends to.
    ///
    /// For questions whose answer stands in a few sentences of a text longer than the model's context. Memory is constant; time is that
    /// of reading the text once. Ye et al. 2025, arXiv:2502.12962.
    pub struct InfiniRetri {
        /// Most tokens of a part.
        pub window: usize = 1024,
        /// Most tokens of the sentences that are kept.
        pub memory: usize = 512,
        /// Tokens with the largest scores, whose sentences are kept.
        pub tokens: usize = 100,
        /// Neighbouring tokens that scores are averaged over: about the length of an answer.
        pub phrase: usize = 8,
        /// The layer whose attention counts, counted from zero; none takes the last one. In small models an earlier one may do better:
        /// `inspect` shows which layers look far.
        pub layer: Option<usize> = None,
    }
}

impl InfiniRetri {
    /// What of `text` the question is about; `progress` is told how many parts of how many have been read.
    pub fn retrieve(
        &self,
        model: &TextModel,
        text: &str,
        question: Question<'_>,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<Retrieved, TextError> {
        let frame = Frame::new(model, question)?;
        let layer = self.check(model, &frame)?;
        let parts = parts(model, text, self.window)?;
        let mut found = Retrieved { parts: parts.len(), ..Retrieved::default() };
        let mut memory: Vec<Piece<'_>> = Vec::new();
        for (index, part) in parts.into_iter().enumerate() {
            found.tokens += tokens(&part);
            memory.extend(part);
            let (scores, bytes) = attention(model, &frame, &memory, layer)?;
            found.peak_bytes = found.peak_bytes.max(bytes);
            memory = self.keep(memory, &scores);
            progress(index + 1, found.parts);
        }
        found.text = memory.iter().map(|piece| piece.text).collect();
        found.prompt = frame.around(&memory);
        Ok(found)
    }

    /// The layer whose attention counts; an error if a parameter does not fit the model.
    fn check(&self, model: &TextModel, frame: &Frame) -> Result<usize, TextError> {
        let refused = |reason| Err(TextError::Retriever(format!("`infini_retri`: {reason}")));
        let layers = model.engine.spec().layers.len();
        let layer = self.layer.unwrap_or(layers - 1);
        let read = frame.before.len() + self.memory.saturating_add(self.window) + frame.after.len();
        let context = model.engine.context();
        match () {
            () if layer >= layers => refused(format!("layer={layer}: the model has layers 0 to {}", layers - 1)),
            () if self.window == 0 || self.memory == 0 || self.tokens == 0 || self.phrase == 0 => {
                refused("window, memory, tokens and phrase must be at least 1".into())
            }
            () if read > context => refused(format!(
                "window={}, memory={} and the question are {read} tokens together, more than the context of {context}",
                self.window, self.memory
            )),
            () => Ok(layer),
        }
    }

    /// The sentences of the tokens with the largest `scores`, the best first as far as the memory reaches, in the order of the text.
    fn keep<'a>(&self, pieces: Vec<Piece<'a>>, scores: &[f32]) -> Vec<Piece<'a>> {
        let scores = neighbours::average(scores, self.phrase);
        let owner: Vec<usize> =
            pieces.iter().enumerate().flat_map(|(index, piece)| std::iter::repeat_n(index, piece.ids.len())).collect();
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
        let (mut kept, mut room) = (vec![false; pieces.len()], self.memory);
        for &token in order.iter().take(self.tokens) {
            let piece = owner[token];
            if !kept[piece] && pieces[piece].ids.len() <= room {
                kept[piece] = true;
                room -= pieces[piece].ids.len();
            }
        }
        pieces.into_iter().zip(kept).filter_map(|(piece, kept)| kept.then_some(piece)).collect()
    }
}

/// What stands around the text in a prompt.
struct Frame {
    before: Vec<u32>,
    after: Vec<u32>,
}

impl Frame {
    fn new(model: &TextModel, Question { question, answer_start }: Question<'_>) -> Result<Self, TextError> {
        // A character that no text has, in the place of the text.
        const PLACE: &str = "\u{10fffd}";
        let Some(template) = &model.template else {
            let after = model.tokenizer.encode(&format!("\n{question}{answer_start}"), INNER)?;
            return Ok(Self { before: model.encode("")?, after });
        };
        let turn = template.render_continuation(&[Message::user(format!("{PLACE}\n{question}"))], answer_start)?;
        let (before, after) = turn.split_once(PLACE).unwrap_or(("", &turn));
        let encode = |text: &str| model.tokenizer.encode(text, Encode::TEMPLATE);
        Ok(Self { before: encode(before)?, after: encode(after)? })
    }

    fn around(&self, pieces: &[Piece<'_>]) -> Vec<u32> {
        let text = pieces.iter().flat_map(|piece| &piece.ids);
        self.before.iter().chain(text).chain(&self.after).copied().collect()
    }
}

/// The attention that every token of `pieces` receives from the question in layer `layer`, and the bytes of pairs that it took.
fn attention(
    model: &TextModel,
    frame: &Frame,
    pieces: &[Piece<'_>],
    layer: usize,
) -> Result<(Vec<f32>, usize), EngineError> {
    let ids = frame.around(pieces);
    let needs = Needs { query_window: frame.after.len(), ..Needs::default() };
    let sequence = model.engine.read_first_layers(&ids, Codec::F16, needs, layer + 1)?;
    let mut scores = vec![0.0; ids.len()];
    for head in sequence.layers[layer].window_attention(frame.after.len()) {
        // A layer with a window of its own holds the last keys only.
        let held = scores.len() - head.len();
        scores[held..].iter_mut().zip(head).for_each(|(sum, attention)| *sum += attention);
    }
    // The first token gets what is to go nowhere.
    scores[0] = 0.0;
    let text = frame.before.len()..ids.len() - frame.after.len();
    Ok((scores[text].to_vec(), sequence.peak_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(lengths: &[usize]) -> Vec<Piece<'static>> {
        let texts = ["a", "b", "c", "d"];
        lengths.iter().zip(texts).map(|(&length, text)| Piece { text, ids: vec![0; length] }).collect()
    }

    #[test]
    fn sentences_of_the_best_tokens_stay_in_their_order() {
        let kept = |tokens, memory, scores: &[f32]| -> String {
            let method = InfiniRetri { tokens, memory, phrase: 1, ..InfiniRetri::default() };
            method.keep(pieces(&[2, 3, 1, 2]), scores).iter().map(|piece| piece.text).collect()
        };
        let scores = [0.1, 0.0, 0.0, 0.9, 0.0, 0.5, 0.0, 0.7];
        assert_eq!(kept(1, 100, &scores), "b");
        assert_eq!(kept(3, 100, &scores), "bcd");
        assert_eq!(kept(3, 4, &scores), "bc", "d does not fit after b");
        assert_eq!(kept(8, 100, &scores), "abcd");
    }
}
