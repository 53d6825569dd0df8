//! What a WebSocket client may ask for besides listening: the HTTP API, joined to the front that must not know it.

use http::request::Parts;

use super::routes::Table;
use crate::api::http::Connected;
use crate::auth::Pass;
use crate::error::Result;
use crate::front::websocket::{Call, Calls, Outcome, Publish};

impl Table {
    /// What the one who sends this handshake may do besides listening.
    ///
    /// # Errors
    /// `permission_denied` for a page of an origin that may not even read here: over WebSocket no browser would stop it.
    pub(super) fn calls(&self, parts: &Parts, is_by_browser: bool) -> Result<Box<dyn Calls>> {
        self.api.origins.check(parts, is_by_browser, "connect").map_err(|refusal| self.api.gate.refuse(&refusal))?;
        Ok(Box::new(Connected::new(self.api.clone())))
    }
}

impl Calls for Connected {
    fn publish(&self, pass: &Pass, body: &str) -> Publish {
        let (published, unechoed) = self.publish(pass, body);
        Publish { call: Box::pin(async move { Outcome::new(published.await.answer()) }), unechoed }
    }

    fn presence(&self, pass: &Pass, query: &str) -> Call {
        let (connected, pass, query) = (self.clone(), pass.clone(), query.to_owned());
        Box::pin(async move { Outcome::new(async move { connected.presence(&pass, &query).await }) })
    }

    fn history(&self, pass: &Pass, query: &str) -> Call {
        let (connected, pass, query) = (self.clone(), pass.clone(), query.to_owned());
        // When its turn has come and not before: a page is large, and what was published before may be asked for.
        Box::pin(async move { Outcome::new(async move { connected.history(&pass, &query).await }) })
    }
}
