//! What was published on this node and is not answered: it goes to the home, again and again until somebody answers, and in
//! the order it came.

use std::collections::VecDeque;
use std::time::Duration;

use super::super::frame::{Ask, Forward, Frame, Outcome, Refusal, Terms};
use super::super::settings::Bug;
use super::asker::Asker;
use super::deferred::is_in_log;
use super::{Answer, Context, Output, Replica, Role};
use crate::log::{SlotLog, Tag};
use crate::message::PublishId;

/// Other homes that one flight is sent on to without waiting; more than that and views are on the move.
const HOPS_MAX: u32 = 3;

#[derive(Debug, Default)]
pub(super) struct Publishes {
    /// In the order they came.
    waiting: VecDeque<Waiting>,
    bytes: usize,
    /// Numbers given to the home, and ids made here.
    sent: u64,
    flight: u32,
    to: Option<Tag>,
    hops: u32,
    /// Nothing is sent before.
    after: Duration,
}

#[derive(Debug)]
struct Waiting {
    rid: u64,
    /// Our number on the wire: ascending in the order they came.
    number: u64,
    ask: Ask,
    terms: Terms,
    since: Duration,
    is_sent: bool,
    tries: u32,
    /// Whether a home it was sent to may have taken it and has not answered: what another one says of it is not all there is to say.
    may_be_taken: bool,
}

impl Publishes {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many wait, how many bytes they are, and since when the oldest has waited.
    pub(super) fn figures(&self) -> (usize, usize, Option<Duration>) {
        (self.waiting.len(), self.bytes, self.waiting.front().map(|oldest| oldest.since))
    }

    /// What was sent to this process and not answered may be lost.
    pub(super) fn link(&mut self, peer: Tag) {
        if self.to == Some(peer) {
            self.give_up_answers();
        }
    }

    /// Whoever was asked does not answer any more: all of them are sent afresh, in order, to somebody else or to the same one.
    pub(super) fn give_up_answers(&mut self) {
        self.flight += 1;
        for waiting in &mut self.waiting {
            waiting.may_be_taken |= waiting.is_sent;
            waiting.is_sent = false;
        }
    }

    fn take(&mut self, number: u64) -> Option<Waiting> {
        let at = self.waiting.iter().position(|waiting| waiting.number == number)?;
        let waiting = self.waiting.remove(at)?;
        self.bytes -= waiting.ask.bytes();
        Some(waiting)
    }
}

impl Ask {
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Publish(draft) => draft.payload.bytes().len() + 256,
            Self::Clear(_) => 256,
        }
    }
}

impl Replica {
    pub(super) fn publish(&mut self, log: &mut SlotLog, cx: &mut Context<'_>, rid: u64, mut ask: Ask, terms: Terms) {
        // What is in the log is answered as before: it is no more that is lost with this node.
        if takes_nothing(cx) && !(self.is_home() && is_in_log(log, cx, &ask)) {
            cx.out.push(Output::Answer { rid, answer: Answer::Leaving });
            return;
        }
        let bytes = ask.bytes();
        if self.publishes.bytes + bytes > cx.settings.publish_bytes && !cx.settings.has(Bug::Unbounded) {
            cx.out.push(Output::Answer { rid, answer: Answer::Refused(Refusal::Busy) });
            return;
        }
        self.publishes.sent += 1;
        let number = self.publishes.sent;
        if let Ask::Publish(draft) = &mut ask
            && draft.id.is_none()
        {
            // Its top bit tells it from ids that are made of positions.
            let id = 1 << 127 | u128::from(self.me.get()) << 80 | u128::from(self.slot.number()) << 64 | u128::from(number);
            draft.id = Some(PublishId::Retry(id));
        }
        self.publishes.bytes += bytes;
        self.publishes.waiting.push_back(Waiting {
            rid,
            number,
            ask,
            terms,
            since: cx.now.mono,
            is_sent: false,
            tries: 0,
            may_be_taken: false,
        });
        self.send_publishes(log, cx);
    }

    /// Answers what waits for another node while this one is cut off and to leave: nobody else is asked in its name any more.
    pub(super) fn turn_publishes_away(&mut self, cx: &mut Context<'_>) {
        if !takes_nothing(cx) {
            return;
        }
        let is_home = self.is_home();
        // What a home has, it answers by its log.
        let (turned, kept): (VecDeque<Waiting>, _) =
            std::mem::take(&mut self.publishes.waiting).into_iter().partition(|waiting| !(is_home && waiting.is_sent));
        self.publishes.waiting = kept;
        for Waiting { rid, ask, is_sent, may_be_taken, .. } in turned {
            self.publishes.bytes -= ask.bytes();
            let answer = if is_sent || may_be_taken { Answer::Unknown } else { Answer::Leaving };
            cx.out.push(Output::Answer { rid, answer });
        }
    }

    /// Whoever waits here without a place is sent elsewhere.
    pub(super) fn turn_away(&mut self, cx: &mut Context<'_>, asker: Asker) {
        match asker {
            Asker::There { peer, rid, flight } => self.send_publish_back(cx, (peer, rid, flight), None),
            Asker::Here(number) => {
                let Some(Waiting { rid, may_be_taken, .. }) = self.publishes.take(number) else { return };
                cx.out.push(Output::Answer { rid, answer: if may_be_taken { Answer::Unknown } else { Answer::Leaving } });
            }
        }
    }

    /// Sends what is not sent to whoever should be the home, or appends it when that is here.
    pub(super) fn send_publishes(&mut self, log: &mut SlotLog, cx: &mut Context<'_>) {
        if self.publishes.waiting.iter().all(|waiting| waiting.is_sent) {
            // Whom nobody reaches any more answers nothing, and that is known long before the connection to it breaks.
            let is_answered = self.publishes.to.is_none_or(|to| self.can_reach(to, cx));
            if is_answered || self.publishes.is_empty() {
                return;
            }
        }
        if self.is_home() {
            self.publishes.to = None;
            let unsent = self.publishes.waiting.iter_mut().filter(|waiting| !waiting.is_sent);
            let asked: Vec<(u64, Duration, Ask, Terms)> = unsent
                .map(|waiting| {
                    (waiting.is_sent, waiting.tries) = (true, waiting.tries + 1);
                    (waiting.number, waiting.since, waiting.ask.clone(), waiting.terms)
                })
                .collect();
            for (number, since, ask, terms) in asked {
                self.append(log, cx, Asker::Here(number), since, ask, terms);
            }
            return;
        }
        let Some(to) = self.target(cx).filter(|to| self.can_reach(*to, cx)) else { return };
        if self.publishes.to != Some(to) {
            self.publishes.to = Some(to);
            self.publishes.give_up_answers();
        }
        if cx.now.mono < self.publishes.after {
            return;
        }
        let flight = self.publishes.flight;
        for waiting in self.publishes.waiting.iter_mut().filter(|waiting| !waiting.is_sent) {
            (waiting.is_sent, waiting.tries) = (true, waiting.tries + 1);
            let Waiting { number: rid, since, terms, .. } = *waiting;
            let forward = Forward { rid, flight, ask: waiting.ask.clone(), since, terms };
            cx.send(to, Frame::Forward(forward));
        }
    }

    pub(super) fn forward_acked(&mut self, cx: &mut Context<'_>, from: Tag, number: u64, flight: u32, outcome: Outcome) {
        match outcome {
            Outcome::NotHome(home) => {
                if self.publishes.to != Some(from) || self.publishes.flight != flight {
                    return;
                }
                // It may have been the home, and have taken what it cannot answer any more.
                self.publishes.give_up_answers();
                self.publishes.hops += 1;
                let is_new = home.is_some_and(|home| home != from && home != self.me && cx.view.is_present(home));
                self.receiver.redirect_to(home.filter(|_| is_new), from);
                if !is_new || self.publishes.hops > HOPS_MAX {
                    self.publishes.hops = 0;
                    self.publishes.after = cx.now.mono + cx.settings.retry / 2;
                }
            }
            outcome => self.publish_answered(cx, number, outcome),
        }
    }

    /// The answer to what was published here.
    pub(super) fn publish_answered(&mut self, cx: &mut Context<'_>, number: u64, outcome: Outcome) {
        let Some(Waiting { rid, tries, may_be_taken, .. }) = self.publishes.take(number) else { return };
        self.publishes.hops = 0;
        let answer = match outcome {
            Outcome::Done(mut done) => {
                // A repeat that we made ourselves is none to the publisher.
                done.duplicate &= tries <= 1;
                Answer::Done(done)
            }
            // It may stand in a branch, and come to light when lines meet.
            Outcome::Refused(_) if may_be_taken && !cx.settings.has(Bug::RefuseTaken) => Answer::Unknown,
            Outcome::Refused(refusal) => Answer::Refused(refusal),
            Outcome::NotHome(_) => Answer::Unknown,
        };
        cx.out.push(Output::Answer { rid, answer });
    }

    pub(super) fn expire_publishes(&mut self, cx: &mut Context<'_>) {
        while let Some(oldest) = self.publishes.waiting.front()
            && oldest.since + cx.settings.publish <= cx.now.mono
        {
            let (rid, number) = (oldest.rid, oldest.number);
            self.publishes.take(number);
            if let Role::Home(home) = &mut self.role {
                home.forget_asker(Asker::Here(number));
            }
            cx.out.push(Output::Answer { rid, answer: Answer::Unknown });
        }
    }
}

/// Whether this node takes no publishes any more.
pub(super) fn takes_nothing(cx: &Context<'_>) -> bool {
    cx.view.is_cut_off() && !cx.settings.has(Bug::TakesToTheEnd)
}
