//! Listeners on the runtime of a program around us, off the shards: the same fronts, as bodies that read the log when its
//! server asks for more.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::HeaderMap;
use http::request::Parts;
use http::{Response, StatusCode, Version};
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;
use slab::Slab;
use tokio_util::sync::CancellationToken;

use super::ground::{Ground, Stay, Watch};
use super::stream::{Begun, Framing, Stream, StreamBody};
use crate::close::CloseReason;
use crate::control::Register;
use crate::error::{Error, ErrorCode, Result};
use crate::hub::{Channel, Hub, Signal};
use crate::journal::Journal;
use crate::log::Entry;
use crate::message::ChannelName;
use crate::metrics::ShardMetrics;
use crate::net::{Acceptor, Frames as _, Handover};
use crate::session::Subscription;
use crate::shard::{Bounds, Encoder, Opening, Rooms, Woken, encode};

/// All of them. A cheap handle.
#[derive(Clone)]
pub struct Guests(Arc<Shared>);

struct Shared {
    hub: Arc<Hub>,
    journal: Journal,
    register: Register,
    bounds: Bounds,
    /// Knows the shards, for those who leave HTTP, and how many may be here.
    acceptor: Acceptor,
    present: Mutex<Slab<Arc<Guest>>>,
    draining: CancellationToken,
    stopped: CancellationToken,
}

/// One who listens.
struct Guest {
    signal: Arc<Signal>,
    stay: Stay,
    ended: OnceLock<CloseReason>,
}

impl Guest {
    fn end(&self, reason: CloseReason) {
        let _ = self.ended.set(reason);
        self.signal.raise();
    }
}

impl Guests {
    /// At most as many at once as `acceptor` takes connections.
    #[must_use]
    pub fn new(rooms: Rooms, bounds: Bounds, acceptor: Acceptor, stopped: CancellationToken) -> Self {
        let Rooms { hub, journal, register, draining, .. } = rooms;
        Self(Arc::new(Shared { hub, journal, register, bounds, acceptor, present: Mutex::default(), draining, stopped }))
    }

    /// How many listen now.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.present.lock().len()
    }

    /// Ends every `waves`-th stay, beginning with the `wave`-th; all held polls with the first wave.
    pub fn end_wave(&self, wave: usize, waves: usize, reason: CloseReason) {
        let is_due = |key: usize, guest: &Guest| guest.stay == Stay::Poll || key % waves.max(1) == wave;
        let due: Vec<Arc<Guest>> =
            self.0.present.lock().iter().filter(|(key, guest)| is_due(*key, guest)).map(|(_, guest)| guest.clone()).collect();
        // Not under the lock, which whoever is woken may need.
        due.iter().for_each(|guest| guest.end(reason));
    }
}

impl std::fmt::Debug for Guests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guests").field("count", &self.count()).finish_non_exhaustive()
    }
}

impl Ground for Guests {
    type Answer = Response<GuestBody>;
    type Watcher = GuestWatcher;

    fn whole(response: Response<Bytes>) -> Self::Answer {
        response.map(GuestBody::from)
    }

    fn hub(&self) -> &Arc<Hub> {
        &self.0.hub
    }

    fn metrics(&self) -> &ShardMetrics {
        self.0.acceptor.metrics.off_shard()
    }

    fn journal(&self) -> &Journal {
        &self.0.journal
    }

    fn register(&self) -> &Register {
        &self.0.register
    }

    fn address(&self) -> Option<SocketAddr> {
        None
    }

    fn is_draining(&self) -> bool {
        self.0.draining.is_cancelled()
    }

    fn retry_hint(&self) -> Duration {
        let (min, max) = (self.0.bounds.retry_min, self.0.bounds.retry_max);
        rand::random_range(min..=max.max(min))
    }

    fn heartbeat_after(&self) -> Duration {
        let (min, max) = (self.0.bounds.heartbeat_min, self.0.bounds.heartbeat_max);
        rand::random_range(min..=max.max(min))
    }

    fn encoded(&self, encoder: &'static dyn Encoder, entry: &Entry) -> Bytes {
        encode(encoder, entry)
    }

    fn watch(&self, subscription: &Subscription, stay: Stay) -> Result<GuestWatcher> {
        let guest = Arc::new(Guest { signal: Arc::default(), stay, ended: OnceLock::new() });
        let key = {
            let mut present = self.0.present.lock();
            if present.len() >= self.0.acceptor.connections_max() {
                return Err(full(self.0.acceptor.connections_max()));
            }
            present.insert(guest.clone())
        };
        let mut watcher = GuestWatcher { guests: self.clone(), key, guest, channels: Vec::new() };
        // Who came before this look is in the list that the drain goes through, and who came after it is told here.
        if self.is_draining() {
            watcher.guest.end(CloseReason::Draining);
        }
        for channel in subscription.channels() {
            let mut channel = channel.clone();
            while !self.0.hub.listen_signal(&channel, &watcher.guest.signal) {
                channel = self.0.hub.open(&channel.name)?;
            }
            self.metrics().listeners_joined(1);
            watcher.channels.push(channel);
        }
        Ok(watcher)
    }

    fn begin(&self, stream: Stream, _: Version, encoder: impl FnOnce(Framing) -> &'static dyn Encoder) -> Result<Self::Answer> {
        let Begun { headers, body } = StreamBody::begin(self, encoder(Framing::Plain), stream)?;
        let mut response = Response::new(GuestBody(Pieces::Stream(Box::new(body))));
        *response.headers_mut() = headers;
        Ok(response)
    }

    /// No guest: what is no HTTP any more needs nothing of the server around us, and a shard does it better.
    fn converse(&self, parts: &Parts, headers: &HeaderMap, opening: impl FnOnce() -> Opening) -> Result<Self::Answer> {
        let handover = Handover::of(parts)
            .ok_or_else(|| Error::invalid("the server around this broker lets no connection go: it has to serve HTTP/1.1 with upgrades"))?;
        let (shard, seat) = self.0.acceptor.seat().ok_or_else(|| full(self.0.acceptor.connections_max()))?;
        let (guests, opening) = (self.clone(), opening());
        tokio::spawn(async move {
            let stopped = guests.0.stopped.clone();
            let complete = handover.complete(&guests.0.acceptor, &shard, seat, opening);
            if let Some(Err(error)) = stopped.run_until_cancelled_owned(complete).await {
                tracing::debug!(event = "connection_lost", %error, "a connection for a WebSocket was lost");
            }
        });
        let mut response = Response::new(GuestBody::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().clone_from(headers);
        Ok(response)
    }
}

fn full(count_max: usize) -> Error {
    Error::new(ErrorCode::Overloaded, format!("there are as many listeners as this broker takes ({count_max}, limits.connections)"))
}

/// Woken by the hub. Leaves when dropped.
pub(crate) struct GuestWatcher {
    guests: Guests,
    key: usize,
    guest: Arc<Guest>,
    channels: Vec<Arc<Channel>>,
}

impl Watch for GuestWatcher {
    fn poll_woken(&mut self, context: &mut Context<'_>) -> Poll<Woken> {
        std::task::ready!(self.guest.signal.poll_raised(context));
        if let Some(reason) = self.guest.ended.get() {
            return Poll::Ready(Woken::Ended(*reason));
        }
        // Taken down before the log is read: what is committed after the read raises it again.
        self.guest.signal.lower();
        // Ended between the look and the lowering: nobody would raise it again.
        Poll::Ready(self.guest.ended.get().map_or(Woken::News, |reason| Woken::Ended(*reason)))
    }

    fn leave(&mut self, channel: &ChannelName) {
        let Some(at) = self.channels.iter().position(|known| known.name == *channel) else { return };
        let known = self.channels.swap_remove(at);
        self.guests.0.hub.leave_signal(&known, &self.guest.signal);
        self.guests.metrics().listeners_left(1);
    }
}

impl Drop for GuestWatcher {
    fn drop(&mut self) {
        self.guests.0.present.lock().remove(self.key);
        for channel in &self.channels {
            self.guests.0.hub.leave_signal(channel, &self.guest.signal);
        }
        self.guests.metrics().listeners_left(self.channels.len() as u64);
    }
}

/// The body of an answer on a host's runtime: whole, or a stream that reads the log as the server asks for more. `Send`, and
/// may be dropped at any time.
pub struct GuestBody(Pieces);

enum Pieces {
    Whole(Bytes),
    Stream(Box<StreamBody<Guests>>),
}

impl GuestBody {
    /// Nothing.
    #[must_use]
    pub fn empty() -> Self {
        Self(Pieces::Whole(Bytes::new()))
    }
}

impl From<Bytes> for GuestBody {
    fn from(bytes: Bytes) -> Self {
        Self(Pieces::Whole(bytes))
    }
}

impl std::fmt::Debug for GuestBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            Pieces::Whole(_) => "Whole",
            Pieces::Stream(_) => "Stream",
        })
    }
}

impl http_body::Body for GuestBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = match &mut self.0 {
            Pieces::Whole(bytes) => Poll::Ready((!bytes.is_empty()).then(|| std::mem::take(bytes))),
            Pieces::Stream(body) => body.poll_next(context),
        };
        next.map(|next| next.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.0, Pieces::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Pieces::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Pieces::Stream(_) => SizeHint::default(),
        }
    }
}
