//! Who is there and who owns which slot, as one node sees it at one moment.

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};
use xxhash_rust::xxh3::Xxh3;

use super::member::{Departure, Member, State};
use super::place::{NOBODY, Table};
use crate::log::{Slot, Tag};

/// Who owns a slot in a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Who orders it.
    pub home: Tag,
    /// Who holds the second copy, when there are two copies and two nodes.
    pub follower: Option<Tag>,
}

/// What one node believes of the cluster. Two nodes with the same [`View::id`] place every slot alike.
#[derive(Clone, Debug)]
pub struct View {
    id: u64,
    me: Tag,
    /// Everyone who is not down, this node too, sorted by id and tag.
    members: Vec<Member>,
    /// Two places in `members` for each slot.
    table: Arc<Table>,
    departed: HashMap<Tag, Departure>,
    may_act: bool,
    /// Others left without a word, and may live behind a cut.
    misses_others: bool,
}

impl View {
    /// The view of `me` when these members are not down. `departed` says how those left who are not among them;
    /// `may_act` is `false` while this node doubts what it knows: then it takes nothing over and goes on as it was.
    #[must_use]
    pub fn new(me: Tag, mut members: Vec<Member>, replicas: u32, departed: HashMap<Tag, Departure>, may_act: bool) -> Self {
        members.sort_unstable_by_key(|member| (member.id, member.tag));
        members.truncate(usize::from(NOBODY));
        let active: Vec<(u8, u64)> = members
            .iter()
            .enumerate()
            .filter(|(_, member)| member.state == State::Active)
            .map(|(at, member)| (at as u8, member.id.0))
            .collect();
        let mut hash = Xxh3::new();
        for member in members.iter().filter(|member| member.state == State::Active) {
            hash.update(&member.id.0.to_le_bytes());
            hash.update(&member.tag.get().to_le_bytes());
        }
        Self { id: hash.digest(), me, members, table: Arc::new(Table::new(active, replicas)), departed, may_act, misses_others: false }
    }

    /// A cluster of one: this node owns everything.
    #[must_use]
    pub fn alone(me: Tag) -> Self {
        let member = Member { id: super::NodeId(0), tag: me, state: State::Active };
        let table = Table::new(vec![(0, 0)], 1);
        Self { id: 0, me, members: vec![member], table: Arc::new(table), departed: HashMap::new(), may_act: true, misses_others: false }
    }

    /// The same of a node that knows of others who left without a word, or of none.
    #[must_use]
    pub(super) fn missing_others(mut self, misses_others: bool) -> Self {
        self.misses_others = misses_others;
        self
    }

    /// Whether a view of these would say the same.
    pub(super) fn is_same(&self, members: &[Member], departed: &HashMap<Tag, Departure>, may_act: bool, misses_others: bool) -> bool {
        (self.may_act, self.misses_others) == (may_act, misses_others) && self.members == members && self.departed == *departed
    }

    /// A hash of the nodes that take slots: equal on nodes that place alike.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// This node.
    #[must_use]
    pub fn me(&self) -> Tag {
        self.me
    }

    /// Everyone who is not down, this node included.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The others who are not down.
    pub fn peers(&self) -> impl Iterator<Item = Tag> {
        self.members.iter().map(|member| member.tag).filter(|tag| *tag != self.me)
    }

    /// Whether this process is not down.
    #[must_use]
    pub fn is_present(&self, tag: Tag) -> bool {
        self.members.iter().any(|member| member.tag == tag)
    }

    /// How a process left that is not present; `Silent` when nothing is known.
    #[must_use]
    pub fn departure(&self, tag: Tag) -> Departure {
        self.departed.get(&tag).copied().unwrap_or(Departure::Silent)
    }

    /// Who owns a slot; `None` while no node takes slots.
    #[must_use]
    pub fn place(&self, slot: Slot) -> Option<Place> {
        let [home, follower] = self.table.row(slot)?;
        let tag = |at: u8| self.members.get(usize::from(at)).map(|member| member.tag);
        Some(Place { home: tag(home)?, follower: tag(follower) })
    }

    /// Whether this node is to leave and nobody is active to whom it could hand anything over, while others left without a word and may live
    /// behind a cut: what it took now they might never get. They are remembered for ten minutes, and longer while this node leaves.
    #[must_use]
    pub fn is_cut_off(&self) -> bool {
        let is_leaving = |member: &Member| member.tag == self.me && matches!(member.state, State::Draining | State::Leaving);
        self.misses_others && !self.members.iter().any(|member| member.state == State::Active) && self.members.iter().any(is_leaving)
    }

    /// Whether this node may take slots over.
    #[must_use]
    pub fn may_act(&self) -> bool {
        self.may_act
    }
}
