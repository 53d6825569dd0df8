//! Who is let in and who may do what, tried over real sockets by those who may not.

mod carriers;
mod expiry;
mod key_set;
mod origin;
mod page;
mod rotation;
mod scene;
