//! The calls of tools in a model's answer, found while it is written.
//!
//! | models | a call is written as |
//! |---|---|
//! | Hermes, Qwen 2.5 and 3 | `<tool_call>{"name": …, "arguments": {…}}</tool_call>`, one after another |
//! | Llama 3.1 and later | `{"name": …, "parameters": {…}}`, also after `<\|python_tag\|>`, several with `;` between |
//! | Mistral | `[TOOL_CALLS][{"name": …, "arguments": {…}}, …]`, later `[TOOL_CALLS]name[ARGS]{…}` |
//! | others | an answer that begins with a JSON object of a name and arguments, or an array of such |
//!
//! Without a mark before it, JSON is a call only if it names one of the tools. What is no call after all stays text: a malformed answer
//! is never an error.

use serde_json::{Map, Value};

use super::json_end::JsonEnd;
use super::{Tool, ToolCall};

/// A part of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    /// Words.
    Text(String),
    /// A call.
    Call(ToolCall),
}

/// How a call is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Hermes,
    Mistral,
    PythonTag,
    /// JSON at the beginning of the answer, or after another such call.
    Bare,
}

const MARKS: [(&str, Form); 3] =
    [("<tool_call>", Form::Hermes), ("[TOOL_CALLS]", Form::Mistral), ("<|python_tag|>", Form::PythonTag)];
const HERMES_END: &str = "</tool_call>";
/// Stands between name and arguments in Mistral's later form, after an id if there is one.
const MISTRAL_ARGUMENTS: &str = "[ARGS]";
const MISTRAL_ID: &str = "[CALL_ID]";
/// Longest name and id that Mistral's later form may have.
const LONGEST_NAME: usize = 256;

/// Splits an answer into words and calls while it comes, and holds back only what may begin a call.
///
/// The text has to have the control tokens in it, some of which are marks
/// ([`StreamDecoder::keep_special`](crate::tokenizer::StreamDecoder::keep_special)).
#[derive(Clone, Debug)]
pub struct ToolCallReader {
    /// Names of the tools.
    names: Vec<String>,
    held: String,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Before any word.
    Start,
    /// Among words.
    Words,
    /// Behind a call of this form: space is left out, and more of its kind may follow.
    Behind(Form),
    /// In what may be a call, which is held from its mark on: `json` looks for its end once it has begun, at `begin`.
    Call { form: Form, begin: Option<(usize, JsonEnd)> },
}

/// What is known of the text that is held.
enum Found {
    /// Nothing: more has to come.
    More,
    /// It begins with so many bytes of words.
    Words(usize),
    /// It begins with so many bytes that are left out.
    Nothing(usize),
    /// It begins with calls, of so many bytes.
    Calls(Vec<ToolCall>, usize),
}

impl ToolCallReader {
    /// A reader of an answer by a model that was told of `tools`.
    pub fn new(tools: &[Tool]) -> Self {
        let name = |tool: &Tool| Some(tool.get("function").unwrap_or(tool).get("name")?.as_str()?.to_string());
        Self { names: tools.iter().filter_map(name).collect(), held: String::new(), state: State::Start }
    }

    /// The answer goes on with `text`: returns what is certain by now.
    pub fn push(&mut self, text: &str) -> Vec<Piece> {
        self.held.push_str(text);
        self.read(false)
    }

    /// The answer is at its end: returns the rest.
    pub fn finish(&mut self) -> Vec<Piece> {
        self.read(true)
    }

    fn read(&mut self, ends: bool) -> Vec<Piece> {
        let mut pieces = Vec::new();
        loop {
            let found = match self.state {
                _ if self.held.is_empty() => return pieces,
                State::Call { form, begin } => self.in_call(form, begin, ends),
                state => self.outside(state, ends),
            };
            match found {
                Found::More => return pieces,
                Found::Nothing(bytes) => drop(self.held.drain(..bytes)),
                Found::Words(bytes) => {
                    self.state = State::Words;
                    let words: String = self.held.drain(..bytes).collect();
                    match pieces.last_mut() {
                        Some(Piece::Text(text)) => text.push_str(&words),
                        _ => pieces.push(Piece::Text(words)),
                    }
                }
                Found::Calls(calls, bytes) => {
                    if let State::Call { form, .. } = self.state {
                        self.state = State::Behind(form);
                    }
                    self.held.drain(..bytes);
                    pieces.extend(calls.into_iter().map(Piece::Call));
                }
            }
        }
    }

    /// Looks for the beginning of a call.
    fn outside(&mut self, state: State, ends: bool) -> Found {
        let held = &self.held;
        let behind = match state {
            State::Behind(form) => Some(form),
            _ => None,
        };
        let more = matches!(behind, Some(Form::Bare | Form::PythonTag));
        let separates = |c: char| c.is_whitespace() || (more && c == ';');
        let text = held.trim_start_matches(separates);
        let space = held.len() - text.len();
        if behind.is_some() && space > 0 {
            return Found::Nothing(space);
        }
        if let Some((_, form)) = MARKS.iter().find(|(mark, _)| held.starts_with(mark)) {
            self.state = State::Call { form: *form, begin: None };
            return Found::Nothing(0);
        }
        let may_be_bare = matches!(state, State::Start) || more;
        if may_be_bare && !ends && MARKS.iter().any(|(mark, _)| mark.starts_with(text)) {
            return Found::More;
        }
        if may_be_bare && text.starts_with(['{', '[']) && !self.names.is_empty() {
            self.state = State::Call { form: Form::Bare, begin: Some((space, JsonEnd::from(space))) };
            return Found::Nothing(0);
        }
        let mark = MARKS.iter().filter_map(|(mark, _)| held.find(mark)).min();
        match mark.unwrap_or_else(|| if ends { held.len() } else { certain(held) }) {
            0 => Found::More,
            bytes => Found::Words(bytes),
        }
    }

    /// Looks for the end of a call that the held text begins with.
    fn in_call(&mut self, form: Form, begin: Option<(usize, JsonEnd)>, ends: bool) -> Found {
        let mark = MARKS.iter().find(|(_, other)| *other == form).map_or(0, |(mark, _)| mark.len());
        // No call: its mark, or its first byte, is a word like any other.
        let no_call = Found::Words(mark.max(1));
        let Some((start, mut json)) = begin.or_else(|| json_start(&self.held, mark, form)) else {
            let possible = json_may_start(&self.held[mark..], form);
            return if possible && !ends { Found::More } else { no_call };
        };
        let end = json.find(&self.held);
        self.state = State::Call { form, begin: Some((start, json)) };
        if form == Form::Bare && !may_be_call(&self.held[start..]) {
            return Found::Words(start + 1);
        }
        let Some(end) = end else {
            return if ends { Found::Words(self.held.len()) } else { Found::More };
        };
        let Some(calls) = self.calls(form, mark, start, end) else {
            return if form == Form::Bare { Found::Words(end) } else { no_call };
        };
        if form != Form::Hermes {
            return Found::Calls(calls, end);
        }
        let rest = self.held[end..].trim_start();
        let space = self.held.len() - rest.len();
        if rest.starts_with(HERMES_END) {
            return Found::Calls(calls, space + HERMES_END.len());
        }
        if HERMES_END.starts_with(rest) && !ends {
            // The end of the JSON is looked for again, from its beginning.
            self.state = State::Call { form, begin: Some((start, JsonEnd::from(start))) };
            return Found::More;
        }
        Found::Calls(calls, end)
    }

    /// The calls in the JSON of a held text.
    fn calls(&self, form: Form, mark: usize, start: usize, end: usize) -> Option<Vec<ToolCall>> {
        let value: Value = serde_json::from_str(&self.held[start..end]).ok()?;
        let head = self.held[mark..start].trim();
        if form == Form::Mistral && !head.is_empty() {
            let head = head.strip_suffix(MISTRAL_ARGUMENTS).unwrap_or(head);
            let (name, id) = head.split_once(MISTRAL_ID).unwrap_or((head, ""));
            let good = value.is_object() && name.chars().all(is_of_a_name);
            return good.then(|| vec![ToolCall { id: id.into(), name: name.into(), arguments: value }]);
        }
        let named = |call: &ToolCall| form != Form::Bare || self.names.contains(&call.name);
        let values = match value {
            Value::Array(values) => values,
            value => vec![value],
        };
        let calls: Option<Vec<ToolCall>> = values.into_iter().map(|value| call(value, form)).collect();
        calls.filter(|calls| !calls.is_empty() && calls.iter().all(named))
    }
}

/// The words and the calls of a whole answer, as [`ToolCallReader`] finds them.
pub fn tool_calls(answer: &str, tools: &[Tool]) -> (String, Vec<ToolCall>) {
    let mut reader = ToolCallReader::new(tools);
    let (mut text, mut calls) = (String::new(), Vec::new());
    for piece in reader.push(answer).into_iter().chain(reader.finish()) {
        match piece {
            Piece::Text(words) => text.push_str(&words),
            Piece::Call(call) => calls.push(call),
        }
    }
    (text, calls)
}

/// Bytes before the longest end of `text` that begins a mark.
fn certain(text: &str) -> usize {
    let begins = |at: &usize| MARKS.iter().any(|(mark, _)| mark.starts_with(&text[*at..]));
    let longest = MARKS.iter().map(|(mark, _)| mark.len()).max().unwrap_or(0);
    let tail = text.len().saturating_sub(longest);
    text.char_indices().map(|(at, _)| at).skip_while(|at| *at < tail).find(begins).unwrap_or(text.len())
}

/// Where the JSON of a call begins, which is marked by the first `mark` bytes of `held`.
fn json_start(held: &str, mark: usize, form: Form) -> Option<(usize, JsonEnd)> {
    let rest = held[mark..].trim_start();
    let space = held.len() - rest.len();
    let start = match form {
        Form::Mistral if is_name(rest) => space + rest.find('{')?,
        _ if rest.starts_with('{') || (form == Form::Mistral && rest.starts_with('[')) => space,
        _ => return None,
    };
    Some((start, JsonEnd::from(start)))
}

/// Whether what follows a mark may still become JSON, or a name before it.
fn json_may_start(rest: &str, form: Form) -> bool {
    let rest = rest.trim_start();
    rest.is_empty() || (form == Form::Mistral && is_name(rest) && rest.len() < LONGEST_NAME)
}

/// Whether `text` begins with the name of a tool: with everything that may stand before its arguments.
fn is_name(text: &str) -> bool {
    let head = text.split('{').next().unwrap_or_default().trim_end();
    let possible = |c: char| is_of_a_name(c) || "[]".contains(c);
    head.len() < LONGEST_NAME && head.starts_with(is_of_a_name) && head.chars().all(possible)
}

fn is_of_a_name(c: char) -> bool {
    c.is_alphanumeric() || "_-./".contains(c)
}

/// Whether JSON that has begun may become a call, by its first key.
fn may_be_call(text: &str) -> bool {
    let text = text.strip_prefix('[').map_or(text, str::trim_start);
    if text.is_empty() {
        return true;
    }
    let Some(inside) = text.strip_prefix('{') else { return false };
    let Some(key) = inside.trim_start().strip_prefix('"') else { return inside.trim_start().is_empty() };
    let (key, complete) = key.split_once('"').map_or((key, false), |(key, _)| (key, true));
    let keys = ["name", "arguments", "parameters", "type", "function", "id"];
    keys.iter().any(|other| if complete { *other == key } else { other.starts_with(key) })
}

fn call(value: Value, form: Form) -> Option<ToolCall> {
    let Value::Object(mut outer) = value else { return None };
    let id = outer.get("id").and_then(Value::as_str).unwrap_or_default().to_string();
    let mut call = match outer.remove("function") {
        Some(Value::Object(inner)) => inner,
        Some(_) => return None,
        None => outer,
    };
    let name = call.get("name")?.as_str().filter(|name| !name.is_empty())?.to_string();
    let arguments = match call.remove("arguments").or_else(|| call.remove("parameters")) {
        Some(Value::String(text)) => serde_json::from_str(&text).ok()?,
        Some(arguments) => arguments,
        None if form == Form::Bare => return None,
        None => Value::Object(Map::new()),
    };
    arguments.is_object().then_some(ToolCall { id, name, arguments })
}
