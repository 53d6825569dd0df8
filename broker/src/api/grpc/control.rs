//! Orders about clients.

use tidings_proto::v1;
use tidings_proto::v1::{clients, revoke_request};

use super::{GrpcServices, convert};
use crate::api::order::{self, Clients};
use crate::auth::Pass;
use crate::control::Order;
use crate::error::Result;

impl GrpcServices {
    /// Ends connections.
    ///
    /// # Errors
    /// An order that is none, or one that the caller may not give.
    pub(super) async fn disconnect(&self, pass: &Pass, request: &v1::DisconnectRequest) -> Result<v1::ControlResult> {
        self.give(pass, order::disconnect(whom(request.clients.as_ref()), request.reconnect)?).await
    }

    /// Ends subscriptions.
    ///
    /// # Errors
    /// As [`GrpcServices::disconnect`].
    pub(super) async fn unsubscribe(&self, pass: &Pass, request: &v1::UnsubscribeRequest) -> Result<v1::ControlResult> {
        self.give(pass, order::unsubscribe(whom(request.clients.as_ref()), &request.channel)?).await
    }

    /// Makes tokens count no longer.
    ///
    /// # Errors
    /// As [`GrpcServices::disconnect`]; `overloaded` when no revocation more can be kept.
    pub(super) async fn revoke(&self, pass: &Pass, request: &v1::RevokeRequest) -> Result<v1::ControlResult> {
        let clients = match &request.what {
            Some(revoke_request::What::User(user)) => Clients { user: Some(user), ..Clients::default() },
            Some(revoke_request::What::TokenId(id)) => Clients { token_id: Some(id), ..Clients::default() },
            None => Clients::default(),
        };
        let moment = |seconds: u64| (seconds > 0).then_some(seconds);
        let order = order::revoke(&self.control, clients, moment(request.until), moment(request.issued_until))?;
        self.give(pass, order).await
    }

    async fn give(&self, pass: &Pass, order: Order) -> Result<v1::ControlResult> {
        order::give(&self.control, pass, order).await.map(convert::outcome)
    }
}

fn whom(clients: Option<&v1::Clients>) -> Clients<'_> {
    match clients.and_then(|clients| clients.whom.as_ref()) {
        Some(clients::Whom::User(user)) => Clients { user: Some(user), ..Clients::default() },
        Some(clients::Whom::TokenId(id)) => Clients { token_id: Some(id), ..Clients::default() },
        Some(clients::Whom::Session(session)) => Clients { session: Some(session), ..Clients::default() },
        None => Clients::default(),
    }
}
