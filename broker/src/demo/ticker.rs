//! Prices of things that do not exist, each on a channel of its own: what the ticker page shows. Only the newest price of
//! each matters, so whoever comes (back) asks for the last message alone.

use std::time::Duration;

use serde::Serialize;
use tidings_sdk::{Client, Message};
use tokio::time::{MissedTickBehavior, interval};

/// Channels begin with this; the tag puts them into one slot, so that one connection may hold many of them.
const CHANNELS: &str = "ticker:{demo}:";
/// Name, and the price in cents to begin with.
const GOODS: [(&str, u64); 5] = [("acorns", 1_250), ("feathers", 340), ("lanterns", 8_900), ("maps", 4_475), ("sealing-wax", 615)];
/// Time between two prices; each of the goods has its turn.
const EVERY: Duration = Duration::from_millis(200);

#[derive(Debug, Serialize)]
struct Price {
    /// In cents.
    cents: u64,
    /// Counts the prices of this thing since the program began.
    n: u64,
}

/// Publishes prices without end. A price that cannot be published is skipped: a newer one is due.
pub(super) async fn publish_for_ever(client: &Client) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    let mut prices = GOODS.map(|(_, cents)| cents);
    for n in 1.. {
        for ((name, first), cents) in GOODS.iter().zip(&mut prices) {
            ticks.tick().await;
            *cents = walk(*cents, *first, chance.next());
            let Ok(json) = serde_json::to_vec(&Price { cents: *cents, n }) else { continue };
            let message = Message::new(json).content_type("application/json");
            // The monitor beside tells of a broker that is away; once is enough.
            let _ = client.publish(format!("{CHANNELS}{name}"), message).await;
        }
    }
}

/// Up or down by at most two in a hundred, and never away from the first price by more than half of it.
fn walk(cents: u64, first: u64, chance: u64) -> u64 {
    let step = (cents / 50).max(1);
    (cents + chance % (2 * step + 1)).saturating_sub(step).clamp(first / 2, first + first / 2)
}

/// Numbers that look random enough for prices (xorshift); the same ones each time.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_move_and_stay_near_where_they_began() {
        let mut chance = Chance(1);
        let mut cents = 1_000;
        let mut seen = std::collections::HashSet::new();
        for _ in 0..10_000 {
            cents = walk(cents, 1_000, chance.next());
            assert!((500..=1_500).contains(&cents), "{cents}");
            seen.insert(cents);
        }
        assert!(seen.len() > 100, "{} different prices", seen.len());
    }

    #[test]
    fn the_page_knows_the_same_goods_and_channels() {
        let page = include_str!("assets/ticker.js");
        assert!(page.contains(CHANNELS));
        for (name, _) in GOODS {
            assert!(page.contains(&format!("\"{name}\"")), "{name}");
        }
    }
}
