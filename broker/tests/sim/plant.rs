//! Mistakes that are made on purpose, each of which must be found.

use tidings::cluster::core::Bug;
use tidings::presence;

/// Where a mistake is made.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Planted {
    Core(Bug),
    Presence(presence::Bug),
}

impl Planted {
    pub(crate) fn in_core(self) -> Option<Bug> {
        if let Self::Core(bug) = self { Some(bug) } else { None }
    }

    pub(crate) fn in_presence(self) -> Option<presence::Bug> {
        if let Self::Presence(bug) = self { Some(bug) } else { None }
    }
}
