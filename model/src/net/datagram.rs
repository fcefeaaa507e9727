//! Datagrams on their way: each whole or not at all, in the order in which they were sent.
//!
//! It errs on the side of allowing: where more waits for the peer than the lane promises room for,
//! a datagram may be lost.

use super::REQUEST_OVERHEAD_BYTES;
use crate::abi::PAGE_BYTES;
use crate::memory::{Generation, RegionId};
use crate::request::RequestId;
use crate::space::Segment;
use crate::trace::RoomReport;

/// The most bytes of a datagram over IPv4: 65535 less the headers of IPv4 and UDP.
pub const UDP4_LONGEST: u64 = 65507;
/// The most bytes of a datagram over IPv6: 65535 less the header of UDP.
pub const UDP6_LONGEST: u64 = 65527;

/// The most bytes of a datagram over IPv6 that leave the loopback device in one piece: its MTU less the headers.
const UDP6_WHOLE: u64 = 65536 - 40 - 8;
/// What a socket may queue where nothing else was asked for (`net.core.wmem_default`).
const SNDBUF_BYTES: u64 = 212_992;
/// The least that a socket may queue (`SOCK_MIN_SNDBUF`).
const SNDBUF_LEAST_BYTES: u64 = 4608;

/// A datagram that the peer has not read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Datagram {
    /// The request that sent it.
    pub request: RequestId,
    /// What that request's completions carry.
    pub user_data: u64,
    /// Its bytes.
    pub segments: Vec<Segment>,
    /// How many they are.
    pub len_bytes: u64,
    /// It may not arrive, or not yet have been sent.
    pub unsure: bool,
    /// Another thread may not have sent it yet, so it may come behind later ones.
    pub loose: bool,
    /// Those before it in the queue that may come behind it.
    pub unordered: Vec<RequestId>,
}

/// What a datagram socket has sent and its peer has not read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Datagrams {
    /// What the lane promises.
    pub room: RoomReport,
    /// In the order of sending.
    pub queue: Vec<Datagram>,
    /// It has a peer's address.
    pub is_connected: bool,
    /// The descriptor is open.
    pub is_open: bool,
    /// It was shut down for sending.
    pub is_shut: bool,
    /// The peer's port is closed.
    pub is_refused: bool,
    /// The first two requests that may have sent a datagram to the closed port, so that another send may
    /// report its refusal.
    pub refused: Vec<RequestId>,
    /// The most bytes of one datagram.
    pub longest: u64,
    /// What it may queue (`sk_sndbuf`).
    pub sndbuf_bytes: u64,
    /// What has asked for room since something on the socket was open, as far as that may be at the same time.
    pub charges: Vec<Charge>,
}

/// What a datagram counts for on its socket, from when it is made until it has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Charge {
    /// The request that sends it.
    pub request: RequestId,
    /// No less than what is counted.
    pub most_bytes: u64,
    /// Another thread may send it while anything else is tried.
    pub at_any_time: bool,
}

impl Charge {
    /// Of a datagram of so many bytes: memory for it comes in powers of two while it is small, and lent memory is counted
    /// in whole pages on top of its headers.
    pub fn of(request: RequestId, len_bytes: u64, lent_pages: u64, at_any_time: bool) -> Charge {
        let needed = len_bytes.saturating_add(STRUCTURES_BYTES);
        let most_bytes = needed.next_power_of_two().min(needed.saturating_add(LARGEST_BLOCK_BYTES));
        let lent_bytes = lent_pages.saturating_mul(PAGE_BYTES);
        let most_bytes = most_bytes.saturating_add(STRUCTURES_BYTES).saturating_add(lent_bytes);
        Charge { request, most_bytes, at_any_time }
    }
}

/// No less than the kernel's structures and headers of one datagram (`SKB_TRUESIZE`).
const STRUCTURES_BYTES: u64 = 640;
/// Past this a datagram is made of pages (`SKB_MAX_ALLOC`).
const LARGEST_BLOCK_BYTES: u64 = 16384;

impl Datagram {
    /// Whether it may be read before one that is before it in the queue, which then still comes.
    fn may_overtake(&self, before: &Datagram) -> bool {
        before.loose || self.unordered.contains(&before.request)
    }
}

impl Datagrams {
    /// A fresh socket.
    pub fn new(room: RoomReport, is_connected: bool, longest: u64, asked: Option<u32>) -> Datagrams {
        let queue = Vec::new();
        // the kernel doubles what is asked for
        let doubled = asked.map(|bytes| (2 * u64::from(bytes)).max(SNDBUF_LEAST_BYTES));
        Datagrams {
            room,
            queue,
            is_connected,
            is_open: true,
            is_shut: false,
            is_refused: false,
            refused: Vec::new(),
            longest,
            sndbuf_bytes: doubled.unwrap_or(SNDBUF_BYTES),
            charges: Vec::new(),
        }
    }

    /// Whether a datagram of so many bytes leaves in one piece.
    pub fn is_one_packet(&self, len_bytes: u64) -> bool {
        self.longest == UDP4_LONGEST || len_bytes <= UDP6_WHOLE
    }

    /// Whether the fragments of a datagram of so many bytes fit into what the socket may queue; `None` where its own
    /// structures, which count as well, decide.
    pub fn fragments_fit(&self, len_bytes: u64) -> Option<bool> {
        let most = 2 * self.sndbuf_bytes;
        match () {
            () if self.is_one_packet(len_bytes) => Some(true),
            () if most <= UDP6_WHOLE => Some(false),
            () if most >= UDP6_WHOLE + REQUEST_OVERHEAD_BYTES => Some(true),
            () => None,
        }
    }

    /// Whether what others send at the same time may leave a request no room: those that are tried at any time, or all
    /// if it is. `besides` may come on top.
    pub fn may_be_full(&self, request: RequestId, at_any_time: bool, besides: u64) -> bool {
        let others = self.charges.iter().filter(|c| c.request != request && (at_any_time || c.at_any_time));
        let charged = others.map(|charge| charge.most_bytes).fold(besides, u64::saturating_add);
        charged >= self.sndbuf_bytes
    }

    /// Takes a datagram on.
    pub fn enqueue(
        &mut self,
        request: RequestId,
        user_data: u64,
        segments: Vec<Segment>,
        len_bytes: u64,
        loose: bool,
        beside: &[RequestId],
    ) {
        let behind = self.queue.iter().map(|d| d.request).filter(|other| beside.contains(other));
        let unordered = behind.collect();
        let waiting: u64 = self.queue.iter().map(|d| d.len_bytes + REQUEST_OVERHEAD_BYTES).sum();
        let crowded = waiting + len_bytes + REQUEST_OVERHEAD_BYTES > self.room.leaves_bytes.max(ONE_DATAGRAM);
        let unsure = crowded || self.is_refused;
        if self.is_refused {
            self.note_refused(request);
        }
        self.queue.push(Datagram { request, user_data, segments, len_bytes, unsure, loose, unordered });
    }

    /// The peer's port is closed, and what waited there is gone. What another thread has yet to send will be
    /// refused.
    pub fn close_port(&mut self) {
        self.is_refused = true;
        let queue = std::mem::take(&mut self.queue);
        queue.iter().filter(|d| d.loose).for_each(|d| self.note_refused(d.request));
    }

    fn note_refused(&mut self, request: RequestId) {
        if self.refused.len() < 2 && !self.refused.contains(&request) {
            self.refused.push(request);
        }
    }

    /// Whether a datagram of another request may have been refused.
    pub fn may_report_refusal(&self, request: RequestId) -> bool {
        self.refused.iter().any(|other| *other != request)
    }

    /// The datagrams that the peer may read next.
    pub fn front(&self) -> impl Iterator<Item = (usize, &Datagram)> {
        // of a port that is closed nobody reads
        let read = if self.is_refused { &[][..] } else { &self.queue };
        read.iter().enumerate().filter(|(index, datagram)| {
            self.queue[..*index].iter().all(|before| before.unsure || datagram.may_overtake(before))
        })
    }

    /// The peer reads the datagram at `index`, which must be there; the unsure ones that came before it were
    /// lost. Says who sent it.
    pub fn read(&mut self, index: usize) -> RequestId {
        let taken = self.queue.remove(index);
        let mut at = 0;
        self.queue.retain(|datagram| {
            at += 1;
            at > index || taken.may_overtake(datagram)
        });
        taken.request
    }

    /// The request's result was seen: it was sent, or it failed.
    pub fn settle(&mut self, request: RequestId, failed: bool) {
        if failed {
            self.queue.retain(|d| d.request != request);
        }
    }

    /// The caller rewrote a region: what another thread has not sent yet may hold the new bytes.
    pub fn rewritten(&mut self, region: RegionId, now: Generation) {
        for datagram in self.queue.iter_mut().filter(|d| d.loose) {
            let touched = datagram.segments.iter_mut().filter(|s| s.region == Some(region));
            touched.for_each(|segment| segment.newest = now);
        }
    }
}

/// One datagram always finds room at a peer that has read all before it.
const ONE_DATAGRAM: u64 = UDP6_LONGEST + REQUEST_OVERHEAD_BYTES;
