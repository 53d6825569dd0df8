//! A token's three parts (RFC 7515, section 7.1), taken apart and not yet believed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::super::refusal::{Denied, Refusal};

/// Longest `kid`.
const KID_BYTES_MAX: usize = 255;

/// What the header says. Of the many ways in which a header may offer a key of its own (`jku`, `jwk`, `x5u`, `x5c`) none is
/// read: a key is either configured or unknown.
#[derive(Debug, Deserialize)]
pub(super) struct Header {
    pub(super) alg: String,
    pub(super) kid: Option<String>,
    /// Extensions that must be understood; none is.
    crit: Option<IgnoredAny>,
}

/// A token in its parts.
#[derive(Debug)]
pub(super) struct Jws<'a> {
    pub(super) header: Header,
    /// What the signature is over.
    pub(super) signed: &'a [u8],
    pub(super) payload: Vec<u8>,
    pub(super) signature: Vec<u8>,
}

/// Whether this looks like a token at all, rather than an API key.
pub(in crate::auth) fn looks_like_one(text: &str) -> bool {
    text.bytes().filter(|byte| *byte == b'.').count() == 2
}

impl<'a> Jws<'a> {
    /// Takes a token apart. Base64 is read strictly, so that a token has one spelling only.
    pub(super) fn parse(token: &'a str, bytes_max: usize) -> Result<Self, Refusal> {
        if token.len() > bytes_max {
            return Err(Refusal::new(Denied::TooLarge, format!("a token has at most {bytes_max} bytes (tokens.bytes)")));
        }
        let parts: Vec<&str> = token.splitn(4, '.').collect();
        let [header, payload, signature] = parts[..] else {
            return Err(malformed("a token has three parts with a `.` between them"));
        };
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| malformed("the token's parts are base64url without padding"));
        let signed = &token.as_bytes()[..header.len() + 1 + payload.len()];
        let header: Header = object(&decode(header)?, "header")?;
        if header.crit.is_some() {
            return Err(malformed("the token's header asks for extensions (`crit`), of which none is known here"));
        }
        if header.kid.as_ref().is_some_and(|kid| kid.len() > KID_BYTES_MAX) {
            return Err(malformed("the token's `kid` is too long"));
        }
        Ok(Self { header, signed, payload: decode(payload)?, signature: decode(signature)? })
    }
}

/// Reads an object in which no member that is looked at stands twice: two readers must not see two different ones.
pub(super) fn object<'a, T: Deserialize<'a>>(bytes: &'a [u8], what: &str) -> Result<T, Refusal> {
    // The library would take an array for the fields in their order.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(malformed("the token's parts are objects of JSON"));
    }
    serde_json::from_slice(bytes).map_err(|why| {
        // It may quote a value, and the log is no place for what a token holds.
        let place = format!("line {}, column {}", why.line(), why.column());
        let kind = if why.is_data() { "does not say what is expected" } else { "is no JSON" };
        malformed(&format!("the token's {what} {kind} ({place})"))
    })
}

fn malformed(what: &str) -> Refusal {
    Refusal::new(Denied::Malformed, what.to_owned())
}
