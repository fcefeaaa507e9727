//! Datagrams: each message is one, to the peer or to whom it names.

use std::net::UdpSocket;

use uringspec_real::mixed::{LocalRing, Outcome, Policy, Sender, Thresholds};

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
fn a_datagram_that_is_too_long_fails_alone() {
    let policy = small_policy(Thresholds::always(), Thresholds::always());
    let Some(ring) = local(&policy) else { return };
    let mut sender = Sender::new(ring, arena(), policy).expect("an arena can be mapped");
    let (near, far) = pair("127.0.0.1");
    near.connect(far.local_addr().expect("it is bound")).expect("datagram sockets connect at once");
    let key = sender.add(near.into()).expect("it is a socket");
    let mut book = Book::default();
    let shapes = [100, 66_000, 100].map(|payload| Shape { header: 24, payload, memory: 3 });
    let tickets = [0, 1, 2].map(|n| {
        workload::queue(&mut sender, key, (0, n), shapes[n as usize], &mut book).expect("there is room")
    });
    workload::settle(&mut sender, &mut book);
    assert_eq!(book.ended[&tickets[0]], Outcome::Whole);
    assert!(matches!(book.ended[&tickets[1]], Outcome::Failed { sent_bytes: 0, .. }), "{:?}", book.ended);
    assert_eq!(book.ended[&tickets[2]], Outcome::Whole);
    assert_eq!(book.released.len(), 3);
}
