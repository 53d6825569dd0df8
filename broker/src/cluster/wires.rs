//! The other nodes as the hub sees them.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tidings_proto::cluster::v1 as wire;
use tokio::sync::Semaphore;

use super::core::frame::Terms;
use super::core::{Answer, Event, Frame};
use super::happened::Happened;
use super::letter::Letter;
use super::link::Purpose;
use super::mesh::{Mesh, Posted};
use super::orders;
use super::parts;
use super::questions::{self, Questions};
use crate::clock::Clock;
use crate::control::{Done, Elsewhere, Order};
use crate::hub::{LinkId, Peers, Rows, Sent, Told, Wanted};
use crate::log::{Slot, Tag};
use crate::presence;

/// Carries what slots say to their parts on other nodes.
#[derive(Debug)]
pub(super) struct Wires {
    pub(super) mesh: Mesh<Letter>,
    pub(super) clock: Clock,
    pub(super) happened: Happened,
    pub(super) questions: Arc<Questions>,
    /// Places for orders of other nodes that are under way here.
    pub(super) orders: Arc<Semaphore>,
}

impl Wires {
    /// Before anybody is connected.
    pub(super) fn new(clock: Clock) -> Self {
        let orders = Arc::new(Semaphore::new(orders::ORDERS_MAX));
        Self { mesh: Mesh::default(), clock, happened: Happened::default(), questions: Arc::default(), orders }
    }

    /// How many orders of other nodes are under way here.
    pub(super) fn orders_under_way(&self) -> usize {
        orders::ORDERS_MAX - self.orders.available_permits()
    }
}

/// Asks one node for its channels.
async fn ask(mesh: &Mesh<Letter>, questions: &Questions, to: Tag, question: wire::bulk_frame::What) -> Option<Rows> {
    let mut open = questions.begin()?;
    let frame = wire::BulkFrame { number: open.number, what: Some(question) };
    if mesh.post(to, Purpose::Bulk, None, Letter::Bulk(frame)) == Posted::Closed {
        return None;
    }
    match open.answer().await? {
        wire::bulk_frame::What::ChannelsTold(told) => Some(questions::hear_rows(told)),
        _ => None,
    }
}

impl Elsewhere for Wires {
    fn carry_out(&self, order: &Order, limit: Duration) -> BoxFuture<'static, Vec<(String, Result<Done, String>)>> {
        let (mesh, questions) = (self.mesh.clone(), self.questions.clone());
        let nodes = questions.nodes();
        Box::pin(orders::ask_all(mesh, questions, nodes, orders::say_order(order), limit))
    }
}

impl Peers for Wires {
    fn send(&self, to: Tag, over: LinkId, slot: Slot, frame: Frame) -> Sent {
        let mut sent = Sent::Queued;
        parts::each(frame, |frame| {
            self.happened.said(&frame);
            match self.mesh.post(to, Purpose::Live, Some(over), Letter::Slot(slot, frame, self.clock)) {
                Posted::Queued => {}
                Posted::Behind => sent = Sent::Behind,
                // Then so are all parts behind it.
                Posted::Closed => sent = Sent::Lost,
            }
        });
        sent
    }

    fn is_full(&self, to: Tag) -> bool {
        self.mesh.is_full(to, Purpose::Live)
    }

    fn takes_state(&self, to: Tag, over: LinkId) -> bool {
        self.mesh.takes_state(to, Purpose::Live, over)
    }

    fn say_presence(&self, to: Tag, over: LinkId, frame: presence::Frame) {
        // What is lost with its connection is said again over the next one.
        let _ = self.mesh.post(to, Purpose::Live, Some(over), Letter::Presence(Box::new(frame)));
    }

    fn connected(&self) -> Vec<(Tag, LinkId)> {
        self.mesh.connected(Purpose::Live)
    }

    fn happened(&self, slot: Slot, event: &Event) {
        self.happened.happened(slot, event);
    }

    fn channels(&self, wanted: &Wanted, limit: Duration) -> BoxFuture<'static, Vec<Told>> {
        let (mesh, questions) = (self.mesh.clone(), self.questions.clone());
        let question = questions::say_wanted(wanted);
        Box::pin(async move {
            let asked = questions.nodes().into_iter().map(|(tag, name)| {
                let (mesh, questions, question) = (&mesh, &questions, question.clone());
                async move {
                    let rows = tokio::time::timeout(limit, ask(mesh, questions, tag, question)).await.ok().flatten();
                    Told { node: name.to_string(), rows }
                }
            });
            futures_util::future::join_all(asked).await
        })
    }

    fn answered(&self, answer: &Answer, terms: Terms) {
        self.happened.answered(answer, terms, self.clock.mono().as_secs());
    }
}
