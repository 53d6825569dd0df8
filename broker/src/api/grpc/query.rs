//! Looking at what channels hold.

use prost::Message as _;
use tidings_proto::v1;

use super::{GrpcServices, convert};
use crate::auth::{Action, Pass};
use crate::broker::{ChannelInfo, ChannelsQuery, HistoryQuery, Order};
use crate::error::{Error, Result};
use crate::log::Cursor;
use crate::message::ChannelName;

/// Page size when none is asked for.
const LIMIT_DEFAULT: usize = 100;
/// Clients take 4 MiB in one message unless told otherwise; a page ends before that, however many messages were asked for.
const PAGE_BYTES_MAX: usize = 3 << 20;

impl GrpcServices {
    /// A page of history. Where it ends before the limit, its cursor says where the rest begins.
    ///
    /// # Errors
    /// A name or cursor that is none, or what the broker says.
    pub(super) async fn history(&self, pass: &Pass, request: &v1::HistoryRequest) -> Result<v1::HistoryResponse> {
        let channel = ChannelName::parse(&request.channel)?;
        pass.check(Action::History, &channel)?;
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
                    response.cursor = Cursor::single(last.slot, last.pos).to_string();
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
    pub(super) fn channels(&self, pass: &Pass, request: v1::ChannelsRequest) -> Result<v1::ChannelsResponse> {
        pass.check_all_of(Action::Admin, &request.prefix)?;
        let after = convert::given(&request.after).map(str::to_owned);
        let limit = self.limit(request.limit)?;
        let page = self.broker.channels(&ChannelsQuery { prefix: request.prefix, after, limit });
        Ok(v1::ChannelsResponse { channels: page.channels.iter().map(channel_info).collect(), next: page.next.unwrap_or_default() })
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
