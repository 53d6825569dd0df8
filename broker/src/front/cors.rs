//! Cross-origin rules (WHATWG Fetch, "CORS protocol"): which pages of other origins may read what we answer.

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode};

use super::config::CorsConfig;
use crate::auth::origin::Origins;

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, DELETE, OPTIONS");
/// What pages may send: our own headers, and those that the usual EventSource stand-ins add.
const REQUEST_HEADERS: HeaderValue = HeaderValue::from_static(
    "Authorization, Content-Type, Last-Event-ID, Tidings-Session, Cache-Control, If-None-Match, Accept, X-Requested-With",
);
/// What pages may read besides the few that are always readable.
const RESPONSE_HEADERS: HeaderValue = HeaderValue::from_static("Tidings-Cursor, Tidings-Session, ETag, Retry-After, Date");

/// The rules of one node.
#[derive(Clone, Debug)]
pub struct Cors {
    origins: Origins,
    credentials: bool,
    max_age: HeaderValue,
}

impl Cors {
    /// The rules as configured; origins that no browser could send match nothing.
    #[must_use]
    pub fn new(config: &CorsConfig) -> Self {
        Self {
            origins: Origins::new(&config.origins, false),
            credentials: config.credentials,
            max_age: HeaderValue::from(config.max_age.as_secs()),
        }
    }

    /// Adds what a page of the request's origin needs to read the response; nothing for an origin that may not.
    pub fn apply(&self, request: &HeaderMap, response: &mut HeaderMap) {
        // The answer depends on the origin whenever some are allowed and some are not: caches must know.
        if !self.origins.has_any() && !self.origins.is_empty() {
            response.append(header::VARY, HeaderValue::from_static("Origin"));
        }
        let Some(allowed) = self.allowed(request) else { return };
        response.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        response.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, RESPONSE_HEADERS);
        if self.credentials && !self.origins.has_any() {
            response.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }

    /// The answer to a preflight; `None` when the request is none.
    #[must_use]
    pub fn preflight<B>(&self, request: &Request<B>) -> Option<Response<Bytes>> {
        let is_preflight = request.method() == Method::OPTIONS
            && request.headers().contains_key(header::ORIGIN)
            && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        if !is_preflight {
            return None;
        }
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        self.apply(request.headers(), headers);
        if headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS);
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
        }
        Some(response)
    }

    fn allowed(&self, request: &HeaderMap) -> Option<HeaderValue> {
        let origin = request.get(header::ORIGIN)?;
        if self.origins.has_any() {
            return Some(HeaderValue::from_static("*"));
        }
        origin.to_str().is_ok_and(|text| self.origins.lists(text)).then(|| origin.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(config: &CorsConfig, origin: &'static str) -> HeaderMap {
        let mut request = HeaderMap::new();
        request.insert(header::ORIGIN, HeaderValue::from_static(origin));
        let mut response = HeaderMap::new();
        Cors::new(config).apply(&request, &mut response);
        response
    }

    #[test]
    fn only_listed_origins_may_read() {
        let config = CorsConfig { origins: vec!["https://app.example".into()], credentials: true, ..CorsConfig::default() };
        let allowed = answered(&config, "https://app.example");
        assert_eq!(allowed[header::ACCESS_CONTROL_ALLOW_ORIGIN], "https://app.example");
        assert_eq!(allowed[header::ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
        assert_eq!(allowed[header::VARY], "Origin");
        for other in ["https://evil.example", "http://app.example", "https://app.example.evil.example", "null"] {
            let refused = answered(&config, other);
            assert!(!refused.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN), "{other}");
            assert_eq!(refused[header::VARY], "Origin");
        }
    }

    #[test]
    fn a_star_never_goes_with_credentials() {
        let config = CorsConfig { origins: vec!["*".into()], credentials: true, ..CorsConfig::default() };
        let allowed = answered(&config, "https://any.example");
        assert_eq!(allowed[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        assert!(!allowed.contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS));
    }

    #[test]
    fn without_a_list_nobody_is_named() {
        assert!(answered(&CorsConfig::default(), "https://app.example").is_empty());
    }
}
