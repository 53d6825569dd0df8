//! Between what the core says and what goes over the wire. Clocks of nodes never meet: times leave as ages and come back as
//! times of the receiver's clock.

mod hear;
mod presence;
mod say;
#[cfg(test)]
mod tests;

pub use hear::{Heard, Names, Unread, beat as hear_beat, slot as hear_slot};
pub use presence::{bytes_of as bytes_of_presence, say as say_presence};
pub use say::{beat as say_beat, bytes_of, bytes_of_entry, bytes_of_id, bytes_of_name, bytes_of_record, bytes_of_state, slot as say_slot};
