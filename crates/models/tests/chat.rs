//! Chat renderings against transformers (`oracles/tokenizer.py`), and templates that fail.

use headwise_models::chat::{ChatTemplate, ChatTemplateError, Message};
use headwise_models::gguf::Gguf;
use headwise_models::pull;
use headwise_models::tokenizer::{Encode, Tokenizer};

const GOLDEN: &str = include_str!("golden/tokenizer_chat.json");

#[test]
fn chat_renderings_equal_transformers() {
    let golden: serde_json::Value = serde_json::from_str(GOLDEN).unwrap();
    let conversations: Vec<Vec<Message>> = serde_json::from_value(golden["conversations"].clone()).unwrap();
    let rows = golden["rows"].as_array().unwrap();
    assert!(rows.len() >= 30);
    for row in rows {
        let name = row["template"].as_str().unwrap();
        let source = golden["templates"][name].as_str().unwrap();
        let template = ChatTemplate::new(source, "<s>", "</s>").unwrap();
        let messages = &conversations[row["conversation"].as_u64().unwrap() as usize];
        let text = template.render(messages, &[], row["add_generation_prompt"].as_bool().unwrap()).unwrap();
        assert_eq!(text, row["text"].as_str().unwrap(), "{name}, conversation {}", row["conversation"]);
    }
}

#[test]
fn the_template_in_a_gguf_file_is_rendered_and_continued() {
    let path = std::env::var_os("HEADWISE_SMOLLM2").map(Into::into);
    let Some(path) = path.or_else(|| pull::resolve("smollm2-135m").ok()) else {
        eprintln!("SKIPPED: smollm2-135m is not on this machine; run `headwise pull smollm2-135m`");
        return;
    };
    let gguf = Gguf::open(path).unwrap();
    let tokenizer = Tokenizer::from_gguf(gguf.metadata()).unwrap();
    let template = ChatTemplate::from_gguf(gguf.metadata(), &tokenizer).unwrap();
    let messages = [Message::system("Be brief."), Message::user("Hi")];
    let text = template.render_continuation(&messages, "The answer is").unwrap();
    assert!(text.ends_with("<|im_end|>\n<|im_start|>assistant\nThe answer is"), "{text}");
    let ids = tokenizer.encode(&text, Encode::TEMPLATE).unwrap();
    assert_eq!(ids.iter().filter(|&&id| id == 1).count(), 3);
}

#[test]
fn a_template_that_refuses_fails_or_never_ends_is_an_error() {
    let render = |source: &str| ChatTemplate::new(source, "", "")?.render(&[Message::user("Hi")], &[], true);
    let refused = render("{{ raise_exception('roles must alternate') }}");
    assert!(matches!(&refused, Err(ChatTemplateError::Refused(text)) if text == "roles must alternate"), "{refused:?}");
    assert!(matches!(render("{% for %}"), Err(ChatTemplateError::Syntax(_))));
    assert!(matches!(render("{{ messages.nothing.here }}"), Err(ChatTemplateError::Failed(_))));
    let endless = "{% for a in range(9999) %}{% for b in range(9999) %}{{ b }}{% endfor %}{% endfor %}";
    assert!(matches!(render(endless), Err(ChatTemplateError::Failed(_))));
    assert!(matches!(render("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"), Err(ChatTemplateError::Failed(_))));
    assert!(matches!(render("{{ strftime_now('%!') }}"), Err(ChatTemplateError::Failed(_))));
    let year = render("{{ strftime_now('%Y') }}").unwrap();
    assert!(year.len() == 4 && year.bytes().all(|digit| digit.is_ascii_digit()), "{year}");
    let empty = ChatTemplate::new("x", "", "").unwrap().render(&[], &[], true);
    assert!(matches!(empty, Err(ChatTemplateError::NoMessages)));
}

/// A template of the kind that Hermes and Qwen have.
const HERMES: &str = "\
{%- if tools %}
    {{- '<|im_start|>system\\n# Tools\\n<tools>' }}
    {%- for tool in tools %}
        {{- '\\n' ~ tool | tojson }}
    {%- endfor %}
    {{- '\\n</tools><|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == 'tool' %}
        {{- '<|im_start|>user\\n<tool_response>\\n' ~ message.content ~ '\\n</tool_response><|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>' ~ message.role }}
        {%- if message.content %}
            {{- '\\n' ~ message.content }}
        {%- endif %}
        {%- for call in message.tool_calls %}
            {%- if call.function is defined %}
                {%- set call = call.function %}
            {%- endif %}
            {{- '\\n<tool_call>\\n{\"name\": \"' ~ call.name ~ '\", \"arguments\": ' ~ call.arguments | tojson ~ '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}";

#[test]
fn tools_and_calls_reach_the_template() {
    let tool = serde_json::json!({ "type": "function", "function": { "name": "weather", "parameters": { "type": "object" } } });
    let conversation = r#"[
        { "role": "user", "content": "Rain?" },
        { "role": "assistant", "content": null, "tool_calls":
          [{ "id": "c1", "type": "function", "function": { "name": "weather", "arguments": "{\"city\": \"Köln\"}" } }] },
        { "role": "tool", "tool_call_id": "c1", "name": "weather", "content": "no" }
    ]"#;
    let messages: Vec<Message> = serde_json::from_str(conversation).unwrap();
    assert_eq!(messages[1].tool_calls[0].arguments, serde_json::json!({ "city": "Köln" }));
    let template = ChatTemplate::new(HERMES, "", "").unwrap();
    assert!(template.knows_tools());
    let text = template.render(&messages, &[tool], false).unwrap();
    assert_eq!(
        text,
        "<|im_start|>system\n# Tools\n<tools>\n\
         {\"type\": \"function\", \"function\": {\"name\": \"weather\", \"parameters\": {\"type\": \"object\"}}}\n\
         </tools><|im_end|>\n<|im_start|>user\nRain?<|im_end|>\n<|im_start|>assistant\n<tool_call>\n\
         {\"name\": \"weather\", \"arguments\": {\"city\": \"Köln\"}}\n</tool_call><|im_end|>\n\
         <|im_start|>user\n<tool_response>\nno\n</tool_response><|im_end|>\n"
    );
    // Without tools, `tools` is none; what a message does not have is not defined.
    let plain =
        "{{ tools is none }}{% for m in messages %} {{ m.name is defined }} {{ 'tool_calls' in m }}{% endfor %}";
    let text = ChatTemplate::new(plain, "", "").unwrap().render(&messages, &[], false).unwrap();
    assert_eq!(text.to_lowercase(), "true false false false true true false");
    assert!(!ChatTemplate::new("{% for m in messages %}{{ m.tools }}{% endfor %}", "", "").unwrap().knows_tools());
    // Written again, calls are what they were, with their arguments as an object.
    let again: Vec<Message> = serde_json::from_value(serde_json::to_value(&messages).unwrap()).unwrap();
    assert_eq!(again, messages);
}

#[test]
fn variables_of_a_request_reach_the_template_but_not_in_the_place_of_the_conversation() {
    const THINKS: &str = "{%- set ns = namespace(count=0) %}{%- for m in messages %}{%- set ns.count = ns.count + 1 %}{{ m.content }}\n{%- endfor %}\
        {%- if documents %}[{{ documents | length }}]{%- endif %}{{ strftime_now('%Y') | length }}{{ range(ns.count) | list }}{{ bos_token }}\
        {%- if add_generation_prompt and enable_thinking is defined and enable_thinking is false %}<think></think>{%- endif %}";
    let template = ChatTemplate::new(THINKS, "<s>", "").unwrap();
    assert_eq!(template.variables(), ["documents", "enable_thinking"]);
    let render = |variables: serde_json::Value| {
        template.render_with(&[Message::user("Hi")], &[], true, variables.as_object().unwrap()).unwrap()
    };
    let plain = template.render(&[Message::user("Hi")], &[], true).unwrap();
    assert_eq!(render(serde_json::json!({})), plain);
    assert_eq!(render(serde_json::json!({ "enable_thinking": true })), plain);
    assert_eq!(render(serde_json::json!({ "enable_thinking": false })), format!("{plain}<think></think>"));
    assert!(render(serde_json::json!({ "documents": [{ "text": "a" }, { "text": "b" }] })).contains("[2]"));
    let others = serde_json::json!({ "messages": [], "tools": 1, "add_generation_prompt": false, "bos_token": "x", "eos_token": "x" });
    assert_eq!(render(others), plain);
}
