//! The generated trait, each method one line of handing over.

use std::sync::Arc;

use prost::Message;
use tidings_proto::v1;
use tidings_proto::v1::broker_server::Broker;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::GrpcServices;
use super::outgoing::Outgoing;
use super::query::PAGE_BYTES_MAX;
use super::requests::{Requests, Whole, bytes_of};
use super::session::{self, Origin};
use super::standing::Standing;
use super::status::status;
use super::subscribe::Replies;
use super::unread::{Room, Unread};
use crate::auth::Pass;
use crate::error::{Error, ErrorCode, Result};
use crate::metrics::Source;

/// The services on one listener.
pub(super) struct BrokerService {
    pub(super) services: GrpcServices,
    /// Ends what would go on for ever.
    pub(super) drain: CancellationToken,
}

type Answer<T> = std::result::Result<Response<T>, Status>;

impl BrokerService {
    /// A publish that is whole.
    fn keep(&self, pass: &Pass, connection: &Carried, bytes: usize) -> Result<Whole, Status> {
        connection.requests.keep(bytes).map_err(|error| self.refuse(pass, &error))
    }

    /// Room for its outcomes.
    async fn room(&self, pass: &Pass, whole: &Whole, connection: &Carried, bytes: usize) -> Result<Room, Status> {
        whole.room(&connection.unread, bytes).await.map_err(|error| self.refuse(pass, &error))
    }

    /// What becomes of it, if it is not thrown away before that is known.
    async fn during<T>(&self, pass: &Pass, whole: &Whole, work: impl Future<Output = Result<T>>) -> Result<T, Status> {
        whole.during(work).await.map_err(|error| self.refuse(pass, &error))
    }

    /// Counts a publish of which nothing else is known.
    fn refuse(&self, pass: &Pass, error: &Error) -> Status {
        self.services.publish_refused(pass, None, error);
        self.services.metrics.published(Source::Grpc, Err(error.code), 0);
        status(error)
    }
}

/// Who calls: put there by the route, before anything of the request was read.
fn pass<T>(request: &Request<T>) -> Result<&Pass, Status> {
    request.extensions().get().ok_or_else(|| status(&Error::new(ErrorCode::Internal, "the call came past the gate")))
}

fn answer<T>(result: Result<T>) -> Answer<T> {
    result.map(Response::new).map_err(|error| status(&error))
}

/// What a call has to do with its connection.
#[derive(Clone)]
pub(super) struct Carried {
    /// What its peer has not taken.
    pub(super) unread: Arc<Unread>,
    /// Its requests that are whole.
    pub(super) requests: Arc<Requests>,
    /// Its streams that are not read.
    pub(super) standing: Arc<Standing>,
}

/// On which connection: put there beside who calls.
fn connection<T>(request: &Request<T>) -> Result<&Carried, Status> {
    request.extensions().get().ok_or_else(|| status(&Error::new(ErrorCode::Internal, "the call came past the gate")))
}

/// An answer that may be large. It is made when the connection has room for it, and counts until it is written.
fn large<T: Message>(result: Result<T>, room: Room) -> Answer<T> {
    let mut answered = answer(result)?;
    let held = room.hold(answered.get_ref().encoded_len());
    answered.extensions_mut().insert(Arc::new(held));
    Ok(answered)
}

/// How many outcomes a publish has, if it is not refused as a whole.
fn outcomes(request: &v1::PublishRequest) -> usize {
    request.channels.len().max(1)
}

/// What one outcome takes at most: names, a cursor and an id, or a sentence.
const OUTCOME_BYTES: usize = 512;

#[tonic::async_trait]
impl Broker for BrokerService {
    async fn publish(&self, request: Request<v1::PublishRequest>) -> Answer<v1::PublishResult> {
        let (publish, connection, pass) = (request.get_ref(), connection(&request)?, pass(&request)?);
        let whole = self.keep(pass, connection, bytes_of(publish))?;
        // One outcome is as little as any answer.
        let room = match outcomes(publish).min(self.services.batch_messages) {
            1 => None,
            several => Some(self.room(pass, &whole, connection, several * OUTCOME_BYTES).await?),
        };
        let publishing = async { Ok(self.services.append(pass, publish).await.committed(&self.services.metrics).await) };
        let result = self.during(pass, &whole, publishing).await?;
        match room {
            None => answer(result),
            Some(room) => large(result, room),
        }
    }

    async fn publish_batch(&self, request: Request<v1::PublishBatchRequest>) -> Answer<v1::PublishBatchResponse> {
        let (batch, connection, pass) = (request.get_ref(), connection(&request)?, pass(&request)?);
        let whole = self.keep(pass, connection, batch.messages.iter().map(|publish| size_of_val(publish) + bytes_of(publish)).sum())?;
        let room = self.room(pass, &whole, connection, batch.messages.iter().map(outcomes).sum::<usize>() * OUTCOME_BYTES).await?;
        let answered = self.during(pass, &whole, async { Ok(self.services.batch(pass, batch).await) }).await?;
        large(Ok(answered), room)
    }

    type PublishStreamStream = futures_util::stream::Empty<Result<v1::PublishAck, Status>>;

    /// The route answers it, with `publish_stream.rs`.
    async fn publish_stream(&self, _: Request<Streaming<v1::PublishStreamRequest>>) -> Answer<Self::PublishStreamStream> {
        Err(status(&Error::new(ErrorCode::Internal, "the call came past its route")))
    }

    type SubscribeStream = Replies;

    async fn subscribe(&self, request: Request<v1::SubscribeRequest>) -> Answer<Replies> {
        let pass = pass(&request)?;
        let origin = request.extensions().get::<Origin>().and_then(|origin| origin.0);
        let (session, valid) = session::asked(request.metadata().as_ref());
        let listening = match valid {
            Ok(()) => {
                let carried = (connection(&request)?.unread.clone(), request.extensions().get::<Arc<Outgoing>>().cloned());
                self.services.listen((pass, session), request.get_ref(), origin, carried, self.drain.clone()).await
            }
            Err(error) => Err(error),
        };
        let mut answered = answer(listening.inspect_err(|error| self.services.refused(session, origin, error)));
        session::tell(
            session,
            match &mut answered {
                Ok(response) => response.metadata_mut(),
                Err(status) => status.metadata_mut(),
            },
        );
        answered
    }

    async fn history(&self, request: Request<v1::HistoryRequest>) -> Answer<v1::HistoryResponse> {
        let room = connection(&request)?.unread.room(PAGE_BYTES_MAX).await;
        large(self.services.history(pass(&request)?, request.get_ref()).await, room)
    }

    async fn channels(&self, request: Request<v1::ChannelsRequest>) -> Answer<v1::ChannelsResponse> {
        let (pass, room) = (pass(&request)?.clone(), connection(&request)?.unread.room(PAGE_BYTES_MAX).await);
        large(self.services.channels(&pass, request.into_inner()).await, room)
    }

    async fn cluster_info(&self, request: Request<v1::ClusterInfoRequest>) -> Answer<v1::ClusterInfoResponse> {
        answer(self.services.cluster_info(pass(&request)?))
    }

    async fn presence(&self, request: Request<v1::PresenceRequest>) -> Answer<v1::PresenceResponse> {
        let room = connection(&request)?.unread.room(PAGE_BYTES_MAX).await;
        large(self.services.presence(pass(&request)?, request.get_ref()).await, room)
    }

    async fn disconnect(&self, request: Request<v1::DisconnectRequest>) -> Answer<v1::ControlResult> {
        answer(self.services.disconnect(pass(&request)?, request.get_ref()).await)
    }

    async fn unsubscribe(&self, request: Request<v1::UnsubscribeRequest>) -> Answer<v1::ControlResult> {
        answer(self.services.unsubscribe(pass(&request)?, request.get_ref()).await)
    }

    async fn revoke(&self, request: Request<v1::RevokeRequest>) -> Answer<v1::ControlResult> {
        answer(self.services.revoke(pass(&request)?, request.get_ref()).await)
    }

    async fn clear(&self, request: Request<v1::ClearRequest>) -> Answer<v1::ClearResponse> {
        answer(self.services.clear(pass(&request)?, request.get_ref()).await)
    }
}
