//! InfiniRetri: a text of any length is read in parts; the attention of the question picks the sentences that go on to the next.
//!
//! Every part `C_i` is read after what has been kept so far, `M`, and before the question. The score of a token is the attention of one
//! layer, the last one unless another is named, that it receives from all tokens of the question, averaged over `phrase` neighbours. The
//! sentences of the tokens with the largest scores are the next `M`; a long sentence counts as several, cut where clauses end. Memory
//! does not depend on the length of the text, time is linear in it. Ye et al. 2025, arXiv:2502.12962.
//!
//! Several questions share one reading, which is ours: `M` is then what any of them keeps, `M` and `C_i` are read once, and every question
//! follows them by itself. Each still picks, and in the end gets, its own sentences. With `by = last` only the attention of the last token
//! counts, and of it the strongest head, as in GemFilter: in small models most heads look elsewhere, and a mean drowns the few that find.

use headwise_kernels::kv::Codec;
use serde::{Deserialize, Serialize};

use super::frame::Frame;
use super::parts::{Piece, parts, tokens};
use super::{Question, Retrieved};
use crate::cache::{LayerStore, Needs};
use crate::{Chunk, EngineError, Sequence, TextError, TextModel, Wanted, neighbours};

/// Whose attention counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// All tokens of the question: the mean over them and over the heads.
    #[default]
    Question,
    /// The last token before the answer: for every token of the text the head that looks at it most.
    Last,
}

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
        /// Whose attention counts: `question`, the mean over its tokens and over heads, or `last`, the last token and its strongest head.
        pub by: By = By::Question,
        /// The layer whose attention counts, counted from zero. None takes the last one for `by=question`, and for `by=last` the one that finds
        /// the most needles, as `inspect heads --needles` measures it.
        pub layer: Option<usize> = None,
    }
}

/// A sentence longer than the memory divided by this is cut: whole, it might not fit beside others that are kept, or not at all, however
/// well it matches.
const LARGEST_SHARE: usize = 4;

/// A piece of the text, and which questions keep it.
struct Kept<'a> {
    piece: Piece<'a>,
    by: Vec<bool>,
}

impl InfiniRetri {
    /// What of `text` each of `questions` is about; `progress` is told how many parts of how many have been read.
    pub fn retrieve(
        &self,
        model: &TextModel,
        text: &str,
        questions: &[Question<'_>],
        mut progress: impl FnMut(usize, usize),
    ) -> Result<Vec<Retrieved>, TextError> {
        let frames = questions.iter().map(|&question| Frame::new(model, question)).collect::<Result<Vec<_>, _>>()?;
        let layer = self.check(model, &frames)?;
        let parts = parts(model, text, self.window, self.memory.div_ceil(LARGEST_SHARE))?;
        let mut found = Retrieved { parts: parts.len(), ..Retrieved::default() };
        let mut memory: Vec<Kept<'_>> = Vec::new();
        for (index, part) in parts.into_iter().enumerate() {
            found.tokens += tokens(&part);
            let mut pieces: Vec<Piece<'_>> = memory.into_iter().map(|kept| kept.piece).collect();
            pieces.extend(part);
            let (scores, bytes) = attention(model, &frames, &pieces, layer, self.by)?;
            found.peak_bytes = found.peak_bytes.max(bytes);
            let kept: Vec<Vec<bool>> = scores.iter().map(|scores| self.keep(&pieces, scores)).collect();
            let by = |index: usize| kept.iter().map(|kept| kept[index]).collect();
            let all = pieces.into_iter().enumerate().map(|(index, piece)| Kept { piece, by: by(index) });
            memory = all.filter(|kept| kept.by.contains(&true)).collect();
            progress(index + 1, found.parts);
        }
        let own = |(question, frame): (usize, &Frame)| {
            let pieces: Vec<&Piece<'_>> =
                memory.iter().filter(|kept| kept.by[question]).map(|kept| &kept.piece).collect();
            let text = pieces.iter().map(|piece| piece.text).collect();
            Retrieved { text, prompt: frame.around(pieces), ..found.clone() }
        };
        Ok(frames.iter().enumerate().map(own).collect())
    }

    /// The layer whose attention counts; an error if a parameter does not fit the model.
    fn check(&self, model: &TextModel, frames: &[Frame]) -> Result<usize, TextError> {
        let refused = |reason| Err(TextError::Retriever(format!("`infini_retri`: {reason}")));
        let layers = model.engine.spec().layers.len();
        let layer = match (self.layer, self.by) {
            (Some(layer), _) => layer,
            (None, By::Question) => layers - 1,
            (None, By::Last) => model.engine.picking_layer()?.unwrap_or(layers - 1),
        };
        let longest = frames.iter().map(Frame::tokens).max().unwrap_or(0);
        let kept = self.memory.saturating_mul(frames.len());
        let read = longest.saturating_add(kept).saturating_add(self.window);
        let context = model.engine.context();
        match () {
            () if layer >= layers => refused(format!("layer={layer}: the model has layers 0 to {}", layers - 1)),
            () if self.window == 0 || self.memory == 0 || self.tokens == 0 || self.phrase == 0 => {
                refused("window, memory, tokens and phrase must be at least 1".into())
            }
            () if read > context => refused(format!(
                "window={}, memory={} for each of {} questions and the longest question are {read} tokens together, more than the \
                 context of {context}",
                self.window,
                self.memory,
                frames.len()
            )),
            () => Ok(layer),
        }
    }

    /// Which sentences hold the tokens with the largest `scores`, the best first as far as the memory reaches.
    fn keep(&self, pieces: &[Piece<'_>], scores: &[f32]) -> Vec<bool> {
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
        kept
    }
}

/// The attention that every token of `pieces` receives from each question in layer `layer`, `by` whom it counts, and the bytes of pairs that it
/// took.
fn attention(
    model: &TextModel,
    frames: &[Frame],
    pieces: &[Piece<'_>],
    layer: usize,
    by: By,
) -> Result<(Vec<Vec<f32>>, usize), EngineError> {
    let Some(first) = frames.first() else { return Ok((Vec::new(), 0)) };
    // What stands before the text is the same for all questions.
    let ids = first.before(pieces);
    let longest = frames.iter().map(|frame| frame.after.len()).max().unwrap_or(0);
    let needs = Needs { query_window: longest, ..Needs::default() };
    let read = model.engine.read_first_layers(&ids, Codec::F16, needs, layer + 1)?;
    let mut asked = vec![read; frames.len()];
    let chunk = |(sequence, frame)| {
        let frame: &Frame = frame;
        Chunk { sequence, ids: &frame.after, prompt_ends: false, wanted: Wanted::Nothing }
    };
    model.engine.forward(&mut asked.iter_mut().zip(frames).map(chunk).collect::<Vec<_>>())?;
    let text = ids.len() - tokens(pieces)..ids.len();
    let scores = asked.iter().zip(frames).map(|(sequence, frame)| {
        let mut scores = match by {
            By::Question => from_question(&sequence.layers[layer], sequence.tokens(), frame.after.len()),
            By::Last => sequence.layers[layer].strongest_attention(),
        };
        // The first token gets what is to go nowhere.
        scores[0] = 0.0;
        scores[text.clone()].to_vec()
    });
    let scores = scores.collect();
    Ok((scores, Sequence::bytes_together(&asked.iter().collect::<Vec<_>>()).total()))
}

/// What every one of `tokens` tokens receives from the last `rows` in the layer of `store`, added up over its heads.
fn from_question(store: &LayerStore, tokens: usize, rows: usize) -> Vec<f32> {
    let mut scores = vec![0.0; tokens];
    for head in store.window_attention(rows) {
        // A layer with a window of its own holds the last keys only.
        let held = tokens - head.len();
        scores[held..].iter_mut().zip(head).for_each(|(sum, attention)| *sum += attention);
    }
    scores
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
            let pieces = pieces(&[2, 3, 1, 2]);
            let kept = method.keep(&pieces, scores);
            pieces.iter().zip(kept).filter(|(_, kept)| *kept).map(|(piece, _)| piece.text).collect()
        };
        let scores = [0.1, 0.0, 0.0, 0.9, 0.0, 0.5, 0.0, 0.7];
        assert_eq!(kept(1, 100, &scores), "b");
        assert_eq!(kept(3, 100, &scores), "bcd");
        assert_eq!(kept(3, 4, &scores), "bc", "d does not fit after b");
        assert_eq!(kept(8, 100, &scores), "abcd");
    }
}
