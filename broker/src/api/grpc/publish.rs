//! Publishing: append in order, answer when committed.

use tidings_proto::v1;

use super::GrpcServices;
use super::convert::{self, Asked, Words};
use super::status::publish_error;
use crate::api::refusals;
use crate::auth::Pass;
use crate::broker::{self, Attempt, Published, Receipt};
use crate::error::{Error, ErrorCode, Result};
use crate::message::{ChannelName, Draft};
use crate::metrics::{Metrics, Source};

/// A publish that has its place, or its refusal, and waits for the commit.
pub(super) enum Appended {
    One(Step),
    Several(Vec<Step>),
}

/// One message of it.
pub(super) struct Step {
    receipt: Result<Receipt>,
    bytes: u64,
}

impl Step {
    fn refused(error: Error) -> Self {
        Self { receipt: Err(error), bytes: 0 }
    }

    /// Waits for its commit, and counts what became of it.
    async fn committed(self, metrics: &Metrics) -> Result<v1::PublishResult> {
        let published = match self.receipt {
            Ok(receipt) => receipt.committed().await,
            Err(error) => Err(error),
        };
        counted(published, self.bytes, metrics).map(|published| convert::result(&published))
    }

    /// The same, when there is nothing to wait for.
    fn known(self, metrics: &Metrics) -> Known {
        let published = match self.receipt.map(Receipt::known) {
            Ok(broker::Known::NotYet(receipt)) => return Known::NotYet(Appended::One(Self { receipt: Ok(receipt), ..self })),
            Ok(broker::Known::Published(published)) => Ok(published),
            Err(error) => Err(error),
        };
        Known::Answer(counted(published, self.bytes, metrics))
    }

    /// Whether the broker had no room for it.
    fn is_overloaded(&self) -> bool {
        matches!(&self.receipt, Err(error) if error.code == ErrorCode::Overloaded)
    }
}

/// What is to be answered, as far as it is known.
pub(super) enum Known {
    Answer(Result<Published>),
    NotYet(Appended),
}

fn counted(published: Result<Published>, bytes: u64, metrics: &Metrics) -> Result<Published> {
    let outcome = published.as_ref().map(|published| published.duplicate).map_err(|error| error.code);
    metrics.published(Source::Grpc, outcome, bytes);
    published
}

/// A publish, as far as it comes without a wait.
pub(super) enum Begun {
    Appended(Appended),
    Waits(Rest),
}

/// What of a publish is still to be appended.
pub(super) enum Rest {
    /// It may be published, and some shard has no room for it yet.
    One(Draft),
    /// Nothing of it was looked at.
    Several(Vec<Result<Draft>>),
}

impl Rest {
    /// The channel, of one message to one.
    pub(super) fn channel(&self) -> Option<&ChannelName> {
        if let Self::One(draft) = self { Some(&draft.channel) } else { None }
    }

    /// What it takes, about. The bytes of a message that goes to several channels are there once.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::One(draft) => draft.bytes() as usize,
            Self::Several(drafts) => {
                let content = drafts.iter().flatten().next().map_or(0, Draft::bytes);
                let names: usize = drafts.iter().flatten().map(|draft| draft.channel.as_str().len()).sum();
                content as usize + size_of_val(&drafts[..]) + names
            }
        }
    }
}

/// One message of it.
enum Tried {
    Appended(Step),
    NoRoom(Draft),
}

impl GrpcServices {
    /// Tells that a publish was refused.
    pub(super) fn publish_refused(&self, pass: &Pass, channel: Option<&ChannelName>, error: &Error) {
        refusals::tell(&self.journal, Source::Grpc, (pass, None), channel, error);
    }

    /// Appends what a request asks for.
    pub(super) async fn append(&self, pass: &Pass, request: &v1::PublishRequest) -> Appended {
        match self.begin(pass, request) {
            Begun::Appended(appended) => appended,
            Begun::Waits(rest) => self.finish(pass, rest).await,
        }
    }

    /// Appends it, if it is one message for one channel, which finds room nearly always.
    pub(super) fn begin(&self, pass: &Pass, request: &v1::PublishRequest) -> Begun {
        match convert::asked(request, self.batch_messages) {
            Ok(Asked::One(draft)) => self.begin_one(pass, draft),
            Ok(Asked::Several(drafts)) => Begun::Waits(Rest::Several(drafts)),
            Err(error) => self.not_asked(pass, &request.channel, error),
        }
    }

    /// The same for one message to one channel, without headers.
    pub(super) fn begin_plain(&self, pass: &Pass, words: &Words<'_>) -> Begun {
        match convert::plain(words) {
            Ok(draft) => self.begin_one(pass, draft),
            Err(error) => self.not_asked(pass, words.channel, error),
        }
    }

    /// It cannot be published by anybody.
    fn not_asked(&self, pass: &Pass, channel: &str, error: Error) -> Begun {
        self.publish_refused(pass, ChannelName::parse(channel).ok().as_ref(), &error);
        Begun::Appended(Appended::refused(error))
    }

    fn begin_one(&self, pass: &Pass, draft: Draft) -> Begun {
        match self.try_one(pass, Ok(draft)) {
            Tried::Appended(step) => Begun::Appended(Appended::One(step)),
            Tried::NoRoom(draft) => Begun::Waits(Rest::One(draft)),
        }
    }

    fn try_one(&self, pass: &Pass, draft: Result<Draft>) -> Tried {
        let draft = match draft {
            Ok(draft) => draft,
            Err(error) => {
                self.publish_refused(pass, None, &error);
                return Tried::Appended(Step::refused(error));
            }
        };
        if let Err(error) = pass.check_publish(&draft) {
            self.publish_refused(pass, Some(&draft.channel), &error);
            return Tried::Appended(Step::refused(error));
        }
        let channel = draft.channel.clone();
        let bytes = draft.payload.bytes().len() as u64;
        let receipt = match self.broker.append_at_once(draft) {
            Ok(Attempt::Appended(receipt)) => Ok(receipt),
            Ok(Attempt::NoRoom(draft)) => return Tried::NoRoom(draft),
            Err(error) => {
                self.publish_refused(pass, Some(&channel), &error);
                Err(error)
            }
        };
        Tried::Appended(Step { receipt, bytes })
    }

    /// Appends what was begun.
    pub(super) async fn finish(&self, pass: &Pass, rest: Rest) -> Appended {
        match rest {
            Rest::One(draft) => Appended::One(self.wait(pass, draft).await),
            Rest::Several(drafts) => {
                let mut steps = Vec::with_capacity(drafts.len());
                for draft in drafts {
                    steps.push(match self.try_one(pass, draft) {
                        Tried::Appended(step) => step,
                        Tried::NoRoom(draft) => self.wait(pass, draft).await,
                    });
                }
                Appended::Several(steps)
            }
        }
    }

    /// Appends one message that may be published, when there is room.
    async fn wait(&self, pass: &Pass, draft: Draft) -> Step {
        let (bytes, channel) = (draft.payload.bytes().len() as u64, draft.channel.clone());
        let receipt = self.broker.append(draft).await.inspect_err(|error| self.publish_refused(pass, Some(&channel), error));
        Step { receipt, bytes }
    }

    /// Publishes several messages: all are appended before the first commit is waited for.
    /// Their number was bounded before they were decoded. Each has its own outcome.
    pub(super) async fn batch(&self, pass: &Pass, request: &v1::PublishBatchRequest) -> v1::PublishBatchResponse {
        let mut appended = Vec::with_capacity(request.messages.len());
        let mut full = false;
        for message in &request.messages {
            let next = if full { Appended::overloaded() } else { self.append(pass, message).await };
            full |= next.is_overloaded();
            appended.push(next);
        }
        let mut outcomes = Vec::with_capacity(appended.len());
        for appended in appended {
            outcomes.push(outcome(appended.committed(&self.metrics).await));
        }
        v1::PublishBatchResponse { outcomes }
    }
}

impl Appended {
    /// Nothing was appended.
    pub(super) fn refused(error: Error) -> Self {
        Self::One(Step::refused(error))
    }

    /// Waits for the commit of everything appended, and counts it.
    ///
    /// # Errors
    /// Why the message was refused. Of a message to several channels each has its own outcome inside the result.
    pub(super) async fn committed(self, metrics: &Metrics) -> Result<v1::PublishResult> {
        match self {
            Self::One(step) => step.committed(metrics).await,
            Self::Several(steps) => {
                let mut results = Vec::with_capacity(steps.len());
                for step in steps {
                    results.push(outcome(step.committed(metrics).await));
                }
                Ok(v1::PublishResult { results, ..Default::default() })
            }
        }
    }

    /// As [`Appended::committed`], when there is nothing to wait for.
    pub(super) fn known(self, metrics: &Metrics) -> Known {
        match self {
            Self::One(step) => step.known(metrics),
            several => Known::NotYet(several),
        }
    }

    /// Refused because one before it was: each would wait as long for the same room, and order asks that none overtakes.
    pub(super) fn overloaded() -> Self {
        Self::refused(Error::new(ErrorCode::Overloaded, "the broker has no room for more messages now; publish again later"))
    }

    /// How many outcomes it has.
    pub(super) fn outcomes(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Several(steps) => steps.len(),
        }
    }

    /// Whether the broker had no room for it, or for a part of it.
    pub(super) fn is_overloaded(&self) -> bool {
        match self {
            Self::One(step) => step.is_overloaded(),
            Self::Several(steps) => steps.iter().any(Step::is_overloaded),
        }
    }
}

fn outcome(result: Result<v1::PublishResult>) -> v1::PublishOutcome {
    use v1::publish_outcome::Outcome;
    let outcome = match result {
        Ok(result) => Outcome::Result(result),
        Err(error) => Outcome::Error(publish_error(error)),
    };
    v1::PublishOutcome { outcome: Some(outcome) }
}
