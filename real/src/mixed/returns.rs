//! How leases come back from any thread: a stack of numbers, pushed by anybody, emptied by its owner.
//!
//! The owner takes all at once, so a number that is on the stack is never pushed again before it was taken,
//! and the usual trouble of such stacks (the same head with another tail) cannot come about. `tests/loom.rs`
//! walks through the orders that the memory model allows.

#[cfg(uringspec_loom)]
use loom::sync::atomic::{AtomicU32, Ordering};
#[cfg(not(uringspec_loom))]
use std::sync::atomic::{AtomicU32, Ordering};

/// No number: the end of the stack.
const END: u32 = u32::MAX;

/// Numbers below a bound, on their way back to their owner.
#[derive(Debug)]
pub struct Returns {
    head: AtomicU32,
    /// For each number the one below it, valid while it is on the stack.
    below: Box<[AtomicU32]>,
}

impl Returns {
    /// An empty stack for the numbers below `bound`.
    pub fn new(bound: u32) -> Returns {
        Returns { head: AtomicU32::new(END), below: (0..bound).map(|_| AtomicU32::new(END)).collect() }
    }

    /// Gives a number back. What its holder did with what the number stands for happens before the owner
    /// takes it. A number that is out of bounds is ignored.
    pub fn give(&self, number: u32) {
        self.give_with(number, Ordering::Release);
    }

    /// As `give`, with the order of memory that makes it visible; for tests.
    #[doc(hidden)]
    pub fn give_with(&self, number: u32, order: Ordering) {
        let Some(below) = self.below.get(number as usize) else { return };
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            below.store(head, Ordering::Relaxed);
            match self.head.compare_exchange_weak(head, number, order, Ordering::Relaxed) {
                Ok(_) => return,
                Err(other) => head = other,
            }
        }
    }

    /// Takes all numbers, the last one first.
    pub fn take(&self, mut each: impl FnMut(u32)) {
        // Pushes on top of an earlier one are read-modify-writes, so they carry on its release.
        let mut next = self.head.swap(END, Ordering::Acquire);
        while let Some(below) = self.below.get(next as usize) {
            let number = next;
            next = below.load(Ordering::Relaxed);
            each(number);
        }
    }

    /// Whether something may have come back; a guess that costs no synchronisation.
    pub fn is_empty(&self) -> bool {
        self.head.load(Ordering::Relaxed) == END
    }
}
