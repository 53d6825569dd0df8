//! What every front's request has in common: channels, and from where.

use http::HeaderMap;

use crate::error::{Error, Result};
use crate::log::Cursor;
use crate::message::ChannelName;
use crate::session::Since;
use crate::wire::percent_decode;

/// Most newest messages a client may ask for; what a channel keeps is the real bound.
const LAST_MAX: u32 = 1_000_000;

/// How much one request may ask for.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Channels.
    pub channels: usize,
    /// Slots.
    pub slots: usize,
}

/// A front's request, parsed. Parameters it does not know are ignored: proxies and browsers' tools add their own.
#[derive(Debug, Default)]
pub struct Request {
    /// `channel=`, repeated; not empty.
    pub channels: Vec<ChannelName>,
    parameters: Vec<(String, String)>,
}

impl Request {
    /// Parses a query string (`+` is a space, percent-encoding is UTF-8).
    ///
    /// # Errors
    /// `invalid_request` for bad encoding or a channel name that is none.
    pub fn parse(query: &str) -> Result<Self> {
        let mut request = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = percent_decode(name)?.into_owned();
            let value = percent_decode(&value.replace('+', " "))?.into_owned();
            if name == "channel" {
                request.channels.push(ChannelName::parse(&value)?);
            } else {
                request.parameters.push((name, value));
            }
        }
        Ok(request)
    }

    /// The first value of a parameter that is not empty.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, value)| known == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// A parameter that is a whole number from `min` to `max`.
    ///
    /// # Errors
    /// `invalid_request` that names it and its bounds.
    pub fn number(&self, name: &str, min: u64, max: u64) -> Result<Option<u64>> {
        let Some(text) = self.get(name) else { return Ok(None) };
        match text.parse() {
            Ok(number) if (min..=max).contains(&number) => Ok(Some(number)),
            _ => Err(Error::invalid(format!("`{name}` is a number from {min} to {max}"))),
        }
    }

    /// From where: `resume` (what the client itself remembers) wins over `since=`, which wins over `last=`.
    ///
    /// # Errors
    /// `invalid_cursor` for a text that is no cursor, `invalid_request` for a bad `last`.
    pub fn since(&self, resume: Option<&str>) -> Result<Since> {
        let last = self.number("last", 1, u64::from(LAST_MAX))?;
        match resume.or_else(|| self.get("since")) {
            Some("earliest") => Ok(Since::Earliest),
            Some(text) => Ok(Since::Cursor(Cursor::parse(text)?)),
            None => Ok(last.map_or(Since::Live, |count| Since::Last(count as u32))),
        }
    }
}

/// The value of a header that is there once, is text and is not empty.
pub(super) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_repeat_and_unknown_parameters_are_ignored() {
        let request = Request::parse("channel=a&_=17&channel=b%3Ac+d&since=earliest").unwrap();
        assert_eq!(request.channels.iter().map(ChannelName::as_str).collect::<Vec<_>>(), ["a", "b:c d"]);
        assert_eq!(request.since(None).unwrap(), Since::Earliest);
    }

    #[test]
    fn what_the_client_remembers_wins_over_since_and_since_over_last() {
        let request = Request::parse("channel=a&since=earliest&last=5").unwrap();
        assert!(matches!(request.since(None), Ok(Since::Earliest)));
        assert!(request.since(Some("no cursor")).is_err());
        assert_eq!(Request::parse("last=5").unwrap().since(None).unwrap(), Since::Last(5));
        assert_eq!(Request::parse("since=&last=5").unwrap().since(None).unwrap(), Since::Last(5), "an empty parameter is none");
    }

    #[test]
    fn bad_input_is_refused_with_words() {
        for query in ["channel=", "channel=%0a", "channel=%ff", "channel=%zz"] {
            assert!(Request::parse(query).is_err(), "{query}");
        }
        assert!(Request::parse("last=0").unwrap().since(None).is_err());
        assert!(Request::parse("last=many").unwrap().since(None).is_err());
    }
}
