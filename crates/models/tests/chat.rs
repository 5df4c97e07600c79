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
        let text = template.render(messages, row["add_generation_prompt"].as_bool().unwrap()).unwrap();
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
    let render = |source: &str| ChatTemplate::new(source, "", "")?.render(&[Message::user("Hi")], true);
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
    let empty = ChatTemplate::new("x", "", "").unwrap().render(&[], true);
    assert!(matches!(empty, Err(ChatTemplateError::NoMessages)));
}
