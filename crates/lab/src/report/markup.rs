//! Text that goes into HTML and SVG: escaping, and prose in which policies are set as code.

use std::fmt;

/// `text` with the characters that mean something in HTML and SVG replaced, safe in content and quoted attributes.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // Not allowed in HTML even as references; a control character in a file name must not break the page.
            c if c.is_control() && !matches!(c, '\n' | '\t') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A policy as code that may be broken between its parts.
pub fn code(policy: &str) -> String {
    let breakable = escape(policy).replace('(', "(<wbr>").replace('_', "_<wbr>");
    format!("<code>{breakable}</code>")
}

/// A paragraph of plain text and policies.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prose(Vec<Span>);

#[derive(Clone, Debug, PartialEq)]
enum Span {
    Text(String),
    Policy(String),
}

impl Prose {
    /// Appends text.
    pub fn text(&mut self, text: impl Into<String>) -> &mut Self {
        self.0.push(Span::Text(text.into()));
        self
    }

    /// Appends a policy.
    pub fn policy(&mut self, policy: &str) -> &mut Self {
        self.0.push(Span::Policy(policy.to_owned()));
        self
    }

    /// The paragraph's content as HTML.
    pub fn html(&self) -> String {
        let html = |span: &Span| match span {
            // A percent sign alone on a line reads badly.
            Span::Text(text) => escape(text).replace(" %", "\u{a0}%"),
            Span::Policy(policy) => code(policy),
        };
        self.0.iter().map(html).collect()
    }
}

/// Plain text, policies between backquotes, for the terminal.
impl fmt::Display for Prose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|span| match span {
            Span::Text(text) => f.write_str(text),
            Span::Policy(policy) => write!(f, "`{policy}`"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_active_survives() {
        assert_eq!(
            escape("<script>\"a\" & 'b'</script>"),
            "&lt;script&gt;&quot;a&quot; &amp; &#39;b&#39;&lt;/script&gt;"
        );
        assert_eq!(escape("a\0b\u{1b}\n"), "a\u{fffd}b\u{fffd}\n");
    }

    #[test]
    fn prose_reads_in_both_forms() {
        let mut prose = Prose::default();
        prose.text("keep 5 % ").policy("a<b").text(" & go");
        assert_eq!(prose.to_string(), "keep 5 % `a<b` & go");
        assert_eq!(prose.html(), "keep 5\u{a0}% <code>a&lt;b</code> &amp; go");
    }
}
