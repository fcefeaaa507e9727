//! One message in the queue of its connection.

use super::piece::{Header, Held, Part, Piece};

/// One message.
pub(super) struct Message {
    /// What comes before its only piece.
    pub(super) header: Header,
    /// Its only piece. Where it has more they are among the connection's, and this one holds nothing.
    pub(super) only: Piece,
    /// Bytes that its only piece lends.
    pub(super) lent_bytes: u32,
    /// Among all pieces of its connection the first of its own.
    pub(super) first_piece: u64,
    pub(super) len_bytes: u32,
    pub(super) sent_bytes: u32,
    /// Requests that refer to it.
    pub(super) holds: u32,
    /// How many pieces it has among the connection's; 0: it has only one.
    pub(super) pieces: u16,
    pub(super) state: State,
    /// One of the connection's addresses is its.
    pub(super) has_address: bool,
}

/// Where a message is between its being queued and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Queued,
    Handed,
    Ended,
    Withdrawn,
}

impl Message {
    /// Of one piece.
    #[inline(always)]
    pub(super) fn of(only: Piece) -> Message {
        let (len_bytes, lent_bytes) = (only.len_bytes, only.lent_bytes() as u32);
        Message { only, lent_bytes, len_bytes, ..Message::among(0, 0, 0, false) }
    }

    /// What a place becomes that held nothing: a message of one piece. Written where it is, since moving it is
    /// most of what queueing costs.
    #[inline(always)]
    pub(super) fn write(
        &mut self,
        header: Header,
        addr: *const u8,
        len_bytes: u32,
        lent_bytes: Option<u64>,
        memory: Held,
    ) {
        debug_assert!(matches!(self.only.memory, Held::Nothing), "its memory was given back");
        self.header = header;
        (self.only.addr, self.only.len_bytes) = (addr, len_bytes);
        (self.only.in_arena, self.only.is_copied) = (true, lent_bytes.is_none());
        self.lent_bytes = lent_bytes.unwrap_or(0) as u32;
        // nothing is there that would have to be dropped, and it is not looked at for that
        std::mem::forget(std::mem::replace(&mut self.only.memory, memory));
        (self.len_bytes, self.sent_bytes) = (header.len_bytes + len_bytes, 0);
        (self.holds, self.pieces) = (0, 0);
        (self.state, self.has_address) = (State::Queued, false);
    }

    /// Of pieces among the connection's.
    #[inline(always)]
    pub(super) fn among(first_piece: u64, pieces: u16, len_bytes: u32, has_address: bool) -> Message {
        let (header, only, state) = (Header::NONE, Piece::nothing(), State::Queued);
        let (lent_bytes, sent_bytes, holds) = (0, 0, 0);
        Message {
            header,
            only,
            lent_bytes,
            first_piece,
            len_bytes,
            sent_bytes,
            holds,
            pieces,
            state,
            has_address,
        }
    }

    /// Bytes that the kernel has not taken.
    #[inline]
    pub(super) fn left_bytes(&self) -> u64 {
        u64::from(self.len_bytes - self.sent_bytes)
    }

    /// How many pieces it has, its header among them.
    #[inline]
    pub(super) fn iovecs(&self) -> usize {
        usize::from(self.pieces.max(1)) + usize::from(self.header.len_bytes > 0)
    }

    /// Its header, if that lies in a slot before its only piece.
    #[inline]
    pub(super) fn slotted(&self) -> Option<Part> {
        let Header { addr, len_bytes, .. } = self.header;
        (len_bytes > 0).then_some(Part { addr, len_bytes, in_arena: true })
    }

    /// The slot of its header, which is its own no more.
    #[inline]
    pub(super) fn take_slot(&mut self) -> Option<u32> {
        let Header { slot, len_bytes, .. } = self.header;
        self.header.len_bytes = 0;
        (len_bytes > 0).then_some(slot)
    }

    /// Whether it has ended and no request refers to it.
    #[inline]
    pub(super) fn is_over(&self) -> bool {
        self.state == State::Ended && self.holds == 0
    }

    /// Whether nothing is to come of it.
    #[inline]
    pub(super) fn is_gone(&self) -> bool {
        self.is_over() || self.state == State::Withdrawn
    }

    /// Whether all that it holds is one payload, and maybe a slot before it.
    #[inline]
    pub(super) fn holds_payload(&self) -> bool {
        let is_lent = matches!(self.only.memory, Held::Memory(_)) && !self.only.is_copied;
        is_lent && !self.has_address && self.pieces == 0
    }

    /// A request carries it.
    #[inline]
    pub(super) fn hand_over(&mut self) {
        if self.state == State::Queued {
            self.state = State::Handed;
            self.holds += 1;
        }
    }

    /// The kernel has taken the rest of it; the request holds it still.
    #[inline]
    pub(super) fn end_whole(&mut self) {
        debug_assert!(self.state == State::Handed, "a request carries it");
        (self.sent_bytes, self.state) = (self.len_bytes, State::Ended);
    }

    /// A request that carried it is over.
    #[inline]
    pub(super) fn let_go(&mut self) {
        debug_assert!(self.holds > 0 || self.state == State::Withdrawn, "nothing holds it");
        self.holds = self.holds.saturating_sub(1);
    }
}
