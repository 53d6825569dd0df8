//! Orders on one node, with other nodes made up.

use super::*;
use crate::auth::token::config::Config;
use crate::close::CloseReason;
use crate::error::ErrorCode;

/// Other nodes, and what each says.
#[derive(Debug)]
struct Others(Vec<(&'static str, Result<Done, &'static str>)>);

impl Elsewhere for Others {
    fn carry_out(&self, _: &Order, _: Duration) -> BoxFuture<'static, Vec<(String, Result<Done, String>)>> {
        let answers = self.0.iter().map(|(node, answer)| ((*node).to_owned(), answer.map_err(str::to_owned))).collect();
        Box::pin(std::future::ready(answers))
    }
}

fn control(others: Vec<(&'static str, Result<Done, &'static str>)>, revocations: u32) -> Control {
    let clock = Clock::start();
    let revocations = Revocations::new(&Config { revocations, ..Config::default() });
    let register = Register::new(revocations.clone(), clock);
    let elsewhere = (!others.is_empty()).then(|| ("a".to_owned(), Arc::new(Others(others)) as Arc<dyn Elsewhere>));
    Control::new(register, revocations, clock, Metrics::new(0, clock), elsewhere)
}

fn user(issued: Option<u64>) -> Identity {
    Identity { user: Some("ann".into()), id: None, issued }
}

fn session(name: &str) -> SessionId {
    SessionId::parse(name).unwrap()
}

fn disconnect(whom: Whom) -> Order {
    Order::Disconnect { whom, reconnect: false }
}

/// A stay that does what it is told.
fn obedient(entered: Entered) -> tokio::task::JoinHandle<Word> {
    tokio::spawn(async move {
        let told = entered.told().await;
        let word = told.word.clone();
        told.done(1);
        word
    })
}

#[tokio::test]
async fn an_order_is_answered_with_the_nodes_that_did_it_and_those_that_did_not() {
    let far = Done { ended: 5, pending: 1 };
    let control = control(vec![("b", Ok(far)), ("c", Err("no answer in time"))], 10);
    let stay = obedient(control.register().enter(session("s"), user(None)));
    let outcome = control.give(disconnect(Whom::User("ann".into())), "shop").await.unwrap();
    let here = Done { ended: 1, pending: 0 };
    let reached = |node: &str, done| Reached { node: node.into(), done };
    assert_eq!(outcome.reached, [reached("a", here), reached("b", far)]);
    assert_eq!(outcome.missed, [Missed { node: "c".into(), why: "no answer in time".into() }]);
    assert_eq!((outcome.ended(), outcome.until), (6, None));
    assert_eq!(stay.await.unwrap(), Word::End(CloseReason::Disconnected));
}

#[tokio::test(start_paused = true)]
async fn who_takes_nothing_holds_no_answer_up_and_is_named_as_pending() {
    let control = control(Vec::new(), 10);
    let stuck = control.register().enter(session("s"), user(None));
    let outcome = control.give(disconnect(Whom::Session(session("s"))), "shop").await.unwrap();
    assert_eq!(outcome.reached, [Reached { node: ALONE.into(), done: Done { ended: 0, pending: 1 } }]);
    assert_eq!(stuck.take().map(|told| told.word), Some(Word::End(CloseReason::Disconnected)), "it is told all the same");
}

#[tokio::test]
async fn a_revocation_ends_what_began_before_it_and_spares_what_was_issued_later() {
    let control = control(Vec::new(), 10);
    let now = control.now();
    let old = obedient(control.register().enter(session("old"), user(Some(now - 5))));
    let unsaid = obedient(control.register().enter(session("unsaid"), user(None)));
    let later = control.register().enter(session("later"), user(Some(now + 5)));
    let revocation = control.revocation(RevokeWhom::User("ann".into(), None), Some(now + 60));
    let outcome = control.give(Order::Revoke(revocation), "shop").await.unwrap();
    assert_eq!((outcome.ended(), outcome.until), (2, Some(now + 60)));
    for stay in [old, unsaid] {
        assert_eq!(stay.await.unwrap(), Word::End(CloseReason::Revoked));
    }
    assert!(later.take().is_none());
}

#[tokio::test]
async fn a_full_list_refuses_the_order_before_anybody_is_told() {
    let control = control(vec![("b", Ok(Done { ended: 1, pending: 0 }))], 1);
    let revoke = |id: &str| Order::Revoke(control.revocation(RevokeWhom::Token(id.into()), None));
    control.give(revoke("t1"), "shop").await.unwrap();
    let stay = control.register().enter(session("s"), Identity { id: Some("t2".into()), ..Identity::default() });
    assert_eq!(control.give(revoke("t2"), "shop").await.unwrap_err().code, ErrorCode::Overloaded);
    assert!(stay.take().is_none());
}

#[tokio::test]
async fn what_another_node_has_revoked_ends_stays_here_and_is_learned_once() {
    let control = control(Vec::new(), 10);
    let stay = control.register().enter(session("s"), user(None));
    let now = control.now();
    let known = [Revocation { what: Revoked::User("ann".into(), now), until: now + 60 }];
    control.take_in(&known);
    assert_eq!(stay.take().map(|told| told.word), Some(Word::End(CloseReason::Revoked)));
    control.take_in(&known);
    assert!(stay.take().is_none());
    assert_eq!(control.revocations().count(), 1);
}
