//! Stories of the hub.
