//! What every front's request has in common: channels, and from where.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;

use crate::auth::{Action, Pass, Refusal};
use crate::error::{Error, Result};
use crate::journal::SessionId;
use crate::log::Cursor;
use crate::message::ChannelName;
use crate::session::{Since, Starts};
use crate::wire::percent_decode;

/// Most newest messages a client may ask for; what a channel keeps is the real bound.
pub(super) const LAST_MAX: u32 = 1_000_000;

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

    /// Whether a parameter says yes: `1` or `true`.
    #[must_use]
    pub fn is_set(&self, name: &str) -> bool {
        matches!(self.get(name), Some("1" | "true"))
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

    /// From where: `resume` (what the client itself remembers) wins over `since=`, which wins over `last=`. One `since=` is
    /// for all channels; as many as there are channels are for each of them, in their order.
    ///
    /// # Errors
    /// `invalid_cursor` for a text that is no cursor, `invalid_request` for a bad `last` or another number of `since`.
    pub fn starts(&self, resume: Option<&str>) -> Result<Starts> {
        let last = self.number("last", 1, u64::from(LAST_MAX))?;
        if let Some(resume) = resume {
            return Ok(parse_since(resume)?.into());
        }
        let given: Vec<&str> = self.parameters.iter().filter(|(name, _)| name == "since").map(|(_, value)| value.as_str()).collect();
        match given[..] {
            [] | [""] => Ok(last.map_or(Since::Live, |count| Since::Last(count as u32)).into()),
            [since] => Ok(parse_since(since)?.into()),
            _ => self.pairs(&given),
        }
    }

    fn pairs(&self, given: &[&str]) -> Result<Starts> {
        if given.len() != self.channels.len() {
            return Err(Error::invalid(format!(
                "give one `since` for all channels or one for each, in their order: there are {} for {} channels",
                given.len(),
                self.channels.len()
            )));
        }
        let mut pairs: Vec<(ChannelName, Since)> = Vec::with_capacity(given.len());
        for (channel, since) in self.channels.iter().zip(given) {
            if pairs.iter().any(|(known, _)| known == channel) {
                return Err(Error::invalid("a channel with a `since` of its own is given twice"));
            }
            pairs.push((channel.clone(), parse_since(since)?));
        }
        Ok(Starts::Each(pairs))
    }
}

/// Whether the caller may listen to all of these, and look back where it asks for that. To resume is to listen.
///
/// # Errors
/// What the gate says against the first that it may not.
pub(super) fn may_listen(pass: &Pass, channels: &[ChannelName], starts: &Starts) -> Result<()> {
    channels.iter().try_for_each(|channel| may_listen_to(pass, channel, starts.of(channel)))
}

/// The same for one channel.
///
/// # Errors
/// As [`may_listen`].
pub(super) fn may_listen_to(pass: &Pass, channel: &ChannelName, since: &Since) -> Result<()> {
    pass.check(Action::Subscribe, channel)?;
    match since {
        Since::Earliest | Since::Last(_) => pass.check(Action::History, channel),
        Since::Live | Since::Cursor(_) => Ok(()),
    }
}

/// As [`may_listen_to`], for who has asked that before: it is not one more.
///
/// # Errors
/// The refusal, neither counted nor logged yet.
pub(super) fn may_still_listen_to(pass: &Pass, channel: &ChannelName, since: &Since) -> Result<(), Refusal> {
    pass.permit(Action::Subscribe, channel)?;
    match since {
        Since::Earliest | Since::Last(_) => pass.permit(Action::History, channel),
        Since::Live | Since::Cursor(_) => Ok(()),
    }
}

/// What a client says where it was: a cursor, `earliest` or `live`.
///
/// # Errors
/// `invalid_cursor`.
pub(super) fn parse_since(text: &str) -> Result<Since> {
    match text {
        "earliest" => Ok(Since::Earliest),
        "live" => Ok(Since::Live),
        text => Ok(Since::Cursor(Cursor::parse(text)?)),
    }
}

/// The header, and the parameter, by which a client says which session it goes on with, and is told.
pub(super) const SESSION: HeaderName = HeaderName::from_static("tidings-session");

/// The session that a request goes on with, or a new one.
///
/// # Errors
/// `invalid_request` for a name that is none.
pub(super) fn session(parts: &Parts) -> Result<SessionId> {
    Ok(session_asked(parts)?.unwrap_or_else(fresh_session))
}

/// The session that the client names, if it does.
///
/// # Errors
/// `invalid_request` when it is no name.
pub(super) fn session_asked(parts: &Parts) -> Result<Option<SessionId>> {
    let query = parts.uri.query().unwrap_or_default();
    let asked = query.split('&').find_map(|pair| pair.strip_prefix("session=")).filter(|value| !value.is_empty());
    match asked.or_else(|| header(&parts.headers, SESSION.as_str())) {
        None => Ok(None),
        Some(text) => SessionId::parse(text).map(Some).ok_or_else(|| Error::invalid("a `session` has 1 to 32 letters, digits, `-` or `_`")),
    }
}

/// A session that nobody had before.
pub(super) fn fresh_session() -> SessionId {
    SessionId::fresh(rand::random())
}

/// Tells the client its session.
pub(super) fn tell_session(session: SessionId, headers: &mut HeaderMap) {
    // Letters and digits: always a valid value.
    if let Ok(value) = HeaderValue::from_str(session.as_str()) {
        headers.insert(SESSION, value);
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
        assert_eq!(request.starts(None).unwrap(), Since::Earliest.into());
    }

    #[test]
    fn what_the_client_remembers_wins_over_since_and_since_over_last() {
        let starts = |query| Request::parse(query).unwrap().starts(None).unwrap();
        assert_eq!(starts("channel=a&since=earliest&last=5"), Since::Earliest.into());
        assert!(Request::parse("channel=a&since=earliest").unwrap().starts(Some("no cursor")).is_err());
        assert_eq!(starts("last=5"), Since::Last(5).into());
        assert_eq!(starts("since=live&last=5"), Since::Live.into());
        assert_eq!(starts("since=&last=5"), Since::Last(5).into(), "an empty parameter is none");
    }

    #[test]
    fn as_many_since_as_channels_are_pairs_in_their_order() {
        let [a, b] = ["a", "b"].map(|name| ChannelName::parse(name).unwrap());
        let starts = |query| Request::parse(query).unwrap().starts(None);
        let pairs = starts("since=earliest&channel=a&since=live&channel=b").unwrap();
        assert_eq!([pairs.of(&a), pairs.of(&b)], [&Since::Earliest, &Since::Live]);
        assert!(!pairs.is_live() && !pairs.has_cursor());
        let all = starts("channel=a&channel=b&since=earliest").unwrap();
        assert_eq!([all.of(&a), all.of(&b)], [&Since::Earliest; 2]);
        for query in [
            "channel=a&since=live&since=live",
            "channel=a&channel=b&channel=c&since=live&since=live",
            "channel=a&channel=a&since=live&since=earliest",
            "channel=a&channel=b&since=earliest&since=",
            "channel=a&channel=b&since=earliest&since=yesterday",
        ] {
            assert!(starts(query).is_err(), "{query}");
        }
    }

    #[test]
    fn bad_input_is_refused_with_words() {
        for query in ["channel=", "channel=%0a", "channel=%ff", "channel=%zz"] {
            assert!(Request::parse(query).is_err(), "{query}");
        }
        assert!(Request::parse("last=0").unwrap().starts(None).is_err());
        assert!(Request::parse("last=many").unwrap().starts(None).is_err());
    }
}
