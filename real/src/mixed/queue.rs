//! The messages of a connection by their numbers: a ring of places, each used again and again.

use super::piece::Piece;
use super::record::Message;

/// Messages `base..end`, one behind the other.
pub(super) struct Queue {
    /// A power of two of them, or none; the message of a number is at its lowest bits.
    places: Vec<Message>,
    base: u64,
    end: u64,
}

/// So many places there are at first.
const PLACES_MIN: usize = 16;

impl Queue {
    pub(super) fn new() -> Queue {
        Queue { places: Vec::new(), base: 0, end: 0 }
    }

    /// The number of the first message.
    #[inline(always)]
    pub(super) fn base(&self) -> u64 {
        self.base
    }

    /// The number that the next message gets.
    #[inline(always)]
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        (self.end - self.base) as usize
    }

    #[inline(always)]
    fn place(&self, number: u64) -> usize {
        number as usize & self.places.len().wrapping_sub(1)
    }

    /// A place for one more message, to be written: what was there holds nothing.
    #[inline(always)]
    pub(super) fn push(&mut self) -> &mut Message {
        if self.len() == self.places.len() {
            self.grow();
        }
        let place = self.place(self.end);
        self.end += 1;
        &mut self.places[place]
    }

    #[cold]
    fn grow(&mut self) {
        let mut wider = Vec::new();
        wider.resize_with((2 * self.places.len()).max(PLACES_MIN), || Message::of(Piece::nothing()));
        let old = std::mem::replace(&mut self.places, wider);
        let old_mask = old.len().wrapping_sub(1);
        for (from, message) in old.into_iter().enumerate() {
            // what lies before the first one in the old ring comes behind the others
            let behind = from.wrapping_sub(self.base as usize) & old_mask;
            let place = self.place(self.base + behind as u64);
            self.places[place] = message;
        }
    }

    /// Forgets the first message, which holds nothing any more.
    #[inline(always)]
    pub(super) fn pop(&mut self) {
        debug_assert!(self.base < self.end, "there is one");
        self.base += 1;
    }

    #[inline]
    pub(super) fn front_mut(&mut self) -> Option<&mut Message> {
        if self.base == self.end {
            return None;
        }
        let place = self.place(self.base);
        self.places.get_mut(place)
    }

    /// A message that is there.
    #[inline]
    pub(super) fn at(&self, number: u64) -> &Message {
        debug_assert!((self.base..self.end).contains(&number), "it is there");
        &self.places[self.place(number)]
    }

    #[inline]
    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut Message> {
        if !(self.base..self.end).contains(&number) {
            return None;
        }
        let place = self.place(number);
        self.places.get_mut(place)
    }

    /// Does something to so many messages from `first` on, as far as they are there.
    #[inline(always)]
    pub(super) fn each(&mut self, first: u64, span: u64, mut then: impl FnMut(u64, &mut Message)) {
        let end = first.saturating_add(span).min(self.end);
        for number in first.max(self.base)..end {
            let place = self.place(number);
            then(number, &mut self.places[place]);
        }
    }

    /// The messages from `first` on, with their numbers.
    #[inline]
    pub(super) fn from(&self, first: u64) -> impl Iterator<Item = (u64, &Message)> {
        (first.max(self.base)..self.end).map(|number| (number, &self.places[self.place(number)]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(len_bytes: u32) -> Message {
        Message::of(Piece { len_bytes, ..Piece::nothing() })
    }

    #[test]
    fn messages_are_found_by_their_numbers() {
        // an odd number of messages stays, so that the ring grows wherever its first message is
        for behind in [0, 1, 7, 15, 16, 17] {
            let mut queue = Queue::new();
            for number in 0..100_u32 {
                *queue.push() = message(number);
                assert_eq!(queue.end(), u64::from(number) + 1);
                if number < behind {
                    queue.pop();
                }
                let numbers: Vec<u64> = queue.from(0).map(|(number, _)| number).collect();
                assert_eq!(numbers, (queue.base()..queue.end()).collect::<Vec<u64>>());
                assert!(queue.from(0).all(|(number, message)| u64::from(message.len_bytes) == number));
            }
            assert_eq!((queue.len(), queue.base()), (100 - behind as usize, u64::from(behind)));
            assert!(queue.get_mut(100).is_none());
            assert!(behind == 0 || queue.get_mut(u64::from(behind) - 1).is_none());
        }
    }
}
