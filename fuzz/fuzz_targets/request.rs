//! Bodies of requests: whatever comes, there is a request or an error that says what is wrong.

#![no_main]

use headwise_engine::cache::CachePolicy;
use headwise_serve::api::{GenerationRequest, Tools, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let body = bytes.to_vec().into();
    let strict = parse::<GenerationRequest>(&body, false);
    let lenient = parse::<GenerationRequest>(&body, true);
    assert!(strict.is_err() || lenient.is_ok(), "what is refused leniently is refused strictly");
    let Ok(request) = lenient else { return };
    let tools = Tools::new(request.tools.as_deref().unwrap_or_default(), request.tool_choice.as_ref());
    let errors = [
        request.answers().err(),
        request.most_tokens(Some(100)).err(),
        request.stops().err(),
        request.likeliest().err(),
        request.policy(&CachePolicy::full()).err(),
        tools.err(),
    ];
    for error in errors.into_iter().flatten() {
        let message = error.body()["error"]["message"].as_str().unwrap_or_default().to_owned();
        assert!(error.status().is_client_error() && !message.is_empty());
    }
});
