//! Memory that is lent while everything around it ends.

use std::io::Read;
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use uringspec_real::mixed::{
    Arena, ArenaSize, Event, LocalRing, Outcome, Payload, Policy, Refusal, Sender, SocketKey, Thresholds,
};

use crate::workload::{self, Book, Shape};
use crate::{arena, lends, local, small_policy};

const PAYLOAD: usize = 40_000;

/// A sender with a message on a connection whose peer does not read: the kernel has taken it, and keeps it.
struct Held {
    sender: Sender<LocalRing>,
    key: SocketKey,
    far: TcpStream,
    ahead: usize,
}

pub(crate) fn set(socket: BorrowedFd<'_>, name: libc::c_int, value: libc::c_int) {
    let len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the value lives through the call, and `len` is its size.
    let ret = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, name, (&raw const value).cast(), len)
    };
    assert_eq!(ret, 0, "{}", std::io::Error::last_os_error());
}

/// Closed, the socket resets its connection.
pub(crate) fn set_linger(socket: BorrowedFd<'_>) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let len = size_of::<libc::linger>() as libc::socklen_t;
    let at = (&raw const linger).cast();
    // SAFETY: the value lives through the call, and `len` is its size.
    let ret = unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, at, len) };
    assert_eq!(ret, 0, "{}", std::io::Error::last_os_error());
}

fn held(policy: Policy, arena: Arena) -> Option<Held> {
    let ring = local(&policy).filter(|_| lends())?;
    let mut sender = Sender::new(ring, arena, policy).expect("an arena can be mapped");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    set(listener.as_fd(), libc::SO_RCVBUF, 4096);
    let near = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
    let (far, _) = listener.accept().expect("somebody connects");
    set(near.as_fd(), libc::SO_SNDBUF, 400_000);
    near.set_nonblocking(true).expect("sockets can be that");
    let mut ahead = 0;
    // fills the peer's window, so that nothing behind it leaves
    while ahead < 16_384 {
        ahead += std::io::Write::write(&mut &near, &[0; 4096]).expect("the send buffer has room");
    }
    near.set_nonblocking(false).expect("sockets can be that");
    let key = sender.add(OwnedFd::from(near)).expect("it is a socket");
    Some(Held { sender, key, far, ahead })
}

impl Held {
    /// Sends a message that is lent when this returns.
    fn lend(&mut self, memory: usize, book: &mut Book) {
        let shape = Shape { header: 24, payload: PAYLOAD, memory };
        let ticket = workload::queue(&mut self.sender, self.key, (0, 0), shape, book).expect("there is room");
        self.sender.turn(1).expect("the ring is there");
        book.take(&mut self.sender);
        assert_eq!(book.ended.get(&ticket), Some(&Outcome::Whole));
        assert_eq!((self.sender.owed(), book.released.len()), (1, 0), "its memory is held");
    }
}

fn read_rest(mut far: TcpStream, ahead: usize) {
    let mut got = vec![0; ahead + 24 + PAYLOAD];
    far.read_exact(&mut got).expect("all of it comes");
    assert!(got[ahead..] == workload::bytes(0, 0, 24 + PAYLOAD), "the bytes are those that were lent");
}

fn policy() -> Policy {
    small_policy(Thresholds::always(), Thresholds::always())
}

#[test]
fn closing_says_what_is_lent_and_leaks_what_is_not_its_own() {
    for (memory, leaked) in [(0, 0), (2, 0), (3, PAYLOAD as u64), (4, PAYLOAD as u64)] {
        let mut book = Book::default();
        let Some(mut held) = held(policy(), arena()) else { return };
        held.lend(memory, &mut book);
        let closed = held.sender.close();
        assert_eq!(
            (closed.unfinished.len(), closed.lent_bytes, closed.leaked_bytes),
            (1, PAYLOAD as u64, leaked)
        );
        // what an allocator has is written all over
        let scribbles: Vec<Vec<u8>> = (0..200).map(|_| vec![0xee; PAYLOAD]).collect();
        read_rest(held.far, held.ahead);
        drop(scribbles);
    }
}

#[test]
fn adopted_memory_that_is_lent_is_leaked_as_a_whole() {
    let size = ArenaSize { header_slots: 16, small_bytes: 4096, paged_bytes: 1 << 20, leases_max: 16 };
    let total = size.total_bytes();
    let mut book = Book::default();
    let adopted = Arena::adopt(vec![0; total], size).expect("it is large enough");
    let Some(mut held) = held(policy(), adopted) else { return };
    held.lend(0, &mut book);
    assert_eq!(held.sender.close().leaked_bytes, total as u64);
    let scribbles = vec![vec![0xee; total]; 4];
    read_rest(held.far, held.ahead);
    drop(scribbles);
}

#[test]
fn a_panic_while_memory_is_lent_changes_no_byte() {
    let Some(mut held) = held(policy(), arena()) else { return };
    let (far, ahead) = (held.far.try_clone().expect("descriptors can be copied"), held.ahead);
    let ended = catch_unwind(AssertUnwindSafe(move || {
        held.lend(3, &mut Book::default());
        std::panic::resume_unwind(Box::new("while it is lent"));
    }));
    assert!(ended.is_err());
    let scribbles: Vec<Vec<u8>> = (0..200).map(|_| vec![0xee; PAYLOAD]).collect();
    read_rest(far, ahead);
    drop(scribbles);
}

#[test]
fn what_is_forgotten_stays_where_it_is() {
    let Some(mut held) = held(policy(), arena()) else { return };
    held.lend(0, &mut Book::default());
    // a message that was begun and forgotten is not sent, and not mixed into the next one
    std::mem::forget(held.sender.message(held.key).copy(b"never to be sent").lend(vec![1; 10]));
    let next = held.sender.message(held.key).copy(b"next").queue();
    assert_eq!(next.expect("there is room").number, 1);
    held.sender.flush().expect("the ring is there");
    std::mem::forget(held.sender);
    let mut got = vec![0; held.ahead + 24 + PAYLOAD + 4];
    held.far.read_exact(&mut got).expect("all of it comes");
    assert_eq!(&got[held.ahead + 24 + PAYLOAD..], b"next");
}

#[test]
fn a_fork_can_neither_send_nor_disturb() {
    let Some(mut held) = held(policy(), arena()) else { return };
    let mut book = Book::default();
    held.lend(0, &mut book);
    // SAFETY: the child makes no use of other threads' locks: it asks, and leaves at once.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "{}", std::io::Error::last_os_error());
    if child == 0 {
        let refused = held.sender.message(held.key).queue().err().map(|refused| refused.why);
        let fails = held.sender.flush().is_err();
        held.sender.abort(held.key);
        let code = i32::from(refused != Some(Refusal::Fork) || !fails);
        // SAFETY: ends the child without running what its parent has yet to run.
        unsafe { libc::_exit(code) };
    }
    let mut status = 0;
    // SAFETY: `status` has room for what the call writes.
    let ended = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!((ended, status), (child, 0));
    read_rest(held.far, held.ahead);
    workload::settle(&mut held.sender, &mut book);
    assert_eq!(book.released.len(), 1);
}

#[test]
fn what_a_fork_writes_does_not_change_what_is_sent() {
    for memory in [0, 3] {
        let Some(mut held) = held(policy(), arena()) else { return };
        let all = workload::bytes(0, 0, 24 + PAYLOAD);
        let payload: Payload = match memory {
            0 => {
                let mut lease = held.sender.lease(PAYLOAD).expect("there is room");
                lease.copy_from_slice(&all[24..]);
                lease.into()
            }
            _ => all[24..].to_vec().into(),
        };
        let at = payload.bytes().as_ptr().cast_mut();
        held.sender.send(held.key, &all[..24], payload).expect("there is room");
        held.sender.turn(1).expect("the ring is there");
        // SAFETY: the child makes no use of other threads' locks: it writes, and leaves at once.
        let child = unsafe { libc::fork() };
        assert!(child >= 0, "{}", std::io::Error::last_os_error());
        if child == 0 {
            // SAFETY: the bytes are mapped in the child as well, and nobody else is there to look at them.
            unsafe {
                at.write_bytes(0xee, PAYLOAD);
                libc::_exit(0);
            }
        }
        let mut status = 0;
        // SAFETY: `status` has room for what the call writes.
        let ended = unsafe { libc::waitpid(child, &raw mut status, 0) };
        assert_eq!((ended, status), (child, 0));
        assert_eq!(held.sender.owed(), 1, "it is still lent");
        read_rest(held.far, held.ahead);
    }
}

#[test]
fn a_peer_that_never_reads_is_reset_when_its_time_is_over() {
    let Some(mut held) = held(Policy { deadline: Some(30), ..policy() }, arena()) else { return };
    let mut book = Book::default();
    held.sender.tick(100);
    held.lend(0, &mut book);
    held.sender.tick(130);
    book.take(&mut held.sender);
    assert!(book.overdue.is_empty());
    held.sender.tick(131);
    book.take(&mut held.sender);
    assert_eq!(book.overdue, [held.key]);
    workload::settle(&mut held.sender, &mut book);
    assert_eq!(book.released.len(), 1, "a reset releases");
    let refused = held.sender.send(held.key, b"too late", vec![1]).expect_err("the socket has ended");
    assert_eq!((refused.why, refused.payloads.len()), (Refusal::Gone, 1));
}

#[test]
fn a_socket_may_lend_only_so_much() {
    let bound = Policy { socket_lent_bytes_max: 100_000, ..policy() };
    let Some(mut held) = held(bound, arena()) else { return };
    held.lend(0, &mut Book::default());
    held.sender.send(held.key, b"", vec![1; 60_000]).expect("that is not too much");
    let refused = held.sender.send(held.key, b"", vec![2; 1]).expect_err("that is");
    assert_eq!(refused.why, Refusal::Full);
    assert_eq!(refused.payloads[0].bytes(), [2]);
    held.sender.message(held.key).copy(b"copies are not lent").queue().expect("they are taken");
}

#[test]
fn with_as_many_requests_as_there_may_be_nothing_is_to_be_done_until_one_is_over() {
    let Some(mut held) = held(Policy { requests_max: 1, ..policy() }, arena()) else { return };
    let mut book = Book::default();
    held.lend(0, &mut book);
    let shape = Shape { header: 24, payload: 0, memory: 0 };
    workload::queue(&mut held.sender, held.key, (0, 1), shape, &mut book).expect("there is room");
    assert!(!held.sender.has_work(), "whoever would not wait while there is work would wait for ever");
    held.sender.flush().expect("the ring is there");
    assert_eq!(held.sender.counters().gathered, 1, "it was not handed over");
    read_rest(held.far.try_clone().expect("descriptors can be copied"), held.ahead);
    while held.sender.owed() > 0 {
        held.sender.turn(1).expect("the ring is there");
        book.take(&mut held.sender);
    }
    assert!(held.sender.has_work() || book.ended.len() == 2, "its turn has come");
    workload::settle(&mut held.sender, &mut book);
    assert!(
        book.ended.len() == 2 && book.ended.values().all(|end| *end == Outcome::Whole),
        "{:?}",
        book.ended
    );
}

#[test]
fn what_was_not_handed_over_can_be_withdrawn() {
    let Some(mut held) = held(policy(), arena()) else { return };
    let mut book = Book::default();
    held.lend(0, &mut book);
    let [first, second, third] =
        [1, 2, 3].map(|n| held.sender.send(held.key, &[n; 4], vec![n; 10]).expect("there is room"));
    let back = held.sender.withdraw(second).expect("it was not handed over");
    assert_eq!(back[0].bytes(), [2; 10]);
    assert!(held.sender.withdraw(second).is_none());
    held.sender.flush().expect("the ring is there");
    assert!(held.sender.withdraw(third).is_none(), "it was handed over");
    let mut got = vec![0; held.ahead + 24 + PAYLOAD + 28];
    held.far.read_exact(&mut got).expect("all of it comes");
    let rest = &got[held.ahead + 24 + PAYLOAD..];
    assert_eq!(rest, [[1; 14], [3; 14]].concat());
    while held.sender.owed() > 0 {
        held.sender.turn(1).expect("the ring is there");
    }
    let mut ended = Vec::new();
    while let Some(event) = held.sender.next_event() {
        if let Event::Ended(ticket, outcome) = event {
            ended.push((ticket, outcome));
        }
    }
    assert_eq!(ended, [(first, Outcome::Whole), (third, Outcome::Whole)]);
}

#[test]
fn an_abort_ends_every_message() {
    let Some(mut held) = held(policy(), arena()) else { return };
    let mut book = Book::default();
    held.lend(0, &mut book);
    // more than the send buffer has room for: the kernel takes a part of it and waits
    let shape = |payload| Shape { header: 24, payload, memory: 3 };
    for n in 1..4 {
        workload::queue(&mut held.sender, held.key, (0, n), shape(600_000), &mut book)
            .expect("there is room");
    }
    held.sender.flush().expect("the ring is there");
    let last =
        workload::queue(&mut held.sender, held.key, (0, 4), shape(10), &mut book).expect("there is room");
    held.sender.abort(held.key);
    book.take(&mut held.sender);
    assert_eq!(book.ended[&last], Outcome::Cancelled { sent_bytes: 0 });
    held.sender.turn(1).expect("the ring is there");
    drop(held.far);
    workload::settle(&mut held.sender, &mut book);
    assert_eq!((book.ended.len(), book.released.len()), (5, 5));
    assert!(
        book.ended.values().any(|o| matches!(o, Outcome::Cancelled { sent_bytes } if *sent_bytes > 0)),
        "{:?}",
        book.ended
    );
    assert!(held.sender.remove(held.key).is_some());
}

#[test]
fn a_reset_fails_what_is_under_way_and_what_is_behind() {
    let Some(mut held) = held(policy(), arena()) else { return };
    let mut book = Book::default();
    held.lend(0, &mut book);
    for n in 1..4 {
        let shape = Shape { header: 24, payload: 600_000, memory: 3 };
        workload::queue(&mut held.sender, held.key, (0, n), shape, &mut book).expect("there is room");
    }
    held.sender.flush().expect("the ring is there");
    drop(held.far); // with unread bytes: a reset
    workload::settle(&mut held.sender, &mut book);
    assert_eq!((book.ended.len(), book.released.len()), (4, 4));
    let failed = book.ended.values().filter(|o| matches!(o, Outcome::Failed { .. })).count();
    let behind = book.ended.values().filter(|o| matches!(o, Outcome::NotSent)).count();
    assert!(failed == 1 && behind >= 1, "{:?}", book.ended);
}
