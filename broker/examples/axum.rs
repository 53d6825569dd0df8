//! A broker inside an axum application: its own routes, and under `/push` everything that browsers need to listen.
//!
//! `cargo run --example axum`, then `curl -N 'http://127.0.0.1:3000/push/sse?channel=chat'` and
//! `curl http://127.0.0.1:3000/say -d hello`.

use std::error::Error;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use tidings::auth::grant::Who;
use tidings::broker::Broker;
use tidings::config::Config;
use tidings::hub::namespace;
use tidings::message::{ChannelName, Draft, Payload};
use tidings::node::Embedded;
use tokio::net::TcpListener;

/// The application.
pub(crate) fn app(embedded: &Embedded) -> Router {
    let broker = embedded.broker().clone();
    Router::new().route("/say", post(async move |text: String| say(&broker, &text).await)).nest_service("/push", embedded.http_service())
}

/// What the application's own code decides to tell everyone.
async fn say(broker: &Broker, text: &str) -> Result<String, (StatusCode, String)> {
    let outcome = async { broker.publish(Draft::new(ChannelName::parse("chat")?, Payload::text(text))).await }.await;
    match outcome {
        Ok(published) => Ok(format!("number {}\n", published.offset)),
        Err(why) => Err((why.code.http_status(), format!("{why}\n"))),
    }
}

/// Everything is closed unless the configuration opens it: here anyone may listen and look back, and only the program publishes.
fn config() -> Config {
    let mut config = Config::default();
    let mut open = namespace::Config::default();
    (open.allow.subscribe, open.allow.history) = (Who::Anyone, Who::Anyone);
    config.namespaces.insert(namespace::DEFAULT, open);
    config
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let embedded = Embedded::start(config())?;
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    let app = app(&embedded);
    let leave = async move {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            // Nothing to go on with: whoever supervises this program starts it again.
            () = embedded.failed() => eprintln!("the broker failed"),
        }
        // The server goes on meanwhile, so that everyone who listens hears it.
        embedded.drain().await;
    };
    axum::serve(listener, app).with_graceful_shutdown(leave).await?;
    Ok(())
}
