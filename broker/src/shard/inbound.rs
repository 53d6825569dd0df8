//! The other direction: what a client says on a socket that the shard owns. The front understands it, the shard does it.

use std::collections::VecDeque;
use std::future::Future;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::session::Listener;
use super::state::State;
use crate::auth::Identity;
use crate::clock::Clock;
use crate::close::CloseReason;
use crate::error::{Error, Result};
use crate::hub::{ATTEND_LIMIT, Attendance, Hub};
use crate::journal::{Journal, SessionId, What};
use crate::message::{ChannelName, MessageId};
use crate::metrics::{Front, ProtocolError, Rate};
use crate::presence::Member;
use crate::session::{Added, Bounds, Presence, Since};

/// A front's ear for one connection. It holds what is unfinished of its client's words and nothing else; what is complete
/// becomes calls of [`Hands`].
pub trait Inbound: Send {
    /// The stay begins; only the head was written before.
    fn begin(&mut self, hands: &mut Hands<'_>);

    /// Listens to bytes as they came, and says how many it took. It leaves what it must not begin yet because the hands are
    /// [full](Hands::is_full); the same bytes come again then.
    fn read(&mut self, bytes: &mut [u8], hands: &mut Hands<'_>) -> usize;

    /// Goes on with what waited for work that is done now. `true` when there was something.
    fn resume(&mut self, _hands: &mut Hands<'_>) -> bool {
        false
    }

    /// Ends the stay when what is kept of the client's words must go; whoever asks is woken then.
    fn poll_over(&mut self, _context: &mut Context<'_>, _hands: &mut Hands<'_>) {}

    /// Listens only for the client's last word, because ours was said. `Break` when it came.
    fn read_last(&mut self, bytes: &mut [u8]) -> ControlFlow<()>;

    /// Time for a sign of life from both sides: asks the client for one.
    fn beat(&mut self, hands: &mut Hands<'_>);
}

/// The second step of a [`Later`]: ready with what is to be written.
pub struct Answer(Pin<Box<dyn Future<Output = Vec<u8>>>>);

impl Answer {
    /// This step.
    pub fn new(step: impl Future<Output = Vec<u8>> + 'static) -> Self {
        Self(Box::pin(step))
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Answer")
    }
}

/// Work that takes a while, in two steps: the first ones run one after the other, in the order they were asked for, the
/// second ones all at once. Neither may touch the shard.
pub type Later = Pin<Box<dyn Future<Output = Answer>>>;

/// What a front may do for its client.
pub struct Hands<'a> {
    state: &'a mut State,
    key: u32,
    work: &'a mut Work,
    out: &'a mut Vec<u8>,
    ended: Option<Ended>,
}

impl<'a> Hands<'a> {
    pub(super) fn new(state: &'a mut State, key: u32, work: &'a mut Work, out: &'a mut Vec<u8>) -> Self {
        Self { state, key, work, out, ended: None }
    }

    /// What is to be written, in one go, before anything that happens afterwards.
    pub fn out(&mut self) -> &mut Vec<u8> {
        self.out
    }

    /// Whether so much is due that nothing more should be begun: a full write, or `work_max` pieces of work.
    #[must_use]
    pub fn is_full(&self, work_max: usize) -> bool {
        self.ended.is_some() || self.out.len() >= self.state.bounds.page_bytes || self.work.0.len() >= work_max
    }

    /// Listens to one more channel from now on. Whatever is to be said of it first goes to [`Hands::out`] now.
    ///
    /// # Errors
    /// `invalid_request` when it is listened to already, or would be one too many; `overloaded` at the bound of channels.
    pub fn subscribe(&mut self, channel: &ChannelName, since: &Since, bounds: Bounds) -> Result<Added> {
        self.state.subscribe(self.key, channel, since, bounds)
    }

    /// What to wait for before a channel can be listened to; `None` when it can be now. See [`Hub::attend`](crate::hub::Hub::attend).
    #[must_use]
    pub fn attend(&self, channel: &ChannelName) -> Option<impl Future<Output = Result<Option<Attendance>>> + use<>> {
        let (hub, channel) = (self.state.hub.clone(), channel.clone());
        if hub.is_ready(&channel) {
            return None;
        }
        Some(async move { hub.attend(&[channel], ATTEND_LIMIT).await })
    }

    /// The newest offset that was given in a channel.
    #[must_use]
    pub fn offset(&self, added: &Added) -> u64 {
        self.state.hub.channel_stats(&added.channel).map_or(0, |stats| stats.offset)
    }

    /// The channels that are listened to.
    #[must_use]
    pub fn channels(&mut self) -> Vec<ChannelName> {
        let session = self.state.session(self.key);
        session.map_or_else(Vec::new, |session| session.subscription.channels().map(|channel| channel.name.clone()).collect())
    }

    /// The stay lasts so long from now on; none for as long as the client likes.
    pub fn stay_for(&mut self, stay: Option<std::time::Duration>) {
        self.state.stay_for(self.key, stay);
    }

    /// Lets others see the client on a channel that it listens to, and tells it of them if it `wants` that.
    ///
    /// # Errors
    /// `overloaded` at a bound of members.
    pub fn enter(&mut self, channel: &ChannelName, member: Option<&Member>, wants: bool) -> Result<()> {
        let hub = self.state.hub.clone();
        let Some(session) = self.state.session(self.key) else { return Ok(()) };
        Presence::enter(&mut session.presence, &hub, channel, member, wants.then_some(0))
    }

    /// Lets orders of backends find the client by what it has shown now.
    pub fn identify(&mut self, identity: Option<Identity>) {
        let register = self.state.register.clone();
        if let Some(session) = self.state.session(self.key) {
            let before = session.stay.take().map(|stay| *stay);
            session.stay = register.enter_again(before, session.id, identity).map(Box::new);
        }
    }

    /// Lets others see the client by what it has shown now. At a bound of members it stays as it was.
    pub fn reappear(&mut self, channel: &ChannelName, member: &Member) {
        let hub = self.state.hub.clone();
        if let Some(presence) = self.state.session(self.key).and_then(|session| session.presence.as_mut()) {
            let _ = presence.reappear(&hub, channel, member);
        }
    }

    /// Tells the client of others on this channel no more.
    pub fn stop_presence(&mut self, channel: &ChannelName) {
        if let Some(presence) = self.state.session(self.key).and_then(|session| session.presence.as_mut()) {
            presence.unlisten(channel);
        }
    }

    /// The client publishes this message now, and does not hear it if it listens to the channel.
    pub fn leave_out(&mut self, channel: ChannelName, id: MessageId) {
        let tick = self.state.tick;
        if let Some(session) = self.state.session(self.key)
            && session.subscription.channels().any(|known| known.name == channel)
        {
            session.expect_echo(channel, id, tick);
        }
    }

    /// The hub behind it.
    #[must_use]
    pub fn hub(&self) -> &Hub {
        &self.state.hub
    }

    /// Nothing of this channel comes any more. Does nothing when it was not listened to.
    pub fn unsubscribe(&mut self, channel: &ChannelName) {
        self.state.unsubscribe(self.key, channel);
    }

    /// Begins work whose answer is written when it is there.
    pub fn later(&mut self, work: Later) {
        self.work.0.push_back(Step::InOrder(work));
    }

    /// The stay is over by our will. The last words follow once the work under way is answered; then the client has a moment
    /// to say its own.
    pub fn end(&mut self, reason: CloseReason, words: Vec<u8>) {
        self.ended.get_or_insert(Ended { reason, words: LastWords { bytes: words, is_client_due: true } });
    }

    /// The client has said its last. Ours follow once the work under way is answered.
    pub fn part(&mut self, words: Vec<u8>) {
        self.ended.get_or_insert(Ended::by_client(words));
    }

    /// Tells that something the client asked for is refused.
    pub fn denied(&self, error: &Error) {
        if let Some(Listener::Session(session)) = self.state.listeners.get(self.key as usize) {
            self.state.tell(session.id, session.encoder.front(), What::denied(error));
        }
    }

    /// The same for what is refused later, when the work is done.
    #[must_use]
    pub fn teller(&self) -> Option<Teller> {
        match self.state.listeners.get(self.key as usize) {
            Some(Listener::Session(session)) => {
                let (session, front) = (session.id, session.encoder.front());
                Some(Teller { journal: self.state.journal.clone(), clock: self.state.hub.clock(), session, front })
            }
            _ => None,
        }
    }

    /// The time, as the broker counts it.
    #[must_use]
    pub fn now(&self) -> std::time::Duration {
        self.state.hub.clock().mono()
    }

    /// Counts a request that was refused because too many came.
    pub fn rate_exceeded(&self, rate: Rate) {
        self.state.metrics.rate_exceeded(rate);
    }

    /// Counts what the client did wrong.
    pub fn protocol_error(&self, kind: ProtocolError) {
        self.state.metrics.shard(self.state.number).protocol_error(kind);
    }

    /// How long a client that is sent away should wait before it comes back.
    #[must_use]
    pub fn retry_hint(&self) -> std::time::Duration {
        self.state.retry_hint()
    }

    pub(super) fn ended(self) -> Option<Ended> {
        self.ended
    }
}

impl std::fmt::Debug for Hands<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hands").field("key", &self.key).field("ended", &self.ended.is_some()).finish_non_exhaustive()
    }
}

/// Tells what becomes of a session's work.
#[derive(Clone, Debug)]
pub struct Teller {
    journal: Journal,
    clock: Clock,
    session: SessionId,
    front: Front,
}

impl Teller {
    /// Something the client asked for is refused.
    pub fn denied(&self, error: &Error) {
        self.journal.tell(self.session, self.front, What::denied(error), self.clock.now().unix_ms);
    }
}

/// That a stay is over, and what is still to be said.
pub(super) struct Ended {
    pub(super) reason: CloseReason,
    pub(super) words: LastWords,
}

impl Ended {
    /// The client left; `words` answer its last.
    pub(super) fn by_client(words: Vec<u8>) -> Self {
        Self { reason: CloseReason::ClientGone, words: LastWords { bytes: words, is_client_due: false } }
    }
}

/// The last we say.
pub(super) struct LastWords {
    pub(super) bytes: Vec<u8>,
    /// The client is to answer it.
    pub(super) is_client_due: bool,
}

/// How far a conversation has come.
pub(super) enum Phase {
    Open,
    /// Nothing new is begun. What was asked is done and answered, and then the last words are said.
    Finishing(LastWords),
    /// Ours was said.
    Said {
        is_client_due: bool,
    },
}

/// What a session keeps of its client's side of the conversation.
pub(super) struct Conversation {
    pub(super) inbound: Box<dyn Inbound>,
    /// Read and not yet listened to, because the hands were full. Nothing more is read as long as it is here.
    pub(super) held: Vec<u8>,
    pub(super) work: Work,
    /// A sign of life was asked for, and nothing was heard since.
    pub(super) is_asked: bool,
    pub(super) phase: Phase,
    /// Our last word was said, and the wheel ends it if the client's does not come.
    pub(super) is_closing: bool,
}

impl Conversation {
    pub(super) fn new(inbound: Box<dyn Inbound>, early: &[u8]) -> Self {
        Self { inbound, held: early.to_vec(), work: Work::default(), is_asked: false, phase: Phase::Open, is_closing: false }
    }
}

impl std::fmt::Debug for Conversation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conversation").field("held", &self.held.len()).field("work", &self.work.0.len()).finish_non_exhaustive()
    }
}

/// Work in progress.
#[derive(Default)]
pub(super) struct Work(VecDeque<Step>);

enum Step {
    InOrder(Later),
    Beside(Answer),
}

impl Work {
    /// Nothing is under way.
    pub(super) fn is_done(&self) -> bool {
        self.0.is_empty()
    }

    /// Gives up what is under way.
    pub(super) fn give_up(&mut self) {
        self.0.clear();
    }

    /// Goes on with everything, until about `bytes_max` are to be written. `true` when something was finished.
    pub(super) fn poll(&mut self, context: &mut Context<'_>, out: &mut Vec<u8>, bytes_max: usize) -> bool {
        let before = self.0.len();
        let mut may_begin = true;
        let mut at = 0;
        while at < self.0.len() && out.len() < bytes_max {
            if let Step::InOrder(first) = &mut self.0[at]
                && may_begin
            {
                match first.as_mut().poll(context) {
                    Poll::Ready(answer) => self.0[at] = Step::Beside(answer),
                    Poll::Pending => may_begin = false,
                }
            }
            match &mut self.0[at] {
                Step::Beside(answer) => match answer.0.as_mut().poll(context) {
                    Poll::Ready(bytes) => {
                        out.extend_from_slice(&bytes);
                        self.0.remove(at);
                    }
                    Poll::Pending => at += 1,
                },
                Step::InOrder(_) => at += 1,
            }
        }
        self.0.len() < before
    }
}
