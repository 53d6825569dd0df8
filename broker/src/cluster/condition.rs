//! How a node stands in its cluster, in one word.

/// What a node can say of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It takes part, and no part of the cluster is out of its sight.
    Whole,
    /// It takes part, and others may go on without it: what is published there comes late.
    Degraded,
    /// It gathers links and copies and takes no slots yet.
    Joining,
    /// It hands its slots over.
    Leaving,
    /// Another process of its name is part of the cluster, or nodes that were there before it speak another protocol: so it is not.
    NotAdmitted,
}

impl Condition {
    /// The word for programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Degraded => "degraded",
            Self::Joining => "joining",
            Self::Leaving => "leaving",
            Self::NotAdmitted => "not_admitted",
        }
    }
}
