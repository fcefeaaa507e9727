//! What one request carries.

use super::connection::Connection;
use super::piece::Part;
use super::record::{Message, State};

/// What one request carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) first: u64,
    /// Numbers from `first` on, withdrawn ones among them.
    pub(super) span: u64,
    /// Messages that it really carries.
    pub(super) messages: usize,
    pub(super) len_bytes: u64,
    /// Pieces of memory.
    pub(super) iovecs: usize,
    /// All of it lies in the arena.
    pub(super) in_arena: bool,
    /// Its messages say where they go: the first does.
    pub(super) has_address: bool,
    /// The kernel is to cut it into datagrams of so many bytes.
    pub(super) segment_bytes: Option<u16>,
}

/// How much one request may carry.
pub(super) struct Bounds<'a> {
    pub(super) iovecs_max: usize,
    pub(super) bytes_max: u64,
    /// The longest datagram that may be one of several in a request.
    pub(super) segment_bytes_max: u64,
    /// Where only what is one range can be lent: whether one, in the arena or not, of so many bytes is not to be
    /// gathered with others.
    pub(super) is_alone: Option<&'a dyn Fn(bool, u64) -> bool>,
}

/// The most datagrams that the kernel cuts one request into (`UDP_MAX_SEGMENTS` of old kernels).
const SEGMENTS_MAX: usize = 64;
/// The most bytes of such a request: what IP carries, less the headers of version 6.
const SEGMENTED_BYTES_MAX: u64 = 65_535 - 48;

impl Batch {
    /// A message was withdrawn, or is no longer queued.
    fn pass_over(&mut self, number: u64) {
        if self.messages == 0 {
            self.first = number + 1;
        } else {
            self.span += 1;
        }
    }

    /// Whether what is left of a message can be added, with so many bytes in all.
    #[inline]
    fn has_room(&self, bounds: &Bounds<'_>, bytes_max: u64, message: &Message) -> bool {
        let len_bytes = self.len_bytes + message.left_bytes();
        self.iovecs + message.iovecs() <= bounds.iovecs_max && len_bytes <= bytes_max
    }
}

impl<S> Connection<S> {
    /// Collects what the next request carries: `iovecs`, which is empty, gets every piece.
    #[inline]
    pub(super) fn gather(&mut self, bounds: &Bounds<'_>, iovecs: &mut Vec<libc::iovec>) -> Batch {
        if !self.traits.keeps_messages && self.alone_until <= self.next {
            let (next, end) = (self.next, self.end());
            if let Some(batch) = self.fresh.take(next, end, bounds, iovecs) {
                return batch;
            }
        }
        self.gather_each(bounds, iovecs)
    }

    fn gather_each(&mut self, bounds: &Bounds<'_>, iovecs: &mut Vec<libc::iovec>) -> Batch {
        self.fresh.void();
        let each = |addr: *const u8, iov_len| {
            iovecs.push(libc::iovec { iov_base: addr.cast_mut().cast(), iov_len });
        };
        if self.traits.keeps_messages {
            self.gather_datagrams(bounds, each)
        } else {
            self.gather_stream(bounds, each)
        }
    }

    fn gather_stream(&self, bounds: &Bounds<'_>, mut each: impl FnMut(*const u8, usize)) -> Batch {
        let mut batch = Batch { first: self.next, in_arena: true, ..Batch::default() };
        for (number, message) in self.queue.from(self.next) {
            if message.state != State::Queued {
                batch.pass_over(number);
                continue;
            }
            let alone = number < self.alone_until || self.is_alone(bounds, message);
            if batch.messages > 0 && (alone || !batch.has_room(bounds, bounds.bytes_max, message)) {
                break;
            }
            self.add_to(&mut batch, message, &mut each);
            if alone {
                break;
            }
        }
        batch
    }

    fn gather_datagrams(&mut self, bounds: &Bounds<'_>, mut each: impl FnMut(*const u8, usize)) -> Batch {
        if let Some(number) = self.next_again() {
            let mut batch = Batch { first: number, in_arena: true, ..Batch::default() };
            let message = self.queue.at(number);
            self.add_to(&mut batch, message, &mut each);
            batch.has_address = message.has_address;
            return batch;
        }
        let mut batch = Batch { first: self.next, in_arena: true, ..Batch::default() };
        for (number, message) in self.queue.from(self.next) {
            if message.state != State::Queued {
                batch.pass_over(number);
                continue;
            }
            let alone = !self.can_be_cut(bounds, message);
            if batch.messages > 0 && (alone || !self.fits(bounds, &batch, number, message)) {
                break;
            }
            let len_bytes = u64::from(message.len_bytes);
            self.add_to(&mut batch, message, &mut each);
            batch.has_address = message.has_address;
            // a shorter datagram can only be the last one
            let ends = batch.segment_bytes.is_some_and(|segment| u64::from(segment) != len_bytes);
            if alone || ends {
                break;
            }
            batch.segment_bytes = Some(len_bytes as u16);
        }
        // one datagram is nothing to cut
        batch.segment_bytes = batch.segment_bytes.filter(|_| batch.messages > 1);
        batch
    }

    /// Whether a datagram goes into a request behind those that it carries.
    fn fits(&self, bounds: &Bounds<'_>, batch: &Batch, number: u64, message: &Message) -> bool {
        batch.has_room(bounds, SEGMENTED_BYTES_MAX.min(bounds.bytes_max), message)
            && batch.messages < SEGMENTS_MAX
            && self.address(batch.first) == self.address(number)
            && batch.segment_bytes.is_some_and(|segment| u64::from(message.len_bytes) <= u64::from(segment))
    }

    fn can_be_cut(&self, bounds: &Bounds<'_>, message: &Message) -> bool {
        self.traits.segments && u64::from(message.len_bytes) <= bounds.segment_bytes_max
    }

    /// Whether what is left of a message is a range that goes alone.
    fn is_alone(&self, bounds: &Bounds<'_>, message: &Message) -> bool {
        let Some(is_alone) = bounds.is_alone else { return false };
        let left = message.left_bytes();
        let last = self.pieces_of(message).next_back();
        last.is_some_and(|last| left <= u64::from(last.len_bytes) && is_alone(last.in_arena, left))
    }

    #[inline(always)]
    fn add_to(&self, batch: &mut Batch, message: &Message, each: &mut impl FnMut(*const u8, usize)) {
        let mut skip = u64::from(message.sent_bytes);
        for Part { addr, len_bytes, in_arena } in self.pieces_of(message) {
            let len = u64::from(len_bytes);
            if skip >= len {
                skip -= len;
                continue;
            }
            each(addr.wrapping_add(skip as usize), (len - skip) as usize);
            skip = 0;
            batch.iovecs += 1;
            batch.in_arena &= in_arena;
        }
        batch.len_bytes += message.left_bytes();
        batch.messages += 1;
        batch.span += 1;
    }
}
