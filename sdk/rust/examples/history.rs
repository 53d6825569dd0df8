//! Prints every channel and what it holds: `cargo run -p tidings-sdk --example history -- [PREFIX] [ADDRESS]`.

use tidings_sdk::{Client, Result};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let prefix = args.next().unwrap_or_default();
    let address = args.next().unwrap_or_else(|| "http://127.0.0.1:8001".to_owned());
    let client = Client::connect(&address).await?;

    let mut after = String::new();
    loop {
        let page = client.channels().prefix(&*prefix).after(&*after).await?;
        for info in page.channels {
            println!("{} holds {} messages", info.channel, info.messages);
            print_history(&client, &info.channel).await?;
        }
        match page.next {
            Some(next) => after = next,
            None => return Ok(()),
        }
    }
}

async fn print_history(client: &Client, channel: &str) -> Result<()> {
    let mut page = client.history(channel).limit(100).await?;
    while !page.messages.is_empty() {
        for message in &page.messages {
            println!("  #{}: {:?}", message.offset, message.text());
        }
        page = client.history(channel).since(page.cursor).limit(100).await?;
    }
    Ok(())
}
