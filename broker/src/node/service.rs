//! The broker as a service of another program's HTTP server.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response};
use http_body::Body;
use tokio_util::sync::CancellationToken;

use super::routes::Routes;
use crate::error::{Error, ErrorCode};
use crate::front::guests::{GuestBody, Guests};

/// Answers `/ws`, `/sse`, `/stream`, `/poll` and `/v1/…` for any server that takes a tower or hyper service. It runs where it
/// is called, in a tokio runtime with time; what it takes for a path is what is left of it, so it can be nested.
///
/// No stream takes the socket over here; that needs the bare connection ([`Embedded::adopt`](super::Embedded::adopt)). A
/// WebSocket does, once its handshake is answered, if the server lets go of it (hyper: `with_upgrades`).
#[derive(Clone, Debug)]
pub struct HttpService {
    routes: Routes,
    guests: Guests,
    stopped: CancellationToken,
}

/// What is on its way.
pub type Answering = Pin<Box<dyn Future<Output = Result<Response<GuestBody>, Infallible>> + Send>>;

impl HttpService {
    pub(super) fn new(routes: Routes, guests: Guests, stopped: CancellationToken) -> Self {
        Self { routes, guests, stopped }
    }

    /// Answers one request. Every outcome is an answer, none an error.
    pub async fn answer<B>(self, request: Request<B>) -> Response<GuestBody>
    where
        B: Body<Data = Bytes>,
    {
        if self.stopped.is_cancelled() {
            let refused = self.routes.now().refuse(&request, &Error::new(ErrorCode::Draining, "this broker has stopped"));
            return refused.map(GuestBody::from);
        }
        let is_head = request.method() == Method::HEAD;
        let response = self.routes.now().respond(&self.guests, request).await;
        if is_head { without_body(response) } else { response }
    }
}

/// What HEAD gets: the head that GET would get, its length included, and nothing after it (RFC 9110, section 9.3.2).
fn without_body(mut response: Response<GuestBody>) -> Response<GuestBody> {
    if let Some(length) = response.body().size_hint().exact().filter(|length| *length > 0) {
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    response.map(|_| GuestBody::empty())
}

impl<B> tower_service::Service<Request<B>> for HttpService
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Send,
{
    type Response = Response<GuestBody>;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Answering {
        let service = self.clone();
        Box::pin(async move { Ok(service.answer(request).await) })
    }
}

impl<B> hyper::service::Service<Request<B>> for HttpService
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Send,
{
    type Response = Response<GuestBody>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<B>) -> Answering {
        let service = self.clone();
        Box::pin(async move { Ok(service.answer(request).await) })
    }
}
