//! Channels that are kept up to date on this node.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::super::{Channel, Hub, Signal};
use crate::error::{Error, ErrorCode, Result};
use crate::log::Slot;
use crate::message::ChannelName;

/// Longest wait for another node to send what it keeps of a channel.
pub const ATTEND_LIMIT: Duration = Duration::from_secs(5);

/// Keeps channels up to date until it is dropped, whether anybody listens or not.
#[derive(Debug)]
pub struct Attendance {
    hub: Arc<Hub>,
    channels: Vec<Arc<Channel>>,
    signal: Arc<Signal>,
}

impl Drop for Attendance {
    fn drop(&mut self) {
        for channel in &self.channels {
            self.hub.leave_signal(channel, &self.signal);
        }
    }
}

impl Hub {
    /// Waits until the log of this node answers for these channels, of which there are as many as one subscription takes: at once for a node alone; else once their slots' homes
    /// have sent what they keep of them. They stay so as long as the attendance is kept, and for a while after that.
    ///
    /// # Errors
    /// `overloaded` at the bound of channels, and when a home does not answer within `limit`.
    pub async fn attend(self: &Arc<Self>, names: &[ChannelName], limit: Duration) -> Result<Option<Attendance>> {
        if !self.is_shared() {
            return Ok(None);
        }
        let mut attendance = Attendance { hub: self.clone(), channels: Vec::with_capacity(names.len()), signal: Arc::default() };
        let mut readying = Vec::new();
        for name in names {
            let channel = loop {
                let channel = self.open(name)?;
                if self.listen_signal(&channel, &attendance.signal) {
                    break channel;
                }
            };
            attendance.channels.push(channel);
            self.with_slot(Slot::of(name), |state| {
                if let Some(part) = state.part.as_mut().filter(|part| !part.replica.is_ready(name)) {
                    let (tell, ready) = oneshot::channel();
                    part.readying.retain(|(_, waiting)| !waiting.is_closed());
                    part.readying.push((name.clone(), tell));
                    readying.push((name, ready));
                }
            });
        }
        let deadline = tokio::time::Instant::now() + limit;
        for (name, ready) in readying {
            if !matches!(tokio::time::timeout_at(deadline, ready).await, Ok(Ok(()))) {
                let message = format!("the node that orders `{name}` did not answer within {limit:?}; try again, or another node");
                return Err(Error::new(ErrorCode::Overloaded, message));
            }
        }
        Ok(Some(attendance))
    }
}
