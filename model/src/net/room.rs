//! How much room a stream has, as far as its lane promises it.
//!
//! It errs on the side of allowing: where the lane says nothing about room, any count may be taken.

use super::{REQUEST_OVERHEAD_BYTES, Stream, Writer};
use crate::request::RequestId;

/// Whether a send of a certain length is accepted whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// It must be.
    Enough,
    /// Some of it must be accepted, and not all.
    Part,
    /// Nothing may be accepted.
    None,
    /// Any count.
    Unknown,
}

impl Stream {
    /// How the room looks to a send of `len` bytes.
    pub fn room_for(&self, len: u64) -> Room {
        if self.room.full {
            return Room::None;
        }
        let waiting = self.waiting();
        let asked = len.saturating_add(REQUEST_OVERHEAD_BYTES);
        let is_idle = self.window_closed && self.writers.is_empty() && self.room.accepts_bytes > 0;
        match self.room.most_bytes {
            _ if waiting.saturating_add(asked) <= self.room.accepts_bytes => Room::Enough,
            Some(most) if is_idle && len > most => Room::Part,
            _ => Room::Unknown,
        }
    }

    /// What the writers count for.
    pub(super) fn waiting(&self) -> u64 {
        let charge = |(i, writer): (usize, &Writer)| match &self.wire {
            Some(wire) => self.unacked_charge(i, wire.acked),
            None => writer.charge(),
        };
        self.writers.iter().enumerate().map(charge).fold(0, u64::saturating_add)
    }

    /// Whether a poll surely says that the socket can be written, with so much besides waiting (`sk_stream_is_writeable`
    /// in `include/net/sock.h`, `unix_writable` in `net/unix/af_unix.c`).
    pub fn is_surely_writable(&self, besides: u64) -> bool {
        let waiting = self.waiting().saturating_add(besides);
        let most = if self.is_unix { self.room.accepts_bytes / 4 } else { self.room.accepts_bytes / 3 * 2 };
        !self.room.full && waiting < most
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

    /// How the room looks to a request that was tried before and waits.
    pub fn room_for_retry(&self, request: RequestId) -> Room {
        let too_long = |w: &Writer| self.room.most_bytes.is_some_and(|most| w.send.len_bytes > most);
        if self.room.full || (self.window_closed && self.writer(request).is_some_and(too_long)) {
            return Room::None;
        }
        let enough = self.writer(request).is_some() && self.has_room_besides(0);
        if enough { Room::Enough } else { Room::Unknown }
    }

    /// Whether all that waits has room, and so much besides.
    pub fn has_room_besides(&self, besides: u64) -> bool {
        self.waiting().saturating_add(besides) <= self.room.accepts_bytes
    }
}
