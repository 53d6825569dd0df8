//! `POST /v1/explain`: may the bearer of this token do this here, and why?

use bytes::Bytes;
use http::Response;
use http_body::Body;
use http_body_util::Full;
use serde::Deserialize;

use super::query::Query;
use super::{HttpApi, answer, body};
use crate::auth::grant::Caller;
use crate::auth::{Action, Credential, Denied, Look, Pass};
use crate::error::{Error, Result};
use crate::message::ChannelName;
use crate::wire;

/// Room for the longest token and a channel.
const BODY_BYTES_MAX: usize = 64 << 10;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    /// Without one, the caller asks about itself.
    token: Option<String>,
    channel: String,
    action: Action,
}

/// Answers `{"token"?,"channel","action"}` with `{"allowed","rule","why","caller":{…}}`. About another's token only who holds
/// it can ask; what is said of it is what its bearer would be told.
pub(super) async fn explain<B>(api: &HttpApi, pass: &Pass, query: &str, body: B) -> Result<Response<Full<Bytes>>>
where
    B: Body<Data = Bytes>,
{
    Query::parse(query, &[])?;
    // Anybody may ask, and each token that is asked about costs the check of a signature.
    pass.check_question()?;
    let bytes = body::read(body, BODY_BYTES_MAX, api).await?;
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(not_understood());
    }
    // The library's complaint might quote the token.
    let Question { token, channel, action } = serde_json::from_slice(&bytes).map_err(|_| not_understood())?;
    let channel = ChannelName::parse(&channel)?;
    let from = pass.comes_from();
    let looked_at = match &token {
        // Not counted and not logged, but against the rate: nobody was denied anything. So keys are not looked up here: nobody would notice
        // who guesses them.
        Some(token) => match api.gate.look_at(&Credential::Query(token.into()), from, Look::First) {
            // As at the door: its bearer would wait for the issuer's keys.
            Err(refusal) if refusal.cause == Denied::UnknownKid && api.gate.learn_keys(from).await => {
                api.gate.look_at(&Credential::Query(token.into()), from, Look::Again)
            }
            looked_at => looked_at,
        },
        None => Ok(pass.clone()),
    };
    let mut out = Vec::with_capacity(256);
    match looked_at {
        Ok(pass) => {
            let (mut rule, mut allowed, mut why) = pass.explain(action, &channel);
            if allowed && action == Action::Presence && !api.broker.has_presence(&channel) {
                (rule, allowed) = ("no_presence", false);
                why = "who is on this channel is not known: its namespace has no presence".to_owned();
            }
            write_verdict(&mut out, allowed, rule, &why);
            out.extend_from_slice(b",\"caller\":");
            write_caller(&mut out, &pass);
        }
        Err(refusal) if refusal.cause == Denied::Rate => return Err(api.gate.refuse(&refusal)),
        Err(refusal) => write_verdict(&mut out, false, refusal.cause.as_str(), &refusal.message),
    }
    out.push(b'}');
    Ok(answer::json(out))
}

fn not_understood() -> Error {
    let actions = Action::ALL.map(Action::as_str).join(", ");
    Error::invalid(format!("ask with an object of JSON: {{\"channel\", \"action\", \"token\"?}}; an action is one of {actions}"))
}

fn write_verdict(out: &mut Vec<u8>, allowed: bool, rule: &str, why: &str) {
    out.extend_from_slice(if allowed { b"{\"allowed\":true,\"rule\":" } else { b"{\"allowed\":false,\"rule\":" });
    wire::write_string(out, rule);
    out.extend_from_slice(b",\"why\":");
    wire::write_string(out, why);
}

fn write_caller(out: &mut Vec<u8>, pass: &Pass) {
    match pass.caller() {
        Caller::Everyone | Caller::Anyone => out.extend_from_slice(b"{}"),
        Caller::Backend(backend) => {
            out.extend_from_slice(b"{\"key\":");
            wire::write_string(out, &backend.name);
            out.push(b'}');
        }
        Caller::Token(claims) => {
            out.push(b'{');
            if let Some(user) = &claims.user {
                out.extend_from_slice(b"\"user\":");
                wire::write_string(out, user);
                out.push(b',');
            }
            out.extend_from_slice(b"\"until\":");
            wire::write_number(out, claims.until);
            out.push(b'}');
        }
    }
}
