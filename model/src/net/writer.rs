//! A request's share of a stream.

use super::{REQUEST_OVERHEAD_BYTES, SocketSend};
use crate::request::RequestId;
use crate::space::Segment;

/// Whether a queue still refers to the memory of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holds {
    /// It must: the bytes cannot have left.
    Surely,
    /// It may.
    Maybe,
    /// It does not, or will not for long without anybody's doing.
    No,
}

/// A request's share of the stream, until the peer has read all of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Writer {
    /// The request.
    pub request: RequestId,
    /// Its bytes.
    pub send: SocketSend,
    /// The smallest and largest count accepted so far.
    pub accepted: (u64, u64),
    /// The smallest count that its first try takes if it takes any.
    pub least: u64,
    /// No more will be accepted than was.
    pub closed: bool,
    /// As `closed`, but how much was accepted is not known.
    pub ended: bool,
    /// The request's result is known to be this count, so the writer may go when the peer has it all.
    pub known: bool,
    /// Bytes that the peer has read.
    pub read: u64,
    /// Whether its bytes have left.
    pub holds: Holds,
    /// The writers before it in the list that were not closed when it came, so that their bytes may
    /// come in any order.
    pub unordered: Vec<RequestId>,
    /// Another zero-copy request's bytes may share a structure with its bytes.
    pub joined: bool,
    /// Its notification was seen.
    pub notified: bool,
    /// Another thread may not have tried it yet.
    pub loose: bool,
    /// Another thread tries it.
    pub threaded: bool,
    /// It need not leave before more comes.
    pub corked: bool,
    /// The first of the zero-copy requests that may share packets with it, itself if there is none.
    pub packet: RequestId,
}

impl Writer {
    /// What it counts for while the peer has not read it.
    pub(super) fn charge(&self) -> u64 {
        let bytes = if self.closed { self.accepted.1 } else { self.send.len_bytes };
        if self.closed && bytes <= self.read {
            return 0;
        }
        bytes.saturating_sub(self.read).saturating_add(REQUEST_OVERHEAD_BYTES)
    }

    /// Whether all that will be accepted surely was.
    pub fn is_settled(&self) -> bool {
        !self.loose && (self.closed || self.ended || self.accepted.0 == self.send.len_bytes)
    }

    /// Whether the peer has read some of it and may read more.
    pub(super) fn is_being_read(&self) -> bool {
        self.read > 0
    }

    /// Whether bytes of it must or may come before those of a later writer.
    pub(super) fn may_still_send(&self) -> bool {
        if self.closed {
            self.accepted.0 > self.read
        } else if self.ended {
            self.accepted.1 > self.read && (self.read == 0 || self.accepted.0 > self.read)
        } else {
            // a request with one try that was read in part may have ended there
            self.send.retries || self.read == 0 || self.accepted.0 > self.read
        }
    }

    /// The segments from `from` on, at most `len` bytes.
    pub fn bytes_from(&self, from: u64, len: u64) -> impl Iterator<Item = Segment> + '_ {
        let (mut skip, mut left) = (from, len);
        self.send.segments.iter().filter_map(move |segment| {
            if skip >= segment.len_bytes {
                skip -= segment.len_bytes;
                return None;
            }
            let take = (segment.len_bytes - skip).min(left);
            let piece = Segment { offset: segment.offset + skip, len_bytes: take, ..*segment };
            skip = 0;
            left -= take;
            (take > 0).then_some(piece)
        })
    }
}
