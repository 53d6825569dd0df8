//! `tidings token`: makes tokens with a key of the configuration, and says what a token is worth there.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tidings::auth::config::Config;
use tidings::auth::grant::{Caller, decide};
use tidings::auth::token::config::{Algorithm, TokenKey};
use tidings::auth::token::{SigningKey, WireGrant, sign};
use tidings::auth::{Action, Book, Credential};
use tidings::message::ChannelName;

use super::{Settings, connection};

/// What `tidings token make --help` says below the list of options.
const EXAMPLES: &str = "\
Examples:
  tidings token make --sub ann --channel 'chat:*' --can subscribe,history
  tidings token make --sub ann --grant 'chat:*=subscribe,publish' --grant news=subscribe --ttl 10m
  tidings token make --sub ann --algorithm ES256 --kid main --private-key key.pem

It signs with the first shared secret under `tokens.keys`, or with --kid that one. A private key is never in the broker's
configuration: give it with --private-key.";

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Token {
    /// Print a fresh token
    #[command(after_help = EXAMPLES)]
    Make(Make),
    /// Say whether the configured broker believes a token, and what its bearer may do
    Explain(Explain),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Make {
    /// The user it is for (`sub`)
    #[arg(long)]
    sub: Option<String>,
    /// A channel, or the beginning of channels and a `*`; may be repeated
    #[arg(long = "channel", value_name = "PATTERN")]
    channels: Vec<String>,
    /// What may be done there: subscribe, publish, history, presence
    #[arg(long, value_name = "ACTION,…", value_delimiter = ',', default_value = "subscribe,history", value_parser = action)]
    can: Vec<Action>,
    /// Channels with actions of their own; may be repeated
    #[arg(long = "grant", value_name = "PATTERN=ACTION,…", value_parser = grant)]
    grants: Vec<WireGrant>,
    /// How long it is good for
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = connection::duration)]
    ttl: Duration,
    /// What others may see of the user: JSON
    #[arg(long, value_name = "JSON", value_parser = info)]
    info: Option<Value>,
    /// Which key of `tokens.keys`
    #[arg(long)]
    kid: Option<String>,
    /// Sign with this private key (PEM, PKCS #8) instead
    #[arg(long, value_name = "FILE", requires = "algorithm")]
    private_key: Option<PathBuf>,
    /// The private key's algorithm, such as ES256
    #[arg(long, value_parser = algorithm)]
    algorithm: Option<Algorithm>,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Explain {
    /// The token; `-` reads it from standard input, where no other user of the machine sees it
    token: String,
    /// Ask about this channel
    #[arg(long)]
    channel: Option<String>,
    /// Ask about this action only
    #[arg(long, value_parser = action)]
    action: Option<Action>,
    #[command(flatten)]
    settings: Settings,
}

fn action(name: &str) -> Result<Action, String> {
    let known = Action::ALL.into_iter().filter(|action| !action.is_for_backends());
    known
        .clone()
        .find(|action| action.as_str() == name)
        .ok_or_else(|| format!("is none of {}", known.map(Action::as_str).collect::<Vec<_>>().join(", ")))
}

fn grant(text: &str) -> Result<WireGrant, String> {
    let (pattern, can) = text.rsplit_once('=').ok_or("has the form PATTERN=ACTION,…")?;
    let can = can.split(',').map(|name| action(name).map(|action| action.as_str().to_owned())).collect::<Result<_, _>>()?;
    Ok(WireGrant { r#match: pattern.to_owned(), can })
}

fn algorithm(name: &str) -> Result<Algorithm, String> {
    Algorithm::parse(name).ok_or_else(|| format!("is none of {}", Algorithm::ALL.map(Algorithm::as_str).join(", ")))
}

fn info(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|why| why.to_string())
}

impl Token {
    /// Does it, with the configuration that a broker would have.
    pub(crate) fn run(self, before: &Settings) -> ExitCode {
        let (Self::Make(Make { settings, .. }) | Self::Explain(Explain { settings, .. })) = &self;
        let config = match before.clone().under(settings.clone()).load() {
            Ok(loaded) => loaded.config.auth(),
            Err(problems) => return super::refuse(&problems),
        };
        let done = match self {
            Self::Make(make) => make.token(&config).map(|token| super::print(&format!("{token}\n"))),
            Self::Explain(explain) => explain.run(&config),
        };
        done.unwrap_or_else(|why| {
            eprintln!("{why}");
            ExitCode::FAILURE
        })
    }
}

impl Make {
    fn token(&self, config: &Config) -> Result<String, String> {
        let now = now();
        let can = || self.can.iter().map(|action| action.as_str().to_owned()).collect();
        let same = self.channels.iter().map(|pattern| WireGrant { r#match: pattern.clone(), can: can() });
        let grants: Vec<WireGrant> = same.chain(self.grants.iter().cloned()).collect();
        let mut claims = json!({ "iat": now, "exp": now + self.ttl.as_secs(), "channels": grants });
        let first = |list: &[String]| list.first().cloned();
        let more = [("sub", self.sub.clone()), ("aud", first(&config.tokens.audience)), ("iss", first(&config.tokens.issuer))];
        for (name, value) in more.into_iter().filter_map(|(name, value)| Some((name, value?))) {
            claims[name] = value.into();
        }
        if let Some(info) = &self.info {
            claims["info"] = info.clone();
        }
        let token = sign(&self.key(&config.tokens.keys)?, &claims)?;
        // What it would refuse is not worth handing out.
        if self.private_key.is_none() {
            let book = Book::read(config).map_err(|problem| problem.to_string())?;
            book.caller(&Credential::Query((&*token).into()), now).map_err(|refusal| refusal.message.into_owned())?;
        }
        Ok(token)
    }

    fn key(&self, keys: &[TokenKey]) -> Result<SigningKey, String> {
        if let (Some(path), Some(algorithm)) = (&self.private_key, self.algorithm) {
            let pem = std::fs::read(path).map_err(|why| format!("{}: cannot be read: {why}", path.display()))?;
            return SigningKey::of_pem(self.kid.as_deref(), algorithm, &pem);
        }
        let is_meant = |key: &&TokenKey| match &self.kid {
            Some(kid) => key.kid.as_ref() == Some(kid),
            None => key.algorithm.secret_bytes_min().is_some(),
        };
        match keys.iter().find(is_meant) {
            Some(key) => SigningKey::of_secret(key),
            None if self.kid.is_some() => Err("there is no key of that `kid` under `tokens.keys`".to_owned()),
            None => Err("there is no shared secret (HS256 …) under `tokens.keys`; give one, or --private-key and --algorithm".to_owned()),
        }
    }
}

impl Explain {
    fn run(&self, config: &Config) -> Result<ExitCode, String> {
        let mut token = self.token.clone();
        if token == "-" {
            token = std::io::read_to_string(std::io::stdin().lock()).map_err(|why| format!("cannot read standard input: {why}"))?;
        }
        let book = Book::read(config).map_err(|problem| problem.to_string())?;
        if book.set_url().is_some() {
            eprintln!("note: keys of tokens.jwks_url are not fetched here; ask a running broker with POST /v1/explain");
        }
        let caller = match book.caller(&Credential::Query(token.trim().into()), now()) {
            Ok(caller) => caller,
            Err(refusal) => {
                super::print(&format!("refused ({}): {}\n", refusal.cause.as_str(), refusal.message));
                return Ok(ExitCode::FAILURE);
            }
        };
        let mut text = describe(&caller);
        let mut allowed = true;
        if let Some(channel) = &self.channel {
            let channel = ChannelName::parse(channel).map_err(|why| why.message.into_owned())?;
            let asked = self.action.map_or_else(|| Action::ALL[..4].to_vec(), |action| vec![action]);
            for action in asked {
                let rule = decide(&caller, action, &channel, book.policy());
                allowed &= rule.allows();
                let may = if rule.allows() { "may" } else { "may NOT" };
                text.push_str(&format!("{may} {action} on `{channel}`: {}\n", rule.sentence(action, &channel)));
            }
        }
        super::print(&text);
        Ok(if allowed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn describe(caller: &Caller) -> String {
    let Caller::Token(claims) = caller else { return "nothing here asks for a token (dev)\n".to_owned() };
    let user = claims.user.as_deref().map_or_else(|| "no user (`sub`)".to_owned(), |user| format!("the user `{user}`"));
    let mut text = format!("believed: {user}, for {} s more\n", claims.until.saturating_sub(now()));
    for grant in &claims.grants {
        let can: Vec<&str> = grant.can.iter().map(Action::as_str).collect();
        text.push_str(&format!("  {} on `{}`\n", can.join(", "), grant.pattern));
    }
    text
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
