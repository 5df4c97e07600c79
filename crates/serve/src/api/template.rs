//! `chat_template_kwargs`: variables that a request sets in the model's chat template, as vLLM and llama.cpp's server take them.

use headwise_models::chat::ChatTemplate;
use serde_json::{Map, Value};

use super::ApiError;

/// Variables by name.
pub type Variables = Map<String, Value>;

/// Most variables.
const MOST: usize = 32;
/// Most bytes of all of them as JSON.
const MOST_BYTES: usize = 64 << 10;
/// The field.
const FIELD: &str = "chat_template_kwargs";

/// Refuses `variables` of which there are too many, or, unless `lenient`, one that `template` does not look at.
pub fn check(variables: &Variables, template: &ChatTemplate, lenient: bool) -> Result<(), ApiError> {
    if variables.len() > MOST {
        let message = format!("{} variables in {FIELD}: there may be {MOST}", variables.len());
        return Err(ApiError::parameter(FIELD, message));
    }
    let bytes: usize = variables.iter().map(|(name, value)| name.len() + value.to_string().len()).sum();
    if bytes > MOST_BYTES {
        let message = format!("the variables in {FIELD} have {bytes} bytes: they may have {MOST_BYTES}");
        return Err(ApiError::parameter(FIELD, message));
    }
    let read = template.variables();
    match variables.keys().find(|name| !lenient && !read.contains(name)) {
        None => Ok(()),
        Some(name) => {
            let known = match read {
                [] => "it looks at none that can be set".to_owned(),
                read => format!("it looks at {}", read.join(", ")),
            };
            let message = format!("the model's chat template does not look at `{name}`: {known}");
            Err(ApiError::unknown_field(&format!("{FIELD}.{name}"), message))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn variables_are_bounded_and_known() {
        let template =
            ChatTemplate::new("{{ messages[0].content }}{% if not thinks %}!{% endif %}{{ mood }}", "", "").unwrap();
        let check = |variables: Value, lenient| {
            let error = check(variables.as_object().unwrap(), &template, lenient).err();
            error.map(|error| error.body()["error"]["message"].as_str().unwrap().to_owned())
        };
        assert_eq!(check(json!({ "thinks": false, "mood": { "deep": [1, null] } }), false), None);
        assert!(check(json!({ "think": false }), false).unwrap().contains("`think`: it looks at mood, thinks"));
        assert_eq!(check(json!({ "think": false }), true), None);
        assert!(check(json!({ "messages": [] }), false).unwrap().contains("`messages`"));
        assert!(check(json!({ "mood": "x".repeat(MOST_BYTES) }), true).unwrap().contains("65542 bytes"));
        let many: Variables = (0..=MOST).map(|index| (index.to_string(), Value::Null)).collect();
        assert!(check(many.into(), true).unwrap().contains("33 variables"));
    }
}
