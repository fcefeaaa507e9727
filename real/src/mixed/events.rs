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

    /// Hands out all of them. Where `then` is inlined, nothing is left of the events that it does not look at.
    #[inline]
    pub(super) fn take(&mut self, mut then: impl FnMut(Event)) {
        loop {
            let (what, socket) = (self.front.what, self.front.socket);
            // what `then` has had is not there any more, should it panic
            while let Some(number) = self.front.numbers.next() {
                let ticket = Ticket { socket, number };
                match what {
                    What::Whole => then(Event::Ended(ticket, Outcome::Whole)),
                    What::Released => {
                        if let Some(payload) = self.payloads.pop_front() {
                            then(Event::Released(ticket, payload));
                        }
                    }
                    What::Other => self.take_other(&mut then),
                }
            }
            match self.runs.pop_front() {
                Some(run) => self.front = run,
                None => return,
            }
        }
    }

    #[cold]
    fn take_other(&mut self, then: &mut dyn FnMut(Event)) {
        if let Some(event) = self.others.pop_front() {
            then(event);
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

    /// Events of all kinds: three whole ends, two payloads, another end.
    fn some() -> Events {
        let socket = SocketKey { index: 1, generation: 2 };
        let mut events = Events::new();
        events.push_whole(socket, 3..6);
        for n in 0..2 {
            events.payload(Payload::Vec(vec![n]));
        }
        events.push_released(socket, 3..5);
        events.push(Event::Ended(Ticket { socket, number: 6 }, Outcome::NotSent));
        events
    }

    #[test]
    fn all_at_once_are_those_one_by_one() {
        let text = |event: Event| match event {
            Event::Released(ticket, payload) => format!("{ticket:?} {:?}", payload.bytes()),
            other => format!("{other:?}"),
        };
        let mut one_by_one = some();
        let wanted: Vec<String> = std::iter::from_fn(|| one_by_one.pop()).map(text).collect();
        assert_eq!(wanted.len(), 6);
        for taken_before in 0..=6 {
            let mut events = some();
            let mut got: Vec<String> = (0..taken_before).map_while(|_| events.pop()).map(text).collect();
            events.take(|event| got.push(text(event)));
            assert_eq!(got, wanted);
            assert!(events.pop().is_none());
        }
    }

    #[test]
    fn whoever_panics_has_had_his_event() {
        for at in 0..6 {
            let (mut events, mut got) = (some(), 0);
            let taken = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                events.take(|_| {
                    got += 1;
                    assert!(got <= at, "enough");
                });
            }));
            assert!(taken.is_err());
            let left: Vec<Event> = std::iter::from_fn(|| events.pop()).collect();
            assert_eq!(left.len(), 5 - at);
            for event in left {
                if let Event::Released(ticket, payload) = event {
                    assert_eq!(payload.bytes(), [ticket.number as u8 - 3], "each has its own");
                }
            }
        }
    }
}
