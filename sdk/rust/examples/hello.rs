//! The shortest publisher: `cargo run -p tidings-sdk --example hello -- [ADDRESS]`.

use tidings_sdk::{Client, Result};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "http://127.0.0.1:8001".to_owned());

    let client = Client::connect(&address).await?;
    let published = client.publish("news", "hello").await?;
    println!("message {} of {}", published.offset, published.channel);
    Ok(())
}
