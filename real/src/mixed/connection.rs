//! The messages of one socket, from being queued until their memory is back.
//!
//! ```text
//! Queued ──handed over──▶ Handed ──result──▶ Ended ──no request refers to it──▶ (gone)
//!   ▲ └──withdrawn──▶ Ended  └──short──┐
//!   └──────────────────────────────────┘
//! ```
//! A message may be referred to by several requests: one took a part of it, the next one the rest.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::arena::Arena;
use super::batch::Batch;
use super::fresh::Fresh;
use super::kernel::SocketTraits;
use super::outcome::{Outcome, SocketKey, Ticket};
use super::payload::Payload;
use super::piece::{Header, Held, Part, Piece};
use super::queue::Queue;
use super::record::{Message, State};
use super::release::Sink;

/// One socket and what is sent on it.
pub(super) struct Connection<S> {
    pub(super) key: SocketKey,
    /// `None`: given back to the caller; the rest waits for memory only.
    pub(super) socket: Option<S>,
    pub(super) traits: SocketTraits,
    pub(super) queue: Queue,
    /// The first message with bytes that no request carries.
    pub(super) next: u64,
    /// Datagrams before `next` that are sent again, each alone.
    again: VecDeque<u64>,
    pub(super) pieces: VecDeque<Piece>,
    /// The number of the first of `pieces`, counted like messages.
    pub(super) pieces_base: u64,
    /// What was queued since nothing was, on a stream.
    pub(super) fresh: Fresh,
    /// Pieces behind the last message: of one that is being written, or that was never finished.
    pub(super) unfinished: u16,
    /// Where messages go that say so, by their numbers, in order.
    pub(super) addresses: VecDeque<(u64, SocketAddr)>,
    /// Requests whose result is to come.
    pub(super) results_owed: u32,
    /// Requests with anything to come.
    pub(super) requests: u32,
    /// Bytes of payloads in `pieces`.
    pub(super) lent_bytes: u64,
    /// Messages before this one are sent one by one: a request of several was refused.
    pub(super) alone_until: u64,
    /// Requests that are copied before zero copy is tried again.
    pub(super) copies_left: u32,
    /// Reports of requests that began with nothing lent, and `COPIED` among them.
    pub(super) reports: u32,
    pub(super) copied_reports: u32,
    /// The last judgement on it was that zero copy pays.
    pub(super) is_worth_it: bool,
    /// It takes no more messages.
    pub(super) has_ended: bool,
    /// What is in flight was asked to be cancelled.
    pub(super) aborts: bool,
    /// What was to be done there took too long.
    pub(super) was_overdue: bool,
    /// It is on the list of sockets that can be flushed.
    pub(super) is_ready: bool,
}

impl<S> Connection<S> {
    pub(super) fn new(key: SocketKey, socket: S, traits: SocketTraits) -> Connection<S> {
        Connection {
            key,
            socket: Some(socket),
            traits,
            queue: Queue::new(),
            next: 0,
            again: VecDeque::new(),
            pieces: VecDeque::new(),
            pieces_base: 0,
            fresh: Fresh::new(),
            unfinished: 0,
            addresses: VecDeque::new(),
            results_owed: 0,
            requests: 0,
            lent_bytes: 0,
            alone_until: 0,
            copies_left: 0,
            reports: 0,
            copied_reports: 0,
            is_worth_it: false,
            has_ended: false,
            aborts: false,
            was_overdue: false,
            is_ready: false,
        }
    }

    /// The number that the next message gets.
    #[inline(always)]
    pub(super) fn end(&self) -> u64 {
        self.queue.end()
    }

    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether a request could be made of what is queued.
    #[inline]
    pub(super) fn can_flush(&self) -> bool {
        let free = self.traits.keeps_messages || self.results_owed == 0;
        free && !self.aborts && (self.next < self.end() || !self.again.is_empty())
    }

    /// Adds a piece of the message that is being written.
    #[inline]
    pub(super) fn add_piece(&mut self, piece: Piece) {
        self.lent_bytes += piece.lent_bytes();
        self.unfinished += 1;
        self.pieces.push_back(piece);
    }

    /// The slot in which the last piece of the message that is being written lies, if it lies in one, and its
    /// bytes.
    pub(super) fn unfinished_slot(&self) -> Option<(u32, u32)> {
        let last = self.pieces.back().filter(|_| self.unfinished > 0)?;
        match last.memory {
            Held::Slot(slot) => Some((slot, last.len_bytes)),
            Held::Memory(_) | Held::Nothing => None,
        }
    }

    /// Forgets the last piece of the message that is being written, which lay in a slot.
    pub(super) fn drop_slot(&mut self) {
        self.unfinished -= 1;
        self.pieces.pop_back();
    }

    /// Takes the message back that is being written: what it would have lent, in order.
    pub(super) fn take_unfinished(&mut self, arena: &mut Arena) -> Vec<Payload> {
        let first = self.pieces.len() - usize::from(std::mem::take(&mut self.unfinished));
        let mut payloads = Vec::new();
        for piece in self.pieces.drain(first..) {
            self.lent_bytes -= piece.lent_bytes();
            payloads.extend(piece.free(arena));
        }
        payloads
    }

    /// Makes a message of one piece in the arena, of which so many bytes are lent, and maybe a header before it,
    /// with none being written: its number.
    #[inline(always)]
    pub(super) fn add_one(
        &mut self,
        header: Header,
        addr: *const u8,
        len_bytes: u32,
        lent_bytes: Option<u64>,
        memory: Held,
    ) -> u64 {
        let number = self.end();
        if !self.traits.keeps_messages {
            if self.next == number {
                self.fresh.begin(number);
            }
            self.fresh.add_one(number, header, addr, len_bytes);
        }
        self.queue.push().write(header, addr, len_bytes, lent_bytes, memory);
        self.lent_bytes += lent_bytes.unwrap_or(0);
        number
    }

    /// Makes a message of the unfinished pieces: its number.
    #[inline]
    pub(super) fn finish_message(&mut self, len_bytes: u32, to: Option<SocketAddr>) -> u64 {
        let pieces = std::mem::take(&mut self.unfinished);
        let number = self.end();
        if !self.traits.keeps_messages && to.is_none() {
            if self.next == number {
                self.fresh.begin(number);
            }
            let first = self.pieces.len() - usize::from(pieces);
            self.fresh.add(number, self.pieces.range(first..));
        }
        let only = if pieces == 1 { self.pieces.pop_back() } else { None };
        let message = match only {
            Some(only) => Message { has_address: to.is_some(), ..Message::of(only) },
            None => {
                let first_piece = self.pieces_base + self.pieces.len() as u64 - u64::from(pieces);
                Message::among(first_piece, pieces, len_bytes, to.is_some())
            }
        };
        if let Some(to) = to {
            self.addresses.push_back((number, to));
        }
        *self.queue.push() = message;
        number
    }

    /// Where a message goes, if it says so.
    pub(super) fn address(&self, number: u64) -> Option<SocketAddr> {
        if !self.queue.at(number).has_address {
            return None;
        }
        let at = self.addresses.partition_point(|(known, _)| *known < number);
        self.addresses.get(at).map(|(_, to)| *to)
    }

    #[inline]
    pub(super) fn pieces_of<'c>(&'c self, message: &'c Message) -> impl DoubleEndedIterator<Item = Part> {
        let first = message.first_piece.saturating_sub(self.pieces_base) as usize;
        let more = (first..first + usize::from(message.pieces)).map(|index| &self.pieces[index]);
        let only = (message.pieces == 0).then_some(&message.only);
        message.slotted().into_iter().chain(only.into_iter().chain(more).map(Piece::part))
    }

    /// The slot of a message's header, if it has one, which is its own no more.
    pub(super) fn take_slot(&mut self, number: u64) -> Option<u32> {
        self.message_mut(number)?.take_slot()
    }

    /// Each piece of a message, to be changed; a header in a slot before them is none.
    pub(super) fn each_piece(&mut self, number: u64, mut then: impl FnMut(&mut Piece)) {
        let Some(message) = self.message_mut(number) else { return };
        if message.pieces == 0 {
            return then(&mut message.only);
        }
        let pieces = usize::from(message.pieces);
        let first = (message.first_piece - self.pieces_base) as usize;
        self.pieces.range_mut(first..first + pieces).for_each(then);
    }

    /// A request carries the batch now.
    pub(super) fn hand_over(&mut self, batch: &Batch) {
        self.queue.each(batch.first, batch.span, |_, message| message.hand_over());
        self.next = self.next.max(batch.first + batch.span);
        self.results_owed += 1;
        self.requests += 1;
    }

    /// The kernel took all of a batch without gaps.
    #[inline]
    pub(super) fn sent_whole(&mut self, first: u64, span: u64, sink: &mut Sink<'_>) {
        self.queue.each(first, span, |_, message| message.end_whole());
        sink.ended_whole(self.key, first..first + span);
    }

    /// The kernel took `count` bytes of a batch; what it did not take is queued again. True if that is some.
    pub(super) fn sent(&mut self, first: u64, span: u64, count: u64, sink: &mut Sink<'_>) -> bool {
        let mut left = count;
        let mut rest = None;
        let (socket, mut whole) = (self.key, first..first);
        self.queue.each(first, span, |number, message| {
            if message.state != State::Handed {
                return;
            }
            let taken = left.min(message.left_bytes());
            left -= taken;
            if taken == message.left_bytes() {
                message.end_whole();
                if whole.end != number {
                    sink.ended_whole(socket, std::mem::replace(&mut whole, number..number));
                }
                whole.end = number + 1;
            } else {
                message.sent_bytes += taken as u32;
                message.state = State::Queued;
                rest = rest.or(Some(number));
            }
        });
        sink.ended_whole(socket, whole);
        if let Some(number) = rest.filter(|_| !self.traits.keeps_messages) {
            self.next = self.next.min(number);
        }
        rest.is_some()
    }

    /// Datagrams of a request that took none of them are sent again, each alone. On a stream that goes without
    /// saying.
    pub(super) fn send_again(&mut self, first: u64, span: u64) {
        if self.traits.keeps_messages {
            self.again.extend(first..first + span);
        }
    }

    /// The next datagram that is sent again.
    pub(super) fn next_again(&mut self) -> Option<u64> {
        while let Some(number) = self.again.front().copied() {
            if self.message_mut(number).is_some_and(|m| m.state == State::Queued) {
                return Some(number);
            }
            self.again.pop_front();
        }
        None
    }

    /// A message that is not whole ends, if it has not before.
    pub(super) fn end_message(&mut self, number: u64, outcome: Outcome, sink: &mut Sink<'_>) {
        let ticket = Ticket { socket: self.key, number };
        let Some(message) = self.message_mut(number) else { return };
        if matches!(message.state, State::Ended | State::Withdrawn) {
            return;
        }
        message.state = State::Ended;
        let is_over = message.is_over();
        sink.ended(ticket, outcome);
        if is_over {
            self.release(number, sink);
            self.drop_front(sink);
        }
    }

    /// Ends every message from `from` on that no request carries: `outcome` gets number and bytes sent.
    pub(super) fn end_queued(
        &mut self,
        from: u64,
        sink: &mut Sink<'_>,
        mut outcome: impl FnMut(u64) -> Outcome,
    ) {
        // on datagram sockets those that are sent again come before
        let from = if self.traits.keeps_messages { self.queue.base() } else { from.max(self.queue.base()) };
        for number in from..self.end() {
            let Some(message) = self.message_mut(number) else { continue };
            if message.state == State::Queued {
                let sent_bytes = u64::from(message.sent_bytes);
                self.end_message(number, outcome(sent_bytes), sink);
            }
        }
        self.again.clear();
        self.next = self.end();
    }

    /// Whether no request of it has anything to come.
    pub(super) fn is_quiet(&self) -> bool {
        self.requests == 0
    }

    /// How many bytes of a message the kernel has taken.
    pub(super) fn sent_bytes(&mut self, number: u64) -> u64 {
        self.message_mut(number).map_or(0, |message| message.sent_bytes.into())
    }

    pub(super) fn message_mut(&mut self, number: u64) -> Option<&mut Message> {
        self.queue.get_mut(number)
    }

    /// Messages whose memory is lent or that have not ended.
    pub(super) fn unfinished(&self) -> impl Iterator<Item = Ticket> {
        let open = |m: &Message| m.holds > 0 || !matches!(m.state, State::Ended | State::Withdrawn);
        self.queue
            .from(0)
            .filter(move |(_, m)| open(m))
            .map(|(number, _)| Ticket { socket: self.key, number })
    }
}
