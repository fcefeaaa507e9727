//! Datagrams: each message is one, to the peer or to whom it names.

use std::net::UdpSocket;
use std::os::fd::AsFd;

use uringspec_real::mixed::{Event, LocalRing, Outcome, Policy, Refusal, Sender, Thresholds};

use crate::workload::{self, Book, Shape};
use crate::{arena, local, small_policy};

fn pair(address: &str) -> (UdpSocket, UdpSocket) {
    let bind = || UdpSocket::bind((address, 0)).expect("loopback has free ports");
    (bind(), bind())
}

fn check(policy: Policy, address: &str, connected: bool) {
    let Some(ring) = local(&policy) else { return };
    let mut sender = Sender::<LocalRing>::new(ring, arena(), policy).expect("an arena can be mapped");
    let (near, far) = pair(address);
    let to = far.local_addr().expect("it is bound");
    if connected {
        near.connect(to).expect("datagram sockets connect at once");
    }
    let key = sender.add(near.into()).expect("it is a socket");
    let mut book = Book::default();
    let mut got = vec![0; 70_000];
    let mut number = 0;
    for payload in [1, 100, 5000, 20_000, 60_000] {
        for memory in 0..5 {
            let shapes = [Shape { header: 24, payload, memory }, Shape { header: 8, payload: 1, memory }];
            for (i, shape) in shapes.into_iter().enumerate() {
                let all = workload::bytes(0, number + i as u64, shape.len());
                let message = sender.message(key).copy(&all[..shape.header]);
                let message = message.lend(all[shape.header..].to_vec());
                let message = if connected { message } else { message.to(to) };
                let ticket = message.queue().expect("nothing else is queued");
                book.sent.insert(ticket, (0, number + i as u64, shape));
            }
            workload::settle(&mut sender, &mut book);
            for shape in shapes {
                let n = far.recv(&mut got).expect("what was sent over loopback is there");
                assert!(got[..n] == workload::bytes(0, number, shape.len()), "datagram {number}");
                number += 1;
            }
        }
    }
    assert_eq!(book.ended.len() as u64, number);
    assert!(book.ended.values().all(|outcome| *outcome == Outcome::Whole), "{:?}", book.ended);
    assert_eq!(book.released.len() as u64, number);
}

#[test]
fn datagrams_stay_whole() {
    for address in ["127.0.0.1", "::1"] {
        for connected in [true, false] {
            check(small_policy(Thresholds::always(), Thresholds::always()), address, connected);
            check(Policy { requests_max: 32, ..Policy::default() }, address, connected);
        }
    }
}

#[test]
fn a_datagram_that_is_too_long_is_refused() {
    for (address, bytes_max) in [("127.0.0.1", 65_507), ("::1", 65_527)] {
        let Some(ring) = local(&Policy::default()) else { return };
        let mut sender = Sender::new(ring, arena(), Policy::default()).expect("an arena can be mapped");
        let (near, far) = pair(address);
        near.connect(far.local_addr().expect("it is bound")).expect("datagram sockets connect at once");
        let key = sender.add(near.into()).expect("it is a socket");
        let long = bytes_max as usize - 23;
        for headroom in [0, 24] {
            let lease = sender.lease_behind(headroom, long).expect("there is room");
            let refused = sender.send(key, &[7; 24], lease).expect_err("it has a byte too many");
            assert_eq!((refused.why, refused.payloads.len()), (Refusal::TooLong { bytes_max }, 1));
            assert_eq!(refused.payloads[0].bytes().len(), long);
            assert!(refused.why.to_string().contains(&bytes_max.to_string()));
        }
        let mut lease = sender.lease_behind(24, long).expect("there is room");
        lease.truncate(long - 1);
        let ticket = sender.send(key, &[7; 24], lease).expect("it is as long as one can be");
        while sender.owed() > 0 || sender.has_work() {
            sender.turn(1).expect("the ring is there");
        }
        let ended = sender.next_event().expect("it has ended");
        assert!(matches!(ended, Event::Ended(of, Outcome::Whole) if of == ticket), "{ended:?}");
        assert_eq!(sender.counters().lent_bytes, 0);
    }
}

#[test]
fn a_datagram_that_the_kernel_finds_too_long_fails_alone() {
    let policy = small_policy(Thresholds::always(), Thresholds::always());
    let Some(ring) = local(&policy) else { return };
    let mut sender = Sender::new(ring, arena(), policy).expect("an arena can be mapped");
    // a socket of version 6 that sends to an address of version 4, where less fits
    let far = UdpSocket::bind("127.0.0.1:0").expect("loopback has free ports");
    let near = UdpSocket::bind("[::]:0").expect("loopback has free ports");
    let port = far.local_addr().expect("it is bound").port();
    near.connect(("::ffff:127.0.0.1", port)).expect("datagram sockets connect at once");
    let key = sender.add(near.into()).expect("it is a socket");
    let mut book = Book::default();
    let shapes = [100, 65_500, 100].map(|payload| Shape { header: 24, payload, memory: 3 });
    let tickets = [0, 1, 2].map(|n| {
        workload::queue(&mut sender, key, (0, n), shapes[n as usize], &mut book).expect("there is room")
    });
    workload::settle(&mut sender, &mut book);
    assert_eq!(book.ended[&tickets[0]], Outcome::Whole);
    assert!(matches!(book.ended[&tickets[1]], Outcome::Failed { sent_bytes: 0, .. }), "{:?}", book.ended);
    assert_eq!(book.ended[&tickets[2]], Outcome::Whole);
    assert_eq!(book.released.len(), 3);
}

/// A connected sender with messages queued, and its peer.
fn queued(
    policy: Policy,
    address: &str,
    shapes: &[Shape],
    prepare: impl Fn(&UdpSocket),
) -> Option<(Sender<LocalRing>, UdpSocket, Book)> {
    let ring = local(&policy)?;
    let mut sender = Sender::new(ring, arena(), policy).expect("an arena can be mapped");
    let (near, far) = pair(address);
    near.connect(far.local_addr().expect("it is bound")).expect("datagram sockets connect at once");
    prepare(&near);
    let key = sender.add(near.into()).expect("it is a socket");
    let mut book = Book::default();
    for (number, shape) in (0..).zip(shapes) {
        workload::queue(&mut sender, key, (0, number), *shape, &mut book).expect("there is room");
    }
    Some((sender, far, book))
}

fn receive(far: &UdpSocket, shapes: &[Shape]) {
    let mut got = vec![0; 70_000];
    for (number, shape) in (0..).zip(shapes) {
        let n = far.recv(&mut got).expect("what was sent over loopback is there");
        assert!(got[..n] == workload::bytes(0, number, shape.len()), "datagram {number}");
    }
}

/// Equal ones, a shorter one that ends their run, and a longer one that begins another.
fn runs(count: usize) -> Vec<Shape> {
    let mut shapes = vec![Shape { header: 12, payload: 1000, memory: 0 }; count];
    shapes[count / 2] = Shape { header: 12, payload: 300, memory: 0 };
    shapes[count - 1] = Shape { header: 12, payload: 1400, memory: 0 };
    shapes
}

#[test]
fn datagrams_of_one_length_are_one_request() {
    for address in ["127.0.0.1", "::1"] {
        for thresholds in [Thresholds::never(), Thresholds::always()] {
            for count in [8, 40] {
                let policy = small_policy(thresholds.clone(), thresholds.clone());
                let shapes = runs(count);
                let Some((mut sender, far, mut book)) = queued(policy, address, &shapes, |_| {}) else {
                    return;
                };
                workload::settle(&mut sender, &mut book);
                receive(&far, &shapes);
                assert!(book.ended.values().all(|outcome| *outcome == Outcome::Whole), "{:?}", book.ended);
                assert_eq!((book.ended.len(), book.released.len()), (count, count));
                let counters = sender.counters();
                let requests = counters.copy_requests + counters.zero_copy_requests;
                assert_eq!(
                    (counters.segmented_requests, requests, counters.fallbacks),
                    (2, 3, 0),
                    "{counters:?}"
                );
            }
        }
    }
}

#[test]
fn where_the_kernel_cuts_nothing_they_go_one_by_one() {
    let no_checksums = |socket: &UdpSocket| crate::held::set(socket.as_fd(), libc::SO_NO_CHECK, 1);
    let (policy, shapes) = (small_policy(Thresholds::never(), Thresholds::never()), runs(20));
    let Some((mut sender, far, mut book)) = queued(policy, "127.0.0.1", &shapes, no_checksums) else {
        return;
    };
    workload::settle(&mut sender, &mut book);
    assert!(book.ended.values().all(|outcome| *outcome == Outcome::Whole), "{:?}", book.ended);
    let mut left: Vec<Vec<u8>> =
        (0..).zip(&shapes).map(|(number, shape)| workload::bytes(0, number, shape.len())).collect();
    let mut got = vec![0; 70_000];
    while !left.is_empty() {
        let n = far.recv(&mut got).expect("what was sent over loopback is there");
        let at = left.iter().position(|bytes| *bytes == got[..n]).expect("each comes once");
        left.swap_remove(at);
    }
    assert!(sender.counters().fallbacks > 0);
}

#[test]
fn one_call_hands_over_all_datagrams_of_all_sockets() {
    let policy = Policy { segment_bytes_max: 0, ..small_policy(Thresholds::never(), Thresholds::never()) };
    let shapes = vec![Shape { header: 12, payload: 100, memory: 0 }; 30];
    let Some((mut sender, far, mut book)) = queued(policy, "127.0.0.1", &shapes, |_| {}) else { return };
    sender.flush().expect("the ring is there");
    book.take(&mut sender);
    receive(&far, &shapes);
    let counters = sender.counters();
    assert_eq!((counters.copy_requests, counters.enters, counters.segmented_requests), (30, 1, 0));
    workload::settle(&mut sender, &mut book);
    assert_eq!(book.released.len(), 30);
}
