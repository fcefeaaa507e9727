//! What the kernel may choose.

use crate::cqe::{Res, Usage};
use crate::memory::Generation;
use crate::program::{RingId, SocketId};
use crate::request::RequestId;
use crate::trace::Words;

/// Everything that the kernel may choose, as far as it shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Decision {
    /// The call of this step returns.
    Return(i64),
    /// A request posts its result.
    Complete {
        /// The request.
        request: RequestId,
        /// Its result.
        res: Res,
        /// Whether it announces a notification.
        more: bool,
    },
    /// A request posts its notification.
    Notify {
        /// The request.
        request: RequestId,
        /// What it says of its bytes.
        usage: Usage,
    },
    /// A ring says whether completions wait outside its queue.
    Overflow {
        /// The ring.
        ring: RingId,
        /// It says so.
        set: bool,
    },
    /// A ring says this of itself.
    Words(Words),
    /// The peer reads bytes that this request sent.
    Deliver {
        /// The request.
        request: RequestId,
        /// How many, all from one segment.
        len_bytes: u64,
        /// The contents they have.
        generation: Generation,
    },
    /// The peer of a declared connection acknowledges bytes that have left.
    Ack {
        /// The socket.
        socket: SocketId,
        /// How many more than before.
        len_bytes: u64,
    },
    /// Bytes that the peer missed leave again, all from one segment.
    SendAgain {
        /// The socket.
        socket: SocketId,
        /// How many.
        len_bytes: u64,
        /// The contents they have.
        generation: Generation,
    },
    /// The peer of a datagram socket reads one datagram.
    Datagram {
        /// The socket.
        socket: SocketId,
        /// Its place among those that are on their way.
        index: usize,
    },
    /// Unseen: a request succeeded with what the peer has read of it, so the next in its chain was
    /// tried.
    Proceed {
        /// The request that succeeded.
        request: RequestId,
        /// It failed instead, and is linked so that the next one was tried all the same.
        failed: bool,
    },
}
