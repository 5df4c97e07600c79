//! Chat templates and answers with calls of tools: the first empty line of the input ends the template, the second the conversation (a
//! line for each turn), the rest is an answer.

#![no_main]

use headwise_models::chat::{ChatTemplate, Message, Piece, ToolCallReader, tool_calls};
use libfuzzer_sys::fuzz_target;
use serde_json::json;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let mut sections = text.splitn(3, "\n\n");
    let mut next = || sections.next().unwrap_or_default();
    let (template, turns, answer) = (next(), next(), next());
    let tools = [json!({ "type": "function", "function": { "name": "add", "parameters": {
        "type": "object", "properties": { "a": { "type": "integer" }, "b": { "type": ["array", "null"] }, "c": {} },
    } } })];
    let (words, calls) = tool_calls(answer, &tools);
    // In pieces it is the same.
    let mut reader = ToolCallReader::new(&tools);
    let mut again = (String::new(), Vec::new());
    let pieces: Vec<Piece> = answer.split_inclusive('a').flat_map(|part| reader.push(part)).collect();
    for piece in pieces.into_iter().chain(reader.finish()) {
        match piece {
            Piece::Text(text) => again.0.push_str(&text),
            Piece::Call(call) => again.1.push(call),
        }
    }
    assert_eq!((&words, &calls), (&again.0, &again.1));
    if calls.is_empty() {
        assert_eq!(words, answer);
    }
    let mut messages: Vec<Message> = turns
        .lines()
        .map(|line| line.split_once(' ').map_or_else(|| Message::user(line), |(role, content)| Message::new(role, content)))
        .collect();
    messages.push(Message { tool_calls: calls, ..Message::assistant(words) });
    let template_text = template;
    match ChatTemplate::new(template, "<s>", "</s>") {
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok(template) => {
            let _ = template.knows_tools();
            // Whatever is set, the conversation is what it was.
            let mut variables: serde_json::Map<_, _> =
                template.variables().iter().map(|name| (name.clone(), json!({ "x": [null, 1, answer] }))).collect();
            let set = template.render_with(&messages, &tools, true, &variables);
            variables.insert("messages".into(), json!([]));
            let others = template.render_with(&messages, &tools, true, &variables);
            // Time goes on between the two.
            assert!(template_text.contains("strftime_now") || set.ok() == others.ok());
            for tools in [&tools[..], &[]] {
                if let Err(error) = template.render(&messages, tools, true) {
                    assert!(!error.to_string().is_empty());
                }
            }
        }
    }
});
