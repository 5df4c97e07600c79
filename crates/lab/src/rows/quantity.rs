//! How quantities are printed in tables and reports: few digits, units people know, one sign for "not measured".

/// Stands for a value that was not measured.
pub const ABSENT: &str = "–";

/// A count with separators: `4096` → `4,096`.
pub fn count(value: usize) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A context length in a narrow column: `4096` → `4k`, `1200` → `1.2k`, `900` → `900`.
pub fn length(tokens: usize) -> String {
    if tokens < 1000 {
        return tokens.to_string();
    }
    let unit = if tokens.is_multiple_of(1024) { 1024.0 } else { 1000.0 };
    let thousands = tokens as f64 / unit;
    format!("{}k", trim_zero(format!("{thousands:.1}")))
}

/// The binary unit in which a size has one to three digits, and its size in bytes.
pub fn byte_unit(value: u64) -> (&'static str, f64) {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let power = (0..units.len() - 1).find(|&power| value as f64 / 1024f64.powi(power as i32) < 1000.0);
    let power = power.unwrap_or(units.len() - 1);
    (units[power], 1024f64.powi(power as i32))
}

/// Bytes in binary units with three significant digits: `26.5 MiB`.
pub fn bytes(value: u64) -> String {
    match byte_unit(value) {
        ("B", _) => format!("{value} B"),
        (unit, size) => format!("{} {unit}", rate(value as f64 / size)),
    }
}

/// A score in percent: no decimals where it is whole, else one.
pub fn score(value: f64) -> String {
    finite(value, |v| trim_zero(format!("{v:.1}")))
}

/// A share in percent, always with one decimal.
pub fn percent(value: f64) -> String {
    finite(value, |v| format!("{v:.1}"))
}

/// Tokens per second, or a perplexity: three or four significant digits.
pub fn rate(value: f64) -> String {
    finite(value, |v| match v.abs() {
        a if a >= 1e6 => format!("{v:.1e}"),
        a if a >= 100.0 => format!("{v:.0}"),
        a if a >= 10.0 => format!("{v:.1}"),
        _ => format!("{v:.2}"),
    })
}

/// A relative change with its sign: `+3.4 %`.
pub fn change(from: f64, to: f64) -> String {
    finite(100.0 * (to / from - 1.0), |v| match v {
        v if v >= 1000.0 => format!("{}x", rate(to / from)),
        v => format!("{}{:.1} %", if v < -0.05 { "−" } else { "+" }, v.abs()),
    })
}

/// `print(value)`, or [`ABSENT`] for a value that is not there.
pub fn or_absent<T>(value: Option<T>, print: impl Fn(T) -> String) -> String {
    value.map_or_else(|| ABSENT.to_owned(), print)
}

fn finite(value: f64, print: impl Fn(f64) -> String) -> String {
    match value {
        v if v.is_finite() => print(v),
        v if v.is_nan() => ABSENT.to_owned(),
        _ => "∞".to_owned(),
    }
}

fn trim_zero(text: String) -> String {
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_people_write() {
        assert_eq!(["0", "999", "4,096", "1,048,576"].map(str::to_owned), [0, 999, 4096, 1_048_576].map(count));
        assert_eq!(
            ["900", "1k", "4k", "4k", "1.2k", "128k"].map(str::to_owned),
            [900, 1000, 4000, 4096, 1200, 131_072].map(length)
        );
        assert_eq!(
            ["512 B", "1.00 KiB", "94.4 MiB", "180 MiB"].map(str::to_owned),
            [512, 1024, 98_985_574, 188_743_680].map(bytes)
        );
        assert_eq!(["100", "66.7", "0"].map(str::to_owned), [100.0, 66.666, 0.0].map(score));
        assert_eq!(["4.25", "46.2", "416"].map(str::to_owned), [4.25, 46.2, 416.0].map(rate));
        assert_eq!((change(10.0, 11.0).as_str(), change(10.0, 9.0).as_str()), ("+10.0 %", "−10.0 %"));
        assert_eq!(change(10.0, 10.0), "+0.0 %");
        assert_eq!(change(10.0, 1e6), "100000x");
        assert_eq!(
            (score(f64::NAN).as_str(), or_absent(None, rate).as_str(), rate(f64::INFINITY).as_str()),
            (ABSENT, ABSENT, "∞")
        );
    }
}
