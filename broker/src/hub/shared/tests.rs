//! The hub's side of the cluster, beside other nodes that say nothing.

use foldhash::HashMap as Departures;

use super::*;
use crate::cluster::core::{Departure, Member, NodeId, State};

/// Other nodes that take everything and never answer.
#[derive(Debug)]
struct Mute;

impl Peers for Mute {
    fn send(&self, _to: Tag, _over: LinkId, _slot: Slot, _frame: Frame) -> Sent {
        Sent::Queued
    }
    fn say_presence(&self, _to: Tag, _over: LinkId, _frame: crate::presence::Frame) {}
    fn connected(&self) -> Vec<(Tag, LinkId)> {
        Vec::new()
    }
    fn happened(&self, _slot: Slot, _event: &Event) {}
    fn answered(&self, _answer: &Answer, _terms: Terms) {}
    fn channels(&self, _wanted: &Wanted, _limit: Duration) -> BoxFuture<'static, Vec<Told>> {
        Box::pin(std::future::ready(Vec::new()))
    }
}

fn tag(bits: u64) -> Tag {
    Tag::new(bits).unwrap()
}

/// What node 1 sees together with this process.
fn with(peer: Option<Tag>) -> Arc<View> {
    let member = |id: u64, tag: Tag| Member { id: NodeId(id), tag, state: State::Active };
    let members = [member(1, tag(1))].into_iter().chain(peer.map(|tag| member(2, tag))).collect();
    Arc::new(View::new(tag(1), members, 2, Departures::<Tag, Departure>::default(), true))
}

#[test]
fn a_slot_forgets_the_connections_to_processes_that_are_gone() {
    let shared = Shared::new(tag(1), Settings::default(), with(None), Arc::new(Mute));
    let hub = Arc::new(super::super::tests::hub_of(super::super::CommitRule::Shared(Box::new(shared))));
    let slot = Slot::new(7).unwrap();
    let links = || hub.with_slot(slot, |state| state.part.as_ref().unwrap().links.len());
    assert_eq!(links(), 0);
    for restart in 0..100 {
        let peer = tag(100 + restart);
        hub.see(with(Some(peer)));
        hub.tell_view();
        hub.linked(peer, restart, true);
        hub.linked(peer, restart, false);
        assert_eq!(links(), 1, "a lost one is known as long as its process is there");
        hub.see(with(None));
        hub.tell_view();
    }
    assert_eq!(links(), 0, "after 100 restarts");
}
