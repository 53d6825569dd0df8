//! The two ways to publish: a JSON description, or a raw body.

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Response};
use http_body::Body;
use http_body_util::Full;

use super::description::{self, Target};
use super::query::Query;
use super::{HttpApi, answer, body};
use crate::api::draft::{Content, parse_ttl};
use crate::auth::{Action, Pass};
use crate::broker::{Published, Receipt};
use crate::error::{Error, ErrorCode, Result};
use crate::limits::{counted, gave_way};
use crate::message::{ChannelName, EventName, Headers, MessageId, Payload, PublishId};
use crate::metrics::Source;
use crate::wire;

/// What `curl --data` says about every body, whatever it holds: no statement at all.
const FORM: &str = "application/x-www-form-urlencoded";

/// `POST /v1/channels/{channel}/messages`: the body is the payload.
pub(super) async fn raw<B>(
    api: &HttpApi,
    pass: &Pass,
    parts: &Parts,
    channel: ChannelName,
    query: &str,
    body: B,
) -> Result<Response<Full<Bytes>>>
where
    B: Body<Data = Bytes>,
{
    // Before a byte of the body is read. When it is there this is asked once more, and counts then.
    pass.check_permitted(Action::Publish, &channel)?;
    let query = Query::parse(query, &["event", "id", "ttl"])?;
    let content_type = content_type(&parts.headers)?;
    refuse_content_encoding(&parts.headers)?;
    let event = query.get("event").map(EventName::parse).transpose()?;
    let id = query.get("id").map(PublishId::keyed).transpose()?;
    let ttl = query.get("ttl").map(parse_ttl).transpose()?;
    // All of the body is payload, and how long it is may be said before. What is too long at any time is told so below.
    let announced = body.size_hint().lower();
    if announced <= api.limits.payload_bytes_max as u64 {
        pass.check_pace_of_publish(announced)?;
    }
    let bytes = body::read(body, api.limits.payload_bytes_max, api).await?;
    let content = Content { payload: Payload::new(&bytes, content_type)?, event, id, headers: Headers::default(), ttl };
    one(api, (pass, parts), channel, content).await
}

/// `POST /v1/publish`: the body describes the message and where it goes.
/// Where to is written to `to` as soon as it is known, so that a refusal can name it.
pub(super) async fn json<B>(
    api: &HttpApi,
    pass: &Pass,
    parts: &Parts,
    query: &str,
    body: B,
    to: &mut Option<ChannelName>,
) -> Result<Response<Full<Bytes>>>
where
    B: Body<Data = Bytes>,
{
    Query::parse(query, &[])?;
    refuse_content_encoding(&parts.headers)?;
    // How much of it is payload nobody knows yet: it passes unless there is room for none.
    pass.check_pace_of_publish(1)?;
    let bytes = body::read(body, api.limits.json_bytes_max(), api).await?;
    let publish = Publish::parse(api, &bytes).inspect_err(|_| *to = description::channel_of(&bytes))?;
    if let Targets::One(channel) = &publish.target {
        *to = Some(channel.clone());
    }
    answered(api, (pass, parts), publish, bytes.len()).await
}

/// Publishes what `bytes` were read for. What waits counts with what is half here.
async fn answered(api: &HttpApi, (pass, parts): (&Pass, &Parts), publish: Publish, bytes: usize) -> Result<Response<Full<Bytes>>> {
    // As a whole it is refused where all of a request is.
    let refused = |channel: &str, error: &Error| api.publish_refused(pass, parts, ChannelName::parse(channel).ok().as_ref(), error);
    let published = async { publish.append(api, pass, Source::Http).await?.answer(api, refused).await };
    counted(&api.incoming, bytes, published).await.unwrap_or_else(|| Err(gave_way())).map(answer::json)
}

async fn one(api: &HttpApi, asker: (&Pass, &Parts), channel: ChannelName, content: Content) -> Result<Response<Full<Bytes>>> {
    let bytes = content.payload.bytes().len();
    answered(api, asker, Publish { target: Targets::One(channel), content }, bytes).await
}

/// A publish that was understood.
#[derive(Debug)]
pub(super) struct Publish {
    target: Targets,
    content: Content,
}

#[derive(Debug)]
enum Targets {
    One(ChannelName),
    /// Each of them is judged and answered for itself.
    Many(Vec<String>),
}

impl Publish {
    /// Reads a described message.
    ///
    /// # Errors
    /// `invalid_request` that says what is wrong, `too_large` for too many channels.
    pub(super) fn parse(api: &HttpApi, bytes: &[u8]) -> Result<Self> {
        let (target, content) = description::parse(bytes)?;
        let target = match target {
            Target::One(channel) => Targets::One(ChannelName::parse(&channel)?),
            Target::Many(channels) if channels.len() > api.limits.batch_channels_max => {
                return Err(Error::new(
                    ErrorCode::TooLarge,
                    format!("one publish goes to at most {} channels, this one names {}", api.limits.batch_channels_max, channels.len()),
                ));
            }
            Target::Many(channels) => Targets::Many(channels),
        };
        Ok(Self { target, content })
    }

    /// The channels that keep the message from its sender, and the id by which the sender knows it: its own, or else one that
    /// it gets for that.
    pub(super) fn unechoed(&mut self, api: &HttpApi) -> Vec<(ChannelName, MessageId)> {
        let is_unechoed = |channel: &ChannelName| !api.broker.echoes(channel);
        let channels: Vec<ChannelName> = match &self.target {
            Targets::One(channel) => std::iter::once(channel).filter(|channel| is_unechoed(channel)).cloned().collect(),
            Targets::Many(channels) => channels.iter().filter_map(|name| ChannelName::parse(name).ok()).filter(is_unechoed).collect(),
        };
        if channels.is_empty() {
            return Vec::new();
        }
        let id = MessageId::from(&*self.content.id.get_or_insert_with(PublishId::fresh));
        channels.into_iter().map(|channel| (channel, id.clone())).collect()
    }

    /// Appends to all channels in the order given. Their order is then fixed, and their commits may be waited for together:
    /// one slow commit does not hold up the next append.
    ///
    /// # Errors
    /// What refused it, if it goes to one channel; with several, each has its own outcome.
    pub(super) async fn append(self, api: &HttpApi, pass: &Pass, source: Source) -> Result<Appended> {
        let bytes = self.content.payload.bytes().len() as u64;
        let receipts = match self.target {
            Targets::One(channel) => {
                let draft = self.content.for_channel(channel);
                pass.check_publish(&draft)?;
                Receipts::One(api.broker.append(draft).await?)
            }
            Targets::Many(channels) => {
                let mut receipts = Vec::with_capacity(channels.len());
                for channel in channels {
                    let receipt = append(api, pass, &channel, self.content.clone()).await;
                    receipts.push((channel, receipt));
                }
                Receipts::Many(receipts)
            }
        };
        Ok(Appended { receipts, bytes, source })
    }
}

/// A publish whose order is given.
#[derive(Debug)]
pub(super) struct Appended {
    receipts: Receipts,
    bytes: u64,
    source: Source,
}

#[derive(Debug)]
enum Receipts {
    One(Receipt),
    Many(Vec<(String, Result<Receipt>)>),
}

impl Appended {
    /// Waits for the commits: the answer as JSON. Of several channels each that refused is told to `refused`.
    ///
    /// # Errors
    /// As [`Publish::append`].
    pub(super) async fn answer(self, api: &HttpApi, refused: impl Fn(&str, &Error)) -> Result<Vec<u8>> {
        let Self { receipts, bytes, source } = self;
        let receipts = match receipts {
            Receipts::One(receipt) => {
                let published = receipt.committed().await?;
                api.metrics.published(source, Ok(published.duplicate), bytes);
                let mut out = Vec::with_capacity(192);
                write_published(&mut out, &published);
                return Ok(out);
            }
            Receipts::Many(receipts) => receipts,
        };
        let mut out = b"{\"results\":[".to_vec();
        for (n, (channel, receipt)) in receipts.into_iter().enumerate() {
            if n > 0 {
                out.push(b',');
            }
            let outcome = match receipt {
                Ok(receipt) => receipt.committed().await,
                Err(error) => Err(error),
            };
            let counted = outcome.as_ref().map(|published| published.duplicate).map_err(|error| error.code);
            api.metrics.published(source, counted, bytes);
            match outcome {
                Ok(published) => write_published(&mut out, &published),
                Err(error) => {
                    refused(&channel, &error);
                    write_failed(&mut out, &channel, &error);
                }
            }
        }
        out.extend_from_slice(b"]}");
        Ok(out)
    }
}

async fn append(api: &HttpApi, pass: &Pass, channel: &str, content: Content) -> Result<Receipt> {
    let draft = content.for_channel(ChannelName::parse(channel)?);
    pass.check_publish(&draft)?;
    api.broker.append(draft).await
}

/// `{"channel","offset","cursor","id","copies","duplicate"}`.
fn write_published(out: &mut Vec<u8>, published: &Published) {
    out.extend_from_slice(b"{\"channel\":");
    wire::write_string(out, published.channel.as_str());
    out.extend_from_slice(b",\"offset\":");
    wire::write_number(out, published.offset);
    out.extend_from_slice(b",\"cursor\":");
    wire::write_string(out, &published.cursor());
    out.extend_from_slice(b",\"id\":");
    wire::write_id(out, &published.id);
    out.extend_from_slice(b",\"copies\":");
    wire::write_number(out, u64::from(published.copies));
    out.extend_from_slice(if published.duplicate { b",\"duplicate\":true}" } else { b",\"duplicate\":false}" });
}

/// `{"channel","error":{…}}`.
fn write_failed(out: &mut Vec<u8>, channel: &str, error: &Error) {
    out.extend_from_slice(b"{\"channel\":");
    wire::write_string(out, channel);
    out.push(b',');
    let mut object = Vec::new();
    wire::write_error(&mut object, error);
    // The error's own object without its opening brace: its members become members of this one.
    out.extend_from_slice(&object[1..]);
}

/// The content type the publisher really chose.
fn content_type(headers: &HeaderMap) -> Result<Option<&str>> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(None) };
    let text = value.to_str().map_err(|_| Error::invalid("a content type is printable ASCII"))?.trim();
    let essence = text.split(';').next().unwrap_or_default().trim();
    Ok((!text.is_empty() && !essence.eq_ignore_ascii_case(FORM)).then_some(text))
}

/// Compressed bytes would reach subscribers as they are, and nothing would tell them. Transfer codings besides chunked are
/// optional (RFC 9112, section 6.1), and hyper leaves them on.
fn refuse_content_encoding(headers: &HeaderMap) -> Result<()> {
    if headers.get_all(header::TRANSFER_ENCODING).iter().any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked")) {
        return Err(Error::invalid("of the transfer codings only chunked is supported"));
    }
    match headers.get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes) {
        None | Some(b"") => Ok(()),
        Some(encoding) if encoding.eq_ignore_ascii_case(b"identity") => Ok(()),
        Some(_) => Err(Error::invalid("Content-Encoding is not supported; send the body as it is")),
    }
}
