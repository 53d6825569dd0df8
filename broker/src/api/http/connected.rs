//! The same calls for who is connected already: allowed as a request of its own would be, answered in the same JSON.

use std::future::Future;
use std::sync::Arc;

use super::publish::{Appended, Publish};
use super::{HttpApi, presence, read};
use crate::auth::Pass;
use crate::error::Result;
use crate::message::{ChannelName, MessageId};
use crate::metrics::Source;

/// The API as one connection may use it.
#[derive(Clone, Debug)]
pub struct Connected(Arc<HttpApi>);

/// A publish whose order is given.
#[derive(Debug)]
pub struct Published {
    api: Arc<HttpApi>,
    appended: Result<Appended>,
}

impl Published {
    /// Waits for the commit: the answer, as over HTTP.
    ///
    /// # Errors
    /// As over HTTP.
    pub async fn answer(self) -> Result<Vec<u8>> {
        let answered = match self.appended {
            Ok(appended) => appended.answer(&self.api, |_, _| {}).await,
            Err(error) => Err(error),
        };
        answered.inspect_err(|error| self.api.metrics.published(Source::WebSocket, Err(error.code), 0))
    }
}

impl Connected {
    /// For a connection; its origin is judged by who opens it.
    #[must_use]
    pub fn new(api: Arc<HttpApi>) -> Self {
        Self(api)
    }

    /// Publishes what the body of `POST /v1/publish` would. When this is ready the messages have their order; the answer
    /// follows. Beside it stands what the sender is not to hear of it.
    pub fn publish(&self, pass: &Pass, body: &str) -> (impl Future<Output = Published> + use<>, Vec<(ChannelName, MessageId)>) {
        let (api, pass) = (self.0.clone(), pass.clone());
        let mut publish = Publish::parse(&api, body.as_bytes());
        let unechoed = publish.as_mut().map_or_else(|_| Vec::new(), |publish| publish.unechoed(&api));
        let published = async move {
            let appended = match publish {
                Ok(publish) => publish.append(&api, &pass, Source::WebSocket).await,
                Err(error) => Err(error),
            };
            Published { api, appended }
        };
        (published, unechoed)
    }

    /// A page of history, asked for as `{"channel","since"?,"limit"?,"order"?}`.
    ///
    /// # Errors
    /// As over HTTP.
    pub async fn history(&self, pass: &Pass, query: &str) -> Result<Vec<u8>> {
        read::described_history(&self.0, pass, query).await
    }

    /// A page of who is on a channel, asked for as `{"channel","after"?,"limit"?}`.
    ///
    /// # Errors
    /// As over HTTP.
    pub async fn presence(&self, pass: &Pass, query: &str) -> Result<Vec<u8>> {
        presence::described(&self.0, pass, query).await
    }
}
