//! What a client is told, whichever way it listens.

use serde_json::Value;
use tidings_proto::v1;
use tidings_proto::v1::subscribe_reply::Reply;

/// One thing a client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// A message, and the cursor to come back with after it.
    Message {
        id: String,
        cursor: String,
        late: bool,
    },
    Gap {
        reason: String,
    },
    /// The client's cursor moved on, without a message.
    Place(String),
    /// The broker ends the stream, and says why.
    Closed(String),
}

impl News {
    /// A message as JSON, as it is shown everywhere.
    pub(super) fn message(value: &Value) -> Self {
        let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        Self::Message { id: text("id"), cursor: text("cursor"), late: value["late"].as_bool().unwrap_or_default() }
    }

    pub(super) fn gap(value: &Value) -> Self {
        Self::Gap { reason: value["reason"].as_str().unwrap_or_default().to_owned() }
    }

    pub(super) fn closed(value: &Value) -> Self {
        Self::Closed(value["code"].as_str().unwrap_or("without a code").to_owned())
    }

    /// A line of an HTTP stream, or a text of a WebSocket.
    pub(super) fn object(value: &Value) -> Option<Self> {
        if let Some(message) = value.get("message") {
            return Some(Self::message(message));
        }
        if let Some(gap) = value.get("gap") {
            return Some(Self::gap(gap));
        }
        if let Some(close) = value.get("close") {
            return Some(Self::closed(close));
        }
        if let Some(place) = value.get("heartbeat").or(value.get("subscribed")) {
            return Some(Self::Place(place["cursor"].as_str()?.to_owned()));
        }
        value.get("id").filter(|id| id.is_string()).map(|_| Self::message(value))
    }

    pub(super) fn reply(reply: v1::SubscribeReply) -> Option<Self> {
        Some(match reply.reply? {
            Reply::Message(message) => Self::Message { id: message.id, cursor: reply.cursor, late: false },
            Reply::Gap(gap) => Self::Gap { reason: gap.reason },
            Reply::Closed(closed) => Self::Closed(closed.code),
            Reply::Subscribed(_) | Reply::Heartbeat(_) | Reply::Cluster(_) | Reply::Presence(_) | Reply::Unsubscribed(_) => {
                Self::Place(reply.cursor)
            }
        })
    }
}
