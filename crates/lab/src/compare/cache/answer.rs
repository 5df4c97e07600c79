//! Greedy answers of many forks of one text, written side by side.

use headwise_engine::{Chunk, Engine, EngineError, Logits, Sampler, Sequence, Wanted};

/// Tokens of a question read at a time.
const CHUNK: usize = 512;

/// A text whose prompt has been read, with the scores of its next token.
#[derive(Debug)]
pub(super) struct Begun {
    pub sequence: Sequence,
    pub logits: Vec<f32>,
}

/// Lets every text read `rest`, in one forward for all of them.
pub(super) fn read_on(engine: &Engine, texts: &mut [Begun], rest: &[u32]) -> Result<(), EngineError> {
    for part in rest.chunks(CHUNK) {
        let mut chunks: Vec<Chunk<'_>> = texts.iter_mut().map(|text| chunk(&mut text.sequence, part)).collect();
        let logits = engine.forward(&mut chunks)?;
        update(texts.iter_mut(), logits);
    }
    Ok(())
}

/// The answers: up to `tokens` tokens each, ended by any of `stop`. What [`headwise_engine::generate`] writes for every
/// text alone.
pub(super) fn write(
    engine: &Engine,
    texts: &mut [Begun],
    tokens: usize,
    stop: &[u32],
) -> Result<Vec<Vec<u32>>, EngineError> {
    let mut answers = vec![Vec::new(); texts.len()];
    let mut writing: Vec<usize> = (0..texts.len()).collect();
    loop {
        writing.retain(|&index| {
            let (text, answer): (&Begun, &mut Vec<u32>) = (&texts[index], &mut answers[index]);
            if answer.len() == tokens {
                return false;
            }
            let id = Sampler::greedy().choose(&text.logits);
            if stop.contains(&id) {
                return false;
            }
            answer.push(id);
            answer.len() < tokens && text.sequence.tokens() < engine.context()
        });
        if writing.is_empty() {
            return Ok(answers);
        }
        let active = || writing.iter().filter_map(|&index| answers[index].last());
        let mut chunks: Vec<Chunk<'_>> = texts
            .iter_mut()
            .enumerate()
            .filter(|(index, _)| writing.binary_search(index).is_ok())
            .zip(active())
            .map(|((_, text), id)| chunk(&mut text.sequence, std::slice::from_ref(id)))
            .collect();
        let logits = engine.forward(&mut chunks)?;
        let active = texts.iter_mut().enumerate().filter(|(index, _)| writing.binary_search(index).is_ok());
        update(active.map(|(_, text)| text), logits);
    }
}

fn chunk<'a>(sequence: &'a mut Sequence, ids: &'a [u32]) -> Chunk<'a> {
    Chunk { sequence, ids, prompt_ends: true, wanted: Wanted::Last }
}

fn update<'a>(texts: impl Iterator<Item = &'a mut Begun>, logits: Vec<Logits>) {
    for (text, logits) in texts.zip(logits) {
        text.logits = logits.values;
    }
}
