//! One connection's client: its frames become requests, its requests become calls of the shard's hands.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::codec::{CloseCode, Decoder, Frame, Inflater, Input, Item, Rules, write_close};
use super::encoder::{Objects, PLAIN};
use super::ending::Ending;
use super::rates::Rates;
use super::request::{Request, Unread, What};
use super::{Call, Calls, Shared, Wanted};
use crate::auth::{Action, Credential, Pass};
use crate::close::CloseReason;
use crate::error::{Error, ErrorCode, Result};
use crate::front::request::may_listen_to;
use crate::hub::Attendance;
use crate::message::ChannelName;
use crate::metrics::ProtocolError;
use crate::session::Since;
use crate::shard::{Answer, Hands, Inbound};
use crate::wire::{write_gap, write_number, write_refusal, write_string};

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
    /// What the handshake asked for, until the stay begins.
    wanted: Option<Box<Result<Wanted>>>,
    rates: Rates,
    /// No message was finished since a heartbeat that came in the middle of one.
    is_lingering: bool,
    /// Subscribes that waited for another node and may go on. As many as there is work under way, at most.
    attended: Arc<Mutex<VecDeque<Attended>>>,
}

/// A subscribe whose channel another node has sent, or has not.
struct Attended {
    id: Option<u64>,
    channel: ChannelName,
    since: Since,
    outcome: Result<Option<Attendance>>,
    done: oneshot::Sender<()>,
}

impl Client {
    pub(super) fn new(
        shared: Arc<Shared>,
        objects: &'static Objects,
        has_deflate: bool,
        wanted: Result<Wanted>,
        pass: Pass,
        calls: Box<dyn Calls>,
    ) -> Self {
        let rules = Rules { message_bytes_max: shared.config.message_bytes, has_deflate };
        let (decoder, rates) = (Decoder::new(rules), Rates::new(&shared.config));
        let attended = Arc::default();
        Self { shared, objects, decoder, calls, pass, wanted: Some(Box::new(wanted)), rates, is_lingering: false, attended }
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
        let Request { id, what } = match Request::parse(text) {
            Ok(request) => request,
            Err(Unread { id, why }) => return self.refuse(id, &why, hands),
        };
        if let Err((rate, error)) = self.rates.take(&self.shared.config, &what, text.len(), hands.now()) {
            hands.rate_exceeded(rate);
            return self.refuse(id, &error, hands);
        }
        match what {
            What::Subscribe(channel, since) => {
                if let Err(error) = self.subscribe_soon(id, channel, since, hands) {
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
            What::Publish(body) => self.call(id, "published", self.calls.publish(&self.pass, body), hands),
            What::History(query) => self.call(id, "history", self.calls.history(&self.pass, query), hands),
            What::Auth(token) => {
                if let Err(error) = self.authenticate(id, &token, hands) {
                    self.refuse(id, &error, hands);
                }
            }
            What::Ping => self.objects.write_reply(hands.out(), id, "pong", |out| out.extend_from_slice(b"{}")),
        }
    }

    /// Takes another token: the first one, or a fresh one in time. What it does not grant any longer is not listened to any
    /// longer.
    fn authenticate(&mut self, id: Option<u64>, token: &str, hands: &mut Hands<'_>) -> Result<()> {
        let pass = self.shared.gate.admit(&Credential::Bearer(token))?;
        if !pass.may_replace(&self.pass) {
            return Err(Error::new(ErrorCode::PermissionDenied, "this connection is another user's: open one for each"));
        }
        self.pass = pass;
        hands.stay_for(self.pass.left());
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
            if let Err(error) = self.pass.check(Action::Subscribe, &channel) {
                hands.unsubscribe(&channel);
                self.objects.write_reply(hands.out(), None, "unsubscribed", |out| {
                    out.extend_from_slice(b"{\"channel\":");
                    write_string(out, channel.as_str());
                    out.extend_from_slice(b",\"error\":");
                    write_refusal(out, &error);
                    out.push(b'}');
                });
            }
        }
        Ok(())
    }

    /// Subscribes now or, when the channel is kept on another node, as soon as that one has sent it.
    fn subscribe_soon(&self, id: Option<u64>, channel: ChannelName, since: Since, hands: &mut Hands<'_>) -> Result<()> {
        let Some(attending) = hands.attend(&channel) else { return self.subscribe(id, &channel, &since, hands) };
        may_listen_to(&self.pass, &channel, &since)?;
        let attended = self.attended.clone();
        hands.later(Box::pin(async move {
            let outcome = attending.await;
            let (done, subscribed) = oneshot::channel();
            attended.lock().push_back(Attended { id, channel, since, outcome, done });
            // What was asked for after it comes after it.
            let _ = subscribed.await;
            Answer::new(std::future::ready(Vec::new()))
        }));
        Ok(())
    }

    fn subscribe(&self, id: Option<u64>, channel: &ChannelName, since: &Since, hands: &mut Hands<'_>) -> Result<()> {
        may_listen_to(&self.pass, channel, since)?;
        let added = hands.subscribe(channel, since, self.shared.bounds)?;
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
        hands.later(Box::pin(async move {
            let outcome = call.await;
            Answer::new(async move {
                let outcome = outcome.0.await;
                let mut out = Vec::new();
                match outcome {
                    Ok(json) => objects.write_reply(&mut out, id, name, |out| out.extend_from_slice(&json)),
                    Err(error) => objects.write_reply(&mut out, id, "error", |out| write_refusal(out, &error)),
                }
                out
            })
        }));
    }

    fn refuse(&self, id: Option<u64>, error: &Error, hands: &mut Hands<'_>) {
        hands.denied(error);
        self.objects.write_reply(hands.out(), id, "error", |out| write_refusal(out, error));
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
        let begun = wanted.and_then(|Wanted { channels, starts }| {
            channels.iter().try_for_each(|channel| self.subscribe(None, channel, starts.of(channel), hands))
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
            let next = self.attended.lock().pop_front();
            let Some(Attended { id, channel, since, outcome, done }) = next else { return has_resumed };
            has_resumed = true;
            if let Err(error) = outcome.and_then(|_attendance| self.subscribe(id, &channel, &since, hands)) {
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
            while !hands.is_full(self.shared.config.requests) {
                match self.decoder.next(&mut input, inflater) {
                    Ok(Some(item)) => self.hear(item, hands),
                    Ok(None) => break,
                    Err(violation) => {
                        hands.protocol_error(ProtocolError::WebSocket);
                        self.end(&Ending::violated(violation), CloseReason::ProtocolError, hands);
                    }
                }
            }
            length - input.len()
        })
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
        // Half a message is memory that its sender holds here: it must not take for ever.
        if self.decoder.is_in_the_middle() && std::mem::replace(&mut self.is_lingering, true) {
            hands.protocol_error(ProtocolError::WebSocket);
            let ending = Ending::misused(CloseCode::POLICY, "a message was begun and not finished in time");
            return self.end(&ending, CloseReason::ProtocolError, hands);
        }
        self.is_lingering &= self.decoder.is_in_the_middle();
        Frame::PING.write(hands.out(), b"");
    }
}
