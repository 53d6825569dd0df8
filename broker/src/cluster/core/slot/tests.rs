//! Replicas of one slot on a few nodes that see each other, in one thread: frames arrive in order when a test says so.

mod later_epochs;
mod leaving;
mod slow;

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;
use std::time::Duration;

use foldhash::{HashMap, HashMapExt};

use super::*;
use crate::clock::Moment;
use crate::cluster::core::frame::{Ack, Ask, Forward, Outcome, Refusal, Terms};
use crate::cluster::core::{Member, NodeId, Settings, State, View};
use crate::log::{ChannelKey, NamespaceId, Retention};
use crate::message::{Draft, Payload, PublishId};

const KEPT: Retention = Retention { size: 100_000, ttl: Duration::from_secs(3600), bytes: u64::MAX };
/// Two copies or none.
const INSISTS: Terms = Terms { ack: Ack::Committed, replicas: 2, copies_min: 2 };

#[derive(Default)]
struct Names(BTreeMap<ChannelName, ChannelKey>);

impl Channels for Names {
    fn open(&mut self, log: &mut SlotLog, name: &ChannelName, now: Moment) -> ChannelKey {
        *self.0.entry(name.clone()).or_insert_with(|| log.open_channel(name.clone(), NamespaceId(0), KEPT, now))
    }

    fn find(&self, name: &ChannelName) -> Option<ChannelKey> {
        self.0.get(name).copied()
    }

    fn all(&self) -> Vec<ChannelKey> {
        self.0.values().copied().collect()
    }
}

struct One {
    log: SlotLog,
    names: Names,
    replica: Replica,
}

struct Scene {
    now: Duration,
    slot: Slot,
    settings: Settings,
    members: Vec<Member>,
    /// Some left without a word.
    misses_others: bool,
    nodes: Vec<One>,
    /// From, to, what.
    wires: VecDeque<(usize, usize, Frame)>,
    /// Nothing arrives from or at these.
    mute: Vec<usize>,
    /// The process of this one is stopped.
    still: Option<usize>,
    answers: Vec<(u64, Answer)>,
}

fn name(text: &str) -> ChannelName {
    ChannelName::parse(text).unwrap()
}

fn tag(at: usize) -> Tag {
    Tag::new(at as u64 + 1).unwrap()
}

/// A publish with an id of its own.
fn ask(rid: u64, channel: &str) -> Ask {
    let mut draft = Draft::new(name(channel), Payload::text(&format!("m{rid}")));
    draft.id = Some(PublishId::Retry(u128::from(rid) + 1));
    Ask::Publish(draft)
}

impl Scene {
    fn new(count: usize, settings: Settings) -> Self {
        let slot = Slot::of(&name("a{x}"));
        let member = |at| Member { id: NodeId::of(&format!("node-{at}")), tag: tag(at), state: State::Active };
        let one =
            |at| One { log: SlotLog::new(slot, Epoch::new(0, tag(at))), names: Names::default(), replica: Replica::new(tag(at), slot) };
        let mut scene = Self {
            now: Duration::from_secs(100),
            slot,
            settings,
            members: (0..count).map(member).collect(),
            misses_others: false,
            nodes: (0..count).map(one).collect(),
            wires: VecDeque::new(),
            mute: Vec::new(),
            still: None,
            answers: Vec::new(),
        };
        (0..count).for_each(|at| scene.input(at, Input::View));
        scene
    }

    fn view(&self, at: usize) -> View {
        View::new(tag(at), self.members.clone(), self.settings.replicas, HashMap::new(), true).missing_others(self.misses_others)
    }

    /// Three nodes of which the home serves without its follower, after a first message; it, and the node that is neither.
    fn with_a_home_alone() -> (Self, usize, usize) {
        let mut scene = Self::new(3, Settings::default());
        let (home, follower) = scene.owners();
        scene.mute.push(follower);
        scene.publish(home, 1, "b{x}", Terms::default());
        scene.pass(5500);
        let elsewhere = (0..3).find(|at| *at != home && *at != follower).unwrap();
        (scene, home, elsewhere)
    }

    /// Home and follower.
    fn owners(&self) -> (usize, usize) {
        let place = self.view(0).place(self.slot).unwrap();
        let at = |of: Tag| of.get() as usize - 1;
        (at(place.home), place.follower.map_or(usize::MAX, at))
    }

    fn input(&mut self, at: usize, input: Input) {
        let view = self.view(at);
        let mut out = Vec::new();
        let One { log, names, replica } = &mut self.nodes[at];
        let now = Moment { mono: self.now, unix_ms: 0 };
        let mut cx = Context { now, view: &view, channels: names, dedupe_room: usize::MAX, settings: &self.settings, out: &mut out };
        replica.handle(log, &mut cx, input);
        for output in out {
            match output {
                Output::Send { to, frame } => self.wires.push_back((at, to.get() as usize - 1, frame)),
                Output::Answer { rid, answer } => self.answers.push((rid, answer)),
                _ => {}
            }
        }
    }

    /// Lets everything arrive that is on its way, and what is said to that.
    fn talk(&mut self) {
        while let Some((from, to, frame)) = self.wires.pop_front() {
            if !self.mute.contains(&from) && !self.mute.contains(&to) {
                self.input(to, Input::Frame { from: tag(from), frame });
            }
        }
    }

    /// The links of a node break, or are there again; what was on its way is lost.
    fn link(&mut self, at: usize, is_up: bool) {
        self.wires.retain(|(from, to, _)| *from != at && *to != at);
        self.mute.retain(|mute| *mute != at);
        for other in (0..self.nodes.len()).filter(|other| *other != at) {
            self.input(at, Input::Link { peer: tag(other), is_up });
            self.input(other, Input::Link { peer: tag(at), is_up });
        }
        self.mute.extend((!is_up).then_some(at));
    }

    /// So many milliseconds pass.
    fn pass(&mut self, ms: u64) {
        for _ in 0..ms / 5 {
            self.now += Duration::from_millis(5);
            for at in 0..self.nodes.len() {
                if self.still != Some(at) && self.nodes[at].replica.due().is_some_and(|due| due <= self.now) {
                    self.input(at, Input::Tick);
                }
            }
            self.talk();
        }
    }

    fn publish(&mut self, at: usize, rid: u64, channel: &str, terms: Terms) {
        self.input(at, Input::Publish { rid, ask: ask(rid, channel), terms });
        self.talk();
    }

    /// A publisher who insists asks again for what it asked for as `first`.
    fn retry(&mut self, at: usize, rid: u64, first: u64, channel: &str) {
        self.input(at, Input::Publish { rid, ask: ask(first, channel), terms: INSISTS });
        self.talk();
    }

    /// Publishes to a{x} come in from another node.
    fn hear(&mut self, at: usize, from: usize, flight: u32, rids: RangeInclusive<u64>, terms: Terms) {
        for rid in rids {
            let forward = Forward { rid, flight, ask: ask(rid, "a{x}"), since: self.now, terms };
            self.input(at, Input::Frame { from: tag(from), frame: Frame::Forward(forward) });
        }
    }

    /// Takes what is on its way to an ingress, and the answers to publishes out of that: number, flight, outcome.
    fn take_answers(&mut self, from: usize, to: usize) -> Vec<(u64, u32, Outcome)> {
        let (theirs, rest): (VecDeque<_>, VecDeque<_>) = self.wires.drain(..).partition(|(of, at, _)| (*of, *at) == (from, to));
        self.wires = rest;
        let acks = theirs.into_iter().filter_map(|(.., frame)| match frame {
            Frame::ForwardAck { rid, flight, outcome } => Some((rid, flight, outcome)),
            _ => None,
        });
        acks.collect()
    }

    fn answer(&self, rid: u64) -> Option<&Answer> {
        self.answers.iter().find(|(of, _)| *of == rid).map(|(_, answer)| answer)
    }

    fn copies(&self, rid: u64) -> Option<u32> {
        if let Some(Answer::Done(done)) = self.answer(rid) { Some(done.copies) } else { None }
    }

    /// What the log of a node holds, in order.
    fn texts(&self, at: usize) -> Vec<String> {
        self.nodes[at].log.beyond(0).iter().map(|entry| String::from_utf8_lossy(entry.payload.bytes()).into_owned()).collect()
    }
}

#[test]
fn who_insists_on_two_copies_waits_for_the_follower_of_a_slot_that_was_just_opened() {
    for at in 0..3 {
        let mut scene = Scene::new(3, Settings::default());
        scene.publish(at, 1, "a{x}", INSISTS);
        scene.pass(100);
        assert_eq!(scene.copies(1), Some(2), "through node {at}: {:?}", scene.answers);
    }
}

#[test]
fn it_waits_for_a_second_and_is_refused_when_no_follower_came() {
    let mut scene = Scene::new(3, Settings::default());
    let (home, follower) = scene.owners();
    scene.mute.push(follower);
    scene.publish(home, 1, "b{x}", Terms::default());
    // Whoever says nothing is asked for five seconds before the slot is opened.
    scene.pass(5500);
    assert_eq!(scene.copies(1), Some(1));
    scene.publish(home, 2, "a{x}", INSISTS);
    scene.pass(900);
    assert_eq!(scene.answer(2), None);
    scene.pass(200);
    assert_eq!(scene.answer(2), Some(&Answer::Refused(Refusal::Degraded)));
    assert_eq!(scene.texts(home), ["m1"], "what is refused is nowhere");
}

#[test]
fn where_no_other_node_is_to_hold_it_it_is_refused_at_once() {
    let mut scene = Scene::new(1, Settings::default());
    scene.publish(0, 1, "a{x}", INSISTS);
    assert_eq!(scene.answer(1), Some(&Answer::Refused(Refusal::Degraded)));
}

#[test]
fn what_is_asked_of_a_channel_stays_in_order_while_something_of_it_waits_and_other_channels_go_on() {
    let (mut scene, home, elsewhere) = Scene::with_a_home_alone();
    scene.publish(elsewhere, 2, "a{x}", INSISTS);
    scene.publish(elsewhere, 3, "a{x}", Terms::default());
    scene.publish(elsewhere, 4, "b{x}", Terms::default());
    assert_eq!((scene.answer(2), scene.answer(3), scene.copies(4)), (None, None, Some(1)));
    scene.mute.clear();
    scene.pass(900);
    assert_eq!((scene.copies(2), scene.copies(3)), (Some(2), Some(2)));
    assert_eq!(scene.texts(home), ["m1", "m4", "m2", "m3"]);
}

#[test]
fn what_waits_for_a_follower_is_bounded() {
    let mut scene = Scene::new(3, Settings { publish_bytes: 2000, ..Settings::default() });
    let (home, follower) = scene.owners();
    scene.mute.push(follower);
    scene.publish(home, 0, "b{x}", Terms::default());
    scene.pass(5500);
    let elsewhere = (0..3).find(|at| *at != home && *at != follower).unwrap();
    // Each of the two nodes keeps seven that are not answered; the home has room for seven in all.
    for (rid, at) in (1..=10).map(|rid| (rid, if rid % 2 == 0 { home } else { elsewhere })) {
        scene.publish(at, rid, "a{x}", INSISTS);
    }
    let busy = scene.answers.iter().filter(|(_, answer)| *answer == Answer::Refused(Refusal::Busy)).count();
    assert_eq!(busy, 3, "{:?}", scene.answers);
    scene.mute.clear();
    scene.pass(900);
    assert_eq!((1..=10).filter(|rid| scene.copies(*rid) == Some(2)).count(), 7);
}

#[test]
fn what_waits_for_a_follower_is_sent_on_when_its_slot_moves() {
    let mut scene = Scene::new(3, Settings::default());
    let (home, _) = scene.owners();
    let leaver = home;
    // The owners to be, once the home has left.
    scene.members[leaver].state = State::Draining;
    let (next, follower) = scene.owners();
    scene.members[leaver].state = State::Active;
    scene.mute.extend((0..3).filter(|at| *at != leaver));
    scene.publish(leaver, 1, "b{x}", Terms::default());
    scene.pass(5500);
    scene.publish(leaver, 2, "a{x}", INSISTS);
    scene.mute.clear();
    scene.members[leaver].state = State::Draining;
    (0..3).for_each(|at| scene.input(at, Input::View));
    scene.pass(900);
    assert!(scene.nodes[next].replica.is_home(), "the slot did not move");
    assert!(scene.copies(2) >= Some(2), "{:?}, next {next}, follower {follower}", scene.answers);
    assert_eq!(scene.texts(next), ["m1", "m2"]);
}

#[test]
fn what_waits_for_a_follower_is_sent_elsewhere_when_its_home_is_to_leave_and_cut_off() {
    let (mut scene, home, elsewhere) = Scene::with_a_home_alone();
    scene.publish(home, 2, "a{x}", INSISTS);
    scene.publish(home, 3, "a{x}", Terms::default());
    scene.hear(home, elsewhere, 0, 4..=4, INSISTS);
    scene.members.retain(|member| member.tag == tag(home));
    scene.members[0].state = State::Draining;
    scene.misses_others = true;
    scene.input(home, Input::View);
    assert_eq!((scene.answer(2), scene.answer(3)), (Some(&Answer::Leaving), Some(&Answer::Leaving)));
    let back = scene.take_answers(home, elsewhere);
    assert!(matches!(back[..], [(4, 0, Outcome::NotHome(None))]), "{back:?}");
    assert_eq!(scene.texts(home), ["m1"], "what is sent elsewhere is nowhere here");
}

#[test]
fn a_node_that_copied_channels_only_and_begins_the_slot_anew_waits_for_nothing_that_it_has_not() {
    let mut scene = Scene::new(4, Settings::default());
    let (home, follower) = scene.owners();
    for at in (0..4).filter(|at| *at != home && *at != follower) {
        scene.input(at, Input::Listen(name("a{x}")));
    }
    (1..=20).for_each(|rid| scene.publish(home, rid, "a{x}", Terms::default()));
    scene.pass(200);
    // Home and follower end together; of those who are left nobody holds the slot, and nobody publishes.
    scene.members.retain(|member| member.tag != tag(home) && member.tag != tag(follower));
    scene.mute.extend([home, follower]);
    let (next, _) = scene.owners();
    assert!(scene.nodes[next].log.head().idx > 20, "it copied what it listens to");
    for at in (0..4).filter(|at| *at != home && *at != follower) {
        scene.input(at, Input::View);
    }
    scene.pass(200);
    let Role::Home(home) = &scene.nodes[next].replica.role else { panic!("it did not take the slot over") };
    assert!(home.waiting.is_empty(), "what is not in its log waits to be committed: {:?}", home.waiting);
}

#[test]
fn what_follows_something_that_was_sent_back_is_not_taken_before_it_comes_again() {
    let mut scene = Scene::new(3, Settings { early: 3, ..Settings::default() });
    let (home, follower) = scene.owners();
    let ingress = (0..3).find(|at| *at != home && *at != follower).unwrap();
    // Whoever is to be the home asks the follower, which says nothing for a while: more comes than may wait for that.
    scene.mute.push(follower);
    let hear = |scene: &mut Scene, flight, rids| scene.hear(home, ingress, flight, rids, Terms::default());
    let sent_back = |scene: &mut Scene| -> Vec<(u32, u64)> {
        let answers = scene.take_answers(home, ingress).into_iter();
        answers.filter(|(.., outcome)| matches!(outcome, Outcome::NotHome(_))).map(|(rid, flight, _)| (flight, rid)).collect()
    };
    hear(&mut scene, 1, 1..=4);
    assert_eq!(sent_back(&mut scene), [(1, 4)]);
    scene.pass(5500);
    assert!(scene.nodes[home].replica.is_home());
    scene.wires.clear();
    // They were on their way before the ingress heard of it.
    hear(&mut scene, 1, 5..=6);
    assert_eq!(sent_back(&mut scene), [(1, 5), (1, 6)]);
    assert_eq!(scene.texts(home), ["m1", "m2", "m3"]);
    hear(&mut scene, 2, 4..=7);
    assert_eq!(sent_back(&mut scene), []);
    assert_eq!(scene.texts(home), ["m1", "m2", "m3", "m4", "m5", "m6", "m7"]);
    // What was on its way over a lost connection does not come any more: numbers may begin anew.
    scene.input(home, Input::Link { peer: tag(ingress), is_up: false });
    scene.input(home, Input::Link { peer: tag(ingress), is_up: true });
    hear(&mut scene, 1, 8..=8);
    assert_eq!(sent_back(&mut scene), []);
}

#[test]
fn what_stood_behind_something_that_nobody_waits_for_any_more_goes_on() {
    let (mut scene, home, elsewhere) = Scene::with_a_home_alone();
    scene.publish(elsewhere, 2, "a{x}", INSISTS);
    scene.publish(home, 3, "a{x}", Terms::default());
    scene.pass(50);
    assert_eq!((scene.answer(2), scene.answer(3)), (None, None));
    scene.input(home, Input::Link { peer: tag(elsewhere), is_up: false });
    assert_eq!(scene.copies(3), Some(1));
    assert_eq!(scene.texts(home), ["m1", "m3"]);
}

#[test]
fn a_node_that_stood_still_in_the_middle_of_a_claim_is_as_patient_as_if_it_began_anew() {
    let mut scene = Scene::new(3, Settings::default());
    let (home, follower) = scene.owners();
    scene.mute.push(follower);
    scene.publish(home, 1, "b{x}", Terms::default());
    scene.pass(1000);
    scene.now += Duration::from_secs(10);
    scene.pass(4900);
    assert!(!scene.nodes[home].replica.is_home(), "it counts the time in which it could not hear anybody");
    scene.pass(200);
    assert!(scene.nodes[home].replica.is_home());
}

#[test]
fn a_node_that_stands_still_again_and_again_does_not_wait_for_ever() {
    let mut scene = Scene::new(3, Settings::default());
    let (home, follower) = scene.owners();
    scene.mute.push(follower);
    scene.publish(home, 1, "b{x}", Terms::default());
    for _ in 0..20 {
        scene.now += Duration::from_secs(1);
        scene.pass(5);
    }
    assert!(scene.nodes[home].replica.is_home());
}

#[test]
fn what_a_claimant_was_told_before_it_stood_still_is_asked_for_again() {
    let mut scene = Scene::new(3, Settings { replicas: 1, ..Settings::default() });
    let (home, _) = scene.owners();
    let all = scene.members.clone();
    let others: Vec<Member> = all.iter().copied().filter(|member| member.tag != tag(home)).collect();
    scene.members.clone_from(&others);
    let (next, _) = scene.owners();
    scene.members.clone_from(&all);
    let last = (0..3).find(|at| *at != home && *at != next).unwrap();
    // One of the others says that it has nothing, the other one says nothing.
    scene.mute.push(last);
    scene.publish(home, 1, "b{x}", Terms::default());
    scene.pass(1000);
    // While the claimant stands still the first one takes the slot, and publishes.
    (scene.members, scene.mute, scene.still) = (others, vec![home], Some(home));
    scene.input(next, Input::View);
    scene.input(last, Input::View);
    scene.publish(next, 2, "a{x}", Terms::default());
    scene.pass(2000);
    assert_eq!(scene.copies(2), Some(1));
    (scene.members, scene.mute, scene.still) = (all, Vec::new(), None);
    (0..3).for_each(|at| scene.input(at, Input::View));
    scene.pass(500);
    assert!(scene.nodes[home].replica.is_home());
    assert_eq!(scene.texts(home), ["m2", "m1"], "it opened an epoch beside the one that was written");
}

#[test]
fn a_retry_of_what_is_in_the_log_is_answered_as_the_first_once_there_are_copies_again() {
    let mut scene = Scene::new(3, Settings::default());
    let (home, follower) = scene.owners();
    let elsewhere = (0..3).find(|at| *at != home && *at != follower).unwrap();
    scene.publish(home, 1, "b{x}", INSISTS);
    scene.pass(100);
    // The follower is gone before the next one is there: the home takes it and goes on alone.
    scene.link(follower, false);
    scene.publish(elsewhere, 2, "a{x}", INSISTS);
    scene.pass(1000);
    assert_eq!((scene.copies(1), scene.answer(2)), (Some(2), None));
    let first = scene.nodes[home].log.beyond(0)[1].pos;
    // It is asked for again, through two nodes; behind something else that waits for a follower, too.
    scene.retry(elsewhere, 3, 2, "a{x}");
    scene.publish(home, 4, "a{x}", INSISTS);
    scene.retry(home, 5, 2, "a{x}");
    scene.pass(2000);
    assert_eq!((scene.answer(3), scene.answer(5)), (None, None), "it can neither be refused nor confirmed");
    assert_eq!(scene.answer(4), Some(&Answer::Refused(Refusal::Degraded)));
    scene.link(follower, true);
    scene.pass(1000);
    for rid in [2, 3, 5] {
        let Some(Answer::Done(done)) = scene.answer(rid) else { panic!("{rid}: {:?}", scene.answers) };
        assert_eq!((done.pos, done.offset, done.copies, done.duplicate), (first, 1, 2, rid != 2), "{rid}");
    }
    assert_eq!(scene.texts(home), ["m1", "m2"]);
}

#[test]
fn a_retry_is_given_as_much_time_as_the_first_and_then_nobody_can_say() {
    let mut scene = Scene::new(3, Settings::default());
    let (home, follower) = scene.owners();
    scene.publish(home, 1, "a{x}", INSISTS);
    scene.pass(100);
    scene.link(follower, false);
    scene.publish(home, 2, "a{x}", INSISTS);
    scene.pass(1000);
    scene.retry(home, 3, 2, "a{x}");
    scene.pass(9900);
    assert_eq!((scene.answer(2), scene.answer(3)), (Some(&Answer::Unknown), None));
    scene.pass(200);
    assert_eq!(scene.answer(3), Some(&Answer::Unknown));
}

#[test]
fn what_one_home_may_have_taken_another_cannot_refuse() {
    let mut scene = Scene::new(3, Settings::default());
    let (home, follower) = scene.owners();
    let ingress = (0..3).find(|at| *at != home && *at != follower).unwrap();
    let three_copies = Terms { copies_min: 3, ..INSISTS };
    scene.publish(home, 1, "b{x}", INSISTS);
    scene.pass(100);
    // It is on its way when the home is lost.
    scene.mute.push(home);
    scene.publish(ingress, 2, "a{x}", three_copies);
    scene.pass(100);
    scene.link(home, false);
    scene.members.retain(|member| member.tag != tag(home));
    [follower, ingress].into_iter().for_each(|at| scene.input(at, Input::View));
    scene.pass(3000);
    assert!(scene.nodes[follower].replica.is_home());
    assert_eq!(scene.answer(2), Some(&Answer::Unknown));
    scene.publish(ingress, 3, "a{x}", three_copies);
    scene.pass(2000);
    assert_eq!(scene.answer(3), Some(&Answer::Refused(Refusal::Degraded)), "nobody but the one that refuses it was asked");
}

#[test]
fn what_a_home_sends_back_another_cannot_refuse_either() {
    let (mut scene, home, ingress) = Scene::with_a_home_alone();
    let sent = |scene: &mut Scene| -> Vec<(u64, u32)> {
        let forwards = scene.wires.drain(..).filter_map(|(from, _, frame)| match frame {
            Frame::Forward(Forward { rid, flight, .. }) if from == ingress => Some((rid, flight)),
            _ => None,
        });
        forwards.collect()
    };
    let told = |rid, flight, outcome| Input::Frame { from: tag(home), frame: Frame::ForwardAck { rid, flight, outcome } };
    for rid in 2..=3 {
        scene.input(ingress, Input::Publish { rid, ask: ask(rid, "a{x}"), terms: INSISTS });
    }
    let first = sent(&mut scene);
    // It may have taken both, in an epoch beside the one that goes on, before it sends them back.
    scene.input(ingress, told(first[0].0, first[0].1, Outcome::NotHome(None)));
    scene.now += Duration::from_millis(500);
    scene.input(ingress, Input::Tick);
    let again = sent(&mut scene);
    assert!(again.len() == 2 && again[0].1 > first[0].1, "{first:?} {again:?}");
    for (rid, flight) in again {
        scene.input(ingress, told(rid, flight, Outcome::Refused(Refusal::Degraded)));
    }
    assert_eq!([2, 3].map(|rid| scene.answer(rid).cloned()), [const { Some(Answer::Unknown) }; 2]);
}

#[test]
fn what_its_node_sends_again_waits_once_and_is_answered_once() {
    let (mut scene, home, ingress) = Scene::with_a_home_alone();
    let follower = scene.owners().1;
    scene.hear(home, ingress, 1, 2..=4, INSISTS);
    let bytes = scene.nodes[home].replica.figures().deferred_bytes;
    scene.pass(600);
    scene.hear(home, ingress, 2, 2..=4, INSISTS);
    assert_eq!(scene.nodes[home].replica.figures().deferred_bytes, bytes);
    scene.now += Duration::from_millis(500);
    scene.input(home, Input::Tick);
    let refused = |rid| (rid, 2, Outcome::Refused(Refusal::Degraded));
    assert_eq!(scene.take_answers(home, ingress), [2, 3, 4].map(refused));
    // A follower comes when what was sent later would still wait, had it been given time of its own.
    scene.mute.clear();
    scene.pass(900);
    assert_eq!(scene.texts(home), ["m1"], "what was refused is taken");
    // Of what is in the log one answer is owed, however often it is sent.
    scene.link(follower, false);
    (3..10).for_each(|flight| scene.hear(home, ingress, flight, 5..=6, INSISTS));
    let Role::Home(open) = &scene.nodes[home].replica.role else { panic!("it is not the home any more") };
    assert_eq!(open.asked.len(), 2);
}
