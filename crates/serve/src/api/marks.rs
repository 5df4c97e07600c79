//! Texts that stand apart in a prompt, and what stands in their place while a chat template writes the rest.
//!
//! A template knows no such texts, so it is given marks: characters for private use that the conversation does not have.

use super::message::{ChatMessage, Content};

/// A character that stands for something else.
pub type Mark = char;

/// Characters for private use.
const MARKS: std::ops::RangeInclusive<Mark> = '\u{e000}'..='\u{f8ff}';

/// Two marks that none of `texts` has.
pub fn unused<'a>(texts: impl Iterator<Item = &'a str> + Clone) -> [Mark; 2] {
    let used = |mark: &Mark| texts.clone().any(|text| text.contains(*mark));
    let mut free = MARKS.filter(|mark| !used(mark));
    // A conversation that has all of them has no marks of ours that could be mistaken: it is refused where they are looked for.
    [free.next().unwrap_or(*MARKS.start()), free.next().unwrap_or(*MARKS.end())]
}

/// All texts of `messages`.
pub fn texts(messages: &[ChatMessage]) -> impl Iterator<Item = &str> + Clone {
    messages.iter().flat_map(|message| {
        let (whole, parts) = match &message.content {
            None => (None, &[][..]),
            Some(Content::Text(text)) => (Some(text), &[][..]),
            Some(Content::Parts(parts)) => (None, parts.as_slice()),
        };
        whole.into_iter().chain(parts.iter().flat_map(|part| &part.text)).map(String::as_str)
    })
}
