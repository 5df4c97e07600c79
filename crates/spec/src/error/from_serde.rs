//! The errors that serde's own code makes, put into [`Problem`]s.

use std::fmt::Display;

use serde::de::{self, Expected, Unexpected};
use serde::ser;

use super::{Error, Problem};
use crate::words;

impl ser::Error for Error {
    fn custom<T: Display>(message: T) -> Self {
        Self::new(Problem::Invalid(message.to_string()))
    }
}

impl de::Error for Error {
    fn custom<T: Display>(message: T) -> Self {
        Self::new(Problem::Invalid(message.to_string()))
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_value(unexpected, expected)
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(Problem::WrongValue {
            method: None,
            parameter: None,
            wanted: words::wanted(&expected.to_string()),
            found: words::found(&unexpected),
        })
    }

    fn unknown_variant(name: &str, valid: &'static [&'static str]) -> Self {
        Self::new(Problem::UnknownName { name: name.to_owned(), parameter: None, valid: owned(valid) })
    }

    fn unknown_field(parameter: &str, valid: &'static [&'static str]) -> Self {
        Self::new(Problem::UnknownParameter { method: None, parameter: parameter.to_owned(), valid: owned(valid) })
    }

    fn missing_field(parameter: &'static str) -> Self {
        Self::new(Problem::MissingParameter { method: None, parameter })
    }
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}
