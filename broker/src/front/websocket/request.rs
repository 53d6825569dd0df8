//! What a client asks for: `{"id":…,"WHAT":{…}}`, one at a time.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::{Error, Result};
use crate::front::request::{LAST_MAX, parse_since};
use crate::message::ChannelName;
use crate::session::Since;

/// The largest whole number that JavaScript holds exactly.
const ID_MAX: u64 = (1 << 53) - 1;
/// Most of a parser's complaint that goes back; it may quote what was sent.
const COMPLAINT_CHARS_MAX: usize = 300;

/// One request.
#[derive(PartialEq)]
#[cfg_attr(test, derive(Debug))]
pub(in crate::front) struct Request<'a> {
    /// Comes back in the answer.
    pub(super) id: Option<u64>,
    pub(super) what: What<'a>,
}

/// What is asked for. Bodies that are the HTTP API's are left to it.
#[derive(PartialEq)]
#[cfg_attr(test, derive(Debug))]
pub(in crate::front) enum What<'a> {
    /// And whether to tell who comes and goes.
    Subscribe(ChannelName, Since, bool),
    Unsubscribe(ChannelName),
    Publish(&'a str),
    History(&'a str),
    Presence(&'a str),
    Auth(String),
    Ping,
}

/// A request that is none, and its id as far as that can be read.
#[derive(Debug)]
pub(in crate::front) struct Unread {
    pub(super) id: Option<u64>,
    pub(super) why: Error,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Outer<'a> {
    id: Option<u64>,
    #[serde(borrow)]
    subscribe: Option<&'a RawValue>,
    #[serde(borrow)]
    unsubscribe: Option<&'a RawValue>,
    #[serde(borrow)]
    publish: Option<&'a RawValue>,
    #[serde(borrow)]
    history: Option<&'a RawValue>,
    #[serde(borrow)]
    presence: Option<&'a RawValue>,
    #[serde(borrow)]
    auth: Option<&'a RawValue>,
    #[serde(borrow)]
    ping: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct OnlyId {
    id: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Subscribe {
    channel: String,
    since: Option<String>,
    last: Option<u32>,
    #[serde(default)]
    presence: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unsubscribe {
    channel: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Auth {
    token: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

impl<'a> Request<'a> {
    /// Reads one message of a client.
    pub(in crate::front) fn parse(text: &'a str) -> Result<Self, Unread> {
        let id_of = |id: Option<u64>| id.filter(|id| *id <= ID_MAX);
        let outer: Outer<'a> = object(text, "a request").map_err(|why| {
            let id = serde_json::from_str::<OnlyId>(text).ok().and_then(|known| id_of(known.id));
            Unread { id, why }
        })?;
        let id = id_of(outer.id);
        if id != outer.id {
            return Err(Unread { id: None, why: Error::invalid("`id` is a whole number from 0 to 2^53 - 1") });
        }
        what(&outer).map(|what| Self { id, what }).map_err(|why| Unread { id, why })
    }
}

fn what<'a>(outer: &Outer<'a>) -> Result<What<'a>> {
    match (outer.subscribe, outer.unsubscribe, outer.publish, outer.history, outer.presence, outer.auth, outer.ping) {
        (Some(body), None, None, None, None, None, None) => {
            let Subscribe { channel, since, last, presence } = object(body.get(), "`subscribe`")?;
            let since = match (since.as_deref(), last) {
                (None, None) => Since::Live,
                (Some(since), None) => parse_since(since)?,
                (None, Some(last)) if (1..=LAST_MAX).contains(&last) => Since::Last(last),
                (None, Some(_)) => return Err(Error::invalid(format!("`last` is a number from 1 to {LAST_MAX}"))),
                (Some(_), Some(_)) => return Err(Error::invalid("give `since` or `last`, not both")),
            };
            Ok(What::Subscribe(ChannelName::parse(&channel)?, since, presence))
        }
        (None, Some(body), None, None, None, None, None) => {
            let Unsubscribe { channel } = object(body.get(), "`unsubscribe`")?;
            Ok(What::Unsubscribe(ChannelName::parse(&channel)?))
        }
        (None, None, Some(body), None, None, None, None) => Ok(What::Publish(body.get())),
        (None, None, None, Some(body), None, None, None) => Ok(What::History(body.get())),
        (None, None, None, None, Some(body), None, None) => Ok(What::Presence(body.get())),
        (None, None, None, None, None, Some(body), None) => {
            // The library's complaint might quote the token.
            let Auth { token } = object(body.get(), "`auth`").map_err(|_| Error::invalid("`auth` is `{\"token\": \"…\"}`"))?;
            Ok(What::Auth(token))
        }
        (None, None, None, None, None, None, Some(body)) => {
            let Nothing {} = object(body.get(), "`ping`")?;
            Ok(What::Ping)
        }
        _ => {
            let asks = "`subscribe`, `unsubscribe`, `publish`, `history`, `presence`, `auth` and `ping`";
            Err(Error::invalid(format!("ask for exactly one of {asks}")))
        }
    }
}

/// Reads an object, and nothing else: the library would take an array for the fields in their order.
fn object<'a, T: Deserialize<'a>>(text: &'a str, what: &str) -> Result<T> {
    if !text.trim_ascii_start().starts_with('{') {
        return Err(Error::invalid(format!("{what} is an object of JSON")));
    }
    serde_json::from_str(text).map_err(|why| {
        let why: String = why.to_string().chars().take(COMPLAINT_CHARS_MAX).collect();
        Error::invalid(format!("{what} is an object of JSON: {why}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(name: &str) -> ChannelName {
        ChannelName::parse(name).unwrap()
    }

    #[test]
    fn every_request_is_understood() {
        for (text, id, what) in [
            (r#"{"id":1,"subscribe":{"channel":"a"}}"#, Some(1), What::Subscribe(channel("a"), Since::Live, false)),
            (
                r#"{"id":9007199254740991,"subscribe":{"channel":"a","last":7}}"#,
                Some(ID_MAX),
                What::Subscribe(channel("a"), Since::Last(7), false),
            ),
            (
                r#"{"subscribe":{"channel":"a","since":"earliest","last":null}}"#,
                None,
                What::Subscribe(channel("a"), Since::Earliest, false),
            ),
            (r#"{"subscribe":{"channel":"a","presence":true}}"#, None, What::Subscribe(channel("a"), Since::Live, true)),
            (r#"{"id":0,"subscribe":{"since":"live","channel":"a"}}"#, Some(0), What::Subscribe(channel("a"), Since::Live, false)),
            (r#" {"id":2,"unsubscribe":{"channel":"h\u00fc"}} "#, Some(2), What::Unsubscribe(channel("hü"))),
            (r#"{"id":3,"publish":{"channel":1}}"#, Some(3), What::Publish(r#"{"channel":1}"#)),
            (r#"{"id":4,"history":[]}"#, Some(4), What::History("[]")),
            (r#"{"id":7,"presence":{}}"#, Some(7), What::Presence("{}")),
            (r#"{"id":6,"auth":{"token":"a.b.c"}}"#, Some(6), What::Auth("a.b.c".to_owned())),
            (r#"{"id":5,"ping":{}}"#, Some(5), What::Ping),
        ] {
            assert_eq!(Request::parse(text).unwrap(), Request { id, what }, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_and_keeps_its_id() {
        for (text, id, word) in [
            ("", None, "an object"),
            ("[]", None, "an object"),
            ("{", None, "an object"),
            ("{\"id\":1", None, "EOF"),
            (r#"[1,{"channel":"a"},null,null,null,null,null]"#, None, "an object"),
            (r#"{"id":1}"#, Some(1), "exactly one"),
            (r#"{"id":1,"ping":{},"publish":{}}"#, Some(1), "exactly one"),
            (r#"{"id":1,"subscribe":null}"#, Some(1), "exactly one"),
            (r#"{"id":1,"colour":{}}"#, Some(1), "`colour`"),
            (r#"{"id":1,"ping":{"x":1}}"#, Some(1), "`x`"),
            (r#"{"id":1,"ping":[]}"#, Some(1), "`ping` is an object"),
            (r#"{"id":1,"subscribe":["a",null,null,false]}"#, Some(1), "`subscribe` is an object"),
            (r#"{"id":1,"subscribe":{}}"#, Some(1), "`channel`"),
            (r#"{"id":1,"subscribe":{"channel":""}}"#, Some(1), "empty"),
            (r#"{"id":1,"subscribe":{"channel":"a","since":"yesterday"}}"#, Some(1), "cursor"),
            (r#"{"id":1,"subscribe":{"channel":"a","since":"live","last":1}}"#, Some(1), "not both"),
            (r#"{"id":1,"subscribe":{"channel":"a","last":0}}"#, Some(1), "`last`"),
            (r#"{"id":1,"subscribe":{"channel":"a","last":-1}}"#, Some(1), "-1"),
            (r#"{"id":1,"auth":{"token":7}}"#, Some(1), "`auth` is"),
            (r#"{"id":1,"auth":"hunter2"}"#, Some(1), "`auth` is"),
            (r#"{"id":1,"unsubscribe":{"channel":"a","since":"live"}}"#, Some(1), "`since`"),
            (r#"{"id":9007199254740992,"ping":{}}"#, None, "`id`"),
            (r#"{"id":-1,"ping":{}}"#, None, "-1"),
            (r#"{"id":1.5,"ping":{}}"#, None, "1.5"),
            (r#"{"id":"1","ping":{}}"#, None, "string"),
            (r#"{"id":1,"id":2,"ping":{}}"#, None, "duplicate"),
        ] {
            let unread = Request::parse(text).unwrap_err();
            assert_eq!(unread.id, id, "{text}");
            assert!(unread.why.message.contains(word), "{text}: {}", unread.why);
        }
        let long = format!(r#"{{"id":1,"{}":1}}"#, "x".repeat(100_000));
        assert!(Request::parse(&long).unwrap_err().why.message.len() < 500);
    }
}
