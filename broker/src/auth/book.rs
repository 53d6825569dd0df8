//! Everything the gate goes by, read from the configuration once and then never changed: another book takes its place.

use std::sync::Arc;

use super::carrier::Credential;
use super::certificate::{ClientName, KnownBy};
use super::config::Config;
use super::grant::{Backend, Caller, Policy, Proof};
use super::keyring::Keyring;
use super::refusal::{Denied, Refusal};
use super::signed_url::Signers;
use super::token::{Verifier, looks_like_one};

/// Longest API key.
const KEY_BYTES_MAX: usize = 1024;

/// What is wrong with the configuration of credentials.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {what}")]
pub struct Problem {
    /// The key.
    pub path: &'static str,
    /// What is wrong with it.
    pub what: String,
}

/// Who is known, and what they may do.
#[derive(Clone, Debug)]
pub struct Book {
    keyring: Keyring,
    peers: Vec<(u32, Arc<Backend>)>,
    certificates: Vec<(KnownBy, Arc<Backend>)>,
    /// With the configured keys.
    configured: Verifier,
    /// With those of the fetched set besides.
    verifier: Verifier,
    set: Option<Set>,
    signers: Signers,
    policy: Policy,
    cookie: Option<Box<str>>,
    open: bool,
    /// Another number for every book that took this one's place: who was looked up in the same need not be looked up again.
    edition: u32,
}

/// A key set that is fetched.
#[derive(Clone, Debug)]
struct Set {
    url: Box<str>,
    /// As it was fetched last.
    text: Option<Arc<[u8]>>,
}

impl Book {
    /// Reads keys and permissions, files of keys included.
    ///
    /// # Errors
    /// The first key that will not do.
    pub fn read(config: &Config) -> Result<Self, Problem> {
        let named = |nth: usize, why: String| format!("number {} of the list: {why}", nth + 1);
        let configured = Verifier::new(&config.tokens).map_err(|(nth, why)| Problem { path: "tokens.keys", what: named(nth, why) })?;
        let signers = Signers::new(&config.signed_urls).map_err(|(nth, why)| Problem { path: "signed_urls", what: named(nth, why) })?;
        let peer = |peer: &super::config::UnixPeer| {
            let (can, channels) = (peer.can.iter().copied().collect(), peer.channels.iter().cloned().collect());
            (peer.uid, Arc::new(Backend { name: peer.name.as_str().into(), proof: Proof::Peer(peer.uid), can, channels }))
        };
        let certificate = |(nth, certificate): (usize, &super::config::Certificate)| {
            let why = || named(nth, "give one of `uri`, `dns` and `common_name`".to_owned());
            let known_by = certificate.known_by().ok_or_else(|| Problem { path: "certificates", what: why() })?;
            let (can, channels) = (certificate.can.iter().copied().collect(), certificate.channels.iter().cloned().collect());
            let proof = Proof::Certificate(known_by.clone());
            Ok((known_by, Arc::new(Backend { name: certificate.name.as_str().into(), proof, can, channels })))
        };
        let mut book = Self {
            keyring: Keyring::new(&config.keys),
            peers: config.unix_peers.iter().map(peer).collect(),
            certificates: config.certificates.iter().enumerate().map(certificate).collect::<Result<_, Problem>>()?,
            verifier: configured.clone(),
            configured,
            set: config.tokens.jwks_url.as_deref().map(|url| Set { url: url.into(), text: None }),
            signers,
            policy: config.policy.clone(),
            cookie: config.tokens.cookie.as_deref().map(Into::into),
            open: false,
            edition: 0,
        };
        book.open = config.open && !book.knows_anybody();
        Ok(book)
    }

    /// Whether everyone may do everything.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Whether any credential would be believed.
    #[must_use]
    pub fn knows_anybody(&self) -> bool {
        let has_backends = !self.keyring.is_empty() || !self.peers.is_empty() || !self.certificates.is_empty();
        has_backends || !self.signers.is_empty() || self.configured.has_keys() || self.set.is_some()
    }

    /// What namespaces allow.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The keys that sign addresses.
    #[must_use]
    pub fn signers(&self) -> &Signers {
        &self.signers
    }

    /// The name of the cookie that carries tokens.
    #[must_use]
    pub fn cookie(&self) -> Option<&str> {
        self.cookie.as_deref()
    }

    /// Where more keys are fetched from.
    #[must_use]
    pub fn set_url(&self) -> Option<&str> {
        self.set.as_ref().map(|set| &*set.url)
    }

    /// How many keys for tokens are known.
    #[must_use]
    pub fn key_count(&self) -> usize {
        self.verifier.key_count()
    }

    /// The backend whose processes this user of the machine runs.
    #[must_use]
    pub fn peer(&self, uid: u32) -> Option<&Arc<Backend>> {
        self.peers.iter().find(|(known, _)| *known == uid).map(|(_, backend)| backend)
    }

    /// The backend that this certificate makes its holder.
    #[must_use]
    pub fn certified(&self, client: &ClientName) -> Option<&Arc<Backend>> {
        self.certificates.iter().find(|(known, _)| client.is(known)).map(|(_, backend)| backend)
    }

    /// Who shows this; `now` is in seconds since 1970.
    ///
    /// # Errors
    /// Why it is not believed. [`Denied::UnknownKid`] may become another answer once the key set was fetched anew.
    pub fn caller(&self, credential: &Credential<'_>, now: u64) -> Result<Caller, Refusal> {
        self.unsigned(credential).unwrap_or_else(|| self.signed(credential, now))
    }

    /// Who shows this, if there is no signature to check: nobody, or a backend by its key. That costs next to nothing.
    pub(super) fn unsigned(&self, credential: &Credential<'_>) -> Option<Result<Caller, Refusal>> {
        let Credential::Bearer(text) = credential else { return matches!(credential, Credential::None).then_some(Ok(Caller::Anyone)) };
        match self.key(text) {
            Some(backend) => Some(Ok(Caller::Backend(backend.clone()))),
            None if looks_like_one(text) => None,
            None => Some(Err(Refusal::new(
                Denied::UnknownKey,
                "the API key is unknown; `keys` in the configuration lists the hashes of those that are known",
            ))),
        }
    }

    /// Who shows this token or signed address.
    pub(super) fn signed(&self, credential: &Credential<'_>, now: u64) -> Result<Caller, Refusal> {
        let claims = match credential {
            // A key must not stand in an address or a cookie: both are written down in too many places.
            Credential::Query(text) => self.verifier.verify(text, now),
            Credential::Bearer(text) | Credential::Cookie(text) => self.verifier.verify(text, now),
            Credential::Url(url) => self.signers.verify(url, now),
            Credential::None => return Ok(Caller::Anyone),
        };
        Ok(Caller::Token(Arc::new(claims?)))
    }

    /// Who it is now that was this in another book.
    ///
    /// # Errors
    /// Why that is nobody here: what it showed then is not known any more.
    pub(super) fn again(&self, before: &Caller) -> Result<Caller, Refusal> {
        if self.open {
            return Ok(Caller::Everyone);
        }
        match before {
            Caller::Everyone | Caller::Anyone => Ok(Caller::Anyone),
            Caller::Backend(backend) => {
                let known = match &backend.proof {
                    Proof::Key(hash) => self.keyring.of(hash),
                    Proof::Peer(uid) => self.peer(*uid),
                    Proof::Certificate(name) => self.certificates.iter().find(|(known, _)| known == name).map(|(_, backend)| backend),
                };
                known.cloned().map(Caller::Backend).ok_or_else(|| {
                    let what = "what this connection was opened with (a key, a certificate, a user of the machine) was taken out of the \
                                configuration";
                    Refusal::new(Denied::UnknownKey, what).with(format!("it was the backend `{}`", backend.name))
                })
            }
            Caller::Token(claims) if self.verifier.has(claims.signed_by) => self.verifier.check(claims).map(|()| before.clone()),
            Caller::Token(claims) if self.signers.has(claims.signed_by) => Ok(before.clone()),
            Caller::Token(_) => Err(Refusal::new(
                Denied::UnknownKey,
                "the key that signed the token or the address was taken out; come back with a fresh one",
            )),
        }
    }

    /// Which of the gate's books it is.
    #[must_use]
    pub(super) fn edition(&self) -> u32 {
        self.edition
    }

    fn key(&self, text: &str) -> Option<&Arc<Backend>> {
        // A hash of a megabyte would cost its sender nothing.
        if text.len() > KEY_BYTES_MAX { None } else { self.keyring.find(text) }
    }

    /// What those hear who show no credential.
    #[must_use]
    pub(super) fn without_credential(&self) -> &'static str {
        if self.knows_anybody() {
            "a token or an API key is needed: send `Authorization: Bearer <token or key>`"
        } else {
            "no API key and no token is configured; add one under `keys` (`tidings key NAME`) or `tokens`, let a namespace allow it to \
             `anyone`, or run with --dev"
        }
    }

    /// With a set that was fetched; the same book when it is not wanted any more, or is what it was.
    pub(super) fn with_set(self: &Arc<Self>, url: &str, text: &[u8]) -> Result<Arc<Self>, String> {
        match &self.set {
            Some(set) if *set.url == *url && set.text.as_deref() != Some(text) => {
                let verifier = self.configured.with_set(text)?;
                let set = Some(Set { url: url.into(), text: Some(text.into()) });
                Ok(Arc::new(Self { verifier, set, edition: self.edition.wrapping_add(1), ..Self::clone(self) }))
            }
            _ => Ok(self.clone()),
        }
    }

    /// To take the place of the book before: with the set that it has fetched, if both want the same one.
    pub(super) fn after(mut self, before: &Self) -> Self {
        self.edition = before.edition.wrapping_add(1);
        let known = before.set.as_ref().and_then(|set| Some((&*set.url, set.text.clone()?)));
        match known {
            Some((url, text)) => {
                let now = Arc::new(self);
                // It was read before, so it is read again.
                now.with_set(url, &text).map_or_else(|_| Arc::unwrap_or_clone(now.clone()), Arc::unwrap_or_clone)
            }
            None => self,
        }
    }
}
