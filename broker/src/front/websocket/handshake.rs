//! The opening handshake, the server's half (RFC 6455, section 4.2).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode, Version};
use sha1::{Digest as _, Sha1};

use super::codec::{Agreed, negotiate};
use crate::error::Error;

/// The one subprotocol: messages of JSON text.
pub const PROTOCOL: &str = "tidings.v1.json";
/// The version of the RFC, and the only one there ever was.
const VERSION: HeaderValue = HeaderValue::from_static("13");
const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
const UPGRADE: HeaderValue = HeaderValue::from_static("Upgrade");
/// What a server shows it has understood (section 1.3).
const KEY_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A request that may become a WebSocket, and what was agreed upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade {
    accept: String,
    /// The client asked for [`PROTOCOL`]. If it asked for others only, it is answered without one, and may then leave.
    pub has_protocol: bool,
    /// Compression, if there is any.
    pub deflate: Option<Agreed>,
}

/// Why a request cannot become a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It asks for none, or in a version of HTTP that cannot.
    NoUpgrade,
    /// Another version of the protocol.
    OtherVersion,
    /// `Sec-WebSocket-Key` is not 16 bytes of base64, or not there exactly once.
    BadKey,
}

impl Upgrade {
    /// Reads a request. `window_bits_min` is what [`negotiate`] takes; `None` agrees to no compression.
    ///
    /// # Errors
    /// Why it cannot be.
    pub fn read(parts: &Parts, window_bits_min: Option<u8>) -> Result<Self, Refusal> {
        let headers = &parts.headers;
        let asks = has_token(headers, header::CONNECTION, "upgrade") && has_token(headers, header::UPGRADE, "websocket");
        if parts.method != Method::GET || parts.version != Version::HTTP_11 || !asks {
            return Err(Refusal::NoUpgrade);
        }
        if single(headers, header::SEC_WEBSOCKET_VERSION) != Some(&VERSION) {
            return Err(Refusal::OtherVersion);
        }
        let key = single(headers, header::SEC_WEBSOCKET_KEY).ok_or(Refusal::BadKey)?;
        if !STANDARD.decode(key).is_ok_and(|nonce| nonce.len() == 16) {
            return Err(Refusal::BadKey);
        }
        let accept = STANDARD.encode(Sha1::new().chain_update(key).chain_update(KEY_SUFFIX).finalize());
        let has_protocol = lists(headers, header::SEC_WEBSOCKET_PROTOCOL).any(|protocol| protocol == PROTOCOL);
        let offers = headers.get_all(header::SEC_WEBSOCKET_EXTENSIONS).iter().filter_map(|value| value.to_str().ok());
        let deflate = window_bits_min.and_then(|window_bits_min| negotiate(offers, window_bits_min));
        Ok(Self { accept, has_protocol, deflate })
    }

    /// The headers of the answer, whose status is 101.
    #[must_use]
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(header::UPGRADE, WEBSOCKET);
        headers.insert(header::CONNECTION, UPGRADE);
        let mut insert = |name, value: &str| {
            // Base64, and words of our own: always valid.
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        };
        insert(header::SEC_WEBSOCKET_ACCEPT, &self.accept);
        if self.has_protocol {
            insert(header::SEC_WEBSOCKET_PROTOCOL, PROTOCOL);
        }
        if let Some(deflate) = self.deflate {
            insert(header::SEC_WEBSOCKET_EXTENSIONS, &deflate.header());
        }
        headers
    }
}

impl Refusal {
    /// The answer that says why, and with which version it would work (RFC 6455, section 4.4; RFC 9110, section 15.5.22).
    #[must_use]
    pub fn response(self, version: Version) -> Response<Bytes> {
        let (status, sentence) = match self {
            Self::NoUpgrade => {
                (StatusCode::UPGRADE_REQUIRED, "this path speaks WebSocket: open it over HTTP/1.1 with `Upgrade: websocket`")
            }
            Self::OtherVersion => (StatusCode::UPGRADE_REQUIRED, "only version 13 of WebSocket (RFC 6455) is spoken here"),
            Self::BadKey => (StatusCode::BAD_REQUEST, "`Sec-WebSocket-Key` must be there once, as 16 bytes in base64"),
        };
        let mut response = crate::front::error_response(&Error::invalid(sentence));
        *response.status_mut() = status;
        // HTTP/2 has no such headers (RFC 9113, section 8.2.2).
        if status == StatusCode::UPGRADE_REQUIRED && version < Version::HTTP_2 {
            let headers = response.headers_mut();
            headers.insert(header::UPGRADE, WEBSOCKET);
            headers.insert(header::CONNECTION, UPGRADE);
            headers.insert(header::SEC_WEBSOCKET_VERSION, VERSION);
        }
        response
    }
}

/// The value of a header that is there exactly once.
fn single(headers: &HeaderMap, name: header::HeaderName) -> Option<&HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// Whether a list of words, spread over any number of headers, has this one, in any case.
fn has_token(headers: &HeaderMap, name: header::HeaderName, token: &str) -> bool {
    lists(headers, name).any(|known| known.eq_ignore_ascii_case(token))
}

fn lists(headers: &HeaderMap, name: header::HeaderName) -> impl Iterator<Item = &str> {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: [(&str, &str); 4] = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    /// The usual request with headers added, or taken away by an empty value, or replaced.
    fn read(changes: &[(&str, &str)]) -> Result<Upgrade, Refusal> {
        let mut request = http::Request::builder().version(Version::HTTP_11);
        let kept = USUAL.iter().filter(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
        for (name, value) in kept.chain(changes).filter(|(_, value)| !value.is_empty()) {
            request = request.header(*name, *value);
        }
        Upgrade::read(&request.body(()).unwrap().into_parts().0, Some(15))
    }

    #[test]
    fn the_example_of_the_rfc_is_accepted() {
        let headers = read(&[]).unwrap().headers();
        assert_eq!(headers["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!((&headers["upgrade"], &headers["connection"]), (&WEBSOCKET, &UPGRADE));
        assert!(!headers.contains_key("sec-websocket-protocol") && !headers.contains_key("sec-websocket-extensions"));
    }

    #[test]
    fn protocol_and_compression_are_answered_when_asked_for() {
        let asked = [("sec-websocket-protocol", "chat, tidings.v1.json"), ("sec-websocket-extensions", "permessage-deflate")];
        let headers = read(&asked).unwrap().headers();
        assert_eq!(headers["sec-websocket-protocol"], PROTOCOL);
        assert!(headers["sec-websocket-extensions"].to_str().unwrap().starts_with("permessage-deflate; server_no"));
        assert!(!read(&[("sec-websocket-protocol", "chat, superchat")]).unwrap().has_protocol);
    }

    #[test]
    fn half_a_handshake_is_refused_with_what_would_help() {
        for (change, refusal, status) in [
            (("connection", ""), Refusal::NoUpgrade, 426),
            (("connection", "keep-alive"), Refusal::NoUpgrade, 426),
            (("upgrade", ""), Refusal::NoUpgrade, 426),
            (("upgrade", "h2c"), Refusal::NoUpgrade, 426),
            (("sec-websocket-version", ""), Refusal::OtherVersion, 426),
            (("sec-websocket-version", "8"), Refusal::OtherVersion, 426),
            (("sec-websocket-key", ""), Refusal::BadKey, 400),
            (("sec-websocket-key", "c2hvcnQ="), Refusal::BadKey, 400),
            (("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ"), Refusal::BadKey, 400),
            (("sec-websocket-key", "dGhlIHNhbXBsZSBub25j!!=="), Refusal::BadKey, 400),
        ] {
            assert_eq!(read(&[change]), Err(refusal), "{change:?}");
            let response = refusal.response(Version::HTTP_11);
            assert_eq!(response.status(), status);
            assert_eq!(response.headers().get("sec-websocket-version").is_some(), status == 426);
        }
        let twice = [("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="), ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")];
        assert_eq!(read(&twice), Err(Refusal::BadKey));
    }

    #[test]
    fn only_a_get_over_http_1_1_can_be_upgraded() {
        for (method, version) in [(Method::POST, Version::HTTP_11), (Method::GET, Version::HTTP_10), (Method::GET, Version::HTTP_2)] {
            let mut request = http::Request::builder().method(method).version(version);
            for (name, value) in USUAL {
                request = request.header(name, value);
            }
            assert_eq!(Upgrade::read(&request.body(()).unwrap().into_parts().0, None), Err(Refusal::NoUpgrade));
        }
    }
}
