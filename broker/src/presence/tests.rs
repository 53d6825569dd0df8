//! Several nodes in one test: connections that come and go, nodes that die, links that lose what is on them. In the end every
//! node must say the same, and the truth.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::*;
use crate::error::ErrorCode;
use crate::log::{Slot, Tag};
use crate::message::ChannelName;

const SETTINGS: Settings = Settings {
    grace: Duration::from_secs(10),
    told: 50,
    members: 1000,
    members_of_node: 1000,
    members_held: 100_000,
    #[cfg(debug_assertions)]
    bug: None,
};

fn tag(number: u64) -> Tag {
    Tag::new(number).unwrap()
}

fn channel(number: usize) -> ChannelName {
    ChannelName::parse(&format!("room:{number}")).unwrap()
}

fn user(name: impl ToString) -> MemberId {
    MemberId::User(name.to_string().into())
}

/// A cluster as one node sees it.
#[derive(Clone, Debug)]
struct View {
    me: Tag,
    members: Vec<Tag>,
}

impl Places for View {
    fn me(&self) -> Tag {
        self.me
    }

    /// The highest hash wins, so that a node that goes moves no other's slots.
    fn home(&self, slot: Slot) -> Option<Tag> {
        let weight = |tag: &Tag| {
            let mixed = (tag.get() ^ u64::from(slot.number()) << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9)
        };
        self.members.iter().copied().max_by_key(weight)
    }

    fn is_present(&self, tag: Tag) -> bool {
        self.members.contains(&tag)
    }
}

/// Somebody who listens, and what it believes by what it was told.
#[derive(Debug, Default)]
struct Ear {
    told: u64,
    believed: BTreeMap<String, Option<String>>,
    counts: Counts,
    counts_only: bool,
    joins: Vec<String>,
    leaves: Vec<String>,
}

impl Ear {
    fn take(&mut self, notice: Notice) {
        (self.counts, self.counts_only) = (notice.counts, notice.counts_only);
        let text = |info: &Info| info.as_deref().map(str::to_owned);
        if let Some(here) = &notice.here {
            self.believed = here.iter().map(|user| (user.name.to_string(), text(&user.info))).collect();
        }
        for user in &notice.joined {
            let before = self.believed.insert(user.name.to_string(), text(&user.info));
            assert!(before.is_none() || before != Some(text(&user.info)), "{} joined and was there", user.name);
            if before.is_none() {
                self.joins.push(user.name.to_string());
            }
        }
        for name in &notice.left {
            assert!(self.believed.remove(&**name).is_some(), "{name} left and was not there");
            self.leaves.push(name.to_string());
        }
        if notice.counts_only {
            self.believed.clear();
        }
    }
}

struct Process {
    node: Node,
    view: View,
    ears: BTreeMap<ChannelName, Ear>,
    pages: BTreeMap<u64, Page>,
}

impl Process {
    fn new(me: Tag, members: Vec<Tag>) -> Self {
        Self { node: Node::default(), view: View { me, members }, ears: BTreeMap::new(), pages: BTreeMap::new() }
    }
}

struct World {
    now: Duration,
    settings: Settings,
    up: Vec<Process>,
    /// What is on its way, in order for each pair.
    wires: BTreeMap<(Tag, Tag), VecDeque<Frame>>,
    last_tag: u64,
    rid: u64,
}

impl World {
    fn new(nodes: u64) -> Self {
        let tags: Vec<Tag> = (1..=nodes).map(tag).collect();
        let up = tags.iter().map(|me| Process::new(*me, tags.clone())).collect();
        Self { now: Duration::from_secs(1), settings: SETTINGS, up, wires: BTreeMap::new(), last_tag: nodes, rid: 0 }
    }

    fn act<T>(&mut self, at: usize, act: impl FnOnce(&mut Node, Context<'_>) -> T) -> T {
        let process = &mut self.up[at];
        let cx = Context { now: self.now, places: &process.view, settings: &self.settings, held_elsewhere: 0 };
        let outcome = act(&mut process.node, cx);
        assert_eq!(process.node.held(), process.node.count_held());
        for output in process.node.outputs() {
            match output {
                Output::Send(to, frame) => {
                    if let frame::What::Report(report) = &frame.what {
                        assert!(report.standings.len() <= BATCH);
                    }
                    self.wires.entry((process.view.me, to)).or_default().push_back(frame);
                }
                Output::Tell(channel) => {
                    if let Some(ear) = process.ears.get_mut(&channel)
                        && let Some((notice, told)) = process.node.read(&channel, ear.told)
                    {
                        ear.told = told;
                        ear.take(notice);
                    }
                }
                Output::Answer(rid, page) => drop(process.pages.insert(rid, page)),
            }
        }
        outcome
    }

    fn enter(&mut self, at: usize, on: usize, id: MemberId) {
        self.act(at, |node, cx| node.enter(cx, &channel(on), id, Some(Arc::from("{}"))).unwrap());
    }

    fn leave(&mut self, at: usize, on: usize, id: &MemberId) {
        self.act(at, |node, cx| node.leave(cx, &channel(on), id));
    }

    fn listen(&mut self, at: usize, on: usize) {
        self.act(at, |node, _| node.listen(&channel(on)));
        let told = self.up[at].node.read(&channel(on), 0);
        let ear = self.up[at].ears.entry(channel(on)).or_default();
        if let Some((notice, digest)) = told {
            ear.told = digest;
            ear.take(notice);
        }
    }

    /// Carries everything that is on its way, and what comes of it.
    fn carry(&mut self) {
        while let Some((pair, frame)) = self.wires.iter_mut().find_map(|(pair, wire)| Some((*pair, wire.pop_front()?))) {
            let (from, to) = pair;
            if let Some(at) = self.up.iter().position(|process| process.view.me == to) {
                self.act(at, |node, cx| node.hear(cx, from, frame));
            }
        }
    }

    fn tick(&mut self) {
        self.now += TICK;
        for at in 0..self.up.len() {
            self.act(at, Node::tick);
        }
        self.carry();
    }

    fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.tick();
        }
    }

    /// Everything on the way between two nodes is lost, and the connection stands anew.
    fn cut(&mut self, one: usize, other: usize) {
        let (a, b) = (self.up[one].view.me, self.up[other].view.me);
        self.wires.remove(&(a, b));
        self.wires.remove(&(b, a));
        self.act(one, |node, cx| node.linked(cx, b));
        self.act(other, |node, cx| node.linked(cx, a));
    }

    fn see(&mut self, at: usize, members: Vec<Tag>) {
        self.up[at].view.members = members;
        self.act(at, Node::view_changed);
    }

    /// Everybody sees who is really there.
    fn agree(&mut self) {
        let members: Vec<Tag> = self.up.iter().map(|process| process.view.me).collect();
        (0..self.up.len()).for_each(|at| self.see(at, members.clone()));
    }

    /// The node dies, and another process takes its place.
    fn crash(&mut self, at: usize) {
        let dead = self.up[at].view.me;
        self.last_tag += 1;
        let born = tag(self.last_tag);
        self.wires.retain(|(from, to), _| *from != dead && *to != dead);
        self.up[at] = Process::new(born, vec![born]);
    }

    /// Everybody who is there by the connections themselves.
    fn truth(&self, on: usize) -> (BTreeSet<String>, Counts) {
        let mut members = BTreeSet::new();
        let mut connections = 0;
        for process in &self.up {
            for (_, id, count) in process.node.present().filter(|(name, ..)| **name == channel(on)) {
                members.insert(id.clone());
                connections += u64::from(count);
            }
        }
        let users: BTreeSet<String> = members.iter().filter_map(|id| Some(id.user()?.to_string())).collect();
        let counts = Counts { users: users.len() as u64, anonymous: (members.len() - users.len()) as u64, connections };
        (users, counts)
    }

    fn ask(&mut self, at: usize, on: usize) -> Page {
        self.rid += 1;
        let rid = self.rid;
        self.act(at, |node, cx| node.ask(cx, rid, &channel(on), Query { after: None, limit: 1000 }));
        self.carry();
        for _ in 0..20 {
            if let Some(page) = self.up[at].pages.remove(&rid) {
                return page;
            }
            self.tick();
        }
        panic!("node {at} was not answered");
    }

    /// Every node says the truth, and so does every listener.
    fn check(&mut self, channels: usize, why: &str) {
        for on in 0..channels {
            let (users, counts) = self.truth(on);
            for at in 0..self.up.len() {
                let page = self.ask(at, on);
                let listed: BTreeSet<String> = page.users.iter().map(|user| user.name.to_string()).collect();
                assert_eq!((&listed, page.counts), (&users, counts), "{why}: channel {on}, node {at}");
                if let Some(ear) = self.up[at].ears.get(&channel(on)) {
                    let told = (ear.counts.users, ear.counts.anonymous);
                    assert_eq!(told, (counts.users, counts.anonymous), "{why}: counts told of channel {on} on node {at}");
                    assert_eq!(ear.counts_only, page.counts_only, "{why}: channel {on} on node {at}");
                    if !ear.counts_only {
                        let believed: BTreeSet<String> = ear.believed.keys().cloned().collect();
                        assert_eq!(believed, users, "{why}: told of channel {on} on node {at}");
                    }
                }
            }
        }
    }
}

/// One random life of a cluster.
fn live(seed: u64, nodes: u64, channels: usize, people: usize, steps: usize) {
    let mut chance = StdRng::seed_from_u64(seed);
    let mut world = World::new(nodes);
    // Who has a connection where: (node's tag, channel, member).
    let mut here: Vec<(Tag, usize, MemberId)> = Vec::new();
    for _ in 0..steps {
        let at = chance.random_range(0..world.up.len());
        let on = chance.random_range(0..channels);
        match chance.random_range(0..100) {
            0..40 => {
                let number = chance.random_range(0..people);
                let id = if number.is_multiple_of(4) { MemberId::Session(number.to_string().into()) } else { user(number) };
                world.enter(at, on, id.clone());
                here.push((world.up[at].view.me, on, id));
            }
            40..75 if !here.is_empty() => {
                let (on_node, on, id) = here.swap_remove(chance.random_range(0..here.len()));
                if let Some(at) = world.up.iter().position(|process| process.view.me == on_node) {
                    world.leave(at, on, &id);
                }
            }
            75..80 => world.listen(at, on),
            80..85 => {
                let other = chance.random_range(0..world.up.len());
                if at != other {
                    world.cut(at, other);
                }
            }
            85..87 => {
                world.crash(at);
                let alive: Vec<Tag> = world.up.iter().map(|process| process.view.me).collect();
                here.retain(|(on_node, ..)| alive.contains(on_node));
            }
            87..92 => {
                // A view of its own, perhaps wrong.
                let mut members: Vec<Tag> = world.up.iter().map(|process| process.view.me).collect();
                let me = world.up[at].view.me;
                members.retain(|tag| *tag == me || chance.random_bool(0.7));
                world.see(at, members);
            }
            92..95 => world.agree(),
            _ => {}
        }
        let time = Duration::from_millis(chance.random_range(0..400));
        world.run(time);
    }
    world.agree();
    world.run(SETTINGS.grace + Duration::from_secs(5));
    world.check(channels, &format!("seed {seed}"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happened_every_node_says_the_truth_in_the_end(seed: u64, nodes in 1_u64..5, people in 1_usize..120) {
        live(seed, nodes, 3, people, 150);
    }
}

#[test]
fn who_comes_back_within_the_grace_on_another_node_has_not_left() {
    let mut world = World::new(3);
    (0..3).for_each(|at| world.listen(at, 0));
    world.run(Duration::from_secs(1));
    world.enter(0, 0, user("ann"));
    world.run(Duration::from_secs(1));
    world.leave(0, 0, &user("ann"));
    world.run(Duration::from_secs(9));
    world.enter(1, 0, user("ann"));
    world.run(Duration::from_secs(30));
    for process in &world.up {
        let ear = &process.ears[&channel(0)];
        assert_eq!((&ear.joins[..], &ear.leaves[..]), (&["ann".to_owned()][..], &[][..]));
    }
    world.leave(1, 0, &user("ann"));
    world.run(Duration::from_secs(12));
    assert!(world.up.iter().all(|process| process.ears[&channel(0)].leaves == ["ann"]));
}

/// Users of a page, and how many connections each has.
fn listed(page: &Page) -> Vec<(&str, u32)> {
    page.users.iter().map(|user| (&*user.name, user.connections)).collect()
}

/// The home of channel 0 in everybody's eyes, and the two other nodes of three.
fn home_and_others(world: &World) -> (usize, [usize; 2]) {
    let home = world.up[0].view.home(Slot::of(&channel(0)));
    let home = world.up.iter().position(|process| Some(process.view.me) == home).unwrap();
    (home, [(home + 1) % 3, (home + 2) % 3])
}

#[test]
fn who_is_between_two_connections_is_there_for_a_home_that_is_new() {
    let mut world = World::new(3);
    let (home, [at, _]) = home_and_others(&world);
    for name in ["ann", "bob", "cid"] {
        world.enter(at, 0, user(name));
    }
    world.run(Duration::from_secs(1));
    world.leave(at, 0, &user("ann"));
    world.run(Duration::from_secs(4));
    world.leave(at, 0, &user("cid"));
    world.crash(home);
    world.agree();
    world.run(Duration::from_secs(2));
    for at in 0..3 {
        assert_eq!(listed(&world.ask(at, 0)), [("ann", 0), ("bob", 1), ("cid", 0)]);
    }
    // It is the whole grace, and no longer than that.
    world.run(Duration::from_secs(5));
    for at in 0..3 {
        assert_eq!(listed(&world.ask(at, 0)), [("bob", 1), ("cid", 0)]);
    }
    world.enter(at, 0, user("cid"));
    world.run(Duration::from_secs(5));
    world.check(1, "one of two came back");
    for name in ["bob", "cid"] {
        world.leave(at, 0, &user(name));
    }
    world.run(SETTINGS.grace + Duration::from_secs(3));
    assert!(world.up.iter().all(|process| process.node.is_idle()), "nothing of them stays");
}

#[test]
fn a_bounded_number_of_those_who_went_is_remembered() {
    let mut world = World::new(1);
    world.settings.members_of_node = 20;
    for number in 0..50 {
        world.enter(0, 0, user(number));
    }
    world.run(Duration::from_secs(1));
    for number in 0..50 {
        world.leave(0, 0, &user(number));
    }
    world.run(Duration::from_secs(2));
    assert_eq!(world.ask(0, 0).counts.users, 50, "the home itself expects them all back");
    world.enter(0, 0, user("ann"));
    // Another home is told of those that went last.
    world.see(0, vec![tag(2)]);
    world.act(0, Node::tick);
    let told: usize = world
        .wires
        .values()
        .flatten()
        .filter_map(|frame| if let frame::What::Report(report) = &frame.what { Some(report.standings.len()) } else { None })
        .sum();
    assert_eq!(told, 21);
}

#[test]
fn those_who_come_and_go_again_and_again_are_held_up_to_a_bound_and_keep_nobody_out() {
    let mut world = World::new(1);
    world.settings.members_held = 600;
    for round in 0..200 {
        // On several channels, each of which could hold all of them: for the grace that would be a thousand.
        let strangers: Vec<_> = (0..5).map(|number| (number, user(format!("{round}-{number}")))).collect();
        for (on, id) in &strangers {
            world.enter(0, *on, id.clone());
        }
        world.tick();
        for (on, id) in &strangers {
            world.leave(0, *on, id);
        }
        let held = world.up[0].node.held();
        assert!(held <= 600, "{held} are held in round {round}");
    }
    world.enter(0, 7, user("ann"));
    world.tick();
    assert_eq!(world.ask(0, 7).counts.users, 1);
    world.leave(0, 7, &user("ann"));
    world.run(SETTINGS.grace + Duration::from_secs(3));
    assert!(world.up[0].node.is_idle() && world.up[0].node.held() == 0, "nothing of them stays");
}

#[test]
fn who_would_be_more_than_a_node_holds_is_not_listed_or_is_refused_until_others_went() {
    let mut world = World::new(1);
    // Everybody counts twice where the home is: four, and a fifth who is connected and not listed.
    world.settings.members_held = 9;
    for number in 0..5 {
        world.enter(0, number, user(number));
        world.tick();
    }
    let listed = |world: &mut World| (0..5).map(|on| world.ask(0, on).counts.users).sum::<u64>();
    assert_eq!(listed(&mut world), 4);
    let refused = world.act(0, |node, cx| node.enter(cx, &channel(5), user("dan"), None)).unwrap_err();
    assert!(refused.code == ErrorCode::Overloaded && refused.message.contains("presence.members_held"), "{refused}");
    world.act(0, |node, cx| node.enter(cx, &channel(0), user(0), None)).expect("another connection of somebody who is there");
    for number in [1, 2] {
        world.leave(0, number, &user(number));
    }
    // Who is there says so every ten seconds.
    world.run(Duration::from_secs(11));
    assert_eq!(listed(&mut world), 3, "who was one too many is listed now");
    world.enter(0, 5, user("dan"));
}

#[test]
fn a_home_that_others_took_for_none_for_a_moment_believes_nothing_that_was_said_before() {
    let mut world = World::new(3);
    let (home, [at, other]) = home_and_others(&world);
    let all: Vec<Tag> = world.up.iter().map(|process| process.view.me).collect();
    let without: Vec<Tag> = all.iter().copied().filter(|tag| *tag != all[home]).collect();
    world.enter(at, 0, user("ann"));
    world.enter(other, 0, user("bob"));
    world.run(Duration::from_secs(1));
    // Only this one sees it so, and its last member leaves meanwhile.
    world.see(at, without);
    world.run(Duration::from_millis(500));
    world.leave(at, 0, &user("ann"));
    world.run(Duration::from_millis(500));
    world.see(at, all);
    world.run(SETTINGS.grace + Duration::from_secs(1));
    world.check(1, "after the grace");
}

#[test]
fn a_node_that_was_taken_for_dead_and_was_not_is_asked_who_is_there_and_told_again() {
    let mut world = World::new(3);
    let (home, [at, other]) = home_and_others(&world);
    let all: Vec<Tag> = world.up.iter().map(|process| process.view.me).collect();
    let without: Vec<Tag> = all.iter().copied().filter(|tag| *tag != all[at]).collect();
    world.enter(at, 0, user("ann"));
    world.listen(at, 0);
    world.run(Duration::from_secs(1));
    // The node itself sees nothing of it, and its connections stay.
    world.see(home, without);
    world.run(Duration::from_secs(2));
    world.enter(other, 0, user("bob"));
    world.run(Duration::from_secs(1));
    assert_eq!(listed(&world.ask(other, 0)), [("ann", 0), ("bob", 1)]);
    world.see(home, all);
    world.run(Duration::from_secs(2));
    world.check(1, "two seconds after it was seen again");
}

#[test]
fn an_edge_whose_last_word_was_lost_is_asked_for_it() {
    let mut world = World::new(3);
    let (home, [at, _]) = home_and_others(&world);
    world.enter(at, 0, user("ann"));
    world.run(Duration::from_secs(1));
    world.leave(at, 0, &user("ann"));
    // It is on its way, the edge is forgotten, and the connection breaks.
    world.now += SETTINGS.grace + TICK;
    world.act(at, Node::tick);
    world.cut(home, at);
    world.run(Duration::from_secs(3));
    assert_eq!(listed(&world.ask(at, 0)), [("ann", 0)], "it is known by then that she went");
    world.run(SETTINGS.grace);
    world.check(1, "after the grace");
}

#[test]
fn news_after_some_that_were_lost_are_not_taken_for_the_next() {
    let mut world = World::new(3);
    let (home, [at, _]) = home_and_others(&world);
    world.listen(at, 0);
    world.run(Duration::from_secs(1));
    // It is told everything again, and that is lost with its connection; what follows comes over the next one before it can ask.
    let watch = Frame { channel: channel(0), what: frame::What::Watch(Some(0)) };
    let me = world.up[at].view.me;
    world.act(home, |node, cx| node.hear(cx, me, watch));
    world.enter(home, 0, user("bob"));
    world.now += TICK;
    world.act(home, Node::tick);
    let lost = world.wires.remove(&(world.up[home].view.me, me)).unwrap();
    assert!(lost.iter().any(|frame| matches!(&frame.what, frame::What::News(frame::News { told: frame::Told::All(_), .. }))));
    world.enter(home, 0, user("cid"));
    world.run(Duration::from_secs(1));
    world.check(1, "told of both");
}

#[test]
fn news_are_everywhere_within_a_second() {
    let mut world = World::new(5);
    (0..5).for_each(|at| world.listen(at, 0));
    world.run(Duration::from_secs(2));
    world.enter(2, 0, user("bob"));
    world.run(Duration::from_secs(1));
    assert!(world.up.iter().all(|process| process.ears[&channel(0)].joins == ["bob"]));
    world.check(1, "a second later");
}

#[test]
fn the_members_of_a_node_that_died_leave_after_the_grace_even_if_it_was_the_home() {
    for dead in 0..3 {
        let mut world = World::new(3);
        (0..3).for_each(|at| world.listen(at, 0));
        world.run(Duration::from_secs(1));
        for number in 0..30 {
            world.enter(number % 3, 0, user(number));
        }
        world.run(Duration::from_secs(2));
        world.crash(dead);
        world.agree();
        world.run(Duration::from_secs(8));
        let survivors: Vec<usize> = (0..3).filter(|at| *at != dead).collect();
        let leaves = |world: &World| survivors.iter().map(|at| world.up[*at].ears[&channel(0)].leaves.len()).collect::<Vec<_>>();
        assert_eq!(leaves(&world), [0, 0], "node {dead} died, and nobody left before the grace was over");
        // Some come back to a node that lives.
        for number in (dead..30).step_by(6) {
            world.enter(survivors[0], 0, user(number));
        }
        world.run(Duration::from_secs(12));
        assert_eq!(leaves(&world), [5, 5], "node {dead} died; half of its ten users came back");
        assert!(survivors.iter().all(|at| world.up[*at].ears[&channel(0)].joins.len() == 30), "and nobody joined twice");
        world.check(1, "after the grace");
    }
}

#[test]
fn of_a_large_channel_only_counts_are_told_once_a_second_and_names_again_when_it_shrinks() {
    let mut world = World::new(2);
    world.listen(0, 0);
    for number in 0..500 {
        world.enter(1, 0, user(number));
    }
    world.run(Duration::from_secs(2));
    let ear = |world: &World| world.up[0].ears[&channel(0)].counts;
    assert!(world.up[0].ears[&channel(0)].counts_only && ear(&world).users == 500);
    let mut told = BTreeSet::new();
    for number in 500..530 {
        world.enter(1, 0, user(number));
        world.tick();
        told.insert(ear(&world).users);
    }
    assert!(told.len() <= 5, "told {} times in three seconds", told.len());
    for number in 10..530 {
        world.leave(1, 0, &user(number));
    }
    world.run(Duration::from_secs(13));
    world.check(1, "small again");
    assert_eq!(world.up[0].ears[&channel(0)].believed.len(), 10);
}

#[test]
fn pages_go_through_all_users_in_order() {
    let mut world = World::new(1);
    (0..25).for_each(|number| world.enter(0, 0, user(format!("{number:02}"))));
    world.enter(0, 0, MemberId::Session("nobody".into()));
    world.tick();
    let mut names = Vec::new();
    let mut after = None;
    for page in 0.. {
        world.rid += 1;
        let (rid, query) = (world.rid, Query { after: after.clone(), limit: 10 });
        world.act(0, |node, cx| node.ask(cx, rid, &channel(0), query));
        let answer = world.up[0].pages.remove(&rid).unwrap();
        assert_eq!(answer.counts, Counts { users: 25, anonymous: 1, connections: 26 });
        names.extend(answer.users.iter().map(|user| user.name.to_string()));
        after = answer.next;
        if after.is_none() {
            assert_eq!(page, 2);
            break;
        }
    }
    assert_eq!(names, (0..25).map(|number| format!("{number:02}")).collect::<Vec<_>>());
}

#[test]
fn a_channel_takes_so_many_members_and_those_who_waited_when_there_is_room_again() {
    let mut world = World::new(2);
    world.settings.members = 20;
    for number in 0..15 {
        world.enter(0, 0, user(number));
        world.enter(1, 0, user(100 + number));
    }
    world.run(Duration::from_secs(1));
    let page = world.ask(0, 0);
    assert!(page.is_full && page.counts.users == 20, "{page:?}");
    let refused = world.act(0, |node, cx| (0..6).filter(|number| node.enter(cx, &channel(0), user(900 + number), None).is_err()).count());
    assert_eq!(refused, 1, "one node alone has no more than that either");
    for number in 0..5 {
        world.leave(0, 0, &user(900 + number));
    }
    for number in 0..15 {
        world.leave(0, 0, &user(number));
    }
    world.run(SETTINGS.grace + Duration::from_secs(3));
    world.check(1, "with room again");
}

#[test]
fn a_hundred_thousand_members_come_and_go_without_holding_anybody_up() {
    let settings = Settings { members: 200_000, members_held: 1_000_000, told: 1000, ..SETTINGS };
    let mut world = World::new(1);
    world.settings = settings;
    world.listen(0, 0);
    for number in 0..100_000 {
        world.enter(0, 0, user(number));
    }
    world.run(Duration::from_secs(2));
    let ear = &world.up[0].ears[&channel(0)];
    assert!(ear.counts_only && ear.counts.users == 100_000 && ear.believed.is_empty());
    let page = world.ask(0, 0);
    assert!(page.counts_only && page.users.len() == 1000 && page.next.is_some());
    let bytes = world.up[0].node.totals().bytes / 100_000;
    println!("{bytes} bytes a member, as the room counts them");
    assert!(bytes < 300, "{bytes} bytes a member");
    for number in 0..100_000 {
        world.leave(0, 0, &user(number));
    }
    world.run(SETTINGS.grace + Duration::from_secs(4));
    assert!(world.up[0].ears[&channel(0)].counts.users == 0);
}
