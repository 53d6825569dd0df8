// The first page to open at night: are clients served, how fast, and if not, what kind of trouble is it.

const quantile = (q, by = "") =>
  `histogram_quantile(${q}, sum by (${by}le) (rate(tidings_delivery_latency_seconds_bucket{$of}[$rate])))`;

export const overview = {
  uid: "tidings-overview",
  title: "Tidings / Overview",
  about: "All chosen nodes together: who listens, what is delivered and how fast, and every kind of trouble with the number that shows it.",
  links: [["Node", "tidings-node"], ["Cluster", "tidings-cluster"], ["Namespaces", "tidings-namespaces"]],
  rows: [
    {
      title: "At a glance",
      panels: [
        {
          title: "Nodes that deliver",
          about: "Nodes whose self-probe passes and that are not leaving, as a share of those that should be there. Red: clients cannot be served somewhere; see the alert TidingsDown or TidingsNotReady.",
          kind: "stat", width: 3, unit: "percentunit", decimals: 0, warn: [1, 0.99],
          queries: { "": "sum(tidings_ready{$of} or vector(0)) / count(up{$of})" },
        },
        {
          title: "Alerts firing",
          about: "Alerts of docs/alerts that fire now, if this data source evaluates them. Each has its page in docs/OPERATING.md.",
          kind: "stat", width: 3, unit: "none", decimals: 0, warn: [1, 3],
          queries: { "": 'count(ALERTS{alertname=~"Tidings.+", alertstate="firing", $of}) or vector(0)' },
        },
        {
          title: "Listening now",
          about: "Sessions of all fronts. A long-poll counts while it is held.",
          kind: "stat", width: 3, unit: "short",
          queries: { "": "sum(tidings_sessions{$of})" },
        },
        {
          title: "Delivered",
          about: "Messages handed to sockets in a second: publishes times listeners.",
          kind: "stat", width: 3, unit: "cps",
          queries: { "": "sum(rate(tidings_messages_delivered_total{$of}[$rate]))" },
        },
        {
          title: "Published",
          about: "Publishes that were kept in a second. Repeats and refusals are not in it.",
          kind: "stat", width: 3, unit: "cps",
          queries: { "": 'sum(rate(tidings_publishes_answered_total{outcome="kept", $of}[$rate]))' },
        },
        {
          title: "Latency, median",
          about: "Half of the messages were written to their socket within this time of their publish. Rises when CPU is short.",
          kind: "stat", width: 3, unit: "s", warn: [0.1, 0.25],
          queries: { "": quantile(0.5) },
        },
        {
          title: "Latency, 99 %",
          about: "All but one in a hundred. Slow clients are in it, so a high value with a low median is theirs.",
          kind: "stat", width: 3, unit: "s", warn: [1, 5],
          queries: { "": quantile(0.99) },
        },
        {
          title: "Behind",
          about: "Share of the sessions that are not caught up, or whose socket is full.",
          kind: "stat", width: 3, unit: "percentunit", decimals: 1, warn: [0.05, 0.1],
          queries: { "": "sum(tidings_sessions_behind{$of}) / clamp_min(sum(tidings_sessions{$of}), 1)" },
        },
      ],
    },
    {
      title: "Who listens",
      panels: [
        {
          title: "Sessions by front",
          about: "Clients listening now. A drop that is not a drain: look beside it for the reason of the closes.",
          unit: "short", stack: true,
          queries: { "{{front}}": "sum by (front) (tidings_sessions{$of})" },
        },
        {
          title: "Sessions opened",
          about: "Clients that began to listen. Every poll is one; for streams, a rate far above new visitors means that clients reconnect in a loop.",
          unit: "cps",
          queries: { "{{front}}": "sum by (front) (rate(tidings_sessions_opened_total{$of}[$rate]))" },
        },
        {
          title: "Sessions closed, by reason",
          about: "client_gone: the client left. finished: a poll was answered. draining: the node leaves. too_slow: a channel without history moved on, or too much waits for slow readers. lagged: one whose namespace closes then did. stopped: the node ended.",
          unit: "cps",
          queries: { "{{reason}}": "sum by (reason) (rate(tidings_sessions_closed_total{$of}[$rate]))" },
        },
      ],
    },
    {
      title: "Delivery",
      panels: [
        {
          title: "Delivered messages by front",
          about: "Messages handed to sockets.",
          unit: "cps", stack: true,
          queries: { "{{front}}": "sum by (front) (rate(tidings_messages_delivered_total{$of}[$rate]))" },
        },
        {
          title: "Delivered bytes by front",
          about: "Bytes of the wire form handed to sockets: plan the network by it.",
          unit: "binBps", stack: true,
          queries: { "{{front}}": "sum by (front) (rate(tidings_messages_delivered_bytes_total{$of}[$rate]))" },
        },
        {
          title: "Published, by source",
          about: "Publishes that were kept, by the way they came in.",
          unit: "cps", stack: true,
          queries: { "{{source}}": 'sum by (source) (rate(tidings_publishes_answered_total{outcome="kept", $of}[$rate]))' },
        },
        {
          title: "Delivery latency",
          about: "How many messages took how long from the accepted publish to the written socket. A band that rises as a whole: CPU is short. A second band above the first: slow clients.",
          kind: "heatmap", width: 12, unit: "short",
          queries: { "{{le}}": "sum by (le) (increase(tidings_delivery_latency_seconds_bucket{$of}[$rate]))" },
        },
        {
          title: "Delivery latency, percentiles",
          about: "From the accepted publish to the written socket, and the part of it until the shard took the message in. Shard and median rise together: CPU is short. Only the 99 % rises: slow clients.",
          width: 12, unit: "s", log: true,
          queries: {
            "50 %": quantile(0.5),
            "90 %": quantile(0.9),
            "99 %": quantile(0.99),
            "at the shard, 99 %": 'histogram_quantile(0.99, sum by (le) (rate(tidings_delivery_stage_seconds_bucket{stage="shard", $of}[$rate])))',
          },
        },
        {
          title: "Latency by front, 99 %",
          about: "One front far above the others: the proxy or the clients of that front.",
          width: 12, unit: "s", log: true,
          queries: { "{{front}}": quantile(0.99, "front, ") },
        },
        {
          title: "Latency by node, median",
          about: "One node far above the others: look at its own dashboard.",
          width: 12, unit: "s", log: true,
          queries: { "{{instance}}": quantile(0.5, "instance, ") },
        },
      ],
    },
    {
      title: "Clients in trouble",
      panels: [
        {
          title: "Behind, by front",
          about: "Sessions that are not caught up now, or whose socket is full; over HTTP/2 and gRPC those that have not taken all there was for a second. They read the log at their own pace and hold nobody up.",
          unit: "short", stack: true,
          queries: { "{{front}}": "sum by (front) (tidings_sessions_behind{$of})" },
        },
        {
          title: "Fell behind, caught up",
          about: "How often sessions lose the head and reach it again. Caught up far below fell behind: clients are slower than the stream.",
          unit: "cps",
          queries: {
            "fell behind": "sum(rate(tidings_sessions_fell_behind_total{$of}[$rate]))",
            "caught up": "sum(rate(tidings_sessions_caught_up_total{$of}[$rate]))",
          },
        },
        {
          title: "Behind for",
          about: "For how long the session that has been behind for longest has been so. One stopped client is enough: it is trouble only together with many that are behind.",
          unit: "s",
          queries: { "{{instance}}": "tidings_sessions_behind_seconds{$of}" },
        },
        {
          title: "Behind by",
          about: "Messages that the session lacks that lacks most. Falling: it catches up. Near what the histories keep: it is told of a gap next.",
          unit: "short", log: true,
          queries: { "{{instance}}": "tidings_sessions_behind_messages{$of}" },
        },
        {
          title: "Gaps, by reason",
          about: "Clients told that messages are missing. window: the history is too short for their absence. restart: a node forgot its histories. failover: a node of the cluster died, and something acknowledged may be lost. cleared: somebody cleared the channel. unknown: a position nobody knows. conflated is no loss: where only the newest counts, older ones were passed over.",
          unit: "cps", stack: true,
          queries: { "{{reason}}": "sum by (reason) (rate(tidings_gaps_declared_total{$of}[$rate]))" },
        },
        {
          title: "Resumes",
          about: "Clients that came back with a cursor: recovered without a loss, or with a gap, whose reason is in the panel beside this one. Many of window: lengthen the history. failover: look for what died. conflated: as the namespace wants it.",
          unit: "cps", stack: true,
          queries: { "{{outcome}}": "sum by (outcome) (rate(tidings_sessions_resumed_total{$of}[$rate]))" },
        },
        {
          title: "Protocol errors",
          about: "Peers that broke their protocol. Some are normal on a public port: scanners, broken proxies.",
          unit: "cps", stack: true,
          queries: { "{{kind}}": "sum by (kind) (rate(tidings_protocol_errors_seen_total{$of}[$rate]))" },
        },
      ],
    },
    {
      title: "What is refused, and how full it is",
      panels: [
        {
          title: "Publishes refused, by reason",
          about: "overloaded: publishers waited in vain for room, or a bound is reached. unconfirmed: nobody can say whether it is published, because the node that orders the channel does not answer. The others are the publisher's own fault. Repeats that were recognised are here as duplicate, and are no fault.",
          unit: "cps", stack: true,
          queries: { "{{outcome}}": 'sum by (outcome) (rate(tidings_publishes_answered_total{outcome!="kept", $of}[$rate]))' },
        },
        {
          title: "Publishes held",
          about: "How many publishes wait for room at any moment. Above 0 for long: more is published than the shards deliver.",
          unit: "short",
          queries: { "{{instance}}": "rate(tidings_publish_wait_seconds_sum{$of}[$rate])" },
        },
        {
          title: "Connections and calls refused",
          about: "limit, open_files: the node takes no more connections. address, user: one address or one user has as many as it may. unread: too much waits to be read. draining: it leaves. rate: more in a second than one may. no key: calls without a valid key.",
          unit: "cps", stack: true,
          queries: {
            "{{reason}}": "sum by (reason) (rate(tidings_connections_refused_total{$of}[$rate]))",
            "rate {{rate}}": "sum by (rate) (rate(tidings_rates_exceeded_total{$of}[$rate]))",
            "no key": "sum(rate(tidings_auth_calls_refused_total{$of}[$rate]))",
          },
        },
        {
          title: "Bounds",
          about: "How much of each bound is used, on the node where it is fullest. Full histories are normal where memory is the bound; at the others newcomers are refused.",
          width: 12, unit: "percentunit", max: 1, warn: [0.85, 0.95],
          queries: { "{{bound}}": "max by (bound) (tidings_bound_used{$of} / (tidings_bound_limit{$of} > 0))" },
        },
        {
          title: "Busiest shard",
          about: "Share of one core that the busiest shard of each node uses. At 1 whatever comes on top waits.",
          width: 12, unit: "percentunit", max: 1, warn: [0.7, 0.9],
          queries: { "{{instance}}": "max by (instance) (rate(tidings_shard_busy_seconds_total{$of}[$rate]))" },
        },
      ],
    },
  ],
};
