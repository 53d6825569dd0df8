//! The thread that tells slots what concerns many of them at once: connections, views, the time. One thread, so that they hear
//! it in the order in which it happened; not the control thread, because there are many slots.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::hub::{Hub, LinkId};
use crate::log::Tag;

/// How often slots are looked at whose time has come. Their shortest times are a few of these.
const TICK: Duration = Duration::from_millis(10);

/// What is to be told. Of each node only the last word matters, so this is bounded by the nodes.
#[derive(Debug, Default)]
struct News {
    links: HashMap<Tag, (LinkId, bool)>,
    drained: HashMap<Tag, LinkId>,
    takes_states: HashMap<Tag, LinkId>,
    has_view: bool,
    is_over: bool,
}

impl News {
    fn is_empty(&self) -> bool {
        let Self { links, drained, takes_states, has_view, is_over } = self;
        links.is_empty() && drained.is_empty() && takes_states.is_empty() && !has_view && !is_over
    }
}

/// Where news for the slots are left.
#[derive(Debug, Default)]
pub(super) struct Slots {
    news: Mutex<News>,
    wake: Condvar,
}

impl Slots {
    /// A connection for frames of slots came or went.
    pub(super) fn linked(&self, peer: Tag, id: LinkId, is_up: bool) {
        let mut news = self.news.lock();
        let known = news.links.get(&peer).map_or(0, |(known, _)| *known);
        if id >= known {
            news.links.insert(peer, (id, is_up));
        }
        self.wake.notify_one();
    }

    /// There is room on a connection again.
    pub(super) fn drained(&self, peer: Tag, id: LinkId) {
        self.news.lock().drained.insert(peer, id);
        self.wake.notify_one();
    }

    /// A connection takes a state again.
    pub(super) fn takes_states(&self, peer: Tag, id: LinkId) {
        self.news.lock().takes_states.insert(peer, id);
        self.wake.notify_one();
    }

    /// The hub sees the cluster in a new way.
    pub(super) fn seen(&self) {
        self.news.lock().has_view = true;
        self.wake.notify_one();
    }

    /// Lets the thread end.
    pub(super) fn stop(&self) {
        self.news.lock().is_over = true;
        self.wake.notify_one();
    }

    /// Tells until it is stopped.
    pub(super) fn run(&self, hub: &Hub) {
        loop {
            let news = {
                let mut news = self.news.lock();
                if news.is_empty() {
                    self.wake.wait_for(&mut news, TICK);
                }
                std::mem::take(&mut *news)
            };
            if news.is_over {
                return;
            }
            for (peer, (id, is_up)) in news.links {
                hub.linked(peer, id, is_up);
            }
            for (peer, id) in news.drained {
                hub.drained(peer, id);
            }
            for (peer, id) in news.takes_states {
                hub.grant_wishes(peer, id);
            }
            if news.has_view {
                hub.tell_view();
            }
            hub.tick();
        }
    }
}
