//! What happened and was not told yet. All messages that one result has ended whole are one entry: the
//! events of a flush are made when they are taken.

use std::collections::VecDeque;
use std::ops::Range;

use super::outcome::{Event, Outcome, SocketKey, Ticket};

/// Events, in order.
pub(super) struct Events(VecDeque<Told>);

enum Told {
    One(Event),
    /// Messages of a socket have ended whole; never none.
    Whole(SocketKey, Range<u64>),
}

impl Events {
    pub(super) fn new() -> Events {
        Events(VecDeque::new())
    }

    #[inline]
    pub(super) fn push(&mut self, event: Event) {
        self.0.push_back(Told::One(event));
    }

    /// Messages of a socket have ended whole, by their numbers.
    #[inline]
    pub(super) fn push_whole(&mut self, socket: SocketKey, numbers: Range<u64>) {
        if !numbers.is_empty() {
            self.0.push_back(Told::Whole(socket, numbers));
        }
    }

    #[inline]
    pub(super) fn pop(&mut self) -> Option<Event> {
        if let Told::Whole(socket, numbers) = self.0.front_mut()? {
            let ended = Event::Ended(Ticket { socket: *socket, number: numbers.start }, Outcome::Whole);
            numbers.start += 1;
            if numbers.is_empty() {
                self.0.pop_front();
            }
            return Some(ended);
        }
        match self.0.pop_front()? {
            Told::One(event) => Some(event),
            Told::Whole(..) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_one_by_one_in_order() {
        let socket = SocketKey { index: 1, generation: 2 };
        let ticket = |number| Ticket { socket, number };
        let mut events = Events::new();
        events.push_whole(socket, 3..5);
        events.push_whole(socket, 5..5);
        events.push(Event::Ended(ticket(5), Outcome::NotSent));
        events.push_whole(socket, 6..7);
        let outcomes = [(3, Outcome::Whole), (4, Outcome::Whole), (5, Outcome::NotSent), (6, Outcome::Whole)];
        for (number, outcome) in outcomes {
            let event = events.pop().expect("there is one");
            assert!(matches!(event, Event::Ended(t, o) if t == ticket(number) && o == outcome), "{event:?}");
        }
        assert!(events.pop().is_none());
    }
}
