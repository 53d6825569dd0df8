//! Who is at the other end of a new connection, and may it talk to us? Pure: takes what was said, gives what to answer.

use std::fmt;

use aws_lc_rs::hmac;
use tidings_proto::cluster::v1 as wire;

use super::super::membership::{BadKeys, KEYS_MAX, NodeName, SECRET_MIN};
use super::super::release::{Common, Release};
use crate::log::{SLOTS, Tag};

/// What a connection is for. One per purpose and pair of nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Purpose {
    /// Heartbeats and claims; never waits behind messages.
    Control,
    /// Publishes, copies, deliveries.
    Live,
    /// Snapshots and what a resuming client fetches.
    Bulk,
}

impl Purpose {
    /// Every purpose, in the order of [`Purpose::index`].
    pub const ALL: [Self; 3] = [Self::Control, Self::Live, Self::Bulk];

    /// The word for people and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Live => "live",
            Self::Bulk => "bulk",
        }
    }

    /// A dense number for tables.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    const fn wire(self) -> wire::Purpose {
        match self {
            Self::Control => wire::Purpose::Control,
            Self::Live => wire::Purpose::Live,
            Self::Bulk => wire::Purpose::Bulk,
        }
    }

    const fn read(purpose: wire::Purpose) -> Option<Self> {
        match purpose {
            wire::Purpose::Control => Some(Self::Control),
            wire::Purpose::Live => Some(Self::Live),
            wire::Purpose::Bulk => Some(Self::Bulk),
            wire::Purpose::Unspecified => None,
        }
    }
}

/// A node as it greets others.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The cluster it belongs to.
    pub cluster: String,
    /// Its name.
    pub name: NodeName,
    /// Its process.
    pub tag: Tag,
    /// When the process started, in ms since 1970.
    pub started: u64,
    /// What it speaks.
    pub release: Release,
    /// Its release, for people.
    pub version: String,
}

/// A node that proved to belong to the cluster, and what both agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its name.
    pub name: NodeName,
    /// Its process.
    pub tag: Tag,
    /// When the process started, in ms since 1970.
    pub started: u64,
    /// What the connection is for.
    pub purpose: Purpose,
    /// What it speaks.
    pub release: Release,
    /// What both ends have in common, so what is used between them.
    pub common: Common,
    /// Its release, for people.
    pub version: String,
}

/// Why two nodes do not talk. Each side logs it; the message holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// For programs.
    pub reason: wire::Reason,
    /// For people.
    pub message: String,
}

impl Refusal {
    /// A refusal with these words.
    pub fn new(reason: wire::Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    /// For one that has not shown to hold a key, and so gets nothing by which it could guess at ours.
    pub(super) fn wire(&self) -> wire::Refusal {
        wire::Refusal { reason: self.reason.into(), message: self.message.clone(), proofs: Vec::new() }
    }

    /// For one that was judged: proven, if it has proven itself.
    pub(in crate::cluster) fn proven(&self, keys: &Keys, exporter: &[u8]) -> wire::Refusal {
        let mut refusal = self.wire();
        if self.reason != wire::Reason::Key {
            refusal.proofs = keys.sign(&refused(exporter, &refusal));
        }
        refusal
    }

    /// What the one that answers told us: in its own words, cut to what fits a log line, if it shows to hold a key.
    pub(in crate::cluster) fn read(refusal: &wire::Refusal, keys: &Keys, exporter: &[u8]) -> Self {
        if !keys.verify(&refused(exporter, refusal), &refusal.proofs) {
            return Self::unproven(refusal.reason());
        }
        let message = refusal.message.chars().filter(|c| !c.is_control()).take(300).collect();
        Self { reason: refusal.reason(), message }
    }

    /// What anybody may have told us. Its words go nowhere, and what would keep this node out of the cluster is not believed.
    pub(in crate::cluster) fn unproven(reason: wire::Reason) -> Self {
        use wire::Reason;
        let (reason, message) = match reason {
            Reason::Key => (reason, "it says that the cluster keys differ: cluster.keys must name the same secret on every node"),
            Reason::Certificate => (reason, "it does not take this node's certificate, and says why in its own log (cluster.tls)"),
            Reason::NotWanted => (reason, "it says that there is such a connection already"),
            _ => (Reason::Unspecified, "it refuses this node, and does not show that it holds a cluster key"),
        };
        Self::new(reason, message)
    }
}

/// Which end of the connection proves something. Part of the proof, so that it cannot be handed back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cluster) enum End {
    Dialled,
    Answered,
}

/// The cluster keys: the first one and, while it is changed, another one.
#[derive(Clone)]
pub struct Keys(Vec<hmac::Key>);

impl fmt::Debug for Keys {
    /// Without them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.0.len())
    }
}

impl Keys {
    /// Keys made of secrets.
    ///
    /// # Errors
    /// Without a secret, with too many, or when one is too short to be one.
    pub fn new(secrets: &[String]) -> Result<Self, BadKeys> {
        match secrets.len() {
            0 => return Err(BadKeys::None),
            many if many > KEYS_MAX => return Err(BadKeys::Many(many)),
            _ => {}
        }
        if let Some(short) = secrets.iter().map(|secret| secret.chars().count()).find(|length| *length < SECRET_MIN) {
            return Err(BadKeys::Short(short));
        }
        Ok(Self(secrets.iter().map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes())).collect()))
    }

    fn prove(&self, exporter: &[u8], end: End) -> Vec<bytes::Bytes> {
        self.sign(&proven(exporter, end))
    }

    fn holds(&self, exporter: &[u8], end: End, proofs: &[bytes::Bytes]) -> bool {
        self.verify(&proven(exporter, end), proofs)
    }

    fn sign(&self, text: &[u8]) -> Vec<bytes::Bytes> {
        self.0.iter().map(|key| hmac::sign(key, text).as_ref().to_vec().into()).collect()
    }

    /// In constant time for each pair of key and proof.
    fn verify(&self, text: &[u8], proofs: &[bytes::Bytes]) -> bool {
        self.0.iter().any(|key| proofs.iter().take(KEYS_MAX).any(|proof| hmac::verify(key, text, proof).is_ok()))
    }
}

/// What is proven of a refusal: all of it, in this session. The exporter has one length, and the reason too.
fn refused(exporter: &[u8], refusal: &wire::Refusal) -> Vec<u8> {
    [b"tidings link 1 refused", exporter, &refusal.reason.to_be_bytes(), refusal.message.as_bytes()].concat()
}

fn proven(exporter: &[u8], end: End) -> Vec<u8> {
    let end: &[u8] = match end {
        End::Dialled => b"tidings link 1 dialled",
        End::Answered => b"tidings link 1 answered",
    };
    [end, exporter].concat()
}

/// What we say first, or after the other side was found to be good.
pub(in crate::cluster) fn hello(me: &Identity, keys: &Keys, exporter: &[u8], end: End, purpose: Purpose) -> wire::Hello {
    wire::Hello {
        cluster: me.cluster.clone(),
        name: me.name.to_string(),
        tag: me.tag.get(),
        started: me.started,
        protocol_oldest: me.release.protocol.0,
        protocol_newest: me.release.protocol.1,
        features: me.release.features,
        slots: u32::from(SLOTS),
        purpose: purpose.wire().into(),
        proofs: keys.prove(exporter, end),
        version: me.version.clone(),
        refused: None,
    }
}

/// Judges what the other `end` said. The key comes first: whoever lacks it learns nothing else about this node.
pub(in crate::cluster) fn judge(me: &Identity, keys: &Keys, exporter: &[u8], end: End, hello: &wire::Hello) -> Result<Peer, Refusal> {
    if !keys.holds(exporter, end, &hello.proofs) {
        return Err(Refusal::new(wire::Reason::Key, "the cluster keys differ: cluster.keys must name the same secret on every node"));
    }
    let invalid = |what| Refusal::new(wire::Reason::Invalid, format!("the greeting has no valid {what}"));
    let name = NodeName::new(&hello.name).ok_or_else(|| invalid("name"))?;
    let tag = Tag::new(hello.tag).ok_or_else(|| invalid("tag"))?;
    let purpose = Purpose::read(hello.purpose()).ok_or_else(|| invalid("purpose"))?;
    if hello.cluster != me.cluster {
        let message = format!("{name} is of another cluster; this one is `{}` (cluster.id)", me.cluster);
        return Err(Refusal::new(wire::Reason::OtherCluster, message));
    }
    if hello.slots != u32::from(SLOTS) {
        let message = format!("{name} divides channels into {} slots, this node into {SLOTS}", hello.slots);
        return Err(Refusal::new(wire::Reason::Slots, message));
    }
    if name == me.name {
        // Two processes of one name would take each other's slots. A node that dials itself meets the same words.
        let whom = if tag == me.tag { "this very process" } else { "another process" };
        return Err(Refusal::new(wire::Reason::DuplicateName, format!("the name {name} is that of {whom}; cluster.node must be unique")));
    }
    let release = Release { protocol: (hello.protocol_oldest, hello.protocol_newest), features: hello.features };
    let common = me.release.common(release).ok_or_else(|| other_protocol(&name, release, &me.name, me.release))?;
    let version = hello.version.chars().filter(|c| !c.is_control()).take(32).collect();
    Ok(Peer { name, tag, started: hello.started, purpose, release, common, version })
}

/// One node understands nothing that another one says. Who speaks what is named, since both sides log the same words.
pub(in super::super) fn other_protocol(name: &NodeName, release: Release, other: &NodeName, known: Release) -> Refusal {
    let message = format!("{name} speaks protocol {release} and {other} {known}: upgrade through a release that speaks both");
    Refusal::new(wire::Reason::Protocol, message)
}
