//! Listening to channels, through whatever happens to the connection.
//!
//! A subscription is a machine that is driven by whoever reads it: it has no task and no queue of its own. A reader that is
//! slow leaves the stream unread, the broker's sends stop at the flow control of HTTP/2, and what was missed meanwhile is
//! read from the channel's history.

mod seen;

use std::collections::HashMap;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tidings_proto::v1;
use tidings_proto::v1::subscribe_reply::Reply;
use tidings_proto::v1::subscribe_request::Since;
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout_at};
use tokio_stream::Stream;
use tonic::Streaming;

use self::seen::Seen;
use crate::backoff::Backoff;
use crate::client::{Client, TRY_MAX};
use crate::error::{Code, Error, Refused, Result};
use crate::failure::{Effect, Failure, Tries};
use crate::link::Line;
use crate::presence::Presence;
use crate::query::Answer;
use crate::received::{Gap, Received};

/// Longest silence of a stream that lives: a broker says something every 20 seconds.
const SILENCE_MAX: Duration = Duration::from_secs(45);
/// By which a broker is told whose story goes on.
const SESSION: &str = "tidings-session";
/// Longest wait that a broker can ask for before the next try.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(600);

/// What to listen to; made by [`Client::subscribe`], awaited to begin.
#[derive(Clone, Debug)]
#[must_use = "a subscription does not begin until it is awaited"]
pub struct Subscribe {
    client: Client,
    request: v1::SubscribeRequest,
    session: Option<String>,
}

impl Subscribe {
    pub(crate) fn new(client: Client, channels: Vec<String>) -> Self {
        Self { client, request: v1::SubscribeRequest { channels, ..v1::SubscribeRequest::default() }, session: None }
    }

    /// Tells how the cluster is, as [`Delivery::Cluster`]: at the beginning, and whenever that changed.
    pub fn tell_cluster(mut self) -> Self {
        self.request.tells_cluster = true;
        self
    }

    /// Under this name in the brokers' logs, 1 to 32 letters, digits, `-` or `_`. Without one the first broker gives it a name, under
    /// which it goes on wherever it comes back.
    pub fn session(mut self, name: impl Into<String>) -> Self {
        self.session = Some(name.into());
        self
    }

    /// From right after this cursor; from any surface of the broker.
    pub fn since(mut self, cursor: impl Into<String>) -> Self {
        self.request.since = Some(Since::Cursor(cursor.into()));
        self
    }

    /// From the oldest message that is still kept.
    pub fn earliest(mut self) -> Self {
        self.request.since = Some(Since::Earliest(true));
        self
    }

    /// Tells also who is on the channels, who joins and who leaves. Their namespaces must allow it.
    pub fn presence(mut self) -> Self {
        self.request.presence = true;
        self
    }

    /// From the newest so many messages of each channel.
    pub fn last(mut self, messages: u32) -> Self {
        self.request.since = Some(Since::Last(messages));
        self
    }
}

impl IntoFuture for Subscribe {
    type Output = Result<Subscription>;
    type IntoFuture = Answer<Subscription>;

    /// Waits until the broker says that the subscription stands: nothing published from then on is missed.
    ///
    /// # Errors
    /// [`Error::Refused`] when the broker says no, [`Error::Unavailable`] when none was reached within the client's patience.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self { client, request, session } = self;
            let mut tries = Tries::new(Effect::Reads, client.patience());
            loop {
                match open(client.clone(), request.clone(), session.clone(), tries.deadline).await {
                    Ok(open) => return Ok(Subscription::new(client, request, open)),
                    Err(failure) => sleep(tries.failed(failure)?).await,
                }
            }
        })
    }
}

/// What a subscription hands on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Delivery {
    /// A message.
    Message(Received),
    /// Messages are missing here. What is still kept follows.
    Gap(Gap),
    /// Nothing comes for now; the subscription goes on by itself where it was. Told once, until it stands again.
    Interrupted(Interruption),
    /// It stands again.
    Resumed,
    /// How the cluster is, for who asked by [`Subscribe::tell_cluster`]: `whole`, or `degraded` when a part of it may go on without the
    /// node that says so, and what is published there comes late.
    Cluster(String),
    /// Who is on a channel, or who joined and left; told when it was asked for. After an interruption it begins with all again.
    Presence(Presence),
    /// A backend ended the subscription to one of the channels: nothing of it comes any more. After the last one the subscription ends
    /// with an error.
    Unsubscribed(Unsubscribed),
}

/// A channel that is not listened to any more.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unsubscribed {
    /// Which.
    pub channel: String,
    /// Why, in words.
    pub message: String,
}

/// Why a subscription was interrupted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Interruption {
    /// Why the broker closed it (`draining`, `too_slow`, `lagged`, `stopped` …); none when the connection broke.
    pub code: Option<String>,
    /// The same in words.
    pub message: String,
}

/// Channels that are listened to. Ends only with a "no" of the broker to coming back.
///
/// It is also a [`Stream`] of the same. Whatever waits for the next delivery may be dropped: nothing is lost.
#[derive(Debug)]
#[must_use = "a subscription does nothing unless it is read"]
pub struct Subscription {
    client: Client,
    /// With the cursor that goes on after what was handed on, once there is one.
    request: v1::SubscribeRequest,
    cursor: String,
    /// Its name in the brokers' logs.
    session: Option<String>,
    state: State,
    backoff: Backoff,
    /// Gaps told since the cursor last moved, by channel: whoever is cut off behind one is told it again.
    told: HashMap<String, Gap>,
    seen: Seen,
}

enum State {
    Open(Box<Open>),
    /// Until the next try.
    Pausing(Pin<Box<Sleep>>),
    Opening(Opening),
    Ended,
}

type Opening = Pin<Box<dyn Future<Output = Result<Box<Open>, Failure>> + Send>>;

/// A stream that stands.
struct Open {
    line: Line,
    replies: Streaming<v1::SubscribeReply>,
    /// The cursor of its first reply.
    cursor: String,
    /// The name that the broker told.
    session: Option<String>,
    /// When its silence has lasted too long.
    silence: Pin<Box<Sleep>>,
}

impl Subscription {
    fn new(client: Client, request: v1::SubscribeRequest, open: Box<Open>) -> Self {
        let (cursor, session) = (open.cursor.clone(), open.session.clone());
        let (told, seen) = (HashMap::new(), Seen::default());
        Self { client, request, cursor, session, state: State::Open(open), backoff: Backoff::of_a_subscription(), told, seen }
    }

    /// The next delivery. `None` after an error: the end.
    ///
    /// # Errors
    /// [`Error::Refused`] when the broker does not let the subscription come back.
    pub async fn next(&mut self) -> Option<Result<Delivery>> {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    /// Where the subscription stands after what was handed on last: [`Subscribe::since`] goes on from here, in another
    /// process too, and another day as long as the history reaches back to it.
    #[must_use]
    pub fn cursor(&self) -> &str {
        &self.cursor
    }

    /// Its name in the brokers' logs, which it keeps wherever it comes back.
    #[must_use]
    pub fn session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Delivery>>> {
        loop {
            match &mut self.state {
                State::Open(open) => {
                    let Poll::Ready(reply) = Pin::new(&mut open.replies).poll_next(cx) else {
                        // Looked at only when nothing is there: silence is what the reader waited for in vain.
                        ready!(open.silence.as_mut().poll(cx));
                        self.client.link().replace(&open.line);
                        return Poll::Ready(Some(Ok(self.interrupt(None, "the broker says nothing any more".to_owned(), Duration::ZERO))));
                    };
                    open.silence.as_mut().reset(Instant::now() + SILENCE_MAX);
                    let delivery = match reply {
                        Some(Ok(reply)) => self.take(reply),
                        Some(Err(status)) => match Failure::of(&status) {
                            Failure::Final(refused) => Some(self.end(refused)),
                            failure => Some(Ok(self.interrupt(None, failure.why(), Duration::ZERO))),
                        },
                        None => Some(Ok(self.interrupt(None, "the broker ended the stream".to_owned(), Duration::ZERO))),
                    };
                    if let Some(delivery) = delivery {
                        return Poll::Ready(Some(delivery));
                    }
                }
                State::Pausing(pause) => {
                    ready!(pause.as_mut().poll(cx));
                    let (client, request, session) = (self.client.clone(), self.request.clone(), self.session.clone());
                    self.state = State::Opening(Box::pin(open(client, request, session, Instant::now() + TRY_MAX)));
                }
                State::Opening(opening) => match ready!(opening.as_mut().poll(cx)) {
                    Ok(open) => {
                        self.state = State::Open(open);
                        return Poll::Ready(Some(Ok(Delivery::Resumed)));
                    }
                    Err(Failure::Final(refused)) => return Poll::Ready(Some(self.end(refused))),
                    Err(_) => self.pause(Duration::ZERO),
                },
                State::Ended => return Poll::Ready(None),
            }
        }
    }

    /// Takes one reply, and what is to be handed on of it.
    fn take(&mut self, reply: v1::SubscribeReply) -> Option<Result<Delivery>> {
        let v1::SubscribeReply { cursor, reply } = reply;
        let has_moved = cursor != self.cursor;
        self.cursor.clone_from(&cursor);
        self.request.since = Some(Since::Cursor(cursor.clone()));
        match reply {
            Some(Reply::Message(message)) => {
                self.went_on();
                let message = Received { cursor, ..message.into() };
                self.seen.is_new(&message).then(|| Ok(Delivery::Message(message)))
            }
            Some(Reply::Gap(gap)) => {
                let gap = Gap::from(gap);
                let before = self.told.insert(gap.channel.clone(), gap.clone());
                (before.as_ref() != Some(&gap)).then_some(Ok(Delivery::Gap(gap)))
            }
            Some(Reply::Closed(closed)) if closed.retry => {
                let after = Duration::from_millis(closed.retry_after_ms).min(RETRY_AFTER_MAX);
                Some(Ok(self.interrupt(Some(closed.code), closed.message, after)))
            }
            Some(Reply::Closed(closed)) => {
                Some(self.end(Refused { code: Code::parse(&closed.code), message: closed.message, retry: false }))
            }
            Some(Reply::Heartbeat(_)) => {
                if has_moved {
                    self.went_on();
                }
                None
            }
            Some(Reply::Cluster(cluster)) => Some(Ok(Delivery::Cluster(cluster.condition))),
            Some(Reply::Presence(told)) => Some(Ok(Delivery::Presence(told.into()))),
            Some(Reply::Unsubscribed(v1::Unsubscribed { channel, message, .. })) => {
                // It comes back without it.
                self.request.channels.retain(|known| *known != channel);
                Some(Ok(Delivery::Unsubscribed(Unsubscribed { channel, message })))
            }
            // One of tomorrow may be passed over.
            Some(Reply::Subscribed(_)) | None => None,
        }
    }

    /// The cursor moved past whatever was told.
    fn went_on(&mut self) {
        self.backoff.reset();
        self.told.clear();
    }

    /// Leaves a stream that is of no use any more.
    fn interrupt(&mut self, code: Option<String>, message: String, after: Duration) -> Delivery {
        self.pause(after);
        Delivery::Interrupted(Interruption { code, message })
    }

    fn pause(&mut self, at_least: Duration) {
        // What the broker asks for is spread at random already.
        let pause = self.backoff.next().max(at_least);
        self.state = State::Pausing(Box::pin(sleep(pause)));
    }

    fn end(&mut self, refused: Refused) -> Result<Delivery> {
        self.state = State::Ended;
        Err(Error::Refused(refused))
    }
}

impl Stream for Subscription {
    type Item = Result<Delivery>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll(cx)
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Open(_) => "Open",
            Self::Pausing(_) => "Pausing",
            Self::Opening(_) => "Opening",
            Self::Ended => "Ended",
        })
    }
}

/// One try: opens a stream and waits for its first reply, which says that the subscription stands.
async fn open(client: Client, request: v1::SubscribeRequest, session: Option<String>, deadline: Instant) -> Result<Box<Open>, Failure> {
    let deadline = deadline.min(Instant::now() + TRY_MAX);
    let mut line = client.link().line();
    let mut request = client.request(request);
    // A name that cannot be one is told by the broker, in words.
    if let Some(name) = session.and_then(|name| name.parse().ok()) {
        request.metadata_mut().insert(SESSION, name);
    }
    let begin = async {
        let response = line.grpc.subscribe(request).await?;
        let session = response.metadata().get(SESSION).and_then(|name| name.to_str().ok()).map(str::to_owned);
        let mut replies = response.into_inner();
        Ok((replies.message().await?, replies, session))
    };
    let begun: Result<_, tonic::Status> = match timeout_at(deadline, begin).await {
        Ok(begun) => begun,
        Err(_) => {
            client.link().replace(&line);
            return Err(Failure::silence());
        }
    };
    match begun.map_err(|status| Failure::of(&status))? {
        (Some(v1::SubscribeReply { cursor, reply: Some(Reply::Subscribed(_)) }), replies, session) => {
            Ok(Box::new(Open { line, replies, cursor, session, silence: Box::pin(sleep_until(Instant::now() + SILENCE_MAX)) }))
        }
        (Some(v1::SubscribeReply { reply: Some(Reply::Closed(closed)), .. }), ..) => {
            let refused = Refused { code: Code::parse(&closed.code), message: closed.message, retry: closed.retry };
            Err(if closed.retry { Failure::Later(refused) } else { Failure::Final(refused) })
        }
        _ => Err(Failure::Lost("the broker did not say that the subscription stands".to_owned())),
    }
}
