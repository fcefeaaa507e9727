//! The two queues of a ring, with the kernel as the other thread. Each order of memory, ours and the kernel's,
//! has a weakened twin that must be refuted; so none of them is stronger than it has to be.
//!
//! The kernel's side is what `io_get_sqe`, `io_commit_sqring`, `io_cqe_cache_refill`, `io_commit_cqring` and
//! `io_sq_thread` do in 6.18. The kernel reads the head of completions plainly and writes only behind a branch
//! on it; the memory model here has no such dependency, so that it acquires.

use loom::cell::UnsafeCell;
use loom::sync::atomic::AtomicU32;
use loom::sync::{Arc, Mutex};
use loom::thread;
use std::sync::atomic::Ordering::{self, AcqRel, Acquire, Relaxed, Release, SeqCst};
use uringspec_real::shared_ring::{Completions, Orders, SQ_CQ_OVERFLOW, SQ_NEED_WAKEUP, Submissions, Word};

/// One slot, so that the second use of it comes as early as it can.
const SLOTS: u32 = 1;
/// How many go through a queue.
const COUNT: u32 = 2;

struct Shared(AtomicU32);

impl Word for Shared {
    fn load(&self, order: Ordering) -> u32 {
        self.0.load(order)
    }

    fn store(&self, value: u32, order: Ordering) {
        self.0.store(value, order);
    }

    fn fence(order: Ordering) {
        loom::sync::atomic::fence(order);
    }
}

/// One queue, and the flags.
struct Queue {
    head: Shared,
    tail: Shared,
    flags: Shared,
    slot: UnsafeCell<u32>,
}

impl Queue {
    fn new() -> Arc<Queue> {
        let word = || Shared(AtomicU32::new(0));
        Arc::new(Queue { head: word(), tail: word(), flags: word(), slot: UnsafeCell::new(0) })
    }

    fn submissions(&self, orders: Orders) -> Submissions<'_, Shared> {
        Submissions { head: &self.head, tail: &self.tail, flags: &self.flags, slots: SLOTS, orders }
    }

    fn completions(&self, orders: Orders) -> Completions<'_, Shared> {
        Completions { head: &self.head, tail: &self.tail, slots: SLOTS, orders }
    }

    fn write(&self, value: u32) {
        // SAFETY: the words say whose the slot is; loom reports it if they do not.
        self.slot.with_mut(|slot| unsafe { *slot = value });
    }

    fn read(&self) -> u32 {
        // SAFETY: as in `write`.
        self.slot.with(|slot| unsafe { *slot })
    }
}

/// The orders of memory on the kernel's side.
#[derive(Clone, Copy)]
struct Kernel {
    sq_tail: Ordering,
    sq_head: Ordering,
    cq_head: Ordering,
    cq_tail: Ordering,
    asleep: Ordering,
}

const KERNEL: Kernel =
    Kernel { sq_tail: Acquire, sq_head: Release, cq_head: Acquire, cq_tail: Release, asleep: SeqCst };

/// We put in, the kernel takes out.
fn submissions(ours: Orders, kernel: Kernel) {
    let queue = Queue::new();
    let theirs = Arc::clone(&queue);
    let other = thread::spawn(move || {
        for head in 0..COUNT {
            while theirs.tail.load(kernel.sq_tail) == head {
                thread::yield_now();
            }
            assert_eq!(theirs.read(), head + 1, "an entry is seen as it was written");
            theirs.head.store(head + 1, kernel.sq_head);
        }
    });
    for value in 1..=COUNT {
        while !queue.submissions(ours).push(|_| queue.write(value)) {
            thread::yield_now();
        }
    }
    other.join().expect("the kernel goes on");
}

/// The kernel puts in, we take out.
fn completions(ours: Orders, kernel: Kernel) {
    let queue = Queue::new();
    let theirs = Arc::clone(&queue);
    let other = thread::spawn(move || {
        for tail in 0..COUNT {
            while tail - theirs.head.load(kernel.cq_head) == SLOTS {
                thread::yield_now();
            }
            theirs.write(tail + 1);
            theirs.tail.store(tail + 1, kernel.cq_tail);
        }
    });
    for value in 1..=COUNT {
        let seen = loop {
            match queue.completions(ours).take(|_| queue.read()) {
                Some(seen) => break seen,
                None => thread::yield_now(),
            }
        };
        assert_eq!(seen, value, "a completion is seen as it was written");
    }
    other.join().expect("the kernel goes on");
}

/// The kernel's thread goes to sleep while we push.
fn sleeper(ours: Orders, kernel: Kernel) {
    let queue = Queue::new();
    let theirs = Arc::clone(&queue);
    let other = thread::spawn(move || {
        theirs.flags.0.fetch_or(SQ_NEED_WAKEUP, Relaxed);
        Shared::fence(kernel.asleep);
        theirs.tail.load(kernel.sq_tail) != 0
    });
    assert!(queue.submissions(ours).push(|_| queue.write(1)), "an empty queue has room");
    let woken = queue.submissions(ours).needs_wakeup();
    let seen = other.join().expect("the kernel goes on");
    assert!(seen || woken, "an entry is left beside a thread that sleeps");
}

/// Completions wait outside the queue: the flag needs no order, since the call that follows has one.
fn overflow(ours: Orders, kernel: Kernel) {
    let queue = Queue::new();
    let waiting = Arc::new(Mutex::new(0));
    let (theirs, outside) = (Arc::clone(&queue), Arc::clone(&waiting));
    let other = thread::spawn(move || {
        theirs.write(1);
        theirs.tail.store(1, kernel.cq_tail);
        *outside.lock().expect("nobody panics with it") += 1;
        theirs.flags.0.fetch_or(SQ_CQ_OVERFLOW, Relaxed);
    });
    if queue.submissions(ours).flags() & SQ_CQ_OVERFLOW != 0 {
        assert_eq!(*waiting.lock().expect("nobody panics with it"), 1, "a call finds what the flag said");
        assert_eq!(queue.completions(ours).take(|_| queue.read()), Some(1), "and the queue full");
    }
    other.join().expect("the kernel goes on");
}

type Scene = fn(Orders, Kernel);
const SCENES: [Scene; 4] = [submissions, completions, sleeper, overflow];

/// One order weakened, and where that must show.
type Twin = (&'static str, Scene, fn(&mut Orders, &mut Kernel));
const TWINS: [Twin; 10] = [
    ("our tail of submissions", submissions, |ours, _| ours.sq_tail = Relaxed),
    ("our look at the head of submissions", submissions, |ours, _| ours.sq_head = Relaxed),
    ("our look at the tail of completions", completions, |ours, _| ours.cq_tail = Relaxed),
    ("our head of completions", completions, |ours, _| ours.cq_head = Relaxed),
    ("our fence before looking for a sleeper", sleeper, |ours, _| ours.asleep = AcqRel),
    ("the kernel's look at the tail of submissions", submissions, |_, kernel| kernel.sq_tail = Relaxed),
    ("the kernel's head of submissions", submissions, |_, kernel| kernel.sq_head = Relaxed),
    ("the kernel's tail of completions", completions, |_, kernel| kernel.cq_tail = Relaxed),
    ("the kernel's look at the head of completions", completions, |_, kernel| kernel.cq_head = Relaxed),
    ("the kernel's fence before it sleeps", sleeper, |_, kernel| kernel.asleep = AcqRel),
];

/// What is wrong with the scene in these orders, if anything is.
fn refute(scene: Scene, ours: Orders, kernel: Kernel) -> Option<String> {
    // a thread of its own, since a walk that was broken off leaves its thread unfit for another
    let walk = std::thread::spawn(move || loom::model(move || scene(ours, kernel)));
    let panic = walk.join().err()?;
    let text = panic.downcast_ref::<String>().cloned();
    Some(text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).into())).unwrap_or_default())
}

#[test]
fn the_needed_orders_are_enough() {
    for scene in SCENES {
        assert_eq!(refute(scene, Orders::NEEDED, KERNEL), None);
    }
}

#[test]
fn each_weakened_twin_is_refuted() {
    for (name, scene, weaken) in TWINS {
        let (mut ours, mut kernel) = (Orders::NEEDED, KERNEL);
        weaken(&mut ours, &mut kernel);
        let Some(why) = refute(scene, ours, kernel) else { panic!("{name}: nothing shows without it") };
        let expected = ["Causality violation", "an entry is left beside a thread that sleeps"];
        assert!(expected.iter().any(|text| why.contains(text)), "{name}: {why}");
    }
}

/// Every order that there is has its twin.
#[test]
fn no_order_is_without_a_twin() {
    let Orders { sq_tail, sq_head, cq_tail, cq_head, asleep } = Orders::NEEDED;
    let ours = [sq_tail, sq_head, cq_tail, cq_head, asleep];
    let weakened = TWINS.map(|(_, _, weaken)| {
        let (mut ours, mut kernel) = (Orders::NEEDED, KERNEL);
        weaken(&mut ours, &mut kernel);
        [ours.sq_tail, ours.sq_head, ours.cq_tail, ours.cq_head, ours.asleep]
    });
    for (index, needed) in ours.iter().enumerate() {
        assert!(weakened.iter().any(|orders| orders[index] != *needed), "order {index} has no twin");
    }
}
