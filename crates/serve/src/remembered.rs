//! Conversations that a client can go on with by name.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use headwise_models::chat::Message;

/// Conversations that are remembered, and bytes of all of them together; those that came first are forgotten first.
const MOST: usize = 1024;
const MOST_BYTES: usize = 64 << 20;

/// The latest conversations, in memory.
#[derive(Debug, Default)]
pub struct Remembered(Mutex<VecDeque<(String, Vec<Message>)>>);

impl Remembered {
    /// Remembers `messages` as `id`.
    pub fn keep(&self, id: String, messages: Vec<Message>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push_back((id, messages));
        let mut bytes: usize = all.iter().map(|(_, messages)| size(messages)).sum();
        while all.len() > MOST || bytes > MOST_BYTES {
            let Some((_, oldest)) = all.pop_front() else { return };
            bytes -= size(&oldest);
        }
    }

    /// The conversation `id`, if it is still remembered.
    pub fn find(&self, id: &str) -> Option<Vec<Message>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().find(|(known, _)| known == id).map(|(_, messages)| messages.clone())
    }
}

fn size(messages: &[Message]) -> usize {
    let calls = |message: &Message| -> usize {
        message.tool_calls.iter().map(|call| call.name.len() + call.arguments.to_string().len()).sum()
    };
    messages.iter().map(|message| message.role.len() + message.content.len() + calls(message)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten() {
        let remembered = Remembered::default();
        for index in 0..=MOST {
            remembered.keep(index.to_string(), vec![Message::user("x")]);
        }
        assert!(remembered.find("0").is_none());
        assert_eq!(remembered.find("1"), Some(vec![Message::user("x")]));
        remembered.keep("long".into(), vec![Message::user("x".repeat(MOST_BYTES))]);
        assert!(remembered.find("long").is_none() && remembered.find("1").is_none());
    }
}
