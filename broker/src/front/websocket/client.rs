//! One connection's client: its frames become requests, its requests become calls of the shard's hands.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::codec::{CloseCode, Decoder, Frame, Inflater, Input, Item, Rules, write_close};
use super::encoder::{Objects, PLAIN};
use super::ending::Ending;
use super::rates::{REFUSED_UNIT, Rates};
use super::request::{Request, Unread, What};
use super::{Call, Calls, Outcome, Publish, Shared, Wanted};
use crate::auth::{Action, Credential, Denied, Look, Pass, Refusal};
use crate::close::CloseReason;
use crate::error::{Error, ErrorCode, Result};
use crate::front::presence::may_be_told;
use crate::front::request::{may_listen_to, may_still_listen_to};
use crate::hub::Attendance;
use crate::journal::SessionId;
use crate::limits::{Arriving, Crowd, FREE_BYTES, UserPlace, gave_way};
use crate::message::ChannelName;
use crate::metrics::ProtocolError;
use crate::session::Since;
use crate::shard::{Answer, Hands, Inbound};
use crate::wire::{write_gap, write_number, write_refusal, write_string};

/// A publish that keeps so many bytes until it is answered. They count from now on, since it may have to wait for its turn.
fn counted(everyone: &Arc<Crowd>, bytes: usize, call: Call) -> Call {
    let mut arriving = Arriving::new(everyone.clone());
    arriving.holds(bytes);
    Box::pin(async move {
        let Some(outcome) = arriving.hold_until_done(bytes, call).await else {
            return Outcome::new(std::future::ready(Err(gave_way())));
        };
        Outcome::new(async move { arriving.hold_until_done(bytes, outcome.0).await.unwrap_or_else(|| Err(gave_way())) })
    })
}

thread_local! {
    /// One serves all connections of a shard, since no message knows of the one before.
    static INFLATER: RefCell<Inflater> = RefCell::default();
}

/// The client's side of a connection.
pub(super) struct Client {
    shared: Arc<Shared>,
    objects: &'static Objects,
    decoder: Decoder,
    calls: Box<dyn Calls>,
    /// Who it is, as far as that was proven.
    pass: Pass,
    /// Its place among the connections of its user, if these are bounded.
    place: Option<UserPlace>,
    session: SessionId,
    /// What the handshake asked for, until the stay begins.
    wanted: Option<Box<Result<Wanted>>>,
    rates: Rates,
    /// What was refused by its rates since the last heartbeat, in [`REFUSED_UNIT`]s.
    refused: u32,
    /// No message was finished since a heartbeat that came in the middle of one.
    is_lingering: bool,
    /// The place of a message that is half here, once that is large enough to count.
    arriving: Option<Box<Arriving>>,
    /// A token waits for keys that are being fetched. What is asked after it is asked with it, so nothing is read meanwhile.
    is_learning: bool,
    /// What waited for others and may go on. As much as there is work under way, at most.
    /// Made with the first.
    resumed: Option<Arc<Mutex<VecDeque<Resumed>>>>,
}

/// A request that had to wait, and what came of that.
enum Resumed {
    Subscribe(Attended),
    /// Who the token makes its bearer, by the keys there are now.
    Auth(Option<u64>, Result<Pass, Refusal>),
}

/// A subscribe whose channel another node has sent, or has not.
struct Attended {
    id: Option<u64>,
    channel: ChannelName,
    since: Since,
    presence: bool,
    outcome: Result<Option<Attendance>>,
    done: oneshot::Sender<()>,
}

impl Client {
    pub(super) fn new(
        shared: Arc<Shared>,
        objects: &'static Objects,
        has_deflate: bool,
        wanted: Result<Wanted>,
        (pass, place, session): (Pass, Option<UserPlace>, SessionId),
        calls: Box<dyn Calls>,
    ) -> Self {
        let rules = Rules { message_bytes_max: shared.config.message_bytes, has_deflate };
        let (decoder, rates) = (Decoder::new(rules), Rates::new(&shared.config));
        let wanted = Some(Box::new(wanted));
        let (is_lingering, is_learning, arriving, resumed, refused) = (false, false, None, None, 0);
        Self { shared, objects, decoder, calls, pass, place, session, wanted, rates, refused, is_lingering, is_learning, arriving, resumed }
    }

    fn hear(&mut self, item: Item<'_>, hands: &mut Hands<'_>) {
        match item {
            Item::Text(text) => {
                self.is_lingering = false;
                self.request(&text, hands);
            }
            Item::Binary(_) => {
                hands.protocol_error(ProtocolError::WebSocket);
                let ending = Ending::misused(CloseCode::UNSUPPORTED, "requests are text");
                self.end(&ending, CloseReason::ProtocolError, hands);
            }
            Item::Ping(payload) => Frame::PONG.write(hands.out(), &payload),
            Item::Pong(_) => {}
            Item::Close(close) => {
                let mut words = Vec::new();
                write_close(&mut words, close.as_ref().map(|close| (close.code, &*close.reason)));
                hands.part(words);
            }
        }
    }

    fn request(&mut self, text: &str, hands: &mut Hands<'_>) {
        let config = &self.shared.config;
        let read = Request::parse(text);
        let (Ok(Request { id, .. }) | Err(Unread { id, .. })) = read;
        // First of all: what is no request costs as much to read.
        let mut taken = self.rates.take_bytes(config, text.len(), hands.now());
        if let Ok(Request { what, .. }) = &read {
            taken = taken.and_then(|()| self.rates.take(config, what, hands.now()));
        }
        if let Err((rate, error)) = taken {
            hands.rate_exceeded(rate);
            self.refuse(id, &error, hands);
            self.refused = self.refused.saturating_add(text.len().div_ceil(REFUSED_UNIT) as u32);
            if Rates::is_too_much_refused(&self.shared.config, self.refused) {
                self.end(&Ending::refused(&error), CloseReason::Refused, hands);
            }
            return;
        }
        let what = match read {
            Ok(request) => request.what,
            Err(unread) => return self.refuse(id, &unread.why, hands),
        };
        match what {
            What::Subscribe(channel, since, presence) => {
                if let Err(error) = self.subscribe_soon(id, channel, since, presence, hands) {
                    self.refuse(id, &error, hands);
                }
            }
            What::Unsubscribe(channel) => {
                hands.unsubscribe(&channel);
                self.objects.write_reply(hands.out(), id, "unsubscribed", |out| {
                    out.extend_from_slice(b"{\"channel\":");
                    write_string(out, channel.as_str());
                    out.push(b'}');
                });
            }
            What::Publish(body) => {
                let bytes = body.len();
                let Publish { call, unechoed } = self.calls.publish(&self.pass, body);
                let call = if bytes > FREE_BYTES { counted(&self.shared.incoming, bytes, call) } else { call };
                // Before it is made: it may be there before its answer is.
                unechoed.into_iter().for_each(|(channel, id)| hands.leave_out(channel, id));
                self.call(id, "published", call, hands);
            }
            What::Presence(query) => self.call(id, "presence", self.calls.presence(&self.pass, query), hands),
            What::History(query) => self.call(id, "history", self.calls.history(&self.pass, query), hands),
            What::Auth(token) => self.authenticate_soon(id, token, hands),
            What::Ping => self.objects.write_reply(hands.out(), id, "pong", |out| out.extend_from_slice(b"{}")),
        }
    }

    /// Takes another token now or, when its key is not known, as soon as the issuer's keys were fetched.
    fn authenticate_soon(&mut self, id: Option<u64>, token: String, hands: &mut Hands<'_>) {
        let gate = &self.shared.gate;
        let from = self.pass.comes_from();
        match gate.look_at(&Credential::Bearer(&token), from, Look::First) {
            Err(refusal) if refusal.cause == Denied::UnknownKid => {
                self.is_learning = true;
                let (gate, resumed) = (gate.clone(), self.resumed.get_or_insert_default().clone());
                hands.later(Box::pin(async move {
                    let came = gate.learn_keys(from).await;
                    let admitted = if came { gate.look_at(&Credential::Bearer(&token), from, Look::Again) } else { Err(refusal) };
                    resumed.lock().push_back(Resumed::Auth(id, admitted));
                    Answer::new(std::future::ready(Vec::new()))
                }));
            }
            admitted => self.authenticate(id, admitted, hands),
        }
    }

    fn authenticate(&mut self, id: Option<u64>, admitted: Result<Pass, Refusal>, hands: &mut Hands<'_>) {
        let admitted = admitted.map(|pass| pass.coming_from(self.pass.comes_from())).map_err(|refusal| self.shared.gate.refuse(&refusal));
        if let Err(error) = admitted.and_then(|pass| self.become_bearer(id, pass, hands)) {
            self.refuse(id, &error, hands);
        }
    }

    /// Takes another token: the first one, or a fresh one in time. What it does not grant any longer is not listened to any
    /// longer.
    fn become_bearer(&mut self, id: Option<u64>, pass: Pass, hands: &mut Hands<'_>) -> Result<()> {
        if !pass.may_replace(&self.pass) {
            return Err(Error::new(ErrorCode::PermissionDenied, "this connection is another user's: open one for each"));
        }
        if self.pass.user().is_none() {
            self.place = pass.take_place()?;
        }
        self.pass = pass;
        hands.stay_for(self.pass.left());
        hands.identify(self.pass.identity());
        let until = self.pass.until();
        self.objects.write_reply(hands.out(), id, "authenticated", |out| {
            out.extend_from_slice(b"{");
            if let Some(until) = until {
                out.extend_from_slice(b"\"expires\":");
                write_number(out, until);
            }
            out.push(b'}');
        });
        for channel in hands.channels() {
            // Not one more subscribe: it is listened to already, and a rate must not end that.
            if let Err(refusal) = self.pass.permit(Action::Subscribe, &channel) {
                let error = self.shared.gate.refuse(&refusal);
                hands.unsubscribe(&channel);
                self.objects.write_reply(hands.out(), None, "unsubscribed", |out| {
                    out.extend_from_slice(b"{\"channel\":");
                    write_string(out, channel.as_str());
                    out.extend_from_slice(b",\"error\":");
                    write_refusal(out, &error);
                    out.push(b'}');
                });
                continue;
            }
            if !self.pass.explain(Action::Presence, &channel).1 {
                hands.stop_presence(&channel);
            }
            if hands.hub().has_presence(&channel)
                && let Some(member) = self.pass.member(self.session.as_str())
            {
                hands.reappear(&channel, &member);
            }
        }
        Ok(())
    }

    /// Subscribes now or, when the channel is kept on another node, as soon as that one has sent it.
    fn subscribe_soon(&mut self, id: Option<u64>, channel: ChannelName, since: Since, presence: bool, hands: &mut Hands<'_>) -> Result<()> {
        may_listen_to(&self.pass, &channel, &since)?;
        let Some(attending) = hands.attend(&channel) else { return self.subscribe(id, &channel, &since, presence, hands) };
        let resumed = self.resumed.get_or_insert_default().clone();
        hands.later(Box::pin(async move {
            let outcome = attending.await;
            let (done, subscribed) = oneshot::channel();
            resumed.lock().push_back(Resumed::Subscribe(Attended { id, channel, since, presence, outcome, done }));
            // What was asked for after it comes after it.
            let _ = subscribed.await;
            Answer::new(std::future::ready(Vec::new()))
        }));
        Ok(())
    }

    /// Subscribes who may listen.
    fn subscribe(&self, id: Option<u64>, channel: &ChannelName, since: &Since, presence: bool, hands: &mut Hands<'_>) -> Result<()> {
        if presence {
            may_be_told(&self.pass, hands.hub(), channel)?;
        }
        let added = hands.subscribe(channel, since, self.shared.bounds)?;
        if presence || hands.hub().has_presence(channel) {
            let member = self.pass.member(self.session.as_str());
            if let Err(error) = hands.enter(channel, member.as_ref(), presence) {
                hands.unsubscribe(channel);
                return Err(error);
            }
        }
        let offset = hands.offset(&added);
        self.objects.write_reply(hands.out(), id, "subscribed", |out| {
            out.extend_from_slice(b"{\"channel\":");
            write_string(out, channel.as_str());
            out.extend_from_slice(b",\"cursor\":");
            write_string(out, &added.cursor.encode());
            out.extend_from_slice(b",\"offset\":");
            write_number(out, offset);
            out.extend_from_slice(if added.recovered { b",\"recovered\":true}" } else { b",\"recovered\":false}" });
        });
        if let Some(gap) = &added.gap {
            self.objects.write_reply(hands.out(), None, "gap", |out| write_gap(out, channel, gap));
        }
        Ok(())
    }

    /// Makes a call whose answer comes later.
    fn call(&self, id: Option<u64>, name: &'static str, call: Call, hands: &mut Hands<'_>) {
        // Not compressed: it is for one client alone, and a page of history is large enough to hold up all others.
        let objects = &PLAIN;
        let teller = hands.teller();
        hands.later(Box::pin(async move {
            let outcome = call.await;
            Answer::new(async move {
                let outcome = outcome.0.await;
                let mut out = Vec::new();
                match outcome {
                    Ok(json) => objects.write_reply(&mut out, id, name, |out| out.extend_from_slice(&json)),
                    Err(error) => {
                        teller.inspect(|teller| teller.denied(&error));
                        objects.write_reply(&mut out, id, "error", |out| write_refusal(out, &error));
                    }
                }
                out
            })
        }));
    }

    fn refuse(&self, id: Option<u64>, error: &Error, hands: &mut Hands<'_>) {
        hands.denied(error);
        self.objects.write_reply(hands.out(), id, "error", |out| write_refusal(out, error));
    }

    /// What is kept of an unfinished message counts among all that is half here.
    fn weigh(&mut self) {
        match self.decoder.held_bytes() {
            0 => self.arriving = None,
            held => {
                let everyone = &self.shared.incoming;
                self.arriving.get_or_insert_with(|| Box::new(Arriving::new(everyone.clone()))).holds(held);
            }
        }
    }

    fn end(&self, ending: &Ending<'_>, reason: CloseReason, hands: &mut Hands<'_>) {
        let mut words = Vec::new();
        ending.write(self.objects, hands.retry_hint(), &mut words);
        hands.end(reason, words);
    }
}

impl Inbound for Client {
    fn begin(&mut self, hands: &mut Hands<'_>) {
        let Some(wanted) = self.wanted.take() else { return };
        let before = hands.out().len();
        let begun = wanted.and_then(|Wanted { channels, starts, presence }| {
            channels.iter().try_for_each(|channel| {
                may_listen_to(&self.pass, channel, starts.of(channel))?;
                self.subscribe(None, channel, starts.of(channel), presence, hands)
            })
        });
        if let Err(error) = begun {
            // All or nothing, and no word of what there was for a moment.
            hands.out().truncate(before);
            hands.denied(&error);
            self.end(&Ending::refused(&error), CloseReason::Refused, hands);
        }
    }

    fn resume(&mut self, hands: &mut Hands<'_>) -> bool {
        let mut has_resumed = false;
        loop {
            let next = self.resumed.as_ref().and_then(|resumed| resumed.lock().pop_front());
            let Attended { id, channel, since, presence, outcome, done } = match next {
                Some(Resumed::Subscribe(attended)) => attended,
                Some(Resumed::Auth(id, admitted)) => {
                    (self.is_learning, has_resumed) = (false, true);
                    self.authenticate(id, admitted, hands);
                    continue;
                }
                None => return has_resumed,
            };
            has_resumed = true;
            let subscribed = outcome.and_then(|_attendance| {
                // It may be somebody else by now, or may less.
                may_still_listen_to(&self.pass, &channel, &since).map_err(|refusal| self.shared.gate.refuse(&refusal))?;
                self.subscribe(id, &channel, &since, presence, hands)
            });
            if let Err(error) = subscribed {
                self.refuse(id, &error, hands);
            }
            // The work goes on; if nobody waits any more, the stay is over.
            let _ = done.send(());
        }
    }

    fn read(&mut self, bytes: &mut [u8], hands: &mut Hands<'_>) -> usize {
        let length = bytes.len();
        let mut input = Input::new(bytes);
        INFLATER.with_borrow_mut(|inflater| {
            while !self.is_learning && !hands.is_full(self.shared.config.requests) {
                match self.decoder.next(&mut input, inflater) {
                    Ok(Some(item)) => self.hear(item, hands),
                    Ok(None) => break,
                    Err(violation) => {
                        hands.protocol_error(ProtocolError::WebSocket);
                        self.end(&Ending::violated(violation), CloseReason::ProtocolError, hands);
                    }
                }
            }
        });
        self.weigh();
        length - input.len()
    }

    fn poll_over(&mut self, context: &mut Context<'_>, hands: &mut Hands<'_>) {
        let Some(arriving) = &mut self.arriving else { return };
        if let Poll::Ready(refused) = arriving.poll_refused(context) {
            self.decoder.give_up();
            self.arriving = None;
            hands.denied(&refused);
            self.end(&Ending::refused(&refused), CloseReason::Refused, hands);
        }
    }

    fn read_last(&mut self, bytes: &mut [u8]) -> ControlFlow<()> {
        let mut input = Input::new(bytes);
        INFLATER.with_borrow_mut(|inflater| {
            loop {
                match self.decoder.next(&mut input, inflater) {
                    Ok(Some(Item::Close(_))) => return ControlFlow::Break(()),
                    Ok(Some(_)) => {}
                    // After a violation nothing is understood any more; the client may still be reading why.
                    Ok(None) | Err(_) => return ControlFlow::Continue(()),
                }
            }
        })
    }

    fn beat(&mut self, hands: &mut Hands<'_>) {
        self.refused = 0;
        // Half a message is memory that its sender holds here: it must not take for ever.
        if self.decoder.is_in_the_middle() && std::mem::replace(&mut self.is_lingering, true) {
            hands.protocol_error(ProtocolError::WebSocket);
            let ending = Ending::misused(CloseCode::POLICY, "a message was begun and not finished in time");
            return self.end(&ending, CloseReason::ProtocolError, hands);
        }
        self.is_lingering &= self.decoder.is_in_the_middle();
        // Answering pings is no reason to stay for who may do nothing: not for a stranger, nor for a key that was taken out. What a
        // token has opened ends with it.
        if !self.is_learning
            && let Err(refusal) = self.pass.permit_anything()
            && (self.pass.until().is_none() || hands.channels().is_empty())
        {
            let error = self.shared.gate.refuse(&refusal);
            hands.denied(&error);
            return self.end(&Ending::refused(&error), CloseReason::Refused, hands);
        }
        Frame::PING.write(hands.out(), b"");
    }
}
