//! The same calls for who is connected already: allowed as the request that opened the connection would be, answered in the
//! same JSON.

use std::future::Future;
use std::sync::Arc;

use http::request::Parts;

use super::publish::{Appended, Publish};
use super::{HttpApi, check_key, read};
use crate::error::{Error, Result};
use crate::metrics::Source;

/// The API as one connection may use it.
#[derive(Clone)]
pub struct Connected {
    api: Arc<HttpApi>,
    /// Why it may not, if it may not: most that only listen have no key.
    refusal: Option<Arc<Error>>,
}

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
            Ok(appended) => appended.answer(&self.api).await,
            Err(error) => Err(error),
        };
        answered.inspect_err(|error| self.api.metrics.published(Source::WebSocket, Err(error.code), 0))
    }
}

impl Connected {
    /// What the request that opens a connection is allowed; its origin is judged by [`check_origin_of_connection`](super::check_origin_of_connection).
    #[must_use]
    pub fn new(api: Arc<HttpApi>, parts: &Parts) -> Self {
        let refusal = check_key(&api, parts).err().map(Arc::new);
        Self { api, refusal }
    }

    /// Publishes what the body of `POST /v1/publish` would. When this is ready the messages have their order; the answer
    /// follows.
    pub fn publish(&self, body: &str) -> impl Future<Output = Published> + use<> {
        let api = self.api.clone();
        let publish = self.check().and_then(|()| Publish::parse(&api, body.as_bytes()));
        async move {
            let appended = match publish {
                Ok(publish) => publish.append(&api, Source::WebSocket).await,
                Err(error) => Err(error),
            };
            Published { api, appended }
        }
    }

    /// A page of history, asked for as `{"channel","since"?,"limit"?,"order"?}`.
    ///
    /// # Errors
    /// As over HTTP.
    pub fn history(&self, query: &str) -> Result<Vec<u8>> {
        self.check()?;
        read::described_history(&self.api, query)
    }

    fn check(&self) -> Result<()> {
        let Some(refusal) = &self.refusal else { return Ok(()) };
        self.api.metrics.auth_failed();
        Err(Error::clone(refusal))
    }
}

impl std::fmt::Debug for Connected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connected").field("refusal", &self.refusal).finish_non_exhaustive()
    }
}
