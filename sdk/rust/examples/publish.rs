//! Publishes a message: `cargo run -p tidings-sdk --example publish -- CHANNEL TEXT [ADDRESS]`.
//!
//! The API key, when the broker wants one, is read from `TIDINGS_KEY`.

use std::process::ExitCode;

use tidings_sdk::{Client, Error, Message, Result};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (Some(channel), Some(text)) = (args.next(), args.next()) else {
        eprintln!("usage: publish CHANNEL TEXT [ADDRESS]");
        return ExitCode::from(2);
    };
    let address = args.next().unwrap_or_else(|| "http://127.0.0.1:8001".to_owned());
    match publish(&address, &channel, text).await {
        Ok(()) => ExitCode::SUCCESS,
        // No answer came in time: with an id of its own, publishing the same again is safe for two minutes.
        Err(Error::OutcomeUnknown { why, .. }) => {
            eprintln!("it may be published or not: {why}");
            ExitCode::FAILURE
        }
        Err(why) => {
            eprintln!("not published: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn publish(address: &str, channel: &str, text: String) -> Result<()> {
    let mut client = Client::connect(address).await?;
    if let Ok(key) = std::env::var("TIDINGS_KEY") {
        client = client.with_key(&key)?;
    }
    let message = Message::new(text).content_type("text/plain; charset=utf-8").event("said");
    let published = client.publish(channel, message).await?;
    println!("message {} of {}, cursor {}", published.offset, published.channel, published.cursor);
    Ok(())
}
