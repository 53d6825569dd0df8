//! A state that takes longer on its way than whoever asked for it waits for a word.

use super::*;

/// What the home says to one node takes a while for each frame, and a wish waits until nothing is on that way.
struct SlowWay {
    home: usize,
    asker: usize,
    takes: Duration,
    said: VecDeque<Frame>,
    next_at: Duration,
    wish: Option<Frame>,
    /// Wishes said, and parts of states that were on the way.
    asked: usize,
    parts: usize,
}

impl SlowWay {
    fn new(scene: &Scene, home: usize, asker: usize, takes: Duration) -> Self {
        Self { home, asker, takes, said: VecDeque::new(), next_at: scene.now, wish: None, asked: 0, parts: 0 }
    }

    /// Time passes until something is so, which must be before the limit.
    fn pass_until(&mut self, scene: &mut Scene, limit: Duration, is_so: impl Fn(&Scene) -> bool) {
        let end = scene.now + limit;
        while !is_so(scene) {
            assert!(scene.now < end, "not within {limit:?}: {} wishes, {} parts", self.asked, self.parts);
            scene.now += Duration::from_millis(5);
            for at in 0..scene.nodes.len() {
                if scene.nodes[at].replica.due().is_some_and(|due| due <= scene.now) {
                    scene.input(at, Input::Tick);
                }
            }
            self.carry(scene);
        }
    }

    fn carry(&mut self, scene: &mut Scene) {
        loop {
            if self.said.is_empty() {
                self.next_at = scene.now + self.takes;
                if let Some(frame) = self.wish.take() {
                    scene.input(self.home, Input::Frame { from: tag(self.asker), frame });
                }
            }
            let Some((from, to, frame)) = scene.wires.pop_front() else { break };
            if (from, to) == (self.home, self.asker) {
                self.parts += usize::from(matches!(frame, Frame::Sync(_)));
                self.said.push_back(frame);
            } else if (from, to) == (self.asker, self.home) && matches!(frame, Frame::Sub(_)) {
                self.asked += 1;
                self.wish = Some(frame);
            } else {
                scene.input(to, Input::Frame { from: tag(from), frame });
            }
        }
        if self.next_at <= scene.now
            && let Some(frame) = self.said.pop_front()
        {
            self.next_at = scene.now + self.takes;
            scene.input(self.asker, Input::Frame { from: tag(self.home), frame });
        }
    }
}

/// A home with four messages in a channel, each of which is a part of its own, and a node that is neither home nor follower.
fn with_four_messages() -> (Scene, usize, usize) {
    let mut scene = Scene::new(3, Settings { page_records: 1, ..Settings::default() });
    let (home, follower) = scene.owners();
    (1..=4).for_each(|rid| scene.publish(home, rid, "a{x}", Terms::default()));
    scene.pass(200);
    let asker = (0..3).find(|at| *at != home && *at != follower).unwrap();
    (scene, home, asker)
}

#[test]
fn who_asks_over_a_slow_link_waits_longer_each_time_and_gets_what_takes_longer_than_its_first_patience() {
    let (mut scene, home, asker) = with_four_messages();
    let mut way = SlowWay::new(&scene, home, asker, Duration::from_millis(2500));
    scene.input(asker, Input::Listen(name("a{x}")));
    way.pass_until(&mut scene, Duration::from_secs(60), |scene| scene.nodes[asker].replica.is_ready(&name("a{x}")));
    assert_eq!(scene.texts(asker), ["m1", "m2", "m3", "m4"]);
    assert!(way.asked <= 6 && way.parts <= 12, "{} wishes, {} parts: two states of four may come too late", way.asked, way.parts);
}

#[test]
fn what_is_wanted_while_a_state_is_on_its_way_does_not_make_it_begin_anew() {
    let (mut scene, home, asker) = with_four_messages();
    let mut way = SlowWay::new(&scene, home, asker, Duration::from_millis(400));
    scene.input(asker, Input::Listen(name("a{x}")));
    for channel in ["b{x}", "c{x}", "d{x}"] {
        let later = scene.now + Duration::from_millis(350);
        way.pass_until(&mut scene, Duration::from_secs(1), |scene| scene.now >= later);
        scene.input(asker, Input::Listen(name(channel)));
    }
    for channel in ["a{x}", "b{x}", "c{x}", "d{x}"] {
        way.pass_until(&mut scene, Duration::from_secs(3), |scene| scene.nodes[asker].replica.is_ready(&name(channel)));
    }
    assert_eq!((way.asked, way.parts), (1, 5), "one state of four parts, and one of the channels that were wanted besides");
}
