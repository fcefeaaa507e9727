//! A declared connection: what has left, what the peer has acknowledged, and how wide its window is.
//!
//! Nobody reads. Bytes are told by their places in the stream, and where it is not known whose bytes come
//! first, a place is a range. So nothing is enumerated: every acknowledgement narrows what is known.
//!
//! It errs on the side of allowing: what fits the window only in part may leave or not.
//!
//! Source: `tcp_write_xmit`, `tcp_tso_should_defer` in `net/ipv4/tcp_output.c`, `tcp_clean_rtx_queue` in
//! `net/ipv4/tcp_input.c`, 6.18.

use super::{Holds, REQUEST_OVERHEAD_BYTES, Stream, Writer};
use crate::request::RequestId;
use crate::rules::Rule;
use crate::space::Segment;

/// The peer of a declared connection offers its window in units of so many bytes.
pub const WINDOW_UNIT_BYTES: u64 = 128;
/// The widest window that it can offer.
const WINDOW_MAX_BYTES: u64 = 65535 * WINDOW_UNIT_BYTES;

/// The longest packet that leaves a declared connection.
pub const SEGMENT_BYTES: u64 = 1460;
/// What fits the window waits for more of it while less than such a part of it is free.
const WINDOW_PARTS: u64 = 3;

/// What is known of a declared connection beside its queue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wire {
    /// Bytes that the peer has acknowledged.
    pub acked: u64,
    /// How many more it has room for.
    pub window: u64,
    /// Bytes of requests that are all acknowledged and forgotten.
    gone: u64,
    /// At most so many bytes have left.
    most_left: u64,
    /// The peer missed something, so that the sender is careful with what leaves at once.
    careful: bool,
    /// Somebody listens to what leaves.
    tapped: bool,
    /// At most so many bytes were sent unseen, by requests behind others that may have gone on.
    unseen: u64,
}

impl Wire {
    /// A fresh connection, whose window is wide open.
    pub fn new(tapped: bool) -> Wire {
        Wire { acked: 0, window: WINDOW_MAX_BYTES, gone: 0, most_left: 0, careful: false, tapped, unseen: 0 }
    }
}

impl Stream {
    /// The smallest place at which the bytes of a writer begin, and the smallest and largest at which they
    /// end.
    fn places(&self, i: usize) -> (u64, u64, u64) {
        let (gone, unseen) = self.wire.as_ref().map_or((0, 0), |wire| (wire.gone, wire.unseen));
        let own = &self.writers[i];
        let (mut least, mut most) = (gone, gone.saturating_add(unseen));
        for (j, other) in self.writers.iter().enumerate().filter(|(j, _)| *j != i) {
            let free = own.unordered.contains(&other.request) || other.unordered.contains(&own.request);
            if j < i && !free {
                least += other.accepted.0;
            }
            if j < i || free {
                most += other.accepted.1;
            }
        }
        (least, least + own.accepted.0, most + own.accepted.1)
    }

    /// The most bytes that were accepted so far, as far as that was seen.
    fn most_seen(&self) -> u64 {
        let gone = self.wire.as_ref().map_or(0, |wire| wire.gone);
        self.writers.iter().map(|w| w.accepted.1).fold(gone, u64::saturating_add)
    }

    /// The most bytes that were accepted so far.
    fn most_accepted(&self) -> u64 {
        self.most_seen().saturating_add(self.wire.as_ref().map_or(0, |wire| wire.unseen))
    }

    /// The request may share a packet with one that is forgotten.
    pub fn may_have_joined(&mut self, request: RequestId) {
        let writers = self.writers.iter_mut().filter(|w| w.request == request && w.send.zero_copy);
        writers.for_each(|writer| writer.joined = true);
    }

    /// At most so many bytes were sent unseen by now.
    pub fn note_unseen(&mut self, bytes: u64) {
        if let Some(wire) = self.wire.as_mut().filter(|wire| wire.unseen != bytes) {
            wire.unseen = bytes;
            self.let_leave();
        }
    }

    /// What a writer counts for while its bytes are not acknowledged.
    pub(super) fn unacked_charge(&self, i: usize, acked: u64) -> u64 {
        let writer = &self.writers[i];
        let (_, _, end) = self.places(i);
        let bytes = if writer.closed { writer.accepted.1 } else { writer.send.len_bytes };
        if end <= acked && writer.is_settled() { 0 } else { bytes.saturating_add(REQUEST_OVERHEAD_BYTES) }
    }

    /// Finds out what has left, after something was queued or the peer said something.
    pub(super) fn let_leave(&mut self) {
        let Some(wire) = &self.wire else { return };
        let (acked, edge) = (wire.acked, wire.acked.saturating_add(wire.window));
        let most = self.most_accepted();
        let charge = (0..self.writers.len()).map(|i| self.unacked_charge(i, acked));
        let waiting = charge.fold(0, u64::saturating_add);
        let all_leave =
            !wire.careful && waiting <= self.room.leaves_bytes && self.fits_freely(wire, most, edge);
        let starts: Vec<u64> = (0..self.writers.len()).map(|i| self.places(i).0).collect();
        let pushed: Vec<bool> = (0..self.writers.len()).map(|i| self.is_pushed(i)).collect();
        for (i, writer) in self.writers.iter_mut().enumerate().filter(|(_, w)| w.accepted.1 > 0) {
            // what another thread tries may have found another window
            if writer.holds == Holds::Surely && (starts[i] < edge || writer.loose) {
                writer.holds = Holds::Maybe;
            }
            if all_leave && writer.is_settled() && pushed[i] {
                writer.holds = Holds::No;
            }
        }
        let any_window = self.writers.iter().any(|w| w.loose);
        if let Some(wire) = &mut self.wire {
            wire.most_left = wire.most_left.max(if any_window { most } else { most.min(edge) });
        }
    }

    /// Whether what was accepted, at most `most`, fits the window and does not wait for more of it, as the last of it may
    /// where it is longer than a packet (`tcp_tso_should_defer`).
    fn fits_freely(&self, wire: &Wire, most: u64, edge: u64) -> bool {
        let kept = self.writers.iter().filter(|w| w.holds != Holds::No).map(|w| w.accepted.1);
        let is_short = kept.fold(wire.unseen, u64::saturating_add) <= SEGMENT_BYTES;
        most <= edge && (is_short || edge - most >= wire.window / WINDOW_PARTS)
    }

    /// Whether nothing keeps the bytes of a writer back for more to come: it, or one that surely comes behind it, does
    /// not ask for that.
    fn is_pushed(&self, i: usize) -> bool {
        let request = self.writers[i].request;
        let pushes = |w: &Writer| !w.corked && w.is_settled() && !w.unordered.contains(&request);
        self.writers[i..].iter().any(pushes)
    }

    /// At least so many bytes have left.
    pub fn least_left(&self) -> u64 {
        let Some(wire) = &self.wire else { return 0 };
        let sent = (0..self.writers.len()).filter(|i| self.writers[*i].holds == Holds::No);
        sent.map(|i| self.places(i).1).fold(wire.acked, u64::max)
    }

    /// At most so many bytes have left.
    pub fn most_left(&self) -> u64 {
        self.wire.as_ref().map_or(0, |wire| wire.most_left.max(wire.acked))
    }

    /// At most so many bytes of requests that were seen have left.
    pub fn most_left_seen(&self) -> u64 {
        self.most_left().min(self.most_seen())
    }

    /// Whether the peer may acknowledge `n` more bytes.
    pub fn judge_ack(&self, n: u64) -> Result<(), Rule> {
        let acked = self.wire.as_ref().map_or(0, |wire| wire.acked).saturating_add(n);
        if self.connection_is_reset() || acked > self.most_accepted() {
            Err(Rule::StreamNothingInvented)
        } else if acked > self.most_left() {
            Err(Rule::StreamWindowHolds)
        } else {
            Ok(())
        }
    }

    /// At least so many bytes of a request were acknowledged: what all others together cannot have sent, `unseen` bytes
    /// of them by requests that were not seen to be tried.
    pub fn least_acked(&self, request: RequestId, unseen: u64) -> u64 {
        let Some(wire) = self.wire.as_ref().filter(|_| !self.connection_is_reset()) else { return 0 };
        let others = self.writers.iter().filter(|w| w.request != request).map(|w| w.accepted.1);
        wire.acked.saturating_sub(others.fold(wire.gone.saturating_add(unseen), u64::saturating_add))
    }

    /// Whether all that was acknowledged can have been sent, `unseen` bytes of it by requests that were not seen to be
    /// tried.
    pub fn was_sent(&self, unseen: impl FnOnce() -> u64) -> bool {
        let Some(wire) = self.wire.as_ref().filter(|_| !self.connection_is_reset()) else { return true };
        let seen = self.most_seen();
        wire.acked <= seen || wire.acked - seen <= unseen()
    }

    /// The peer acknowledges `n` more bytes.
    pub fn ack(&mut self, n: u64) {
        if let Some(wire) = &mut self.wire {
            wire.acked = wire.acked.saturating_add(n);
        }
        self.let_leave();
        self.forget_acked();
    }

    /// Nothing is kept back for more to come.
    pub fn uncork(&mut self) {
        self.writers.iter_mut().for_each(|writer| writer.corked = false);
        self.let_leave();
    }

    /// The peer has room for so many bytes.
    pub fn offer(&mut self, bytes: u64) {
        if let Some(wire) = &mut self.wire {
            wire.window = bytes.min(WINDOW_MAX_BYTES) / WINDOW_UNIT_BYTES * WINDOW_UNIT_BYTES;
        }
        self.let_leave();
    }

    /// The peer missed something: how much may be on its way becomes less.
    pub fn miss(&mut self) {
        if let Some(wire) = &mut self.wire {
            wire.careful = true;
        }
    }

    /// The request whose bytes stand at a place that was not acknowledged, and those bytes from there on;
    /// `None` where it is not known whose they are.
    pub fn at_place(&self, place: u64) -> Option<(&Writer, Segment)> {
        let mut start = self.wire.as_ref()?.gone;
        for writer in &self.writers {
            if !writer.is_settled() || !writer.unordered.is_empty() || writer.accepted.0 != writer.accepted.1
            {
                return None;
            }
            let end = start + writer.accepted.0;
            if place < end {
                let segment = writer.bytes_from(place - start, end - place).next()?;
                return Some((writer, segment));
            }
            start = end;
        }
        None
    }

    /// Whether the peer's silence keeps the memory of a request.
    pub(super) fn unacked(&self, request: RequestId, acked: u64) -> Holds {
        let Some(i) = self.writers.iter().position(|w| w.request == request) else { return Holds::No };
        if self.writers[i].is_settled() && self.writers[i].accepted.1 == 0 {
            return Holds::No;
        }
        let packet = self.writers[i].packet;
        let is_over = |j: usize| self.writers[j].is_settled() && self.places(j).2 <= acked;
        if self.places(i).1 > acked {
            Holds::Surely
        } else if (0..self.writers.len()).all(|j| self.writers[j].packet != packet || is_over(j)) {
            Holds::No
        } else {
            Holds::Maybe
        }
    }

    /// Requests that are acknowledged with all that shares a packet with them need not be remembered.
    pub(super) fn forget_acked(&mut self) {
        while let (Some(wire), Some(first)) = (&self.wire, self.writers.first()) {
            let (acked, request) = (wire.acked, first.request);
            let free = self.writers.iter().any(|w| w.unordered.contains(&request));
            let heard = !wire.tapped || first.accepted.1 <= first.read;
            let over = first.known && heard && !free && self.unacked(request, acked) == Holds::No;
            if !over {
                return;
            }
            let count = self.writers.remove(0).accepted.1;
            if let Some(wire) = &mut self.wire {
                wire.gone += count;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Around, Room, SocketSend, Timing, usual_room};
    use crate::program::{Lane, SocketId};

    fn sent(window: u64, lens: &[u64]) -> Stream {
        let room = usual_room(SocketId(0), Lane::RepairTcp);
        let mut stream = Stream::new(room, false, true, false);
        stream.wire = Some(Wire::new(false));
        stream.offer(window);
        for (i, len_bytes) in lens.iter().enumerate() {
            let send = SocketSend {
                socket: SocketId(0),
                segments: Vec::new(),
                len_bytes: *len_bytes,
                retries: false,
                zero_copy: true,
                corks: false,
            };
            stream.enqueue(RequestId(i as u32), send, Room::Enough, Timing::Now, Around::default());
        }
        stream
    }

    fn holds(stream: &Stream) -> Vec<Holds> {
        (0..3).map(|i| stream.holds(RequestId(i))).collect()
    }

    #[test]
    fn acknowledgements_release_one_request_after_the_other() {
        let mut stream = sent(u64::MAX, &[5000, 6000]);
        assert_eq!((stream.least_left(), stream.most_left()), (11_000, 11_000));
        stream.ack(4999);
        assert_eq!(holds(&stream)[..2], [Holds::Surely, Holds::Surely]);
        stream.ack(1);
        assert_eq!(holds(&stream)[..2], [Holds::No, Holds::Surely]);
        assert_eq!(stream.judge_ack(6001), Err(Rule::StreamNothingInvented));
        stream.ack(6000);
        assert_eq!(holds(&stream)[..2], [Holds::No, Holds::No]);
        assert!(stream.writers.is_empty());
    }

    #[test]
    fn what_shares_a_packet_may_be_released_with_its_last_byte_only() {
        let mut stream = sent(0, &[100, 100, 100]);
        assert_eq!((stream.least_left(), stream.most_left()), (0, 0));
        assert_eq!(stream.judge_ack(1), Err(Rule::StreamWindowHolds));
        stream.offer(1024);
        assert_eq!(stream.least_left(), 300);
        stream.ack(150);
        assert_eq!(holds(&stream), [Holds::Maybe, Holds::Surely, Holds::Surely]);
        stream.ack(150);
        assert_eq!(holds(&stream), [Holds::No, Holds::No, Holds::No]);
    }

    #[test]
    fn a_narrow_window_lets_out_what_fits() {
        let stream = sent(1024, &[1000, 100]);
        assert_eq!((stream.least_left(), stream.most_left()), (1000, 1024));
    }
}
