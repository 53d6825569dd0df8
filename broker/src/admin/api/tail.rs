//! A look at a channel as it goes by. A held call, as a poll: whoever looks asks again with the cursor of the answer.

use std::time::Duration;

use tokio::time::timeout;

use super::Query;
use crate::admin::Admin;
use crate::broker::{Delivery, Since, Subscribe};
use crate::error::{Error, Result};
use crate::log::{Cursor, CursorText};
use crate::message::ChannelName;
use crate::wire::{write_gap, write_message};

/// Longest a call is held, in seconds.
const WAIT_MAX: u64 = 20;

/// `GET /api/tail`.
pub(super) async fn tail(admin: &Admin, query: &Query) -> Result<Vec<u8>> {
    let channel = query.get("channel").ok_or_else(|| Error::invalid("name a channel: ?channel=NAME"))?;
    let since = match query.get("since") {
        None => Since::Live,
        Some("earliest") => Since::Earliest,
        Some(text) => Since::Cursor(Cursor::parse(text)?),
    };
    let wait = Duration::from_secs(query.number("wait", WAIT_MAX, WAIT_MAX)?);
    let is_first = matches!(since, Since::Live);
    let mut subscription = admin.broker.subscribe(Subscribe::to(vec![ChannelName::parse(channel)?], since)).await?;
    let mut out = b"{\"messages\":[".to_vec();
    let mut gap = Vec::new();
    let mut last = None;
    // Who just came is told at once from where to go on.
    let mut wait = if is_first { Duration::ZERO } else { wait };
    while let Ok(Some(delivery)) = timeout(wait, subscription.next()).await {
        match delivery {
            Delivery::Gap { channel, gap: missing } => {
                gap.clear();
                write_gap(&mut gap, &channel, &missing);
                // What is still kept follows.
                wait = Duration::ZERO;
            }
            Delivery::Messages(entries) => {
                for (nth, entry) in entries.iter().enumerate() {
                    if nth > 0 {
                        out.push(b',');
                    }
                    write_message(&mut out, entry);
                }
                last = entries.last().map(|entry| subscription.own().map_or_else(|| entry.cursor(), |own| CursorText::after(own.clone())));
                break;
            }
            // Not asked for.
            Delivery::Presence { .. } => {}
            Delivery::Closed(_) => break,
        }
    }
    out.extend_from_slice(b"],\"cursor\":\"");
    match last {
        // With one channel a message's own cursor says it all; the subscription may have read further than it handed out.
        Some(cursor) => out.extend_from_slice(cursor.as_bytes()),
        None => out.extend_from_slice(subscription.refresh().encode().as_bytes()),
    }
    out.push(b'"');
    if !gap.is_empty() {
        out.extend_from_slice(b",\"gap\":");
        out.extend_from_slice(&gap);
    }
    out.extend_from_slice(b"}\n");
    Ok(out)
}
