//! Publishes each line of standard input, many on their way at once:
//! `seq 100000 | cargo run -p tidings-sdk --example publish_stream -- CHANNEL [ADDRESS]`.

use std::collections::VecDeque;
use std::io::BufRead as _;

use tidings_sdk::{Ack, Client};

/// Most lines that wait for their answer.
const IN_FLIGHT: usize = 256;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let channel = args.next().ok_or("usage: publish_stream CHANNEL [ADDRESS]")?;
    let address = args.next().unwrap_or_else(|| "http://127.0.0.1:8001".to_owned());

    let client = Client::connect(&address).await?;
    let stream = client.publish_stream(IN_FLIGHT);
    let mut acks: VecDeque<Ack> = VecDeque::new();
    let mut published = 0;
    for line in std::io::stdin().lock().lines() {
        // Waits by itself while too many are unanswered.
        acks.push_back(stream.publish(&*channel, line?).await?);
        if acks.len() > IN_FLIGHT
            && let Some(oldest) = acks.pop_front()
        {
            oldest.await?;
            published += 1;
        }
    }
    for ack in acks {
        ack.await?;
        published += 1;
    }
    stream.finish().await?;
    println!("{published} messages published to {channel}");
    Ok(())
}
