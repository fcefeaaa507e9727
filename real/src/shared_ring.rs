//! The two queues that a ring shares with the kernel: who writes which word, and what becomes visible before it.
//!
//! Of each queue one side moves the tail and the other the head. Whoever moves a word has done all with the
//! slots it passes, so moving releases and looking at the other's word acquires. The flags say only that a
//! call is due: the call orders what follows, so nothing has to come with them. Only of a kernel thread that
//! goes to sleep is more asked: it may not miss a tail of which we believe that it is awake.
//!
//! Where the words lie is the caller's: the kernel's mapping, or the words of loom, which walks through all
//! orders with each of these weakened in turn (`tests/loom.rs`).
//!
//! Source: the first comment of `io_uring/io_uring.c` and `io_sq_thread` in `io_uring/sqpoll.c`, 6.18.

use std::sync::atomic::{AtomicU32, Ordering, fence};

/// `IORING_SQ_NEED_WAKEUP`: the kernel's thread sleeps.
pub const SQ_NEED_WAKEUP: u32 = 1;
/// `IORING_SQ_CQ_OVERFLOW`: completions wait outside the queue.
pub const SQ_CQ_OVERFLOW: u32 = 2;
/// `IORING_SQ_TASKRUN`: deferred work waits for a call.
pub const SQ_TASKRUN: u32 = 4;

/// A word that both sides see.
pub trait Word {
    /// Reads it.
    fn load(&self, order: Ordering) -> u32;
    /// Writes it.
    fn store(&self, value: u32, order: Ordering);
    /// Orders what is before against what is behind.
    fn fence(order: Ordering);
}

impl Word for AtomicU32 {
    fn load(&self, order: Ordering) -> u32 {
        AtomicU32::load(self, order)
    }

    fn store(&self, value: u32, order: Ordering) {
        AtomicU32::store(self, value, order);
    }

    fn fence(order: Ordering) {
        fence(order);
    }
}

/// The orders of memory on our side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Orders {
    /// Moving the tail of submissions: the kernel sees the entries.
    pub sq_tail: Ordering,
    /// Reading the head of submissions: the kernel is done with the entries.
    pub sq_head: Ordering,
    /// Reading the tail of completions: we see the completions.
    pub cq_tail: Ordering,
    /// Moving the head of completions: we are done with them.
    pub cq_head: Ordering,
    /// The fence between moving the tail and looking whether the kernel's thread sleeps. It sleeps after it
    /// has said so and found no new tail, so that one of both sees the other.
    pub asleep: Ordering,
}

impl Orders {
    /// What the kernel asks for.
    pub const NEEDED: Orders = Orders {
        sq_tail: Ordering::Release,
        sq_head: Ordering::Acquire,
        cq_tail: Ordering::Acquire,
        cq_head: Ordering::Release,
        asleep: Ordering::SeqCst,
    };
}

/// Our side of the queue of submissions. One thread at a time may have it.
#[derive(Clone, Copy, Debug)]
pub struct Submissions<'a, W> {
    /// The first entry that the kernel has not consumed; the kernel moves it.
    pub head: &'a W,
    /// Behind the last entry; we move it.
    pub tail: &'a W,
    /// `SQ_*` bits; the kernel writes them.
    pub flags: &'a W,
    /// How many slots there are, a power of two.
    pub slots: u32,
    /// `Orders::NEEDED`, except in tests.
    pub orders: Orders,
}

impl<W: Word> Submissions<'_, W> {
    /// How many entries the kernel has not consumed.
    pub fn len(&self) -> u32 {
        self.tail.load(Ordering::Relaxed).wrapping_sub(self.head.load(self.orders.sq_head))
    }

    /// Whether the kernel has consumed all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Lets `write` fill the next slot, whose number it is given, and hands it to the kernel. False if there is
    /// none.
    pub fn push(&self, write: impl FnOnce(u32)) -> bool {
        self.push_all(1, write)
    }

    /// As `push`, with the first of the next `count` slots: the kernel sees all of them or none. The others follow,
    /// and behind the last slot comes the first.
    pub fn push_all(&self, count: u32, write: impl FnOnce(u32)) -> bool {
        if self.slots.saturating_sub(self.len()) < count {
            return false;
        }
        let tail = self.tail.load(Ordering::Relaxed);
        write(tail & (self.slots - 1));
        self.tail.store(tail.wrapping_add(count), self.orders.sq_tail);
        true
    }

    /// Whether the kernel's thread has to be woken to see what was pushed before.
    pub fn needs_wakeup(&self) -> bool {
        W::fence(self.orders.asleep);
        self.flags() & SQ_NEED_WAKEUP != 0
    }

    /// What the kernel says, `SQ_*` bits. After them comes a call, or nothing.
    pub fn flags(&self) -> u32 {
        self.flags.load(Ordering::Relaxed)
    }
}

/// Our side of the queue of completions. One thread at a time may have it.
#[derive(Clone, Copy, Debug)]
pub struct Completions<'a, W> {
    /// The first completion that we have not taken; we move it.
    pub head: &'a W,
    /// Behind the last completion; the kernel moves it.
    pub tail: &'a W,
    /// How many slots there are, a power of two.
    pub slots: u32,
    /// `Orders::NEEDED`, except in tests.
    pub orders: Orders,
}

impl<W: Word> Completions<'_, W> {
    /// Lets `read` read the next slot, whose number it is given, and gives the slot back.
    pub fn take<T>(&self, read: impl FnOnce(u32) -> T) -> Option<T> {
        let head = self.head.load(Ordering::Relaxed);
        if head == self.tail.load(self.orders.cq_tail) {
            return None;
        }
        let what = read(head & (self.slots - 1));
        self.head.store(head.wrapping_add(1), self.orders.cq_head);
        Some(what)
    }
}
