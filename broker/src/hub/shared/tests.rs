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

/// Takes what a node says to another one, until somebody carries it there.
#[derive(Debug, Default)]
struct Held(parking_lot::Mutex<Vec<(Tag, Slot, Frame)>>);

impl Peers for Held {
    fn send(&self, to: Tag, _over: LinkId, slot: Slot, frame: Frame) -> Sent {
        self.0.lock().push((to, slot, frame));
        Sent::Queued
    }
    fn say_presence(&self, _to: Tag, _over: LinkId, _frame: crate::presence::Frame) {}
    fn connected(&self) -> Vec<(Tag, LinkId)> {
        [tag(1), tag(2)].map(|peer| (peer, 1)).into()
    }
    fn happened(&self, _slot: Slot, _event: &Event) {}
    fn answered(&self, _answer: &Answer, _terms: Terms) {}
    fn channels(&self, _wanted: &Wanted, _limit: Duration) -> BoxFuture<'static, Vec<Told>> {
        Box::pin(std::future::ready(Vec::new()))
    }
}

/// Two nodes, whose clocks show the same, and the way between them.
struct Two([(Hub, Arc<Held>); 2]);

impl Two {
    fn new() -> Self {
        let nodes = [1, 2].map(|me| {
            let peers = Arc::new(Held::default());
            let members = [1, 2].map(|id| Member { id: NodeId(id), tag: tag(id), state: State::Active }).into();
            let view = Arc::new(View::new(tag(me), members, 2, Departures::<Tag, Departure>::default(), true));
            let shared = Shared::new(tag(me), Settings::default(), view, peers.clone());
            (super::super::tests::hub_of(super::super::CommitRule::Shared(Box::new(shared))), peers)
        });
        Self(nodes)
    }

    /// Carries what either says to the other until both are silent.
    fn carry(&self) {
        loop {
            let said: Vec<_> = self.0.iter().map(|(_, peers)| std::mem::take(&mut *peers.0.lock())).collect();
            if said.iter().all(Vec::is_empty) {
                return;
            }
            for (from, frames) in [tag(1), tag(2)].into_iter().zip(said) {
                for (to, slot, frame) in frames {
                    self.0[usize::from(to == tag(2))].0.hear(slot, from, 1, frame);
                }
            }
        }
    }

    /// Publishes at the first node and carries it through, both ways after a wait.
    async fn publish(&self, channel: &ChannelName, wait: Duration) {
        let hub = &self.0[0].0;
        let draft = crate::message::Draft::new(channel.clone(), crate::message::Payload::text("x"));
        let mut answer = hub.ask(Slot::of(channel), Ask::Publish(draft), Terms::default()).unwrap();
        tokio::time::advance(wait).await;
        for _ in 0..500 {
            self.carry();
            if answer.try_recv().is_ok() {
                return;
            }
            self.pass(Duration::from_millis(20)).await;
        }
        panic!("nobody answered");
    }

    async fn pass(&self, time: Duration) {
        tokio::time::advance(time).await;
        self.0.iter().for_each(|(hub, _)| hub.tick());
        self.carry();
    }

    fn kept(&self, node: usize, channel: &ChannelName) -> Vec<Arc<Entry>> {
        self.0[node].0.history(channel, None, crate::log::PageLimit { entries: 100, bytes: usize::MAX }).0
    }

    fn metric(&self, node: usize, series: &str) -> f64 {
        let text = self.0[node].0.metrics.render(&crate::metrics::Gauges::default());
        text.lines().find_map(|line| line.strip_prefix(series)).unwrap().trim().parse().unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn a_delay_begins_where_the_publish_came_in_on_whatever_node_it_is_counted() {
    const WAIT: Duration = Duration::from_millis(30);
    let two = Two::new();
    let is_home = |node: usize, slot| two.0[node].0.with_slot(slot, |state| state.part.as_ref().unwrap().replica.is_home());
    let names = || (0..).map(|number| ChannelName::parse(&format!("c{number}")).unwrap());
    let view = two.0[0].0.view().unwrap();
    for (home, other) in [(1, 0), (0, 1)] {
        let channel = names().find(|name| view.place(Slot::of(name)).unwrap().home == tag(home as u64 + 1)).unwrap();
        let slot = Slot::of(&channel);
        // The first one finds the home.
        two.publish(&channel, Duration::ZERO).await;
        assert!(is_home(home, slot) && !is_home(other, slot));
        let mut asked = Vec::new();
        while asked.len() < 8 {
            asked.push(two.0[0].0.clock.mono());
            two.publish(&channel, WAIT).await;
        }
        // The copy hears a little later of what is committed.
        for _ in 0..100 {
            two.pass(Duration::from_millis(100)).await;
        }
        for node in [home, other] {
            let kept = two.kept(node, &channel).split_off(1);
            assert_eq!(kept.iter().map(|entry| entry.asked()).collect::<Vec<_>>(), asked, "node {node}, home {home}");
        }
        let kept = two.kept(home, &channel).split_off(1);
        let waited = |entry: &Arc<Entry>| entry.accepted.mono - entry.asked();
        // Its own node's home gives it its place at once; what waits then waits for its copy.
        assert!(kept.iter().map(waited).all(|waited| waited == if home == 0 { Duration::ZERO } else { WAIT }), "home {home}");
        // One message in eight is timed, and by the home alone.
        assert!((two.metric(home, "tidings_delivery_stage_seconds_count{stage=\"append\"}") - 1.0).abs() < 0.1);
        let took = two.metric(home, "tidings_delivery_stage_seconds_sum{stage=\"append\"}");
        assert!((took - kept.iter().map(waited).max().unwrap().as_secs_f64()).abs() < 1e-6, "home {home}: {took}");
        let took = two.metric(home, "tidings_delivery_stage_seconds_sum{stage=\"commit\"}");
        assert!(took >= WAIT.as_secs_f64(), "home {home}: {took}");
    }
}
