//! What happened and was not told yet. All messages that one result has ended whole are one entry, and
//! so are those whose memory came back together: the events of a flush are made when they are taken.

use std::collections::VecDeque;
use std::ops::Range;

use super::outcome::{Event, Outcome, SocketKey, Ticket};
use super::payload::Payload;

/// Events, in order.
pub(super) struct Events {
    /// What of the first run was not taken yet; maybe nothing.
    front: Run,
    runs: VecDeque<Run>,
    /// Payloads of all messages that got one back, in order.
    payloads: VecDeque<Payload>,
    /// All other events, in order.
    others: VecDeque<Event>,
}

/// The same happened to messages of a socket.
struct Run {
    what: What,
    socket: SocketKey,
    numbers: Range<u64>,
}

#[derive(Clone, Copy)]
enum What {
    /// They have ended whole.
    Whole,
    /// Each got a payload back.
    Released,
    /// So many of `others`, whatever the numbers are.
    Other,
}

impl Events {
    pub(super) fn new() -> Events {
        let front = Run { what: What::Other, socket: NOBODY, numbers: 0..0 };
        Events { front, runs: VecDeque::new(), payloads: VecDeque::new(), others: VecDeque::new() }
    }

    pub(super) fn push(&mut self, event: Event) {
        self.others.push_back(event);
        self.push_run(What::Other, NOBODY, 0..1);
    }

    /// Messages of a socket have ended whole, by their numbers.
    #[inline]
    pub(super) fn push_whole(&mut self, socket: SocketKey, numbers: Range<u64>) {
        self.push_run(What::Whole, socket, numbers);
    }

    /// Each of these messages got a payload back: those that were added as `payload` before.
    #[inline]
    pub(super) fn push_released(&mut self, socket: SocketKey, numbers: Range<u64>) {
        self.push_run(What::Released, socket, numbers);
    }

    /// A payload that came back, of a message that is told next.
    #[inline(always)]
    pub(super) fn payload(&mut self, payload: Payload) {
        self.payloads.push_back(payload);
    }

    #[inline]
    fn push_run(&mut self, what: What, socket: SocketKey, numbers: Range<u64>) {
        if !numbers.is_empty() {
            self.runs.push_back(Run { what, socket, numbers });
        }
    }

    #[inline]
    pub(super) fn pop(&mut self) -> Option<Event> {
        if self.front.numbers.is_empty() {
            self.front = self.runs.pop_front()?;
        }
        let Run { what, socket, numbers } = &mut self.front;
        let ticket = Ticket { socket: *socket, number: numbers.start };
        numbers.start += 1;
        match what {
            What::Whole => Some(Event::Ended(ticket, Outcome::Whole)),
            What::Released => self.payloads.pop_front().map(|payload| Event::Released(ticket, payload)),
            What::Other => self.others.pop_front(),
        }
    }
}

/// Other events say for themselves whose they are.
const NOBODY: SocketKey = SocketKey { index: 0, generation: 0 };

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
    #[test]
    fn payloads_come_back_in_order() {
        let ticket = |index, number| Ticket { socket: SocketKey { index, generation: 0 }, number };
        let payload = |n: u8| Payload::Vec(vec![n]);
        let mut events = Events::new();
        // two of one message, then one of the next, another socket, and an end between
        let given = [(1, 3), (1, 3), (1, 4), (1, 6), (2, 7)];
        for (n, (index, number)) in given.into_iter().enumerate() {
            events.payload(payload(n as u8));
            events.push_released(ticket(index, number).socket, number..number + 1);
        }
        events.push_whole(ticket(2, 0).socket, 8..9);
        events.payload(payload(5));
        events.push_released(ticket(2, 0).socket, 8..9);
        for (n, (index, number)) in given.into_iter().enumerate() {
            let event = events.pop().expect("there is one");
            let Event::Released(of, payload) = event else { panic!("{event:?}") };
            assert_eq!((of, payload.bytes()), (ticket(index, number), &[n as u8][..]));
        }
        assert!(matches!(events.pop(), Some(Event::Ended(of, Outcome::Whole)) if of == ticket(2, 8)));
        assert!(matches!(events.pop(), Some(Event::Released(of, _)) if of == ticket(2, 8)));
        assert!(events.pop().is_none());
    }
}
