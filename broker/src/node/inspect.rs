//! What the admin API asks of the shards.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};

use crate::admin::{Cluster, Count, Inside, Listening, Node, Present};
use crate::journal::SessionId;
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
        let answers = self.ask(move |shard| shard.listening(&channel, limit));
        Box::pin(async move { together(answers.await.into_iter().map(|one| one.map(|one| (one.count, one.sessions))), limit) })
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
        let answers = self.ask(move |shard| shard.find(session, NAMESAKES_MAX));
        Box::pin(async move { together(answers.await.into_iter().map(|one| one.map(|found| (found.len(), found))), NAMESAKES_MAX) })
    }

    fn cluster(&self) -> Cluster {
        let slots = u32::from(SLOTS);
        let me = Node {
            name: "this node".to_owned(),
            address: self.address.clone(),
            is_self: true,
            state: "alive".to_owned(),
            version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            leads: slots,
            follows: 0,
        };
        Cluster { is_clustered: false, slots, nodes: vec![me], links: Vec::new() }
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
        shard: present.shard,
        channels: present.channels.iter().map(ChannelName::to_string).collect(),
        channel_count: present.channel_count,
        behind_seconds: present.behind_seconds,
        unsent_bytes: present.unsent_bytes,
    }
}
