//! Who is on a channel: seen on every front, told on every front, asked for over HTTP, WebSocket and gRPC.

mod bounds;
mod fronts;
mod scene;
