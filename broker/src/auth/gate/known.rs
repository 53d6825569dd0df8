//! By what a caller is known: the name that it has proven, or else where it comes from.

use super::Pass;
use crate::auth::grant::Caller;
use crate::limits;

impl Pass {
    /// The same caller; where it has no name, it is known by this from now on, also without a rate.
    #[must_use]
    pub fn known_by(self, from: Option<limits::Caller<'static>>) -> Self {
        if self.name().is_some() { self.coming_from(from) } else { Self { from: from.map(Box::new), ..self } }
    }

    /// The name that it has proven: of a backend that of its key, of a token that of its user.
    #[must_use]
    pub fn name(&self) -> Option<limits::Caller<'_>> {
        match &self.caller {
            Caller::Backend(backend) => Some(limits::Caller::Key(&backend.name)),
            Caller::Token(_) | Caller::Everyone | Caller::Anyone => self.user().map(|name| limits::Caller::User(name)),
        }
    }
}
