//! The plain data a spec stands for, and its canonical text.
//!
//! Printing and parsing are inverse: `parse(value.to_string()) == value` for every value whose names are
//! [names](is_name). Numbers keep their kind: `1024` is an integer, `0.25` and `1.0` are floats in their
//! shortest form that reads back to the same bits.

use std::fmt::{self, Display, Formatter, Write};

use indexmap::IndexMap;
use serde_json::Number;

/// The parameters of a [`Call`], in the order they were written. Comparison ignores the order.
pub type Arguments = IndexMap<String, Value>;

/// A method and its parameters: `snapkv(budget=1024, window=32)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The method; a [name](is_name).
    pub name: String,
    /// Its parameters; every key is a [name](is_name) other than `type`.
    pub args: Arguments,
}

/// Methods applied together: `snapkv(budget=1024) + int8`. A parsed chain has at least one call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chain(pub Vec<Call>);

/// What a parameter can be.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// An optional parameter that is not given: the word `none`, JSON's `null`.
    None,
    /// `true` or `false`.
    Bool(bool),
    /// An integer from `i64::MIN` to `u64::MAX`, or a finite float.
    Number(Number),
    /// A bare name or a quoted string: `end` and `"end"` are the same value.
    Text(String),
    /// `[1, 2, 3]`.
    List(Vec<Value>),
    /// A method as a parameter: `adakv(inner=snapkv(window=32))`.
    Call(Call),
}

impl Call {
    /// A call without parameters.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), args: Arguments::new() }
    }

    /// Sets one parameter, replacing an earlier value.
    pub fn with(mut self, parameter: impl Into<String>, value: impl Into<Value>) -> Self {
        self.args.insert(parameter.into(), value.into());
        self
    }
}

/// Whether `text` can stand bare: an ASCII letter or `_`, then letters, digits and `_`.
pub fn is_name(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(starts_name) && chars.all(continues_name)
}

pub(crate) fn starts_name(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_'
}

pub(crate) fn continues_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The value of a word that stands bare where a value is wanted.
pub(crate) fn word(text: &str) -> Value {
    match text {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        NONE => Value::None,
        _ => Value::Text(text.to_owned()),
    }
}

/// The word for [`Value::None`].
pub(crate) const NONE: &str = "none";

impl Display for Chain {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        separated(f, &self.0, " + ")
    }
}

impl Display for Call {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if self.args.is_empty() {
            return Ok(());
        }
        for (position, (key, value)) in self.args.iter().enumerate() {
            let before = if position == 0 { "(" } else { ", " };
            write!(f, "{before}{key}={value}")?;
        }
        f.write_char(')')
    }
}

impl Display for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str(NONE),
            Self::Bool(flag) => write!(f, "{flag}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) if is_name(text) && matches!(word(text), Self::Text(_)) => f.write_str(text),
            Self::Text(text) => quoted(f, text),
            Self::List(items) => {
                f.write_char('[')?;
                separated(f, items, ", ")?;
                f.write_char(']')
            }
            // Without parentheses it would read back as a bare name.
            Self::Call(call) if call.args.is_empty() => write!(f, "{call}()"),
            Self::Call(call) => write!(f, "{call}"),
        }
    }
}

fn separated<T: Display>(f: &mut Formatter<'_>, items: &[T], separator: &str) -> fmt::Result {
    for (position, item) in items.iter().enumerate() {
        if position > 0 {
            f.write_str(separator)?;
        }
        write!(f, "{item}")?;
    }
    Ok(())
}

fn quoted(f: &mut Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            c if c.is_control() => write!(f, "\\u{{{:x}}}", u32::from(c))?,
            c => f.write_char(c)?,
        }
    }
    f.write_char('"')
}

macro_rules! value_from {
    ($($source:ty => $make:expr),+ $(,)?) => {$(
        impl From<$source> for Value {
            fn from(source: $source) -> Self {
                $make(source)
            }
        }
    )+};
}

value_from! {
    bool => Value::Bool,
    u64 => |n| Value::Number(Number::from(n)),
    i64 => |n| Value::Number(Number::from(n)),
    usize => |n| Value::Number(Number::from(n)),
    u32 => |n| Value::Number(Number::from(n)),
    i32 => |n| Value::Number(Number::from(n)),
    f64 => float,
    &str => |text: &str| Value::Text(text.to_owned()),
    String => Value::Text,
    Call => Value::Call,
    Vec<Value> => Value::List,
}

/// A float; the three that are not finite have no number in the grammar and become words.
fn float(number: f64) -> Value {
    match Number::from_f64(number) {
        Some(number) => Value::Number(number),
        None if number.is_nan() => Value::Text("nan".into()),
        None if number > 0.0 => Value::Text("inf".into()),
        None => Value::Text("-inf".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_the_canonical_text() {
        let call = Call::new("snapkv")
            .with("budget", 1024)
            .with("keep", 0.25)
            .with("scale", 1.0)
            .with("when", "end")
            .with("bytes", "32 MiB")
            .with("inner", Call::new("full"))
            .with("layers", vec![Value::from(1), Value::from(-2), Value::None])
            .with("sparse", true);
        let text = r#"snapkv(budget=1024, keep=0.25, scale=1.0, when=end, bytes="32 MiB", inner=full(), layers=[1, -2, none], sparse=true)"#;
        assert_eq!(call.to_string(), text);
        assert_eq!(Chain(vec![call, Call::new("int8")]).to_string(), format!("{text} + int8"));
    }

    #[test]
    fn quotes_what_a_bare_word_cannot_say() {
        for (text, printed) in [
            ("none", r#""none""#),
            ("true", r#""true""#),
            ("", r#""""#),
            ("8bit", r#""8bit""#),
            ("a\"b\\c\n\0", r#""a\"b\\c\n\u{0}""#),
            ("größe", "\"größe\""),
        ] {
            assert_eq!(Value::from(text).to_string(), printed);
        }
    }

    #[test]
    fn floats_that_are_not_finite_become_words() {
        assert_eq!(Value::from(f64::INFINITY).to_string(), "inf");
        assert_eq!(Value::from(f64::NEG_INFINITY).to_string(), r#""-inf""#);
        assert_eq!(Value::from(f64::NAN).to_string(), "nan");
    }
}
