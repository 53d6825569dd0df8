//! Listening from any runtime: woken by the hub, reading the log. For gRPC and for embedding.

use std::collections::VecDeque;
use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::Delivery;
use crate::close::CloseReason;
use crate::error::Result;
use crate::hub::{Hub, Signal};
use crate::log::{Cursor, PageLimit, SlotCursor};
use crate::message::ChannelName;
use crate::presence::Notice;
use crate::session::{Joined, Marks, News, OutOfWindow, Presence, Since, Subscription as State, out_of_window};

/// Most messages a subscription hands out at a time.
const PAGE: PageLimit = PageLimit { entries: 512, bytes: 256 << 10 };

/// A listener that reads the log at its own pace and holds nothing of it.
#[derive(Debug)]
pub struct Subscription {
    hub: Arc<Hub>,
    state: State,
    /// How far it has come, once somebody wants to look from elsewhere.
    marks: Option<Arc<Marks>>,
    signal: Arc<Signal>,
    presence: Option<Box<Presence>>,
    /// Read and not yet handed out, at most one page; and where a listener stands behind it, when messages' own cursors do not say so.
    ready: VecDeque<(Delivery, Option<Box<SlotCursor>>)>,
    /// Of what was handed out last.
    own: Option<Box<SlotCursor>>,
    /// The broker stopped.
    stopped: Pin<Box<WaitForCancellationFutureOwned>>,
    /// It has read all there was, and nothing has told it since that there is more.
    waits: bool,
    ended: bool,
    /// Whether it began with a cursor, and then whether nothing was missing.
    resumed: Option<bool>,
}

impl Subscription {
    pub(super) fn begin(
        hub: Arc<Hub>,
        state: State,
        since: &Since,
        presence: Option<Box<Presence>>,
        closed: CancellationToken,
    ) -> Result<Self> {
        let (signal, ready, stopped) = (Arc::default(), VecDeque::new(), Box::pin(closed.cancelled_owned()));
        let (marks, own, waits, ended, resumed) = Default::default();
        let mut subscription = Self { hub, state, marks, signal, presence, ready, own, stopped, waits, ended, resumed };
        // Listen first, then join: nothing is lost between the two, and what comes by both ways is read once.
        subscription.listen()?;
        let Joined { gaps, recovered } = subscription.state.join(&subscription.hub, &since.clone().into())?;
        subscription.resumed = matches!(since, Since::Cursor(_)).then_some(recovered);
        subscription.ready.extend(gaps.into_iter().map(|(channel, gap)| (Delivery::Gap { channel: channel.name.clone(), gap }, None)));
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
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    /// As [`Subscription::next`], for those who look at other things, too.
    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Delivery>> {
        loop {
            if self.ended {
                return Poll::Ready(None);
            }
            if let Some((delivery, own)) = self.ready.pop_front() {
                self.own = own;
                return Poll::Ready(Some(delivery));
            }
            if self.waits {
                if self.stopped.as_mut().poll(context).is_ready() {
                    return Poll::Ready(Some(self.close(CloseReason::Stopped)));
                }
                ready!(self.poll_raised(context));
                self.waits = false;
                continue;
            }
            // Taken down before reading: what is committed after the read raises it again.
            self.signal.lower();
            match self.state.read(&self.hub, PAGE) {
                Ok((news, at_head)) => {
                    self.mark();
                    if let Some(reason) = self.take(news) {
                        return Poll::Ready(Some(self.close(reason)));
                    }
                    self.waits = self.ready.is_empty() && at_head;
                }
                Err(_) => return Poll::Ready(Some(self.close(CloseReason::Stopped))),
            }
        }
    }

    /// Ready when there is something to read, or to be told of others, which lies in `ready` then.
    fn poll_raised(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Self { signal, presence, ready, .. } = self;
        if let Some(presence) = presence.as_mut().filter(|presence| presence.has_ears()) {
            let tell = |channel: &ChannelName, notice: &Notice| {
                ready.push_back((Delivery::Presence { channel: channel.clone(), notice: notice.clone() }, None));
            };
            if presence.poll_told(context, tell).is_ready() {
                return Poll::Ready(());
            }
        }
        signal.poll_raised(context)
    }

    fn take(&mut self, news: Vec<News>) -> Option<CloseReason> {
        for item in news {
            if let News::Gap(channel, gap) = &item
                && let OutOfWindow::Close(reason) = out_of_window(&self.hub, channel, gap.reason)
            {
                return Some(reason);
            }
            match (item, self.ready.back_mut()) {
                (News::Gap(channel, gap), _) => self.ready.push_back((Delivery::Gap { channel: channel.name.clone(), gap }, None)),
                (News::Message(entry, None), Some((Delivery::Messages(known), None))) => known.push(entry),
                // One by one, so that each can be told with its own.
                (News::Message(entry, own), _) => self.ready.push_back((Delivery::Messages(vec![entry]), own)),
            }
        }
        None
    }

    /// The channels it listens to, slot by slot.
    pub fn channels(&self) -> impl Iterator<Item = &ChannelName> {
        self.state.channels().map(|channel| &channel.name)
    }

    /// Does not listen to this channel any more; nothing of it is handed out. Without any channel left it is over, and
    /// [`Subscription::next`] says `None`.
    pub fn leave(&mut self, channel: &ChannelName) {
        let known = self.state.channels().find(|known| known.name == *channel).cloned();
        let Some(known) = known else { return };
        if self.state.channels().count() == 1 {
            self.ended = true;
            return;
        }
        self.hub.leave_signal(&known, &self.signal);
        self.state.remove(channel);
        self.mark();
        if let Some(presence) = &mut self.presence {
            presence.leave(channel);
        }
        for (delivery, _) in &mut self.ready {
            if let Delivery::Messages(entries) = delivery {
                entries.retain(|entry| entry.channel != *channel);
            }
        }
        self.ready.retain(|(delivery, _)| match delivery {
            Delivery::Messages(entries) => !entries.is_empty(),
            Delivery::Gap { channel: of, .. } | Delivery::Presence { channel: of, .. } => of != channel,
            Delivery::Closed(_) => true,
        });
    }

    fn close(&mut self, reason: CloseReason) -> Delivery {
        self.ended = true;
        Delivery::Closed(reason)
    }

    /// Tells, as long as it is kept, whether something was published since [`Subscription::next`] read last: for those who cannot
    /// know whether it is called.
    pub(crate) fn has_news(&self) -> impl Fn() -> bool + Send + use<> {
        let signal = self.signal.clone();
        move || signal.is_raised()
    }

    /// Tells, as long as it is kept, how many messages [`Subscription::next`] has not read of those kept for it.
    pub(crate) fn lacks(&mut self) -> impl Fn() -> u64 + Send + Sync + use<> {
        let marks = self.marks.get_or_insert_with(|| Marks::of(&self.state)).clone();
        let hub = self.hub.clone();
        move || marks.lacks(&hub)
    }

    fn mark(&self) {
        if let Some(marks) = &self.marks {
            marks.set(&self.state);
        }
    }

    /// Whether it began with a cursor, and then whether nothing was missing between that and now.
    #[must_use]
    pub fn resumed(&self) -> Option<bool> {
        self.resumed
    }

    /// Where a listener of the slot stands behind the messages that were handed out last, when they say too little themselves: it
    /// knows of a branch that their line has not taken over.
    #[must_use]
    pub fn own(&self) -> Option<&SlotCursor> {
        self.own.as_deref()
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
