//! Listening without a socket of one's own: held polls and HTTP/2 streams are woken here and read the log themselves.

use std::rc::Rc;
use std::task::{Context, Poll};

use super::session::{Listener, Watch};
use super::state::Cell;
use crate::close::CloseReason;
use crate::error::Result;
use crate::message::ChannelName;

/// Why a watcher woke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// Something was committed on one of its channels.
    News,
    /// The stay is over.
    Ended(CloseReason),
}

/// A listener that is only woken. Leaves its channels when dropped.
pub struct Watcher {
    cell: Rc<Cell>,
    key: u32,
}

impl Watcher {
    pub(super) fn new(cell: Rc<Cell>, channels: &[ChannelName], is_poll: bool) -> Result<Self> {
        let key = cell.with(|state| {
            let key = state.listeners.insert(Listener::Watch(Watch { is_poll, ..Watch::default() })) as u32;
            let listening = state.listen(key, channels);
            if let Err(error) = listening {
                state.remove(key);
                return Err(error);
            }
            if state.draining.is_cancelled()
                && let Some(Listener::Watch(watch)) = state.listeners.get_mut(key as usize)
            {
                watch.ended = Some(CloseReason::Draining);
                watch.raised = true;
            }
            Ok(key)
        })?;
        Ok(Self { cell, key })
    }

    /// Ready once after each time something was committed. Read the log *after* this, never before: what comes later
    /// raises it again.
    pub fn poll_woken(&mut self, context: &mut Context<'_>) -> Poll<Woken> {
        let key = self.key as usize;
        self.cell.with(|state| match state.listeners.get_mut(key) {
            Some(Listener::Watch(watch)) => {
                if let Some(reason) = watch.ended {
                    return Poll::Ready(Woken::Ended(reason));
                }
                if std::mem::take(&mut watch.raised) {
                    return Poll::Ready(Woken::News);
                }
                watch.waker = Some(context.waker().clone());
                Poll::Pending
            }
            _ => Poll::Ready(Woken::Ended(CloseReason::Stopped)),
        })
    }

    /// It is not woken for this channel any more.
    pub fn leave(&mut self, channel: &ChannelName) {
        let key = self.key as usize;
        self.cell.with(|state| {
            let local = state.local_of(channel);
            let Some(Listener::Watch(watch)) = state.listeners.get_mut(key) else { return };
            let Some(at) = watch.places.iter().position(|place| Some(place.local) == local) else { return };
            let place = watch.places.remove(at);
            state.leave(place);
        });
    }

    /// Waits for [`Watcher::poll_woken`].
    pub async fn woken(&mut self) -> Woken {
        std::future::poll_fn(|context| self.poll_woken(context)).await
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // With a state that a panic left half changed, nothing is done any more.
        if !self.cell.torn().is_cancelled() {
            self.cell.with(|state| state.remove(self.key));
        }
    }
}

impl std::fmt::Debug for Watcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watcher").field("key", &self.key).finish_non_exhaustive()
    }
}
