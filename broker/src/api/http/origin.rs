//! Keeps foreign pages from changing things through a visitor's browser.

use http::header::{self, HeaderValue};
use http::request::Parts;

use crate::error::{Error, ErrorCode, Result};

/// Lets a state-changing request pass when it comes from no page at all, from a page of this very host, or from an
/// origin in `allowed` (exact, or `*`).
///
/// A broker on loopback needs no key, but any web page can make the browser on that machine send it a POST; the browser
/// then says `Origin` (RFC 6454, section 7), and that is what gives it away. Programs send none.
///
/// # Errors
/// `permission_denied` for any other origin, the opaque `null` included.
pub fn check_origin(parts: &Parts, allowed: &[String]) -> Result<()> {
    check(parts, allowed, "change anything")
}

/// The same for a request that opens a connection which speaks both ways: no browser keeps a page from reading it.
///
/// # Errors
/// As [`check_origin`].
pub fn check_origin_of_connection(parts: &Parts, allowed: &[String]) -> Result<()> {
    check(parts, allowed, "connect")
}

fn check(parts: &Parts, allowed: &[String], what: &str) -> Result<()> {
    let mut given = parts.headers.get_all(header::ORIGIN).iter();
    let Some(origin) = given.next() else { return Ok(()) };
    let (Ok(origin), None) = (origin.to_str(), given.next()) else { return Err(refused("?", what)) };
    if allowed.iter().any(|known| known == "*" || known.eq_ignore_ascii_case(origin)) || is_same(origin, parts) {
        return Ok(());
    }
    Err(refused(origin, what))
}

fn is_same(origin: &str, parts: &Parts) -> bool {
    let Some((scheme, origin)) = origin.split_once("://") else { return false };
    let Some(host) = host(parts) else { return false };
    // The scheme is not compared: behind a proxy that ends TLS we cannot know ours.
    without_default_port(scheme, origin).eq_ignore_ascii_case(without_default_port(scheme, host))
}

/// The request's own authority: of the target where it has one (HTTP/2, absolute form), else the one `Host`.
fn host(parts: &Parts) -> Option<&str> {
    if let Some(authority) = parts.uri.authority() {
        return Some(authority.as_str());
    }
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    match (hosts.next().map(HeaderValue::to_str), hosts.next()) {
        (Some(Ok(host)), None) => Some(host),
        _ => None,
    }
}

fn without_default_port<'a>(scheme: &str, authority: &'a str) -> &'a str {
    let port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return authority,
    };
    authority.strip_suffix(port).unwrap_or(authority)
}

fn refused(origin: &str, what: &str) -> Error {
    Error::new(
        ErrorCode::PermissionDenied,
        format!("pages of the origin `{origin}` may not {what} here; list it under `cors.origins` if they should"),
    )
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn passes(host: Option<&str>, target: &str, origin: Option<&str>) -> bool {
        let mut request = Request::post(target);
        if let Some(host) = host {
            request = request.header("host", host);
        }
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        check_origin(&request.body(()).unwrap().into_parts().0, &["https://app.example".to_owned()]).is_ok()
    }

    #[test]
    fn programs_and_our_own_pages_pass() {
        assert!(passes(Some("127.0.0.1:8000"), "/v1/publish", None));
        assert!(passes(Some("127.0.0.1:8000"), "/v1/publish", Some("http://127.0.0.1:8000")));
        assert!(passes(Some("LOCALHOST:8000"), "/v1/publish", Some("http://localhost:8000")));
        assert!(passes(Some("[::1]:8000"), "/v1/publish", Some("http://[::1]:8000")));
        assert!(passes(Some("push.example"), "/v1/publish", Some("https://push.example")));
        assert!(passes(Some("push.example:443"), "/v1/publish", Some("https://push.example")));
        assert!(passes(None, "http://push.example:8000/v1/publish", Some("http://push.example:8000")));
    }

    #[test]
    fn listed_origins_pass() {
        assert!(passes(Some("127.0.0.1:8000"), "/v1/publish", Some("https://app.example")));
        assert!(!passes(Some("127.0.0.1:8000"), "/v1/publish", Some("http://app.example")));
        let any = ["*".to_owned()];
        let parts = Request::post("/").header("origin", "null").body(()).unwrap().into_parts().0;
        assert!(check_origin(&parts, &any).is_ok());
    }

    #[test]
    fn foreign_pages_do_not() {
        for origin in [
            "http://evil.example",
            "null",
            "",
            "http://127.0.0.1:9000",
            "http://127.0.0.1",
            "file://",
            "http://127.0.0.1:8000.evil.example",
        ] {
            assert!(!passes(Some("127.0.0.1:8000"), "/v1/publish", Some(origin)), "{origin}");
        }
        assert!(!passes(None, "/v1/publish", Some("http://127.0.0.1:8000")));
        assert!(!passes(Some("push.example:443"), "/v1/publish", Some("http://push.example")));
    }

    #[test]
    fn two_origins_or_hosts_do_not() {
        let twice = |name| {
            Request::post("/").header("host", "a").header("origin", "http://a").header(name, "http://a").body(()).unwrap().into_parts().0
        };
        assert!(check_origin(&twice("origin"), &[]).is_err());
        assert!(check_origin(&twice("host"), &[]).is_err());
    }
}
