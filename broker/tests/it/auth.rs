//! Who is let in and who may do what, tried over real sockets by those who may not.

mod carriers;
mod expiry;
mod origin;
mod rotation;
mod scene;
