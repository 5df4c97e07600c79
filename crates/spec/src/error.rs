//! What can be wrong with a spec, and where.
//!
//! ```text
//! unknown parameter `buget` of `snapkv`; did you mean `budget`? Valid: budget, window
//!   snapkv(buget=1024)
//!          ^
//! ```

mod from_serde;

use std::fmt::{self, Display, Formatter};

use crate::place::Place;
use crate::text::{MAX_DEPTH, TYPE, column_of};
use crate::words::{list, nearest, shown};

/// A [`Problem`] and, when the spec was text, its place there.
///
/// `{error}` is one line, `{error:#}` is [`render`](Self::render): the text with a caret under the place.
#[derive(Clone, Debug, PartialEq)]
pub struct Error {
    problem: Box<Problem>,
    /// From the innermost step outwards, in the order in which an error travels.
    path: Vec<Step>,
    place: Option<Place>,
}

/// One step on the way from a chain to the thing that is wrong.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// The n-th call of the chain.
    Call(usize),
    /// The name of a parameter.
    Key(String),
    /// The value of a parameter.
    Argument(String),
    /// The n-th item of a list.
    Item(usize),
}

/// What is wrong with a spec.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Problem {
    /// The grammar wants something else here.
    #[error("expected {wanted}, found {}", found_character(*.found))]
    Expected {
        /// What the grammar allows.
        wanted: &'static str,
        /// What stands there, or nothing at the end of the text.
        found: Option<char>,
    },
    /// A `"` without its partner.
    #[error("this string has no closing `\"`")]
    Unterminated,
    /// An escape that does not exist.
    #[error(r#"unknown escape; valid: \" \\ \n \r \t \u{{hex}}"#)]
    Escape,
    /// Not a number, or one that no machine type holds.
    #[error(
        "`{}` is not a number: integers go from {} to {}, floats look like 0.25 or 1e-5",
        shown(text),
        i64::MIN,
        u64::MAX
    )]
    Number {
        /// The number as written.
        text: String,
    },
    /// Calls or lists in one another beyond [`MAX_DEPTH`], or a spec in a string in a string.
    #[error(
        "nested too deep: calls and lists may stand {MAX_DEPTH} deep in one another, and strings with specs not at all"
    )]
    TooDeep,
    /// A parameter given twice.
    #[error("parameter `{}` is given twice", shown(parameter))]
    Repeated {
        /// The parameter.
        parameter: String,
    },
    /// A parameter called `type`.
    #[error("`{TYPE}` cannot be a parameter: it names the method in TOML and JSON")]
    Reserved,
    /// A chain where one method is wanted.
    #[error("one method is wanted here, not a chain of {calls}")]
    NotOne {
        /// Length of the chain.
        calls: usize,
    },
    /// A word that is none of those allowed: the name of a method, or of an alternative such as `when=end`.
    #[error("unknown name `{}`{}; {}", shown(name), of(" for ", parameter), choices(name, valid))]
    UnknownName {
        /// The word.
        name: String,
        /// The parameter whose value it is, if it is one.
        parameter: Option<String>,
        /// The words allowed.
        valid: Vec<String>,
    },
    /// A parameter the method does not have.
    #[error("unknown parameter `{}`{}; {}", shown(parameter), of(" of ", method), choices(parameter, valid))]
    UnknownParameter {
        /// The method.
        method: Option<String>,
        /// The parameter as given.
        parameter: String,
        /// The parameters it has.
        valid: Vec<String>,
    },
    /// A parameter without a default that is not given.
    #[error("parameter `{parameter}`{} is missing", of(" of ", method))]
    MissingParameter {
        /// The method.
        method: Option<String>,
        /// The parameter.
        parameter: &'static str,
    },
    /// A value of the wrong kind or out of range.
    #[error("wanted {wanted}{}{}, not {found}", of(" for ", parameter), of(" of ", method))]
    WrongValue {
        /// The method.
        method: Option<String>,
        /// The parameter.
        parameter: Option<String>,
        /// What the parameter can be.
        wanted: String,
        /// What was given.
        found: String,
    },
    /// JSON or TOML that stands for no spec.
    #[error("{wanted}, not {found}")]
    Form {
        /// What the form allows.
        wanted: &'static str,
        /// What was given.
        found: String,
    },
    /// A Rust value the grammar has no text for.
    #[error("{0} has no text form in a spec")]
    NoText(&'static str),
    /// Anything else a type's own conversion refuses.
    #[error("{0}")]
    Invalid(String),
}

impl Error {
    pub(crate) fn new(problem: Problem) -> Self {
        Self { problem: Box::new(problem), path: Vec::new(), place: None }
    }

    /// What is wrong.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// Where, in characters from 1, if the spec was text.
    pub fn column(&self) -> Option<usize> {
        self.place.as_ref().map(|place| place.column)
    }

    /// The message, and below it the text with a caret under the place.
    pub fn render(&self) -> String {
        match &self.place {
            Some(place) => format!("{}\n{place}", self.problem),
            None => self.problem.to_string(),
        }
    }

    /// Adds the step that leads from the thing around to the place of this error.
    pub(crate) fn within(mut self, step: Step) -> Self {
        self.path.push(step);
        self
    }

    /// The error came from the value of `parameter`.
    pub(crate) fn in_argument(mut self, key: &str) -> Self {
        self.problem.set_parameter(key);
        self.within(Step::Argument(key.to_owned()))
    }

    /// The error came from a call of `name`, which has a parameter if `has` says so.
    pub(crate) fn in_call(mut self, name: &str, has: impl FnOnce(&str) -> bool) -> Self {
        match &*self.problem {
            Problem::UnknownParameter { method: None, parameter, .. } if self.path.is_empty() && has(parameter) => {
                self.path.push(Step::Key(parameter.clone()));
            }
            // The call itself is the wrong value.
            Problem::WrongValue { .. } if self.path.is_empty() => return self,
            _ => {}
        }
        self.problem.set_method(name);
        self
    }

    /// Found after the fact to be the fault of the value of `key` in a call of `name`.
    pub(crate) fn blame(mut self, name: &str, key: &str) -> Self {
        self.problem.set_parameter(key);
        self.problem.set_method(name);
        self.within(Step::Argument(key.to_owned()))
    }

    /// Whether the error knows more than the call it came from.
    pub(crate) fn is_placed(&self) -> bool {
        !self.path.is_empty()
    }

    /// Finds the place in the text the spec was read from.
    pub(crate) fn locate(self, text: &str) -> Self {
        let path: Vec<Step> = self.path.iter().rev().cloned().collect();
        match column_of(text, &path) {
            Some(column) => self.locate_at(text, column),
            None => self,
        }
    }

    pub(crate) fn locate_at(mut self, text: &str, column: usize) -> Self {
        self.place = Some(Place { text: text.to_owned(), column });
        self
    }

    /// Forgets the place: it was one in another text, that of a string inside this spec.
    pub(crate) fn unplaced(mut self) -> Self {
        self.path.clear();
        self.place = None;
        self
    }
}

impl Problem {
    /// The parameter is that of the innermost call, which is known as soon as the method is.
    fn set_parameter(&mut self, key: &str) {
        if let Self::UnknownName { parameter: parameter @ None, .. }
        | Self::WrongValue { method: None, parameter: parameter @ None, .. } = self
        {
            *parameter = Some(key.to_owned());
        }
    }

    fn set_method(&mut self, name: &str) {
        if let Self::UnknownParameter { method: method @ None, .. }
        | Self::MissingParameter { method: method @ None, .. }
        | Self::WrongValue { method: method @ None, .. } = self
        {
            *method = Some(name.to_owned());
        }
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(_) if f.alternate() => f.write_str(&self.render()),
            Some(place) => write!(f, "column {}: {}", place.column, self.problem),
            None => write!(f, "{}", self.problem),
        }
    }
}

impl std::error::Error for Error {}

fn found_character(found: Option<char>) -> String {
    match found {
        None => "the end of the text".into(),
        Some(c) if c.is_control() => format!("`{}`", c.escape_default()),
        Some(c) => format!("`{c}`"),
    }
}

fn of(preposition: &str, name: &Option<String>) -> String {
    name.as_ref().map(|name| format!("{preposition}`{}`", shown(name))).unwrap_or_default()
}

fn choices(given: &str, valid: &[String]) -> String {
    if valid.is_empty() {
        return "there are none".into();
    }
    let hint = nearest(given, valid).map(|name| format!("did you mean `{name}`? ")).unwrap_or_default();
    format!("{hint}valid: {}", list(valid))
}
