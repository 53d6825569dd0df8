//! Publish to a Tidings broker from Rust, and listen to it.
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
//! A call that meets a broker that is away, leaving or overloaded is tried again for up to [`PATIENCE_MAX`]; a publish
//! always under the same id, so that it becomes one message however often it was sent. For many messages in a row use
//! [`Client::publish_stream`], which keeps several on their way at once.
//!
//! Listening goes on by itself where it was when the connection breaks or the broker leaves:
//!
//! ```no_run
//! # async fn listen(client: tidings_sdk::Client) -> tidings_sdk::Result<()> {
//! use tidings_sdk::Delivery;
//! let mut news = client.subscribe(["news"]).last(10).await?;
//! while let Some(delivery) = news.next().await {
//!     match delivery? {
//!         Delivery::Message(message) => println!("{}: {:?}", message.channel, message.text()),
//!         Delivery::Gap(gap) => println!("messages of {} are missing: {}", gap.channel, gap.reason),
//!         _ => {}
//!     }
//! }
//! # Ok(()) }
//! ```

mod backoff;
mod client;
mod cluster;
mod control;
mod error;
mod failure;
mod link;
mod message;
mod presence;
mod query;
mod received;
mod stream;
mod subscription;
mod tls;

pub use client::{Client, PATIENCE_MAX};
pub use cluster::{ClusterInfo, ClusterLag, ClusterNode};
pub use control::{Clients, Controlled, NodeMissed, NodeReached, Revoke};
pub use error::{Code, Error, Refused, Result};
pub use message::{MESSAGE_BYTES_MAX, Message, Published};
pub use presence::{Counts, Presence, PresencePage, PresenceQuery, User};
pub use query::{ChannelInfo, ChannelsPage, ChannelsQuery, HistoryQuery, Page};
pub use received::{Gap, Received};
pub use stream::{Ack, PublishStream};
pub use subscription::{Delivery, Interruption, Subscribe, Subscription, Unsubscribed};
pub use tls::Tls;
