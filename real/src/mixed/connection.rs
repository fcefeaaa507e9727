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
use std::ops::Range;

use super::arena::Arena;
use super::batch::Batch;
use super::events::Events;
use super::kernel::SocketTraits;
use super::outcome::{Counters, Event, Outcome, SocketKey, Ticket};
use super::payload::Payload;
use super::piece::{Held, Piece};

/// One socket and what is sent on it.
pub(super) struct Connection<S> {
    pub(super) key: SocketKey,
    /// `None`: given back to the caller; the rest waits for memory only.
    pub(super) socket: Option<S>,
    pub(super) traits: SocketTraits,
    messages: VecDeque<Message>,
    /// The number of the first of `messages`.
    base: u64,
    /// The first message with bytes that no request carries.
    pub(super) next: u64,
    /// Datagrams before `next` that are sent again, each alone.
    again: VecDeque<u64>,
    pieces: VecDeque<Piece>,
    /// The number of the first of `pieces`, counted like messages.
    pieces_base: u64,
    /// Pieces behind the last message: of one that is being written, or that was never finished.
    pub(super) unfinished: u16,
    /// Where messages go that say so, by their numbers, in order.
    addresses: VecDeque<(u64, SocketAddr)>,
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

/// One message.
pub(super) struct Message {
    first_piece: u64,
    pub(super) pieces: u16,
    pub(super) len_bytes: u64,
    pub(super) sent_bytes: u64,
    /// Requests that refer to it.
    holds: u32,
    pub(super) state: State,
    /// One of `addresses` is its.
    has_address: bool,
}

impl Message {
    #[inline(always)]
    fn queued(first_piece: u64, pieces: u16, len_bytes: u64, has_address: bool) -> Message {
        Message { first_piece, pieces, len_bytes, sent_bytes: 0, holds: 0, state: State::Queued, has_address }
    }

    /// Whether it has ended and no request refers to it.
    #[inline]
    fn is_over(&self) -> bool {
        self.state == State::Ended && self.holds == 0
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Queued,
    Handed,
    Ended,
    Withdrawn,
}

/// Where what is over goes.
pub(super) struct Sink<'a> {
    pub(super) arena: &'a mut Arena,
    pub(super) events: &'a mut Events,
    pub(super) counters: &'a mut Counters,
}

impl Sink<'_> {
    /// Messages have ended whole, by their numbers.
    #[inline]
    fn ended_whole(&mut self, socket: SocketKey, numbers: Range<u64>) {
        self.counters.whole += numbers.end - numbers.start;
        self.events.push_whole(socket, numbers);
    }

    /// A message has ended otherwise.
    fn ended(&mut self, ticket: Ticket, outcome: Outcome) {
        self.counters.not_whole += 1;
        self.events.push(Event::Ended(ticket, outcome));
    }

    /// A piece of a message that is over: how many bytes of it were lent.
    #[inline]
    fn released(&mut self, ticket: Ticket, piece: Piece) -> u64 {
        let Some(payload) = piece.free(self.arena) else { return 0 };
        let len_bytes = payload.len_bytes() as u64;
        self.counters.lent_bytes -= len_bytes;
        self.events.push(Event::Released(ticket, payload));
        len_bytes
    }
}

impl<S> Connection<S> {
    pub(super) fn new(key: SocketKey, socket: S, traits: SocketTraits) -> Connection<S> {
        Connection {
            key,
            socket: Some(socket),
            traits,
            messages: VecDeque::new(),
            base: 0,
            next: 0,
            again: VecDeque::new(),
            pieces: VecDeque::new(),
            pieces_base: 0,
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
    pub(super) fn end(&self) -> u64 {
        self.base + self.messages.len() as u64
    }

    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether a request could be made of what is queued.
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

    /// Makes a message of one piece, of which so many bytes are lent, with none being written: its number.
    #[inline(always)]
    pub(super) fn add_message(&mut self, piece: Piece, lent_bytes: u64) -> u64 {
        let first_piece = self.pieces_base + self.pieces.len() as u64;
        let number = self.end();
        self.lent_bytes += lent_bytes;
        self.messages.push_back(Message::queued(first_piece, 1, u64::from(piece.len_bytes), false));
        self.pieces.push_back(piece);
        number
    }

    /// Makes a message of the unfinished pieces: its number.
    #[inline]
    pub(super) fn finish_message(&mut self, len_bytes: u64, to: Option<SocketAddr>) -> u64 {
        let pieces = std::mem::take(&mut self.unfinished);
        let first_piece = self.pieces_base + self.pieces.len() as u64 - u64::from(pieces);
        let number = self.end();
        if let Some(to) = to {
            self.addresses.push_back((number, to));
        }
        self.messages.push_back(Message::queued(first_piece, pieces, len_bytes, to.is_some()));
        number
    }

    /// Where a message goes, if it says so.
    pub(super) fn address(&self, number: u64, message: &Message) -> Option<SocketAddr> {
        if !message.has_address {
            return None;
        }
        let at = self.addresses.partition_point(|(known, _)| *known < number);
        self.addresses.get(at).map(|(_, to)| *to)
    }

    #[inline]
    pub(super) fn pieces_of(&self, message: &Message) -> impl DoubleEndedIterator<Item = &Piece> {
        let first = (message.first_piece - self.pieces_base) as usize;
        (first..first + usize::from(message.pieces)).map(|index| &self.pieces[index])
    }

    /// A request carries the batch now.
    pub(super) fn hand_over(&mut self, batch: &Batch) {
        for (_, message) in self.numbered_mut(batch.first, batch.span) {
            if message.state == State::Queued {
                message.state = State::Handed;
                message.holds += 1;
            }
        }
        self.next = self.next.max(batch.first + batch.span);
        self.results_owed += 1;
        self.requests += 1;
    }

    /// The kernel took `count` bytes of a batch; what it did not take is queued again. True if that is some.
    pub(super) fn sent(&mut self, first: u64, span: u64, count: u64, sink: &mut Sink<'_>) -> bool {
        let mut left = count;
        let mut rest = None;
        let (socket, mut whole) = (self.key, first..first);
        for (number, message) in self.numbered_mut(first, span) {
            if message.state != State::Handed {
                continue;
            }
            let taken = left.min(message.len_bytes - message.sent_bytes);
            message.sent_bytes += taken;
            left -= taken;
            if message.sent_bytes == message.len_bytes {
                // the request holds it still
                message.state = State::Ended;
                if whole.end != number {
                    sink.ended_whole(socket, std::mem::replace(&mut whole, number..number));
                }
                whole.end = number + 1;
            } else {
                message.state = State::Queued;
                rest = rest.or(Some(number));
            }
        }
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
        let from = if self.traits.keeps_messages { self.base } else { from.max(self.base) };
        for number in from..self.end() {
            let Some(message) = self.message_mut(number) else { continue };
            if message.state == State::Queued {
                let sent_bytes = message.sent_bytes;
                self.end_message(number, outcome(sent_bytes), sink);
            }
        }
        self.again.clear();
        self.next = self.end();
    }

    /// A request that carried these messages is over: its memory is free as far as it is concerned.
    pub(super) fn let_go(&mut self, first: u64, span: u64, sink: &mut Sink<'_>) {
        for (_, message) in self.numbered_mut(first, span) {
            debug_assert!(message.holds > 0 || message.state == State::Withdrawn, "nothing holds it");
            message.holds = message.holds.saturating_sub(1);
        }
        self.requests -= 1;
        self.drop_front(sink);
        // what is over behind one that is not
        for number in first.max(self.base)..first + span {
            if self.message(number).is_over() {
                self.release(number, sink);
            }
        }
    }

    /// Takes a message back that no request has carried: what it would have lent.
    pub(super) fn withdraw(&mut self, number: u64, sink: &mut Sink<'_>) -> Option<Vec<Payload>> {
        let message = self.message_mut(number)?;
        if message.state != State::Queued || message.holds > 0 || message.sent_bytes > 0 {
            return None;
        }
        message.state = State::Withdrawn;
        let mut payloads = Vec::new();
        for index in self.pieces_at(number) {
            let piece = self.pieces[index].take();
            self.lent_bytes -= piece.lent_bytes();
            sink.counters.lent_bytes -= piece.lent_bytes();
            payloads.extend(piece.free(sink.arena));
        }
        self.drop_front(sink);
        Some(payloads)
    }

    /// Gives the memory of a message back, which is over.
    fn release(&mut self, number: u64, sink: &mut Sink<'_>) {
        let ticket = Ticket { socket: self.key, number };
        for index in self.pieces_at(number) {
            self.lent_bytes -= sink.released(ticket, self.pieces[index].take());
        }
    }

    /// Where among `pieces` those of a message are.
    fn pieces_at(&self, number: u64) -> Range<usize> {
        let message = self.message(number);
        let first = (message.first_piece - self.pieces_base) as usize;
        first..first + usize::from(message.pieces)
    }

    /// Forgets what is over at the front; memory that was not given back yet is now.
    fn drop_front(&mut self, sink: &mut Sink<'_>) {
        while let Some(message) = self.messages.front() {
            if !message.is_over() && message.state != State::Withdrawn {
                break;
            }
            let ticket = Ticket { socket: self.key, number: self.base };
            let (pieces, has_address) = (message.pieces, message.has_address);
            // one by one: a message has few
            for _ in 0..pieces {
                if let Some(piece) = self.pieces.pop_front() {
                    self.lent_bytes -= sink.released(ticket, piece);
                }
            }
            if has_address {
                self.addresses.pop_front();
            }
            self.pieces_base += u64::from(pieces);
            self.messages.pop_front();
            self.base += 1;
        }
        self.next = self.next.max(self.base);
    }

    /// Whether no request of it has anything to come.
    pub(super) fn is_quiet(&self) -> bool {
        self.requests == 0
    }

    /// How many bytes of a message the kernel has taken.
    pub(super) fn sent_bytes(&mut self, number: u64) -> u64 {
        self.message_mut(number).map_or(0, |message| message.sent_bytes)
    }

    /// A message that is there.
    pub(super) fn message(&self, number: u64) -> &Message {
        &self.messages[(number - self.base) as usize]
    }

    /// So many messages from `first` on, those that are there, with their numbers.
    #[inline]
    fn numbered_mut(&mut self, first: u64, span: u64) -> impl Iterator<Item = (u64, &mut Message)> {
        let first = first.max(self.base);
        let at = ((first - self.base) as usize).min(self.messages.len());
        let end = at.saturating_add(span as usize).min(self.messages.len());
        (first..).zip(self.messages.range_mut(at..end))
    }

    /// The messages from `first` on with their numbers.
    #[inline]
    pub(super) fn numbered(&self, first: u64) -> impl Iterator<Item = (u64, &Message)> {
        (first..).zip(self.messages.range((first - self.base) as usize..))
    }

    fn message_mut(&mut self, number: u64) -> Option<&mut Message> {
        let index = number.checked_sub(self.base)?;
        self.messages.get_mut(usize::try_from(index).ok()?)
    }

    /// Ends what requests carry and keeps its memory from everybody: nobody knows whether they are over.
    /// How many bytes of the caller's own that leaks.
    pub(super) fn lose(&mut self, sink: &mut Sink<'_>, queued: impl FnMut(u64) -> Outcome) -> u64 {
        let mut leaked = 0;
        for number in self.base..self.end() {
            let Some(message) = self.message_mut(number) else { continue };
            if message.holds == 0 {
                continue;
            }
            if message.state != State::Ended {
                self.end_message(number, Outcome::Lost, sink);
            }
            for index in self.pieces_at(number) {
                let piece = &mut self.pieces[index];
                sink.counters.lent_bytes -= piece.lent_bytes();
                // a slot that is not given back is not used again
                if let Held::Memory(payload) = std::mem::replace(&mut piece.memory, Held::Nothing) {
                    leaked += payload.lose();
                }
            }
        }
        self.end_queued(0, sink, queued);
        leaked
    }

    /// Messages whose memory is lent or that have not ended.
    pub(super) fn unfinished(&self) -> impl Iterator<Item = Ticket> {
        let open = |m: &Message| m.holds > 0 || !matches!(m.state, State::Ended | State::Withdrawn);
        let numbered = (self.base..).zip(&self.messages);
        numbered.filter(move |(_, m)| open(m)).map(|(number, _)| Ticket { socket: self.key, number })
    }
}
