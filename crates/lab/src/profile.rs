//! Where the time of a run went: rows for JSON, and a table.

use std::time::Duration;

use comfy_table::{Cell, CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};
use headwise_kernels::profile::{Operation, Profile};
use serde::{Deserialize, Serialize};

use crate::rows::quantity::{or_absent, percent, rate};

/// Time outside all operations: of tensor operations that are not kernels, of memory, of handing work over.
const BETWEEN: &str = "between operations";

/// What was spent on one operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProfileRow {
    /// Its name; `between operations` is what is left.
    pub operation: String,
    /// Its share of the time, in percent.
    pub share: f64,
    /// How often it ran; none for what is left.
    pub calls: Option<u64>,
    /// Its own time in milliseconds, operations inside it left out.
    pub ms: f64,
    /// 10⁹ operations per second, where operations are counted.
    pub gflops: Option<f64>,
    /// 10⁹ bytes per second, where bytes are counted.
    pub gbs: Option<f64>,
}

impl ProfileRow {
    fn new(name: &str, calls: Option<u64>, time: Duration, wall: Duration) -> Self {
        let share = 100.0 * time.as_secs_f64() / wall.as_secs_f64().max(f64::MIN_POSITIVE);
        Self { operation: name.to_owned(), share, calls, ms: 1e3 * time.as_secs_f64(), gflops: None, gbs: None }
    }

    fn of(operation: &Operation, wall: Duration) -> Self {
        let seconds = operation.time.as_secs_f64();
        let rate = |work: f64| Some(work / seconds / 1e9).filter(|rate| *rate > 0.0 && rate.is_finite());
        let row = Self::new(operation.name, Some(operation.calls), operation.time, wall);
        Self { gflops: rate(operation.work.flops), gbs: rate(operation.work.bytes), ..row }
    }
}

/// The operations of a profile and what is left, the most time first.
pub fn rows(profile: &Profile) -> Vec<ProfileRow> {
    let mut rows: Vec<ProfileRow> =
        profile.operations.iter().map(|operation| ProfileRow::of(operation, profile.wall)).collect();
    rows.push(ProfileRow::new(BETWEEN, None, profile.between(), profile.wall));
    rows.sort_by(|a, b| b.ms.total_cmp(&a.ms));
    rows
}

/// One line per operation, under a line with `title` and the time of all.
pub fn table(title: &str, rows: &[ProfileRow]) -> String {
    let mut table = Table::new();
    let header_line = TableStyle::new().header_separator(LineStyle::new('─', '─', '─', '─'));
    table.load_style(header_line).set_content_arrangement(ContentArrangement::Disabled);
    let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
    let header = ["share %", "calls", "ms", "ms per call", "GFLOP/s", "GB/s"].map(|text| right(text.to_owned()));
    table.set_header(std::iter::once(Cell::new("operation")).chain(header));
    for row in rows {
        let per_call = row.calls.filter(|&calls| calls > 0).map(|calls| row.ms / calls as f64);
        let values = [
            percent(row.share),
            or_absent(row.calls, |calls| calls.to_string()),
            rate(row.ms),
            or_absent(per_call, |ms| if ms < 1.0 { format!("{ms:.4}") } else { rate(ms) }),
            or_absent(row.gflops, rate),
            or_absent(row.gbs, rate),
        ];
        table.add_row(std::iter::once(Cell::new(&row.operation)).chain(values.map(right)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 1));
    }
    let total = rows.iter().map(|row| row.ms).sum();
    // The first character is where the border would be.
    let lines = table.lines().map(|line| line.chars().skip(1).collect::<String>().trim_end().to_owned());
    format!("{title}: {} ms\n{}\n", rate(total), lines.collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use headwise_kernels::profile::Work;

    use super::*;

    fn profile() -> Profile {
        let operation = |name, calls, milliseconds, flops, bytes| {
            let (time, work) = (Duration::from_millis(milliseconds), Work { flops, bytes });
            Operation { name, calls, time, work }
        };
        Profile {
            wall: Duration::from_millis(100),
            operations: vec![
                operation("matrix product", 30, 60, 12e9, 6e8),
                operation("norm", 2, 10, 0.0, 1e8),
                operation("sampling", 1, 0, 1.0, 0.0),
            ],
        }
    }

    #[test]
    fn shares_add_up_and_rates_are_work_by_time() {
        let rows = rows(&profile());
        let names: Vec<&str> = rows.iter().map(|row| row.operation.as_str()).collect();
        assert_eq!(names, ["matrix product", BETWEEN, "norm", "sampling"]);
        assert!((rows.iter().map(|row| row.share).sum::<f64>() - 100.0).abs() < 1e-9);
        assert_eq!((rows[0].gflops, rows[0].gbs), (Some(200.0), Some(10.0)));
        assert_eq!((rows[1].calls, rows[1].ms, rows[1].gbs), (None, 30.0, None));
        assert_eq!((rows[2].gflops, rows[2].gbs), (None, Some(10.0)));
        assert_eq!(rows[3].gflops, None, "no rate of no time");
    }

    #[test]
    fn the_table_has_a_line_for_each() {
        let text = table("decode", &rows(&profile()));
        assert!(text.starts_with("decode: 100 ms\noperation"), "{text}");
        assert_eq!(text.lines().count(), 1 + 2 + 4, "{text}");
        let line = text.lines().find(|line| line.starts_with("matrix product")).unwrap_or_default();
        assert_eq!(line.split_whitespace().collect::<Vec<_>>()[2..], ["60.0", "30", "60.0", "2.00", "200", "10.0"]);
    }

    #[test]
    fn nothing_recorded_is_no_division_by_zero() {
        let rows = rows(&Profile::default());
        assert_eq!((rows.len(), rows[0].share, rows[0].ms), (1, 0.0, 0.0));
        assert_eq!(serde_json::from_str::<Vec<ProfileRow>>(&serde_json::to_string(&rows).unwrap()).unwrap(), rows);
    }
}
