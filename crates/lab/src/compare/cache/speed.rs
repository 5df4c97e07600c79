//! Speed: every policy alone, from its own prefill, decoding in turns with the full cache.

use std::time::{Duration, Instant};

use cpu_time::ProcessTime;
use headwise_engine::cache::{CachePolicy, PairsRead};
use headwise_engine::{Engine, EngineError, Sampler, Sequence};
use headwise_tasks::median;

use super::answer::Begun;
use super::progress::Clock;
use super::size::Size;
use super::{CompareError, Subject};
use crate::rows::CacheRow;

/// Tokens decoded in a run.
const TOKENS: usize = 64;

/// First tokens of a run that do not count.
const WARM_UP: usize = 8;

/// Tokens decoded after the prompt by `repeats` runs.
pub(super) fn decoded(repeats: usize) -> usize {
    TOKENS * repeats
}

/// What is measured.
pub(super) struct Speed<'a> {
    pub subject: Subject<'a>,
    pub policies: &'a [CachePolicy],
    /// The tokens of a text.
    pub ids: &'a [u32],
    pub length: usize,
    pub repeats: usize,
    pub seed: u64,
}

/// Times of the tokens that count, run by run.
#[derive(Default)]
struct Runs(Vec<Vec<Duration>>);

impl Speed<'_> {
    /// One row per policy; the first policy is `full`.
    pub fn run(&self, clock: &mut Clock<'_>) -> Result<Vec<CacheRow>, CompareError> {
        let engine = self.subject.engine();
        let prompt = self.prompt();
        let mut rows = Vec::with_capacity(self.policies.len());
        let mut full: Option<(Begun, Size)> = None;
        for (index, policy) in self.policies.iter().enumerate() {
            clock.at(index as f64 / self.policies.len() as f64, &format!("speed at {} tokens, {policy}", self.length));
            let work = ProcessTime::now();
            let (mut own, prefill) = self.prefill(policy, &prompt)?;
            let prefill_work = work.elapsed();
            let size = Size::of(&own.sequence);
            let (full, full_size) = full.get_or_insert_with(|| (fork(&own), size));
            let mut beside = fork(full);
            let (mut own_runs, mut full_runs) = (Runs::default(), Runs::default());
            let mut token_work = Vec::with_capacity(self.repeats);
            for _ in 0..self.repeats {
                let work = ProcessTime::now();
                own_runs.0.push(decode(engine, &mut own)?);
                token_work.push(1e3 * work.elapsed().as_secs_f64() / TOKENS as f64);
                if index > 0 {
                    full_runs.0.push(decode(engine, &mut beside)?);
                }
            }
            let mut row = CacheRow::new(&policy.to_string(), self.subject.name(), "speed", self.length, self.seed);
            size.describe(&mut row, full_size);
            row.prefill_tok_s = Some(prompt.len() as f64 / prefill.as_secs_f64().max(1e-9));
            row.tok_s = own_runs.tokens_per_second();
            row.full_tok_s = if index > 0 { full_runs.tokens_per_second() } else { row.tok_s };
            row.read_pct = read_pct(&own.sequence);
            row.p50_ms = own_runs.percentile(0.5);
            row.p95_ms = own_runs.percentile(0.95);
            row.prefill_cpu_s = Some(prefill_work.as_secs_f64());
            row.cpu_ms = median(&token_work);
            rows.push(row);
        }
        Ok(rows)
    }

    /// The prompt: the length asked for, less what the context needs for decoding.
    fn prompt(&self) -> Vec<u32> {
        let room = self.subject.engine().context().saturating_sub(decoded(self.repeats));
        self.subject.bos().into_iter().chain(self.ids.iter().copied()).take(self.length.min(room)).collect()
    }

    fn prefill(&self, policy: &CachePolicy, prompt: &[u32]) -> Result<(Begun, Duration), EngineError> {
        let engine = self.subject.engine();
        let mut sequence = engine.sequence(policy)?;
        let started = Instant::now();
        let logits = engine.prefill(&mut sequence, prompt, |_| {})?;
        Ok((Begun { sequence, logits: logits.values }, started.elapsed()))
    }
}

fn fork(text: &Begun) -> Begun {
    Begun { sequence: Sequence::clone(&text.sequence), logits: text.logits.clone() }
}

/// The pairs that tokens after the prompt have read, in percent of those held; none if they read them all.
fn read_pct(sequence: &Sequence) -> Option<f64> {
    let PairsRead { read, held } = sequence.pairs_read();
    (read < held).then(|| 100.0 * read as f64 / held as f64)
}

/// Writes [`TOKENS`] tokens on, greedily and past any end; the times of those after the warm-up.
fn decode(engine: &Engine, text: &mut Begun) -> Result<Vec<Duration>, EngineError> {
    let mut times = Vec::with_capacity(TOKENS);
    for _ in 0..TOKENS {
        let started = Instant::now();
        let id = Sampler::greedy().choose(&text.logits);
        text.logits = engine.step(&mut text.sequence, id)?.values;
        times.push(started.elapsed());
    }
    times.drain(..WARM_UP);
    Ok(times)
}

impl Runs {
    /// The median over the runs.
    fn tokens_per_second(&self) -> Option<f64> {
        let speed = |run: &Vec<Duration>| run.len() as f64 / run.iter().sum::<Duration>().as_secs_f64().max(1e-9);
        median(&self.0.iter().map(speed).collect::<Vec<f64>>())
    }

    /// The `share` quantile (nearest rank) of the time of a token, over all runs, in milliseconds.
    fn percentile(&self, share: f64) -> Option<f64> {
        let mut times: Vec<Duration> = self.0.iter().flatten().copied().collect();
        times.sort_unstable();
        let rank = (share * times.len() as f64).ceil() as usize;
        times.get(rank.saturating_sub(1)).map(|time| 1e3 * time.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_known_times() {
        let ms = Duration::from_millis;
        let runs = Runs(vec![(1..=10).map(ms).collect(), vec![ms(2); 10], vec![ms(4); 10]]);
        assert!((runs.tokens_per_second().unwrap() - 250.0).abs() < 1e-9);
        assert_eq!(runs.percentile(0.5), Some(4.0));
        assert_eq!(runs.percentile(0.95), Some(9.0));
        assert_eq!(Runs::default().percentile(0.5), None);
    }
}
