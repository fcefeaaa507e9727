//! A sender on a ring of its caller's, beside the caller's own requests.

use io_uring::{IoUring, opcode};
use uringspec_real::mixed::{Guest, Outcome, Sender, Thresholds};
use uringspec_real::probe;

use crate::workload::{self, Book, Shape};
use crate::{arena, skip_if_refused, small_policy};

const TAG: u8 = 0x5e;

#[test]
fn a_sender_shares_its_callers_ring() {
    let Ok(profile) = probe() else { return eprintln!("skipped: no ring") };
    let Some(mut ring) = skip_if_refused(IoUring::new(64)) else { return };
    let arena = arena();
    let (base, len) = arena.region();
    let iovec = libc::iovec { iov_base: base.cast_mut().cast(), iov_len: len };
    // SAFETY: the arena lives in the sender below, which is dropped when nothing is under way.
    let registered = unsafe { ring.submitter().register_buffers(&[iovec]) }.is_ok();
    let policy = small_policy(Thresholds::always(), Thresholds::always());
    let kernel = Guest::new(profile, TAG, registered.then_some(0));
    let mut sender = Sender::new(kernel, arena, policy).expect("a page can be mapped");
    let (near, far) = workload::tcp("127.0.0.1");
    let key = sender.add(near).expect("it is a socket");
    let shapes = [Shape { header: 24, payload: 100_000, memory: 0 }; 3];
    let peer = workload::stream_peer(far, 0, shapes.to_vec());
    let mut book = Book::default();
    for (n, shape) in shapes.into_iter().enumerate() {
        workload::queue(&mut sender, key, (0, n as u64), shape, &mut book).expect("there is room");
    }
    // SAFETY: a nop refers to no memory.
    unsafe { ring.submission().push(&opcode::Nop::new().build().user_data(7)) }.expect("there is room");
    let mut own = 0;
    while sender.owed() > 0 || sender.has_work() {
        sender.flush().expect("a guest calls nobody");
        while let Some(entry) = sender.next_entry() {
            // SAFETY: the sender keeps what its entries name until it was handed their completions.
            unsafe { ring.submission().push(&entry) }.expect("there is room for all");
        }
        ring.submit_and_wait(1).expect("something is under way");
        let taken: Vec<_> = ring.completion().collect();
        for entry in taken {
            if sender.owns(&entry) {
                // SAFETY: it was taken from the ring that the entries went to, once.
                unsafe { sender.complete(&entry) };
            } else {
                assert_eq!(entry.user_data(), 7);
                own += 1;
            }
        }
        book.take(&mut sender);
    }
    assert_eq!((own, sender.counters().strays), (1, 0));
    assert!(book.ended.len() == 3 && book.ended.values().all(|outcome| *outcome == Outcome::Whole));
    assert_eq!(book.released.len(), 3);
    drop(sender.remove(key));
    peer.join().expect("every byte is right");
}
