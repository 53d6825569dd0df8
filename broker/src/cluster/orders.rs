//! Orders about clients, and what is revoked, as they go over the bulk connections.

use std::time::Duration;

use tidings_proto::cluster::v1 as wire;
use tidings_proto::cluster::v1::bulk_frame::What;
use tidings_proto::cluster::v1::{order, revocation, whom};

use super::NodeName;
use super::letter::Letter;
use super::link::Purpose;
use super::mesh::{Id, Mesh, Posted};
use super::questions::Questions;
use crate::auth::pattern::Pattern;
use crate::auth::{Revocation, Revoked};
use crate::control::{Done, Order, Whom};
use crate::journal::SessionId;
use crate::log::Tag;

/// Orders of other nodes that are under way at most; what is more is refused.
pub(super) const ORDERS_MAX: usize = 1024;
/// Revocations in one frame.
const REVOCATIONS_AT_ONCE: usize = 1_000;
/// How often it is looked whether a connection has room again.
const LOOK: Duration = Duration::from_millis(50);

/// Has one node carry an order out.
pub(super) async fn ask(mesh: &Mesh<Letter>, questions: &Questions, to: Tag, order: What, limit: Duration) -> Result<Done, String> {
    let Some(mut open) = questions.begin() else { return Err("too many questions to other nodes are open".to_owned()) };
    let frame = wire::BulkFrame { number: open.number, what: Some(order) };
    if mesh.post(to, Purpose::Bulk, None, Letter::Bulk(frame)) == Posted::Closed {
        return Err("it is not connected".to_owned());
    }
    match tokio::time::timeout(limit, open.answer()).await {
        Ok(Some(What::OrderDone(done))) => hear_done(done),
        Ok(_) => Err("its answer is not understood".to_owned()),
        // So is a release that knows no orders.
        Err(_) => Err(format!("no answer within {limit:?}")),
    }
}

/// Asks all of these.
pub(super) async fn ask_all(
    mesh: Mesh<Letter>,
    questions: std::sync::Arc<Questions>,
    nodes: Vec<(Tag, NodeName)>,
    order: What,
    limit: Duration,
) -> Vec<(String, Result<Done, String>)> {
    let asked = nodes.into_iter().map(|(tag, name)| {
        let (mesh, questions, order) = (&mesh, &questions, order.clone());
        async move { (name.to_string(), ask(mesh, questions, tag, order, limit).await) }
    });
    futures_util::future::join_all(asked).await
}

/// Tells a node what is revoked here, as far as the connection of this number takes it.
pub(super) async fn tell_revocations(mesh: Mesh<Letter>, to: Tag, over: Id, revocations: Vec<Revocation>) {
    for some in revocations.chunks(REVOCATIONS_AT_ONCE) {
        let what = What::Revocations(wire::Revocations { revocations: some.iter().map(say_revocation).collect() });
        match mesh.post(to, Purpose::Bulk, Some(over), Letter::Bulk(wire::BulkFrame { number: 0, what: Some(what) })) {
            Posted::Queued => {}
            Posted::Behind => {
                let is_full = || mesh.queued(to)[Purpose::Bulk.index()].is_some_and(|queued| queued.is_full);
                while is_full() {
                    tokio::time::sleep(LOOK).await;
                }
            }
            // Over the next connection all of it is told again.
            Posted::Closed => return,
        }
    }
}

/// An order as it goes over the wire.
pub(super) fn say_order(order: &Order) -> What {
    let what = match order {
        Order::Disconnect { whom, reconnect } => {
            order::What::Disconnect(wire::Disconnect { whom: Some(say_whom(whom)), reconnect: *reconnect })
        }
        Order::Unsubscribe { whom, channels } => {
            order::What::Unsubscribe(wire::Unsubscribe { whom: Some(say_whom(whom)), channels: channels.to_string() })
        }
        Order::Revoke(revocation) => order::What::Revoke(say_revocation(revocation)),
    };
    What::Order(wire::Order { what: Some(what) })
}

/// An order as it came; `None` when it makes no sense: its node is newer, or wrong.
pub(super) fn hear_order(order: wire::Order) -> Option<Order> {
    Some(match order.what? {
        order::What::Disconnect(wire::Disconnect { whom, reconnect }) => Order::Disconnect { whom: hear_whom(whom)?, reconnect },
        order::What::Unsubscribe(wire::Unsubscribe { whom, channels }) => {
            Order::Unsubscribe { whom: hear_whom(whom)?, channels: Pattern::parse(&channels).ok()? }
        }
        order::What::Revoke(revocation) => Order::Revoke(hear_revocation(revocation)?),
    })
}

/// The answer as it goes over the wire.
pub(super) fn say_done(done: Result<Done, String>) -> What {
    What::OrderDone(match done {
        Ok(Done { ended, pending }) => wire::OrderDone { ended, pending, refused: String::new() },
        Err(refused) => wire::OrderDone { refused, ..Default::default() },
    })
}

pub(super) fn hear_done(done: wire::OrderDone) -> Result<Done, String> {
    let wire::OrderDone { ended, pending, refused } = done;
    if refused.is_empty() { Ok(Done { ended, pending }) } else { Err(refused) }
}

/// What another node has revoked; what of it makes no sense is left out.
pub(super) fn hear_revocations(revocations: wire::Revocations) -> Vec<Revocation> {
    revocations.revocations.into_iter().filter_map(hear_revocation).collect()
}

fn say_whom(whom: &Whom) -> wire::Whom {
    let whom = match whom {
        Whom::User(user) => whom::Whom::User(user.to_string()),
        Whom::Token(id) => whom::Whom::Token(id.to_string()),
        Whom::Session(session) => whom::Whom::Session(session.to_string()),
    };
    wire::Whom { whom: Some(whom) }
}

fn hear_whom(whom: Option<wire::Whom>) -> Option<Whom> {
    Some(match whom?.whom? {
        whom::Whom::User(user) => Whom::User(user.into()),
        whom::Whom::Token(id) => Whom::Token(id.into()),
        whom::Whom::Session(session) => Whom::Session(SessionId::parse(&session)?),
    })
}

fn say_revocation(revocation: &Revocation) -> wire::Revocation {
    let (what, issued_until) = match &revocation.what {
        Revoked::User(user, issued_until) => (revocation::What::User(user.to_string()), *issued_until),
        Revoked::Token(id) => (revocation::What::Token(id.to_string()), 0),
    };
    wire::Revocation { what: Some(what), issued_until, until: revocation.until }
}

fn hear_revocation(revocation: wire::Revocation) -> Option<Revocation> {
    let wire::Revocation { what, issued_until, until } = revocation;
    let what = match what? {
        revocation::What::User(user) => Revoked::User(user.into(), issued_until),
        revocation::What::Token(id) => Revoked::Token(id.into()),
    };
    Some(Revocation { what, until })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_and_their_answers_arrive_as_they_were_given() {
        let session = Whom::Session(SessionId::parse("s-1").unwrap());
        let orders = [
            Order::Disconnect { whom: Whom::User("ann".into()), reconnect: true },
            Order::Disconnect { whom: session, reconnect: false },
            Order::Unsubscribe { whom: Whom::Token("t".into()), channels: Pattern::parse("news:*").unwrap() },
            Order::Revoke(Revocation { what: Revoked::User("ann".into(), 5), until: 9 }),
            Order::Revoke(Revocation { what: Revoked::Token("t".into()), until: 9 }),
        ];
        for order in orders {
            let What::Order(said) = say_order(&order) else { panic!() };
            assert_eq!(hear_order(said), Some(order));
        }
        for done in [Ok(Done { ended: 3, pending: 1 }), Err("the list is full".to_owned())] {
            let What::OrderDone(said) = say_done(done.clone()) else { panic!() };
            assert_eq!(hear_done(said), done);
        }
    }

    #[test]
    fn what_makes_no_sense_is_no_order() {
        assert_eq!(hear_order(wire::Order::default()), None);
        let whom = Some(wire::Whom { whom: Some(whom::Whom::Session("a b".into())) });
        let order = wire::Order { what: Some(order::What::Disconnect(wire::Disconnect { whom, reconnect: false })) };
        assert_eq!(hear_order(order), None);
        assert_eq!(hear_revocations(wire::Revocations { revocations: vec![wire::Revocation::default()] }), []);
    }
}
