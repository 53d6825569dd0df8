//! Publish to a Tidings broker from Rust.
//!
//! ```no_run
//! # async fn three_lines() -> tidings_sdk::Result<()> {
//! let client = tidings_sdk::Client::connect("http://127.0.0.1:8001").await?;
//! let published = client.publish("news", "hello").await?;
//! println!("message {} of {}", published.offset, published.channel);
//! # Ok(()) }
//! ```
//!
//! More than bytes is said with a [`Message`]:
//!
//! ```no_run
//! # async fn more(client: tidings_sdk::Client) -> tidings_sdk::Result<()> {
//! use tidings_sdk::Message;
//! let order = Message::new(r#"{"total":42}"#).content_type("application/json").event("order").id("order-17");
//! client.publish("orders", order).await?;
//! # Ok(()) }
//! ```
//!
//! A publish that meets a broker that is away, leaving or overloaded is tried again for up to [`PATIENCE_MAX`], always
//! under the same id, so that it becomes one message however often it was sent. For many messages in a row use
//! [`Client::publish_stream`], which keeps several on their way at once.

mod backoff;
mod client;
mod error;
mod message;
mod stream;

pub use client::{Client, PATIENCE_MAX};
pub use error::{Code, Error, Refused, Result};
pub use message::{MESSAGE_BYTES_MAX, Message, Published};
pub use stream::{Ack, PublishStream};
