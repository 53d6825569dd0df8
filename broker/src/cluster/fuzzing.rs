//! What fuzz targets may see of what nodes say to each other and nobody else needs: readers that are private to their rooms.

use std::net::SocketAddr;

use prost::Message as _;
use tidings_proto::cluster::v1 as wire;

use super::NodeName;
use super::link::greeting::{self, End};
use super::link::{Identity, Keys, Peer};
use super::membership::Record;
use super::release::Release;
use super::{orders, questions};
use crate::log::Tag;

/// What both ends of a TLS session know.
const EXPORTER: [u8; 32] = [7; 32];

/// A node that is greeted.
#[derive(Debug)]
pub struct Greeted {
    me: Identity,
    keys: Keys,
}

impl Default for Greeted {
    fn default() -> Self {
        let me = Identity {
            cluster: "fuzz".to_owned(),
            name: NodeName::new("me").expect("a plain word is a name"),
            tag: Tag::new(1).expect("1 is a tag"),
            started: 1,
            release: Release { protocol: (1, 2), features: 3 },
            version: "fuzz".to_owned(),
        };
        let keys = Keys::new(&["a secret that is long enough to be one".to_owned()]).expect("one secret that is long enough");
        Self { me, keys }
    }
}

impl Greeted {
    /// Reads a greeting as it comes, and as it would be if whoever sent it knew the secret. `None` when it is no greeting.
    ///
    /// # Panics
    /// When it is believed without the secret.
    #[must_use]
    pub fn hello(&self, bytes: &[u8]) -> Option<Result<Peer, String>> {
        let mut hello = wire::Hello::decode(bytes).ok()?;
        let judge = |hello: &wire::Hello| greeting::judge(&self.me, &self.keys, &EXPORTER, End::Dialled, hello);
        assert!(judge(&hello).is_err(), "believed without a proof: {hello:?}");
        let proven = greeting::hello(&self.me, &self.keys, &EXPORTER, End::Dialled, super::link::Purpose::Live);
        hello.proofs = proven.proofs;
        Some(judge(&hello).map_err(|refusal| refusal.message))
    }

    /// Reads an answer to a greeting; what is told of a refusal, if it is one.
    ///
    /// # Panics
    /// When a refusal that would keep this node out of the cluster is believed without the secret.
    #[must_use]
    pub fn answer(&self, bytes: &[u8]) -> Option<String> {
        match wire::Answer::decode(bytes).ok()?.answer? {
            wire::answer::Answer::Refused(refusal) => {
                let read = greeting::Refusal::read(&refusal, &self.keys, &EXPORTER);
                let is_harmful = matches!(read.reason, super::link::Reason::DuplicateName | super::link::Reason::Protocol);
                assert!(!is_harmful, "believed without a proof: {refusal:?}");
                Some(read.message)
            }
            wire::answer::Answer::Welcome(hello) => {
                drop(greeting::judge(&self.me, &self.keys, &EXPORTER, End::Answered, &hello));
                None
            }
        }
    }
}

/// Reads what a bulk connection carries, and of how many channels or revocations it asks or tells.
#[must_use]
pub fn bulk(bytes: &[u8]) -> Option<usize> {
    match wire::BulkFrame::decode(bytes).ok()?.what? {
        wire::bulk_frame::What::ChannelsAsked(asked) => Some(questions::hear_wanted(asked).limit),
        wire::bulk_frame::What::ChannelsTold(told) => Some(questions::hear_rows(told).rows.len()),
        wire::bulk_frame::What::Order(order) => Some(usize::from(orders::hear_order(order).is_some())),
        wire::bulk_frame::What::OrderDone(done) => Some(usize::from(orders::hear_done(done).is_ok())),
        wire::bulk_frame::What::Revocations(known) => Some(orders::hear_revocations(known).len()),
    }
}

/// Reads what a node says of itself in the gossip, and says it again.
#[must_use]
pub fn record(name: &str, gossip: SocketAddr, pairs: &[(&str, &str)]) -> Option<(Record, Vec<(&'static str, String)>)> {
    let get = |wanted: &str| pairs.iter().find(|(key, _)| *key == wanted).map(|(_, value)| *value);
    let record = Record::read(name, 1, gossip, get).ok()?;
    let pairs = record.pairs();
    Some((record, pairs))
}
