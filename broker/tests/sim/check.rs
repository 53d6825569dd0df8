//! What a run counted.

/// Figures of one run or of many.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) runs: u64,
    pub(crate) acked: u64,
    pub(crate) delivered: u64,
    pub(crate) takeovers: u64,
    pub(crate) uncertain: u64,
    pub(crate) forced: u64,
    pub(crate) adopted: u64,
    pub(crate) lost: u64,
    pub(crate) gaps: u64,
    pub(crate) crashes: u64,
    pub(crate) copies_two: u64,
    /// Messages a listener got twice because a retry was ordered on both sides of a split.
    pub(crate) twice_by_id: u64,
}

impl Figures {
    pub(crate) fn add(&mut self, other: &Self) {
        self.runs += 1;
        self.acked += other.acked;
        self.delivered += other.delivered;
        self.takeovers += other.takeovers;
        self.uncertain += other.uncertain;
        self.forced += other.forced;
        self.adopted += other.adopted;
        self.lost += other.lost;
        self.gaps += other.gaps;
        self.crashes += other.crashes;
        self.copies_two += other.copies_two;
        self.twice_by_id += other.twice_by_id;
    }
}
