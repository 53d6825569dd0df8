//! What backends talk to: two skins over the same broker calls, with one table of errors.

pub mod draft;
pub mod http;
