//! Who is let in, and who may do what. Keys, tokens and signed addresses become a [`gate::Pass`]; a pass says whether this may
//! be done here, and which rule says so.
//!
//! It knows no sockets and no listeners, and of HTTP only where a request carries a credential. What it is told of the
//! namespaces are their [`grant::Permissions`].

pub mod action;
pub mod book;
pub mod carrier;
pub mod certificate;
pub mod claims;
pub mod config;
pub mod gate;
pub mod grant;
pub mod keyring;
pub mod origin;
pub mod pattern;
pub mod refusal;
pub mod revocations;
pub mod secret;
pub mod sets;
pub mod signed_url;
pub mod token;

pub use action::Action;
pub use book::{Book, Problem};
pub use carrier::Credential;
pub use certificate::ClientName;
pub use claims::Identity;
pub use gate::{Gate, Look, Pass, Rates};
pub use refusal::{Denied, Refusal};
pub use revocations::{Revocation, Revocations, Revoked};
