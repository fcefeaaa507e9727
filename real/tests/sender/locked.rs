//! Little memory that may be locked: what cannot be lent is copied, and nothing else changes.

use std::process::Command;

use uringspec_real::mixed::{Arena, ArenaSize, LocalRing, Outcome, Policy, Sender};

use crate::workload::{self, Book, Shape};
use crate::{always, lends, skip_if_refused};

/// Set in the process that has the limit.
const CHILD: &str = "URINGSPEC_TEST_LOCKED";
/// How a process ends that could not give up what it may.
const NOT_HERE: i32 = 77;
const LOCKED_BYTES: u64 = 128 << 10;

/// Gives up all privileges, and most of the memory that may be locked. A user of its own, since what is locked is
/// counted by user.
fn give_up() {
    let limit = libc::rlimit { rlim_cur: LOCKED_BYTES, rlim_max: LOCKED_BYTES };
    // SAFETY: the limit lives through the call.
    let limited = unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) };
    let id = 100_000 + std::process::id();
    // SAFETY: the calls take no pointers; this process has no other work to do than this test.
    let given_up = unsafe { libc::geteuid() != 0 || libc::setresuid(id, id, id) == 0 };
    if limited != 0 || !given_up {
        std::process::exit(NOT_HERE);
    }
}

fn with_little_to_lock() {
    give_up();
    let Some(ring) = skip_if_refused(LocalRing::new(8, 16)) else { std::process::exit(NOT_HERE) };
    let size = ArenaSize { header_slots: 64, small_bytes: 1 << 16, paged_bytes: 4 << 20, leases_max: 64 };
    let arena = Arena::map(size).expect("mapping is not locking");
    let policy = Policy { copies_after_enomem: 3, requests_max: 16, ..always() };
    let mut sender = Sender::new(ring, arena, policy).expect("a sender does without a registered arena");
    assert!(!sender.is_registered(), "an arena has more than may be locked");
    let (near, far) = workload::tcp("127.0.0.1");
    let key = sender.add(near).expect("it is a socket");
    let (long, short) = (300_000, 20_000);
    let lens = [long, long, long, long, long, short, short, short];
    let shapes: Vec<Shape> = lens.map(|payload| Shape { header: 24, payload, memory: 5 }).into();
    let peer = workload::stream_peer(far, 0, shapes.clone());
    let (mut book, mut seen) = (Book::default(), Vec::new());
    for (number, shape) in shapes.into_iter().enumerate() {
        workload::queue(&mut sender, key, (0, number as u64), shape, &mut book).expect("there is room");
        workload::settle(&mut sender, &mut book);
        let counters = sender.counters();
        seen.push((counters.zero_copy_requests, counters.fallbacks, counters.copied_bytes));
    }
    assert!(book.ended.values().all(|outcome| *outcome == Outcome::Whole), "{:?}", book.ended);
    // one in three is tried and refused; the last ones are short enough
    let tried: Vec<u64> = seen.iter().map(|(tried, ..)| *tried).collect();
    let refused: Vec<u64> = seen.iter().map(|(_, refused, _)| *refused).collect();
    assert_eq!((tried, refused), (vec![1, 1, 1, 2, 2, 2, 3, 4], vec![1, 1, 1, 2, 2, 2, 2, 2]), "{seen:?}");
    assert_eq!(
        seen[7].2,
        5 * 300_024 + 20_024,
        "what was refused was copied, and what came for a while after"
    );
    drop(sender.remove(key).expect("nothing is under way"));
    peer.join().expect("every byte is right");
}

#[test]
fn what_cannot_be_locked_is_copied() {
    if std::env::var_os(CHILD).is_some() {
        return with_little_to_lock();
    }
    if !lends() {
        return;
    }
    let this = std::env::current_exe().expect("a process has a program");
    let output = Command::new(this)
        .args(["--exact", "locked::what_cannot_be_locked_is_copied", "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .output()
        .expect("this program can be run");
    if output.status.code() == Some(NOT_HERE) {
        return eprintln!("skipped: {}", String::from_utf8_lossy(&output.stderr));
    }
    let text = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&text));
}
