//! The public HTTP listener's keys.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::units::{self, HumanDuration, Size};
use crate::limits::{ClientHeader, Network};
use crate::tls;

/// The public HTTP listener: browser fronts, HTTP API, demo.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Http")]
pub struct Config {
    /// Where browsers and HTTP publishers connect. Port 0 takes a free one; the chosen one is printed.
    #[serde(deserialize_with = "units::address")]
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// TLS; without it this listener speaks plain HTTP, for a proxy in front that ends TLS.
    #[serde(deserialize_with = "units::null_is_default")]
    #[schemars(with = "Option<tls::config::Config>")]
    pub tls: tls::config::Config,
    /// A request's head must have arrived whole within this time, else the connection is closed (slow-header attacks).
    #[serde(with = "units::duration")]
    #[schemars(with = "HumanDuration")]
    pub header_timeout: Duration,
    /// Longest request head; a longer one is answered 431. Costs this much memory per connection that sends one.
    #[serde(with = "units::bytes")]
    #[schemars(with = "Size")]
    pub header_bytes: usize,
    /// A kept-alive connection without a request is closed after this time.
    #[serde(with = "units::duration")]
    #[schemars(with = "HumanDuration")]
    pub idle_timeout: Duration,
    /// Most requests and streams at once on one HTTP/2 connection.
    pub http2_streams: u32,
    /// A peer that takes nothing of what is there for it for this long is gone, also one that only stopped reading (TCP_USER_TIMEOUT).
    #[serde(with = "units::duration")]
    #[schemars(with = "HumanDuration")]
    pub write_timeout: Duration,
    /// Unsent bytes that the kernel takes for each socket before it says that it is full (TCP_NOTSENT_LOWAT); 0B leaves it to the system.
    /// What is beyond stays in the log, where readers share it.
    #[serde(with = "units::bytes")]
    #[schemars(with = "Size")]
    pub notsent_lowat: u32,
    /// Send buffer of each socket (SO_SNDBUF); 0B leaves it to the system. Smaller saves kernel memory, larger saves wake-ups.
    #[serde(with = "units::bytes")]
    #[schemars(with = "Size")]
    pub send_buffer_bytes: u32,
    /// Proxies in front, as addresses or networks such as "10.0.0.0/8": what they say a client's address is, is believed.
    #[serde(deserialize_with = "units::null_is_default")]
    #[schemars(with = "Option<Vec<String>>")]
    pub trusted_proxies: Vec<Network>,
    /// Where they say it: `x-forwarded-for` or `forwarded` (RFC 7239). The other one is not looked at.
    pub client_header: ClientHeader,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8000)),
            tls: tls::config::Config::default(),
            header_timeout: Duration::from_secs(10),
            header_bytes: 16 << 10,
            idle_timeout: Duration::from_secs(60),
            http2_streams: 100,
            write_timeout: Duration::from_secs(300),
            notsent_lowat: 128 << 10,
            send_buffer_bytes: 0,
            trusted_proxies: Vec::new(),
            client_header: ClientHeader::default(),
        }
    }
}
