//! The task that owns the gRPC stream.

use std::collections::VecDeque;

use tidings_proto::v1;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::backoff::Backoff;
use crate::client::{Client, TRY_MAX};
use crate::error::{Code, Refused, Result};
use crate::failure::{Failure, given_up};
use crate::message::Published;

/// A message that has no answer yet.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) publish: v1::PublishRequest,
    /// Whether it may have reached a broker.
    pub(super) was_sent: bool,
    /// When its sender stops waiting.
    pub(super) deadline: Instant,
    pub(super) answer: oneshot::Sender<Result<Published>>,
    /// Its share of the stream's bound; given back with the answer.
    pub(super) _room: OwnedSemaphorePermit,
}

/// How a gRPC stream ended.
enum End {
    /// All is answered and nobody can add more.
    Finished,
    /// It broke; what is unanswered goes out again on the next one.
    Broken(Failure),
    /// It says nothing any more: the same, on another connection.
    Silent,
    /// Another stream would meet the same "no".
    Refused(Refused),
}

/// The driver's memory between streams. `waiting[0]` has the number `first`; numbers have no holes.
pub(super) struct Driver {
    client: Client,
    in_flight: usize,
    first: u64,
    waiting: VecDeque<Option<Waiting>>,
    backoff: Backoff,
    last_failure: Failure,
}

impl Driver {
    pub(super) fn new(client: Client, in_flight: usize) -> Self {
        Self { client, in_flight, first: 1, waiting: VecDeque::new(), backoff: Backoff::of_a_call(), last_failure: Failure::silence() }
    }

    /// Runs until the handle is gone and everything is answered.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Waiting>) {
        loop {
            // A stream is only opened for something to send: an idle publisher does not knock at a broker that is away.
            if self.waiting.is_empty() {
                match queue.recv().await {
                    Some(waiting) => self.waiting.push_back(Some(waiting)),
                    None => return,
                }
            }
            match self.stream(&mut queue).await {
                End::Finished => return,
                End::Broken(failure) => self.pause(failure).await,
                End::Silent => self.pause(Failure::silence()).await,
                End::Refused(refused) => self.answer_all(&refused),
            }
        }
    }

    /// Opens one gRPC stream and drives it to its end.
    async fn stream(&mut self, queue: &mut mpsc::Receiver<Waiting>) -> End {
        // Room for everything that may be unanswered: sending never waits, so reading acks never stops.
        let (out, requests) = mpsc::channel(self.in_flight);
        for (seq, waiting) in (self.first..).zip(&self.waiting) {
            if let Some(waiting) = waiting {
                let _ = out.try_send(request(seq, waiting));
            }
        }
        let mut line = self.client.link().line();
        let requests = self.client.request(ReceiverStream::new(requests));
        let end = match timeout_at(Instant::now() + TRY_MAX, line.grpc.publish_stream(requests)).await {
            Ok(Ok(response)) => self.exchange(queue, out, response.into_inner()).await,
            Ok(Err(status)) => End::of(&status),
            Err(_) => End::Silent,
        };
        match end {
            End::Silent => {
                self.client.link().replace(&line);
                End::Broken(Failure::silence())
            }
            end => end,
        }
    }

    /// Sends what comes from the queue and hands out what comes from the broker.
    async fn exchange(
        &mut self,
        queue: &mut mpsc::Receiver<Waiting>,
        out: mpsc::Sender<v1::PublishStreamRequest>,
        mut acks: Streaming<v1::PublishAck>,
    ) -> End {
        // Dropped when nobody can add more, which tells the broker that no request follows.
        let mut out = Some(out);
        let mut heard = Instant::now();
        loop {
            if self.waiting.is_empty() && out.is_none() {
                // All is answered; what is left is the broker's goodbye, and not worth waiting for if it does not come.
                let _ = timeout_at(Instant::now() + TRY_MAX, acks.message()).await;
                return End::Finished;
            }
            let stalled = heard + TRY_MAX;
            let deadline = self.next_deadline().map(|deadline| deadline.min(stalled));
            tokio::select! {
                ack = acks.message() => match ack {
                    Ok(Some(ack)) => {
                        heard = Instant::now();
                        if let Err(leaving) = self.answer(ack) {
                            return End::Broken(Failure::Later(leaving));
                        }
                    }
                    Ok(None) => return End::Broken(Failure::Lost("the broker ended the stream".to_owned())),
                    Err(status) => return End::of(&status),
                },
                waiting = queue.recv(), if out.is_some() => match waiting {
                    Some(waiting) => {
                        if self.waiting.is_empty() {
                            heard = Instant::now();
                        }
                        let request = request(self.first + self.waiting.len() as u64, &waiting);
                        self.waiting.push_back(Some(waiting));
                        if out.as_ref().is_some_and(|out| out.try_send(request).is_err()) {
                            return End::Broken(Failure::Lost("the stream takes no more requests".to_owned()));
                        }
                    }
                    None => out = None,
                },
                () = sleep_until(deadline.unwrap_or(stalled)), if deadline.is_some() => {
                    self.mark_sent();
                    self.expire();
                    if Instant::now() >= stalled {
                        return End::Silent;
                    }
                }
            }
        }
    }

    /// Hands an ack to who waits for it. `Err` when the node is leaving: the message then goes to the next stream, with
    /// all that follow it, so that their order stays.
    fn answer(&mut self, ack: v1::PublishAck) -> Result<(), Refused> {
        use v1::publish_ack::Outcome;
        let answer = match ack.outcome {
            Some(Outcome::Result(result)) => Ok(result.into()),
            Some(Outcome::Error(error)) => Err(Refused::from(error)),
            None => Err(Refused::not_understood()),
        };
        let answer = match answer {
            Err(refused) if refused.code == Code::Draining => return Err(refused),
            answer => answer,
        };
        self.backoff.reset();
        // An unknown number belongs to a message whose sender stopped waiting.
        let place = ack.seq.checked_sub(self.first).and_then(|place| usize::try_from(place).ok());
        if let Some(waiting) = place.and_then(|place| self.waiting.get_mut(place)).and_then(Option::take) {
            let patience = self.client.patience();
            let _ = waiting.answer.send(answer.map_err(|refused| refused.into_error(patience)));
        }
        self.trim();
        Ok(())
    }

    /// Gives every waiting message the same "no".
    fn answer_all(&mut self, refused: &Refused) {
        self.first += self.waiting.len() as u64;
        for waiting in self.waiting.drain(..).flatten() {
            let _ = waiting.answer.send(Err(refused.clone().into()));
        }
    }

    /// Waits before the next stream, while letting go of those whose time runs out.
    async fn pause(&mut self, failure: Failure) {
        if matches!(failure, Failure::Lost(_)) {
            self.mark_sent();
        }
        self.last_failure = failure;
        let end = Instant::now() + self.backoff.next();
        while let Some(deadline) = self.next_deadline().filter(|deadline| *deadline < end) {
            sleep_until(deadline).await;
            self.expire();
        }
        sleep_until(end).await;
    }

    /// Whatever waits may have reached a broker, and may reach its channel though nobody is told.
    fn mark_sent(&mut self) {
        for waiting in self.waiting.iter_mut().flatten() {
            waiting.was_sent = true;
        }
    }

    /// Lets go of those whose time has run out.
    fn expire(&mut self) {
        let now = Instant::now();
        let patience = self.client.patience();
        for place in &mut self.waiting {
            if let Some(waiting) = place.take_if(|waiting| waiting.deadline <= now) {
                let _ = waiting.answer.send(Err(given_up(patience, waiting.was_sent, self.last_failure.clone())));
            }
        }
        self.trim();
    }

    /// The time of the one who has waited longest. Messages come with growing deadlines, so that is the first.
    fn next_deadline(&self) -> Option<Instant> {
        self.waiting.iter().flatten().next().map(|waiting| waiting.deadline)
    }

    /// Forgets answered places at the front.
    fn trim(&mut self) {
        while self.waiting.front().is_some_and(Option::is_none) {
            self.waiting.pop_front();
            self.first += 1;
        }
    }
}

impl End {
    fn of(status: &tonic::Status) -> Self {
        match Failure::of(status) {
            Failure::Final(refused) => Self::Refused(refused),
            failure => Self::Broken(failure),
        }
    }
}

fn request(seq: u64, waiting: &Waiting) -> v1::PublishStreamRequest {
    v1::PublishStreamRequest { seq, publish: Some(waiting.publish.clone()) }
}
