//! Calls of tools in answers, as the models that make them write them.

use headwise_models::chat::{Piece, Tool, ToolCall, ToolCallReader, tool_calls};
use proptest::prelude::*;
use serde_json::{Value, json};

fn tools() -> Vec<Tool> {
    let numbers =
        json!({ "properties": { "a": { "type": "integer" }, "b": { "type": "array" }, "note": { "type": "string" } } });
    vec![
        json!({ "type": "function", "function": { "name": "get_weather" } }),
        json!({ "type": "function", "function": { "name": "add", "parameters": numbers } }),
    ]
}

fn call(name: &str, arguments: Value) -> ToolCall {
    ToolCall { id: String::new(), name: name.into(), arguments }
}

fn paris() -> ToolCall {
    call("get_weather", json!({ "city": "Paris, France" }))
}

fn add() -> ToolCall {
    call("add", json!({ "a": 1, "b": [2, "}"] }))
}

/// Answers in the formats that models were trained on, with the words and the calls in them.
fn formats() -> Vec<(&'static str, &'static str, Vec<ToolCall>)> {
    let with_id = |id: &str, call: ToolCall| ToolCall { id: id.into(), ..call };
    vec![
        // Hermes 2 Pro, Qwen 2.5 and 3.
        (
            "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Paris, France\"}}\n</tool_call>",
            "",
            vec![paris()],
        ),
        (
            "I will look.\n<tool_call>\n{\"arguments\": {\"city\": \"Paris, France\"}, \"name\": \"get_weather\"}\n</tool_call>\n\
             <tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 1, \"b\": [2, \"}\"]}}\n</tool_call>",
            "I will look.\n",
            vec![paris(), add()],
        ),
        // Qwen 3 Coder; it leaves out the outer mark at times.
        (
            "Let me see.\n<tool_call>\n<function=get_weather>\n<parameter=city>\nParis, France\n</parameter>\n</function>\n</tool_call>\n\
             <tool_call>\n<function=add>\n<parameter=a>\n1\n</parameter>\n<parameter=b>\n[2, \"}\"]\n</parameter>\n</function>\n</tool_call>",
            "Let me see.\n",
            vec![paris(), add()],
        ),
        ("<function=get_weather><parameter=city>Paris, France</parameter></function>\n</tool_call>", "", vec![paris()]),
        ("<tool_call><function=now></function></tool_call> Done.", "Done.", vec![call("now", json!({}))]),
        (
            "<tool_call>\n<function=add>\n<parameter=note>\nfirst\n\n</parameter> is </function>\nan end\n</parameter>\n</tool_call>",
            "",
            vec![call("add", json!({ "note": "first\n\n</parameter> is </function>\nan end" }))],
        ),
        // Cut off before its end.
        ("<tool_call>{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Paris, France\"}}", "", vec![paris()]),
        // Llama 3.1 and 3.2.
        ("{\"name\": \"get_weather\", \"parameters\": {\"city\": \"Paris, France\"}}", "", vec![paris()]),
        (
            "<|python_tag|>{\"type\": \"function\", \"name\": \"get_weather\", \"parameters\": {\"city\": \"Paris, France\"}}; \
             {\"name\": \"add\", \"parameters\": {\"a\": 1, \"b\": [2, \"}\"]}}",
            "",
            vec![paris(), add()],
        ),
        // Mistral 7B v0.3, and from Mistral Small 3.1 on.
        (
            "[TOOL_CALLS] [{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Paris, France\"}, \"id\": \"VvvODy9mT\"}]",
            "",
            vec![with_id("VvvODy9mT", paris())],
        ),
        (
            "[TOOL_CALLS]get_weather[ARGS]{\"city\": \"Paris, France\"}[TOOL_CALLS]add[CALL_ID]123456789[ARGS]{\"a\": 1, \"b\": [2, \"}\"]}",
            "",
            vec![paris(), with_id("123456789", add())],
        ),
        // Others, with the arguments as a text in one of them.
        (
            "[{\"type\": \"function\", \"function\": {\"name\": \"get_weather\", \"arguments\": \"{\\\"city\\\": \\\"Paris, France\\\"}\"}},\n\
             {\"name\": \"add\", \"arguments\": {\"a\": 1, \"b\": [2, \"}\"]}}]",
            "",
            vec![paris(), add()],
        ),
        ("<tool_call>{\"name\": \"now\"}</tool_call> Done.", "Done.", vec![call("now", json!({}))]),
    ]
}

/// Answers that are words, whatever they look like.
const WORDS: [&str; 22] = [
    "Hello!",
    "",
    " \n",
    "a < b, [TOOL_CALLS",
    "<tool_call>\nnot JSON\n</tool_call>",
    "<tool_call>{\"name\": 5, \"arguments\": {}}</tool_call>",
    "<tool_call>{\"name\": \"add\", \"arguments\": {\"a\": ",
    "<tool_call>{\"name\": \"add\", \"arguments\": [1]}</tool_call>",
    "<function=someone_else><parameter=a>1</parameter></function>",
    "<function=add> adds</function>",
    "<tool_call><function=add><parameter=>1</parameter></function></tool_call>",
    "<tool_call>\n<function=add>\n<parameter=a>\n1\n</parameter>\n",
    "<tool_call>\n<function=add>\n1\n</function>\n</tool_call>",
    "<tool_call><function=add><parameter=a>1</function></tool_call>",
    "<|python_tag|>print(2 + 2)",
    "[TOOL_CALLS] I do not know {\"a\": 1}",
    "[TOOL_CALLS]get_weather[ARGS]",
    "{\"answer\": {\"name\": \"add\", \"arguments\": {}}}",
    "{\"name\": \"someone else\", \"arguments\": {}}",
    "{\"name\": \"add\"}",
    "[1, 2, {\"name\": \"add\", \"arguments\": {}}]",
    "It is {\"name\": \"add\", \"arguments\": {}}",
];

fn in_pieces(answer: &str, size: usize) -> (String, Vec<ToolCall>) {
    let mut reader = ToolCallReader::new(&tools());
    let letters: Vec<char> = answer.chars().collect();
    let mut pieces: Vec<Piece> =
        letters.chunks(size).flat_map(|part| reader.push(&part.iter().collect::<String>())).collect();
    pieces.extend(reader.finish());
    let (mut text, mut calls) = (String::new(), Vec::new());
    for piece in pieces {
        match piece {
            Piece::Text(words) => text.push_str(&words),
            Piece::Call(call) => calls.push(call),
        }
    }
    (text, calls)
}

#[test]
fn calls_are_found_in_every_format_however_they_come() {
    for (answer, text, calls) in formats() {
        assert_eq!(tool_calls(answer, &tools()), (text.to_string(), calls.clone()), "{answer}");
        for size in [1, 2, 3, 7, 20] {
            assert_eq!(in_pieces(answer, size), (text.to_string(), calls.clone()), "{answer} by {size}");
        }
    }
}

#[test]
fn what_is_no_call_stays_as_it_is() {
    for answer in WORDS {
        for size in [1, 2, 5, 100] {
            assert_eq!(in_pieces(answer, size), (answer.to_string(), vec![]), "{answer:?} by {size}");
        }
    }
    // Nobody offered a tool: JSON is an answer.
    let answer = "{\"name\": \"add\", \"arguments\": {}}";
    assert_eq!(tool_calls(answer, &[]), (answer.into(), vec![]));
}

#[test]
fn only_what_may_begin_a_call_is_held_back() {
    let text = |text: &str| vec![Piece::Text(text.into())];
    let mut reader = ToolCallReader::new(&tools());
    assert_eq!(reader.push("It is <"), text("It is "));
    assert_eq!(reader.push("b> and <tool"), text("<b> and "));
    assert_eq!(reader.push("_call>{\"name\": \"add\", \"arguments\": {}}"), []);
    assert_eq!(reader.push("</tool_call> so"), [Piece::Call(call("add", json!({}))), Piece::Text("so".into())]);
    assert_eq!(reader.finish(), []);
    let mut reader = ToolCallReader::new(&tools());
    assert_eq!(reader.push("<tool_call>\n<func"), []);
    assert_eq!(reader.push("tional> is"), text("<tool_call>\n<functional> is"));
    assert_eq!(reader.push(" <function=ad"), text(" "));
    assert_eq!(reader.push("apt>"), text("<function=adapt>"));
    let mut reader = ToolCallReader::new(&tools());
    // Another first key: an answer in JSON, which need not wait for its end.
    assert_eq!(reader.push("{\"answer\": [1"), text("{\"answer\": [1"));
}

proptest! {
    #[test]
    fn pieces_make_no_difference_and_no_answer_is_an_error(parts in prop::collection::vec(prop::sample::select(vec![
        "<tool_call>", "</tool_call>", "[TOOL_CALLS]", "<|python_tag|>", "[ARGS]", "{", "}", "[", "]", "\"", "\\", ":", ",", ";", " ",
        "<function=", "</function>", "<parameter=", "</parameter>", ">", "<function=add>", "\n",
        "\"name\"", "\"arguments\"", "add", "{\"name\": \"add\", \"arguments\": {}}", "ä", "<", "1",
    ]), 0..14), size in 1usize..9) {
        let answer = parts.concat();
        let whole = tool_calls(&answer, &tools());
        prop_assert_eq!(&in_pieces(&answer, size), &whole);
        if whole.1.is_empty() {
            prop_assert_eq!(whole.0, answer);
        }
    }
}
