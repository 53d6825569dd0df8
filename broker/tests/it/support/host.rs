//! Another program's HTTP server, with the broker as a service in it.

use std::net::SocketAddr;

use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tidings::node::Embedded;
use tokio::net::TcpListener;

/// Serves on a free port, as long as the test runs.
pub(crate) async fn host(embedded: &Embedded, is_http2: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = embedded.http_service();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (service, socket) = (service.clone(), TokioIo::new(socket));
            tokio::spawn(async move {
                // A client that went away concerns nobody else.
                let _ = if is_http2 {
                    http2::Builder::new(TokioExecutor::new()).timer(TokioTimer::new()).serve_connection(socket, service).await
                } else {
                    http1::Builder::new().timer(TokioTimer::new()).serve_connection(socket, service).await
                };
            });
        }
    });
    address
}
