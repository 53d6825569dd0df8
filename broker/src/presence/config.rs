//! The section `presence` of the configuration.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Settings;
use crate::config::units::{self, HumanDuration};

/// Who is on a channel; namespaces say where that is known at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Presence")]
pub struct Config {
    /// How long a user stays after its last connection went away; who comes back within it, on any node, has neither left nor joined.
    #[serde(with = "units::duration")]
    #[schemars(with = "HumanDuration")]
    pub grace: Duration,
    /// Joins and leaves are told of channels with at most this many members, at most 1000; of larger ones only counts are, once a second.
    pub told: u32,
    /// Most members of one channel; past it who would be one more is refused where its connections are, or is not listed.
    pub members: u32,
    /// Most members that are connected to one node, over all channels; past it who would be one more is refused.
    pub members_of_node: u32,
    /// Most members that one node keeps at all: connected to it, gone for less than the grace, or of channels whose home it is (on one node alone everybody counts twice). From nine tenths on whoever goes has left at once, without a grace; past it who would be one more is refused, or is not listed.
    pub members_held: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { grace: Duration::from_secs(10), told: 1000, members: 200_000, members_of_node: 1_000_000, members_held: 4_000_000 }
    }
}

impl From<&Config> for Settings {
    fn from(config: &Config) -> Self {
        Self {
            grace: config.grace,
            told: config.told as usize,
            members: config.members as usize,
            members_of_node: config.members_of_node as usize,
            members_held: config.members_held as usize,
            #[cfg(debug_assertions)]
            bug: None,
        }
    }
}
