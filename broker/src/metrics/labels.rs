//! The closed sets that labels are taken from. No label holds anything a client chose.

/// A way by which a subscriber receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Front {
    /// Server-Sent Events.
    Sse,
    /// Long-poll: one held request an answer.
    LongPoll,
    /// One JSON object a line over an endless response.
    HttpStream,
    /// RFC 6455 frames.
    WebSocket,
    /// A gRPC server stream, or the embedder's pull subscription.
    Grpc,
}

impl Front {
    /// Every front, in the order of [`Front::index`].
    pub const ALL: [Self; 5] = [Self::Sse, Self::LongPoll, Self::HttpStream, Self::WebSocket, Self::Grpc];

    /// The label's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sse => "sse",
            Self::LongPoll => "long_poll",
            Self::HttpStream => "http_stream",
            Self::WebSocket => "websocket",
            Self::Grpc => "grpc",
        }
    }

    /// A dense number for tables.
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }
}

/// Where a publish came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The gRPC services.
    Grpc,
    /// The HTTP and JSON API.
    Http,
    /// Requests over a WebSocket connection.
    WebSocket,
    /// A call of the embedding program.
    InProcess,
}

impl Source {
    /// Every source, in the order of [`Source::index`].
    pub const ALL: [Self; 4] = [Self::Grpc, Self::Http, Self::WebSocket, Self::InProcess];

    /// The label's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Http => "http",
            Self::WebSocket => "websocket",
            Self::InProcess => "in_process",
        }
    }

    /// A dense number for tables.
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }
}

/// Why a connection was turned away before anything was read from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusedConnection {
    /// A configured limit of connections is reached.
    Limit,
    /// The process has no file descriptor left.
    OpenFiles,
    /// The node is leaving.
    Draining,
    /// Answers were asked for and not read.
    Unread,
    /// Its address has as many as one may have.
    Address,
    /// Its user has as many as one may have.
    User,
}

impl RefusedConnection {
    /// Every reason, in the order of [`RefusedConnection::index`].
    pub const ALL: [Self; 6] = [Self::Limit, Self::OpenFiles, Self::Draining, Self::Unread, Self::Address, Self::User];

    /// The label's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::OpenFiles => "open_files",
            Self::Draining => "draining",
            Self::Unread => "unread",
            Self::Address => "address",
            Self::User => "user",
        }
    }

    /// A dense number for tables.
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }
}

/// What a peer did against the protocol it speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProtocolError {
    /// Bytes that are no HTTP request.
    Malformed,
    /// A request head larger than its limit.
    HeaderTooLarge,
    /// A request head that did not arrive in time.
    HeaderTimeout,
    /// A body larger than its limit.
    BodyTooLarge,
    /// A body that did not arrive in time.
    BodyTimeout,
    /// An HTTP/2 connection that ended with an error.
    Http2,
    /// A WebSocket connection whose client broke RFC 6455 or sent what is no request.
    WebSocket,
    /// Any other error that ended a connection.
    Other,
}

impl ProtocolError {
    /// Every kind, in the order of [`ProtocolError::index`].
    pub const ALL: [Self; 8] = [
        Self::Malformed,
        Self::HeaderTooLarge,
        Self::HeaderTimeout,
        Self::BodyTooLarge,
        Self::BodyTimeout,
        Self::Http2,
        Self::WebSocket,
        Self::Other,
    ];

    /// The label's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::HeaderTooLarge => "header_too_large",
            Self::HeaderTimeout => "header_timeout",
            Self::BodyTooLarge => "body_too_large",
            Self::BodyTimeout => "body_timeout",
            Self::Http2 => "http2",
            Self::WebSocket => "websocket",
            Self::Other => "other",
        }
    }

    /// A dense number for tables.
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }
}

/// Why somebody was not let in, or was not allowed what it asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Denied {
    /// No credential was shown where one is needed.
    Missing,
    /// A credential that cannot be read.
    Malformed,
    /// A token longer than its limit.
    TooLarge,
    /// An API key, or the key of a signed address, that is not known.
    UnknownKey,
    /// A token signed with a key that is not known.
    UnknownKid,
    /// A token signed by another algorithm than its key is for.
    Algorithm,
    /// A signature that is wrong.
    Signature,
    /// A token or address whose time is over.
    Expired,
    /// A token or address that was revoked.
    Revoked,
    /// A token whose time has not come.
    NotYetValid,
    /// A token meant for somebody else.
    Audience,
    /// A token from an issuer that is not believed.
    Issuer,
    /// A proven token whose claims are not understood.
    Claims,
    /// No rule allows it to this caller.
    Permission,
    /// The namespace is not listed.
    Namespace,
    /// A page of an origin that may not.
    Origin,
    /// A token or address that was not looked at, since too many of where it comes from were refused.
    Rate,
}

impl Denied {
    /// Every cause, in the order of [`Denied::index`].
    pub const ALL: [Self; 17] = [
        Self::Missing,
        Self::Malformed,
        Self::TooLarge,
        Self::UnknownKey,
        Self::UnknownKid,
        Self::Algorithm,
        Self::Signature,
        Self::Expired,
        Self::Revoked,
        Self::NotYetValid,
        Self::Audience,
        Self::Issuer,
        Self::Claims,
        Self::Permission,
        Self::Namespace,
        Self::Origin,
        Self::Rate,
    ];

    /// The label's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
            Self::UnknownKey => "unknown_key",
            Self::UnknownKid => "unknown_kid",
            Self::Algorithm => "algorithm",
            Self::Signature => "signature",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::NotYetValid => "not_yet_valid",
            Self::Audience => "audience",
            Self::Issuer => "issuer",
            Self::Claims => "claims",
            Self::Permission => "permission",
            Self::Namespace => "namespace",
            Self::Origin => "origin",
            Self::Rate => "rate",
        }
    }

    /// A dense number for tables.
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }
}

/// A rate that was exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rate {
    /// Publishes and queries of one WebSocket.
    ConnectionPublishes,
    /// Channels one WebSocket subscribed to and left.
    ConnectionSubscribes,
    /// Bytes that came over one WebSocket.
    ConnectionBytes,
    /// Publishes of one caller.
    CallerPublishes,
    /// Channels one caller subscribed to.
    CallerSubscribes,
    /// Bytes of what one caller published.
    CallerBytes,
    /// Tokens and signed addresses from one address that were refused.
    CallerFailures,
}

impl Rate {
    /// Every rate, in the order of [`Rate::index`].
    pub const ALL: [Self; 7] = [
        Self::ConnectionPublishes,
        Self::ConnectionSubscribes,
        Self::ConnectionBytes,
        Self::CallerPublishes,
        Self::CallerSubscribes,
        Self::CallerBytes,
        Self::CallerFailures,
    ];

    /// The label's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConnectionPublishes => "connection_publishes",
            Self::ConnectionSubscribes => "connection_subscribes",
            Self::ConnectionBytes => "connection_bytes",
            Self::CallerPublishes => "caller_publishes",
            Self::CallerSubscribes => "caller_subscribes",
            Self::CallerBytes => "caller_bytes",
            Self::CallerFailures => "caller_failures",
        }
    }

    /// The key that sets it.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::ConnectionPublishes => "websocket.publish_rate",
            Self::ConnectionSubscribes => "websocket.subscribe_rate",
            Self::ConnectionBytes => "websocket.byte_rate",
            Self::CallerPublishes => "limits.publish_rate",
            Self::CallerSubscribes => "limits.subscribe_rate",
            Self::CallerBytes => "limits.byte_rate",
            Self::CallerFailures => "limits.failure_rate",
        }
    }

    /// A dense number for tables.
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }
}

/// What a backend orders about clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ordered {
    /// That their stays end.
    Disconnect,
    /// That their subscriptions end.
    Unsubscribe,
    /// That what they show counts no longer.
    Revoke,
}

impl Ordered {
    /// Every order, in the order of [`Ordered::index`].
    pub const ALL: [Self; 3] = [Self::Disconnect, Self::Unsubscribe, Self::Revoke];

    /// The label's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disconnect => "disconnect",
            Self::Unsubscribe => "unsubscribe",
            Self::Revoke => "revoke",
        }
    }

    /// A dense number for tables.
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }
}

/// How far an order came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reach {
    /// Every node has done it.
    Everywhere,
    /// Some node has not.
    Partly,
    /// None has: it was refused.
    Refused,
}

impl Reach {
    /// Every reach, in the order of [`Reach::index`].
    pub const ALL: [Self; 3] = [Self::Everywhere, Self::Partly, Self::Refused];

    /// The label's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Everywhere => "everywhere",
            Self::Partly => "partly",
            Self::Refused => "refused",
        }
    }

    /// A dense number for tables.
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }
}

/// A stage of a message's way through the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The publisher's node has the cluster's answer.
    Publish,
    /// The node that orders the channel has given it its place.
    Append,
    /// Another node has it. Without the time on the way there, which no clock of either tells: a round trip is two of them.
    Link,
    /// The node that orders it, or one where somebody listens, may show it: as many nodes hold it as should and can.
    Commit,
}

impl Stage {
    /// Every stage, in the order of [`Stage::index`].
    pub const ALL: [Self; 4] = [Self::Publish, Self::Append, Self::Link, Self::Commit];

    /// The label's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Append => "append",
            Self::Link => "link",
            Self::Commit => "commit",
        }
    }

    /// A dense number for tables.
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }
}

/// A door of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Listener {
    /// The public one.
    Http,
    /// For backends.
    Grpc,
    /// For operators.
    Admin,
    /// For the other nodes of the cluster. Its handshakes are counted as greetings.
    Cluster,
}

impl Listener {
    /// Every listener, in the order of [`Listener::index`].
    pub const ALL: [Self; 4] = [Self::Http, Self::Grpc, Self::Admin, Self::Cluster];

    /// The label's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Grpc => "grpc",
            Self::Admin => "admin",
            Self::Cluster => "cluster",
        }
    }

    /// A dense number for tables.
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }
}

/// What a TLS handshake came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Handshake {
    /// A connection.
    Done,
    /// Nothing: no common version or cipher, a certificate refused by either side, garbage.
    Failed,
    /// Nothing, in the time it had.
    TimedOut,
    /// It was none: the caller spoke in the clear.
    Plaintext,
}

impl Handshake {
    /// Every outcome, in the order of [`Handshake::index`].
    pub const ALL: [Self; 4] = [Self::Done, Self::Failed, Self::TimedOut, Self::Plaintext];

    /// The label's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Plaintext => "plaintext",
        }
    }

    /// A dense number for tables.
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_list_is_in_the_order_of_its_index() {
        assert!(Front::ALL.iter().enumerate().all(|(n, value)| value.index() == n));
        assert!(Source::ALL.iter().enumerate().all(|(n, value)| value.index() == n));
        assert!(RefusedConnection::ALL.iter().enumerate().all(|(n, value)| value.index() == n));
        assert!(Denied::ALL.iter().enumerate().all(|(n, value)| value.index() == n));
        assert!(Rate::ALL.iter().enumerate().all(|(n, value)| value.index() == n));
        assert!(Stage::ALL.iter().enumerate().all(|(n, value)| value.index() == n));
        assert!(Ordered::ALL.iter().enumerate().all(|(n, value)| value.index() == n));
        assert!(Reach::ALL.iter().enumerate().all(|(n, value)| value.index() == n));
        assert!(Listener::ALL.iter().enumerate().all(|(n, value)| value.index() == n));
        assert!(Handshake::ALL.iter().enumerate().all(|(n, value)| value.index() == n));
        assert!(ProtocolError::ALL.iter().enumerate().all(|(n, value)| value.index() == n));
    }
}
