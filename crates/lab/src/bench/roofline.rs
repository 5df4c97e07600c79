//! The roofline: how long an operation takes at least on this machine, and what of that it reaches.
//!
//! `f` operations on `b` bytes of memory take no less than `max(f / peak, b / bandwidth)`; per operation of arithmetic, no more than
//! `min(peak, f / b · bandwidth)` a second can be done. Williams, Waterman and Patterson 2009, doi:10.1145/1498765.1498785.

use comfy_table::{Cell, CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};

use super::Peaks;
use crate::profile::ProfileRow;
use crate::rows::quantity::rate;

/// What an operation waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Multiplying and adding.
    Arithmetic,
    /// Reading and writing memory.
    Memory,
}

/// An operation under the roof.
#[derive(Clone, Debug, PartialEq)]
pub struct Roofline {
    /// Its name.
    pub operation: String,
    /// Operations for each byte; none where one of them is not counted.
    pub intensity: Option<f64>,
    /// What it would wait for on a machine that does nothing else.
    pub limit: Limit,
    /// Milliseconds that it takes at least.
    pub least_ms: f64,
    /// The share of the roof that it reaches, in percent: above 100 where arithmetic is of integers, or data stay in caches.
    pub reached: f64,
}

impl Peaks {
    /// Seconds that `flops` operations on `bytes` bytes take at least, and what takes them.
    pub fn least_time(&self, flops: f64, bytes: f64) -> (f64, Limit) {
        let (arithmetic, memory) = (flops / self.matrix_product_gflops / 1e9, bytes / self.read_gbs / 1e9);
        if arithmetic >= memory { (arithmetic, Limit::Arithmetic) } else { (memory, Limit::Memory) }
    }

    /// The operations of a profile that count work, in their order.
    pub fn roofline(&self, rows: &[ProfileRow]) -> Vec<Roofline> {
        let of = |row: &ProfileRow| {
            let seconds = row.ms / 1e3;
            let work = |rate: Option<f64>| rate.unwrap_or(0.0) * 1e9 * seconds;
            let (flops, bytes) = (work(row.gflops), work(row.gbs));
            let (least, limit) = self.least_time(flops, bytes);
            (least > 0.0).then(|| Roofline {
                operation: row.operation.clone(),
                intensity: (flops > 0.0 && bytes > 0.0).then(|| flops / bytes),
                limit,
                least_ms: 1e3 * least,
                reached: 100.0 * least / seconds,
            })
        };
        rows.iter().filter_map(of).collect()
    }
}

/// One line per operation, and the time that all take at least.
pub fn table(rows: &[Roofline]) -> String {
    let mut table = Table::new();
    let header_line = TableStyle::new().header_separator(LineStyle::new('─', '─', '─', '─'));
    table.load_style(header_line).set_content_arrangement(ContentArrangement::Disabled);
    let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
    let header = ["operations a byte", "waits for", "at least ms", "% of the roof"].map(|text| right(text.to_owned()));
    table.set_header(std::iter::once(Cell::new("roofline")).chain(header));
    for row in rows {
        let limit = match row.limit {
            Limit::Arithmetic => "arithmetic",
            Limit::Memory => "memory",
        };
        let intensity = row.intensity.map_or_else(|| "–".to_owned(), rate);
        let values = [intensity, limit.to_owned(), rate(row.least_ms), format!("{:.0}", row.reached)];
        table.add_row(std::iter::once(Cell::new(&row.operation)).chain(values.map(right)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 1));
    }
    let least: f64 = rows.iter().map(|row| row.least_ms).sum();
    // The first character is where the border would be.
    let lines = table.lines().map(|line| line.chars().skip(1).collect::<String>().trim_end().to_owned());
    format!("{}\nall of them: at least {} ms\n", lines.collect::<Vec<_>>().join("\n"), rate(least))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEAKS: Peaks = Peaks { matrix_product_gflops: 100.0, read_gbs: 20.0 };

    fn row(operation: &str, ms: f64, gflops: Option<f64>, gbs: Option<f64>) -> ProfileRow {
        ProfileRow { operation: operation.into(), share: 0.0, calls: Some(1), ms, gflops, gbs }
    }

    #[test]
    fn the_roof_is_the_lower_of_peak_and_bandwidth_times_intensity() {
        for intensity in [0.1, 4.9, 5.0, 5.1, 80.0] {
            let bytes = 3e9;
            let (seconds, limit) = PEAKS.least_time(intensity * bytes, bytes);
            let attainable = intensity * bytes / seconds / 1e9;
            assert!((attainable - f64::min(100.0, intensity * 20.0)).abs() < 1e-9, "{intensity}: {attainable}");
            // They meet where a byte is worth five operations.
            assert_eq!(limit == Limit::Arithmetic, intensity >= 5.0);
        }
    }

    #[test]
    fn operations_reach_a_share_of_it() {
        let rows = [
            row("product", 10.0, Some(50.0), Some(1.0)),
            row("norm", 4.0, None, Some(10.0)),
            row("between operations", 1.0, None, None),
        ];
        let found = PEAKS.roofline(&rows);
        assert_eq!(found.iter().map(|row| row.operation.as_str()).collect::<Vec<_>>(), ["product", "norm"]);
        assert_eq!((found[0].limit, found[0].intensity), (Limit::Arithmetic, Some(50.0)));
        assert!((found[0].least_ms - 5.0).abs() < 1e-9 && (found[0].reached - 50.0).abs() < 1e-9);
        assert_eq!((found[1].limit, found[1].intensity), (Limit::Memory, None));
        assert!((found[1].least_ms - 2.0).abs() < 1e-9 && (found[1].reached - 50.0).abs() < 1e-9);
        let text = table(&found);
        assert_eq!(text.lines().count(), 2 + 2 + 1, "{text}");
        assert!(text.ends_with("at least 7.00 ms\n"), "{text}");
    }
}
