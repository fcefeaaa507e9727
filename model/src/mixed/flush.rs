//! A flush: several messages for one socket, made by one mixed send.
//!
//! What is seen of the one is a run of its messages one by one, in order, coarsened only so: their memory
//! is released together, usage is that of the request, and none can be withdrawn once it is flushed. A
//! message that was not sent is one that nobody submitted.

use super::MixedSend;
use crate::abi::{errno, msg, sqe_flag};
use crate::cqe::{Completion, Cqe, Errno, Res, Usage};
use crate::trace::{RingCqe, Seen, Trace, What};

/// Messages that go together, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flush {
    /// The messages, all for one socket.
    pub messages: Vec<MixedSend>,
}

/// What became of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All of it was accepted.
    Whole,
    /// So many bytes of it were accepted, and no more will be.
    Short(u64),
    /// Nothing of it was accepted.
    Failed(Errno),
    /// It was not tried, because one before it on the stream failed.
    NotSent,
}

/// What follows from the result of a flush.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum After {
    /// This became of each message.
    Ended(Vec<Outcome>),
    /// Nothing was accepted: the messages are sent again one by one, so that only the faulty one fails.
    Again(Vec<MixedSend>),
}

impl Flush {
    /// The one mixed send, with this user data. It waits for all, since a message is whole or has failed.
    pub fn send(&self, user_data: u64) -> MixedSend {
        let first = self.messages.first().cloned().unwrap_or_default();
        MixedSend {
            user_data,
            msg: first.msg | msg::WAITALL,
            reports: self.messages.iter().any(|message| message.reports),
            segments: self.messages.iter().flat_map(|message| message.segments.iter().copied()).collect(),
            ..first
        }
    }

    /// The messages as a chain: one by one, each only behind the one before it.
    pub fn chain(&self) -> Vec<MixedSend> {
        let mut chain = self.messages.clone();
        let last = chain.len().saturating_sub(1);
        for (i, message) in chain.iter_mut().enumerate() {
            message.msg |= msg::WAITALL;
            message.flags |= if i < last { sqe_flag::LINK } else { 0 };
        }
        chain
    }

    /// The messages on a datagram socket, where each is a request of its own, whatever becomes of the others.
    pub fn datagrams(&self) -> Vec<MixedSend> {
        let links = sqe_flag::LINK | sqe_flag::HARDLINK;
        let apart = |message: &MixedSend| MixedSend { flags: message.flags & !links, ..message.clone() };
        self.messages.iter().map(apart).collect()
    }

    /// What follows from the result of the one send.
    pub fn after(&self, res: Res) -> After {
        match res {
            Res::Bytes(accepted) => After::Ended(self.share(accepted)),
            Res::Err(error) => {
                let stopped = matches!(error.0, errno::ECANCELED | errno::EINTR);
                if self.messages.len() > 1 && !stopped {
                    return After::Again(self.chain());
                }
                After::Ended(vec![Outcome::Failed(error); self.messages.len()])
            }
        }
    }

    fn share(&self, accepted: u64) -> Vec<Outcome> {
        let mut left = accepted;
        let mut outcomes = Vec::new();
        let mut failed = false;
        for message in &self.messages {
            let len = message.len_bytes();
            let outcome = match () {
                () if failed => Outcome::NotSent,
                () if len <= left => Outcome::Whole,
                () if left == 0 => Outcome::NotSent,
                () => Outcome::Short(left),
            };
            failed |= outcome != Outcome::Whole;
            left = left.saturating_sub(len);
            outcomes.push(outcome);
        }
        outcomes
    }

    /// A trace in which the one send has this user data, read as one of the chain of its messages.
    pub fn read(&self, user_data: u64, trace: &Trace) -> Trace {
        let result = trace.seen.iter().find_map(|seen| match &seen.what {
            What::Cqe(RingCqe { cqe, .. }) if cqe.user_data == user_data => match cqe.completion() {
                Some(Completion::Result { res, .. }) => Some(res),
                _ => None,
            },
            _ => None,
        });
        let told = result.map(|res| self.told(res)).unwrap_or_default();
        let mut read = Trace { seen: Vec::new(), end: trace.end };
        for seen in &trace.seen {
            let (ours, usage) = match &seen.what {
                What::Cqe(RingCqe { cqe, .. }) if cqe.user_data == user_data => match cqe.completion() {
                    Some(Completion::Notification(usage)) => (true, Some(usage)),
                    _ => (true, None),
                },
                _ => (false, None),
            };
            match &seen.what {
                What::Cqe(RingCqe { ring, .. }) if ours => {
                    for (message, res) in &told {
                        let post = completion(message, *res, usage);
                        let cqe = post.map(|post| Cqe::of(message.user_data, post));
                        let what = cqe.map(|cqe| What::Cqe(RingCqe { ring: *ring, cqe }));
                        read.seen.extend(what.map(|what| Seen { step: seen.step, what }));
                    }
                }
                // the one entry stands for the messages that were sent, and for all while that is not known
                What::Returned(1) => {
                    let sent = if result.is_some() { told.len() } else { self.messages.len() };
                    let what = What::Returned(sent as i64);
                    read.seen.push(Seen { step: seen.step, what });
                }
                other => read.seen.push(Seen { step: seen.step, what: other.clone() }),
            }
        }
        read
    }

    /// The messages that were tried, with what they came to.
    fn told(&self, res: Res) -> Vec<(&MixedSend, Res)> {
        let outcomes = match res {
            Res::Bytes(accepted) => self.share(accepted),
            Res::Err(error) => vec![Outcome::Failed(error); self.messages.len().min(1)],
        };
        let tried = self.messages.iter().zip(outcomes).filter_map(|(message, outcome)| {
            let res = match outcome {
                Outcome::Whole => Res::Bytes(message.len_bytes()),
                Outcome::Short(n) => Res::Bytes(n),
                Outcome::Failed(error) => Res::Err(error),
                Outcome::NotSent => return None,
            };
            Some((message, res))
        });
        tried.collect()
    }
}

/// The completion of a message that stands for one of the request.
fn completion(message: &MixedSend, res: Res, usage: Option<Usage>) -> Option<Completion> {
    let lends = match res {
        Res::Bytes(n) => message.lends_from().is_some_and(|before| n > before),
        Res::Err(_) => false,
    };
    match usage {
        None => Some(Completion::Result { res, more: lends }),
        Some(usage) if lends => {
            Some(Completion::Notification(if message.reports { usage } else { Usage::Clear }))
        }
        Some(_) => None,
    }
}
