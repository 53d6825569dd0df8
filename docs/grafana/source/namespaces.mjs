// Which namespace takes what: for the day when one of them is the reason why all histories are short.

const top = (query) => `topk(12, sum by (namespace) (${query}))`;

export const namespaces = {
  uid: "tidings-namespaces",
  title: "Tidings / Namespaces",
  about: "What each namespace of the configuration is published, keeps and has listeners for. Kept figures are those of the last ten seconds.",
  links: [["Overview", "tidings-overview"], ["Node", "tidings-node"], ["Cluster", "tidings-cluster"]],
  rows: [
    {
      title: "Publishing",
      panels: [
        {
          title: "Published",
          about: "Messages a second that came in and were kept. The namespace that grows is the one whose publisher to ask.",
          width: 12, unit: "cps", stack: true,
          queries: { "{{namespace}}": top("rate(tidings_namespace_publishes_kept_total{$of}[$rate])") },
        },
        {
          title: "Published bytes",
          about: "Their payloads. Times the listeners this is what the network must carry.",
          width: 12, unit: "binBps", stack: true,
          queries: { "{{namespace}}": top("rate(tidings_namespace_publishes_kept_bytes_total{$of}[$rate])") },
        },
      ],
    },
    {
      title: "Channels",
      panels: [
        {
          title: "Channels",
          about: "With state, on all nodes chosen: in a cluster a channel counts on each node that holds it. A steady rise: names with an id in them that are never used again.",
          width: 12, unit: "short",
          queries: { "{{namespace}}": top("tidings_namespace_channels{$of}") },
        },
        {
          title: "Channels with listeners",
          about: "Far below the channels: they are published to for nobody, or wait for clients to come back.",
          width: 12, unit: "short",
          queries: { "{{namespace}}": top("tidings_namespace_channels_listened{$of}") },
        },
      ],
    },
    {
      title: "Histories",
      panels: [
        {
          title: "Histories",
          about: "Bytes kept. When all together reach limits.history_bytes, shorten the largest first.",
          width: 12, unit: "bytes", stack: true,
          queries: { "{{namespace}}": top("tidings_namespace_history_bytes{$of}") },
        },
        {
          title: "Messages kept",
          about: "In all histories of the namespace.",
          width: 12, unit: "short",
          queries: { "{{namespace}}": top("tidings_namespace_history_messages{$of}") },
        },
        {
          title: "Bytes per message",
          about: "Of what is kept, with what a message costs besides its payload. A jump: somebody publishes something larger than before.",
          width: 12, unit: "bytes",
          queries: { "{{namespace}}": "topk(12, sum by (namespace) (tidings_namespace_history_bytes{$of}) / (sum by (namespace) (tidings_namespace_history_messages{$of}) > 0))" },
        },
        {
          title: "Messages per channel",
          about: "Near history.size: the history is bounded by count. Far below: by age or bytes, or little is published.",
          width: 12, unit: "short",
          queries: { "{{namespace}}": "topk(12, sum by (namespace) (tidings_namespace_history_messages{$of}) / (sum by (namespace) (tidings_namespace_channels{$of}) > 0))" },
        },
      ],
    },
  ],
};
