//! Tokens and signed addresses that are refused: of each address so many a second are looked at.

use super::super::book::Book;
use super::super::carrier::Credential;
use super::super::grant::Caller;
use super::super::refusal::{Denied, Refusal};
use super::{Gate, Look, REVOKED, Rates, Shared};
use crate::error::Error;
use crate::limits::{self, rate_exceeded};
use crate::metrics::Rate;

impl Gate {
    /// Who shows something signed. To find that out is what costs, so from where too much was refused nothing more is looked at.
    ///
    /// A token whose key the set may still bring is not refused yet, so it is not charged at its first look: the issuer's keys change,
    /// and a crowd behind one address comes with good tokens.
    pub(super) fn check_signed(
        &self,
        book: &Book,
        credential: &Credential<'_>,
        from: Option<limits::Caller<'_>>,
        look: Look,
    ) -> Result<Caller, Refusal> {
        let Shared { rates: Rates { failures, .. }, clock, metrics, .. } = &*self.0;
        // What is not bounded costs nothing.
        let from = from.filter(|_| failures.rate() > 0);
        if let (Some(from), Look::First) = (from, look)
            && let Err(wait) = failures.look(from, 1, clock.mono())
        {
            metrics.caller_rate_exceeded(Rate::CallerFailures, from);
            let Error { message, wait, .. } = rate_exceeded(Rate::CallerFailures, failures.rate(), wait);
            let what = format!("too many tokens that came from your address were refused, so this one was not looked at: {message}");
            return Err(Refusal { wait, ..Refusal::new(Denied::Rate, what) });
        }
        let now = self.now();
        let mut caller = book.signed(credential, now);
        if caller.as_ref().is_ok_and(|caller| self.is_revoked(caller, now)) {
            caller = Err(Refusal::new(Denied::Revoked, REVOKED));
        }
        let may_be_known = |refusal: &Refusal| look == Look::First && refusal.cause == Denied::UnknownKid && book.set_url().is_some();
        if caller.as_ref().is_err_and(|refusal| !may_be_known(refusal)) {
            self.charge_failure(from);
        }
        caller
    }

    /// Nothing is left when others of the same address failed in this very moment.
    pub(super) fn charge_failure(&self, from: Option<limits::Caller<'_>>) {
        let Shared { rates: Rates { failures, .. }, clock, .. } = &*self.0;
        if let Some(from) = from.filter(|_| failures.rate() > 0) {
            let _ = failures.take(from, 1, clock.mono());
        }
    }
}
