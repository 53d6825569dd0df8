//! What of another configuration can be taken while the node runs, and what must wait for a restart.

use serde_json::Value;

use super::Config;

/// The way from what is in effect to what is wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// What is in effect afterwards.
    pub config: Config,
    /// Keys that change now.
    pub applied: Vec<String>,
    /// Keys that are wanted otherwise and need a restart.
    pub waiting: Vec<String>,
}

impl Config {
    /// What becomes of this configuration when another one is wanted.
    #[must_use]
    pub fn changed_to(&self, wanted: &Self) -> Change {
        let mut config = self.clone();
        let from = wanted.clone();
        config.log.level = from.log.level;
        config.cors = from.cors;
        (config.keys, config.unix_peers, config.certificates) = (from.keys, from.unix_peers, from.certificates);
        (config.tokens, config.signed_urls) = (from.tokens, from.signed_urls);
        config.presence = from.presence;
        (config.sse, config.websocket, config.poll) = (from.sse, from.websocket, from.poll);
        let (drain, of) = (&mut config.drain, from.drain);
        // What clients are told to wait is with the shards.
        (drain.grace, drain.notice, drain.waves) = (of.grace, of.notice, of.waves);
        let (limits, of) = (&mut config.limits, from.limits);
        (limits.connections, limits.publish_wait) = (of.connections, of.publish_wait);
        (limits.channels, limits.channels_silent) = (of.channels, of.channels_silent);
        (limits.history_bytes, limits.dedupe_ids) = (of.history_bytes, of.dedupe_ids);
        (limits.subscribe_channels, limits.subscribe_slots) = (of.subscribe_channels, of.subscribe_slots);
        // Whether a listener speaks TLS at all is settled when it is opened.
        for (tls, of) in
            [(&mut config.http.tls, from.http.tls), (&mut config.grpc.tls, from.grpc.tls), (&mut config.admin.tls, from.admin.tls)]
        {
            if tls.is_on() && of.is_on() {
                *tls = of;
            }
        }
        config.namespaces = from.namespaces;
        // A channel's history is laid out when it is made, and what nodes owe each other is agreed on at the start.
        for (name, known) in self.namespaces.iter() {
            if let Some(namespace) = config.namespaces.listed_mut(name) {
                (namespace.history, namespace.conflate) = (known.history.clone(), known.conflate);
                (namespace.replicas, namespace.ack, namespace.min_copies) = (known.replicas, known.ack, known.min_copies);
            }
        }
        Change { applied: difference(self, &config), waiting: difference(&config, wanted), config }
    }
}

/// The keys whose values differ. Never the values: some are secrets.
fn difference(one: &Config, other: &Config) -> Vec<String> {
    let mut found = Vec::new();
    let tree = |config| serde_json::to_value(config).unwrap_or_default();
    compare(&tree(one), &tree(other), "", &mut found);
    found
}

fn compare(one: &Value, other: &Value, path: &str, found: &mut Vec<String>) {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            for (key, value) in one {
                compare(value, other.get(key).unwrap_or(&Value::Null), &below(key), found);
            }
            found.extend(other.keys().filter(|key| !one.contains_key(*key)).map(|key| below(key)));
        }
        (one, other) if one != other => found.push(path.to_owned()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::namespace;

    #[test]
    fn what_can_change_changes_and_the_rest_is_named() {
        let before = Config::default();
        assert_eq!(before.changed_to(&before), Change { config: before.clone(), applied: Vec::new(), waiting: Vec::new() });
        let mut wanted = before.clone();
        wanted.log.level = "debug".to_owned();
        wanted.cors.origins = vec!["https://app.example".parse().unwrap()];
        (wanted.limits.channels, wanted.limits.batch_messages) = (7, 8);
        wanted.http.listen.set_port(9);
        wanted.http.tls.certificate = Some("a.pem".into());
        let mut default = namespace::Config { payload_bytes: 10, ..Default::default() };
        default.history.size = 11;
        wanted.namespaces.insert("default", default);
        wanted.namespaces.insert("new", namespace::Config::default());
        let change = before.changed_to(&wanted);
        let applied = ["cors.origins", "limits.channels", "log.level", "namespaces.default.payload_bytes", "namespaces.new"];
        let waiting = ["http.listen", "http.tls.certificate", "limits.batch_messages", "namespaces.default.history.size"];
        let sorted = |mut keys: Vec<String>| {
            keys.sort();
            keys
        };
        assert_eq!(sorted(change.applied), applied);
        assert_eq!(sorted(change.waiting), waiting);
        // The same again changes nothing, and names the same.
        let again = change.config.changed_to(&wanted);
        assert_eq!((again.applied.len(), sorted(again.waiting)), (0, waiting.map(str::to_owned).to_vec()));
    }
}
