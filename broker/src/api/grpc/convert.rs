//! Wire messages and the broker's values, both ways. Pure.

use std::time::Duration;

use tidings_proto::v1;

use crate::api::draft::Content;
use crate::broker::Published;
use crate::close::CloseReason;
use crate::control::{Missed, Outcome, Reached};
use crate::error::{Error, ErrorCode, Result};
use crate::log::{Cursor, CursorText, Entry, Gap, Slot};
use crate::message::{ChannelName, Draft, EventName, Headers, Payload, PublishId};
use crate::presence::{Counts, Notice, User};

/// What a publish asks for.
pub(super) enum Asked {
    /// One message to one channel.
    One(Draft),
    /// The same message to several; each name stands for itself.
    Several(Vec<Result<Draft>>),
}

/// Reads a publish.
pub(super) fn asked(request: &v1::PublishRequest, channels_max: usize) -> Result<Asked> {
    match (request.channel.is_empty(), request.channels.len()) {
        (true, 0) => Err(Error::invalid("no channel is given: set `channel`, or `channels` for several")),
        (false, 0) => Ok(Asked::One(whole_content(request)?.for_channel(ChannelName::parse(&request.channel)?))),
        (false, _) => Err(Error::invalid("give `channel` or `channels`, not both")),
        (true, count) if count > channels_max => {
            Err(Error::new(ErrorCode::TooLarge, format!("a publish goes to at most {channels_max} channels, this one to {count}")))
        }
        (true, _) => {
            // What is wrong with the message is wrong for every channel: told once, for the whole call.
            let content = whole_content(request)?;
            let for_each = |name: &String| Ok(content.clone().for_channel(ChannelName::parse(name)?));
            Ok(Asked::Several(request.channels.iter().map(for_each).collect()))
        }
    }
}

/// The words of a publish, but for its headers and for several channels, which few have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Words<'a> {
    pub(super) channel: &'a str,
    pub(super) data: &'a [u8],
    pub(super) content_type: &'a str,
    pub(super) event: &'a str,
    pub(super) id: &'a str,
    pub(super) retry_id: &'a [u8],
    pub(super) ttl_ms: u64,
}

impl<'a> From<&'a v1::PublishRequest> for Words<'a> {
    fn from(request: &'a v1::PublishRequest) -> Self {
        let v1::PublishRequest { channel, data, content_type, event, id, retry_id, ttl_ms, .. } = request;
        Self { channel, data, content_type, event, id, retry_id, ttl_ms: *ttl_ms }
    }
}

/// Reads a publish to one channel, without headers.
pub(super) fn plain(words: &Words<'_>) -> Result<Draft> {
    Ok(content(words)?.for_channel(ChannelName::parse(words.channel)?))
}

fn whole_content(request: &v1::PublishRequest) -> Result<Content> {
    let content = content(&request.into())?;
    Ok(Content { headers: Headers::parse(&request.headers)?, ..content })
}

fn content(words: &Words<'_>) -> Result<Content> {
    Ok(Content {
        id: publish_id(words)?,
        event: given(words.event).map(EventName::parse).transpose()?,
        payload: Payload::new(words.data, given(words.content_type))?,
        headers: Headers::default(),
        ttl: (words.ttl_ms > 0).then(|| Duration::from_millis(words.ttl_ms)),
    })
}

fn publish_id(words: &Words<'_>) -> Result<Option<PublishId>> {
    if let Some(id) = given(words.id) {
        return PublishId::keyed(id).map(Some);
    }
    if words.retry_id.is_empty() {
        return Ok(None);
    }
    let bytes: [u8; 16] = words
        .retry_id
        .try_into()
        .map_err(|_| Error::invalid(format!("`retry_id` has exactly 16 bytes, this one has {}", words.retry_id.len())))?;
    Ok(Some(PublishId::Retry(u128::from_be_bytes(bytes))))
}

/// A string field as proto3 means it: empty is absent.
pub(super) fn given(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// Reads a cursor; empty is absent.
pub(super) fn cursor(text: &str) -> Result<Option<Cursor>> {
    Ok(given(text).map(Cursor::parse).transpose()?)
}

/// What became of a publish.
pub(super) fn result(published: &Published) -> v1::PublishResult {
    v1::PublishResult {
        channel: published.channel.as_str().to_owned(),
        offset: published.offset,
        cursor: (*published.cursor()).to_owned(),
        id: published.id.text(&mut [0; 32]).to_owned(),
        copies: published.copies,
        duplicate: published.duplicate,
        results: Vec::new(),
    }
}

/// A message.
pub(super) fn message(entry: &Entry) -> v1::Message {
    message_at(entry, &entry.cursor())
}

/// A message for a listener that goes on from this cursor behind it.
pub(super) fn message_at(entry: &Entry, cursor: &str) -> v1::Message {
    v1::Message {
        channel: entry.channel.to_string(),
        offset: entry.offset,
        cursor: cursor.to_owned(),
        id: entry.id.to_string(),
        event: entry.event.as_ref().map_or_else(String::new, |event| event.as_str().to_owned()),
        data: entry.payload.bytes().clone(),
        content_type: entry.payload.content_type().unwrap_or_default().to_owned(),
        headers: entry.headers.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        time_ms: entry.accepted.unix_ms,
    }
}

/// A gap for a listener.
pub(super) fn gap(channel: &ChannelName, gap: &Gap) -> v1::Gap {
    let oldest = CursorText::of(Slot::of(channel), gap.oldest).to_string();
    v1::Gap { channel: channel.to_string(), reason: gap.reason.as_str().to_owned(), oldest }
}

/// That a backend ended a subscription.
pub(super) fn unsubscribed(channel: &ChannelName) -> v1::Unsubscribed {
    v1::Unsubscribed {
        channel: channel.to_string(),
        code: CloseReason::Unsubscribed.as_str().to_owned(),
        message: "a backend ended this subscription".to_owned(),
    }
}

/// What became of an order.
pub(super) fn outcome(outcome: Outcome) -> v1::ControlResult {
    let ended = outcome.ended();
    let reached = |Reached { node, done }| v1::NodeReached { node, ended: done.ended, pending: done.pending };
    let missed = |Missed { node, why }| v1::NodeMissed { node, reason: why };
    v1::ControlResult {
        ended,
        reached: outcome.reached.into_iter().map(reached).collect(),
        missed: outcome.missed.into_iter().map(missed).collect(),
        until: outcome.until.unwrap_or_default(),
    }
}

/// What a listener is told of others.
pub(super) fn notice(channel: &ChannelName, notice: Notice) -> v1::Presence {
    let all = notice.here.is_some();
    let users = notice.here.unwrap_or(notice.joined);
    v1::Presence {
        channel: channel.to_string(),
        counts: Some(counts(notice.counts)),
        counts_only: notice.counts_only,
        all,
        users: users.iter().map(user).collect(),
        left: notice.left.iter().map(ToString::to_string).collect(),
    }
}

/// How many are on a channel.
pub(super) fn counts(counts: Counts) -> v1::PresenceCounts {
    v1::PresenceCounts { users: counts.users, anonymous: counts.anonymous, connections: counts.connections }
}

/// A user on a channel.
pub(super) fn user(user: &User) -> v1::PresenceUser {
    let info = user.info.as_deref().unwrap_or_default().to_owned();
    v1::PresenceUser { user: user.name.to_string(), info, connections: user.connections }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(request: &v1::PublishRequest) -> Error {
        asked(request, 2).err().unwrap()
    }

    fn to(channel: &str) -> v1::PublishRequest {
        v1::PublishRequest { channel: channel.into(), ..Default::default() }
    }

    fn one(request: &v1::PublishRequest) -> Draft {
        match asked(request, 2).unwrap() {
            Asked::One(draft) => draft,
            Asked::Several(_) => panic!("one channel was named"),
        }
    }

    #[test]
    fn empty_fields_are_absent() {
        let draft = one(&to("news"));
        assert!(draft.id.is_none() && draft.event.is_none() && draft.ttl.is_none() && draft.payload.content_type().is_none());
    }

    #[test]
    fn a_retry_id_has_sixteen_bytes_and_yields_to_an_id() {
        let retry = v1::PublishRequest { retry_id: vec![7; 16].into(), ..to("news") };
        assert_eq!(one(&retry).id, Some(PublishId::Retry(u128::from_be_bytes([7; 16]))));
        let keyed = v1::PublishRequest { id: "mine".into(), ..retry };
        assert_eq!(one(&keyed).id, Some(PublishId::keyed("mine").unwrap()));
        for wrong in [1, 15, 17] {
            let error = refusal(&v1::PublishRequest { retry_id: vec![7; wrong].into(), ..to("news") });
            assert!(error.message.contains("16 bytes"), "{error}");
        }
    }

    #[test]
    fn a_publish_names_one_channel_or_several_and_not_too_many() {
        let several = |channels: &[&str]| v1::PublishRequest { channels: channels.iter().map(ToString::to_string).collect(), ..to("") };
        assert_eq!(refusal(&to("")).code, ErrorCode::InvalidRequest);
        assert_eq!(refusal(&v1::PublishRequest { channel: "a".into(), ..several(&["b"]) }).code, ErrorCode::InvalidRequest);
        assert_eq!(refusal(&several(&["a", "b", "c"])).code, ErrorCode::TooLarge);
        let Ok(Asked::Several(drafts)) = asked(&several(&["", "b"]), 2) else { panic!("two channels were named") };
        assert_eq!(drafts.iter().map(Result::is_ok).collect::<Vec<_>>(), [false, true]);
    }

    #[test]
    fn a_payload_that_is_wrong_is_wrong_for_all_channels_at_once() {
        let request = v1::PublishRequest {
            channels: vec!["a".into(), "b".into()],
            data: "{".into(),
            content_type: "application/json".into(),
            ..to("")
        };
        assert_eq!(refusal(&request).code, ErrorCode::InvalidRequest);
    }
}
