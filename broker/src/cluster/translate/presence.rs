//! Who is on a channel, to the wire and back.

use std::sync::Arc;
use std::time::Duration;

use tidings_proto::cluster::v1::{self as wire, presence::What as Wire, presence_news::Told as WireTold};

use super::hear::Unread;
use crate::log::Slot;
use crate::message::ChannelName;
use crate::presence::frame::{News, Part, Report, Standing, Told, What};
use crate::presence::{BATCH, Counts, Frame, INFO_BYTES_MAX, Info, MemberId, NAME_BYTES_MAX, Page, Query, User};

type Read<T> = Result<T, Unread>;

/// What one node says.
#[must_use]
pub fn say(frame: &Frame) -> wire::SlotFrame {
    let what = match &frame.what {
        What::Report(report) => Wire::Report(say_report(report)),
        What::Resend => Wire::Resend(wire::Nothing {}),
        What::Watch(heard) => Wire::Watch(wire::PresenceWatch { wants: heard.is_some(), heard: heard.unwrap_or(0) }),
        What::News(news) => Wire::News(say_news(news)),
        What::Ask { rid, query } => Wire::Ask(wire::PresenceAsk {
            rid: *rid,
            after: query.after.as_deref().map(str::to_owned),
            limit: u32::try_from(query.limit).unwrap_or(u32::MAX),
        }),
        What::Told { rid, page } => Wire::Told(wire::PresenceTold { rid: *rid, page: page.as_ref().map(say_page) }),
    };
    let presence = wire::Presence { channel: frame.channel.to_string(), what: Some(what) };
    wire::SlotFrame { slot: Slot::of(&frame.channel).number().into(), what: Some(wire::slot_frame::What::Presence(presence)) }
}

/// About what it takes while it waits, and on the wire.
#[must_use]
pub fn bytes_of(frame: &Frame) -> usize {
    let of_info = |info: &Info| info.as_ref().map_or(0, |info| info.len());
    let of_users = |users: &[User]| users.iter().map(|user| user.name.len() + of_info(&user.info) + 16).sum::<usize>();
    let variable = match &frame.what {
        What::Report(report) => {
            report.standings.iter().map(|standing| standing.id.name().len() + of_info(&standing.info) + 16).sum::<usize>()
        }
        What::News(News { told: Told::All(users), .. }) | What::Told { page: Some(Page { users, .. }), .. } => of_users(users),
        What::News(News { told: Told::Changes { joined, left }, .. }) => {
            of_users(joined) + left.iter().map(|name| name.len() + 8).sum::<usize>()
        }
        _ => 0,
    };
    128 + variable
}

/// What another node says; `None` for what this release does not know.
///
/// # Errors
/// When something in it cannot be.
pub(super) fn hear(slot: Slot, presence: wire::Presence, channel: ChannelName) -> Read<Option<Frame>> {
    if Slot::of(&channel) != slot {
        return Err(Unread("channel of the slot"));
    }
    let Some(what) = presence.what else { return Ok(None) };
    let what = match what {
        Wire::Report(report) => What::Report(hear_report(report)?),
        Wire::Resend(_) => What::Resend,
        Wire::Watch(watch) => What::Watch(watch.wants.then_some(watch.heard)),
        Wire::News(news) => match hear_news(news)? {
            Some(news) => What::News(news),
            None => return Ok(None),
        },
        Wire::Ask(wire::PresenceAsk { rid, after, limit }) => {
            let after = after.map(name).transpose()?;
            What::Ask { rid, query: Query { after, limit: (limit as usize).min(BATCH) } }
        }
        Wire::Told(wire::PresenceTold { rid, page }) => What::Told { rid, page: page.map(hear_page).transpose()? },
    };
    Ok(Some(Frame { channel, what }))
}

fn say_report(report: &Report) -> wire::PresenceReport {
    let (is_whole, is_first, is_last) = match report.part {
        Part::Changes => (false, false, false),
        Part::Whole { is_first, is_last } => (true, is_first, is_last),
    };
    let standing = |standing: &Standing| wire::PresenceStanding {
        name: standing.id.name().to_string(),
        is_anonymous: standing.id.user().is_none(),
        info: standing.info.as_deref().map(str::to_owned),
        connections: standing.connections,
        gone_us: standing.gone.map(|gone| u64::try_from(gone.as_micros()).unwrap_or(u64::MAX)),
    };
    let standings = report.standings.iter().map(standing).collect();
    wire::PresenceReport { since: report.since, version: report.version, is_whole, is_first, is_last, standings }
}

fn hear_report(report: wire::PresenceReport) -> Read<Report> {
    if report.standings.len() > BATCH {
        return Err(Unread("report"));
    }
    let part = match (report.is_whole, report.is_first, report.is_last) {
        (true, is_first, is_last) => Part::Whole { is_first, is_last },
        (false, ..) => Part::Changes,
    };
    let standing = |told: wire::PresenceStanding| {
        let (id, is_anonymous) = (name(told.name)?, told.is_anonymous);
        let id = if is_anonymous { MemberId::Session(id) } else { MemberId::User(id) };
        Ok(Standing { id, info: info(told.info)?, connections: told.connections, gone: told.gone_us.map(Duration::from_micros) })
    };
    let standings = report.standings.into_iter().map(standing).collect::<Read<_>>()?;
    Ok(Report { since: report.since, version: report.version, part, standings })
}

fn say_news(news: &News) -> wire::PresenceNews {
    let told = match &news.told {
        Told::Counts => WireTold::CountsOnly(wire::Nothing {}),
        Told::All(users) => WireTold::All(wire::PresenceUsers { users: users.iter().map(say_user).collect() }),
        Told::Changes { joined, left } => WireTold::Changes(wire::PresenceChanges {
            joined: joined.iter().map(say_user).collect(),
            left: left.iter().map(ToString::to_string).collect(),
        }),
    };
    wire::PresenceNews { version: news.version, counts: Some(say_counts(news.counts)), told: Some(told) }
}

fn hear_news(news: wire::PresenceNews) -> Read<Option<News>> {
    let Some(told) = news.told else { return Ok(None) };
    let told = match told {
        WireTold::CountsOnly(_) => Told::Counts,
        WireTold::All(all) => {
            let mut users = users(all.users)?;
            // Whoever reads it counts on it.
            users.sort_unstable_by(|a, b| a.name.cmp(&b.name));
            Told::All(users)
        }
        WireTold::Changes(changes) => {
            Told::Changes { joined: users(changes.joined)?, left: changes.left.into_iter().map(name).collect::<Read<_>>()? }
        }
    };
    if news.version == 0 {
        return Err(Unread("number of news"));
    }
    Ok(Some(News { version: news.version, counts: hear_counts(news.counts), told }))
}

fn say_page(page: &Page) -> wire::PresencePage {
    wire::PresencePage {
        counts: Some(say_counts(page.counts)),
        counts_only: page.counts_only,
        is_full: page.is_full,
        users: page.users.iter().map(say_user).collect(),
        next: page.next.as_deref().unwrap_or_default().to_owned(),
    }
}

fn hear_page(page: wire::PresencePage) -> Read<Page> {
    let next = if page.next.is_empty() { None } else { Some(name(page.next)?) };
    let (counts_only, is_full) = (page.counts_only, page.is_full);
    Ok(Page { counts: hear_counts(page.counts), counts_only, is_full, users: users(page.users)?, next })
}

fn say_counts(counts: Counts) -> wire::PresenceCounts {
    wire::PresenceCounts { users: counts.users, anonymous: counts.anonymous, connections: counts.connections }
}

fn hear_counts(counts: Option<wire::PresenceCounts>) -> Counts {
    let counts = counts.unwrap_or_default();
    Counts { users: counts.users, anonymous: counts.anonymous, connections: counts.connections }
}

fn say_user(user: &User) -> wire::PresenceUser {
    wire::PresenceUser { name: user.name.to_string(), info: user.info.as_deref().map(str::to_owned), connections: user.connections }
}

fn users(users: Vec<wire::PresenceUser>) -> Read<Vec<User>> {
    if users.len() > BATCH {
        return Err(Unread("list of users"));
    }
    users.into_iter().map(|user| Ok(User { name: name(user.name)?, info: info(user.info)?, connections: user.connections })).collect()
}

fn name(name: String) -> Read<Arc<str>> {
    let is_fine = (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control);
    if is_fine { Ok(name.into()) } else { Err(Unread("member")) }
}

fn info(info: Option<String>) -> Read<Info> {
    match info {
        // It goes out as one line of JSON to whoever asks.
        Some(info) if info.len() > INFO_BYTES_MAX || info.contains(['\n', '\r']) => Err(Unread("info")),
        info => Ok(info.map(Into::into)),
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::super::{Heard, Names, hear_slot};
    use super::*;
    use crate::clock::Moment;

    fn frames() -> Vec<Frame> {
        let channel = ChannelName::parse("chat:1").unwrap();
        let user = |name: &str| User { name: name.into(), info: Some("{\"a\":1}".into()), connections: 3 };
        let standing = |id, connections, gone| Standing { id, info: None, connections, gone };
        let standings = vec![
            standing(MemberId::User("ann".into()), 1, None),
            standing(MemberId::Session("s1".into()), 1, None),
            standing(MemberId::User("bob".into()), 0, Some(Duration::from_micros(1_500_001))),
            standing(MemberId::User("cid".into()), 0, Some(Duration::ZERO)),
        ];
        let counts = Counts { users: 1, anonymous: 2, connections: 7 };
        let report = |part| What::Report(Report { since: 3, version: 4, part, standings: standings.clone() });
        let news = |told| What::News(News { version: 9, counts, told });
        let page = Page { counts, counts_only: true, is_full: true, users: vec![user("ann")], next: Some("ann".into()) };
        let whats = [
            report(Part::Changes),
            report(Part::Whole { is_first: true, is_last: false }),
            What::Resend,
            What::Watch(Some(0)),
            What::Watch(Some(7)),
            What::Watch(None),
            news(Told::Counts),
            news(Told::All(vec![user("ann"), user("bob")])),
            news(Told::Changes { joined: vec![user("bob")], left: vec!["ann".into()] }),
            What::Ask { rid: 5, query: Query { after: Some("ann".into()), limit: 100 } },
            What::Ask { rid: 5, query: Query { after: None, limit: 0 } },
            What::Told { rid: 5, page: Some(page) },
            What::Told { rid: 5, page: None },
        ];
        whats.into_iter().map(|what| Frame { channel: channel.clone(), what }).collect()
    }

    fn hear(bytes: Vec<u8>) -> Read<Option<Heard>> {
        hear_slot(bytes.into(), Moment::default(), &mut Names::new(&|_| None))
    }

    #[test]
    fn everything_comes_across_whole() {
        for frame in frames() {
            let Some(Heard::Presence(heard)) = hear(say(&frame).encode_to_vec()).unwrap() else { panic!("{frame:?}") };
            assert_eq!(heard, frame);
            assert!(bytes_of(&frame) > 100);
        }
    }

    #[test]
    fn what_cannot_be_is_an_error_and_never_a_panic() {
        for frame in frames() {
            let whole = say(&frame).encode_to_vec();
            for at in 0..whole.len() {
                for bits in [0x01, 0x80, 0xff] {
                    let mut changed = whole.clone();
                    changed[at] ^= bits;
                    let _ = hear(changed);
                }
                let _ = hear(whole[..at].to_vec());
            }
        }
        let channel = ChannelName::parse("chat:1").unwrap();
        let standing = |name: &str, info: Option<&str>| Standing {
            id: MemberId::User(name.into()),
            info: info.map(Into::into),
            connections: 1,
            gone: None,
        };
        for wrong in [standing("", None), standing(&"x".repeat(256), None), standing("a\nb", None), standing("a", Some("{\n}"))] {
            let report = Report { since: 0, version: 1, part: Part::Changes, standings: vec![wrong] };
            let frame = Frame { channel: channel.clone(), what: What::Report(report) };
            assert!(hear(say(&frame).encode_to_vec()).is_err(), "{frame:?}");
        }
    }
}
