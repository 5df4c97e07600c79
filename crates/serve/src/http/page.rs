//! The web page, which is a part of the program: `page/dist/index.html`, built from `page/src`.

use std::sync::LazyLock;

use axum::http::header;
use axum::response::{Html, IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

const PAGE: &str = include_str!("../../page/dist/index.html");

/// What the page may load: its own script and style, and answers of this server.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hashes = |tag: &str| -> String { contents(tag).map(|text| format!(" '{}'", hash(text))).collect() };
    format!(
        "default-src 'none'; script-src{}; style-src{}; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        hashes("script"),
        hashes("style")
    )
});

/// `GET /`
#[utoipa::path(get, path = "/", responses((status = 200, description = "The page", body = String, content_type = "text/html")))]
pub async fn page() -> Response {
    let headers = [
        (header::CONTENT_SECURITY_POLICY, POLICY.as_str()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, Html(PAGE)).into_response()
}

/// What stands between `<tag …>` and `</tag>`, wherever it does.
fn contents(tag: &str) -> impl Iterator<Item = &'static str> {
    let (open, close) = (format!("<{tag}"), format!("</{tag}>"));
    let mut rest = PAGE;
    std::iter::from_fn(move || {
        let start = rest.find(&open)?;
        let start = start + rest[start..].find('>')? + 1;
        let end = start + rest[start..].find(&close)?;
        let found = &rest[start..end];
        rest = &rest[end..];
        Some(found)
    })
}

fn hash(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_one_script_and_one_style_and_loads_nothing_else() {
        assert_eq!((contents("script").count(), contents("style").count()), (1, 1));
        assert!(POLICY.matches("sha256-").count() == 2, "{}", *POLICY);
        for outside in ["src=\"http", "href=\"http", "url(http", "@import"] {
            assert!(!PAGE.contains(outside), "{outside}");
        }
    }
}
