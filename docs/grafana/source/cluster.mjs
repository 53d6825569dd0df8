// What nodes are to one another: who is there, how the links are, who orders which slots, and how many copies there are. Each figure
// is one node's own view, so nodes that disagree show it.

const stage = (q, name) => `histogram_quantile(${q}, sum by (le) (rate(tidings_delivery_stage_seconds_bucket{stage="${name}", $of}[$rate])))`;

export const cluster = {
  uid: "tidings-cluster",
  title: "Tidings / Cluster",
  about: "Nodes that are one broker: members, links, hand-overs, copies, and what waits for another node.",
  links: [["Overview", "tidings-overview"], ["Node", "tidings-node"], ["Namespaces", "tidings-namespaces"]],
  rows: [
    {
      title: "Is it whole",
      panels: [
        {
          title: "Nodes active",
          about: "Nodes that take slots, as the node sees it that sees fewest.",
          kind: "stat", width: 4, unit: "none",
          queries: { "": 'min(tidings_cluster_members{state="active", $of})' },
        },
        {
          title: "Nodes missing",
          about: "Silent: nobody hears it, and it may live behind a cut. Ended: its process is gone. Remembered for some minutes.",
          kind: "stat", width: 4, unit: "none", warn: [1, 1],
          queries: { "": 'max(sum by (instance) (tidings_cluster_members{state=~"silent|ended", $of}))' },
        },
        {
          title: "Degraded",
          about: "1: some node says that a part of the cluster may go on without it. What is published there comes late.",
          kind: "stat", width: 4, unit: "bool_yes_no", warn: [0.5, 0.5],
          queries: { "": "max(tidings_cluster_degraded{$of})" },
        },
        {
          title: "Slots without a home",
          about: "Slots in use that somebody is about to order. Publishes to them wait, and are given up after 10 s.",
          kind: "stat", width: 4, unit: "none", warn: [1, 10],
          queries: { "": 'sum(tidings_cluster_slots{part="claiming", $of})' },
        },
        {
          title: "Time with too few copies",
          about: "Share of the time in which publishes were acknowledged with fewer copies than asked: a fault more would lose them.",
          kind: "stat", width: 4, unit: "percentunit", warn: [0.05, 0.5],
          queries: { "": "max(rate(tidings_cluster_solo_seconds_total{$of}[$rate]))" },
        },
        {
          title: "Publish wait, longest",
          about: "For how long the oldest publish has waited for the node that orders its channel.",
          kind: "stat", width: 4, unit: "s", warn: [0.5, 2],
          queries: { "": "max(tidings_cluster_publishes_waiting_seconds{$of})" },
        },
      ],
    },
    {
      title: "Members and links",
      panels: [
        {
          title: "Members, by state",
          about: "As each node sees it. Lines that differ for long are nodes that see different clusters.",
          unit: "short",
          queries: {
            "{{instance}} {{state}}": "tidings_cluster_members{$of} > 0",
            "{{instance}} takes slots": "tidings_cluster_active{$of}",
            "{{instance}} gossip knows": "tidings_cluster_gossip_peers{$of}",
          },
        },
        {
          title: "Round trip",
          about: "Of heartbeats, from each node to each other one. A publish with two copies waits for one of them.",
          unit: "s", log: true,
          queries: { "{{instance}} to {{peer}}": "tidings_cluster_link_rtt_seconds{$of}" },
        },
        {
          title: "Links made",
          about: "New connections between nodes in a minute. A node that starts makes three to each other one; after that none. A steady rate is a link that flaps.",
          unit: "short",
          queries: { "{{instance}} to {{peer}}": "60 * rate(tidings_cluster_links_made_total{$of}[$rate])" },
        },
        {
          title: "Links up",
          about: "Connections from each node, of the three to each other one. Fewer than three times the others: a link is down.",
          unit: "short",
          queries: { "{{instance}} {{purpose}}": "sum by (instance, purpose) (tidings_cluster_link_up{$of})" },
        },
        {
          title: "Waits to be sent",
          about: "Bytes queued for another node. At 8 MiB nothing more is sent there, and what is missing is read from the log later: that node, or the way to it, is slow.",
          unit: "bytes",
          queries: { "{{instance}} to {{peer}}, {{purpose}}": 'tidings_cluster_link_queued_bytes{purpose!="bulk", $of}' },
        },
        {
          title: "Links that were full",
          about: "Times in a minute that 8 MiB waited for another node, so that publishers and copies waited, and connections that began anew because 16 MiB did.",
          unit: "short",
          queries: {
            "{{instance}} to {{peer}}": "60 * rate(tidings_cluster_links_filled_total{$of}[$rate])",
            "{{instance}} to {{peer}}, given up": "60 * rate(tidings_cluster_links_given_up_total{$of}[$rate])",
          },
        },
        {
          title: "Bytes between nodes",
          about: "Sent by each node, before TLS.",
          unit: "binBps",
          queries: { "{{instance}} {{purpose}}": 'rate(tidings_cluster_frames_carried_bytes_total{direction="said", $of}[$rate])' },
        },
        {
          title: "Frames, by kind",
          about: "What slots say to each other. forward: publishes on their way. stream, stream_ack: messages and copies. claim, standing: takeovers.",
          unit: "cps", stack: true,
          queries: { "{{kind}}": 'sum by (kind) (rate(tidings_cluster_slot_frames_carried_total{direction="said", $of}[$rate]))' },
        },
        {
          title: "Frames per write",
          about: "What waits goes out together, so this rises with the load. Near 1 while the CPU is busy: many small writes.",
          unit: "short",
          queries: {
            "{{instance}}":
              'sum by (job, instance) (rate(tidings_cluster_frames_carried_total{direction="said", $of}[$rate])) / (rate(tidings_cluster_writes_made_total{$of}[$rate]) > 0)',
          },
        },
        {
          title: "Refused between nodes",
          about: "Connections and gossip of nodes that were not taken: another key, another cluster, another release, a name that is taken, or no greeting in time. The log says from where. Heartbeats are dropped only where the thread that hears them hangs.",
          unit: "cps",
          queries: {
            "{{instance}} {{reason}}, by {{by}}": "rate(tidings_cluster_greetings_refused_total{$of}[$rate]) > 0 or 0 * tidings_cluster_greetings_refused_total{reason=\"key\", $of}",
            "{{instance}} gossip": "rate(tidings_cluster_gossip_refused_total{$of}[$rate])",
            "{{instance}} too late": "rate(tidings_cluster_greetings_late_total{$of}[$rate])",
            "{{instance}} heartbeats dropped": "rate(tidings_cluster_beats_dropped_total{$of}[$rate])",
          },
        },
      ],
    },
    {
      title: "Slots and hand-overs",
      panels: [
        {
          title: "Slots in use, by part",
          about: "home: the node orders them. copy: it holds the second copy. edge: it follows channels of its own listeners. claiming: it is about to order them.",
          unit: "short",
          queries: { "{{instance}} {{part}}": "tidings_cluster_slots{$of}" },
        },
        {
          title: "Slots placed",
          about: "Of all 16,384, those that each node should order and copy. Even on all active nodes; a sum above 16,384 means that nodes differ.",
          unit: "short",
          queries: { "{{instance}} {{part}}": "tidings_cluster_slots_placed{$of}" },
        },
        {
          title: "Hand-overs",
          about: "Slots that a node came to order. first: nobody held it. moved: handed over in a drain or to a node that came. taken_over: its node was gone. merged: after a split.",
          unit: "cps", stack: true,
          queries: {
            "{{how}}": "sum by (how) (rate(tidings_cluster_slots_opened_total{$of}[$rate]))",
            "given away": "sum(rate(tidings_cluster_slots_sealed_total{$of}[$rate]))",
          },
        },
        {
          title: "The cluster seen anew",
          about: "How often a node's view changed in a minute, and how many nodes it hears place slots otherwise. After a node came or went both are still within seconds.",
          unit: "short",
          queries: {
            "{{instance}} changes": "60 * rate(tidings_cluster_views_changed_total{$of}[$rate])",
            "{{instance}} others differ": "tidings_cluster_views_differing{$of}",
          },
        },
        {
          title: "Takeovers that may have lost something",
          about: "Slots opened without being able to rule out that more was acknowledged. Who reads across is told a gap with the reason failover.",
          unit: "cps",
          queries: {
            "uncertain, {{instance}}": "rate(tidings_cluster_slots_opened_uncertain_total{$of}[$rate])",
            "gaps told, {{instance}}": 'sum by (instance) (rate(tidings_gaps_declared_total{reason="failover", $of}[$rate]))',
          },
        },
        {
          title: "After a split",
          about: "Messages of the other side: taken over (their listeners get them late), waiting for it, or lost before.",
          unit: "short",
          queries: {
            "{{instance}} taken over a second": "rate(tidings_cluster_messages_adopted_total{$of}[$rate])",
            "{{instance}} waiting": "tidings_cluster_messages_orphaned{$of}",
            "{{instance}} lost a second": "rate(tidings_cluster_orphans_lost_total{$of}[$rate])",
          },
        },
      ],
    },
    {
      title: "Copies",
      panels: [
        {
          title: "Acknowledged with too few copies",
          about: "Publishes a second that one node alone held when they were answered, though two were asked for.",
          unit: "cps",
          queries: { "{{instance}}": "rate(tidings_cluster_publishes_short_total{$of}[$rate])" },
        },
        {
          title: "Slots held by one node",
          about: "Slots in use that the node orders and nobody else holds. All of them: no other node is there. Some: their follower is slow or was lost.",
          unit: "short",
          queries: { "{{instance}}": "tidings_cluster_slots_solo{$of}" },
        },
        {
          title: "Followers dropped, copies completed",
          about: "Both together and steady: a follower that answers too slowly is dropped, catches up and is dropped again.",
          unit: "cps",
          queries: {
            "{{instance}} dropped": "rate(tidings_cluster_followers_dropped_total{$of}[$rate])",
            "{{instance}} completed": "rate(tidings_cluster_copies_completed_total{$of}[$rate])",
          },
        },
        {
          title: "Replication lag",
          about: "For how long a follower has owed an acknowledgement. Above 50 ms it is dropped and its home goes on alone.",
          width: 12, unit: "s",
          queries: { "{{instance}}": "tidings_cluster_replication_lag_seconds{$of}" },
        },
        {
          title: "Replication lag, records",
          about: "What a follower has not acknowledged, of the slot where it lacks most.",
          width: 12, unit: "short",
          queries: { "{{instance}}": "tidings_cluster_replication_lag_records{$of}" },
        },
      ],
    },
    {
      title: "Publishes through the cluster",
      panels: [
        {
          title: "Stages of a message, median",
          about: "From the publish, on whatever node it came in, to a stage: append (the node that orders the channel gave it its place), link (another node has it), commit (it may be shown), publish (the publisher is answered), shard (a thread that owns sockets has it), socket (it is written). The ways between nodes are in publish only: no clock tells them.",
          width: 12, unit: "s", log: true,
          queries: {
            append: stage(0.5, "append"),
            link: stage(0.5, "link"),
            commit: stage(0.5, "commit"),
            publish: stage(0.5, "publish"),
            shard: stage(0.5, "shard"),
            socket: "histogram_quantile(0.5, sum by (le) (rate(tidings_delivery_latency_seconds_bucket{$of}[$rate])))",
          },
        },
        {
          title: "Stages of a message, 99 %",
          about: "The same for the slowest hundredth. The first stage that is late is where to look.",
          width: 12, unit: "s", log: true,
          queries: {
            append: stage(0.99, "append"),
            link: stage(0.99, "link"),
            commit: stage(0.99, "commit"),
            publish: stage(0.99, "publish"),
            shard: stage(0.99, "shard"),
            socket: "histogram_quantile(0.99, sum by (le) (rate(tidings_delivery_latency_seconds_bucket{$of}[$rate])))",
          },
        },
        {
          title: "Publishes that wait",
          about: "For an answer of the cluster, at this moment. A rise that stays: the node that orders their channels does not answer.",
          width: 12, unit: "short",
          queries: { "{{instance}}": "tidings_cluster_publishes_waiting{$of}" },
        },
        {
          title: "Publishes answered",
          about: "By what the cluster said. too_few_copies: refused by min_copies. busy: too much waits. leaving: the node is to leave and is cut off. unknown: given up after 10 s; the publisher sends again with the same id.",
          width: 12, unit: "cps",
          queries: { "{{outcome}}": "sum by (outcome) (rate(tidings_cluster_publishes_answered_total{$of}[$rate]))" },
        },
      ],
    },
  ],
};
