//! The thread that tells slots what concerns many of them at once: connections, views, the time. One thread, so that they hear
//! it in the order in which it happened; not the control thread, because there are many slots.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::core::View;
use crate::hub::{Hub, LinkId};
use crate::log::Tag;

/// How often slots are looked at whose time has come. Their shortest times are a few of these.
const TICK: Duration = Duration::from_millis(10);

/// What is to be told. Of each node only the last word matters, so this is bounded by the nodes.
#[derive(Debug, Default)]
struct News {
    links: HashMap<Tag, (LinkId, bool)>,
    drained: HashMap<Tag, LinkId>,
    view: Option<Arc<View>>,
    is_over: bool,
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

    /// The cluster is seen in a new way.
    pub(super) fn view(&self, view: Arc<View>) {
        self.news.lock().view = Some(view);
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
                if news.links.is_empty() && news.drained.is_empty() && news.view.is_none() && !news.is_over {
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
            if let Some(view) = news.view {
                hub.set_view(view);
            }
            hub.tick();
        }
    }
}
