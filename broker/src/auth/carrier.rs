//! Where a request carries its credential: the `Authorization` header, `token=` or a signed address in the query, a cookie.
//! The first of these that is there counts; what a client says on purpose comes before what its browser adds by itself.

use std::borrow::Cow;

use http::header::{self, HeaderMap, HeaderValue};

use super::refusal::{Denied, Refusal};
use super::signed_url::SignedUrl;

/// What was found, not yet believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential<'a> {
    /// Nothing.
    None,
    /// A key or a token, of a header or of gRPC metadata.
    Bearer(&'a str),
    /// A token of the query.
    Query(Cow<'a, str>),
    /// A signed address.
    Url(SignedUrl),
    /// A token of the cookie, which a browser sends by itself.
    Cookie(&'a str),
}

impl<'a> Credential<'a> {
    /// Finds it in a request; `cookie` is the cookie's name, if one is looked for.
    ///
    /// # Errors
    /// When it is there in a form that cannot be read, or twice.
    pub fn of_request(headers: &'a HeaderMap, query: Option<&'a str>, cookie: Option<&str>) -> Result<Self, Refusal> {
        if let Some(bearer) = bearer(headers)? {
            return Ok(Self::Bearer(bearer));
        }
        if let Some(found) = query.map_or(Ok(None), of_query)? {
            return Ok(found);
        }
        match cookie.map_or(Ok(None), |name| of_cookie(headers, name))? {
            Some(token) => Ok(Self::Cookie(token)),
            None => Ok(Self::None),
        }
    }
}

/// What follows `Bearer` (RFC 6750, section 2.1), whose case does not matter (RFC 9110, section 11.1). Another scheme is
/// somebody else's, such as a proxy's on the way.
///
/// # Errors
/// When the header is there twice or is no text, or nothing follows.
pub fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let Some(first) = given.next() else { return Ok(None) };
    let (Ok(text), None) = (first.to_str(), given.next()) else {
        return Err(Refusal::new(Denied::Malformed, "send one Authorization header, in ASCII"));
    };
    let text = text.trim();
    let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Ok(None);
    }
    match rest.trim_start() {
        "" => Err(Refusal::new(Denied::Malformed, "nothing follows `Bearer`: send `Authorization: Bearer <token or key>`")),
        rest => Ok(Some(rest)),
    }
}

fn of_query(query: &str) -> Result<Option<Credential<'_>>, Refusal> {
    // Most queries have neither, and none should be decoded twice for it.
    if !(query.contains("token") || query.contains("signature") || query.contains('%')) {
        return Ok(None);
    }
    let (mut token, mut url, mut is_signed) = (None, SignedUrl::default(), false);
    let mut once = Vec::with_capacity(4);
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let place = match &*name {
            "channel" => {
                url.channels.push(value.into_owned());
                continue;
            }
            "token" if value.is_empty() => continue,
            "token" => {
                once.push("token");
                token = Some(value);
                continue;
            }
            "signature" => {
                is_signed = true;
                (&mut url.signature, "signature")
            }
            "key" => (&mut url.key, "key"),
            "expires" => (&mut url.expires, "expires"),
            "user" => (&mut url.user, "user"),
            _ => continue,
        };
        *place.0 = value.into_owned();
        once.push(place.1);
    }
    let is_twice = once.iter().enumerate().any(|(nth, name)| once[..nth].contains(name));
    if is_twice && (is_signed || token.is_some()) {
        return Err(Refusal::new(Denied::Malformed, "`token`, `key`, `expires`, `user` and `signature` stand once in an address"));
    }
    Ok(match token {
        Some(token) => Some(Credential::Query(token)),
        None => is_signed.then_some(Credential::Url(url)),
    })
}

/// The value of a cookie (RFC 6265, section 4.2). Two of the same name would be one of them planted by a neighbouring site.
fn of_cookie<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Refusal> {
    let pairs = headers.get_all(header::COOKIE).iter().map(HeaderValue::to_str).filter_map(Result::ok).flat_map(|text| text.split(';'));
    let mut values =
        pairs.filter_map(|pair| pair.trim().split_once('=')).filter(|(known, _)| *known == name).map(|(_, value)| value.trim_matches('"'));
    let first = values.next().filter(|value| !value.is_empty());
    match (first, values.any(|other| Some(other) != first)) {
        (_, true) => Err(Refusal::new(Denied::Malformed, "the token's cookie is there twice")),
        (first, false) => Ok(first),
    }
}

/// A query without its token, for those who refuse what they do not know.
#[must_use]
pub fn without_token(query: &str) -> Cow<'_, str> {
    let is_token = |pair: &str| pair.split('=').next() == Some("token");
    if !query.split('&').any(is_token) {
        return Cow::Borrowed(query);
    }
    query.split('&').filter(|pair| !is_token(pair)).collect::<Vec<_>>().join("&").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn found(pairs: &[(&'static str, &'static str)], query: &str) -> Result<String, Denied> {
        let headers = headers(pairs);
        let found = Credential::of_request(&headers, Some(query), Some("tidings"));
        found.map(|found| format!("{found:?}")).map_err(|why| why.cause)
    }

    #[test]
    fn what_is_said_on_purpose_comes_before_what_a_browser_adds() {
        let cookie = ("cookie", "a=1; tidings=c.o.k; b=2");
        assert_eq!(found(&[cookie, ("authorization", "BEARER  h.e.a ")], "token=q.u.e"), Ok("Bearer(\"h.e.a\")".into()));
        assert_eq!(found(&[cookie], "channel=a&token=q.u%2Ee"), Ok("Query(\"q.u.e\")".into()));
        assert_eq!(found(&[cookie], "channel=a&token="), Ok("Cookie(\"c.o.k\")".into()));
        assert_eq!(found(&[("cookie", "tidings2=x; xtidings=y")], ""), Ok("None".into()));
        assert_eq!(found(&[("authorization", "Basic dTpw")], ""), Ok("None".into()), "a proxy's");
    }

    #[test]
    fn what_is_there_twice_or_not_to_be_read_is_refused() {
        for pairs in [
            &[("authorization", "Bearer a"), ("authorization", "Bearer b")][..],
            &[("authorization", "Bearer ")],
            &[("authorization", "Bearer")],
            &[("cookie", "tidings=a; tidings=b")],
            &[("cookie", "tidings=a"), ("cookie", "tidings=b")],
        ] {
            assert_eq!(found(pairs, ""), Err(Denied::Malformed), "{pairs:?}");
        }
        assert_eq!(found(&[("cookie", "tidings=a"), ("cookie", "tidings=\"a\"")], ""), Ok("Cookie(\"a\")".into()));
        for query in ["token=a&token=b", "signature=a&signature=b", "key=a&key=b&signature=c", "%74oken=a&token=b"] {
            assert_eq!(found(&[], query), Err(Denied::Malformed), "{query}");
        }
    }

    #[test]
    fn a_signed_address_is_read_as_it_is_meant() {
        let headers = HeaderMap::new();
        let query = "channel=a%3Ab&signature=s&channel=c+d&key=k&expires=9&user=%C3%BC";
        let url = SignedUrl {
            key: "k".into(),
            expires: "9".into(),
            user: "ü".into(),
            channels: vec!["a:b".into(), "c d".into()],
            signature: "s".into(),
        };
        assert_eq!(Credential::of_request(&headers, Some(query), None), Ok(Credential::Url(url)));
    }

    #[test]
    fn a_query_loses_its_token_only() {
        assert_eq!(without_token("a=1&token=x&b=2"), "a=1&b=2");
        assert_eq!(without_token("tokens=1&a=token"), "tokens=1&a=token");
        assert_eq!(without_token("token"), "");
    }
}
