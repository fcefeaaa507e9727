//! One direction of a connection: what was accepted, what has left, what the peer has read.
//!
//! Bytes of several requests are kept as a partial order of writers, not as one sequence: which of
//! two requests that waited for room came first shows only when the peer reads. So nothing is
//! enumerated; every read narrows what is known.
//!
//! It errs on the side of allowing: where the lane says nothing about room, any count may be taken.

use super::{REQUEST_OVERHEAD_BYTES, SocketSend};
use crate::cqe::Res;
use crate::memory::{Generation, RegionId};
use crate::request::RequestId;
use crate::rules::Rule;
use crate::space::Segment;
use crate::trace::RoomReport;

/// Whether a send of a certain length is accepted whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// It must be.
    Enough,
    /// Nothing may be accepted.
    None,
    /// Any count.
    Unknown,
}

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

/// The state of the connection, as the sender sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Connection {
    /// Bytes can be sent.
    Open,
    /// The peer reset it.
    Reset(Pending),
    /// It can send no more: never connected, or shut down.
    Broken,
}

/// Whether the error of a reset was reported; it is reported once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pending {
    /// Not yet.
    Yes,
    /// A request that ended with a count may have used it up.
    Maybe,
    /// It was.
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
    /// Another thread may not have tried it yet.
    pub loose: bool,
}

/// What a socket has in its send queue and what its peer has read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stream {
    /// What the lane promises.
    pub room: RoomReport,
    /// The peer's window is closed: nothing leaves.
    pub window_closed: bool,
    /// Requests whose bytes the peer has not all read.
    pub writers: Vec<Writer>,
    /// The connection.
    pub connection: Connection,
    /// The descriptor is open.
    pub open: bool,
    /// `AF_UNIX`: no zero copy, and a peer that is gone is a broken pipe.
    pub is_unix: bool,
    /// It had a peer at the start.
    pub was_connected: bool,
}

impl Stream {
    /// A fresh connection.
    pub fn new(room: RoomReport, window_closed: bool, connected: bool, is_unix: bool) -> Stream {
        let connection = if connected { Connection::Open } else { Connection::Broken };
        let writers = Vec::new();
        Stream { room, window_closed, writers, connection, open: true, is_unix, was_connected: connected }
    }

    /// How the room looks to a send of `len` bytes.
    pub fn room_for(&self, len: u64) -> Room {
        if self.room.full {
            return Room::None;
        }
        let waiting: u64 = self.writers.iter().map(Writer::charge).fold(0, u64::saturating_add);
        let asked = len.saturating_add(REQUEST_OVERHEAD_BYTES);
        if waiting.saturating_add(asked) <= self.room.accepts_bytes { Room::Enough } else { Room::Unknown }
    }

    /// Takes a request's bytes on, with what was accepted of them by the first try.
    ///
    /// `beside` are requests that are tried together with it, in no promised order.
    pub fn enqueue(
        &mut self,
        request: RequestId,
        send: SocketSend,
        room: Room,
        loose: bool,
        beside: &[RequestId],
    ) {
        let len = send.len_bytes;
        let free = |w: &Writer| !w.is_settled() || beside.contains(&w.request);
        let unordered = self.writers.iter().filter(|w| free(w)).map(|w| w.request).collect();
        let joined = send.zero_copy && self.writers.iter().any(|w| w.accepted.1 > w.read);
        for earlier in self.writers.iter_mut().filter(|w| free(w)) {
            // its bytes may come behind those of this one
            earlier.joined |= send.zero_copy && earlier.send.zero_copy;
        }
        let accepted = match room {
            Room::Enough if !loose => (len, len),
            Room::None => (0, 0),
            Room::Enough | Room::Unknown => (0, len),
        };
        let least = if room == Room::Enough { len } else { 1 };
        let closed = room == Room::Enough && !loose;
        let mut writer = Writer {
            request,
            send,
            accepted,
            least,
            closed,
            known: closed,
            read: 0,
            holds: Holds::Surely,
            unordered,
            joined,
            loose,
        };
        if accepted.1 > 0 {
            writer.holds = self.holds_of_next(&writer);
        }
        self.writers.push(writer);
    }

    /// What was promised room and may not have been tried yet is promised none any more; the requests.
    pub fn lose_room(&mut self) -> Vec<RequestId> {
        let untried = self.writers.iter_mut().filter(|w| w.loose && w.read == 0 && w.accepted.0 == 0);
        let lost = untried.map(|writer| {
            writer.least = 1;
            writer.send.retries = true;
            writer.request
        });
        lost.collect()
    }

    /// Whether the bytes of a request that comes behind all others leave by themselves.
    fn holds_of_next(&self, next: &Writer) -> Holds {
        let ahead: u64 = self.writers.iter().map(Writer::charge).fold(0, u64::saturating_add);
        if self.window_closed {
            Holds::Surely
        } else if ahead.saturating_add(next.charge()) <= self.room.leaves_bytes {
            Holds::No
        } else {
            Holds::Maybe
        }
    }

    /// The writer of a request, while the peer has not read all of it.
    pub fn writer(&self, request: RequestId) -> Option<&Writer> {
        self.writers.iter().find(|w| w.request == request)
    }

    fn index(&self, request: RequestId) -> Option<usize> {
        self.writers.iter().position(|w| w.request == request)
    }

    /// Whether a queue still refers to the request's memory.
    pub fn holds(&self, request: RequestId) -> Holds {
        self.writer(request).map_or(Holds::No, |w| w.holds)
    }

    /// Whether the result `res` fits what the peer has read of the request.
    pub fn judge_result(&self, request: RequestId, res: Res) -> Result<(), Rule> {
        let Some(writer) = self.writer(request) else { return Ok(()) };
        match res {
            Res::Bytes(n) if n < writer.read => Err(Rule::StreamPrefix),
            Res::Err(_) if writer.read > 0 => Err(Rule::StreamPrefix),
            Res::Bytes(n) if writer.closed && !(writer.accepted.0..=writer.accepted.1).contains(&n) => {
                Err(Rule::StreamPrefix)
            }
            _ => Ok(()),
        }
    }

    /// The request's result is known.
    pub fn settle(&mut self, request: RequestId, res: Res) {
        let Some(i) = self.index(request) else { return };
        let count = match res {
            Res::Bytes(n) => n,
            Res::Err(_) => 0,
        };
        let writer = &mut self.writers[i];
        writer.accepted = (count, count);
        writer.closed = true;
        writer.known = true;
        writer.loose = false;
        self.forget_read(i);
    }

    /// The request took so much and no more will be taken of it, though how much is not known.
    pub fn took_at_least(&mut self, request: RequestId, least: u64, most: u64) {
        let Some(i) = self.index(request) else { return };
        let writer = &mut self.writers[i];
        writer.accepted = (writer.accepted.0.max(least), most);
        if least == most {
            writer.closed = true;
            writer.known = true;
            writer.loose = false;
            self.forget_read(i);
        }
    }

    /// What was taken of the request need not leave before more comes.
    pub fn cork(&mut self, request: RequestId) {
        if let Some(writer) = self.writers.iter_mut().find(|w| w.request == request)
            && writer.holds == Holds::No
        {
            writer.holds = Holds::Maybe;
        }
    }

    fn forget_read(&mut self, i: usize) {
        let writer = &self.writers[i];
        if writer.known && writer.accepted.1 <= writer.read {
            let gone = self.writers.remove(i).request;
            for writer in &mut self.writers {
                writer.unordered.retain(|r| *r != gone);
            }
        }
    }

    /// The requests whose bytes may be the next that the peer reads.
    pub fn front(&self) -> impl Iterator<Item = &Writer> {
        self.writers.iter().enumerate().filter_map(|(i, writer)| {
            let blocked = self.writers[..i]
                .iter()
                .any(|earlier| earlier.may_still_send() && !writer.unordered.contains(&earlier.request));
            (!blocked && writer.accepted.1 > writer.read).then_some(writer)
        })
    }

    /// Whether the peer may read `n` more bytes of `request` now.
    pub fn judge_read(&self, request: RequestId, n: u64) -> Result<(), Rule> {
        let writer = self.writer(request).ok_or(Rule::StreamNothingInvented)?;
        if self.connection_is_reset() || self.window_closed {
            return Err(Rule::StreamNothingInvented);
        }
        if writer.read.saturating_add(n) > writer.accepted.1 {
            return Err(Rule::StreamPrefix);
        }
        if !self.front().any(|w| w.request == request) {
            return Err(Rule::StreamInOrder);
        }
        // whoever was being read and had one try only has ended where the other begins
        let cut_short = self.writers.iter().any(|other| {
            other.request != request
                && other.is_being_read()
                && other.accepted.0 > other.read
                && !other.send.retries
        });
        if cut_short { Err(Rule::StreamContiguous) } else { Ok(()) }
    }

    /// The peer has read `n` more bytes of `request`.
    pub fn read(&mut self, request: RequestId, n: u64) {
        for i in (0..self.writers.len()).rev() {
            let other = &mut self.writers[i];
            if other.request != request && other.is_being_read() && !other.send.retries && !other.closed {
                other.accepted = (other.read, other.read);
                other.closed = true;
                self.forget_read(i);
            }
        }
        let Some(i) = self.index(request) else { return };
        let writer = &mut self.writers[i];
        writer.read += n;
        writer.accepted.0 = writer.accepted.0.max(writer.read).max(writer.least.min(writer.accepted.1));
        if writer.holds == Holds::Surely {
            writer.holds = Holds::Maybe;
        }
        if writer.accepted.1 == writer.read && writer.send.len_bytes == writer.read {
            writer.closed = true;
        }
        self.forget_read(i);
    }

    /// The peer is about to read: its window may open, and there may be room.
    pub fn open_window(&mut self) {
        self.window_closed = false;
        self.room.full = false;
        for writer in &mut self.writers {
            if writer.holds == Holds::Surely && writer.accepted.1 > 0 {
                writer.holds = Holds::Maybe;
            }
        }
    }

    /// The room that a request waits for may be there, so it may have been tried again.
    pub fn may_retry(&mut self, request: RequestId) {
        let Some(i) = self.index(request) else { return };
        let window_closed = self.window_closed;
        let writer = &mut self.writers[i];
        if !writer.closed {
            writer.accepted.1 = writer.send.len_bytes;
            if writer.holds == Holds::Surely && !window_closed {
                writer.holds = Holds::Maybe;
            }
        }
    }

    /// The request's notification was seen: its bytes have left, and so have those before them.
    pub fn released(&mut self, request: RequestId) {
        let Some(i) = self.index(request) else { return };
        let unordered = self.writers[i].unordered.clone();
        for writer in &mut self.writers[..=i] {
            if !unordered.contains(&writer.request) {
                writer.holds = Holds::No;
            }
        }
    }

    /// How the room looks to a request that was tried before and waits.
    pub fn room_for_retry(&self, request: RequestId) -> Room {
        if self.room.full {
            return Room::None;
        }
        let waiting = self.writers.iter().map(Writer::charge).fold(0, u64::saturating_add);
        let enough = self.writer(request).is_some() && waiting <= self.room.accepts_bytes;
        if enough { Room::Enough } else { Room::Unknown }
    }

    /// Nothing is queued on either end any more: what was accepted was read. Names the rule where
    /// that cannot be.
    pub fn judge_drained(&self) -> Result<(), Rule> {
        let lost = self.writers.iter().any(|w| w.accepted.0 > w.read);
        if lost && !self.connection_is_reset() { Err(Rule::StreamNothingLost) } else { Ok(()) }
    }

    /// Nothing is queued on either end any more.
    pub fn drained(&mut self) {
        if self.connection_is_reset() {
            return;
        }
        for i in (0..self.writers.len()).rev() {
            let writer = &mut self.writers[i];
            if !writer.closed && writer.read > 0 && !writer.send.retries {
                writer.accepted = (writer.read, writer.read);
                writer.closed = true;
            }
            if writer.read > 0 || writer.closed {
                writer.holds = Holds::No;
            }
            self.forget_read(i);
        }
    }

    /// The peer resets the connection: the queue is purged.
    pub fn reset(&mut self) {
        if !self.connection_is_reset() {
            self.connection = if self.is_unix { Connection::Broken } else { Connection::Reset(Pending::Yes) };
        }
        self.writers.clear();
    }

    /// Whether the peer reset the connection.
    pub fn connection_is_reset(&self) -> bool {
        matches!(self.connection, Connection::Reset(_))
    }

    /// The caller rewrote a region: bytes that lie in it and were not copied yet are the new ones.
    pub fn rewritten(&mut self, region: RegionId, now: Generation) {
        for writer in &mut self.writers {
            let (surely_new, surely_old) = if writer.send.zero_copy {
                (writer.holds == Holds::Surely, writer.holds == Holds::No && writer.is_settled())
            } else {
                (writer.accepted.1 == 0, writer.is_settled())
            };
            let touched = writer.send.segments.iter_mut().filter(|s| s.region == Some(region));
            for Segment { oldest, newest, .. } in touched.filter(|_| !surely_old) {
                *newest = now;
                if surely_new {
                    *oldest = now;
                }
            }
        }
    }
}

impl Writer {
    /// What it counts for while the peer has not read it.
    fn charge(&self) -> u64 {
        let bytes = if self.closed { self.accepted.1 } else { self.send.len_bytes };
        if self.closed && bytes <= self.read {
            return 0;
        }
        bytes.saturating_sub(self.read).saturating_add(REQUEST_OVERHEAD_BYTES)
    }

    /// Whether all that will be accepted surely was.
    pub fn is_settled(&self) -> bool {
        !self.loose && (self.closed || self.accepted.0 == self.send.len_bytes)
    }

    /// Whether the peer has read some of it and may read more.
    fn is_being_read(&self) -> bool {
        self.read > 0
    }

    /// Whether bytes of it must or may come before those of a later writer.
    fn may_still_send(&self) -> bool {
        if self.closed {
            self.accepted.0 > self.read
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
