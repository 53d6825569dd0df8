//! Prints what comes over channels: `cargo run -p tidings-sdk --example subscribe -- CHANNEL… `.
//!
//! `TIDINGS_URL` names another broker than the one on this machine. Give the last cursor that was printed as
//! `TIDINGS_SINCE` to go on after it.

use tidings_sdk::{Client, Delivery};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let channels: Vec<String> = std::env::args().skip(1).collect();
    let address = std::env::var("TIDINGS_URL").unwrap_or_else(|_| "http://127.0.0.1:8001".to_owned());
    let client = Client::connect(&address).await?;

    let subscribe = client.subscribe(channels);
    let subscribe = match std::env::var("TIDINGS_SINCE") {
        Ok(cursor) => subscribe.since(cursor),
        Err(_) => subscribe.earliest(),
    };
    let mut news = subscribe.await?;
    while let Some(delivery) = news.next().await {
        match delivery? {
            Delivery::Message(message) => println!("{} #{}: {:?}", message.channel, message.offset, message.text()),
            Delivery::Gap(gap) => println!("messages of {} are missing: {}", gap.channel, gap.reason),
            Delivery::Interrupted(why) => eprintln!("interrupted: {}", why.message),
            _ => {}
        }
        // What was handled; stored somewhere, it is where the next run begins.
        println!("cursor {}", news.cursor());
    }
    Ok(())
}
