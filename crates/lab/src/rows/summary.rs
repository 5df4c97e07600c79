//! Folds the rows of a cache comparison into one [`PolicySummary`] per policy.
//!
//! Retrieval rows are grouped by (task, setting, length) over depths and seeds: the group's recall is the mean over its
//! expected answers, with their number and a Wilson interval. A group whose full cache misses the gate is inconclusive.

use std::collections::BTreeMap;

pub use super::measure::{Memory, Perplexity, Recall, RecallGroup, Speed};
use super::{CacheRow, FULL, Metric, Setting};

/// Everything measured of one policy.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicySummary {
    /// Canonical text of the policy.
    pub policy: String,
    /// Its size at the longest context for which one is known.
    pub memory: Memory,
    /// Recall by task, setting and length.
    pub recall: Vec<RecallGroup>,
    /// Perplexity by length.
    pub perplexity: Vec<Perplexity>,
    /// Speed by length.
    pub speed: Vec<Speed>,
}

/// One summary per policy, in the order in which the policies first appear.
pub fn summarise(rows: &[CacheRow]) -> Vec<PolicySummary> {
    let mut policies: Vec<&str> = Vec::new();
    for row in rows {
        if !policies.contains(&row.policy.as_str()) {
            policies.push(&row.policy);
        }
    }
    policies.into_iter().map(|policy| PolicySummary::of(policy, rows)).collect()
}

impl PolicySummary {
    fn of(policy: &str, rows: &[CacheRow]) -> Self {
        let own: Vec<&CacheRow> = rows.iter().filter(|row| row.policy == policy).collect();
        Self {
            policy: policy.to_owned(),
            memory: memory(&own),
            recall: grouped(&own, Metric::Recall).values().filter_map(|group| recall_group(group)).collect(),
            perplexity: grouped(&own, Metric::Ppl).values().filter_map(|group| perplexity(group)).collect(),
            speed: speed(&own),
        }
    }

    /// Whether this is the baseline.
    pub fn is_full(&self) -> bool {
        self.policy == FULL
    }

    /// Recall in a setting over all tasks and lengths, and the mean size of the cache there. Inconclusive groups are left
    /// out unless all are.
    pub fn pooled(&self, setting: Option<Setting>) -> Option<(Recall, Option<f64>)> {
        let of_setting = || self.recall.iter().filter(|group| group.setting == setting);
        let any = of_setting().any(|group| group.recall.conclusive());
        let chosen: Vec<_> = of_setting().filter(|group| group.recall.conclusive() || !any).collect();
        let recall = Recall::pool(chosen.iter().map(|group| &group.recall))?;
        Some((recall, mean(chosen.iter().filter_map(|group| group.kv_pct))))
    }

    /// Recall in a setting at one length, over all tasks.
    pub fn recall_at(&self, setting: Option<Setting>, t: usize) -> Option<Recall> {
        Recall::pool(self.recall.iter().filter(|g| g.setting == setting && g.t == t).map(|g| &g.recall))
    }

    /// Perplexity after the longest context.
    pub fn perplexity(&self) -> Option<&Perplexity> {
        self.perplexity.iter().max_by_key(|p| p.t)
    }

    /// Speed at the longest context.
    pub fn speed(&self) -> Option<&Speed> {
        self.speed.iter().max_by_key(|s| s.t)
    }
}

/// The (setting, length) pairs with retrieval rows, over all policies, in order.
pub fn recall_columns(summaries: &[PolicySummary]) -> Vec<(Option<Setting>, usize)> {
    let mut columns: Vec<_> = summaries.iter().flat_map(|s| &s.recall).map(|g| (g.setting, g.t)).collect();
    columns.sort_by_key(|&(setting, t)| (setting.is_none(), setting, t));
    columns.dedup();
    columns
}

/// The settings with retrieval rows, in order.
pub fn settings(summaries: &[PolicySummary]) -> Vec<Option<Setting>> {
    let mut settings: Vec<_> = recall_columns(summaries).into_iter().map(|(setting, _)| setting).collect();
    settings.dedup();
    settings
}

/// Mean recall of rows over their expected answers. `None` if no row has a score.
pub fn recall_of<'a>(rows: impl IntoIterator<Item = &'a CacheRow>) -> Option<Recall> {
    let parts: Vec<Recall> = rows
        .into_iter()
        .filter_map(|row| {
            let n = row.n.unwrap_or(1);
            row.score.filter(|score| score.is_finite()).map(|score| Recall { score, full_score: row.full_score, n })
        })
        .collect();
    Recall::pool(&parts)
}

type GroupKey = (String, bool, Option<Setting>, usize);

fn grouped<'a>(rows: &[&'a CacheRow], metric: Metric) -> BTreeMap<GroupKey, Vec<&'a CacheRow>> {
    let mut groups: BTreeMap<GroupKey, Vec<&CacheRow>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.metric == Some(metric)) {
        groups.entry((row.task.clone(), row.setting.is_none(), row.setting, row.t)).or_default().push(row);
    }
    groups
}

fn recall_group(rows: &Vec<&CacheRow>) -> Option<RecallGroup> {
    let first = rows.first()?;
    Some(RecallGroup {
        task: first.task.clone(),
        setting: first.setting,
        t: first.t,
        recall: recall_of(rows.iter().copied())?,
        kv_pct: mean(rows.iter().filter_map(|row| row.kv_pct)),
    })
}

fn perplexity(rows: &Vec<&CacheRow>) -> Option<Perplexity> {
    let first = rows.first()?;
    let scored: Vec<_> = rows.iter().filter(|row| row.score.is_some()).collect();
    let geometric = |value: &dyn Fn(&CacheRow) -> Option<f64>| -> Option<f64> {
        let logs: Option<Vec<f64>> = scored.iter().map(|row| value(row).map(f64::ln)).collect();
        mean(logs?.into_iter()).map(f64::exp)
    };
    // Bounds are averaged as the scores are: an interval of the mean that is too wide rather than too narrow.
    let low = geometric(&|row| row.ci95.map(|[low, _]| low));
    let high = geometric(&|row| row.ci95.map(|[_, high]| high));
    Some(Perplexity {
        task: first.task.clone(),
        t: first.t,
        score: geometric(&|row| row.score)?,
        full_score: geometric(&|row| row.full_score),
        ci95: low.zip(high).map(|(low, high)| [low, high]),
        n: scored.iter().filter_map(|row| row.n).sum(),
        kv_pct: mean(rows.iter().filter_map(|row| row.kv_pct)),
    })
}

fn speed(rows: &[&CacheRow]) -> Vec<Speed> {
    let mut lengths: BTreeMap<usize, Vec<&CacheRow>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.tok_s.is_some() || row.prefill_tok_s.is_some()) {
        lengths.entry(row.t).or_default().push(row);
    }
    let median_of = |rows: &[&CacheRow], value: fn(&CacheRow) -> Option<f64>| {
        median(rows.iter().filter_map(|row| value(row)).collect())
    };
    lengths
        .into_iter()
        .map(|(t, rows)| Speed {
            t,
            prefill_tok_s: median_of(&rows, |row| row.prefill_tok_s),
            tok_s: median_of(&rows, |row| row.tok_s),
            read_pct: median_of(&rows, |row| row.read_pct),
            ratio: median_of(&rows, |row| match (row.tok_s, row.full_tok_s) {
                (Some(own), Some(full)) if full > 0.0 => Some(own / full),
                (Some(_), None) if row.is_full() => Some(1.0),
                _ => None,
            }),
            p50_ms: median_of(&rows, |row| row.p50_ms),
            p95_ms: median_of(&rows, |row| row.p95_ms),
            prefill_cpu_s: median_of(&rows, |row| row.prefill_cpu_s),
            cpu_ms: median_of(&rows, |row| row.cpu_ms),
        })
        .collect()
}

/// The size at the longest context; a speed row's if there is one, because quality rows may share a prefill.
fn memory(rows: &[&CacheRow]) -> Memory {
    let sized = rows.iter().filter(|row| row.kv_bytes.is_some() || row.kv_pct.is_some());
    let Some(row) = sized.max_by_key(|row| (row.t, row.tok_s.is_some())) else {
        return Memory::default();
    };
    let peak = rows.iter().filter(|other| other.t == row.t).filter_map(|other| other.peak_kv_bytes).max();
    Memory {
        t: row.t,
        kv_pct: row.kv_pct.filter(|kv| kv.is_finite()),
        kv_bytes: row.kv_bytes,
        peak_kv_bytes: row.peak_kv_bytes.or(peak),
    }
}

/// Arithmetic mean of the finite values; `None` if there are none.
pub fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, n) = values.filter(|value| value.is_finite()).fold((0.0, 0u32), |(sum, n), value| (sum + value, n + 1));
    (n > 0).then(|| sum / f64::from(n))
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.retain(|value| value.is_finite());
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[middle]),
        _ => Some(0.5 * (values[middle - 1] + values[middle])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needle(policy: &str, t: usize, depth: f64, score: f64, full: f64) -> CacheRow {
        let mut row =
            CacheRow::new(policy, "toy", "needle_single_1", t, 0).with_recall(Setting::Agnostic, score, full, 1);
        row.depth = Some(depth);
        row.kv_pct = Some(25.0);
        row
    }

    #[test]
    fn recall_is_grouped_by_length_in_the_order_of_the_policies() {
        let rows = [
            needle("full", 2048, 0.0, 100.0, 100.0),
            needle("b", 2048, 0.0, 0.0, 100.0),
            needle("b", 2048, 50.0, 100.0, 100.0),
            needle("a", 4096, 0.0, 100.0, 100.0),
            needle("b", 4096, 0.0, 100.0, 100.0),
        ];
        let summaries = summarise(&rows);
        assert_eq!(summaries.iter().map(|s| s.policy.as_str()).collect::<Vec<_>>(), ["full", "b", "a"]);
        let b = &summaries[1];
        assert_eq!(
            b.recall.iter().map(|g| (g.t, g.recall.score, g.recall.n)).collect::<Vec<_>>(),
            [(2048, 50.0, 2), (4096, 100.0, 1)]
        );
        let (pooled, kv) = b.pooled(Some(Setting::Agnostic)).expect("rows");
        assert!((pooled.score - 200.0 / 3.0).abs() < 1e-9 && pooled.n == 3 && kv == Some(25.0));
        let columns = [(Some(Setting::Agnostic), 2048), (Some(Setting::Agnostic), 4096)];
        assert_eq!(recall_columns(&summaries), columns);
    }

    #[test]
    fn inconclusive_groups_do_not_count() {
        let rows = [needle("a", 2048, 0.0, 100.0, 100.0), needle("a", 4096, 0.0, 0.0, 0.0)];
        let summary = &summarise(&rows)[0];
        assert!(!summary.recall[1].recall.conclusive());
        assert_eq!(summary.recall[1].recall.delta(), None);
        let (pooled, _) = summary.pooled(Some(Setting::Agnostic)).expect("rows");
        assert_eq!((pooled.score, pooled.n), (100.0, 1));
        let only = summarise(&rows[1..]);
        assert!(!only[0].pooled(Some(Setting::Agnostic)).expect("rows").0.conclusive());
    }

    #[test]
    fn perplexities_of_seeds_multiply_and_speeds_take_the_median() {
        let ppl = |seed, score| {
            CacheRow::new("a", "toy", "perplexity", 512, seed).with_perplexity(score, 4.0, Some([0.0, 0.1]), 64)
        };
        let speed = |tok_s| {
            let mut row = CacheRow::new("a", "toy", "speed", 512, 0);
            (row.tok_s, row.full_tok_s, row.kv_bytes) = (Some(tok_s), Some(10.0), Some(7));
            row.read_pct = Some(tok_s / 10.0);
            row
        };
        let rows = [ppl(0, 4.0), ppl(1, 9.0), speed(20.0), speed(90.0), speed(30.0)];
        let summary = &summarise(&rows)[0];
        let perplexity = summary.perplexity().expect("rows");
        assert!((perplexity.score - 6.0).abs() < 1e-9 && perplexity.n == 128);
        assert!((perplexity.ci95.expect("interval")[0] - 4.0).abs() < 1e-9);
        assert_eq!(summary.speed().map(|s| (s.ratio, s.read_pct)), Some((Some(3.0), Some(3.0))));
        assert_eq!(summary.memory.kv_bytes, Some(7));
        assert_eq!(summary.pooled(None), None);
    }
}
