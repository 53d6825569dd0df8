//! One thing that happened to a session, and its line in the log. The names here are what docs/OPERATING.md promises.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::SessionId;
use crate::close::CloseReason;
use crate::error::{Error, ErrorCode};
use crate::log::GapReason;
use crate::message::ChannelName;
use crate::metrics::{Front, Source};

/// Names shown of a list; the rest is counted.
const NAMES_MAX: usize = 8;
/// The target of these lines, for `log.level`.
const TARGET: &str = concat!("tidings", "::session");

/// One thing that happened.
#[derive(Clone, Debug)]
pub struct Record {
    /// Counts up from 1.
    pub number: u64,
    /// When, or when last: milliseconds since 1970.
    pub unix_ms: u64,
    /// How often it happened in a row.
    pub times: u32,
    /// To whom; `None` for who was turned away before it was anybody.
    pub session: Option<SessionId>,
    /// Over which front; `None` where it did not come so far.
    pub front: Option<Front>,
    /// What.
    pub what: What,
}

/// What can happen to a session.
#[derive(Clone, Debug)]
pub enum What {
    /// It began to listen.
    Opened {
        /// To what; a WebSocket may begin with nothing.
        channels: Names,
        /// Whether it came back with a cursor, and then whether nothing was missing.
        resumed: Option<bool>,
        /// From where, if there is a socket.
        address: Option<SocketAddr>,
    },
    /// It was not let in.
    Refused {
        /// Why, for programs.
        code: ErrorCode,
        /// Why, in words: the rule or limit that said no.
        message: Arc<str>,
        /// From where.
        address: Option<SocketAddr>,
    },
    /// Its polls were answered: one record for as many as there were. Not said in the log, which has a line for each.
    Polled {
        /// To what the last of them listened.
        channels: Names,
        /// From where it came.
        address: Option<SocketAddr>,
        /// Whether the client has a name that it keeps. Else each poll has a new one, and who has the same network counts as one.
        is_named: bool,
        /// Messages in all answers.
        messages: u64,
        /// When the first of them ended: milliseconds since 1970.
        since_ms: u64,
    },
    /// Something it asked for while it stayed was refused.
    Denied {
        /// Why, for programs.
        code: ErrorCode,
        /// Why, in words.
        message: Arc<str>,
    },
    /// Somebody's publish was refused, over a way that has no session. Not said in the log, which has lines for who is denied and for rates.
    PublishRefused(Box<PublishRefused>),
    /// It listens to one more channel.
    Subscribed(ChannelName),
    /// It does not listen to a channel any more.
    Unsubscribed(ChannelName),
    /// It was told that messages are missing.
    Gap(ChannelName, GapReason),
    /// It stood at the head, and takes less than comes.
    FellBehind,
    /// It stands at the head again.
    CaughtUp,
    /// It was ended at a bound, without a word to it.
    Cut {
        /// The key that sets it.
        limit: &'static str,
    },
    /// It ended.
    Closed {
        /// Why.
        reason: CloseReason,
        /// How long it lasted.
        lasted: Duration,
    },
}

/// A publish that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishRefused {
    /// Why, for programs.
    pub code: ErrorCode,
    /// Why, in words.
    pub message: Box<str>,
    /// The rule that denied, where one did.
    pub rule: Option<&'static str>,
    /// To which channel; `None` where it was refused before that was read, or names none.
    pub channel: Option<ChannelName>,
    /// Whose: `key shop`, `user ann`, `address 192.0.2.1`.
    pub by: Arc<str>,
    /// Whether that is a name which was proven, and no address.
    pub is_named: bool,
    /// From where, as far as that is known.
    pub address: Option<IpAddr>,
    /// Over which way.
    pub source: Source,
}

/// The first names of a list, and how many more there are.
#[derive(Clone, Debug, Default)]
pub struct Names {
    shown: SmallVec<[ChannelName; 1]>,
    more: u32,
}

impl<'a> FromIterator<&'a ChannelName> for Names {
    fn from_iter<I: IntoIterator<Item = &'a ChannelName>>(names: I) -> Self {
        let mut list = Self::default();
        for name in names {
            if list.shown.len() < NAMES_MAX {
                list.shown.push(name.clone());
            } else {
                list.more += 1;
            }
        }
        list
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, name) in self.shown.iter().enumerate() {
            write!(f, "{}{name}", if nth > 0 { ", " } else { "" })?;
        }
        if self.more > 0 {
            write!(f, " and {} more", self.more)?;
        }
        Ok(())
    }
}

impl What {
    /// It was not let in, because of this.
    #[must_use]
    pub fn refused(error: &Error, address: Option<SocketAddr>) -> Self {
        Self::Refused { code: error.code, message: error.message.as_ref().into(), address }
    }

    /// Something it asked for was refused, because of this.
    #[must_use]
    pub fn denied(error: &Error) -> Self {
        Self::Denied { code: error.code, message: error.message.as_ref().into() }
    }

    /// Every [`What::event`]: what is not here cannot be one.
    pub const EVENTS: [&'static str; 12] = [
        "session_opened",
        "session_refused",
        "session_polled",
        "session_denied",
        "publish_refused",
        "session_subscribed",
        "session_unsubscribed",
        "session_gap",
        "session_fell_behind",
        "session_caught_up",
        "session_cut",
        "session_closed",
    ];

    /// The name for programs: the log's `event`.
    #[must_use]
    pub fn event(&self) -> &'static str {
        match self {
            Self::Opened { .. } => Self::EVENTS[0],
            Self::Refused { .. } => Self::EVENTS[1],
            Self::Polled { .. } => Self::EVENTS[2],
            Self::Denied { .. } => Self::EVENTS[3],
            Self::PublishRefused(_) => Self::EVENTS[4],
            Self::Subscribed(_) => Self::EVENTS[5],
            Self::Unsubscribed(_) => Self::EVENTS[6],
            Self::Gap(..) => Self::EVENTS[7],
            Self::FellBehind => Self::EVENTS[8],
            Self::CaughtUp => Self::EVENTS[9],
            Self::Cut { .. } => Self::EVENTS[10],
            Self::Closed { .. } => Self::EVENTS[11],
        }
    }

    /// The word for why, where there is one.
    #[must_use]
    pub fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Refused { code, .. } | Self::Denied { code, .. } => Some(code.as_str()),
            Self::PublishRefused(refused) => Some(refused.code.as_str()),
            Self::Gap(_, reason) => Some(reason.as_str()),
            Self::Cut { limit } => Some(limit),
            Self::Closed { reason, .. } => Some(reason.as_str()),
            _ => None,
        }
    }
}

/// One sentence for people.
impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opened { resumed: None, .. } => f.write_str("began to listen"),
            Self::Opened { resumed: Some(true), .. } => f.write_str("came back and missed nothing"),
            Self::Opened { resumed: Some(false), .. } => f.write_str("came back too late for all it missed"),
            Self::Refused { message, .. } => write!(f, "was not let in: {message}"),
            Self::Polled { is_named: true, messages, .. } => write!(f, "polled and was answered, with {messages} messages in all"),
            Self::Polled { messages, .. } => {
                write!(f, "polled without a name and was answered, with {messages} messages to its network in all")
            }
            Self::Denied { message, .. } => write!(f, "was refused something: {message}"),
            Self::PublishRefused(refused) => write!(f, "a publish of {} was refused: {}", refused.by, refused.message),
            Self::Subscribed(channel) => write!(f, "listens to {channel} too"),
            Self::Unsubscribed(channel) => write!(f, "left {channel}"),
            Self::Gap(channel, reason) => write!(f, "was told that messages of {channel} are missing: {}", reason.as_str()),
            Self::FellBehind => f.write_str("takes less than comes, and reads the log"),
            Self::CaughtUp => f.write_str("is caught up again"),
            Self::Cut { limit } => write!(f, "was cut, because it does not read what waits for it ({limit})"),
            Self::Closed { reason, .. } => write!(f, "ended: {}", reason.sentence()),
        }
    }
}

impl Record {
    /// Whether both are one line of the list, which the second only counts in. Who is refused again and again would push everybody
    /// else out else, under whatever name it comes.
    pub(super) fn repeats(&self, other: &Self) -> bool {
        match (&self.what, &other.what) {
            (What::Denied { code, .. }, What::Denied { code: known, .. }) => self.session == other.session && code == known,
            (What::Refused { code, address, .. }, What::Refused { code: known, address: from, .. }) => {
                code == known && address.map(|address| address.ip()) == from.map(|address| address.ip())
            }
            (What::PublishRefused(one), What::PublishRefused(known)) => one.code == known.code && one.by == known.by,
            (What::FellBehind, What::FellBehind) | (What::CaughtUp, What::CaughtUp) => self.session == other.session,
            (What::Gap(channel, reason), What::Gap(of, known)) => self.session == other.session && channel == of && reason == known,
            _ => false,
        }
    }

    /// Whether it can repeat another one at all. What each session says once is not looked up: all who come back in a storm would pay.
    pub(super) fn may_repeat(&self) -> bool {
        matches!(self.what, What::FellBehind | What::CaughtUp | What::Gap(..)) || self.is_refusal()
    }

    /// Whether a client was refused something.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self.what, What::Refused { .. } | What::Denied { .. } | What::PublishRefused(_))
    }

    /// Whether both are the same refusal, of the same client and in the same words.
    pub(super) fn is_again(&self, other: &Self) -> bool {
        let is_same = match (&self.what, &other.what) {
            (What::Refused { code, message, .. }, What::Refused { code: known, message: said, .. })
            | (What::Denied { code, message }, What::Denied { code: known, message: said }) => code == known && message == said,
            (What::PublishRefused(one), What::PublishRefused(known)) => one == known,
            _ => false,
        };
        is_same && self.session == other.session && self.front == other.front
    }

    /// A poll that went well is no news: there are as many as messages. One record counts them: [`What::Polled`].
    fn is_ordinary_poll(&self) -> bool {
        self.front == Some(Front::LongPoll)
            && matches!(self.what, What::Opened { .. } | What::Closed { reason: CloseReason::Finished | CloseReason::ClientGone, .. })
    }

    pub(super) fn is_kept(&self) -> bool {
        !self.is_ordinary_poll()
    }

    /// Writes the line. Nothing of it is put together before the log wants it: of a storm it leaves most out.
    pub(super) fn log(&self) {
        // The macros fix level and fields where they stand; this is the one way of saying them twice.
        macro_rules! line {
            ($level:ident $(, $name:ident = $value:expr)*) => {
                tracing::$level!(
                    target: TARGET, event = self.what.event(), session = self.session.map(display), front = self.front.map(Front::as_str),
                    $($name = $value,)* "{}", self.what
                )
            };
        }
        match &self.what {
            What::Opened { channels, resumed, address } if self.is_ordinary_poll() => {
                line!(debug, channels = display(channels), resumed = *resumed, address = address.map(display));
            }
            What::Opened { channels, resumed, address } => {
                line!(info, channels = display(channels), resumed = *resumed, address = address.map(display));
            }
            What::Refused { code, address, .. } => line!(info, code = code.as_str(), address = address.map(display)),
            What::Polled { .. } | What::PublishRefused(_) => {}
            What::Denied { code, .. } => line!(info, code = code.as_str()),
            What::Subscribed(channel) => line!(debug, channel = display(channel)),
            What::Unsubscribed(channel) => line!(debug, channel = display(channel)),
            What::Gap(channel, reason) => line!(info, channel = display(channel), reason = reason.as_str()),
            What::FellBehind => line!(debug),
            What::CaughtUp => line!(debug),
            What::Cut { limit } => line!(info, limit = *limit),
            What::Closed { reason, lasted } if self.is_ordinary_poll() => {
                line!(debug, reason = reason.as_str(), lasted_ms = lasted.as_millis() as u64);
            }
            What::Closed { reason, lasted } => line!(info, reason = reason.as_str(), lasted_ms = lasted.as_millis() as u64),
        }
    }
}
