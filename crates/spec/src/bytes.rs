//! Sizes as people write them.

/// The bytes that `32MiB` says: a number, and one of B, KiB, MiB, GiB, kB, MB, GB. At least one byte; the error says what is right.
pub fn parse(text: &str) -> Result<u64, String> {
    let units = [
        ("KiB", 1u64 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("kB", 1000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("B", 1),
    ];
    let wrong = || format!("`{text}` is not a size: write a number and a unit, for example \"32MiB\"");
    let (unit, factor) = units.iter().find(|(unit, _)| text.ends_with(unit)).ok_or_else(wrong)?;
    let number: f64 = text[..text.len() - unit.len()].trim().parse().map_err(|_| wrong())?;
    if !(number.is_finite() && number * *factor as f64 >= 1.0) {
        return Err(wrong());
    }
    Ok((number * *factor as f64) as u64)
}
