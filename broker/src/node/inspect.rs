//! What the admin API asks of the shards.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};

use super::in_cluster::InCluster;
use crate::admin::{Cluster, Count, Inside, Listening, Node, Present};
use crate::control::{self, Done, Word};
use crate::journal::{Journal, SessionId, Sitting};
use crate::log::SLOTS;
use crate::message::ChannelName;
use crate::shard::{self, Shard};

/// A shard that takes longer to answer is left out: the one who asks must not hang with it.
const PATIENCE: Duration = Duration::from_secs(2);
/// Sessions of one name that are shown: clients may share one.
const NAMESAKES_MAX: usize = 20;

/// The node's shards, and its name.
pub(super) struct Shards {
    pub(super) shards: Arc<Vec<Arc<shard::Handle>>>,
    pub(super) address: String,
    pub(super) cluster: InCluster,
    pub(super) journal: Journal,
}

impl Shards {
    /// Asks every shard the same; `None` where one did not answer.
    fn ask<T: Send + 'static>(&self, question: impl Fn(&Shard) -> T + Clone + Send + 'static) -> BoxFuture<'static, Vec<Option<T>>> {
        let shards = self.shards.clone();
        Box::pin(async move {
            let answers = shards.iter().map(|shard| {
                let question = question.clone();
                async move { tokio::time::timeout(PATIENCE, shard.perform(move |shard| question(shard))).await.ok().flatten() }
            });
            join_all(answers).await
        })
    }
}

impl Inside for Shards {
    fn listening(&self, channel: ChannelName, limit: usize) -> BoxFuture<'static, Listening> {
        let journal = self.journal.clone();
        let wanted = channel.clone();
        let answers = self.ask(move |shard| shard.listening(&channel, limit));
        Box::pin(async move {
            let mut all = together(answers.await.into_iter().map(|one| one.map(|one| (one.count, one.sessions))), limit);
            let sitting = journal.sitting(limit.saturating_sub(all.sessions.len()), |one| one.channels.contains(&wanted));
            all.sessions.extend(sitting.into_iter().map(seated));
            all
        })
    }

    fn count_listening(&self, channels: Vec<ChannelName>) -> BoxFuture<'static, Vec<Count>> {
        let mut counts = vec![Count::default(); channels.len()];
        let answers = self.ask(move |shard| shard.count_listening(&channels));
        Box::pin(async move {
            for found in answers.await.into_iter().flatten() {
                for (count, listeners) in counts.iter_mut().zip(found) {
                    count.listeners += listeners;
                    count.shards += usize::from(listeners > 0);
                }
            }
            counts
        })
    }

    fn find(&self, session: SessionId) -> BoxFuture<'static, Listening> {
        let journal = self.journal.clone();
        let answers = self.ask(move |shard| shard.find(session, NAMESAKES_MAX));
        Box::pin(async move {
            let mut all = together(answers.await.into_iter().map(|one| one.map(|found| (found.len(), found))), NAMESAKES_MAX);
            let sitting = journal.sitting(NAMESAKES_MAX, |one| one.session == session);
            all.count += sitting.len();
            all.sessions.extend(sitting.into_iter().map(seated));
            all.sessions.truncate(NAMESAKES_MAX);
            all
        })
    }

    fn condition(&self) -> Option<&'static str> {
        self.cluster.condition()
    }

    fn cluster(&self) -> Cluster {
        if let Some(cluster) = self.cluster.described() {
            return cluster;
        }
        let slots = u32::from(SLOTS);
        let me = Node {
            name: "this node".to_owned(),
            address: self.address.clone(),
            is_self: true,
            state: "active".to_owned(),
            version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            leads: slots,
            follows: 0,
        };
        Cluster { condition: "alone", slots, nodes: vec![me], ..Cluster::default() }
    }
}

/// Stays on sockets of the shards that are in no register.
pub(super) struct Nameless(pub(super) Arc<Vec<Arc<shard::Handle>>>);

impl control::Nameless for Nameless {
    fn tell(&self, session: SessionId, word: Word) -> BoxFuture<'static, Done> {
        let shards = self.0.clone();
        Box::pin(async move {
            let told = shards.iter().map(|shard| {
                let word = word.clone();
                let told = shard.perform(move |shard| shard.tell_nameless(session, &word));
                async move { tokio::time::timeout(PATIENCE / 2, told).await.ok().flatten() }
            });
            let mut done = Done::default();
            for ended in join_all(told).await {
                match ended {
                    Some(ended) => done.ended += ended,
                    // Of a shard that hangs nobody can say whether it has any.
                    None => done.pending += 1,
                }
            }
            done
        })
    }
}

fn together(answers: impl Iterator<Item = Option<(usize, Vec<shard::Present>)>>, limit: usize) -> Listening {
    let mut all = Listening::default();
    for answer in answers {
        match answer {
            Some((count, sessions)) => {
                all.count += count;
                let room = limit.saturating_sub(all.sessions.len());
                all.sessions.extend(sessions.into_iter().take(room).map(described));
            }
            None => all.silent_shards += 1,
        }
    }
    all
}

fn described(present: shard::Present) -> Present {
    Present {
        session: present.session.to_string(),
        front: present.front.as_str(),
        address: present.address.map(|address| address.to_string()),
        shard: Some(present.shard),
        channels: present.channels.iter().map(ChannelName::to_string).collect(),
        channel_count: present.channel_count,
        behind_seconds: present.behind_seconds,
        unsent_bytes: present.unsent_bytes,
    }
}

/// One without a socket that a shard owns: what waits for it, only its connection knows.
fn seated((sitting, behind): (Sitting, Option<Duration>)) -> Present {
    Present {
        session: sitting.session.to_string(),
        front: sitting.front.as_str(),
        address: sitting.address.map(|address| address.to_string()),
        shard: None,
        channels: sitting.channels.iter().take(shard::CHANNELS_SHOWN).map(ChannelName::to_string).collect(),
        channel_count: sitting.channels.len(),
        behind_seconds: behind.map(|behind| u32::try_from(behind.as_secs()).unwrap_or(u32::MAX)),
        unsent_bytes: 0,
    }
}
