// What a single node does with its threads, its memory and its sockets. Several nodes can be compared: each is a line.

export const node = {
  uid: "tidings-node",
  title: "Tidings / Node",
  about: "One node, or several side by side: CPU, memory by what holds it, sockets, shards, channels and histories.",
  links: [["Overview", "tidings-overview"], ["Cluster", "tidings-cluster"], ["Namespaces", "tidings-namespaces"]],
  rows: [
    {
      title: "State",
      panels: [
        {
          title: "State",
          about: "1: the node delivers. 0: its self-probe fails, or it is leaving.",
          kind: "stat", width: 4, unit: "bool_yes_no", warn: [1, 0.5], text: "value_and_name",
          queries: { "{{instance}} ready": "tidings_ready{$of}" },
        },
        {
          title: "Leaving",
          about: "1: the node drains after a stop signal.",
          kind: "stat", width: 4, unit: "bool_yes_no", text: "value_and_name",
          queries: { "{{instance}}": "tidings_draining{$of}" },
        },
        {
          title: "Version",
          about: "Which version runs where.",
          kind: "stat", width: 4, unit: "none", text: "name",
          queries: { "{{instance}} {{version}}": "tidings_build_info{$of}" },
        },
        {
          title: "Up since",
          about: "Time since the process started. A node that is alone forgets the histories with each start.",
          kind: "stat", width: 4, unit: "s", text: "value_and_name",
          queries: { "{{instance}}": "time() - process_start_time_seconds{$of}" },
        },
        {
          title: "Probe passed",
          about: "Time since the node last got a message back that it published to itself. Above 10 s it is not ready.",
          kind: "stat", width: 4, unit: "s", warn: [5, 10], text: "value_and_name",
          queries: { "{{instance}}": "tidings_probe_passed_age_seconds{$of}" },
        },
        {
          title: "Scrape",
          about: "How long Prometheus waited for /metrics.",
          kind: "stat", width: 4, unit: "s", warn: [0.5, 2], text: "value_and_name",
          queries: { "{{instance}}": "scrape_duration_seconds{$of}" },
        },
      ],
    },
    {
      title: "Runtime",
      panels: [
        {
          title: "CPU",
          about: "Cores used by the process. Per delivery it should stay flat.",
          unit: "short",
          queries: { "{{instance}}": "rate(process_cpu_seconds_total{$of}[$rate])" },
        },
        {
          title: "CPU per delivery",
          about: "Rises when messages are written one by one instead of joined, or when many sessions read the log.",
          unit: "s", log: true,
          queries: {
            "{{instance}}":
              "rate(process_cpu_seconds_total{$of}[$rate]) / (sum by (job, instance) (rate(tidings_messages_delivered_total{$of}[$rate])) > 0)",
          },
        },
        {
          title: "Configuration",
          about: "Reloads by result, keys that wait for a restart, whether the file cannot be used, and hours since the last reload.",
          unit: "short",
          queries: {
            "{{instance}} {{result}}": "tidings_config_reloads_tried_total{$of}",
            "{{instance}} keys waiting": "tidings_config_keys_waiting{$of}",
            "{{instance}} refused": "tidings_config_refused{$of}",
            "{{instance}} hours": "clamp_max((time() - tidings_config_applied_timestamp_seconds{$of}) / 3600, 10000)",
          },
        },
        {
          title: "Lines left out of the log",
          about: "flood: more than log.lines_per_second of one event. queue_full: nobody reads the log fast enough, and what it says is not whole.",
          unit: "cps",
          queries: { "{{instance}} {{reason}}": "rate(tidings_log_lines_left_out_total{$of}[$rate])" },
        },
        {
          title: "Threads, self-probes",
          about: "Threads are constant after the start. A shard that died is a bug, and its node leaves. Failed probes: the node is overloaded or stuck.",
          unit: "short",
          queries: {
            "{{instance}} threads": "process_threads{$of}",
            "{{instance}} shards died": "tidings_shards_died_total{$of}",
            "{{instance}} probes {{result}} a second": "rate(tidings_probes_made_total{$of}[$rate])",
          },
        },
      ],
    },
    {
      title: "Memory",
      panels: [
        {
          title: "Memory, by what holds it",
          about: "Resident memory of the process, and the parts of it that have a bound. What is left is connections, code and the allocator.",
          width: 12, unit: "bytes",
          queries: {
            "{{instance}} resident": "process_resident_memory_bytes{$of}",
            "{{instance}} histories": "tidings_history_bytes{$of}",
            "{{instance}} rings": "sum by (instance) (tidings_shard_ring_bytes{$of})",
            "{{instance}} encoded for those behind": "sum by (instance) (tidings_shard_cache_bytes{$of})",
          },
        },
        {
          title: "Memory per connection",
          about: "Resident memory that is no history, for each open socket. Settles with many connections; a slow rise at a constant number would be a leak.",
          width: 12, unit: "bytes", log: true,
          queries: {
            "{{instance}}": "(process_resident_memory_bytes{$of} - on (job, instance) tidings_history_bytes{$of}) / on (job, instance) (tidings_connections{$of} > 0)",
          },
        },
      ],
    },
    {
      title: "Sockets",
      panels: [
        {
          title: "Connections",
          about: "Sockets open now, and the most that the public listener takes.",
          unit: "short", log: true,
          queries: {
            "{{instance}} open": "tidings_connections{$of}",
            "{{instance}} limit": "tidings_connections_limit{$of}",
          },
        },
        {
          title: "Open files",
          about: "Descriptors in use, and the soft limit. Connections stop before it; only something else can reach it.",
          unit: "short", log: true,
          queries: {
            "{{instance}} open": "process_open_fds{$of}",
            "{{instance}} limit": "process_max_fds{$of}",
          },
        },
        {
          title: "Files in use",
          about: "Descriptors in use as a share of the soft limit. Near 1 nothing can be accepted, not even a health check; clients alone never get there.",
          unit: "percentunit", max: 1, warn: [0.8, 0.9],
          queries: { "{{instance}}": "process_open_fds{$of} / process_max_fds{$of}" },
        },
        {
          title: "Connections come and go",
          about: "Far more than sessions: somebody connects and asks for nothing.",
          unit: "cps",
          queries: {
            "{{instance}} accepted": "rate(tidings_connections_accepted_total{$of}[$rate])",
            "{{instance}} closed": "rate(tidings_connections_closed_total{$of}[$rate])",
            "{{instance}} refused": "sum by (instance) (rate(tidings_connections_refused_total{$of}[$rate]))",
          },
        },
        {
          title: "TLS handshakes",
          about: "Of all listeners. Failed after a renewal: the chain in the file is not whole. Plaintext: somebody speaks http to a port that speaks TLS.",
          unit: "cps", stack: true,
          queries: { "{{outcome}}": "sum by (outcome) (rate(tidings_tls_handshakes_ended_total{$of}[$rate]))" },
        },
        {
          title: "Certificates",
          about: "Days until the certificate in use expires; 0 for a listener without TLS. Refused: the files on disk changed and cannot be used.",
          unit: "short",
          queries: {
            "{{instance}} {{listener}} days": "clamp_min((tidings_tls_certificate_expires_timestamp_seconds{$of} - time()) / 86400, 0)",
            "{{instance}} {{listener}} refused": "tidings_tls_certificate_stale{$of}",
            "{{result}} reads a second": "sum by (result) (rate(tidings_tls_certificates_read_total{$of}[$rate]))",
          },
        },
        {
          title: "Subscriptions",
          about: "Session and channel pairs: a session on several channels counts several.",
          unit: "short",
          queries: { "{{instance}}": "tidings_subscriptions{$of}" },
        },
        {
          title: "Messages per write",
          about: "Near 1 under high load: CPU goes to system calls instead of messages. Below 1 most writes are heartbeats.",
          unit: "short",
          queries: {
            "{{instance}}":
              "sum by (job, instance) (rate(tidings_messages_delivered_total{$of}[$rate])) / (sum by (job, instance) (rate(tidings_socket_writes_made_total{$of}[$rate])) > 0)",
          },
        },
        {
          title: "Reads of the log",
          about: "Pages read for sessions that are behind, and messages in them. Many pages with few messages each: many clients hang right behind the head.",
          unit: "cps",
          queries: {
            "{{instance}} pages": "rate(tidings_log_pages_read_total{$of}[$rate])",
            "{{instance}} messages": "rate(tidings_log_messages_read_total{$of}[$rate])",
          },
        },
      ],
    },
    {
      title: "Shards",
      panels: [
        {
          title: "Busy",
          about: "Share of one core that each shard's thread uses. At 1 it is full: what comes on top waits.",
          unit: "percentunit", max: 1, warn: [0.7, 0.9],
          queries: { "{{instance}} {{shard}}": "rate(tidings_shard_busy_seconds_total{$of}[$rate])" },
        },
        {
          title: "Connections per shard",
          about: "Even, because new ones go to the emptiest.",
          unit: "short",
          queries: { "{{instance}} {{shard}}": "tidings_shard_connections{$of}" },
        },
        {
          title: "Inbox",
          about: "Messages that wait for each shard or that it has not delivered to everyone. Above half of shard.inbox publishers wait.",
          unit: "short",
          queries: { "{{instance}} {{shard}}": "tidings_shard_inbox_depth{$of}" },
        },
        {
          title: "Inbox overflowed",
          about: "Times a shard gave up its inbox and went on from the log. On all: CPU is short. On one: its connections are the busy ones.",
          unit: "cps",
          queries: { "{{instance}} {{shard}}": "rate(tidings_shard_inbox_overflowed_total{$of}[$rate])" },
        },
        {
          title: "Rings",
          about: "Messages held ready for sessions that a shard has not visited yet. At shard.ring_bytes the inbox fills.",
          unit: "bytes",
          queries: { "{{instance}} {{shard}}": "tidings_shard_ring_bytes{$of}" },
        },
        {
          title: "Taken in within",
          about: "From the accepted publish until the shard took the message: the wait in the inbox and the wake-up.",
          unit: "s", log: true,
          queries: {
            "{{instance}} 50 %": 'histogram_quantile(0.5, sum by (instance, le) (rate(tidings_delivery_stage_seconds_bucket{stage="shard", $of}[$rate])))',
            "{{instance}} 99 %": 'histogram_quantile(0.99, sum by (instance, le) (rate(tidings_delivery_stage_seconds_bucket{stage="shard", $of}[$rate])))',
          },
        },
      ],
    },
    {
      title: "Presence",
      panels: [
        {
          title: "Members",
          about: "Connected: to this node, over all channels with presence. At home: of the channels whose home is here, wherever they are connected.",
          unit: "short",
          queries: {
            "{{instance}} connected": "tidings_presence_connected{$of}",
            "{{instance}} at home": "tidings_presence_members{$of}",
          },
        },
        {
          title: "Members joined and left",
          about: "Far above new visitors: clients are away for longer than the grace and come back. Refused: more than a bound allows.",
          unit: "cps",
          queries: {
            "{{instance}} joined": "rate(tidings_presence_joined_total{$of}[$rate])",
            "{{instance}} left": "rate(tidings_presence_left_total{$of}[$rate])",
            "{{instance}} refused": "rate(tidings_presence_refused_total{$of}[$rate])",
          },
        },
        {
          title: "Memory of members",
          about: "About what the members at home take, with what they say of themselves.",
          unit: "bytes",
          queries: { "{{instance}}": "tidings_presence_bytes{$of}" },
        },
      ],
    },
    {
      title: "Orders from backends",
      panels: [
        {
          title: "Orders, by how far they came",
          about: "Clients disconnected, unsubscribed and revoked by backends. Partly: a node was missed. Refused: no room for a revocation.",
          width: 12, unit: "cps",
          queries: { "{{order}} {{reach}}": "sum by (order, reach) (rate(tidings_control_orders_given_total{$of}[$rate]))" },
        },
        {
          title: "Sessions that orders can find",
          about: "Those that show a user or a token's id. Each takes about 450 bytes of the node's register.",
          width: 12, unit: "short",
          queries: { "{{instance}}": "tidings_control_sessions{$of}" },
        },
      ],
    },
    {
      title: "Channels and histories",
      panels: [
        {
          title: "Channels",
          about: "Channels with state. Near the bound: names with an id in them that are never used again.",
          unit: "short",
          queries: { "{{instance}}": "tidings_channels{$of}" },
        },
        {
          title: "Messages in the histories",
          about: "Messages kept for those who resume or ask.",
          unit: "short",
          queries: { "{{instance}}": "tidings_history_messages{$of}" },
        },
        {
          title: "Messages evicted",
          about: "Messages that left by count, age, bytes or a clear. Follows publishing once the histories are full.",
          unit: "cps",
          queries: { "{{instance}}": "rate(tidings_history_messages_evicted_total{$of}[$rate])" },
        },
        {
          title: "Published bytes",
          about: "Payload bytes of publishes that were kept.",
          unit: "binBps", stack: true,
          queries: { "{{instance}} {{source}}": "rate(tidings_publishes_kept_bytes_total{$of}[$rate])" },
        },
        {
          title: "Publish ids",
          about: "Ids remembered to recognise repeats, and how often they were forgotten before their time.",
          unit: "short",
          queries: {
            "{{instance}} remembered": "tidings_dedupe_ids{$of}",
            "{{instance}} forgotten early, a second": "rate(tidings_dedupe_windows_shortened_total{$of}[$rate])",
          },
        },
        {
          title: "Bounds",
          about: "How much of each bound is used.",
          unit: "percentunit", max: 1, warn: [0.85, 0.95],
          queries: { "{{instance}} {{bound}}": "tidings_bound_used{$of} / (tidings_bound_limit{$of} > 0)" },
        },
      ],
    },
  ],
};
