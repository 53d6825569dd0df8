//! Listeners on the runtime of a program around us, off the shards: the same fronts, as bodies that read the log when its
//! server asks for more.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Response, Version};
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;
use slab::Slab;
use tokio_util::sync::CancellationToken;

use super::ground::{Ground, Stay, Watch};
use super::stream::{Begun, Framing, Stream, StreamBody};
use crate::close::CloseReason;
use crate::error::{Error, ErrorCode, Result};
use crate::hub::{Channel, Hub, Signal};
use crate::log::Entry;
use crate::metrics::{Metrics, ShardMetrics};
use crate::net::Frames as _;
use crate::session::Subscription;
use crate::shard::{Bounds, Encoder, Opening, Woken, encode};

/// All of them. A cheap handle.
#[derive(Clone)]
pub struct Guests(Arc<Shared>);

struct Shared {
    hub: Arc<Hub>,
    metrics: Arc<Metrics>,
    bounds: Bounds,
    count_max: usize,
    present: Mutex<Slab<Arc<Guest>>>,
    draining: CancellationToken,
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
    /// At most `count_max` at once.
    #[must_use]
    pub fn new(hub: Arc<Hub>, metrics: Arc<Metrics>, bounds: Bounds, count_max: usize, draining: CancellationToken) -> Self {
        Self(Arc::new(Shared { hub, metrics, bounds, count_max, present: Mutex::default(), draining }))
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
        self.0.metrics.off_shard()
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
            if present.len() >= self.0.count_max {
                let what = format!("there are as many listeners as this broker takes ({}, limits.connections)", self.0.count_max);
                return Err(Error::new(ErrorCode::Overloaded, what));
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

    fn take_over(&self, _: impl FnOnce() -> Opening) -> Result<Self::Answer> {
        Err(Error::new(ErrorCode::NotFound, "there is no WebSocket behind this server; /sse, /stream and /poll are there"))
    }
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
