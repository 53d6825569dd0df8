//! Which channels are published to: of each node's the same number, so that whichever node is struck, somebody's home is.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tidings::cluster::core::{Member, NodeId, Place, State, View};
use tidings::log::{Slot, Tag};
use tidings::message::ChannelName;
use tokio::time::{Instant, sleep};

use crate::chaos::checker::position;
use crate::chaos::client::http;
use crate::chaos::fault::Name;
use crate::chaos::world::World;

/// Names that are tried; each fits one in as many as there are pairs of nodes.
const TRIED_MAX: usize = 10_000;
/// How long nodes that are all ready may take until they see one another.
const SETTLE_MAX: Duration = Duration::from_secs(20);

/// So many channels for a cluster of this size: the first one's home is n1 and its follower n2, the second one's n2 and n3, and so on.
///
/// # Errors
/// When there are too few for each node to be the home of one.
pub(crate) fn channels(nodes: usize, count: usize) -> anyhow::Result<Vec<String>> {
    ensure!(count >= nodes, "{count} channels are too few: each of {nodes} nodes must be the home of one (--channels)");
    let (view, tags) = view(nodes)?;
    let tag = |node: usize| tags.get(node % nodes).copied().context("so many nodes");
    let mut names = (0..TRIED_MAX).map(|number| format!("hot-{number}"));
    let mut channels = Vec::new();
    for number in 0..count {
        let follower = if nodes > 1 { Some(tag(number + 1)?) } else { None };
        let wanted = Place { home: tag(number)?, follower };
        // Names are used up as they are passed: two channels are never the same.
        let fits = |name: &String| ChannelName::parse(name).ok().and_then(|name| view.place(Slot::of(&name))) == Some(wanted);
        channels.push(names.find(fits).context("no name fits")?);
    }
    Ok(channels)
}

/// The view of a cluster whose nodes are all well.
fn view(nodes: usize) -> anyhow::Result<(View, Vec<Tag>)> {
    let tags: Vec<Tag> = (1..=nodes as u64).filter_map(Tag::new).collect();
    let members =
        tags.iter().enumerate().map(|(node, tag)| Member { id: NodeId::of(&Name(node).to_string()), tag: *tag, state: State::Active });
    let me = tags.first().copied().context("a cluster without nodes")?;
    Ok((View::new(me, members.collect(), 2, Default::default(), true), tags))
}

/// Holds against the cluster that runs what [`channels`] reckoned: each node writes what is published to some channel's slot.
///
/// # Errors
/// When one does not, some seconds after all were ready, or a node does not answer.
pub(crate) async fn check(world: &World) -> anyhow::Result<()> {
    let deadline = Instant::now() + SETTLE_MAX;
    loop {
        // Nodes that nobody told of each other are home of everything each.
        let Some(homes) = homes(world).await? else { return Ok(()) };
        let idle: Vec<&str> = world.seats.iter().map(|seat| seat.name.as_str()).filter(|name| !homes.contains(*name)).collect();
        if idle.is_empty() {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "home of no channel: {}", idle.join(", "));
        sleep(Duration::from_millis(200)).await;
    }
}

/// Which nodes wrote what was published just now, to a channel of each slot that nobody looks at. `None` when the nodes are no cluster.
async fn homes(world: &World) -> anyhow::Result<Option<BTreeSet<String>>> {
    let Some(first) = world.seats.first() else { return Ok(None) };
    let (status, shown) = http::get(first.admin(), "/cluster").await?;
    if status == 404 {
        return Ok(None);
    }
    let shown: Value = serde_json::from_slice(&shown)?;
    let nodes = shown["nodes"].as_array().context("a cluster without nodes")?;
    let mut homes = BTreeSet::new();
    for channel in &world.channels {
        let body = json!({ "channel": format!("probe{{{channel}}}"), "text": "whose" }).to_string();
        let response = http::ask(http::connect(first.http()).await?, "POST", "/v1/publish", Bytes::from(body)).await?;
        let answer: Value = serde_json::from_slice(&response.into_body().collect().await?.to_bytes())?;
        // Refused as long as the slot has no home.
        let Some((_, pos)) = answer["cursor"].as_str().and_then(position) else { continue };
        let process = format!("{:010x}", pos.epoch.tag().get());
        let writer = nodes.iter().find(|node| node["process"] == process.as_str());
        homes.extend(writer.and_then(|node| node["name"].as_str()).map(str::to_owned));
    }
    Ok(Some(homes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_is_the_home_of_a_channel_whose_follower_is_the_next_one() {
        for nodes in 1..=5 {
            let channels = channels(nodes, 6).unwrap();
            let (view, tags) = view(nodes).unwrap();
            for (number, channel) in channels.iter().enumerate() {
                let place = view.place(Slot::of(&ChannelName::parse(channel).unwrap())).unwrap();
                assert_eq!(place.home, tags[number % nodes], "{channel} of {nodes}");
                assert_eq!(place.follower, (nodes > 1).then(|| tags[(number + 1) % nodes]), "{channel} of {nodes}");
                assert_eq!(channels.iter().filter(|other| *other == channel).count(), 1);
            }
        }
        assert!(channels(5, 4).is_err(), "one node is nobody's home");
    }
}
