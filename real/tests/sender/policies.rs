//! What `Policy` says is what the sender does: each of its values, by counting.

use std::net::TcpStream;
use std::os::fd::OwnedFd;

use uringspec_model::program::{Amount, Lane, Limits, SocketId, SocketKind};
use uringspec_real::mixed::{
    CopiedPolicy, Event, LocalRing, Outcome, Policy, Refusal, Sender, Simulated, SimulatedSocket, Simulation,
    Trouble,
};

use crate::simulated::{simulation, socket};
use crate::workload::{self, Book, Shape};
use crate::{always, arena, held, local};

/// Sends messages on a new socket of a simulated kernel, each once the one before is over: which were zero-copied.
fn one_by_one(
    simulation: Simulation,
    trouble: Trouble,
    policy: Policy,
    count: u64,
    shape: Shape,
) -> Vec<bool> {
    let (inside, kernel) = Simulated::new(simulation);
    kernel.trouble(trouble);
    let mut sender = Sender::new(inside, arena(), policy).expect("a page can be mapped");
    let key = sender.add(SimulatedSocket(SocketId(0))).expect("it is a socket");
    let mut book = Book::default();
    let lent = |number| {
        let before = sender.counters();
        workload::queue(&mut sender, key, (0, number), shape, &mut book).expect("there is room");
        workload::settle(&mut sender, &mut book);
        let after = sender.counters();
        // one that was refused and then copied counts as copied
        after.copy_requests == before.copy_requests
    };
    let lent = (0..count).map(lent).collect();
    assert!(book.ended.values().all(|outcome| *outcome == Outcome::Whole), "{:?}", book.ended);
    kernel.read(SimulatedSocket(SocketId(0)), Amount::Everything);
    lent
}

#[test]
fn a_socket_whose_reports_say_copied_is_copied_to_for_a_while() {
    let policy = |copies, percent| {
        let copied = CopiedPolicy { window: 5, first_window: 3, percent, copies };
        Policy { copied, ..always() }
    };
    let shape = Shape { header: 24, payload: 5000, memory: 0 };
    let loopback = || simulation(vec![socket(SocketKind::Tcp4, Lane::Loopback)]);
    // over loopback every report says it
    let lent =
        one_by_one(loopback(), Trouble { copied: true, ..Trouble::default() }, policy(4, 95), 14, shape);
    let (lend, copy) = ([true; 3], [false; 4]);
    assert_eq!(lent, [&lend[..], &copy, &lend, &copy].concat());
    // more than all of them cannot
    let lent =
        one_by_one(loopback(), Trouble { copied: true, ..Trouble::default() }, policy(4, 101), 14, shape);
    assert_eq!(lent, [true; 14]);
}

#[test]
fn without_memory_to_lock_a_while_is_copied() {
    let limits = Limits { memlock_bytes: Some(64 << 10), unprivileged: true };
    let few = || Simulation { limits, ..simulation(vec![socket(SocketKind::Tcp4, Lane::Loopback)]) };
    let shape = Shape { header: 24, payload: 200_000, memory: 3 };
    let policy = Policy { copies_after_enomem: 3, ..always() };
    let (inside, _kernel) = Simulated::new(few());
    let mut sender = Sender::new(inside, arena(), policy).expect("a page can be mapped");
    let key = sender.add(SimulatedSocket(SocketId(0))).expect("it is a socket");
    let mut book = Book::default();
    let mut fallbacks = Vec::new();
    for number in 0..6 {
        workload::queue(&mut sender, key, (0, number), shape, &mut book).expect("there is room");
        workload::settle(&mut sender, &mut book);
        fallbacks.push(sender.counters().fallbacks);
    }
    assert!(book.ended.values().all(|outcome| *outcome == Outcome::Whole), "{:?}", book.ended);
    assert_eq!(fallbacks, [1, 1, 1, 2, 2, 2], "one in three is tried");
}

/// A connection over loopback whose peer reads everything.
fn read_by_a_thread(
    sender: &mut Sender<LocalRing>,
) -> (uringspec_real::mixed::SocketKey, std::thread::JoinHandle<usize>) {
    let (near, mut far) = workload::tcp("127.0.0.1");
    let key = sender.add(near).expect("it is a socket");
    let reader = std::thread::spawn(move || {
        let mut got = Vec::new();
        std::io::Read::read_to_end(&mut far, &mut got).expect("the stream ends");
        got.len()
    });
    (key, reader)
}

#[test]
fn a_busy_socket_does_not_hold_up_the_others() {
    // one request at a time, of 200 000 bytes at most
    let policy = Policy { requests_max: 1, gather_bytes_max: 200_000, ..always() };
    let Some(ring) = local(&policy) else { return };
    let mut sender = Sender::new(ring, arena(), policy).expect("an arena can be mapped");
    let (busy, first) = read_by_a_thread(&mut sender);
    let (other, second) = read_by_a_thread(&mut sender);
    let mut book = Book::default();
    let large = Shape { header: 24, payload: 150_000, memory: 3 };
    for number in 0..8 {
        workload::queue(&mut sender, busy, (0, number), large, &mut book).expect("there is room");
    }
    let small = Shape { header: 24, payload: 10, memory: 3 };
    let ticket = workload::queue(&mut sender, other, (1, 0), small, &mut book).expect("there is room");
    let mut ended = Vec::new();
    while sender.owed() > 0 || sender.has_work() {
        sender.turn(1).expect("the ring is there");
        while let Some(event) = sender.next_event() {
            if let Event::Ended(ticket, outcome) = event {
                assert_eq!(outcome, Outcome::Whole);
                ended.push(ticket);
            }
        }
    }
    assert_eq!(ended[1], ticket, "its turn comes after one request: {ended:?}");
    drop((sender.remove(busy), sender.remove(other)));
    assert_eq!(first.join().expect("it reads") + second.join().expect("it reads"), 8 * 150_024 + 34);
}

#[test]
fn only_so_much_is_lent_and_the_rest_is_refused_until_something_is_back() {
    let policy = Policy { lent_bytes_max: 100_000, ..always() };
    let Some(ring) = local(&policy) else { return };
    let mut sender = Sender::new(ring, arena(), policy).expect("an arena can be mapped");
    let (one, first) = read_by_a_thread(&mut sender);
    let (two, second) = read_by_a_thread(&mut sender);
    sender.send(one, b"", vec![0; 60_000]).expect("that is not too much");
    let refused = sender.send(two, b"", vec![0; 60_000]).expect_err("that is");
    assert_eq!((refused.why, refused.payloads.len()), (Refusal::Full, 1));
    assert_eq!(sender.counters().lent_bytes, 60_000);
    while sender.counters().lent_bytes > 0 {
        sender.turn(1).expect("the ring is there");
        while sender.next_event().is_some() {}
    }
    sender.send(two, b"", vec![0; 60_000]).expect("it is back");
    while sender.owed() > 0 || sender.has_work() {
        sender.turn(1).expect("the ring is there");
    }
    drop((sender.remove(one), sender.remove(two)));
    assert_eq!(first.join().expect("it reads") + second.join().expect("it reads"), 120_000);
}

#[test]
fn a_socket_that_does_not_block_is_waited_for() {
    let policy = Policy { socket_lent_bytes_max: u64::MAX, ..always() };
    let Some(ring) = local(&policy) else { return };
    let mut sender = Sender::new(ring, arena(), policy).expect("an arena can be mapped");
    let (near, far) = workload::tcp("127.0.0.1");
    held::set(std::os::fd::AsFd::as_fd(&near), libc::SO_SNDBUF, 20_000);
    let near = TcpStream::from(near);
    near.set_nonblocking(true).expect("sockets can be that");
    let key = sender.add(OwnedFd::from(near)).expect("it is a socket");
    let shapes = vec![Shape { header: 24, payload: 150_000, memory: 3 }; 20];
    let mut book = Book::default();
    // nobody reads, so the socket is full soon; then nothing is left to do but to wait
    for (number, shape) in (0..).zip(&shapes) {
        workload::queue(&mut sender, key, (0, number), *shape, &mut book).expect("there is room");
    }
    let mut turns = 0;
    while sender.has_work() {
        sender.turn(0).expect("the ring is there");
        turns += 1;
        assert!(turns < 1000, "it is tried again and again");
    }
    assert!(sender.owed() > 0);
    let peer = workload::stream_peer(far, 0, shapes);
    workload::settle(&mut sender, &mut book);
    assert!(book.ended.values().all(|outcome| *outcome == Outcome::Whole), "{:?}", book.ended);
    drop(sender.remove(key));
    peer.join().expect("every byte is right");
}

#[test]
fn a_socket_that_does_not_block_is_given_up_like_any_other() {
    let policy = Policy { deadline: Some(10), socket_lent_bytes_max: u64::MAX, ..always() };
    let Some(ring) = local(&policy) else { return };
    let mut sender = Sender::new(ring, arena(), policy).expect("an arena can be mapped");
    let (near, far) = workload::tcp("127.0.0.1");
    let near = TcpStream::from(near);
    near.set_nonblocking(true).expect("sockets can be that");
    let key = sender.add(OwnedFd::from(near)).expect("it is a socket");
    let mut book = Book::default();
    for number in 0..40 {
        let shape = Shape { header: 24, payload: 150_000, memory: 3 };
        workload::queue(&mut sender, key, (0, number), shape, &mut book).expect("there is room");
    }
    sender.tick(1);
    while sender.has_work() {
        sender.turn(0).expect("the ring is there");
    }
    book.take(&mut sender);
    assert!(book.ended.len() < 40, "nobody reads");
    sender.tick(12);
    workload::settle(&mut sender, &mut book);
    assert_eq!((book.ended.len(), book.released.len(), book.overdue), (40, 40, vec![key]));
    assert_eq!(sender.owed(), 0, "nothing waits for it any more");
    drop(far);
}
