//! Text to [`Chain`].
//!
//! ```text
//! chain  = call ("+" call)*
//! call   = name ["(" [key "=" value ("," key "=" value)*] ")"]
//! value  = number | true | false | none | string | name | call | "[" [value ("," value)*] "]"
//! number = ["-"] digits ["." digits] [("e" | "E") ["+" | "-"] digits]
//! string = '"' (any character | \" \\ \n \r \t \u{hex})* '"'
//! name   = (letter | "_") (letter | digit | "_")*
//! ```
//!
//! White space may stand between any two of these. A value that is a name without parentheses is a word; with
//! them it is a call. The text may come from anyone: its depth is limited, every error has a column.

use serde_json::Number;

use crate::error::{Error, Problem, Step};
use crate::value::{Arguments, Call, Chain, Value, continues_name, starts_name, word};

/// How deep calls and lists may stand in one another.
pub const MAX_DEPTH: usize = 32;

/// The name of the method in the JSON and TOML form, so no parameter can have it.
pub(crate) const TYPE: &str = "type";

/// Reads a chain of one or more calls.
pub fn parse_chain(text: &str) -> Result<Chain, Error> {
    Parser::new(text, None).chain()
}

/// Reads exactly one call.
pub fn parse_call(text: &str) -> Result<Call, Error> {
    let mut calls = parse_chain(text)?.0;
    if calls.len() > 1 {
        return Err(Error::new(Problem::NotOne { calls: calls.len() }).within(Step::Call(1)).locate(text));
    }
    calls.pop().ok_or_else(|| Error::new(Problem::NotOne { calls: 0 }))
}

/// The column of the place that `path` (outermost step first) leads to, counted in characters from 1.
///
/// Values carry no columns: only a failed conversion asks for one, and then the text is simply read again.
pub(crate) fn column_of(text: &str, path: &[Step]) -> Option<usize> {
    let mut parser = Parser::new(text, Some(path));
    // Text that led to a path has been read before, so this succeeds; if not, what was found still stands.
    let _ = parser.chain();
    parser.found
}

struct Parser<'a> {
    text: &'a str,
    /// Bytes read so far.
    offset: usize,
    depth: usize,
    /// Where the parser stands; kept only while a place is wanted.
    path: Vec<Step>,
    wanted: Option<&'a [Step]>,
    found: Option<usize>,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str, wanted: Option<&'a [Step]>) -> Self {
        Self { text, offset: 0, depth: 0, path: Vec::new(), wanted, found: None }
    }

    fn chain(&mut self) -> Result<Chain, Error> {
        let mut calls = Vec::new();
        loop {
            let call = self.at(|| Step::Call(calls.len()), Self::call)?;
            calls.push(call);
            if !self.take('+') {
                break;
            }
        }
        match self.peek() {
            None => Ok(Chain(calls)),
            Some(_) => Err(self.expected("`+` or the end of the text")),
        }
    }

    fn call(&mut self) -> Result<Call, Error> {
        let name = self.name("the name of a method")?;
        let args = if self.take('(') { self.nested(Self::arguments)? } else { Arguments::new() };
        Ok(Call { name, args })
    }

    /// What follows `(`, up to and with `)`.
    fn arguments(&mut self) -> Result<Arguments, Error> {
        let mut args = Arguments::new();
        if self.take(')') {
            return Ok(args);
        }
        loop {
            self.skip_space();
            let start = self.offset;
            let key = self.name("the name of a parameter")?;
            self.mark(start, || Step::Key(key.clone()));
            if key == TYPE {
                return Err(self.error_at(start, Problem::Reserved));
            }
            if args.contains_key(&key) {
                return Err(self.error_at(start, Problem::Repeated { parameter: key }));
            }
            self.expect('=', "`=` and a value")?;
            let value = self.at(|| Step::Argument(key.clone()), Self::value)?;
            args.insert(key, value);
            if !self.take(',') {
                self.expect(')', "`,` or `)`")?;
                return Ok(args);
            }
        }
    }

    fn value(&mut self) -> Result<Value, Error> {
        match self.peek() {
            Some('"') => self.string().map(Value::Text),
            Some(c) if c == '-' || c == '.' || c.is_ascii_digit() => self.number().map(Value::Number),
            Some('[') => {
                self.offset += 1;
                self.nested(Self::items).map(Value::List)
            }
            _ => {
                let name = self.name("a value")?;
                if !self.take('(') {
                    return Ok(word(&name));
                }
                let args = self.nested(Self::arguments)?;
                Ok(Value::Call(Call { name, args }))
            }
        }
    }

    /// What follows `[`, up to and with `]`.
    fn items(&mut self) -> Result<Vec<Value>, Error> {
        let mut items = Vec::new();
        if self.take(']') {
            return Ok(items);
        }
        loop {
            let item = self.at(|| Step::Item(items.len()), Self::value)?;
            items.push(item);
            if !self.take(',') {
                self.expect(']', "`,` or `]`")?;
                return Ok(items);
            }
        }
    }

    fn name(&mut self, wanted: &'static str) -> Result<String, Error> {
        if !self.peek().is_some_and(starts_name) {
            return Err(self.expected(wanted));
        }
        Ok(self.take_while(continues_name).to_owned())
    }

    fn number(&mut self) -> Result<Number, Error> {
        self.skip_space();
        let start = self.offset;
        let mut after_exponent = false;
        let text = self.take_while(|c| {
            let sign = (c == '-' || c == '+') && after_exponent;
            after_exponent = c == 'e' || c == 'E';
            sign || continues_name(c) || c == '.' || c == '-'
        });
        read_number(text).ok_or_else(|| self.error_at(start, Problem::Number { text: text.to_owned() }))
    }

    fn string(&mut self) -> Result<String, Error> {
        let start = self.offset;
        let mut string = String::new();
        self.offset += 1;
        loop {
            let place = self.offset;
            match self.next() {
                None => return Err(self.error_at(start, Problem::Unterminated)),
                Some('"') => return Ok(string),
                Some('\\') => string.push(self.escape().ok_or_else(|| self.error_at(place, Problem::Escape))?),
                Some(c) => string.push(c),
            }
        }
    }

    /// What follows a backslash.
    fn escape(&mut self) -> Option<char> {
        match self.next()? {
            c @ ('"' | '\\') => Some(c),
            'n' => Some('\n'),
            'r' => Some('\r'),
            't' => Some('\t'),
            'u' => {
                let (digits, _) = self.text[self.offset..].strip_prefix('{')?.split_once('}')?;
                if digits.is_empty() || digits.len() > 6 || !digits.chars().all(|c| c.is_ascii_hexdigit()) {
                    return None;
                }
                self.offset += digits.len() + 2;
                u32::from_str_radix(digits, 16).ok().and_then(char::from_u32)
            }
            _ => None,
        }
    }

    fn nested<T>(&mut self, inside: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            // The bracket that opened this level has just been read.
            return Err(self.error_at(self.offset - 1, Problem::TooDeep));
        }
        let result = inside(self)?;
        self.depth -= 1;
        Ok(result)
    }

    /// Runs `inside` one step further down the path, whose place is the next character that is not a space.
    fn at<T>(
        &mut self,
        step: impl FnOnce() -> Step,
        inside: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        if self.wanted.is_none() {
            return inside(self);
        }
        self.skip_space();
        self.path.push(step());
        if self.wanted.is_some_and(|wanted| wanted == self.path) {
            self.found = Some(self.column(self.offset));
        }
        let result = inside(self)?;
        self.path.pop();
        Ok(result)
    }

    /// Notes the place of a step that has nothing below it.
    fn mark(&mut self, start: usize, step: impl FnOnce() -> Step) {
        if let Some((last, above)) = self.wanted.and_then(<[Step]>::split_last)
            && above == self.path
            && *last == step()
        {
            self.found = Some(self.column(start));
        }
    }

    fn skip_space(&mut self) {
        self.take_while_raw(char::is_whitespace);
    }

    /// The next character that is not a space, left in place.
    fn peek(&mut self) -> Option<char> {
        self.skip_space();
        self.text[self.offset..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.text[self.offset..].chars().next()?;
        self.offset += c.len_utf8();
        Some(c)
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.offset += wanted.len_utf8();
        }
        found
    }

    fn take_while(&mut self, belongs: impl FnMut(char) -> bool) -> &'a str {
        self.skip_space();
        self.take_while_raw(belongs)
    }

    fn take_while_raw(&mut self, mut belongs: impl FnMut(char) -> bool) -> &'a str {
        let rest = &self.text[self.offset..];
        let length = rest.find(|c| !belongs(c)).unwrap_or(rest.len());
        self.offset += length;
        &rest[..length]
    }

    fn expect(&mut self, wanted: char, description: &'static str) -> Result<(), Error> {
        if self.take(wanted) { Ok(()) } else { Err(self.expected(description)) }
    }

    fn expected(&mut self, wanted: &'static str) -> Error {
        let found = self.peek();
        self.error_at(self.offset, Problem::Expected { wanted, found })
    }

    fn error_at(&self, offset: usize, problem: Problem) -> Error {
        Error::new(problem).locate_at(self.text, self.column(offset))
    }

    fn column(&self, offset: usize) -> usize {
        self.text[..offset].chars().count() + 1
    }
}

fn read_number(text: &str) -> Option<Number> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.bytes().all(|b| b.is_ascii_digit()) {
        return if digits.len() < text.len() {
            text.parse::<i64>().ok().map(Number::from)
        } else {
            text.parse::<u64>().ok().map(Number::from)
        };
    }
    let (mantissa, exponent) = digits.split_once(['e', 'E']).unwrap_or((digits, "0"));
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if ![whole, fraction, exponent].into_iter().all(is_number) {
        return None;
    }
    text.parse().ok().and_then(Number::from_f64)
}
