//! Times and bounds of the cluster, with the defaults of the design.

use std::time::Duration;

/// Times and bounds. All nodes of a cluster should agree on `replicas`; the rest may differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Nodes that hold each slot: 1 or 2.
    pub replicas: u32,
    /// Between two heartbeats to each linked node.
    pub beat: Duration,
    /// Who was heard within this time is up.
    pub fresh: Duration,
    /// Who was heard by nobody for this long is down.
    pub down: Duration,
    /// A longer silence of our own clockwork means that we were stopped, and know nothing about the others.
    pub pause: Duration,
    /// How long a joining node waits for links before it takes slots all the same.
    pub join: Duration,
    /// How long links and states must have stood still before a joining node takes slots.
    pub quiet: Duration,
    /// A node that reaches nobody may take slots after this long; zero for the first node of a cluster (`bootstrap`).
    pub solo: Duration,
    /// How long the home waits for a follower's acknowledgement before it goes on without it.
    pub ack: Duration,
    /// How long a publish that insists on more copies than there are waits for a follower that is on its way.
    pub follow: Duration,
    /// Between two tries of whatever waits for another node: claims, subscriptions, yields.
    pub retry: Duration,
    /// How long a home that refuses to be sealed, or says nothing though it is not down, holds up a takeover.
    pub refusal: Duration,
    /// How long a channel is kept up to date after its last listener here left.
    pub linger: Duration,
    /// Between two marks to those who follow a quiet slot; after three without one the stream is asked for again.
    pub mark: Duration,
    /// How long a publish is tried before its outcome is unknown.
    pub publish: Duration,
    /// Bytes of unanswered publishes that one slot of one node keeps, and of those that wait at its home for a follower.
    pub publish_bytes: usize,
    /// Wishes and publishes of other nodes that wait for a claim of their slot; more are sent back and come again.
    pub early: usize,
    /// Messages that one part of a copy holds at most.
    pub page_records: usize,
    /// A mistake to make, for tests of the simulator.
    #[cfg(debug_assertions)]
    #[doc(hidden)]
    pub bug: Option<Bug>,
}

/// Mistakes that the simulator must find. They exist in debug builds only.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Publishers are answered before anybody else holds the message.
    AckBeforeCopy,
    /// A sealed home goes on appending to its epoch.
    AppendAfterSeal,
    /// A copy follows an epoch older than its own.
    FollowLower,
    /// Messages of a branch are forgotten as soon as they were offered.
    DropOrphans,
    /// Messages of another branch are not taken over.
    NoAdoption,
    /// A channel is called ready before its history came.
    ReadyEarly,
    /// Publish ids are not remembered by followers.
    NoDedupe,
    /// A takeover that cannot rule out a loss says nothing.
    NoFailoverGap,
    /// The home goes on alone without a note.
    NoNote,
    /// A takeover does not ask the incumbent to seal.
    NoSeal,
    /// A copy that follows another branch keeps its own messages beyond the fork.
    NoCut,
    /// A follower acknowledges what it has not got.
    AckAhead,
    /// Listeners are not sent to the log when the line turned.
    NoTurn,
    /// The home commits what its follower does not have.
    CommitEarly,
    /// A stream that was lost is not asked for again.
    NoResync,
    /// Messages' cursors say nothing of the epochs before theirs.
    NoTrail,
    /// A publisher is answered with fewer copies than it insists on.
    FewerCopies,
    /// Who is behind a link that was full is not told when there is room.
    NoRefill,
    /// A stream to a node that is down ends without a word.
    SilentDrop,
    /// A follower is not told anew that it counts when others leave.
    StaleWitness,
    /// A node that was stopped believes what it knew before.
    NoDoubt,
    /// A claim counts the time in which its node stood still.
    Impatience,
    /// A publish that is in the log is refused when it comes again and there are too few copies.
    RefuseRetry,
    /// What a branch had lost before it was taken over is told to nobody.
    NoLost,
    /// Publishes are taken however much waits.
    Unbounded,
    /// A publish is taken though one before it was sent back and is still to come again.
    Overtaking,
    /// A publisher is refused what another home may have taken.
    RefuseTaken,
    /// A node that is to leave and is cut off goes on taking publishes.
    TakesToTheEnd,
    /// What another node took alone is forgotten when that one is gone.
    ForgetApart,
}

impl Settings {
    /// Whether this mistake is to be made: never in a release build.
    pub(super) fn has(&self, bug: Bug) -> bool {
        #[cfg(debug_assertions)]
        return self.bug == Some(bug);
        #[cfg(not(debug_assertions))]
        {
            let _ = bug;
            false
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            replicas: 2,
            beat: Duration::from_millis(250),
            fresh: Duration::from_secs(1),
            down: Duration::from_millis(1500),
            pause: Duration::from_millis(750),
            join: Duration::from_secs(10),
            quiet: Duration::from_secs(2),
            solo: Duration::from_secs(15),
            ack: Duration::from_millis(50),
            follow: Duration::from_secs(1),
            retry: Duration::from_millis(100),
            refusal: Duration::from_secs(5),
            linger: Duration::from_secs(30),
            mark: Duration::from_secs(5),
            publish: Duration::from_secs(10),
            publish_bytes: 16 << 20,
            early: 4096,
            page_records: 256,
            #[cfg(debug_assertions)]
            bug: None,
        }
    }
}
