//! Random histories held against a model that keeps every message ever committed and knows what became of it.

use proptest::prelude::*;

use super::*;

/// Channels 0 and 1 share a namespace of small windows, 2 has one of its own, 3 keeps nothing.
const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const NAMESPACES: [NamespaceId; 4] = [NamespaceId(0), NamespaceId(0), NamespaceId(1), NamespaceId(2)];
const COST: u64 = 1 + crate::log::ENTRY_FIXED_BYTES;

fn retention(channel: usize) -> Retention {
    let (size, ttl, bytes) = [(4, 20, u64::MAX), (4, 20, u64::MAX), (100, 45, 6 * COST), (0, 10, u64::MAX)][channel];
    Retention { size, ttl: Duration::from_secs(ttl), bytes }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Publish {
        channel: usize,
        ttl: Option<u64>,
        id: Option<u8>,
    },
    Clear(usize),
    /// Commits all but so many.
    Commit(u64),
    Wait(u64),
    /// Sweeps, and closes what is idle.
    Sweep,
    /// Takes a cursor at the commit, to come back with later.
    Remember,
    /// Comes back with one of the cursors and reads pages of so many.
    Resume {
        cursor: prop::sample::Index,
        channels: u8,
        page: usize,
    },
    /// The listener that stayed reads on, a page of so many.
    Read(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let ttl = prop_oneof![3 => Just(None), 1 => (0..30u64).prop_map(Some)];
    let id = prop_oneof![2 => Just(None), 1 => (0..4u8).prop_map(Some)];
    let step = prop_oneof![
        8 => (0..4usize, ttl, id).prop_map(|(channel, ttl, id)| Step::Publish { channel, ttl, id }),
        1 => (0..4usize).prop_map(Step::Clear),
        5 => prop_oneof![2 => Just(0), 1 => 0..4u64].prop_map(Step::Commit),
        3 => prop_oneof![4 => 0..8u64, 1 => 30..70u64, 1 => 100..200u64].prop_map(Step::Wait),
        2 => Just(Step::Sweep),
        3 => Just(Step::Remember),
        4 => (any::<prop::sample::Index>(), 1..16u8, 1..5usize)
            .prop_map(|(cursor, channels, page)| Step::Resume { cursor, channels, page }),
        2 => (1..5usize).prop_map(Step::Read),
    ];
    prop::collection::vec(step, 1..120)
}

/// A message or a clear, as the model saw it appended.
#[derive(Clone, Debug)]
struct Known {
    idx: u64,
    channel: usize,
    is_clear: bool,
    accepted: u64,
    own: Option<u64>,
    id: Option<u8>,
    offset: u64,
    is_committed: bool,
    /// Pushed out by count, bytes or a clear.
    is_evicted: bool,
    /// Over by its publisher's wish, while it was still kept.
    is_over: bool,
}

struct Model {
    bench: Bench,
    now: u64,
    keys: [Option<ChannelKey>; 4],
    known: Vec<Known>,
    /// Cursors with the time they were taken at.
    cursors: Vec<(u64, u64)>,
    /// Where the listener that stayed stands, what it got and what it was told to have lost.
    stayed: u64,
    got: Vec<u64>,
    lost: [u64; 4],
}

impl Model {
    fn new() -> Self {
        let cursors = vec![(1, 0)];
        let (keys, known, got) = ([None; 4], Vec::new(), Vec::new());
        Self { bench: Bench::new(), now: 0, keys, known, cursors, stayed: 1, got, lost: [0; 4] }
    }

    fn key(&mut self, channel: usize) -> ChannelKey {
        let (log, at) = (&mut self.bench.log, seconds(self.now));
        *self.keys[channel].get_or_insert_with(|| log.open_channel(name(NAMES[channel]), NAMESPACES[channel], retention(channel), at))
    }

    fn ttl(channel: usize) -> u64 {
        retention(channel).ttl.as_secs()
    }

    fn expires(known: &Known) -> u64 {
        known.accepted + known.own.unwrap_or(u64::MAX).min(Self::ttl(known.channel))
    }

    /// Whether its publisher's shorter life ended before anything else took it.
    fn is_over(&self, known: &Known) -> bool {
        known.is_over
            || !known.is_evicted && known.own.is_some_and(|own| own < Self::ttl(known.channel)) && Self::expires(known) <= self.now
    }

    fn is_kept(&self, known: &Known) -> bool {
        !known.is_clear && known.is_committed && !known.is_evicted && !known.is_over && Self::expires(known) > self.now
    }

    /// Committed once, gone now, and not by its publisher's wish.
    fn is_lost(&self, known: &Known) -> bool {
        !known.is_clear && known.is_committed && !self.is_kept(known) && !self.is_over(known)
    }

    fn publish(&mut self, channel: usize, own: Option<u64>, id: Option<u8>) {
        let key = self.key(channel);
        let payload = Payload::new(b"x", None).unwrap();
        let publish_id = id.map(|id| PublishId::Retry(id.into()));
        let draft = Draft { payload, ttl: own.map(Duration::from_secs), id: publish_id, ..draft(NAMES[channel]) };
        let appended = self.bench.log.append(key, draft, seconds(self.now), ROOM);
        let window = RETRY_WINDOW.as_secs();
        let is_first = |known: &&Known| known.channel == channel && id.is_some() && known.id == id && self.now < known.accepted + window;
        let first = self.known.iter().rev().find(is_first);
        assert_eq!(appended.duplicate, first.is_some(), "invariant 9");
        if let Some(first) = first {
            assert_eq!((appended.pos.idx, appended.offset), (first.idx, first.offset), "invariant 9");
            return;
        }
        let (idx, offset) = (appended.pos.idx, appended.offset);
        let last = self.known.last().map_or(1, |known| known.idx);
        assert_eq!(idx, last + 1);
        let flags = (false, false, false);
        let (is_committed, is_evicted, is_over) = flags;
        self.known.push(Known { idx, channel, is_clear: false, accepted: self.now, own, id, offset, is_committed, is_evicted, is_over });
    }

    fn clear(&mut self, channel: usize) {
        let key = self.key(channel);
        let idx = self.bench.log.clear(key).idx;
        self.known.push(Known {
            idx,
            channel,
            is_clear: true,
            accepted: self.now,
            own: None,
            id: None,
            offset: 0,
            is_committed: false,
            is_evicted: false,
            is_over: false,
        });
    }

    fn commit(&mut self, all_but: u64) {
        let upto = self.bench.log.head().idx.saturating_sub(all_but).max(self.bench.log.commit().idx);
        self.bench.committed.clear();
        self.bench.log.commit_to(upto, seconds(self.now), &mut self.bench.committed, &mut self.bench.evicted);
        let mut delivered = self.bench.committed.iter().map(|(key, entry)| (*key, entry.pos.idx));
        for at in 0..self.known.len() {
            if self.known[at].is_committed || self.known[at].idx > upto {
                continue;
            }
            self.known[at].is_committed = true;
            let Known { channel, idx, is_clear, .. } = self.known[at];
            if !is_clear {
                assert_eq!(delivered.next(), Some((self.keys[channel].unwrap(), idx)), "invariant 11");
            }
            for other in 0..self.known.len() {
                self.known[other].is_over = self.is_over(&self.known[other]);
            }
            let window = retention(channel);
            let mut kept: Vec<usize> =
                (0..self.known.len()).filter(|other| self.known[*other].channel == channel && self.is_kept(&self.known[*other])).collect();
            while !kept.is_empty() && (is_clear || kept.len() > window.size as usize || kept.len() as u64 * COST > window.bytes) {
                self.known[kept.remove(0)].is_evicted = true;
            }
        }
        assert_eq!(delivered.next(), None, "invariant 11");
    }

    fn sweep(&mut self) {
        for key in self.bench.expire(self.now) {
            let at = self.keys.iter().position(|known| *known == Some(key)).unwrap();
            let kept = self.known.iter().any(|known| known.channel == at && (!known.is_committed || self.is_kept(known)));
            assert!(!kept, "a channel with messages is not idle");
            self.bench.log.close_channel(key);
            self.keys[at] = None;
        }
    }

    /// All messages of these channels after a cursor: which are owed, given what was declared lost.
    fn check(&self, cursor: (u64, u64), got: &[u64], channel: usize, gap: Option<Gap>) {
        let (after, taken) = cursor;
        let own = |known: &&Known| known.channel == channel && known.idx > after && known.is_committed;
        let owed: Vec<u64> = self.known.iter().filter(own).filter(|known| self.is_kept(known)).map(|known| known.idx).collect();
        let oldest = gap.map_or(after, |gap| gap.oldest.idx);
        let lost: Vec<u64> = self.known.iter().filter(own).filter(|known| self.is_lost(known)).map(|known| known.idx).collect();
        assert!(lost.iter().all(|idx| *idx <= oldest), "invariant 12: {lost:?} were lost in silence, {gap:?}");
        assert_eq!(got, owed, "invariant 10");
        let is_young = self.now < taken + Self::ttl(channel);
        let is_cleared = self.known.iter().filter(own).any(|known| known.is_clear);
        match gap.map(|gap| gap.reason) {
            None => {}
            Some(GapReason::Window) => assert!(!lost.is_empty(), "invariant 12: false gap"),
            Some(GapReason::Cleared) => assert!(is_cleared, "invariant 12: false gap"),
            Some(GapReason::Unknown) => assert!(!is_young, "invariant 12: false gap for a young cursor"),
            Some(GapReason::Restart | GapReason::Failover | GapReason::Conflated) => {
                panic!("nothing restarted, was taken over or conflates")
            }
        }
        if is_young && lost.is_empty() && !is_cleared {
            assert_eq!(gap, None, "invariant 12: false gap for a young cursor");
        }
    }

    fn resume(&mut self, cursor: (u64, u64), chosen: u8, page: usize) {
        let channels: Vec<usize> = (0..4).filter(|channel| chosen >> channel & 1 == 1).collect();
        let keys: Vec<ChannelKey> = channels.iter().map(|channel| self.key(*channel)).collect();
        let log = &self.bench.log;
        let start = Start::After(SlotCursor::new(log.slot(), log.line().pos(cursor.0)));
        let joined = log.join(&keys, &start, seconds(self.now));
        assert_eq!((joined.after.idx, joined.recovered), (cursor.0, joined.gaps.is_empty()));
        let mut from: Vec<(ChannelKey, u64)> = keys.iter().copied().zip(joined.from.iter().copied()).collect();
        let mut got: Vec<Arc<Entry>> = Vec::new();
        loop {
            let limit = PageLimit { entries: page, bytes: usize::MAX };
            let page = log.read(&from, limit, seconds(self.now));
            assert!(page.gaps.is_empty(), "invariant 12: a join tells all there is to tell");
            assert!(page.upto.idx <= log.commit().idx, "invariant 5");
            got.extend(page.entries);
            from.iter_mut().for_each(|(_, after)| *after = page.upto.idx.max(*after));
            if page.at_head {
                break;
            }
        }
        assert!(got.is_sorted_by(|a, b| a.pos.idx < b.pos.idx), "invariant 11");
        assert!(got.iter().all(|entry| entry.pos.idx > cursor.0), "invariant 14");
        for (channel, key) in channels.into_iter().zip(keys) {
            let own: Vec<u64> = got.iter().filter(|entry| entry.channel.as_str() == NAMES[channel]).map(|entry| entry.pos.idx).collect();
            let back: Vec<u64> =
                indices(&log.read_back(key, None, ALL, seconds(self.now))).into_iter().filter(|idx| *idx > cursor.0).rev().collect();
            assert_eq!(own, back, "both directions read the same");
            let gap = joined.gaps.iter().find(|(gapped, _)| *gapped == key).map(|(_, gap)| *gap);
            self.check(cursor, &own, channel, gap);
        }
    }

    /// One more page for the listener that listens to everything and never left.
    fn read(&mut self, page: usize) {
        let keys: Vec<ChannelKey> = (0..4).map(|channel| self.key(channel)).collect();
        let from: Vec<(ChannelKey, u64)> = keys.iter().map(|key| (*key, self.stayed)).collect();
        let page = self.bench.log.read(&from, PageLimit { entries: page, bytes: usize::MAX }, seconds(self.now));
        for (key, gap) in &page.gaps {
            let channel = keys.iter().position(|known| known == key).unwrap();
            assert!(self.lost[channel] < gap.oldest.idx, "a gap is told once");
            self.lost[channel] = gap.oldest.idx;
        }
        assert!(page.entries.iter().all(|entry| entry.pos.idx > self.stayed), "invariant 14");
        self.got.extend(indices(&page.entries));
        self.stayed = page.upto.idx;
        for known in self.known.iter().filter(|known| known.is_committed && !known.is_clear && known.idx <= self.stayed) {
            let is_settled = self.got.contains(&known.idx) || known.idx <= self.lost[known.channel] || self.is_over(known);
            // A gap that reaches further than the page is told by the page that gets there.
            let is_ahead = |other: &Known| other.channel == known.channel && other.idx > self.stayed && self.is_lost(other);
            let is_due = self.known.iter().any(is_ahead) || self.bench.log.channel(keys[known.channel]).floor > self.stayed;
            assert!(is_settled || is_due, "invariant 12: {known:?} passed in silence");
        }
        assert!(self.got.is_sorted_by(|a, b| a < b), "invariants 10 and 11");
    }

    fn totals(&self) {
        let kept = self.known.iter().filter(|known| self.is_kept(known)).count() as u64;
        let stats = self.bench.log.stats();
        assert!(stats.entries >= kept, "what may be read is there");
        assert_eq!(stats.bytes, stats.entries * COST);
        assert_eq!(stats.channels, self.keys.iter().flatten().count() as u64);
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Publish { channel, ttl, id } => self.publish(channel, ttl, id),
            Step::Clear(channel) => self.clear(channel),
            Step::Commit(all_but) => self.commit(all_but),
            Step::Wait(time) => self.now += time,
            Step::Sweep => self.sweep(),
            Step::Remember => self.cursors.push((self.bench.log.commit().idx, self.now)),
            Step::Resume { cursor, channels, page } => self.resume(self.cursors[cursor.index(self.cursors.len())], channels, page),
            Step::Read(page) => self.read(page),
        }
        self.totals();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn invariants_5_9_10_11_12_14_hold_in_random_histories(steps in steps()) {
        let mut model = Model::new();
        steps.into_iter().for_each(|step| model.step(step));
        while model.stayed < model.bench.log.commit().idx {
            model.read(3);
        }
        for cursor in model.cursors.clone() {
            model.resume(cursor, 0b1111, 3);
        }
    }
}
