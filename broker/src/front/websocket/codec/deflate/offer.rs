//! What a client offers in `Sec-WebSocket-Extensions`, and what is taken of it (RFC 7692, section 7.1).

/// The smallest window that compressors can really use; 8 bits, which the RFC knows too, they cannot.
pub const WINDOW_BITS_MIN: u8 = 9;
/// The largest window, and the one that is meant when nothing is said.
pub const WINDOW_BITS_MAX: u8 = 15;

const NAME: &str = "permessage-deflate";

/// The compression that both sides use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// The window of the server's [`Deflater`](super::Deflater).
    pub window_bits: u8,
    says_window_bits: bool,
}

impl Agreed {
    /// The answer's `Sec-WebSocket-Extensions`. Both sides forget everything after each message, asked for or not: a server
    /// may demand either (sections 7.1.1.1 and 7.1.1.2).
    #[must_use]
    pub fn header(self) -> String {
        let mut header = format!("{NAME}; server_no_context_takeover; client_no_context_takeover");
        if self.says_window_bits {
            header.push_str(&format!("; server_max_window_bits={}", self.window_bits));
        }
        header
    }
}

/// Takes the first offer that can be kept; none is no error. `headers` are the values of all `Sec-WebSocket-Extensions`.
/// Whoever sends the same frame to everybody can only keep offers with the largest window: `window_bits_min` says so.
#[must_use]
pub fn negotiate<'a>(headers: impl IntoIterator<Item = &'a str>, window_bits_min: u8) -> Option<Agreed> {
    headers.into_iter().flat_map(|header| split(header, ',')).find_map(|offer| accept(offer, window_bits_min.max(WINDOW_BITS_MIN)))
}

/// One offer, such as `permessage-deflate; client_max_window_bits`. What is not understood declines it (section 7.1).
fn accept(offer: &str, window_bits_min: u8) -> Option<Agreed> {
    let mut parts = split(offer, ';').map(str::trim);
    if !parts.next()?.eq_ignore_ascii_case(NAME) {
        return None;
    }
    let mut seen = Vec::new();
    let mut agreed = Agreed { window_bits: WINDOW_BITS_MAX, says_window_bits: false };
    for part in parts {
        let (name, value) = part.split_once('=').map_or((part, None), |(name, value)| (name.trim_end(), Some(unquote(value.trim_start()))));
        if seen.contains(&name) {
            return None;
        }
        seen.push(name);
        match (name, value) {
            // Done anyway.
            ("server_no_context_takeover" | "client_no_context_takeover" | "client_max_window_bits", None) => {}
            // Any window of the client's is small enough to be read.
            ("client_max_window_bits", Some(value)) => drop(window_bits(value)?),
            ("server_max_window_bits", Some(value)) => {
                agreed = Agreed { window_bits: window_bits(value).filter(|bits| *bits >= window_bits_min)?, says_window_bits: true };
            }
            _ => return None,
        }
    }
    Some(agreed)
}

/// A decimal number from 8 to 15 without leading zeroes (section 7.1.2).
fn window_bits(value: &str) -> Option<u8> {
    let is_plain = !value.starts_with(['0', '+']);
    value.parse().ok().filter(|bits| is_plain && (8..=WINDOW_BITS_MAX).contains(bits))
}

fn unquote(value: &str) -> &str {
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}

/// Splits where the separator does not stand inside quotes.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    text.split(move |c| {
        is_quoted ^= c == '"';
        c == separator && !is_quoted
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(headers: &[&str]) -> Option<String> {
        negotiate(headers.iter().copied(), WINDOW_BITS_MIN).map(Agreed::header)
    }

    #[test]
    fn the_first_offer_that_can_be_kept_is_taken() {
        let plain = Some("permessage-deflate; server_no_context_takeover; client_no_context_takeover".to_owned());
        let with = |bits: u8| plain.as_ref().map(|plain| format!("{plain}; server_max_window_bits={bits}"));
        let cases = [
            ("permessage-deflate", plain.clone()),
            ("Permessage-Deflate ; client_max_window_bits", plain.clone()),
            ("permessage-deflate; client_max_window_bits=\"10\"; server_no_context_takeover; client_no_context_takeover", plain.clone()),
            ("permessage-deflate;server_max_window_bits=10", with(10)),
            ("permessage-deflate; server_max_window_bits=\"15\"", with(15)),
            ("x-webkit-deflate-frame, permessage-deflate", plain.clone()),
            ("x; a=\",permessage-deflate;\", permessage-deflate; server_max_window_bits = 12", with(12)),
            ("permessage-deflate; server_max_window_bits=8, permessage-deflate", plain.clone()),
            ("permessage-deflate; later=1, permessage-deflate; server_max_window_bits=9", with(9)),
        ];
        for (offer, expected) in cases {
            assert_eq!(answer(&[offer]), expected, "{offer}");
        }
        assert_eq!(answer(&["permessage-bzip2", "permessage-deflate"]), plain, "several headers are one list");
    }

    #[test]
    fn an_offer_that_is_not_understood_is_declined() {
        for offer in [
            "",
            "permessage",
            "permessage-deflate; unknown",
            "permessage-deflate;",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=",
            "permessage-deflate; server_max_window_bits=8",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=010",
            "permessage-deflate; server_max_window_bits=+9",
            "permessage-deflate; client_max_window_bits=7",
            "permessage-deflate; client_max_window_bits=x",
            "permessage-deflate; server_max_window_bits=10; server_max_window_bits=10",
        ] {
            assert_eq!(answer(&[offer]), None, "{offer}");
        }
    }

    #[test]
    fn who_shares_frames_keeps_only_the_largest_window() {
        assert_eq!(negotiate(["permessage-deflate; server_max_window_bits=14"], WINDOW_BITS_MAX), None);
        let agreed = negotiate(["permessage-deflate; server_max_window_bits=15"], WINDOW_BITS_MAX).unwrap();
        assert_eq!(agreed.window_bits, 15);
    }
}
