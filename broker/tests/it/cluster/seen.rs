//! What nodes show of their cluster: metrics, the admin API, gRPC, and the channels of all of them.

use std::time::Duration;

use serde_json::Value;
use tidings::broker::{ChannelsQuery, Subscribe};
use tidings_sdk::Client;

use super::control::{close, names, now, order};
use super::scene::Cluster;
use crate::raw::{ask, request};
use crate::support::{Scene, draft, soon};

fn admin(scene: &Scene) -> std::net::SocketAddr {
    scene.node.addresses().admin
}

async fn json(scene: &Scene, path: &str) -> Value {
    serde_json::from_slice(&ask(admin(scene), request("GET", path, admin(scene), "")).await.body).unwrap()
}

/// The value of one series; the sum of all whose beginning it is.
async fn metric(scene: &Scene, series: &str) -> f64 {
    let text = ask(admin(scene), request("GET", "/metrics", admin(scene), "")).await;
    let text = String::from_utf8(text.body.to_vec()).unwrap();
    let values = text.lines().filter(|line| line.starts_with(series)).map(|line| line.rsplit_once(' ').unwrap().1);
    values.map(|value| value.parse::<f64>().unwrap()).sum()
}

async fn publish(cluster: &Cluster, channels: usize) {
    for (number, at) in (0..channels).zip((0..cluster.nodes.len()).cycle()) {
        cluster.nodes[at].node.broker().publish(draft(&format!("c-{number:02}"), "x")).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_between_nodes_is_counted_on_each_of_them() {
    let cluster = Cluster::start(3).await;
    let mut listener = cluster.nodes[0].node.broker().subscribe(Subscribe::live(["c-00"]).unwrap()).await.unwrap();
    publish(&cluster, 48).await;
    soon("nothing came", listener.next()).await.unwrap();
    let mut homes = 0.0;
    for scene in &cluster.nodes {
        assert!((metric(scene, "tidings_cluster_members{state=\"active\"}").await - 3.0).abs() < 0.1);
        assert!(metric(scene, "tidings_cluster_active").await > 0.0 && metric(scene, "tidings_cluster_degraded").await < 0.5);
        assert!((metric(scene, "tidings_cluster_link_up").await - 6.0).abs() < 0.1, "three connections to each of two nodes");
        assert!(metric(scene, "tidings_cluster_link_rtt_seconds").await > 0.0);
        assert!(metric(scene, "tidings_cluster_links_made_total").await >= 6.0);
        assert!(metric(scene, "tidings_cluster_slot_frames_carried_total{kind=\"forward\",direction=\"said\"}").await > 0.0);
        assert!(metric(scene, "tidings_cluster_publishes_answered_total{outcome=\"done\"}").await >= 16.0);
        assert!(metric(scene, "tidings_cluster_slots_opened_total").await > 0.0);
        assert!(metric(scene, "tidings_delivery_stage_seconds_count{stage=\"publish\"}").await >= 0.0);
        assert!(metric(scene, "tidings_namespace_publishes_kept_total{namespace=\"default\"}").await >= 16.0);
        let text = ask(admin(scene), request("GET", "/metrics", admin(scene), "")).await.body;
        let text = String::from_utf8(text.to_vec()).unwrap();
        let limits: Vec<&str> = text.lines().filter(|line| line.starts_with("tidings_bound_limit{")).collect();
        // Off unless they are asked for, and the log is the daemon's.
        let is_off = |line: &str| ["connections_per_address", "connections_per_user", "log_lines"].iter().any(|name| line.contains(name));
        assert!(limits.len() > 15 && limits.iter().all(|line| line.ends_with(" 0") == is_off(line)), "{limits:#?}");
        homes += metric(scene, "tidings_cluster_slots{part=\"home\"}").await;
    }
    assert!(homes >= 40.0, "almost every channel has a slot of its own: {homes}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channels_of_all_nodes_are_listed_on_each_once_and_in_pages() {
    let cluster = Cluster::start(3).await;
    publish(&cluster, 30).await;
    for scene in &cluster.nodes {
        let mut seen = Vec::new();
        let mut query = ChannelsQuery { prefix: "c-".into(), after: None, limit: 7 };
        loop {
            let page = scene.node.broker().channels_everywhere(&query).await;
            assert_eq!(page.silent_nodes, Vec::<String>::new());
            assert!(page.channels.iter().all(|info| (info.offset, info.messages) == (1, 1)), "{page:?}");
            seen.extend(page.channels.iter().map(|info| info.channel.to_string()));
            query.after = page.next;
            if query.after.is_none() {
                break;
            }
        }
        assert_eq!(seen, (0..30).map(|number| format!("c-{number:02}")).collect::<Vec<_>>());
    }
    let address = cluster.nodes[1].node.addresses().http;
    let answer = ask(address, request("GET", "/v1/channels?prefix=c-1&limit=100", address, "")).await;
    let listed: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!((listed["channels"].as_array().unwrap().len(), &listed["silent_nodes"]), (10, &Value::Null), "{listed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_tells_backends_operators_and_its_health_check_how_the_cluster_looks() {
    let cluster = Cluster::start(2).await;
    publish(&cluster, 20).await;
    let client = Client::connect(&format!("http://{}", cluster.nodes[1].node.addresses().grpc.unwrap())).await.unwrap();
    let told = client.cluster_info().await.unwrap();
    assert_eq!((told.is_clustered, told.condition.as_str(), told.nodes.len()), (true, "whole", 2), "{told:?}");
    assert!(told.nodes[0].is_self && told.nodes[0].name == "node-1" && told.nodes[1].is_heard, "{told:?}");
    assert_eq!(
        told.nodes.iter().map(|node| (node.leads, node.state.as_str())).fold(0, |sum, (leads, state)| {
            assert_eq!(state, "active");
            sum + leads
        }),
        16_384
    );
    let page = json(&cluster.nodes[1], "/api/cluster").await;
    assert_eq!((page["is_clustered"].as_bool(), page["condition"].as_str()), (Some(true), Some("whole")));
    assert_eq!((page["links"][0]["to"].as_str(), page["links"][0]["is_up"].as_bool()), (Some("node-0"), Some(true)), "{page}");
    assert!(page["in_use"]["leads"].as_u64().unwrap() + page["in_use"]["follows"].as_u64().unwrap() >= 18, "{page}");
    assert_eq!(json(&cluster.nodes[1], "/readyz").await, serde_json::json!({"ready": true, "cluster": "whole"}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_looks_for_the_others_is_not_ready_and_says_so() {
    let mut cluster = Cluster { nodes: Vec::new() };
    // Nobody is there.
    cluster.add(|config| config.cluster.seeds = vec!["127.0.0.1:9".into()]).await;
    soon("it says that it joins", async {
        loop {
            let told = json(&cluster.nodes[0], "/readyz").await;
            if told["reason"] == "joining" && told["cluster"] == "joining" {
                return;
            }
            assert_eq!(told["ready"], false, "{told}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_of_a_name_that_is_taken_is_not_ready_and_hides_nobody_and_both_sides_count_it() {
    let mut cluster = Cluster { nodes: Vec::new() };
    for _ in 0..2 {
        cluster.add(close).await;
    }
    cluster.settle().await;
    cluster
        .add(|config| {
            close(config);
            config.cluster.node = Some("node-1".into());
        })
        .await;
    soon("it was let in", async {
        loop {
            let told = json(&cluster.nodes[2], "/readyz").await;
            let refused =
                metric(&cluster.nodes[0], "tidings_cluster_greetings_refused_total{reason=\"duplicate_name\",by=\"this_node\"}").await;
            if told["reason"] == "not_admitted" && refused > 0.0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    assert!(metric(&cluster.nodes[2], "tidings_cluster_greetings_refused_total{reason=\"duplicate_name\",by=\"other_node\"}").await > 0.0);
    // The one that was there first is asked and shown as before, however often the others are told of the second one.
    let watched = tokio::time::Instant::now() + Duration::from_secs(2);
    while tokio::time::Instant::now() < watched {
        let done =
            order(cluster.nodes[0].node.addresses().http, "/v1/revoke", serde_json::json!({ "user": "ann", "until": now() + 600 })).await;
        assert_eq!((names(&done["reached"]), &done["missed"]), (vec!["node-0".into(), "node-1".into()], &serde_json::json!([])), "{done}");
        let told = json(&cluster.nodes[0], "/cluster").await;
        assert_eq!((told["nodes"][1]["name"].as_str(), told["nodes"][1]["state"].as_str()), (Some("node-1"), Some("active")), "{told}");
        assert!(metric(&cluster.nodes[0], "tidings_cluster_members{state=\"ended\"}").await < 0.5, "nobody is missing");
    }
}
