//! What other nodes want of a slot, while the connection to them has no room for it: one state after the other goes out, so that a node
//! that wants a thousand is sent no more at once than one that wants a few.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;

use super::{Afterwards, Hub, LinkId, Part};
use crate::cluster::core::frame::{Channel, Wants};
use crate::cluster::core::{Frame, Input};
use crate::hub::SlotState;
use crate::log::{Slot, Tag};
use crate::message::ChannelName;

/// One node's wish for a state: a `Sub`, or a `More`.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) from: Tag,
    over: LinkId,
    frame: Frame,
}

/// Beginnings of wishes that name more channels than one frame: one for each node, as long as a list of all that its clients listen to.
#[derive(Debug, Default)]
pub(super) struct Begun(Vec<(Tag, u32, Vec<Channel>)>);

impl Begun {
    /// A frame, and if it ends a wish that was begun all of that; `None` while more is to come.
    fn hear(&mut self, from: Tag, frame: Frame) -> Option<Frame> {
        let Frame::Sub(mut sub) = frame else { return Some(frame) };
        let begun = self.0.iter().position(|(of, ..)| *of == from).map(|at| self.0.swap_remove(at));
        let mut known = begun.filter(|(_, generation, _)| *generation == sub.generation).map(|(.., channels)| channels).unwrap_or_default();
        match &mut sub.wants {
            Wants::Part(part) => {
                known.append(part);
                self.0.push((from, sub.generation, known));
                return None;
            }
            Wants::Channels(channels) if !known.is_empty() => {
                known.append(channels);
                *channels = known;
            }
            _ => {}
        }
        Some(Frame::Sub(sub))
    }

    /// What these began is not ended any more.
    pub(super) fn forget(&mut self, is_gone: impl Fn(Tag) -> bool) {
        self.0.retain(|(from, ..)| !is_gone(*from));
    }
}

/// Slots by who waits for their states, in the order they were asked for. A slot may stand here whose wish was taken back.
#[derive(Debug, Default)]
pub(super) struct Waiting(Mutex<HashMap<Tag, VecDeque<Slot>>>);

impl Waiting {
    fn push(&self, from: Tag, slot: Slot) {
        self.0.lock().entry(from).or_default().push_back(slot);
    }

    fn pop(&self, from: Tag) -> Option<Slot> {
        self.0.lock().get_mut(&from)?.pop_front()
    }

    fn is_empty(&self, from: Tag) -> bool {
        self.0.lock().get(&from).is_none_or(VecDeque::is_empty)
    }

    pub(super) fn forget(&self, is_gone: impl Fn(Tag) -> bool) {
        self.0.lock().retain(|from, slots| !slots.is_empty() && !is_gone(*from));
    }
}

impl Part {
    fn take_wish(&mut self, from: Tag) -> Option<Wish> {
        let at = self.wishes.iter().position(|wish| wish.from == from)?;
        Some(self.wishes.swap_remove(at))
    }
}

impl Hub {
    /// What of a frame is to be told to the slot now: all of it, unless it wants a state, or takes back what it wanted.
    pub(super) fn hold_back(&self, state: &mut SlotState, from: Tag, over: LinkId, frame: Frame) -> Option<Frame> {
        let (shared, slot) = (self.shared()?, state.log.slot());
        let part = state.part.as_mut()?;
        let frame = part.begun.hear(from, frame)?;
        let frame = match frame {
            Frame::Unsub { generation, channels } => {
                let wish = part.take_wish(from).and_then(|wish| Some(Wish { frame: without(wish.frame, generation, &channels)?, ..wish }));
                part.wishes.extend(wish);
                return Some(Frame::Unsub { generation, channels });
            }
            Frame::Sub(_) | Frame::More { .. } => frame,
            frame => return Some(frame),
        };
        let before = part.take_wish(from);
        let is_known = before.is_some();
        let frame = match before {
            Some(wish) => and(wish.frame, frame),
            None => frame,
        };
        if shared.peers.takes_state(from, over) {
            return Some(frame);
        }
        part.wishes.push(Wish { from, over, frame });
        if !is_known {
            shared.waiting.push(from, slot);
        }
        None
    }

    /// The connection of this number has room for states: those that were asked for first go first.
    pub fn grant_wishes(&self, from: Tag, over: LinkId) {
        let Some(shared) = self.shared() else { return };
        while !shared.waiting.is_empty(from)
            && shared.peers.takes_state(from, over)
            && let Some(slot) = shared.waiting.pop(from)
        {
            self.tell_slot(slot, |state, after| self.grant_wish(state, from, after));
        }
    }

    fn grant_wish(&self, state: &mut SlotState, from: Tag, after: &mut Afterwards) {
        let Some(part) = &mut state.part else { return };
        let Some(wish) = part.take_wish(from) else { return };
        // Over another connection it is wished for anew.
        if part.link(from).is_some_and(|link| link.id == wish.over && link.is_up) {
            self.handle(state, Input::Frame { from, frame: wish.frame }, after);
        }
    }
}

/// One wish and the next one of the same node. Who wants the slot's stream wants nothing else; who wants more wants that, too.
fn and(wish: Frame, next: Frame) -> Frame {
    let Frame::More { generation, channels } = next else { return next };
    match wish {
        Frame::Sub(mut sub) if sub.generation == generation => {
            if let Wants::Channels(wanted) = &mut sub.wants {
                wanted.extend(channels.into_iter().map(|name| Channel { name, is_held: false }));
            }
            Frame::Sub(sub)
        }
        Frame::More { generation: of, channels: mut wanted } if of == generation => {
            wanted.extend(channels);
            Frame::More { generation, channels: wanted }
        }
        // It is of a stream that was asked for anew meanwhile, or that one is.
        Frame::Sub(sub) if sub.generation > generation => Frame::Sub(sub),
        _ => Frame::More { generation, channels },
    }
}

/// What is left of a wish when these channels, or without a name all of it, are not wanted any more.
fn without(wish: Frame, generation: u32, channels: &[ChannelName]) -> Option<Frame> {
    match wish {
        Frame::Sub(mut sub) if sub.generation == generation => {
            let wants_any = match &mut sub.wants {
                Wants::Channels(wanted) => {
                    wanted.retain(|channel| !channels.contains(&channel.name));
                    !wanted.is_empty()
                }
                Wants::Everything | Wants::Copy | Wants::Part(_) => true,
            };
            (wants_any && !channels.is_empty()).then_some(Frame::Sub(sub))
        }
        Frame::More { generation: of, channels: mut wanted } if of == generation => {
            wanted.retain(|name| !channels.contains(name));
            let is_wanted = !wanted.is_empty() && !channels.is_empty();
            is_wanted.then_some(Frame::More { generation, channels: wanted })
        }
        other => Some(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::core::frame::Sub;

    fn names(of: &[&str]) -> Vec<ChannelName> {
        of.iter().map(|name| ChannelName::parse(name).unwrap()).collect()
    }

    fn wants(generation: u32, wants: Wants) -> Frame {
        Frame::Sub(Sub { generation, wants, line: None, commit: 0, is_eager: false, has_orphans: false })
    }

    fn sub(generation: u32, of: &[&str]) -> Frame {
        wants(generation, Wants::Channels(names(of).into_iter().map(|name| Channel { name, is_held: true }).collect()))
    }

    fn more(generation: u32, of: &[&str]) -> Frame {
        Frame::More { generation, channels: names(of) }
    }

    /// In words: `sub 2 a,b`.
    fn say(frame: &Frame) -> String {
        let joined = |names: Vec<&str>| names.join(",");
        match frame {
            Frame::Sub(sub) => match &sub.wants {
                Wants::Channels(wanted) => format!("sub {} {}", sub.generation, joined(wanted.iter().map(|of| of.name.as_str()).collect())),
                other => format!("sub {} {other:?}", sub.generation),
            },
            Frame::More { generation, channels } => {
                format!("more {generation} {}", joined(channels.iter().map(ChannelName::as_str).collect()))
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_wish_that_waits_takes_in_what_is_wanted_besides_and_gives_way_to_a_newer_one() {
        for (wish, next, expected) in [
            (sub(1, &["a"]), sub(2, &["b"]), "sub 2 b"),
            (more(1, &["a"]), sub(2, &["b"]), "sub 2 b"),
            (sub(2, &["a"]), more(2, &["b"]), "sub 2 a,b"),
            (wants(2, Wants::Everything), more(2, &["b"]), "sub 2 Everything"),
            (more(2, &["a"]), more(2, &["b"]), "more 2 a,b"),
            (sub(2, &["a"]), more(1, &["b"]), "sub 2 a"),
            (more(1, &["a"]), more(2, &["b"]), "more 2 b"),
        ] {
            let before = say(&wish);
            assert_eq!(say(&and(wish, next)), expected, "after {before}");
        }
    }

    #[test]
    fn a_wish_in_several_frames_is_whole_with_its_last_and_what_was_begun_before_it_is_forgotten() {
        let part = |generation, of: &[&str]| {
            wants(generation, Wants::Part(names(of).into_iter().map(|name| Channel { name, is_held: true }).collect()))
        };
        let [one, other] = [1, 2].map(|tag| Tag::new(tag).unwrap());
        let mut begun = Begun::default();
        let mut hear = |from, frame| begun.hear(from, frame).as_ref().map(say);
        assert_eq!(hear(one, part(1, &["a"])), None);
        assert_eq!(hear(other, part(1, &["b"])), None);
        assert_eq!(hear(one, more(1, &["x"])).as_deref(), Some("more 1 x"));
        assert_eq!(hear(one, part(2, &["c", "d"])), None, "it asks anew");
        assert_eq!(hear(one, part(2, &["e"])), None);
        assert_eq!(hear(one, sub(2, &["f"])).as_deref(), Some("sub 2 c,d,e,f"));
        assert_eq!(hear(one, sub(2, &["g"])).as_deref(), Some("sub 2 g"));
        assert_eq!(hear(other, wants(2, Wants::Everything)).as_deref(), Some("sub 2 Everything"));
        assert_eq!(hear(other, sub(1, &["h"])).as_deref(), Some("sub 1 h"));
        assert_eq!(hear(one, part(3, &["i"])), None);
        begun.forget(|tag| tag == one);
        assert!(begun.0.is_empty());
    }

    #[test]
    fn what_is_not_wanted_any_more_is_not_sent() {
        let left = |wish: Frame, generation, channels: &[&str]| without(wish, generation, &names(channels)).as_ref().map(say);
        assert_eq!(left(sub(2, &["a", "b"]), 2, &["a"]).as_deref(), Some("sub 2 b"));
        assert_eq!(left(sub(2, &["a"]), 2, &["a"]), None);
        assert_eq!(left(sub(2, &["a"]), 2, &[]), None);
        assert_eq!(left(wants(2, Wants::Everything), 2, &[]), None);
        assert_eq!(left(more(2, &["a", "b"]), 2, &["a"]).as_deref(), Some("more 2 b"));
        assert_eq!(left(more(2, &["a"]), 2, &[]), None);
        assert_eq!(left(sub(2, &["a"]), 1, &[]).as_deref(), Some("sub 2 a"), "that is what was wanted before");
    }
}
