//! Which pages may do what through a visitor's browser: by their `Origin` (RFC 6454, section 7).
//!
//! A browser sends a visitor's cookies, and reaches what the visitor reaches, whoever's page makes it ask. It then says whose
//! page that is, and that is what gives it away. Programs say nothing.

use std::sync::Arc;

use http::header::{self, HeaderValue};
use http::request::Parts;

use super::refusal::{Denied, Refusal};

/// The origins that are allowed besides our own.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    listed: Arc<[Allowed]>,
    /// Our own is one of TLS.
    is_https: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Allowed {
    Any,
    Exact(Box<str>),
    /// Every name below a domain, at any depth: scheme with `://`, and the rest with its dot.
    Below(Box<str>, Box<str>),
}

impl Origins {
    /// From `*`, exact origins, and origins whose host begins with `*.`; our own besides, where the scheme counts if the listener speaks TLS
    /// itself (`is_https`): behind a proxy that ends TLS we cannot know it.
    #[must_use]
    pub fn new(origins: &[String], is_https: bool) -> Self {
        Self { listed: origins.iter().map(|origin| Allowed::read(origin)).collect(), is_https }
    }

    /// Whether any origin at all is allowed.
    #[must_use]
    pub fn has_any(&self) -> bool {
        self.listed.contains(&Allowed::Any)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    /// Whether this origin is listed, as a browser sends it.
    #[must_use]
    pub fn lists(&self, origin: &str) -> bool {
        self.listed.iter().any(|allowed| allowed.covers(origin))
    }

    /// Lets a request pass that changes something, or that opens a connection which speaks both ways (no browser keeps a page
    /// from reading that): when it comes from no page at all, from a page of this very host, or from an origin that is listed.
    /// With a credential that a browser sends by itself it must say so: then a browser sent it, and one that says nothing hides something.
    ///
    /// # Errors
    /// For any other origin, the opaque `null` included.
    pub fn check(&self, parts: &Parts, is_by_browser: bool, what: &str) -> Result<(), Refusal> {
        let mut given = parts.headers.get_all(header::ORIGIN).iter();
        let Some(origin) = given.next() else {
            if !is_by_browser {
                return Ok(());
            }
            let why =
                format!("who is known by a cookie may {what} only with an `Origin` header; send the token in `Authorization` otherwise");
            return Err(Refusal::new(Denied::Origin, why));
        };
        let (Ok(origin), None) = (origin.to_str(), given.next()) else { return Err(refused("?", what)) };
        // Whoever may read anything may not for that reason act in the name of every visitor.
        let is_listed = if is_by_browser {
            self.listed.iter().any(|allowed| *allowed != Allowed::Any && allowed.covers(origin))
        } else {
            self.lists(origin)
        };
        if is_listed || is_same(origin, parts, self.is_https) { Ok(()) } else { Err(refused(origin, what)) }
    }
}

impl Allowed {
    fn read(origin: &str) -> Self {
        match origin.split_once("://*.") {
            _ if origin == "*" => Self::Any,
            Some((scheme, rest)) => Self::Below(format!("{scheme}://").into(), format!(".{rest}").into()),
            None => Self::Exact(origin.into()),
        }
    }

    fn covers(&self, origin: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(known) => known.eq_ignore_ascii_case(origin),
            Self::Below(scheme, rest) => {
                let Some(host) = strip_prefix(origin, scheme) else { return false };
                // Something stands before the dot, and nothing but a host can: else `https://evil.example/.app.example`.
                strip_suffix(host, rest)
                    .is_some_and(|name| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)))
            }
        }
    }
}

fn strip_prefix<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

fn strip_suffix<'a>(text: &'a str, suffix: &str) -> Option<&'a str> {
    let (rest, tail) = text.split_at_checked(text.len().checked_sub(suffix.len())?)?;
    tail.eq_ignore_ascii_case(suffix).then_some(rest)
}

fn is_same(origin: &str, parts: &Parts, is_https: bool) -> bool {
    let Some((scheme, origin)) = origin.split_once("://") else { return false };
    let Some(host) = host(parts) else { return false };
    // A page that came in plain text may be anybody's who is on the way.
    if is_https && !scheme.eq_ignore_ascii_case("https") {
        return false;
    }
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
        _ if scheme.eq_ignore_ascii_case("http") => ":80",
        _ if scheme.eq_ignore_ascii_case("https") => ":443",
        _ => return authority,
    };
    authority.strip_suffix(port).unwrap_or(authority)
}

fn refused(origin: &str, what: &str) -> Refusal {
    let why = format!("pages of the origin `{origin}` may not {what} here; list it under `cors.origins` if they should");
    Refusal::new(Denied::Origin, why)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn origins(list: &[&str]) -> Origins {
        Origins::new(&list.iter().map(ToString::to_string).collect::<Vec<_>>(), false)
    }

    fn asked(host: Option<&str>, target: &str, origin: Option<&str>, is_by_browser: bool) -> bool {
        let mut request = Request::post(target);
        if let Some(host) = host {
            request = request.header("host", host);
        }
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        let parts = request.body(()).unwrap().into_parts().0;
        origins(&["https://app.example"]).check(&parts, is_by_browser, "change anything").is_ok()
    }

    fn passes(host: Option<&str>, target: &str, origin: Option<&str>) -> bool {
        asked(host, target, origin, false)
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
        let parts = Request::post("/").header("origin", "null").body(()).unwrap().into_parts().0;
        assert!(origins(&["*"]).check(&parts, false, "").is_ok());
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
        assert!(Origins::default().check(&twice("origin"), false, "").is_err());
        assert!(Origins::default().check(&twice("host"), false, "").is_err());
    }

    #[test]
    fn with_a_cookie_a_page_must_say_whose_it_is_and_any_is_not_enough() {
        assert!(!asked(Some("push.example"), "/", None, true));
        assert!(asked(Some("push.example"), "/", Some("https://push.example"), true));
        assert!(asked(Some("push.example"), "/", Some("https://app.example"), true));
        let parts = Request::post("/").header("origin", "https://evil.example").body(()).unwrap().into_parts().0;
        assert!(origins(&["*"]).check(&parts, true, "").is_err());
    }

    #[test]
    fn a_page_in_plain_text_is_none_of_a_listener_that_speaks_tls() {
        for (origin, passes) in [
            ("https://push.example", true),
            ("HTTPS://push.example:443", true),
            ("http://push.example", false),
            ("http://push.example:80", false),
            ("http://listed.example", true),
        ] {
            let own = Origins::new(&["http://listed.example".to_owned()], true);
            let parts =
                Request::post("/v1/publish").header("host", "push.example").header("origin", origin).body(()).unwrap().into_parts().0;
            assert_eq!(own.check(&parts, false, "change anything").is_ok(), passes, "{origin}");
            assert_eq!(own.check(&parts, true, "connect").is_ok(), passes, "{origin}");
        }
    }

    #[test]
    fn a_star_stands_for_names_below_a_domain_and_for_nothing_else() {
        let below = origins(&["https://*.app.example", "http://*.local:3000"]);
        for origin in ["https://a.app.example", "https://a.b.app.example", "HTTPS://A.App.Example", "http://x.local:3000"] {
            assert!(below.lists(origin), "{origin}");
        }
        for origin in [
            "https://app.example",
            "https://.app.example",
            "https://evilapp.example",
            "http://a.app.example",
            "https://a.app.example.evil.example",
            "https://evil.example/.app.example",
            "https://evil.example#.app.example",
            "https://user@a.app.example",
            "https://a.app.example:8443",
            "http://x.local",
            "null",
            "",
        ] {
            assert!(!below.lists(origin), "{origin}");
        }
    }
}
