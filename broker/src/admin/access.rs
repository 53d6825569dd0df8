//! Who may use the admin API: who holds an admin key. Without any it is closed, but for a `dev` broker on loopback.

use http::header::{self, HeaderMap, HeaderValue};
use subtle::ConstantTimeEq as _;

use super::config::AdminKey;
use crate::auth::config::KeyHash;
use crate::error::{Error, ErrorCode, Result};

/// Decides who may. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Access {
    keys: std::sync::Arc<[KeyHash]>,
    open: bool,
}

impl Access {
    /// These keys; `open`: without any, everyone who reaches the listener may.
    #[must_use]
    pub fn new(keys: &[AdminKey], open: bool) -> Self {
        Self { keys: keys.iter().map(|key| key.sha256).collect(), open }
    }

    /// Whether nobody is asked for a key.
    #[must_use]
    pub(super) fn is_open(&self) -> bool {
        self.open && self.keys.is_empty()
    }

    /// Whether the request may.
    ///
    /// # Errors
    /// `permission_denied` where there are no keys at all, else `unauthenticated`.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<()> {
        if self.is_open() {
            return Ok(());
        }
        if self.keys.is_empty() {
            let what = "the admin API is closed: no admin key is configured; add one under `admin.keys` (`tidings key NAME` makes one)";
            return Err(Error::new(ErrorCode::PermissionDenied, what));
        }
        let mut given = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(Ok(value)), None) = (given.next().map(HeaderValue::to_str), given.next()) else {
            return Err(refused("an admin key is needed: send `Authorization: Bearer <key>`"));
        };
        // The scheme's case does not matter (RFC 9110, section 11.1).
        let key = value.trim().split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, key)| key.trim_start());
        let Some(key) = key else { return Err(refused("an admin key is needed: send `Authorization: Bearer <key>`")) };
        let hash = KeyHash::of(key.as_bytes());
        // With every one and in constant time: how long it takes tells nothing about how close a guess was.
        let found = self.keys.iter().fold(subtle::Choice::from(0), |found, known| found | known.0.ct_eq(&hash.0));
        if found.into() { Ok(()) } else { Err(refused("the admin key is unknown; `admin.keys` lists the hashes of those that are")) }
    }
}

fn refused(message: &'static str) -> Error {
    Error::new(ErrorCode::Unauthenticated, message)
}

/// Refuses a change that a foreign page asks for: a browser on this machine could be made to, where no key is needed.
///
/// # Errors
/// `permission_denied` for another origin, `invalid_request` for a body that is not said to be JSON.
pub(super) fn check_change(headers: &HeaderMap) -> Result<()> {
    if let Some(origin) = headers.get(header::ORIGIN) {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let is_own =
            origin.to_str().is_ok_and(|origin| ["http://", "https://"].iter().any(|scheme| origin.strip_prefix(scheme) == Some(host)));
        if !is_own || host.is_empty() {
            return Err(Error::new(ErrorCode::PermissionDenied, "pages of other origins may change nothing here"));
        }
    }
    // No page of another origin can say so without asking first, and is not answered when it asks.
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if content_type.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json")) {
        Ok(())
    } else {
        Err(Error::invalid("send `Content-Type: application/json`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn code(access: &Access, pairs: &[(&'static str, &str)]) -> Option<ErrorCode> {
        access.check(&headers(pairs)).err().map(|error| error.code)
    }

    #[test]
    fn without_keys_it_is_closed_unless_it_is_said_to_be_open() {
        assert_eq!(code(&Access::new(&[], false), &[("authorization", "Bearer x")]), Some(ErrorCode::PermissionDenied));
        assert_eq!(code(&Access::new(&[], true), &[]), None);
    }

    #[test]
    fn with_keys_one_of_them_is_needed_however_open_it_would_be() {
        let key = |name: &str| AdminKey { name: name.into(), sha256: KeyHash::of(name.as_bytes()) };
        let access = Access::new(&[key("one"), key("two")], true);
        for right in ["Bearer one", "bearer  two"] {
            assert_eq!(code(&access, &[("authorization", right)]), None, "{right}");
        }
        for wrong in ["", "one", "Basic one", "Bearer", "Bearer ", "Bearer three"] {
            assert_eq!(code(&access, &[("authorization", wrong)]), Some(ErrorCode::Unauthenticated), "{wrong}");
        }
        assert_eq!(code(&access, &[]), Some(ErrorCode::Unauthenticated));
        assert_eq!(code(&access, &[("authorization", "Bearer one"), ("authorization", "Bearer one")]).unwrap(), ErrorCode::Unauthenticated);
    }

    #[test]
    fn changes_come_from_our_own_page_or_from_no_page_and_are_json() {
        let json = ("content-type", "application/json; charset=utf-8");
        let host = ("host", "127.0.0.1:8002");
        for fine in
            [&[json, host][..], &[json, host, ("origin", "http://127.0.0.1:8002")], &[json, host, ("origin", "https://127.0.0.1:8002")]]
        {
            assert!(check_change(&headers(fine)).is_ok(), "{fine:?}");
        }
        for foreign in ["http://evil.example", "null", "http://127.0.0.1:8000", "127.0.0.1:8002", "http://127.0.0.1:8002.evil.example"] {
            assert!(check_change(&headers(&[json, host, ("origin", foreign)])).is_err(), "{foreign}");
        }
        assert!(check_change(&headers(&[json, ("origin", "http://")])).is_err());
        for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""] {
            assert!(check_change(&headers(&[host, ("content-type", kind)])).is_err(), "{kind}");
        }
    }
}
