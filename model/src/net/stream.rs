//! One direction of a connection: what was accepted, what has left, what the peer has read.
//!
//! Bytes of several requests are kept as a partial order of writers, not as one sequence: which of
//! two requests that waited for room came first shows only when the peer reads. So nothing is
//! enumerated; every read narrows what is known.

use super::{Holds, Room, SocketSend, Wire, Writer};
use crate::cqe::Res;
use crate::memory::{Generation, RegionId};
use crate::request::RequestId;
use crate::rules::Rule;
use crate::trace::RoomReport;

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

/// When a request is tried for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timing {
    /// Now.
    Now,
    /// At a time that is not known.
    Unknown,
    /// At a time that is not known, by another thread.
    Threaded,
}

/// What else is on a socket when a request is tried.
#[derive(Clone, Copy, Debug, Default)]
pub struct Around<'a> {
    /// Requests that are tried together with it, in no promised order.
    pub beside: &'a [RequestId],
    /// Those of its chain that surely took what they take before it.
    pub ahead: &'a [RequestId],
    /// What others count for that may have been tried unseen, before it.
    pub unseen: u64,
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
    /// What is known of a declared connection; its writers hold their bytes until these have left.
    pub wire: Option<Wire>,
    /// The peer is gone, and with it what it had not read.
    pub purged: bool,
    /// What then waited.
    pub purged_bytes: u64,
    /// `TCP_CORK` is set.
    pub is_corked: bool,
}

impl Stream {
    /// A fresh connection.
    pub fn new(room: RoomReport, window_closed: bool, connected: bool, is_unix: bool) -> Stream {
        let connection = if connected { Connection::Open } else { Connection::Broken };
        let writers = Vec::new();
        Stream {
            room,
            window_closed,
            writers,
            connection,
            open: true,
            is_unix,
            was_connected: connected,
            purged: false,
            purged_bytes: 0,
            is_corked: false,
            wire: None,
        }
    }

    /// Takes a request's bytes on, with what was accepted of them by the first try.
    pub fn enqueue(
        &mut self,
        request: RequestId,
        send: SocketSend,
        room: Room,
        timing: Timing,
        around: Around<'_>,
    ) {
        let Around { beside, ahead, unseen } = around;
        let loose = timing != Timing::Now;
        let len = send.len_bytes;
        let free =
            |w: &Writer| !ahead.contains(&w.request) && (!w.is_settled() || beside.contains(&w.request));
        let unordered = self.writers.iter().filter(|w| free(w)).map(|w| w.request).collect();
        // what has left lies in packets to which nothing is added, unless this one was tried before that
        let declared = self.wire.is_some();
        let before = declared && (loose || self.writers.iter().any(|w| beside.contains(&w.request)));
        let joinable = |w: &&Writer| match declared {
            true => before || w.holds != Holds::No,
            false => w.accepted.1 > w.read,
        };
        let joined = send.zero_copy && self.writers.iter().any(|w| joinable(&w));
        let mut sharing = self.writers.iter().filter(|w| joined && w.send.zero_copy && joinable(w));
        let packet = sharing.next_back().map_or(request, |w| w.packet);
        for earlier in self.writers.iter_mut().filter(|w| send.zero_copy && w.send.zero_copy && free(w)) {
            // its bytes may come behind those of this one
            earlier.joined = true;
        }
        let accepted = match room {
            Room::Enough if !loose => (len, len),
            Room::None => (0, 0),
            Room::Part => (1, len - 1),
            Room::Enough | Room::Unknown => (0, len),
        };
        let ended = room == Room::Part && !send.retries;
        let least = if room == Room::Enough { len } else { 1 };
        let closed = room == Room::Enough && !loose;
        let corked = send.corks || self.is_corked;
        let mut writer = Writer {
            request,
            send,
            accepted,
            least,
            closed,
            ended,
            known: closed,
            read: 0,
            holds: Holds::Surely,
            unordered,
            joined,
            loose,
            notified: false,
            threaded: timing == Timing::Threaded,
            corked,
            packet,
        };
        if accepted.1 > 0 && !declared {
            writer.holds = match self.holds_of_next(&writer, unseen) {
                Holds::No if corked => Holds::Maybe,
                holds => holds,
            };
        }
        self.hold_back(&writer);
        self.writers.push(writer);
        self.let_leave();
    }

    /// Whether the bytes of a request that comes behind all others, and `unseen` bytes besides, leave by themselves.
    fn holds_of_next(&self, next: &Writer, unseen: u64) -> Holds {
        let ahead = self.waiting().saturating_add(unseen);
        if self.window_closed {
            Holds::Surely
        } else if ahead.saturating_add(next.charge()) <= self.room.leaves_bytes {
            Holds::No
        } else {
            Holds::Maybe
        }
    }

    /// What may come behind the bytes of `next` need not leave by itself where these fill what the peer takes.
    fn hold_back(&mut self, next: &Writer) {
        let fits = self.waiting().saturating_add(next.charge()) <= self.room.leaves_bytes;
        if fits || self.wire.is_some() {
            return;
        }
        let behind = |w: &&mut Writer| next.unordered.contains(&w.request) && !w.notified;
        for writer in self.writers.iter_mut().filter(behind).filter(|w| w.holds == Holds::No) {
            writer.holds = Holds::Maybe;
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
        match &self.wire {
            Some(wire) => self.unacked(request, wire.acked),
            None => self.writer(request).map_or(Holds::No, |w| w.holds),
        }
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
        (writer.ended, writer.loose) = (true, false);
        if least == most {
            writer.closed = true;
            writer.known = true;
            writer.loose = false;
            self.forget_read(i);
        }
    }

    /// The request is cancelled: no more is taken of it.
    pub fn stop(&mut self, request: RequestId) {
        if let Some(i) = self.index(request) {
            (self.writers[i].ended, self.writers[i].loose) = (true, false);
        }
    }

    fn forget_read(&mut self, i: usize) {
        if self.wire.is_some() {
            self.let_leave();
            return self.forget_acked();
        }
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

    /// Whether the peer may read `n` more bytes of one of the writers now.
    pub fn judge_read(&self, writer: &Writer, n: u64) -> Result<(), Rule> {
        if self.connection_is_reset() || self.window_closed {
            return Err(Rule::StreamNothingInvented);
        }
        if self.wire.is_some() && writer.holds == Holds::Surely {
            return Err(Rule::StreamWindowHolds);
        }
        if writer.read.saturating_add(n) > writer.accepted.1 {
            return Err(Rule::StreamPrefix);
        }
        if !self.front().any(|w| w.request == writer.request) {
            return Err(Rule::StreamInOrder);
        }
        // whoever was being read and had one try only has ended where the other begins
        let cut_short = self.writers.iter().any(|other| {
            other.is_being_read()
                && other.request != writer.request
                && other.accepted.0 > other.read
                && !other.send.retries
                && !self.may_interleave(writer, other)
        });
        if cut_short { Err(Rule::StreamContiguous) } else { Ok(()) }
    }

    /// Whether bytes of a request may come between those of another that one try took: a Unix socket takes them
    /// packet by packet, and another thread's in between (`unix_stream_sendmsg` in `net/unix/af_unix.c`).
    fn may_interleave(&self, one: &Writer, other: &Writer) -> bool {
        self.is_unix && (one.threaded || other.threaded)
    }

    /// The requests that ended before this one was tried: nothing of them is read behind a byte of it.
    fn surely_ahead(&self, request: RequestId) -> Vec<RequestId> {
        let Some(writer) = self.writer(request) else { return Vec::new() };
        let ahead = self.writers.iter().map(|w| w.request).take_while(|earlier| *earlier != request);
        ahead.filter(|earlier| !writer.unordered.contains(earlier)).collect()
    }

    /// The peer has read `n` more bytes of `request`.
    pub fn read(&mut self, request: RequestId, n: u64) {
        let threaded = self.writer(request).map(|w| w.threaded);
        let ahead = self.surely_ahead(request);
        for i in (0..self.writers.len()).rev() {
            let interleaves = self.is_unix && threaded.is_some_and(|t| t || self.writers[i].threaded);
            let other = &mut self.writers[i];
            let one_try = other.request != request && !other.send.retries && !interleaves && !other.closed;
            if other.is_being_read() && (one_try || ahead.contains(&other.request)) {
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
        let Some(i) = self.index(request).filter(|_| self.wire.is_none()) else { return };
        self.writers[i].notified = true;
        let unordered = self.writers[i].unordered.clone();
        for writer in &mut self.writers[..=i] {
            if !unordered.contains(&writer.request) {
                writer.holds = Holds::No;
            }
        }
    }

    /// Nothing is queued on either end any more: what was accepted was read. Names the rule where
    /// that cannot be.
    pub fn judge_drained(&self) -> Result<(), Rule> {
        let left = |w: &&Writer| self.wire.is_none() || w.holds == Holds::No;
        let lost = self.writers.iter().filter(left).any(|w| w.accepted.0 > w.read);
        if lost && !self.connection_is_reset() { Err(Rule::StreamNothingLost) } else { Ok(()) }
    }

    /// Nothing is queued on either end any more.
    pub fn drained(&mut self) {
        if self.connection_is_reset() || self.wire.is_some() {
            return;
        }
        for i in (0..self.writers.len()).rev() {
            let writer = &mut self.writers[i];
            if !writer.closed && (writer.ended || writer.read > 0 && !writer.send.retries) {
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
        self.purged_bytes = self.purged_bytes.max(self.waiting());
        self.writers.clear();
        self.purged = true;
    }

    /// Whether the peer reset the connection.
    pub fn connection_is_reset(&self) -> bool {
        matches!(self.connection, Connection::Reset(_))
    }

    /// The caller rewrote a region: bytes that lie in it and were not copied yet are the new ones.
    pub fn rewritten(&mut self, region: RegionId, now: Generation) {
        for writer in &mut self.writers {
            let lent = (writer.holds == Holds::Surely, writer.holds == Holds::No && writer.is_settled());
            let copied = (writer.accepted.1 == 0, writer.is_settled());
            let zero_copy = writer.send.zero_copy;
            for segment in writer.send.segments.iter_mut().filter(|s| s.region == Some(region)) {
                let (surely_new, surely_old) = if zero_copy && segment.lent { lent } else { copied };
                if !surely_old {
                    segment.newest = now;
                }
                if surely_new && !surely_old {
                    segment.oldest = now;
                }
            }
        }
    }
}
