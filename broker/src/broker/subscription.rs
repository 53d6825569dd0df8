//! Listening from any runtime: woken by the hub, reading the log. For gRPC and for embedding.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::Delivery;
use crate::close::CloseReason;
use crate::error::Result;
use crate::hub::{Hub, Signal};
use crate::log::{Cursor, PageLimit};
use crate::session::{News, OutOfWindow, Since, Subscription as State, out_of_window};

/// Most messages a subscription hands out at a time.
const PAGE: PageLimit = PageLimit { entries: 512, bytes: 256 << 10 };

/// A listener that reads the log at its own pace and holds nothing of it.
#[derive(Debug)]
pub struct Subscription {
    hub: Arc<Hub>,
    state: State,
    signal: Arc<Signal>,
    /// Read and not yet handed out; at most one page.
    ready: VecDeque<Delivery>,
    /// The broker stopped.
    closed: CancellationToken,
    ended: bool,
}

impl Subscription {
    pub(super) fn begin(hub: Arc<Hub>, state: State, since: &Since, closed: CancellationToken) -> Result<Self> {
        let mut subscription = Self { hub, state, signal: Arc::default(), ready: VecDeque::new(), closed, ended: false };
        // Listen first, then join: nothing is lost between the two, and what comes by both ways is read once.
        subscription.listen()?;
        let gaps = subscription.state.join(&subscription.hub, &since.clone().into())?.gaps;
        subscription.ready.extend(gaps.into_iter().map(|(channel, gap)| Delivery::Gap { channel: channel.name.clone(), gap }));
        Ok(subscription)
    }

    fn listen(&mut self) -> Result<()> {
        for group in &mut self.state.groups {
            for member in &mut group.members {
                while !self.hub.listen_signal(&member.channel, &self.signal) {
                    member.channel = self.hub.open(&member.channel.name)?;
                }
            }
        }
        Ok(())
    }

    /// Waits for what comes next. `None` after [`Delivery::Closed`]. May be dropped while it waits: nothing is lost.
    pub async fn next(&mut self) -> Option<Delivery> {
        loop {
            if self.ended {
                return None;
            }
            if let Some(delivery) = self.ready.pop_front() {
                return Some(delivery);
            }
            // Taken down before reading: what is committed after the read raises it again.
            self.signal.lower();
            match self.state.read(&self.hub, PAGE) {
                Ok((news, at_head)) => {
                    if let Some(reason) = self.take(news) {
                        return Some(self.close(reason));
                    }
                    if self.ready.is_empty() && at_head && self.closed.run_until_cancelled(self.signal.raised()).await.is_none() {
                        return Some(self.close(CloseReason::Stopped));
                    }
                }
                Err(_) => return Some(self.close(CloseReason::Stopped)),
            }
        }
    }

    fn take(&mut self, news: Vec<News>) -> Option<CloseReason> {
        for item in news {
            match (item, self.ready.back_mut()) {
                (News::Gap(channel, _), _) if out_of_window(&channel) == OutOfWindow::Close => return Some(CloseReason::TooSlow),
                (News::Gap(channel, gap), _) => self.ready.push_back(Delivery::Gap { channel: channel.name.clone(), gap }),
                (News::Message(entry), Some(Delivery::Messages(known))) => known.push(entry),
                (News::Message(entry), _) => self.ready.push_back(Delivery::Messages(vec![entry])),
            }
        }
        None
    }

    fn close(&mut self, reason: CloseReason) -> Delivery {
        self.ended = true;
        Delivery::Closed(reason)
    }

    /// The cursor that resumes after everything handed out, except what a page still holds.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.state.cursor().expect("a subscription of the door has at least one channel")
    }

    /// Moves the positions of quiet slots forward, so that the cursor does not age. Only between two deliveries.
    pub fn refresh(&mut self) -> Cursor {
        if self.ready.is_empty() {
            self.state.refresh(&self.hub);
        }
        self.state.cursor().expect("a subscription of the door has at least one channel")
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        for channel in self.state.channels() {
            self.hub.leave_signal(channel, &self.signal);
        }
    }
}
