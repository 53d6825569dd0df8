//! Handing over what this node has when it leaves: to those who are there, and to those who may come back.

use std::time::Duration;

use tokio::time::Instant;

use super::super::core::{NodeInput, State};
use super::Cluster;

/// How often it is looked whether everything is handed over.
const LOOK: Duration = Duration::from_millis(20);

impl Cluster {
    /// Hands everything that this node owns over to the others, until `deadline` at most, as long as somebody is active who takes it or joins.
    /// Publishing goes on meanwhile, unless others left without a word and nobody is active. `true` when nothing is left that
    /// this node alone holds, or nobody will take it; if `false`, [`Cluster::wait_for_others`] goes on with it. The drain `began` then.
    pub async fn hand_over(&self, began: Instant, deadline: Instant) -> bool {
        self.inputs.push(NodeInput::Drain);
        self.hand_over_to(began, deadline, false).await
    }

    /// As [`Cluster::hand_over`], and waits for those who left without a word, too: they may live behind a cut that heals.
    pub async fn wait_for_others(&self, began: Instant, deadline: Instant) {
        self.hand_over_to(began, deadline, true).await;
    }

    async fn hand_over_to(&self, began: Instant, deadline: Instant, is_patient: bool) -> bool {
        let mut is_told = false;
        while Instant::now() < deadline {
            let (is_draining, comes, may_come) = {
                let seen = self.seen.borrow();
                let has = |state| seen.view.members().iter().any(|member| member.tag != self.me.tag && member.state == state);
                (seen.state == State::Draining, has(State::Active) || has(State::Joining), seen.view.is_cut_off())
            };
            if is_draining && !self.hub.holds_slots() {
                tracing::info!(event = "slots_handed_over", took = ?began.elapsed(), "everything was handed over to the other nodes");
                return true;
            }
            if is_draining && !comes {
                if !may_come || !self.hub.holds_messages() {
                    return true;
                }
                if !std::mem::replace(&mut is_told, true) {
                    tracing::warn!(
                        event = "slots_wait",
                        messages = self.hub.held_alone(),
                        "this node is to leave and is cut off from the others; it takes no messages any more, and keeps what it has for them until drain.grace is over"
                    );
                }
                if !is_patient {
                    return false;
                }
            }
            tokio::time::sleep(LOOK).await;
        }
        !self.hub.holds_slots()
    }

    /// Tells the others that this node ends. What it alone holds is lost with it.
    pub fn leave(&self) {
        if self.hub.holds_messages() {
            tracing::warn!(
                event = "slots_not_handed_over",
                messages = self.hub.held_alone(),
                "some slots could not be handed over; what no other node has is lost when this one ends, among it the messages that none acknowledged"
            );
        }
        self.inputs.push(NodeInput::Leave);
    }
}
