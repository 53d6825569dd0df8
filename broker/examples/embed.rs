//! A broker inside a program, without a listener: publish and subscribe in process.
//!
//! `cargo run --example embed`

use std::error::Error;

use tidings::broker::{Delivery, Since, Subscribe};
use tidings::config::Config;
use tidings::message::{ChannelName, Draft, Payload};
use tidings::node::Embedded;

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let embedded = Embedded::start(Config { shards: 1, ..Config::default() })?;
    // A cheap handle, for any thread and any runtime.
    let broker = embedded.broker().clone();

    let prices = ChannelName::parse("prices")?;
    for price in [101, 102, 103] {
        let published = broker.publish(Draft::new(prices.clone(), Payload::json(&price)?)).await?;
        println!("published {price} as number {}", published.offset);
    }

    // The last two, and then whatever comes.
    let mut listener = broker.subscribe(Subscribe { since: Since::Last(2), ..Subscribe::live(["prices"])? }).await?;
    broker.publish(Draft::new(prices, Payload::json(&104)?)).await?;
    let mut heard = Vec::new();
    while heard.len() < 3 {
        match listener.next().await {
            Some(Delivery::Messages(messages)) => {
                heard.extend(messages.iter().map(|message| String::from_utf8_lossy(message.payload.bytes()).into_owned()));
            }
            Some(Delivery::Gap { channel, gap }) => println!("{channel}: messages are missing ({})", gap.reason.as_str()),
            Some(Delivery::Presence { .. }) => {}
            Some(Delivery::Closed(reason)) => return Err(reason.sentence().into()),
            None => break,
        }
    }
    println!("heard {}; come back with the cursor {}", heard.join(", "), listener.cursor());
    assert_eq!(heard, ["102", "103", "104"]);

    embedded.drain().await;
    Ok(())
}
