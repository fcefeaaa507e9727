//! What a sender tells its caller: how a message ended, when memory is back, and what it has counted.

use std::fmt;

use uringspec_model::cqe::Errno;

use super::payload::Payload;

/// A socket of a sender. Never given out again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketKey {
    pub(super) index: u32,
    pub(super) generation: u32,
}

/// A message of a sender. Never given out again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket {
    /// Where it is sent.
    pub socket: SocketKey,
    /// Its number on that socket, from zero.
    pub number: u64,
}

/// How a message ended. Exactly one for each ticket, unless the message was withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The kernel has taken all of it.
    Whole,
    /// The kernel refused it, or the connection ended.
    Failed {
        /// Why.
        errno: Errno,
        /// How many of its bytes the kernel took before.
        sent_bytes: u64,
    },
    /// The socket was given up (`Sender::abort`, a missed deadline, the end of the sender).
    Cancelled {
        /// How many of its bytes the kernel took before.
        sent_bytes: u64,
    },
    /// Nothing of it was sent, because one before it on the same stream failed.
    NotSent,
    /// The ring is gone; nobody knows.
    Lost,
}

/// What happened to a message.
#[derive(Debug)]
pub enum Event {
    /// It ended; a message that nothing was lent for is over now.
    Ended(Ticket, Outcome),
    /// The kernel has let go of its memory, all of it, and here it is.
    Released(Ticket, Payload),
    /// What was sent there was not done, or not acknowledged, in time; the connection was reset.
    Overdue(SocketKey),
}

/// Why a message was not queued. It comes back as it was.
#[derive(Debug)]
pub struct Refused {
    /// Why.
    pub why: Refusal,
    /// What it would have lent, in order.
    pub payloads: Vec<Payload>,
}

/// Why something is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Too much is lent or queued; take events, and try again when something came back.
    Full,
    /// There is no such socket, or it has ended.
    Gone,
    /// It can never be sent: no bytes, or too many pieces.
    Unsendable,
    /// It has more bytes than a datagram of its socket can have.
    TooLong {
        /// The most that one can have.
        bytes_max: u64,
    },
    /// This process is a fork of the one that made the sender.
    Fork,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Refusal::TooLong { bytes_max } = self {
            return write!(f, "a datagram of this socket has at most {bytes_max} bytes");
        }
        f.write_str(match self {
            Refusal::TooLong { .. } => "a datagram of this socket has less bytes",
            Refusal::Full => "too much is queued or lent: take events and try again",
            Refusal::Gone => "the socket has ended",
            Refusal::Unsendable => "a message has 1 to 2^32 bytes in at most 64 pieces",
            Refusal::Fork => "a sender works only in the process that made it",
        })
    }
}

impl std::error::Error for Refusal {}

/// What was counted since the sender was made, and what is the case now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages that were queued.
    pub messages: u64,
    /// Messages that ended whole.
    pub whole: u64,
    /// Messages that ended otherwise, without those that were withdrawn.
    pub not_whole: u64,
    /// Calls of `flush` that had something to hand over.
    pub flushes: u64,
    /// Calls of the kernel.
    pub enters: u64,
    /// Entries that were pushed: sends and cancels.
    pub entries: u64,
    /// Completions that were taken: results and notifications.
    pub completions: u64,
    /// Requests that were zero-copied, and those of registered memory among them.
    pub zero_copy_requests: u64,
    /// Requests of registered memory.
    pub fixed_requests: u64,
    /// Requests that were copied.
    pub copy_requests: u64,
    /// Requests that the kernel cut into datagrams.
    pub segmented_requests: u64,
    /// Messages handed over, resumed ones again: over `flushes` it says how much is gathered.
    pub gathered: u64,
    /// Bytes that the kernel took.
    pub sent_bytes: u64,
    /// Bytes among them that requests without zero copy took.
    pub copied_bytes: u64,
    /// Bytes of headers that were copied into slots.
    pub staged_bytes: u64,
    /// Notifications, and those among them that said `COPIED`.
    pub notifications: u64,
    /// Notifications that said `COPIED`.
    pub copied_notifications: u64,
    /// Results that were short, so that the rest was sent again.
    pub resumed: u64,
    /// Requests that were refused as zero copy and then copied.
    pub fallbacks: u64,
    /// Completions of no request of this sender.
    pub strays: u64,
    /// Bytes of payloads in the sender's hands now, queued or lent.
    pub lent_bytes: u64,
    /// Bytes of the caller's own memory that were leaked, since nobody knows when the kernel lets go.
    pub leaked_bytes: u64,
}
