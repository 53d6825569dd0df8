//! Which connections to other nodes are kept. Pure: both ends decide alike, whoever dialled first.

use std::collections::BTreeMap;

use super::super::link::{self, Peer, Purpose, Reason, Refusal};
use super::super::membership::NodeName;
use super::super::release::Release;
use crate::log::Tag;

/// A connection of this node, by a number of its own: 1, 2, 3 …
pub type Id = u64;

/// A connection that is kept.
#[derive(Debug)]
struct Held<C> {
    id: Id,
    /// By this node.
    dialled: bool,
    connection: C,
}

/// The process behind a name and the connections to it.
#[derive(Debug)]
struct Process<C> {
    tag: Tag,
    release: Release,
    /// The control connection that took the place of another one of the same end last; 0 while none did.
    renewed: Id,
    held: [Option<Held<C>>; Purpose::ALL.len()],
}

/// A connection that is kept, for who dials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) tag: Tag,
    /// By this node.
    pub(super) dialled: bool,
    /// Older than a control connection that took the place of another one: what that one had outlived this one has, too.
    pub(super) is_left_over: bool,
}

/// What a new connection takes the place of.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Replaced<C> {
    pub(super) id: Id,
    pub(super) tag: Tag,
    pub(super) purpose: Purpose,
    pub(super) connection: C,
}

/// All connections to all nodes. `C` is whatever stands for one.
#[derive(Debug)]
pub(super) struct Roster<C> {
    me: NodeName,
    last: Id,
    processes: BTreeMap<NodeName, Process<C>>,
}

impl<C> Roster<C> {
    pub(super) fn new(me: NodeName) -> Self {
        Self { me, last: 0, processes: BTreeMap::new() }
    }

    /// Whether this connection may be had. `is_heard`: something came lately from the process that is known by this name.
    ///
    /// A node that runs keeps its name: a second process gets in when the first is gone. Two connections for one purpose come
    /// from two nodes that dial each other at one time; that of the node whose name is the lesser one stays. A second one
    /// from the same end means that this end saw the first one break.
    ///
    /// A process that comes new must understand all that are here, not this node alone: two that do not understand each other would
    /// have no link, and slots that both hold would wait for ever.
    pub(super) fn judge(&self, peer: &Peer, dialled: bool, is_heard: impl Fn(Tag) -> bool) -> Result<(), Refusal> {
        let Some(known) = self.processes.get(&peer.name).filter(|known| known.tag == peer.tag) else {
            return self.judge_new(peer, is_heard);
        };
        match &known.held[peer.purpose.index()] {
            Some(held) if held.dialled != dialled && held.dialled == (self.me < peer.name) => {
                Err(Refusal::new(Reason::NotWanted, "there is such a connection already"))
            }
            _ => Ok(()),
        }
    }

    fn judge_new(&self, peer: &Peer, is_heard: impl Fn(Tag) -> bool) -> Result<(), Refusal> {
        if self.processes.get(&peer.name).is_some_and(|known| is_heard(known.tag)) {
            let message = format!("another process of the name {} is part of the cluster; cluster.node must be unique", peer.name);
            return Err(Refusal::new(Reason::DuplicateName, message));
        }
        self.judge_release(&peer.name, peer.release, is_heard)
    }

    /// Whether a process of this name and release would understand all others that are connected.
    pub(super) fn judge_release(&self, name: &NodeName, release: Release, is_heard: impl Fn(Tag) -> bool) -> Result<(), Refusal> {
        let mut others = self.processes.iter().filter(|(other, known)| *other != name && is_heard(known.tag));
        match others.find(|(_, known)| known.release.common(release).is_none()) {
            Some((other, known)) => Err(link::other_protocol(name, release, other, known.release)),
            None => Ok(()),
        }
    }

    /// Takes a connection that was judged to be good. Returns its number and what it takes the place of.
    pub(super) fn enter(&mut self, peer: &Peer, dialled: bool, connection: C) -> (Id, Vec<Replaced<C>>) {
        self.last += 1;
        let mut replaced = Vec::new();
        let process = self.processes.entry(peer.name.clone()).or_insert_with(|| Process::new(peer));
        if process.tag != peer.tag {
            let before = std::mem::replace(process, Process::new(peer));
            let held = Purpose::ALL.into_iter().zip(before.held);
            replaced.extend(held.filter_map(|(purpose, held)| {
                held.map(|held| Replaced { id: held.id, tag: before.tag, purpose, connection: held.connection })
            }));
        }
        let place = &mut process.held[peer.purpose.index()];
        let before = place.replace(Held { id: self.last, dialled, connection });
        if peer.purpose == Purpose::Control && before.as_ref().is_some_and(|held| held.dialled == dialled) {
            process.renewed = self.last;
        }
        replaced.extend(before.map(|held| Replaced { id: held.id, tag: peer.tag, purpose: peer.purpose, connection: held.connection }));
        (self.last, replaced)
    }

    /// A connection ended. `None` when another one had taken its place before.
    pub(super) fn leave(&mut self, peer: &Peer, id: Id) -> Option<C> {
        let process = self.processes.get_mut(&peer.name).filter(|process| process.tag == peer.tag)?;
        let place = &mut process.held[peer.purpose.index()];
        let held = place.take_if(|held| held.id == id)?;
        if process.held.iter().all(Option::is_none) {
            self.processes.remove(&peer.name);
        }
        Some(held.connection)
    }

    /// The connection to this node for this purpose, if there is one.
    pub(super) fn standing(&self, name: &NodeName, purpose: Purpose) -> Option<Standing> {
        let process = self.processes.get(name)?;
        let held = process.held[purpose.index()].as_ref()?;
        Some(Standing { tag: process.tag, dialled: held.dialled, is_left_over: held.id < process.renewed })
    }

    /// Whether there is a connection to this node for this purpose.
    pub(super) fn holds(&self, name: &NodeName, purpose: Purpose) -> bool {
        self.processes.get(name).is_some_and(|process| process.held[purpose.index()].is_some())
    }
}

impl<C> Process<C> {
    fn new(peer: &Peer) -> Self {
        Self { tag: peer.tag, release: peer.release, renewed: 0, held: Default::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::release::Common;
    use super::*;

    fn peer(name: &str, tag: u64, purpose: Purpose) -> Peer {
        Peer {
            name: NodeName::new(name).unwrap(),
            tag: Tag::new(tag).unwrap(),
            started: tag,
            purpose,
            release: Release { protocol: (1, 1), features: 0 },
            common: Common { protocol: 1, features: 0 },
            version: String::new(),
        }
    }

    fn roster(me: &str) -> Roster<&'static str> {
        Roster::new(NodeName::new(me).unwrap())
    }

    const HEARD: fn(Tag) -> bool = |_| true;
    const SILENT: fn(Tag) -> bool = |_| false;

    #[test]
    fn of_two_that_dial_each_other_at_once_both_keep_the_same_connection() {
        // Whatever order the four ends become known in: `ab` is the connection that a dialled.
        for (at_a, at_b) in
            [(["ab", "ba"], ["ab", "ba"]), (["ab", "ba"], ["ba", "ab"]), (["ba", "ab"], ["ab", "ba"]), (["ba", "ab"], ["ba", "ab"])]
        {
            for (me, other, order) in [("a", "b", at_a), ("b", "a", at_b)] {
                let mut roster = roster(me);
                let other = peer(other, 7, Purpose::Live);
                for connection in order {
                    let dialled = connection.starts_with(me);
                    if roster.judge(&other, dialled, HEARD).is_ok() {
                        roster.enter(&other, dialled, connection);
                    }
                }
                let (_, process) = roster.processes.first_key_value().unwrap();
                let kept: Vec<_> = process.held.iter().flatten().map(|held| held.connection).collect();
                assert_eq!(kept, ["ab"], "{me} met them in the order {order:?}");
            }
        }
    }

    #[test]
    fn a_second_connection_of_one_end_takes_the_place_of_the_first() {
        let mut roster = roster("a");
        let other = peer("b", 7, Purpose::Control);
        let (first, _) = roster.enter(&other, false, "first");
        assert!(roster.judge(&other, false, HEARD).is_ok());
        let (second, replaced) = roster.enter(&other, false, "second");
        assert_eq!(replaced, [Replaced { id: first, tag: other.tag, purpose: Purpose::Control, connection: "first" }]);
        assert_eq!(roster.leave(&other, first), None, "its end is old news");
        assert!(roster.holds(&other.name, Purpose::Control));
        assert_eq!(roster.leave(&other, second), Some("second"));
        assert!(!roster.holds(&other.name, Purpose::Control));
    }

    #[test]
    fn connections_that_are_older_than_a_control_connection_made_anew_are_left_over() {
        let mut roster = roster("a");
        let (control, live) = (peer("b", 7, Purpose::Control), peer("b", 7, Purpose::Live));
        let is_left_over = |roster: &Roster<_>| roster.standing(&live.name, Purpose::Live).unwrap().is_left_over;
        roster.enter(&live, true, "live");
        roster.enter(&control, false, "the first one");
        roster.enter(&control, true, "both had dialled");
        assert!(!is_left_over(&roster), "nothing was outlived");
        roster.enter(&control, true, "anew");
        assert!(is_left_over(&roster));
        roster.enter(&live, true, "anew, too");
        assert!(!is_left_over(&roster));
        assert_eq!(roster.standing(&live.name, Purpose::Bulk), None);
    }

    #[test]
    fn a_node_that_runs_keeps_its_name_and_one_that_fell_silent_loses_it() {
        let mut roster = roster("a");
        let (old, new) = (peer("b", 7, Purpose::Control), peer("b", 8, Purpose::Control));
        roster.enter(&old, true, "control");
        roster.enter(&peer("b", 7, Purpose::Live), false, "live");
        let refused = roster.judge(&new, false, HEARD).unwrap_err();
        assert_eq!(refused.reason, Reason::DuplicateName);
        assert!(refused.message.contains("cluster.node"));
        assert!(roster.judge(&new, false, SILENT).is_ok());
        let (_, replaced) = roster.enter(&new, false, "new");
        assert_eq!(replaced.iter().map(|replaced| replaced.connection).collect::<Vec<_>>(), ["control", "live"]);
        assert!(roster.judge(&old, false, HEARD).is_err(), "the old one comes back too late");
    }

    #[test]
    fn whoever_does_not_understand_a_node_that_is_here_is_refused_by_those_it_understands() {
        let speaks = |peer: Peer, oldest, newest| Peer { release: Release { protocol: (oldest, newest), features: 0 }, ..peer };
        let mut roster = roster("a");
        roster.enter(&speaks(peer("b", 7, Purpose::Control), 1, 2), true, "old");
        let new = speaks(peer("c", 8, Purpose::Control), 3, 4);
        let refused = roster.judge(&new, false, HEARD).unwrap_err();
        assert_eq!(refused.reason, Reason::Protocol);
        assert!(refused.message.contains("c speaks protocol 3 to 4 and b 1 to 2"), "{}", refused.message);
        assert!(roster.judge(&speaks(new.clone(), 2, 3), false, HEARD).is_ok());
        assert!(roster.judge(&new, false, SILENT).is_ok(), "who died keeps nobody out");
        let upgraded = speaks(peer("b", 9, Purpose::Control), 2, 4);
        roster.enter(&upgraded, true, "upgraded");
        assert!(roster.judge(&new, false, HEARD).is_ok());
    }
}
