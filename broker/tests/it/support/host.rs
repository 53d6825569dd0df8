//! Another program's HTTP server, with the broker as a service in it.

use std::net::SocketAddr;

use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tidings::node::{Embedded, HttpService};
use tokio::io::{AsyncRead, AsyncWrite, BufStream};
use tokio::net::TcpListener;

/// What the server speaks, and on what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    Http1,
    Http2,
    /// HTTP/1.1 on something that is no bare socket, as under TLS.
    Wrapped,
}

/// Serves on a free port, as long as the test runs.
pub(crate) async fn host(embedded: &Embedded, server: Server) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = embedded.http_service();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let service = service.clone();
            match server {
                Server::Http1 => drop(tokio::spawn(serve_http1(socket, service))),
                Server::Wrapped => drop(tokio::spawn(serve_http1(BufStream::new(socket), service))),
                Server::Http2 => drop(tokio::spawn(async move {
                    let mut builder = http2::Builder::new(TokioExecutor::new());
                    let _ = builder.timer(TokioTimer::new()).serve_connection(TokioIo::new(socket), service).await;
                })),
            }
        }
    });
    address
}

async fn serve_http1(socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, service: HttpService) {
    let connection = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(socket), service);
    // A client that went away concerns nobody else.
    let _ = connection.with_upgrades().await;
}
