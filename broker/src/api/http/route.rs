//! Which call a method and a path mean.

use http::Method;

use crate::error::{Error, ErrorCode, Result};
use crate::message::ChannelName;
use crate::wire::percent_decode;

/// One call of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    PublishJson,
    PublishRaw(ChannelName),
    History(ChannelName),
    Clear(ChannelName),
    Presence(ChannelName),
    Channels,
    Explain,
    Disconnect,
    Unsubscribe,
    Revoke,
}

impl Action {
    pub(super) fn is_publish(&self) -> bool {
        matches!(self, Self::PublishJson | Self::PublishRaw(_))
    }

    /// To which channel it publishes, as far as its path says so.
    pub(super) fn publishes_to(&self) -> Option<&ChannelName> {
        match self {
            Self::PublishRaw(channel) => Some(channel),
            _ => None,
        }
    }

    /// Whether the call leaves something behind.
    pub(super) fn changes_state(&self) -> bool {
        match self {
            Self::PublishJson | Self::PublishRaw(_) | Self::Clear(_) | Self::Disconnect | Self::Unsubscribe | Self::Revoke => true,
            Self::History(_) | Self::Presence(_) | Self::Channels | Self::Explain => false,
        }
    }
}

/// What a request line leads to. The lists of methods are values for `Allow`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Routed {
    Action(Action),
    Options(&'static str),
    WrongMethod(&'static str),
}

/// Finds the call.
///
/// # Errors
/// `not_found` for any other path; `invalid_request` when the channel in the path is none.
pub(super) fn route(method: &Method, path: &str) -> Result<Routed> {
    let mut segments = path.strip_prefix("/v1/").unwrap_or_default().split('/');
    let (allow, action) = match (segments.next(), segments.next(), segments.next(), segments.next()) {
        (Some("publish"), None, None, None) => ("POST, OPTIONS", (method == Method::POST).then_some(Action::PublishJson)),
        (Some("explain"), None, None, None) => ("POST, OPTIONS", (method == Method::POST).then_some(Action::Explain)),
        (Some("disconnect"), None, None, None) => ("POST, OPTIONS", (method == Method::POST).then_some(Action::Disconnect)),
        (Some("unsubscribe"), None, None, None) => ("POST, OPTIONS", (method == Method::POST).then_some(Action::Unsubscribe)),
        (Some("revoke"), None, None, None) => ("POST, OPTIONS", (method == Method::POST).then_some(Action::Revoke)),
        (Some("channels"), None, None, None) => ("GET, HEAD, OPTIONS", is_get(method).then_some(Action::Channels)),
        (Some("channels"), Some(channel), Some("messages"), None) => {
            let channel = ChannelName::parse(&percent_decode(channel)?)?;
            let action = match *method {
                Method::POST => Some(Action::PublishRaw(channel)),
                Method::DELETE => Some(Action::Clear(channel)),
                _ => is_get(method).then_some(Action::History(channel)),
            };
            ("GET, HEAD, POST, DELETE, OPTIONS", action)
        }
        (Some("channels"), Some(channel), Some("presence"), None) => {
            let channel = ChannelName::parse(&percent_decode(channel)?)?;
            ("GET, HEAD, OPTIONS", is_get(method).then_some(Action::Presence(channel)))
        }
        _ => return Err(Error::new(ErrorCode::NotFound, "there is nothing at this path; see docs/PROTOCOL.md for what is")),
    };
    Ok(match action {
        Some(action) => Routed::Action(action),
        None if method == Method::OPTIONS => Routed::Options(allow),
        None => Routed::WrongMethod(allow),
    })
}

fn is_get(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(name: &str) -> ChannelName {
        ChannelName::parse(name).unwrap()
    }

    #[test]
    fn paths_and_methods_lead_to_calls() {
        let action = |method: Method, path| match route(&method, path).unwrap() {
            Routed::Action(action) => action,
            other => panic!("{other:?}"),
        };
        assert_eq!(action(Method::POST, "/v1/publish"), Action::PublishJson);
        assert_eq!(action(Method::POST, "/v1/explain"), Action::Explain);
        assert_eq!(action(Method::POST, "/v1/disconnect"), Action::Disconnect);
        assert_eq!(action(Method::POST, "/v1/unsubscribe"), Action::Unsubscribe);
        assert_eq!(action(Method::POST, "/v1/revoke"), Action::Revoke);
        assert_eq!(action(Method::GET, "/v1/channels"), Action::Channels);
        assert_eq!(action(Method::POST, "/v1/channels/a/messages"), Action::PublishRaw(channel("a")));
        assert_eq!(action(Method::GET, "/v1/channels/a:b/messages"), Action::History(channel("a:b")));
        assert_eq!(action(Method::HEAD, "/v1/channels/%7Bt%7Da%2Fb/messages"), Action::History(channel("{t}a/b")));
        assert_eq!(action(Method::GET, "/v1/channels/a%2Fb/presence"), Action::Presence(channel("a/b")));
        assert_eq!(action(Method::DELETE, "/v1/channels/Gr%C3%BC%C3%9Fe+1/messages"), Action::Clear(channel("Grüße+1")));
    }

    #[test]
    fn other_methods_are_told_which_there_are() {
        assert_eq!(route(&Method::GET, "/v1/publish").unwrap(), Routed::WrongMethod("POST, OPTIONS"));
        assert_eq!(route(&Method::PUT, "/v1/channels/a/messages").unwrap(), Routed::WrongMethod("GET, HEAD, POST, DELETE, OPTIONS"));
        assert_eq!(route(&Method::OPTIONS, "/v1/channels").unwrap(), Routed::Options("GET, HEAD, OPTIONS"));
    }

    #[test]
    fn other_paths_are_not_found() {
        for path in [
            "/",
            "/v1",
            "/v1/",
            "/v2/publish",
            "/v1/publish/",
            "/v1//publish",
            "/v1/channels/",
            "/v1/channels/a",
            "/v1/channels/a/messages/",
            "/v1/channels/a/presence/",
            "*",
        ] {
            assert_eq!(route(&Method::GET, path).unwrap_err().code, ErrorCode::NotFound, "{path}");
        }
    }

    #[test]
    fn a_channel_in_the_path_must_be_one() {
        for segment in ["", "%", "%4", "%zz", "%ff", "%C3", "a%00b", "%0A", "%+1"] {
            let path = format!("/v1/channels/{segment}/messages");
            assert_eq!(route(&Method::GET, &path).unwrap_err().code, ErrorCode::InvalidRequest, "{segment}");
        }
        assert_eq!(route(&Method::GET, "/v1/channels/tidings-probe:a/messages").unwrap_err().code, ErrorCode::PermissionDenied);
    }
}
