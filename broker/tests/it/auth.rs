//! Who is let in and who may do what, tried over real sockets by those who may not.

mod carriers;
mod control;
mod expiry;
mod failures;
mod forged;
mod key_set;
mod keys_only;
mod logs;
mod names;
mod origin;
mod page;
mod rotation;
mod scene;
mod staying;
mod users;
