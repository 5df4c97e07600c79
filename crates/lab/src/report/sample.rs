//! Synthetic rows for tests: invented numbers with the shape of a real run. Never shown as a measurement.

use crate::rows::{CacheRow, Envelope, Machine, Setting};

/// Policy; KV percent; deepest part of the context (from its end, percent) in which the needle is found, agnostic and
/// aware; perplexity; decode speed relative to full.
pub struct Policy(pub &'static str, pub f64, pub f64, pub f64, pub f64, pub f64);

/// A full cache, five evictors at two sizes, two codecs and a composition.
pub const QUICK: [Policy; 14] = [
    Policy("full", 100.0, 100.0, 100.0, 14.21, 1.0),
    Policy("streaming(keep=0.25)", 25.3, 25.0, 25.0, 14.93, 1.72),
    Policy("streaming(keep=0.1)", 10.2, 10.0, 10.0, 15.62, 2.05),
    Policy("snapkv(keep=0.25)", 25.3, 50.0, 100.0, 14.41, 1.65),
    Policy("snapkv(keep=0.1)", 10.2, 25.0, 100.0, 14.97, 1.98),
    Policy("h2o(keep=0.25)", 25.3, 50.0, 75.0, 14.52, 1.61),
    Policy("h2o(keep=0.1)", 10.2, 0.0, 50.0, 15.31, 1.93),
    Policy("pyramidkv(keep=0.25)", 25.4, 50.0, 100.0, 14.39, 1.6),
    Policy("tova(keep=0.25)", 25.3, 25.0, 100.0, 14.48, 1.58),
    Policy("knorm(keep=0.25)", 25.3, 75.0, 75.0, 19.8, 1.66),
    Policy("expected_attention(keep=0.25)", 25.4, 75.0, 75.0, 14.61, 1.63),
    Policy("int8", 53.1, 100.0, 100.0, 14.22, 1.12),
    Policy("kivi4", 29.7, 100.0, 100.0, 14.33, 1.07),
    Policy("snapkv(keep=0.25, window=32) + kivi4", 8.4, 50.0, 100.0, 14.58, 1.41),
];

/// Rows for these policies at these lengths; speed at the longest, or at all of them.
pub fn rows(policies: &[Policy], lengths: &[usize], speed_at_all: bool) -> Vec<CacheRow> {
    let longest = lengths.iter().copied().max().unwrap_or(0);
    let mut rows = Vec::new();
    for policy in policies {
        let sized = |task: &str, t: usize| {
            let mut row = CacheRow::new(policy.0, "SmolLM2-135M-Instruct (Q4_1)", task, t, 0);
            let full = t as f64 * 23_040.0;
            row.kv_pct = Some(policy.1);
            row.kv_bytes = Some((full * policy.1 / 100.0) as u64);
            row.peak_kv_bytes = Some(if policy.1 < 53.0 { full as u64 } else { (full * policy.1 / 100.0) as u64 });
            row
        };
        for (setting, reach) in [(Setting::Agnostic, policy.2), (Setting::Aware, policy.3)] {
            for &t in lengths {
                for depth in [0.0, 25.0, 50.0, 75.0, 100.0] {
                    let found = if 100.0 - depth <= reach && reach > 0.0 { 100.0 } else { 0.0 };
                    let mut row = sized("needle_single_1", t).with_recall(setting, found, 100.0, 1);
                    row.depth = Some(depth);
                    rows.push(row);
                }
            }
        }
        let nats = (policy.4 / 14.21f64).ln();
        rows.push(sized("perplexity", longest).with_perplexity(
            policy.4,
            14.21,
            Some([nats - 0.012, nats + 0.012]),
            128,
        ));
        for &t in lengths.iter().filter(|&&t| t == longest || speed_at_all) {
            let mut row = sized("speed", t);
            let full = 250.0 / (1.0 + t as f64 / 900.0);
            row.prefill_tok_s = Some(1.2e6 / (2400.0 + t as f64 / 2.5) * (0.97 + policy.5 * 0.02));
            row.full_tok_s = Some(full);
            row.tok_s = Some(full * (1.0 + (policy.5 - 1.0) * t as f64 / longest as f64));
            (row.p50_ms, row.p95_ms) = (row.tok_s.map(|s| 1e3 / s), row.tok_s.map(|s| 1.2e3 / s));
            rows.push(row);
        }
    }
    rows
}

/// Rows in an envelope.
pub fn envelope(rows: Vec<CacheRow>) -> Envelope<CacheRow> {
    Envelope {
        version: "0.1.0".to_owned(),
        machine: Machine {
            cpu: "Example CPU @ 2.10GHz".to_owned(),
            cores: 2,
            threads: 2,
            simd: "avx512".to_owned(),
            memory_bytes: Some(25_000_000_000),
            os: "Debian GNU/Linux 12, linux 6.1.0".to_owned(),
        },
        command: "headwise compare cache --model smollm2-135m --suite quick --seed 0 --html report.html".to_owned(),
        rows,
    }
}
