//! The standard health service (grpc.health.v1): serving exactly while the node is ready.

use std::pin::Pin;

use futures_util::StreamExt as _;
use tidings_proto::v1::broker_server::SERVICE_NAME;
use tokio::sync::watch;
use tokio_stream::Stream;
use tokio_stream::wrappers::WatchStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

/// Tells readiness to who asks for the whole server (an empty name) or for the broker service.
pub(super) struct Readiness {
    pub(super) ready: watch::Receiver<bool>,
    /// Ends watches.
    pub(super) drain: CancellationToken,
}

impl Readiness {
    fn now(&self) -> HealthCheckResponse {
        response(*self.ready.borrow())
    }
}

fn response(is_ready: bool) -> HealthCheckResponse {
    let status = if is_ready { ServingStatus::Serving } else { ServingStatus::NotServing };
    HealthCheckResponse { status: status.into() }
}

fn is_known(service: &str) -> bool {
    service.is_empty() || service == SERVICE_NAME
}

#[tonic::async_trait]
impl Health for Readiness {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        if is_known(&request.get_ref().service) {
            Ok(Response::new(self.now()))
        } else {
            Err(Status::not_found("there is no such service"))
        }
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let until = self.drain.clone().cancelled_owned();
        if !is_known(&request.get_ref().service) {
            // The protocol wants this said on a call that stays open, not as an error.
            let unknown = HealthCheckResponse { status: ServingStatus::ServiceUnknown.into() };
            let stream = futures_util::stream::iter([Ok(unknown)]).chain(futures_util::stream::pending());
            return Ok(Response::new(Box::pin(stream.take_until(until))));
        }
        let stream = WatchStream::new(self.ready.clone()).map(|is_ready| Ok(response(is_ready)));
        Ok(Response::new(Box::pin(stream.take_until(until))))
    }
}
