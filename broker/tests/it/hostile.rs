//! Garbage on every port. After each attack the broker still answers on all of them, nothing of it is left in the gauges,
//! and nothing panicked; with its connections still open, it does not spin.

mod bombs;
mod callers;
mod cursors;
mod daemon;
mod garbage;
mod http2;
mod incoming;
mod memory;
mod newcomers;
mod publishes;
mod rates;
mod scene;
mod strangers;
mod unread;
mod visitors;
