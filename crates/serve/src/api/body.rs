//! Reading the body of a request: JSON with no field that is not known.

use axum::body::Bytes;
use serde::de::DeserializeOwned;

use super::ApiError;

/// The request in `body`. A value of the wrong type is refused with its path; so is an unknown field, unless `lenient`.
pub fn parse<T: DeserializeOwned>(body: &Bytes, lenient: bool) -> Result<T, ApiError> {
    let mut unknown = None;
    let mut json = serde_json::Deserializer::from_slice(body);
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(&mut json, &mut track);
    let mut note = |path: serde_ignored::Path<'_>| {
        // Options stand as a question mark in paths.
        unknown.get_or_insert_with(|| path.to_string().replace(".?", ""));
    };
    let read = T::deserialize(serde_ignored::Deserializer::new(tracked, &mut note));
    let read = read.and_then(|request| json.end().map(|()| request));
    let request = read.map_err(|error| {
        let path = track.path().to_string();
        match path.as_str() {
            "." => ApiError::invalid(format!("the request cannot be read: {error}")),
            path => ApiError::parameter(path, format!("`{path}` cannot be read: {error}")),
        }
    })?;
    match unknown.filter(|_| !lenient) {
        None => Ok(request),
        Some(field) => {
            let message = format!("`{field}` is not a field that this server knows (--lenient leaves such fields out)");
            Err(ApiError::unknown_field(&field, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Inner {
        #[allow(dead_code)]
        depth: usize,
    }

    #[derive(Debug, Deserialize)]
    struct Outer {
        inner: Vec<Inner>,
    }

    fn read(text: &'static str, lenient: bool) -> Result<Outer, ApiError> {
        parse(&Bytes::from_static(text.as_bytes()), lenient)
    }

    #[test]
    fn errors_name_the_place() {
        let message = |text| read(text, false).unwrap_err().body()["error"].clone();
        let wrong = message(r#"{"inner": [{"depth": 1}, {"depth": "two"}]}"#);
        assert_eq!(wrong["param"], "inner[1].depth");
        let unknown = message(r#"{"inner": [{"depth": 1, "width": 2}]}"#);
        assert_eq!((&unknown["param"], &unknown["code"]), (&"inner.0.width".into(), &"unknown_field".into()));
        for malformed in ["", "{", "[]", r#"{"inner": []} x"#, "\u{0}"] {
            assert_eq!(message(malformed)["type"], "invalid_request_error", "{malformed:?}");
        }
        assert_eq!(read(r#"{"inner": [{"depth": 1}], "more": 1}"#, true).unwrap().inner.len(), 1);
    }
}
