//! What a token says: its claims (RFC 7519, section 4.1), read strictly, and whether they hold now and here.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::super::action::Action;
use super::super::claims::{Between, Claims, Grant, SignedBy};
use super::super::pattern::Pattern;
use super::super::refusal::{Denied, Refusal};
use super::jws::object;

/// Longest `sub` and `jti`.
const NAME_BYTES_MAX: usize = 255;
/// Longest `info`.
const INFO_BYTES_MAX: usize = 1024;
/// Most grants of one token.
const GRANTS_MAX: usize = 64;
/// The end of the year 9999: whatever lies further ahead is as far.
const TIME_MAX: f64 = 253_402_300_799.0;

/// The claims that are looked at; others may be there.
#[derive(Deserialize)]
struct Payload<'a> {
    exp: Option<f64>,
    nbf: Option<f64>,
    iat: Option<f64>,
    iss: Option<String>,
    aud: Option<OneOrMany>,
    sub: Option<String>,
    jti: Option<String>,
    channels: Option<Vec<WireGrant>>,
    #[serde(borrow)]
    info: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// One entry of `channels`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WireGrant {
    /// A channel, or the beginning of channels and a `*`.
    pub r#match: String,
    /// What may be done there.
    pub can: Vec<String>,
}

/// What is asked of a token besides its signature.
#[derive(Clone, Debug, Default)]
pub(super) struct Demands {
    /// One of these; none means any.
    pub(super) audience: Vec<String>,
    /// One of these; none means any.
    pub(super) issuer: Vec<String>,
    /// Seconds.
    pub(super) leeway: u64,
}

impl Demands {
    /// Whether a token from this issuer for these readers is taken.
    pub(super) fn check(&self, between: &Between) -> Result<(), Refusal> {
        if !self.issuer.is_empty() && !between.issuer.as_ref().is_some_and(|from| self.issuer.iter().any(|known| **known == **from)) {
            return Err(Refusal::new(Denied::Issuer, "the token is not from an issuer that is believed here (`iss`, tokens.issuer)"));
        }
        let is_ours = |audience: &str| self.audience.iter().any(|known| known == audience);
        if !self.audience.is_empty() && !between.audience.iter().any(|audience| is_ours(audience)) {
            return Err(Refusal::new(Denied::Audience, "the token is meant for somebody else (`aud`, tokens.audience)"));
        }
        Ok(())
    }
}

/// Reads the claims that a key has signed and holds them against what is asked; `now` is in seconds since 1970.
pub(super) fn read(payload: &[u8], signed_by: SignedBy, demands: &Demands, now: u64) -> Result<Claims, Refusal> {
    let payload: Payload<'_> = object(payload, "payload")?;
    let until = expiry(payload.exp, demands.leeway, now)?;
    if let Some(nbf) = payload.nbf
        && time(nbf, "nbf")? > now.saturating_add(demands.leeway)
    {
        return Err(Refusal::new(Denied::NotYetValid, "the token is not valid yet (`nbf`)"));
    }
    let audience = match payload.aud {
        None => Vec::new(),
        Some(OneOrMany::One(audience)) => vec![audience],
        Some(OneOrMany::Many(audience)) => audience,
    };
    let between = Between { issuer: payload.iss.map(Into::into), audience: audience.into_iter().map(Into::into).collect() };
    demands.check(&between)?;
    // Most name neither, and take no room then.
    let between = (between != Between::default()).then(|| Box::new(between));
    let issued = payload.iat.map(|iat| time(iat, "iat")).transpose()?;
    let user = payload.sub.map(|sub| named(sub, "sub")).transpose()?;
    let id = payload.jti.map(|id| named(id, "jti")).transpose()?;
    let info = payload.info.filter(|info| info.get() != "null");
    if info.is_some_and(|info| info.get().len() > INFO_BYTES_MAX) {
        return Err(wrong(format!("`info` has at most {INFO_BYTES_MAX} bytes")));
    }
    let grants = payload.channels.unwrap_or_default();
    if grants.len() > GRANTS_MAX {
        return Err(wrong(format!("`channels` has at most {GRANTS_MAX} entries")));
    }
    let grants = grants.iter().enumerate().map(|(nth, grant)| read_grant(nth, grant)).collect::<Result<_, _>>()?;
    let (user, id, info) = (user.map(Into::into), id.map(Into::into), info.map(ToOwned::to_owned));
    Ok(Claims { user, id, issued, signed_by, is_address: false, between, grants, info, until })
}

/// Until when a token with this `exp` counts.
pub(in crate::auth) fn expiry(exp: Option<f64>, leeway: u64, now: u64) -> Result<u64, Refusal> {
    let exp = exp.ok_or_else(|| wrong("it must say when it expires (`exp`)".to_owned()))?;
    let until = time(exp, "exp")?.saturating_add(leeway);
    if until <= now {
        let ago = now - until;
        return Err(Refusal::new(Denied::Expired, "the token has expired; come back with a fresh one").with(format!("{ago} s ago")));
    }
    Ok(until)
}

/// A NumericDate (RFC 7519, section 2): seconds, perhaps with a fraction.
fn time(seconds: f64, name: &str) -> Result<u64, Refusal> {
    if seconds.is_finite() && seconds >= 0.0 {
        Ok(seconds.min(TIME_MAX) as u64)
    } else {
        Err(wrong(format!("`{name}` is a number of seconds since 1970")))
    }
}

fn read_grant(nth: usize, grant: &WireGrant) -> Result<Grant, Refusal> {
    let pattern = Pattern::parse(&grant.r#match).map_err(|why| wrong(format!("`match` of `channels[{nth}]`: {why}")))?;
    let can = grant.can.iter().map(|name| match Action::parse(name) {
        Some(action) if action.is_for_backends() => Err(wrong(format!("`channels[{nth}]`: `{action}` is for keys, no token holds it"))),
        Some(action) => Ok(action),
        None => Err(wrong(format!("`can` of `channels[{nth}]` holds what is none of subscribe, publish, history, presence"))),
    });
    Ok(Grant { pattern, can: can.collect::<Result<_, _>>()? })
}

/// A user's or a token's name: it goes into logs and channel names.
pub(in crate::auth) fn named(name: String, claim: &str) -> Result<String, Refusal> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        return Err(wrong(format!("`{claim}` has 1 to {NAME_BYTES_MAX} bytes and no control characters")));
    }
    Ok(name)
}

fn wrong(what: String) -> Refusal {
    Refusal::new(Denied::Claims, format!("the token's claims are not understood: {what}"))
}
