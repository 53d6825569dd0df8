//! How messages and results are written: lines of JSON for programs, lines of text for people.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::value::RawValue;
use tidings_sdk::{
    ChannelInfo, Controlled, Counts, Gap, Interruption, NodeMissed, NodeReached, Presence, Published, Received, Unsubscribed, User,
};

/// Where lines go, and for whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
    colours: bool,
}

/// The reader of the output is gone: nothing more to say.
#[derive(Debug)]
pub(crate) struct Gone;

impl Output {
    /// For people on a terminal, for programs elsewhere or when JSON is asked for.
    pub(crate) fn new(json: bool) -> Self {
        let terminal = std::io::stdout().is_terminal();
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let plain = is_set("NO_COLOR") || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { json: json || !terminal, colours: terminal && !plain }
    }

    /// Whether people read it.
    pub(crate) fn is_for_people(self) -> bool {
        !self.json
    }

    /// A message that was heard.
    pub(crate) fn message(self, message: &Received) -> Result<(), Gone> {
        if self.json { json(&MessageLine::of(message)) } else { line(&self.told(message)) }
    }

    /// A gap.
    pub(crate) fn gap(self, gap: &Gap) -> Result<(), Gone> {
        if self.json {
            let Gap { channel, reason, oldest, .. } = gap;
            return json(&serde_json::json!({ "gap": { "channel": channel, "reason": reason, "oldest": oldest } }));
        }
        let told = format!("messages of {} are missing here ({})", visible(&gap.channel), visible(&gap.reason));
        line(&self.paint(RED, &told))
    }

    /// An interruption: one that the broker announced is a part of what it says, one that it did not is for people.
    pub(crate) fn interrupted(self, why: &Interruption) -> Result<(), Gone> {
        match &why.code {
            Some(code) if self.json => json(&serde_json::json!({ "close": { "code": code, "message": why.message, "retry": true } })),
            _ if self.json => {
                super::connection::say(format_args!("interrupted, coming back: {}", visible(&why.message)));
                Ok(())
            }
            _ => line(&self.paint(DIM, &format!("interrupted, coming back: {}", visible(&why.message)))),
        }
    }

    /// The end of an interruption.
    pub(crate) fn resumed(self) -> Result<(), Gone> {
        if self.json { Ok(()) } else { line(&self.paint(DIM, "back")) }
    }

    /// A channel that a backend ended the subscription to.
    pub(crate) fn unsubscribed(self, left: &Unsubscribed) -> Result<(), Gone> {
        let Unsubscribed { channel, message, .. } = left;
        if self.json {
            let error = serde_json::json!({ "code": "unsubscribed", "message": message, "retry": false });
            return json(&serde_json::json!({ "unsubscribed": { "channel": channel, "error": error } }));
        }
        line(&self.paint(RED, &format!("nothing of {} comes any more: {}", visible(channel), visible(message))))
    }

    /// What became of an order about clients; `what` is what ended.
    pub(crate) fn controlled(self, what: &str, done: &Controlled) -> Result<(), Gone> {
        let seconds = |moment: SystemTime| moment.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let until = done.until.map(seconds);
        if self.json {
            let reached =
                done.reached.iter().map(|one| serde_json::json!({ "node": one.node, "ended": one.ended, "pending": one.pending }));
            let missed = done.missed.iter().map(|one| serde_json::json!({ "node": one.node, "reason": one.reason }));
            let (reached, missed): (Vec<_>, Vec<_>) = (reached.collect(), missed.collect());
            let mut result = serde_json::json!({ "ended": done.ended, "reached": reached, "missed": missed });
            if let Some(until) = until {
                result["until"] = until.into();
            }
            return json(&result);
        }
        for NodeReached { node, ended, pending, .. } in &done.reached {
            let pending = if *pending > 0 { format!(", {pending} end as soon as they take anything") } else { String::new() };
            line(&format!("{}: {ended} {what}{pending}", self.paint(CYAN, &visible(node))))?;
        }
        for NodeMissed { node, reason, .. } in &done.missed {
            line(&self.paint(RED, &format!("{} was not reached: {}", visible(node), visible(reason))))?;
        }
        match until {
            Some(until) => line(&self.paint(DIM, &format!("refused until {until} (seconds since 1970)"))),
            None => Ok(()),
        }
    }

    /// A user who is on a channel.
    pub(crate) fn user(self, user: &User) -> Result<(), Gone> {
        if self.json {
            return json(&UserLine::of(user, Some(user.connections)));
        }
        let connections = match user.connections {
            0 => "expected back".to_owned(),
            1 => String::new(),
            several => format!("{several} connections"),
        };
        line(format!("{} {} {}", self.paint(CYAN, &visible(&user.user)), visible(&user.info), self.paint(DIM, &connections)).trim_end())
    }

    /// How many are on a channel.
    pub(crate) fn counts(self, channel: &str, counts: Counts) -> Result<(), Gone> {
        let Counts { users, anonymous, connections, .. } = counts;
        if self.json {
            let counts = serde_json::json!({ "users": users, "anonymous": anonymous, "connections": connections });
            return json(&serde_json::json!({ "counts": counts }));
        }
        let told = format!("on {}: {users} users, {anonymous} without a name, {connections} connections", visible(channel));
        line(&self.paint(DIM, &told))
    }

    /// Who is on a channel, or what changed of it.
    pub(crate) fn presence(self, told: &Presence) -> Result<(), Gone> {
        if self.json {
            let Counts { users, anonymous, connections, .. } = told.counts;
            let list: Vec<UserLine<'_>> = told.users.iter().map(|user| UserLine::of(user, None)).collect();
            let mut presence = serde_json::json!({
                "channel": told.channel, "users": users, "anonymous": anonymous, "connections": connections,
            });
            if told.counts_only {
                presence["counts_only"] = true.into();
            } else if told.all {
                presence["here"] = serde_json::json!(list);
            } else {
                presence["joined"] = serde_json::json!(list);
                presence["left"] = serde_json::json!(told.left);
            }
            return json(&serde_json::json!({ "presence": presence }));
        }
        let word = if told.all { "here" } else { "joined" };
        for user in &told.users {
            line(&format!("{} {}", self.paint(DIM, word), self.paint(CYAN, &visible(&user.user))))?;
        }
        for user in &told.left {
            line(&format!("{} {}", self.paint(DIM, "left"), self.paint(CYAN, &visible(user))))?;
        }
        self.counts(&told.channel, told.counts)
    }

    /// Where a message went.
    pub(crate) fn published(self, published: &Published) -> Result<(), Gone> {
        let Published { channel, offset, cursor, id, copies, duplicate } = published;
        if self.json {
            let result = PublishedLine { channel, offset: *offset, cursor, id, copies: *copies, duplicate: *duplicate };
            return json(&result);
        }
        let how = if *duplicate { "was there already" } else { "published" };
        line(&format!("{how}: {} {}", self.paint(CYAN, &visible(channel)), self.paint(DIM, &format!("#{offset}"))))
    }

    /// Channels, in columns for people; `is_first` of several pages.
    pub(crate) fn channels(self, channels: &[ChannelInfo], is_first: bool) -> Result<(), Gone> {
        if self.json {
            return channels.iter().try_for_each(|info| json(&ChannelLine::of(info)));
        }
        if is_first {
            line(&self.paint(DIM, &format!("{:>10} {:>10} {:>12} {:>10}  channel", "listeners", "kept", "bytes", "published")))?;
        }
        channels.iter().try_for_each(|info| {
            let ChannelInfo { channel, offset, messages, bytes, listeners, .. } = info;
            line(&format!("{listeners:>10} {messages:>10} {bytes:>12} {offset:>10}  {}", self.paint(CYAN, &visible(channel))))
        })
    }

    fn told(self, message: &Received) -> String {
        let mut told = String::new();
        let (time, place) = (clock(message.time), format!("#{}", message.offset));
        let channel = visible(&message.channel);
        let _ = write!(told, "{} {} {} ", self.paint(DIM, &time), self.paint(CYAN, &channel), self.paint(DIM, &place));
        if !message.event.is_empty() {
            let _ = write!(told, "{} ", self.paint(YELLOW, &visible(&message.event)));
        }
        match message.text() {
            Some(text) => told.push_str(&visible(text)),
            None => told.push_str(&self.paint(DIM, &format!("({} bytes that are no text)", message.data.len()))),
        }
        told
    }

    fn paint<'a>(self, colour: &str, text: &'a str) -> Cow<'a, str> {
        if self.colours { format!("\x1b[{colour}m{text}\x1b[0m").into() } else { text.into() }
    }
}

const DIM: &str = "2";
const RED: &str = "31";
const YELLOW: &str = "33";
const CYAN: &str = "36";

fn json(value: &impl Serialize) -> Result<(), Gone> {
    // Only a map with keys that are no text could fail.
    line(&serde_json::to_string(value).unwrap_or_default())
}

fn line(text: &str) -> Result<(), Gone> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).map_err(|_| Gone)
}

/// The time of day, UTC.
fn clock(time: SystemTime) -> String {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs() % 86_400;
    format!("{:02}:{:02}:{:02}Z", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

/// Text of others, fit for a terminal: what would move its cursor, change its colours or turn the direction of reading is
/// written out instead.
pub(super) fn visible(text: &str) -> Cow<'_, str> {
    let hides = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(hides) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if hides(c) { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown.into()
}

/// A message as `/stream` writes it.
#[derive(Serialize)]
struct MessageLine<'a> {
    channel: &'a str,
    offset: u64,
    cursor: &'a str,
    id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    event: &'a str,
    #[serde(flatten)]
    payload: Payload<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    content_type: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: &'a BTreeMap<String, String>,
    time: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Payload<'a> {
    #[serde(rename = "data")]
    Json(Box<RawValue>),
    #[serde(rename = "data")]
    Text(&'a str),
    Base64(String),
}

impl<'a> MessageLine<'a> {
    fn of(message: &'a Received) -> Self {
        let payload = match message.text() {
            Some(text) => compact(&message.content_type, text).map_or(Payload::Text(text), Payload::Json),
            None => Payload::Base64(STANDARD.encode(&message.data)),
        };
        let since = message.time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self {
            channel: &message.channel,
            offset: message.offset,
            cursor: &message.cursor,
            id: &message.id,
            event: &message.event,
            payload,
            content_type: &message.content_type,
            headers: &message.headers,
            time: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// A payload that is JSON, on one line. A line end in JSON stands between values, never inside one (RFC 8259, section 7).
fn compact(content_type: &str, text: &str) -> Option<Box<RawValue>> {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if essence != "application/json" && !essence.ends_with("+json") {
        return None;
    }
    RawValue::from_string(text.replace(['\n', '\r'], " ")).ok()
}

/// A channel as `/v1/channels` gives it.
#[derive(Serialize)]
struct ChannelLine<'a> {
    channel: &'a str,
    offset: u64,
    messages: u64,
    bytes: u64,
    listeners: u64,
    cursor: &'a str,
}

impl<'a> ChannelLine<'a> {
    fn of(info: &'a ChannelInfo) -> Self {
        let ChannelInfo { channel, offset, messages, bytes, listeners, cursor, .. } = info;
        Self { channel, offset: *offset, messages: *messages, bytes: *bytes, listeners: *listeners, cursor }
    }
}

/// A user as the presence of a channel lists it.
#[derive(Serialize)]
struct UserLine<'a> {
    user: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    info: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connections: Option<u32>,
}

impl<'a> UserLine<'a> {
    fn of(user: &'a User, connections: Option<u32>) -> Self {
        Self { user: &user.user, info: RawValue::from_string(user.info.clone()).ok(), connections }
    }
}

/// A result as `/v1/publish` gives it.
#[derive(Serialize)]
struct PublishedLine<'a> {
    channel: &'a str,
    offset: u64,
    cursor: &'a str,
    id: &'a str,
    copies: u32,
    duplicate: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_cannot_command_a_terminal() {
        assert_eq!(visible("plain – ünïcode"), "plain – ünïcode");
        assert_eq!(visible("a\x1b[31mred\nb\u{202e}c\u{9b}"), "a\\u{1b}[31mred\\nb\\u{202e}c\\u{9b}");
    }

    #[test]
    fn json_stays_json_and_on_one_line() {
        let compact = |text| compact("application/json; charset=utf-8", text).map(|json| json.to_string());
        assert_eq!(compact("{\n \"a\": 1e400\r\n}").as_deref(), Some("{  \"a\": 1e400  }"));
        assert_eq!(compact("{"), None);
        assert!(super::compact("text/plain", "{}").is_none());
        assert!(super::compact("application/problem+json", "{}").is_some());
    }

    #[test]
    fn the_clock_is_that_of_greenwich() {
        assert_eq!(clock(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(86_400 + 3_723)), "01:02:03Z");
    }
}
