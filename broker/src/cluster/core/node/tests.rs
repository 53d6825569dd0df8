use super::*;

fn tag(bits: u64) -> Tag {
    Tag::new(bits).unwrap()
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Three nodes in one room; `cut` names pairs that do not hear each other.
struct Room {
    nodes: Vec<Node>,
    now: Duration,
    cut: Vec<(usize, usize)>,
    stopped: Vec<usize>,
}

impl Room {
    fn new(count: usize) -> Self {
        let settings = Settings { solo: ms(200), ..Settings::default() };
        let node = |at: usize| Node::new(NodeId(at as u64), tag(at as u64 + 1), settings.clone(), Duration::ZERO);
        let mut room = Self { nodes: (0..count).map(node).collect(), now: Duration::ZERO, cut: Vec::new(), stopped: Vec::new() };
        for a in 0..count {
            for b in (0..count).filter(|b| *b != a) {
                room.tell(a, NodeInput::Linked { tag: tag(b as u64 + 1), id: NodeId(b as u64) });
            }
        }
        room
    }

    fn tell(&mut self, at: usize, input: NodeInput) {
        let mut out = Vec::new();
        self.nodes[at].handle(self.now, input, &mut out);
        for output in out {
            if let NodeOutput::Beat { to, beat } = output {
                let to = to.get() as usize - 1;
                let is_cut = self.cut.contains(&(at, to)) || self.cut.contains(&(to, at));
                if !is_cut && !self.stopped.contains(&to) {
                    self.tell(to, NodeInput::Beat { from: tag(at as u64 + 1), beat });
                }
            }
        }
    }

    fn run(&mut self, millis: u64) {
        for _ in 0..millis / 50 {
            self.now += ms(50);
            for at in (0..self.nodes.len()).filter(|at| !self.stopped.contains(at)).collect::<Vec<_>>() {
                self.tell(at, NodeInput::Tick);
            }
        }
    }

    fn present(&self, at: usize) -> usize {
        self.nodes[at].view().members().len()
    }
}

#[test]
fn nodes_that_stand_still_take_slots_and_agree_where() {
    let mut room = Room::new(3);
    room.run(3000);
    assert!(room.nodes.iter().all(|node| node.state() == State::Active));
    assert!(room.nodes.iter().all(|node| node.view().id() == room.nodes[0].view().id()));
}

#[test]
fn a_node_that_somebody_hears_is_not_down() {
    let mut room = Room::new(3);
    room.run(3000);
    room.cut.push((0, 1));
    room.run(5000);
    assert_eq!((room.present(0), room.present(1), room.present(2)), (3, 3, 3));
    assert!(!room.nodes[0].is_up(tag(2), room.now));
    assert_eq!(room.nodes[0].relay(tag(2), room.now), Some(tag(3)));
}

#[test]
fn a_node_that_nobody_hears_is_down_and_one_heartbeat_ends_it() {
    let mut room = Room::new(3);
    room.run(3000);
    room.cut = vec![(0, 1), (0, 2)];
    room.run(3000);
    assert_eq!((room.present(0), room.present(1), room.present(2)), (1, 2, 2));
    assert_eq!(room.nodes[1].view().departure(tag(1)), Departure::Silent);
    assert_eq!(room.nodes[1].silent(room.now), [tag(1)], "it may live behind the cut");
    assert_eq!(room.nodes[0].silent(room.now), [tag(2), tag(3)]);
    room.cut.clear();
    room.run(500);
    assert_eq!(room.nodes[1].silent(room.now), []);
    assert_eq!((room.present(0), room.present(1), room.present(2)), (3, 3, 3));
}

#[test]
fn who_is_to_leave_is_cut_off_as_long_as_others_are_silent_but_not_from_one_that_said_goodbye() {
    let mut room = Room::new(2);
    room.run(3000);
    room.cut.push((0, 1));
    room.tell(0, NodeInput::Unlinked { tag: tag(2) });
    room.run(3000);
    assert!(!room.nodes[0].view().is_cut_off(), "it is to stay");
    room.tell(0, NodeInput::Drain);
    room.run(2 * REMEMBERED.as_millis() as u64);
    assert!(room.nodes[0].view().is_cut_off(), "it may come back as long as this one waits for it");
    // It had left when the other one could not hear it, and gossip says so.
    room.tell(0, NodeInput::Known(Member { id: NodeId(1), tag: tag(2), state: State::Leaving }));
    assert!(!room.nodes[0].view().is_cut_off());
}

#[test]
fn a_process_that_ended_is_gone_at_once() {
    let mut room = Room::new(3);
    room.run(3000);
    room.stopped.push(0);
    for at in [1, 2] {
        room.tell(at, NodeInput::Ended { tag: tag(1) });
    }
    room.run(100);
    assert_eq!((room.present(1), room.present(2)), (2, 2));
    assert_eq!(room.nodes[1].view().departure(tag(1)), Departure::Ended);
    assert_eq!(room.nodes[1].silent(room.now), [], "it is known to go on nowhere");
}

#[test]
fn a_node_that_said_goodbye_is_not_missed() {
    let mut room = Room::new(3);
    room.run(3000);
    room.tell(0, NodeInput::Drain);
    room.tell(0, NodeInput::Leave);
    room.run(300);
    room.stopped.push(0);
    room.run(3000);
    assert_eq!((room.present(1), room.nodes[1].silent(room.now)), (2, vec![]));
}

#[test]
fn a_process_that_left_is_gone_with_its_connection() {
    let mut room = Room::new(3);
    room.run(3000);
    room.tell(0, NodeInput::Drain);
    room.tell(0, NodeInput::Leave);
    room.stopped.push(0);
    for at in [1, 2] {
        room.tell(at, NodeInput::Unlinked { tag: tag(1) });
    }
    room.run(50);
    assert_eq!((room.present(1), room.present(2)), (2, 2));
}

#[test]
fn that_a_process_ended_long_after_it_was_heard_proves_nothing_about_the_time_between() {
    let mut room = Room::new(2);
    room.run(3000);
    room.stopped.push(0);
    room.run(1200);
    room.tell(1, NodeInput::Ended { tag: tag(1) });
    room.run(50);
    assert_eq!(room.nodes[1].view().departure(tag(1)), Departure::Lost);
}

#[test]
fn what_gossip_says_of_a_node_that_is_heard_is_old_news() {
    let mut room = Room::new(2);
    room.run(3000);
    room.tell(1, NodeInput::Known(Member { id: NodeId(0), tag: tag(1), state: State::Joining }));
    assert!(room.nodes[1].view().members().iter().all(|member| member.state == State::Active));
}

#[test]
fn invariant_18_a_node_that_was_stopped_doubts_itself_before_it_doubts_others() {
    let mut room = Room::new(3);
    room.run(3000);
    room.stopped.push(0);
    room.run(4000);
    room.stopped.clear();
    let mut out = Vec::new();
    let now = room.now;
    room.nodes[0].handle(now, NodeInput::Tick, &mut out);
    assert_eq!((room.present(0), room.nodes[0].view().may_act()), (3, false));
    // What its sockets kept meanwhile was said to nobody.
    let seq = room.nodes[1].seq;
    let stale = Beat { seq, state: State::Active, reach: vec![tag(1)], view: 0, echo: 1, held: Duration::ZERO };
    room.nodes[0].handle(now, NodeInput::Beat { from: tag(2), beat: stale }, &mut out);
    assert!(!room.nodes[0].view().may_act());
    room.run(500);
    assert!(room.nodes[0].view().may_act());
}

#[test]
fn processes_that_never_linked_and_those_that_left_are_forgotten_after_a_while() {
    let mut node = Node::new(NodeId(0), tag(1), Settings::default(), Duration::ZERO);
    let mut out = Vec::new();
    let mut most = 0;
    for restart in 0..100 {
        let (now, silent, gone) = (ms(restart * 60_000), tag(1000 + restart), tag(2000 + restart));
        node.handle(now, NodeInput::Known(Member { id: NodeId(1), tag: silent, state: State::Joining }), &mut out);
        node.handle(now, NodeInput::Linked { tag: gone, id: NodeId(2) }, &mut out);
        node.handle(now, NodeInput::Ended { tag: gone }, &mut out);
        most = most.max(node.peers.len());
    }
    assert!(most <= 22, "of 100 restarts {most} processes are known at once, those of ten minutes are enough");
}
