//! The words of error messages and signatures.

use std::borrow::Cow;

use serde::de::Unexpected;

use crate::value::{NONE, Value};

/// Characters of a name or text that a message repeats; names that work are far shorter.
const SHOWN: usize = 48;

/// `text` as a message repeats it: cut if long, with no control characters.
pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    if text.chars().nth(SHOWN).is_none() && !text.chars().any(char::is_control) {
        return Cow::Borrowed(text);
    }
    let start: String = text.chars().take(SHOWN).flat_map(printable).collect();
    Cow::Owned(if text.chars().nth(SHOWN).is_some() { start + "…" } else { start })
}

fn printable(c: char) -> impl Iterator<Item = char> {
    let escaped = c.is_control().then(|| c.escape_default());
    let plain = (!c.is_control()).then_some(c);
    escaped.into_iter().flatten().chain(plain)
}

pub(crate) fn list(names: &[String]) -> String {
    names.join(", ")
}

/// The name with the fewest edits from `given`, unless most of it would have to change.
pub(crate) fn nearest<'a>(given: &str, names: &'a [String]) -> Option<&'a str> {
    if given.chars().nth(SHOWN).is_some() {
        return None;
    }
    let (distance, name) = names
        .iter()
        .map(|name| (strsim::damerau_levenshtein(&given.to_lowercase(), name), name))
        .min_by_key(|(distance, _)| *distance)?;
    (2 * distance <= given.chars().count().max(name.chars().count())).then_some(name)
}

/// What a type wants, in the reader's words: serde's expectations name Rust types.
pub(crate) fn wanted(expected: &str) -> String {
    match expected {
        "usize" | "u64" | "u128" => "a whole number",
        "u32" => "a whole number up to 4294967295",
        "u16" => "a whole number up to 65535",
        "u8" => "a whole number up to 255",
        "isize" | "i64" | "i128" => "an integer",
        "i32" => "an integer of 32 bits",
        "i16" => "an integer of 16 bits",
        "i8" => "an integer of 8 bits",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a string" => "text",
        "a character" => "one character",
        "a sequence" => "a list",
        other if other.starts_with("a nonzero") => "a whole number above 0",
        other if other.starts_with("struct ") || other.contains(" tagged enum") => "a method",
        other if other.starts_with("enum ") => "a name",
        other => other,
    }
    .to_owned()
}

/// What was given, in the reader's words.
pub(crate) fn found(unexpected: &Unexpected<'_>) -> String {
    match *unexpected {
        Unexpected::Bool(flag) => format!("`{flag}`"),
        Unexpected::Unsigned(number) => format!("`{number}`"),
        Unexpected::Signed(number) => format!("`{number}`"),
        Unexpected::Float(number) => format!("`{}`", Value::from(number)),
        Unexpected::Char(c) => format!("`{}`", shown(&c.to_string())),
        Unexpected::Str(text) => format!("`{}`", shown(text)),
        Unexpected::Unit | Unexpected::Option => format!("`{NONE}`"),
        Unexpected::Seq => "a list".into(),
        Unexpected::Map | Unexpected::StructVariant | Unexpected::NewtypeVariant | Unexpected::Enum => {
            "a method".into()
        }
        ref other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn nearest_takes_the_fewest_edits() {
        let policies = names(&["full", "streaming", "snapkv", "pyramidkv", "h2o"]);
        for (given, wanted) in [
            ("snapkb", Some("snapkv")),
            ("SnapKV", Some("snapkv")),
            ("sanpkv", Some("snapkv")),
            ("piramidkv", Some("pyramidkv")),
            ("ho2", Some("h2o")),
            ("retention", None),
            ("", None),
        ] {
            assert_eq!(nearest(given, &policies), wanted, "{given}");
        }
        assert_eq!(nearest(&"s".repeat(1 << 20), &policies), None);
    }

    #[test]
    fn long_and_unprintable_names_are_cut() {
        assert_eq!(shown("snapkv"), "snapkv");
        assert_eq!(shown("a\0b\n"), "a\\u{0}b\\n");
        assert_eq!(shown(&"é".repeat(100)), format!("{}…", "é".repeat(48)));
    }
}
