//! Looking at what channels hold.

use prost::Message as _;
use tidings_proto::v1;

use super::{GrpcServices, convert};
use crate::api::cluster::{ClusterInfo, ClusterNode, Lag};
use crate::auth::{Action, Pass};
use crate::broker::{ChannelInfo, ChannelsQuery, HistoryQuery, Order};
use crate::error::{Error, Result};
use crate::message::ChannelName;
use crate::presence::Query;

/// Page size when none is asked for.
const LIMIT_DEFAULT: usize = 100;
/// Clients take 4 MiB in one message unless told otherwise; a page ends before that, however many messages were asked for.
pub(super) const PAGE_BYTES_MAX: usize = 3 << 20;

impl GrpcServices {
    /// A page of history. Where it ends before the limit, its cursor says where the rest begins.
    ///
    /// # Errors
    /// A name or cursor that is none, or what the broker says.
    pub(super) async fn history(&self, pass: &Pass, request: &v1::HistoryRequest) -> Result<v1::HistoryResponse> {
        let channel = ChannelName::parse(&request.channel)?;
        pass.check_page(Action::History, &channel)?;
        let order = match request.order() {
            v1::Order::NewestFirst => Order::NewestFirst,
            v1::Order::Unspecified | v1::Order::OldestFirst => Order::OldestFirst,
        };
        let is_forward = order == Order::OldestFirst;
        let query = HistoryQuery { since: convert::cursor(&request.since)?, limit: self.limit(request.limit)?, order };
        let page = self.broker.history(&channel, &query).await?;
        let mut response = v1::HistoryResponse {
            cursor: page.cursor.to_string(),
            gap: page.gap.map(|gap| convert::gap(&channel, &gap)),
            messages: Vec::new(),
        };
        let mut bytes = 0;
        for entry in &page.entries {
            let message = convert::message(entry);
            bytes += message.encoded_len();
            if bytes > PAGE_BYTES_MAX
                && let Some(last) = response.messages.len().checked_sub(1).and_then(|last| page.entries.get(last))
            {
                if is_forward {
                    response.cursor = last.cursor().to_string();
                }
                break;
            }
            response.messages.push(message);
        }
        Ok(response)
    }

    /// A page of channels.
    ///
    /// # Errors
    /// A limit out of its bounds.
    pub(super) async fn channels(&self, pass: &Pass, request: v1::ChannelsRequest) -> Result<v1::ChannelsResponse> {
        pass.check_all_of(Action::Admin, &request.prefix)?;
        let after = convert::given(&request.after).map(str::to_owned);
        let limit = self.limit(request.limit)?;
        let page = self.broker.channels_everywhere(&ChannelsQuery { prefix: request.prefix, after, limit }).await;
        let channels = page.channels.iter().map(channel_info).collect();
        Ok(v1::ChannelsResponse { channels, next: page.next.unwrap_or_default(), silent_nodes: page.silent_nodes })
    }

    /// The cluster, for who may administer every channel.
    ///
    /// # Errors
    /// `permission_denied` for everybody else.
    pub(super) fn cluster_info(&self, pass: &Pass) -> Result<v1::ClusterInfoResponse> {
        pass.check_all_of(Action::Admin, "")?;
        Ok((self.cluster)().map_or_else(v1::ClusterInfoResponse::default, cluster_info))
    }

    /// Clears a channel.
    ///
    /// # Errors
    /// A name that is none, or what the broker says.
    pub(super) async fn clear(&self, pass: &Pass, request: &v1::ClearRequest) -> Result<v1::ClearResponse> {
        let channel = ChannelName::parse(&request.channel)?;
        pass.check(Action::Admin, &channel)?;
        let cursor = self.broker.clear(&channel).await?;
        Ok(v1::ClearResponse { cursor: cursor.to_string() })
    }

    /// A page of who is on a channel.
    ///
    /// # Errors
    /// A name or limit that is none, or what the broker says.
    pub(super) async fn presence(&self, pass: &Pass, request: &v1::PresenceRequest) -> Result<v1::PresenceResponse> {
        let channel = ChannelName::parse(&request.channel)?;
        pass.check_page(Action::Presence, &channel)?;
        let query = Query { after: convert::given(&request.after).map(Into::into), limit: self.limit(request.limit)? };
        let page = self.broker.presence(&channel, query).await?;
        Ok(v1::PresenceResponse {
            counts: Some(convert::counts(page.counts)),
            users: page.users.iter().map(convert::user).collect(),
            next: page.next.as_deref().unwrap_or_default().to_owned(),
            counts_only: page.counts_only,
            full: page.is_full,
        })
    }

    /// The size of a page. More than there can be is refused, as over HTTP: who asks for it counts on getting it.
    fn limit(&self, asked: u32) -> Result<usize> {
        let max = self.batch_messages;
        match asked as usize {
            0 => Ok(LIMIT_DEFAULT.min(max)),
            asked if asked <= max => Ok(asked),
            _ => Err(Error::invalid(format!("`limit` is a number from 1 to {max}, or 0 for {}", LIMIT_DEFAULT.min(max)))),
        }
    }
}

fn cluster_info(info: ClusterInfo) -> v1::ClusterInfoResponse {
    let lag = |lag: Lag| v1::ClusterLag { records: lag.records, slots: lag.slots, oldest_us: lag.oldest.as_micros() as u64 };
    let node = |node: ClusterNode| v1::ClusterNode {
        name: node.name,
        state: node.state.to_owned(),
        is_self: node.is_self,
        is_heard: node.is_heard,
        address: node.address,
        version: node.version,
        rtt_us: node.rtt.map_or(0, |rtt| rtt.as_micros() as u64),
        leads: node.leads,
        follows: node.follows,
        queued_bytes: node.queued_bytes,
        lag: node.lag.map(lag),
    };
    v1::ClusterInfoResponse {
        is_clustered: true,
        condition: info.condition.to_owned(),
        view: info.view,
        nodes: info.nodes.into_iter().map(node).collect(),
        slots_led: info.slots_led,
        slots_alone: info.slots_alone,
        slots_claimed: info.slots_claimed,
        replication_lag: info.replication_lag,
        publishes_waiting: info.publishes_waiting,
    }
}

fn channel_info(info: &ChannelInfo) -> v1::ChannelInfo {
    v1::ChannelInfo {
        channel: info.channel.to_string(),
        offset: info.offset,
        messages: info.messages,
        bytes: info.bytes,
        listeners: info.listeners,
        cursor: info.cursor.to_string(),
    }
}
