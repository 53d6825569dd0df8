// The client of the Tidings broker, for browsers and Node.

export { Tidings } from "./client.js";
export { TidingsError } from "./error.js";
export type { Subscription, SubscriptionEvents } from "./subscription.js";
export type {
  Cluster,
  Front,
  Gap,
  History,
  HistoryOptions,
  Message,
  Options,
  Published,
  PublishOptions,
  State,
  Subscribed,
  SubscribeOptions,
} from "./types.js";
