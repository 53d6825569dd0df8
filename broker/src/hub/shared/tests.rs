//! The hub's side of the cluster, beside other nodes that say nothing.

use std::sync::atomic::AtomicBool;

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
    fn is_full(&self, _to: Tag) -> bool {
        false
    }
    fn takes_state(&self, _to: Tag, _over: LinkId) -> bool {
        true
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
#[derive(Debug)]
struct Held {
    said: parking_lot::Mutex<Vec<(Tag, Slot, Frame)>>,
    /// States that it takes.
    room: AtomicU64,
    is_full: AtomicBool,
}

impl Default for Held {
    fn default() -> Self {
        Self { said: parking_lot::Mutex::default(), room: AtomicU64::new(u64::MAX), is_full: AtomicBool::new(false) }
    }
}

impl Peers for Held {
    fn send(&self, to: Tag, _over: LinkId, slot: Slot, frame: Frame) -> Sent {
        self.room.fetch_sub(u64::from(matches!(&frame, Frame::Sync(sync) if sync.is_last)), Ordering::Relaxed);
        self.said.lock().push((to, slot, frame));
        Sent::Queued
    }
    fn is_full(&self, _to: Tag) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }
    fn takes_state(&self, _to: Tag, _over: LinkId) -> bool {
        self.room.load(Ordering::Relaxed) > 0
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
            let said: Vec<_> = self.0.iter().map(|(_, peers)| std::mem::take(&mut *peers.said.lock())).collect();
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
        self.0[node].0.history_page(channel, None, crate::log::PageLimit { entries: 100, bytes: usize::MAX }).entries
    }

    /// Names of channels whose slots this node should lead.
    fn led_by(&self, node: usize) -> impl Iterator<Item = ChannelName> {
        let (view, tag) = (self.0[node].0.view().unwrap(), tag(node as u64 + 1));
        let names = (0..).map(|number| ChannelName::parse(&format!("c{number}")).unwrap());
        names.filter(move |name| view.place(Slot::of(name)).unwrap().home == tag)
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
    for (home, other) in [(1, 0), (0, 1)] {
        let channel = two.led_by(home).next().unwrap();
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
        assert!(took >= WAIT.as_secs_f64() && took < 1.0, "home {home}: {took}");
        // Nobody listens there, so that it hears with the next message: that is no delay of anybody's.
        let copies = two.metric(other, "tidings_delivery_stage_seconds_count{stage=\"commit\"}");
        assert!((copies - if home == 1 { 0.0 } else { 1.0 }).abs() < 0.1, "home {home}: {copies}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_wants_states_gets_one_after_the_other_as_its_connection_has_room_and_what_it_wanted_last() {
    let two = Two::new();
    let (hub, peers) = &two.0[0];
    let channels: Vec<ChannelName> = two.led_by(0).take(3).collect();
    peers.room.store(0, Ordering::Relaxed);
    for channel in &channels {
        // Which goes on without the copy that has no room.
        two.publish(channel, Duration::ZERO).await;
    }
    let kept = || channels.iter().map(|channel| two.kept(1, channel).len()).collect::<Vec<_>>();
    assert_eq!(kept(), [0, 0, 0]);
    hub.grant_wishes(tag(2), 1);
    assert_eq!(kept(), [0, 0, 0], "there is none yet");
    for expected in [[1, 0, 0], [1, 1, 0], [1, 1, 1]] {
        // It asks again meanwhile, as it hears nothing.
        two.pass(Duration::from_millis(1100)).await;
        peers.room.store(1, Ordering::Relaxed);
        hub.grant_wishes(tag(2), 1);
        two.carry();
        assert_eq!(kept(), expected);
    }
    let is_granted = |slot| hub.with_slot(slot, |state| state.part.as_ref().unwrap().wishes.is_empty());
    assert!(channels.iter().all(|channel| is_granted(Slot::of(channel))));
}

#[tokio::test(start_paused = true)]
async fn what_was_wanted_over_a_connection_that_is_lost_is_not_sent_over_the_next_one() {
    let two = Two::new();
    let (hub, peers) = &two.0[0];
    let channel = two.led_by(0).next().unwrap();
    peers.room.store(0, Ordering::Relaxed);
    two.publish(&channel, Duration::ZERO).await;
    let wishes = || hub.with_slot(Slot::of(&channel), |state| state.part.as_ref().unwrap().wishes.len());
    assert_eq!(wishes(), 1);
    hub.linked(tag(2), 1, false);
    hub.linked(tag(2), 2, true);
    assert_eq!(wishes(), 0);
    peers.room.store(1, Ordering::Relaxed);
    hub.grant_wishes(tag(2), 2);
    assert!(!peers.said.lock().iter().any(|(_, _, frame)| matches!(frame, Frame::Sync(_))));
}

#[tokio::test(start_paused = true)]
async fn publishers_wait_while_the_connection_to_the_node_that_orders_their_channel_is_full_and_then_hear_so() {
    let two = Two::new();
    let (hub, peers) = &two.0[0];
    let (theirs, ours) = (Slot::of(&two.led_by(1).next().unwrap()), Slot::of(&two.led_by(0).next().unwrap()));
    const LIMIT: Duration = Duration::from_secs(2);
    assert_eq!(hub.way(theirs, LIMIT).await.unwrap(), None);
    peers.is_full.store(true, Ordering::Relaxed);
    assert_eq!(hub.way(ours, LIMIT).await.unwrap(), None, "what is ordered here goes nowhere");
    let refused = hub.way(theirs, LIMIT).await.unwrap_err();
    assert_eq!(refused.code, crate::error::ErrorCode::Overloaded);
    let drained = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        peers.is_full.store(false, Ordering::Relaxed);
        hub.drained(tag(2), 1);
    };
    let (waited, ()) = tokio::join!(hub.way(theirs, LIMIT), drained);
    assert_eq!(waited.unwrap(), Some(Duration::from_millis(300)));
}

#[tokio::test(start_paused = true)]
async fn publishes_that_nobody_answers_have_one_bound_for_all_slots() {
    let shared = Shared::new(tag(1), Settings::default(), with(Some(tag(2))), Arc::new(Mute));
    let hub = super::super::tests::hub_of(super::super::CommitRule::Shared(Box::new(shared)));
    let payload = crate::message::Payload::text(&"x".repeat(1 << 20));
    let ask = |number: u64| {
        let channel = ChannelName::parse(&format!("c{number}")).unwrap();
        let draft = crate::message::Draft::new(channel.clone(), payload.clone());
        hub.ask(Slot::of(&channel), Ask::Publish(draft), Terms::default()).unwrap()
    };
    let slot = Slot::new(1).unwrap();
    let mut answers = Vec::new();
    while hub.has_way(slot) {
        answers.push(ask(answers.len() as u64));
    }
    assert_eq!(answers.len(), 64);
    let answered = async {
        tokio::time::sleep(Settings::default().publish).await;
        hub.tick();
    };
    let (waited, ()) = tokio::join!(hub.way(slot, Duration::from_secs(60)), answered);
    assert_eq!(waited.unwrap(), Some(Settings::default().publish));
    assert!(answers.iter_mut().all(|answer| matches!(answer.try_recv(), Ok(Answer::Unknown))));
}
