//! Datagrams on their way: each whole or not at all, in the order in which they were sent.
//!
//! It errs on the side of allowing: where more waits for the peer than the lane promises room for,
//! a datagram may be lost.

use super::REQUEST_OVERHEAD_BYTES;
use crate::memory::{Generation, RegionId};
use crate::request::RequestId;
use crate::space::Segment;
use crate::trace::RoomReport;

/// The most bytes of a datagram over IPv4: 65535 less the headers of IPv4 and UDP.
pub const UDP4_LONGEST: u64 = 65507;
/// The most bytes of a datagram over IPv6: 65535 less the header of UDP.
pub const UDP6_LONGEST: u64 = 65527;

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
    /// A datagram was sent to the closed port, so a later send may report its refusal.
    pub refusal_comes: bool,
    /// The most bytes of one datagram.
    pub longest: u64,
}

impl Datagram {
    /// Whether it may be read before one that is before it in the queue, which then still comes.
    fn may_overtake(&self, before: &Datagram) -> bool {
        before.loose || self.unordered.contains(&before.request)
    }
}

impl Datagrams {
    /// A fresh socket.
    pub fn new(room: RoomReport, is_connected: bool, longest: u64) -> Datagrams {
        let queue = Vec::new();
        Datagrams {
            room,
            queue,
            is_connected,
            is_open: true,
            is_shut: false,
            is_refused: false,
            refusal_comes: false,
            longest,
        }
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
        self.refusal_comes |= self.is_refused;
        self.queue.push(Datagram { request, user_data, segments, len_bytes, unsure, loose, unordered });
    }

    /// The datagrams that the peer may read next.
    pub fn front(&self) -> impl Iterator<Item = (usize, &Datagram)> {
        self.queue.iter().enumerate().filter(|(index, datagram)| {
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
