use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::close::CloseReason;
use crate::log::GapReason;

fn metrics() -> Arc<Metrics> {
    Metrics::new(2, Clock::start())
}

fn in_cluster() -> Gauges {
    let namespaces = vec![NamespaceFigures { name: "default".into(), ..NamespaceFigures::default() }];
    Gauges { namespaces, cluster: Some(Box::new(ClusterFigures::sample())), ..Gauges::default() }
}

/// Family → the label names of its series, as rendered.
fn families(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut found = BTreeMap::new();
    let mut histograms = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(found.insert(name.to_owned(), BTreeSet::new()).is_none(), "{name} is typed twice");
            if kind == "histogram" {
                histograms.push(name.to_owned());
            }
        } else if !line.is_empty() && !line.starts_with('#') {
            let series = line.rsplit_once(' ').unwrap().0;
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let family = histograms.iter().find(|h| name.starts_with(h.as_str())).map_or(name, String::as_str).to_owned();
            let names = labels.trim_end_matches('}').split(',').filter_map(|pair| pair.split_once('=')).map(|(name, _)| name.to_owned());
            found.get_mut(&family).unwrap_or_else(|| panic!("{family} has no type")).extend(names.filter(|name| name != "le"));
        }
    }
    found
}

/// The same from the first column of the catalogue's tables: `` `name{label,label}` ``.
fn catalogue() -> BTreeMap<String, BTreeSet<String>> {
    let page = include_str!("../../../docs/OPERATING.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(metric, _)| metric));
    rows.filter(|metric| metric.starts_with("tidings_") || metric.starts_with("process_"))
        .map(|metric| {
            let (name, labels) = metric.split_once('{').unwrap_or((metric, ""));
            (name.to_owned(), labels.trim_end_matches('}').split(',').filter(|l| !l.is_empty()).map(str::to_owned).collect())
        })
        .collect()
}

#[test]
fn the_catalogue_and_the_scrape_agree() {
    let scraped = families(&metrics().render(&in_cluster()));
    let written = catalogue();
    let scraped: Vec<_> = scraped.iter().collect();
    let written: Vec<_> = written.iter().collect();
    assert_eq!(scraped, written, "left: /metrics, right: docs/OPERATING.md");
}

/// The tables' rows: metric, what it is, what moves it, what to do.
fn rows() -> Vec<(&'static str, [&'static str; 3])> {
    let page = include_str!("../../../docs/OPERATING.md");
    let lines = page.lines().filter(|line| line.starts_with("| `tidings_") || line.starts_with("| `process_"));
    let rows = lines.map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [metric, what, moves, to_do] = cells[..] else { panic!("four cells are due: {line}") };
        (metric.trim_matches('`').split('{').next().unwrap(), [what, moves, to_do])
    });
    rows.collect()
}

#[test]
fn the_catalogue_says_of_each_metric_what_moves_it_and_what_to_do() {
    for (metric, cells) in rows() {
        assert!(cells.iter().all(|cell| !cell.is_empty()), "{metric}: {cells:?}");
        // Where there is nothing to be done, `-` says so; what it is and what moves it can always be said.
        assert!(cells[0] != "-", "{metric}");
    }
}

#[test]
fn the_catalogue_explains_every_value_of_a_label() {
    // Fronts are said once for all, and errors on another page. The rest are numbers and names.
    const ELSEWHERE: [&str; 6] = ["front", "le", "shard", "version", "namespace", "peer"];
    let page = include_str!("../../../docs/OPERATING.md");
    let codes: Vec<_> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
    let rows: BTreeMap<_, _> = rows().into_iter().map(|(name, cells)| (name, cells.concat())).collect();
    // Said once, in the first row that has them.
    let once = |label: &str| match label {
        "bound" => rows["tidings_bound_used"].as_str(),
        "purpose" => &rows["tidings_cluster_link_up"],
        "direction" => &rows["tidings_cluster_frames_carried_total"],
        "source" => &rows["tidings_publishes_answered_total"],
        "listener" => &rows["tidings_tls_handshakes_ended_total"],
        // The row names some, and the page that has them all.
        "cause" => include_str!("../../../docs/SECURITY.md"),
        _ => "",
    };
    let mut missing = BTreeSet::new();
    for line in metrics().render(&in_cluster()).lines().filter(|line| !line.starts_with('#')) {
        let Some((name, labels)) = line.rsplit_once(' ').and_then(|(series, _)| series.trim_end_matches('}').split_once('{')) else {
            continue;
        };
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).filter(|name| rows.contains_key(name));
        let cells = &rows[family.unwrap_or(name)];
        for (label, value) in labels.split(',').filter_map(|pair| pair.split_once('=')) {
            let value = value.trim_matches('"');
            let is_code = name == "tidings_publishes_answered_total" && codes.contains(&value);
            let is_explained = |cells: &str| cells.contains(&format!("`{value}`"));
            if !ELSEWHERE.contains(&label) && !is_code && !is_explained(cells) && !is_explained(once(label)) {
                missing.insert(format!("{name}: {label} {value}"));
            }
        }
    }
    assert_eq!(missing, BTreeSet::new());
    assert!(Front::ALL.iter().all(|front| page.contains(&format!("`{}`", front.as_str()))));
}

#[test]
fn every_family_has_help() {
    let text = metrics().render(&in_cluster());
    for name in families(&text).keys() {
        assert!(text.contains(&format!("# HELP {name} ")), "{name}");
    }
}

#[test]
fn every_series_is_there_before_anything_happens() {
    let metrics = metrics();
    let series = |text: &str| -> BTreeSet<String> {
        text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' ')).map(|(s, _)| s.to_owned()).collect()
    };
    let before = series(&metrics.render(&Gauges::default()));
    for group in [metrics.shard(0), metrics.shard(1), metrics.off_shard()] {
        exercise(group);
    }
    for source in Source::ALL {
        metrics.published(source, Ok(false), 10);
        metrics.published(source, Ok(true), 10);
        ErrorCode::ALL.iter().for_each(|&code| metrics.published(source, Err(code), 10));
    }
    RefusedConnection::ALL.iter().for_each(|&reason| metrics.connection_refused(reason));
    ProtocolError::ALL.iter().for_each(|&kind| metrics.protocol_error(kind));
    metrics.probed(true);
    metrics.probed(false);
    metrics.evicted(1);
    Denied::ALL.iter().for_each(|&cause| metrics.denied(cause));
    metrics.publish_waited(Duration::from_millis(3));
    assert_eq!(series(&metrics.render(&Gauges::default())), before);
}

fn exercise(group: &ShardMetrics) {
    group.connection_accepted();
    group.connection_closed();
    ProtocolError::ALL.iter().for_each(|&kind| group.protocol_error(kind));
    group.wrote(1);
    group.page_read(3);
    group.inbox_overflowed();
    group.taken(Duration::from_micros(120));
    group.worked(Duration::from_secs(2));
    group.holds(1_000, 2_000, 3_000);
    group.behind_longest(3);
    group.lacked_most(30);
    group.listeners_joined(2);
    group.listeners_left(1);
    for front in Front::ALL {
        group.session_opened(front);
        CloseReason::ALL.iter().for_each(|&reason| group.session_closed(front, reason));
        GapReason::ALL.iter().for_each(|&reason| group.gap(front, reason));
        group.resumed(front, true);
        group.resumed(front, false);
        group.fell_behind(front);
        group.caught_up(front);
        group.behind_began(front);
        group.behind_ended(front);
        group.delivered(front, 5, 500);
        group.latency(front, Duration::from_micros(120), 5);
    }
}

#[test]
fn shards_are_summed() {
    let metrics = metrics();
    metrics.shard(0).session_opened(Front::Sse);
    metrics.shard(1).session_opened(Front::Sse);
    metrics.off_shard().session_opened(Front::Sse);
    metrics.shard(1).session_closed(Front::Sse, CloseReason::TooSlow);
    metrics.shard(0).delivered(Front::Sse, 7, 70);
    metrics.shard(1).latency(Front::Sse, Duration::from_micros(120), 7);
    metrics.shard(0).behind_began(Front::Sse);
    metrics.shard(1).behind_began(Front::Sse);
    metrics.shard(1).behind_ended(Front::Sse);
    metrics.shard(0).behind_longest(7);
    metrics.shard(1).behind_longest(5);
    metrics.shard(1).worked(Duration::from_millis(1500));
    metrics.shard(1).taken(Duration::from_micros(60));
    metrics.reached(Stage::Link, Duration::from_micros(60));
    metrics.bound(Bound::ShardInbox, 1024);
    let text = metrics.render(&Gauges { channels: 11, inbox_depths: vec![2, 4], ready: true, ..Gauges::default() });
    for line in [
        "tidings_sessions_opened_total{front=\"sse\"} 3",
        "tidings_sessions{front=\"sse\"} 2",
        "tidings_sessions_closed_total{front=\"sse\",reason=\"too_slow\"} 1",
        "tidings_messages_delivered_total{front=\"sse\"} 7",
        "tidings_messages_delivered_bytes_total{front=\"sse\"} 70",
        "tidings_delivery_latency_seconds_bucket{front=\"sse\",le=\"0.0001\"} 0",
        "tidings_delivery_latency_seconds_bucket{front=\"sse\",le=\"0.00015\"} 7",
        "tidings_delivery_latency_seconds_bucket{front=\"sse\",le=\"+Inf\"} 7",
        "tidings_delivery_latency_seconds_sum{front=\"sse\"} 0.00084",
        "tidings_delivery_latency_seconds_count{front=\"sse\"} 7",
        "tidings_publish_wait_seconds_count 0",
        "tidings_shard_inbox_depth{shard=\"1\"} 4",
        "tidings_sessions_behind{front=\"sse\"} 1",
        "tidings_sessions_behind_seconds 7",
        "tidings_shard_busy_seconds_total{shard=\"1\"} 1.5",
        "tidings_delivery_stage_seconds_bucket{stage=\"shard\",le=\"0.00007\"} 1",
        "tidings_delivery_stage_seconds_bucket{stage=\"link\",le=\"0.00007\"} 1",
        "tidings_delivery_stage_seconds_count{stage=\"commit\"} 0",
        "tidings_bound_used{bound=\"shard_inbox\"} 4",
        "tidings_bound_limit{bound=\"shard_inbox\"} 1024",
        "tidings_bound_used{bound=\"channels\"} 11",
        "tidings_channels 11",
        "tidings_ready 1",
        "tidings_draining 0",
    ] {
        assert!(text.lines().any(|known| known == line), "{line} is missing in\n{text}");
    }
}

#[test]
fn who_is_behind_is_counted_wherever_its_socket_is() {
    let metrics = metrics();
    metrics.shard(0).behind_began(Front::Sse);
    metrics.shard(1).behind_longest(5);
    metrics.shard(0).lacked_most(40);
    let elsewhere = (Duration::from_millis(7900), 30);
    let mut gauges = Gauges { behind_elsewhere_longest: elsewhere.0, behind_elsewhere_lacked_most: elsewhere.1, ..Gauges::default() };
    gauges.behind_elsewhere[Front::Sse.index()] = 2;
    gauges.behind_elsewhere[Front::Grpc.index()] = 4;
    let text = metrics.render(&gauges);
    for line in [
        "tidings_sessions_behind{front=\"sse\"} 3",
        "tidings_sessions_behind{front=\"grpc\"} 4",
        "tidings_sessions_behind{front=\"websocket\"} 0",
        "tidings_sessions_behind_seconds 7",
        "tidings_sessions_behind_messages 40",
    ] {
        assert!(text.lines().any(|known| known == line), "{line} is missing in\n{text}");
    }
    let seen = metrics.snapshot(&gauges);
    assert_eq!((seen.behind.iter().sum::<u64>(), seen.behind_longest), (7, 7));
    assert_eq!(metrics.snapshot(&Gauges::default()).behind_longest, 5);
    gauges.behind_elsewhere_lacked_most = 50;
    assert_eq!(metrics.snapshot(&gauges).lacked_most, 50);
}

#[test]
fn a_node_that_left_the_cluster_leaves_no_series_behind() {
    let metrics = metrics();
    let with_peer = metrics.render(&in_cluster());
    assert!(with_peer.contains("tidings_cluster_link_up{peer=\"node-2\",purpose=\"live\"} 1\n"), "{with_peer}");
    assert!(with_peer.contains("tidings_cluster_link_up{peer=\"node-2\",purpose=\"bulk\"} 0\n"));
    assert!(with_peer.contains("tidings_cluster_link_rtt_seconds{peer=\"node-2\"} 0.00025\n"));
    assert!(with_peer.contains("tidings_cluster_members{state=\"silent\"} 1\n"));
    assert!(with_peer.contains("tidings_cluster_link_queued_bytes{peer=\"node-2\",purpose=\"live\"} 17\n"));
    assert!(with_peer.contains("tidings_bound_used{bound=\"cluster_link\"} 9\n"), "what the other end asked for has no bound");
    let alone = Gauges { cluster: Some(Box::default()), ..Gauges::default() };
    assert!(!metrics.render(&alone).contains("node-2"));
    assert!(!metrics.render(&Gauges::default()).contains("tidings_cluster_"), "a node alone has no figures of a cluster");
}

#[test]
fn two_nodes_in_one_process_count_for_themselves() {
    let (one, two) = (metrics(), metrics());
    one.published(Source::Http, Ok(false), 5);
    let line = "tidings_publishes_answered_total{source=\"http\",outcome=\"kept\"} 1";
    assert!(one.render(&Gauges::default()).contains(line));
    assert!(!two.render(&Gauges::default()).contains(line));
}
