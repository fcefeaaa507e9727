//! What was queued on a stream since nothing was, as the next request would carry it: a flush of messages that
//! all go together need not look at them again.

use super::batch::{Batch, Bounds};
use super::piece::{Header, Piece};

/// Messages that were queued one behind the other, and what a request of all of them points to.
pub(super) struct Fresh {
    batch: Batch,
    iovecs: Vec<libc::iovec>,
}

// SAFETY: the pointers are never followed here; they are those of pieces, which may go to another thread.
unsafe impl Send for Fresh {}

impl Fresh {
    pub(super) fn new() -> Fresh {
        Fresh { batch: Batch::default(), iovecs: Vec::new() }
    }

    /// Nothing is queued; the next message has this number.
    #[inline]
    pub(super) fn begin(&mut self, number: u64) {
        self.batch = Batch { first: number, in_arena: true, ..Batch::default() };
        self.iovecs.clear();
    }

    /// Messages are not what they were: this is of no use until `begin`.
    #[inline]
    pub(super) fn void(&mut self) {
        (self.batch.first, self.batch.span, self.batch.messages) = (u64::MAX, 0, 0);
    }

    /// The number that a message must have to be added.
    #[inline]
    fn end(&self) -> u64 {
        self.batch.first.wrapping_add(self.batch.span)
    }

    /// A message was queued.
    #[inline]
    pub(super) fn add<'p>(&mut self, number: u64, pieces: impl IntoIterator<Item = &'p Piece>) {
        if self.end() != number {
            return;
        }
        // pieces without bytes are none
        for Piece { addr, len_bytes, in_arena, .. } in pieces.into_iter().filter(|piece| piece.len_bytes > 0)
        {
            self.add_piece(*addr, *len_bytes, *in_arena);
        }
        self.batch.span += 1;
        self.batch.messages += 1;
    }

    /// A message of one piece in the arena was queued, maybe with a header before it.
    #[inline(always)]
    pub(super) fn add_one(&mut self, number: u64, header: Header, addr: *const u8, len_bytes: u32) {
        if self.end() == number {
            if header.len_bytes > 0 {
                self.add_piece(header.addr, header.len_bytes, true);
            }
            self.add_piece(addr, len_bytes, true);
            self.batch.span += 1;
            self.batch.messages += 1;
        }
    }

    #[inline(always)]
    fn add_piece(&mut self, addr: *const u8, len_bytes: u32, in_arena: bool) {
        self.iovecs.push(libc::iovec { iov_base: addr.cast_mut().cast(), iov_len: len_bytes as usize });
        self.batch.len_bytes += u64::from(len_bytes);
        self.batch.in_arena &= in_arena;
        self.batch.iovecs += 1;
    }

    /// Exchanges the array for one that is of no use any more, if what is queued, the messages `next..end`, is
    /// what was added here, and one request may carry it.
    #[inline]
    pub(super) fn take(
        &mut self,
        next: u64,
        end: u64,
        bounds: &Bounds<'_>,
        iovecs: &mut Vec<libc::iovec>,
    ) -> Option<Batch> {
        let batch = self.batch;
        let is_all = batch.messages > 0 && batch.first == next && self.end() == end;
        let may_all = batch.iovecs <= bounds.iovecs_max && batch.len_bytes <= bounds.bytes_max;
        // what came back short would fit again
        self.void();
        if !is_all || !may_all || bounds.is_alone.is_some() {
            return None;
        }
        std::mem::swap(&mut self.iovecs, iovecs);
        // an array that was never used is made as long at once
        if self.iovecs.capacity() == 0 {
            self.iovecs.reserve(iovecs.len());
        }
        Some(batch)
    }
}
