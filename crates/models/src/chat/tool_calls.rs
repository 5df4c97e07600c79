//! The calls of tools in a model's answer, found while it is written.
//!
//! | models | a call is written as |
//! |---|---|
//! | Hermes, Qwen 2.5 and 3 | `<tool_call>{"name": …, "arguments": {…}}</tool_call>`, one after another |
//! | Qwen 3 Coder | `<tool_call><function=name><parameter=key>value</parameter>…</function></tool_call>`, also without the outer mark |
//! | Llama 3.1 and later | `{"name": …, "parameters": {…}}`, also after `<\|python_tag\|>`, several with `;` between |
//! | Mistral | `[TOOL_CALLS][{"name": …, "arguments": {…}}, …]`, later `[TOOL_CALLS]name[ARGS]{…}` |
//! | others | an answer that begins with a JSON object of a name and arguments, or an array of such |
//!
//! Without a mark before it, a call names one of the tools. What is no call after all stays text: a malformed answer
//! is never an error.

use serde_json::Value;

use super::json_call::{call, is_of_a_name, json_may_start, json_start, may_be_call};
use super::json_end::JsonEnd;
use super::xml_call::{self, XmlEnd};
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
pub(super) enum Form {
    Hermes,
    /// Tags, without Hermes's mark before them.
    Xml,
    Mistral,
    PythonTag,
    /// JSON at the beginning of the answer, or after another such call.
    Bare,
}

const MARKS: [(&str, Form); 4] = [
    ("<tool_call>", Form::Hermes),
    (xml_call::BEGIN, Form::Xml),
    ("[TOOL_CALLS]", Form::Mistral),
    ("<|python_tag|>", Form::PythonTag),
];
const HERMES_END: &str = "</tool_call>";
/// Stands between name and arguments in Mistral's later form, after an id if there is one.
const MISTRAL_ARGUMENTS: &str = "[ARGS]";
const MISTRAL_ID: &str = "[CALL_ID]";

/// Splits an answer into words and calls while it comes, and holds back only what may begin a call.
///
/// The text has to have the control tokens in it, some of which are marks
/// ([`StreamDecoder::keep_special`](crate::tokenizer::StreamDecoder::keep_special)).
#[derive(Clone, Debug)]
pub struct ToolCallReader {
    tools: Vec<Tool>,
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
    /// In what may be a call in tags, which begins at `start`.
    Tags { start: usize, end: XmlEnd },
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
        Self { tools: tools.to_vec(), held: String::new(), state: State::Start }
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
                State::Tags { start, end } => self.in_tags(start, end, ends),
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
                    match self.state {
                        State::Call { form, .. } => self.state = State::Behind(form),
                        State::Tags { .. } => self.state = State::Behind(Form::Hermes),
                        _ => {}
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
        if may_be_bare && text.starts_with(['{', '[']) && !self.tools.is_empty() {
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
        if let Some(start) = xml_call::start(&self.held, if form == Form::Xml { 0 } else { mark }, form) {
            self.state = State::Tags { start, end: XmlEnd::from(start) };
            return Found::Nothing(0);
        }
        let Some((start, mut json)) = begin.or_else(|| json_start(&self.held, mark, form)) else {
            let possible = match form {
                Form::Hermes => xml_call::may_start(&self.held[mark..]),
                form => json_may_start(&self.held[mark..], form),
            };
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
        match self.hermes_end(end, ends) {
            Some(end) => Found::Calls(calls, end),
            None => {
                // The end of the JSON is looked for again, from its beginning.
                self.state = State::Call { form, begin: Some((start, JsonEnd::from(start))) };
                Found::More
            }
        }
    }

    /// Where a call ends whose inside ends at byte `inside`: behind its closing mark, if there is one; none if that may still come.
    fn hermes_end(&self, inside: usize, ends: bool) -> Option<usize> {
        let rest = self.held[inside..].trim_start();
        match () {
            () if rest.starts_with(HERMES_END) => Some(self.held.len() - rest.len() + HERMES_END.len()),
            () if HERMES_END.starts_with(rest) && !ends => None,
            () => Some(inside),
        }
    }

    /// Looks for the end of a call in tags, which begins at byte `start` of the held text.
    fn in_tags(&mut self, start: usize, mut end: XmlEnd, ends: bool) -> Found {
        // No call: the mark before the tags, or of the first one, is a word like any other.
        let no_call = if start == 0 { xml_call::BEGIN.len() } else { start };
        if !xml_call::may_be_call(&self.held[start..], if start == 0 { Some(&self.tools) } else { None }) {
            return Found::Words(no_call);
        }
        let searched = end;
        let found = end.find(&self.held);
        self.state = State::Tags { start, end };
        let Some(found) = found else {
            return if ends { Found::Words(self.held.len()) } else { Found::More };
        };
        let Some(call) = xml_call::call(&self.held[start..found.tags], &self.tools) else {
            return Found::Words(no_call);
        };
        match self.hermes_end(found.end, ends) {
            Some(end) => Found::Calls(vec![call], end),
            None => {
                self.state = State::Tags { start, end: searched };
                Found::More
            }
        }
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
        let named = |call: &ToolCall| form != Form::Bare || named(&self.tools, &call.name).is_some();
        let values = match value {
            Value::Array(values) => values,
            value => vec![value],
        };
        let calls: Option<Vec<ToolCall>> = values.into_iter().map(|value| call(value, form)).collect();
        calls.filter(|calls| !calls.is_empty() && calls.iter().all(named))
    }
}

/// The tool among `tools` that is called `name`.
pub(super) fn named<'t>(tools: &'t [Tool], name: &str) -> Option<&'t Tool> {
    tools.iter().map(|tool| tool.get("function").unwrap_or(tool)).find(|function| function["name"] == name)
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
