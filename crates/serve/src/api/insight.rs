//! What a finished answer shows of the model: what its cache kept, which heads copy, how sure it is.

use headwise_engine::Sequence;
use headwise_engine::confidence::Confidence;
use headwise_models::tokenizer::Tokenizer;
use serde_json::{Map, Value, json};

use super::ApiError;
use super::fields::Insight;
use super::job::Job;
use crate::Served;

/// What was `asked` of the answer that follows the prompt in `ids`, whose first `prompt` tokens are the prompt, and whose cache is `sequence`.
async fn of(
    served: &Served,
    asked: Insight,
    ids: &[u32],
    prompt: usize,
    sequence: Option<&Sequence>,
) -> Result<Value, ApiError> {
    let mut said = Map::new();
    let failed = || ApiError::internal("the model could not be looked at: see the server's log");
    if let Some(sequence) = sequence.filter(|_| asked.kept) {
        said.insert("kept".into(), kept(&served.model.tokenizer, ids, sequence));
    }
    if let Some(sequence) = sequence.filter(|_| asked.selected_text) {
        let text = |chosen: &[usize]| json!(selected(&served.model.tokenizer, &ids[..prompt], chosen));
        said.insert("selected_text".into(), sequence.chosen().map_or(Value::Null, text));
    }
    let rows = asked.attention_rows.min(ids.len() - prompt);
    if rows > 0 {
        let ids = ids.to_vec();
        let rows = served.worker.ask(move |model| model.engine.attention_rows(&ids, rows));
        let rows = rows.await.ok_or_else(failed)?.map_err(|error| ApiError::invalid(error.to_string()))?;
        said.insert("attention_rows".into(), json!(rows));
    }
    if asked.retrieval_heads {
        let heads = served.worker.ask(|model| model.engine.head_scores().map(|scores| scores.retrieval()));
        let heads = heads.await.ok_or_else(failed)?.map_err(|error| ApiError::invalid(error.to_string()))?;
        said.insert("retrieval_heads".into(), json!(heads));
    }
    if asked.confidence && ids.len() > prompt {
        let (question, answer) = (ids[..prompt].to_vec(), ids[prompt..].to_vec());
        let measure =
            move |model: &headwise_engine::TextModel| model.confidence(&question, &answer, None, Confidence::default());
        let found = served.worker.ask(measure).await.ok_or_else(failed)??;
        said.insert("confidence".into(), json!(found.map(|found| found.norm())));
    }
    Ok(said.into())
}

/// What the answers to a prompt show, as they end.
pub struct Shown<'a> {
    served: &'a Served,
    asked: Insight,
    prompt: Vec<u32>,
    /// By answer.
    answers: Vec<Value>,
}

impl<'a> Shown<'a> {
    /// What the answers of `job` will show, which has one prompt if it asks for anything.
    pub fn new(served: &'a Served, job: &Job) -> Self {
        Self {
            served,
            asked: job.insight,
            prompt: job.prompts[0].clone(),
            answers: vec![Value::Null; job.samplers.len()],
        }
    }

    /// Looks at the answer number `index`, whose tokens are `ids`, if anything was asked.
    pub async fn end(&mut self, index: usize, ids: &[u32], sequence: Option<&Sequence>) -> Result<(), ApiError> {
        if self.asked.shows() {
            let text = [&self.prompt, ids].concat();
            self.answers[index] = of(self.served, self.asked, &text, self.prompt.len(), sequence).await?;
        }
        Ok(())
    }

    /// Adds it to an answer, if anything was asked.
    pub fn tell(mut self, answer: &mut Value) {
        match self.answers.as_mut_slice() {
            _ if !self.asked.shows() => {}
            [shown] => answer["headwise"] = shown.take(),
            _ => answer["headwise"] = json!({ "choices": self.answers }),
        }
    }
}

/// The pieces of text that were read, and which of them every key-value head of every layer still holds, as half-open runs of positions.
/// A policy that counts positions anew, or reads what it chose of the prompt, does not say.
fn kept(tokenizer: &Tokenizer, ids: &[u32], sequence: &Sequence) -> Value {
    let read = sequence.tokens();
    if sequence.policy().counts_positions_anew() || read > ids.len() {
        return Value::Null;
    }
    let tokens: Vec<String> = ids[..read].iter().map(|&id| tokenizer.decode(&[id], false)).collect();
    let layer = |layer: &headwise_engine::cache::LayerStore| -> Value {
        layer.pairs().iter().map(|pairs| json!(runs(pairs.positions()))).collect()
    };
    json!({ "tokens": tokens, "layers": sequence.layers().iter().map(layer).collect::<Value>() })
}

/// The text of the tokens `chosen`, ascending, of the prompt `ids`: a piece for each run of them.
fn selected(tokenizer: &Tokenizer, ids: &[u32], chosen: &[usize]) -> Vec<String> {
    let pieces = chosen.chunk_by(|a, b| a + 1 == *b);
    pieces.map(|run| tokenizer.decode(&ids[run[0]..run[0] + run.len()], false)).collect()
}

/// `positions`, ascending, as half-open runs.
fn runs(positions: &[i32]) -> Vec<[i32; 2]> {
    let mut runs: Vec<[i32; 2]> = Vec::new();
    for &position in positions {
        match runs.last_mut() {
            Some([_, end]) if *end == position => *end += 1,
            _ => runs.push([position, position + 1]),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_join_neighbours() {
        assert_eq!(runs(&[0, 1, 2, 7, 9, 10]), [[0, 3], [7, 8], [9, 11]]);
        assert!(runs(&[]).is_empty());
    }
}
