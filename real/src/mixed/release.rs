//! How memory comes back: what a connection's messages held, once nothing refers to them.

use std::ops::Range;

use super::arena::Arena;
use super::connection::Connection;
use super::events::Events;
use super::outcome::{Counters, Event, Outcome, SocketKey, Ticket};
use super::payload::Payload;
use super::piece::{Held, Piece};
use super::record::State;

/// Where what is over goes.
pub(super) struct Sink<'a> {
    pub(super) arena: &'a mut Arena,
    pub(super) events: &'a mut Events,
    pub(super) counters: &'a mut Counters,
}

impl Sink<'_> {
    /// Messages have ended whole, by their numbers.
    #[inline]
    pub(super) fn ended_whole(&mut self, socket: SocketKey, numbers: Range<u64>) {
        self.counters.whole += numbers.end - numbers.start;
        self.events.push_whole(socket, numbers);
    }

    /// A message has ended otherwise.
    pub(super) fn ended(&mut self, ticket: Ticket, outcome: Outcome) {
        self.counters.not_whole += 1;
        self.events.push(Event::Ended(ticket, outcome));
    }

    /// A piece of a message that is over holds nothing any more: how many bytes of it were lent.
    fn released(&mut self, ticket: Ticket, piece: &mut Piece) -> u64 {
        match std::mem::replace(&mut piece.memory, Held::Nothing) {
            Held::Memory(payload) if !piece.is_copied => {
                let len_bytes = payload.len_bytes() as u64;
                self.counters.lent_bytes -= len_bytes;
                self.events.payload(payload);
                self.events.push_released(ticket.socket, ticket.number..ticket.number + 1);
                len_bytes
            }
            Held::Slot(slot) => {
                self.arena.unstage(slot);
                0
            }
            Held::Memory(_) | Held::Nothing => 0,
        }
    }
}

impl<S> Connection<S> {
    /// A request that carried these messages is over: its memory is free as far as it is concerned.
    pub(super) fn let_go(&mut self, first: u64, span: u64, sink: &mut Sink<'_>) {
        self.requests -= 1;
        let end = first + span;
        let number = if first == self.queue.base() { self.let_go_first(end, sink) } else { first };
        self.next = self.next.max(self.queue.base());
        if number == end && self.queue.len() == 0 {
            return;
        }
        self.queue.each(number, end - number, |_, message| message.let_go());
        self.drop_front(sink);
        // what is over behind one that is not
        for number in number.max(self.queue.base())..end {
            if self.queue.at(number).is_over() {
                self.release(number, sink);
            }
        }
    }

    /// A request that carried the first messages up to `end` is over, and most of them with it. Where it came to
    /// one that is not.
    #[inline]
    fn let_go_first(&mut self, end: u64, sink: &mut Sink<'_>) -> u64 {
        let (socket, mut number) = (self.key, self.queue.base());
        // messages that got their only payload back, told together
        let (mut from, mut lent_bytes) = (number, 0);
        while number < end
            && let Some(message) = self.queue.front_mut()
        {
            message.let_go();
            if !message.is_gone() {
                break;
            }
            if message.holds_payload()
                && let Held::Memory(payload) = std::mem::replace(&mut message.only.memory, Held::Nothing)
            {
                lent_bytes += u64::from(message.lent_bytes);
                if let Some(slot) = message.take_slot() {
                    sink.arena.unstage(slot);
                }
                sink.events.payload(payload);
                self.queue.pop();
                number += 1;
            } else {
                sink.events.push_released(socket, from..number);
                self.pop(sink);
                number += 1;
                from = number;
            }
        }
        sink.events.push_released(socket, from..number);
        self.lent_bytes -= lent_bytes;
        sink.counters.lent_bytes -= lent_bytes;
        // one that is not over was let go of as well
        number + u64::from(number < end)
    }

    /// Takes a message back that no request has carried: what it would have lent.
    pub(super) fn withdraw(&mut self, number: u64, sink: &mut Sink<'_>) -> Option<Vec<Payload>> {
        let message = self.message_mut(number)?;
        if message.state != State::Queued || message.holds > 0 || message.sent_bytes > 0 {
            return None;
        }
        message.state = State::Withdrawn;
        if let Some(slot) = message.take_slot() {
            sink.arena.unstage(slot);
        }
        self.fresh.void();
        let mut payloads = Vec::new();
        let mut lent_bytes = 0;
        self.each_piece(number, |piece| {
            let piece = piece.take();
            lent_bytes += piece.lent_bytes();
            payloads.extend(piece.free(sink.arena));
        });
        self.lent_bytes -= lent_bytes;
        sink.counters.lent_bytes -= lent_bytes;
        self.drop_front(sink);
        Some(payloads)
    }

    /// Gives the memory of a message back, which is over.
    pub(super) fn release(&mut self, number: u64, sink: &mut Sink<'_>) {
        let ticket = Ticket { socket: self.key, number };
        let mut lent_bytes = 0;
        if let Some(slot) = self.take_slot(number) {
            sink.arena.unstage(slot);
        }
        self.each_piece(number, |piece| lent_bytes += sink.released(ticket, piece));
        self.lent_bytes -= lent_bytes;
    }

    /// Forgets what is over at the front; memory that was not given back yet is now.
    pub(super) fn drop_front(&mut self, sink: &mut Sink<'_>) {
        while self.queue.front_mut().is_some_and(|message| message.is_gone()) {
            self.pop(sink);
        }
        self.next = self.next.max(self.queue.base());
    }

    /// Forgets the first message, which is over.
    #[inline]
    fn pop(&mut self, sink: &mut Sink<'_>) {
        let ticket = Ticket { socket: self.key, number: self.queue.base() };
        let Some(message) = self.queue.front_mut() else { return };
        if let Some(slot) = message.take_slot() {
            sink.arena.unstage(slot);
        }
        self.lent_bytes -= sink.released(ticket, &mut message.only);
        if message.pieces > 0 || message.has_address {
            let (pieces, has_address) = (message.pieces, message.has_address);
            self.pop_pieces(ticket, pieces, sink);
            if has_address {
                self.addresses.pop_front();
            }
        }
        self.queue.pop();
    }

    /// The same of its pieces, one by one: a message has few.
    fn pop_pieces(&mut self, ticket: Ticket, pieces: u16, sink: &mut Sink<'_>) {
        for mut piece in self.pieces.drain(..usize::from(pieces)) {
            self.lent_bytes -= sink.released(ticket, &mut piece);
        }
        self.pieces_base += u64::from(pieces);
    }

    /// Ends what requests carry and keeps its memory from everybody: nobody knows whether they are over.
    /// How many bytes of the caller's own that leaks.
    pub(super) fn lose(&mut self, sink: &mut Sink<'_>, queued: impl FnMut(u64) -> Outcome) -> u64 {
        let (mut leaked, mut lent_bytes) = (0, 0);
        for number in self.queue.base()..self.end() {
            let Some(message) = self.message_mut(number) else { continue };
            if message.holds == 0 {
                continue;
            }
            if message.state != State::Ended {
                self.end_message(number, Outcome::Lost, sink);
            }
            self.take_slot(number);
            self.each_piece(number, |piece| {
                lent_bytes += piece.lent_bytes();
                // a slot that is not given back is not used again
                if let Held::Memory(payload) = std::mem::replace(&mut piece.memory, Held::Nothing) {
                    leaked += payload.lose();
                }
            });
        }
        sink.counters.lent_bytes -= lent_bytes;
        self.end_queued(0, sink, queued);
        leaked
    }
}
