//! What can be full.

/// Something that can be full, as a label of how much of it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bound {
    /// Connections of the public listener.
    Connections,
    /// Connections of the gRPC listener.
    GrpcConnections,
    /// Connections that have asked for nothing yet.
    ConnectionsPending,
    /// Connections of the gRPC listener, or the socket, with most that have called nothing yet.
    GrpcConnectionsPending,
    /// Connections of the admin listener.
    AdminConnections,
    /// Connections of the address that has most.
    ConnectionsPerAddress,
    /// Connections of the user who has most.
    ConnectionsPerUser,
    /// Listeners in another program's server.
    Guests,
    /// Channels.
    Channels,
    /// Channels that nobody has published to.
    ChannelsSilent,
    /// Bytes of all histories.
    HistoryBytes,
    /// Publish ids remembered.
    DedupeIds,
    /// Messages waiting for the shard for which most wait.
    ShardInbox,
    /// New sockets and errands that wait for the shard for which most wait.
    ShardCommands,
    /// Members of channels that are connected here.
    PresenceMembers,
    /// Members that are kept here at all.
    PresenceHeld,
    /// Bytes in the rings of the shard that holds most.
    ShardRing,
    /// Bytes that sockets did not take, of the shard that holds most.
    UnsentBytes,
    /// Bytes of answers that were asked for and are not read.
    UnreadBytes,
    /// Bytes of requests that are not whole yet.
    IncomingBytes,
    /// Bytes that wait for another node, on the fullest connection.
    ClusterLink,
    /// Bytes of publishes that wait for another node, of the slot with most.
    ClusterPublishes,
    /// Other nodes that gossip knows.
    ClusterNodes,
    /// Connections from other nodes that have not greeted yet.
    ClusterGreetings,
    /// Questions and orders to other nodes that are not answered yet.
    ClusterQuestions,
    /// Orders of other nodes that are under way here.
    ClusterOrders,
    /// Heartbeats and news of connections that wait for the cluster's thread.
    ClusterInputs,
    /// Users and tokens that are revoked.
    Revocations,
    /// Keys, users and addresses that are remembered, of the rate with most.
    RateCallers,
    /// What is kept of what happened to clients: of its lists the one with most.
    Journal,
    /// Lines that wait for the log's thread.
    LogLines,
}

impl Bound {
    /// Every bound, in the order of [`Bound::index`].
    pub const ALL: [Self; 31] = [
        Self::Connections,
        Self::GrpcConnections,
        Self::ConnectionsPending,
        Self::GrpcConnectionsPending,
        Self::AdminConnections,
        Self::ConnectionsPerAddress,
        Self::ConnectionsPerUser,
        Self::Guests,
        Self::Channels,
        Self::ChannelsSilent,
        Self::HistoryBytes,
        Self::DedupeIds,
        Self::ShardInbox,
        Self::ShardCommands,
        Self::PresenceMembers,
        Self::PresenceHeld,
        Self::ShardRing,
        Self::UnsentBytes,
        Self::UnreadBytes,
        Self::IncomingBytes,
        Self::ClusterLink,
        Self::ClusterPublishes,
        Self::ClusterNodes,
        Self::ClusterGreetings,
        Self::ClusterQuestions,
        Self::ClusterOrders,
        Self::ClusterInputs,
        Self::Revocations,
        Self::RateCallers,
        Self::Journal,
        Self::LogLines,
    ];

    /// The label's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::GrpcConnections => "grpc_connections",
            Self::ConnectionsPending => "connections_pending",
            Self::GrpcConnectionsPending => "grpc_connections_pending",
            Self::AdminConnections => "admin_connections",
            Self::ConnectionsPerAddress => "connections_per_address",
            Self::ConnectionsPerUser => "connections_per_user",
            Self::Guests => "guests",
            Self::Channels => "channels",
            Self::ChannelsSilent => "channels_silent",
            Self::HistoryBytes => "history_bytes",
            Self::DedupeIds => "dedupe_ids",
            Self::ShardInbox => "shard_inbox",
            Self::ShardCommands => "shard_commands",
            Self::PresenceMembers => "presence_members",
            Self::PresenceHeld => "presence_held",
            Self::ShardRing => "shard_ring",
            Self::UnsentBytes => "unsent_bytes",
            Self::UnreadBytes => "unread_bytes",
            Self::IncomingBytes => "incoming_bytes",
            Self::ClusterLink => "cluster_link",
            Self::ClusterPublishes => "cluster_publishes",
            Self::ClusterNodes => "cluster_nodes",
            Self::ClusterGreetings => "cluster_greetings",
            Self::ClusterQuestions => "cluster_questions",
            Self::ClusterOrders => "cluster_orders",
            Self::ClusterInputs => "cluster_inputs",
            Self::Revocations => "revocations",
            Self::RateCallers => "rate_callers",
            Self::Journal => "journal",
            Self::LogLines => "log_lines",
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
    fn the_list_is_in_the_order_of_its_index() {
        assert!(Bound::ALL.iter().enumerate().all(|(n, value)| value.index() == n));
    }
}
