//! The sender on this kernel: every byte arrives once and in order, every message ends once, all memory
//! comes back.

mod awaited;
mod datagrams;
mod faults;
mod faults_here;
mod guest;
mod headers;
mod held;
mod locked;
mod policies;
mod profiles;
mod recorded;
mod simulated;
mod workload;

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use uringspec_model::choices::{Choices, Seeded};
use uringspec_model::kernels::named;
use uringspec_model::mixed::lowering::Lowering;
use uringspec_model::profile::Profile;
use uringspec_real::mixed::{
    Arena, ArenaSize, Kernel, LocalRing, Outcome, OwnRing, Policy, Sender, Thresholds, lowerings,
};
use uringspec_real::probe;
use workload::{Book, Shape};

/// A ring, unless this machine refuses it.
fn local(policy: &Policy) -> Option<LocalRing> {
    skip_if_refused(LocalRing::new(64, policy.requests_max as u32))
}

fn skip_if_refused<T>(made: std::io::Result<T>) -> Option<T> {
    made.inspect_err(|error| eprintln!("skipped: {error}")).ok()
}

fn arena() -> Arena {
    Arena::map(ArenaSize { header_slots: 512, small_bytes: 1 << 18, paged_bytes: 4 << 20, leases_max: 256 })
        .expect("a few megabytes can be mapped")
}

fn small_policy(fixed: Thresholds, plain: Thresholds) -> Policy {
    Policy { fixed, plain, requests_max: 32, socket_lent_bytes_max: 2 << 20, ..Policy::default() }
}

/// Whether this kernel lends anything; kernels before 6.0 copy all.
fn lends() -> bool {
    let lends = probe().is_ok_and(|profile| lowerings(&profile) != [Lowering::Copy]);
    if !lends {
        eprintln!("skipped: this kernel lends nothing");
    }
    lends
}

/// Everything is zero-copied.
fn always() -> Policy {
    small_policy(Thresholds::always(), Thresholds::always())
}

/// Sends random messages on a few streams, and lets their peers compare.
fn streams<K>(kernel: K, policy: Policy, seed: u64, ends: Vec<(OwnedFd, Box<dyn std::io::Read + Send>)>)
where
    K: Kernel<Socket = OwnedFd>,
{
    let mut sender = Sender::new(kernel, arena(), policy).expect("an arena and a ring are there");
    let mut choices = Seeded::new(seed);
    let (mut keys, mut peers, mut left) = (Vec::new(), Vec::new(), Vec::new());
    for (socket, (near, far)) in ends.into_iter().enumerate() {
        keys.push(sender.add(near).expect("it is a socket"));
        let shapes: Vec<Shape> = (0..60).map(|_| Shape::draw(&mut choices, 300_000)).collect();
        left.push(shapes.clone().into_iter().enumerate());
        peers.push(workload::stream_peer(far, socket as u32, shapes));
    }
    let mut book = Book::default();
    let (mut total, mut messages) = (0, 0);
    let mut open: Vec<usize> = (0..keys.len()).collect();
    while !open.is_empty() {
        let at = choices.pick(open.len());
        let socket = open[at];
        match left[socket].next() {
            Some((number, shape)) => {
                let id = (socket as u32, number as u64);
                workload::queue(&mut sender, keys[socket], id, shape, &mut book).expect("the peer reads");
                (total, messages) = (total + shape.len() as u64, messages + 1);
            }
            None => _ = open.swap_remove(at),
        }
        if choices.pick(6) == 0 {
            sender.flush().expect("the ring is there");
            book.take(&mut sender);
        }
    }
    workload::settle(&mut sender, &mut book);
    assert_eq!(book.ended.len(), messages);
    assert!(book.ended.values().all(|outcome| *outcome == Outcome::Whole), "{:?}", book.ended);
    assert_eq!(book.released.values().sum::<usize>(), messages);
    let counters = sender.counters();
    assert_eq!((counters.sent_bytes, counters.lent_bytes, counters.strays), (total, 0, 0), "{counters:?}");
    for key in keys {
        drop(sender.remove(key).expect("nothing is under way"));
    }
    let closed = sender.close();
    assert!(closed.unfinished.is_empty());
    assert_eq!((closed.leaked_bytes, closed.lent_bytes), (0, 0));
    assert_eq!(peers.into_iter().map(|peer| peer.join().expect("every byte is right")).sum::<u64>(), total);
}

fn tcp_ends(count: usize) -> Vec<(OwnedFd, Box<dyn std::io::Read + Send>)> {
    let address = |i: usize| if i.is_multiple_of(2) { "127.0.0.1" } else { "::1" };
    let ends = (0..count).map(|i| workload::tcp(address(i)));
    ends.map(|(near, far)| (near, Box::new(far) as Box<dyn std::io::Read + Send>)).collect()
}

#[test]
fn tcp_by_the_default_thresholds() {
    let policy = small_policy(Policy::default().fixed, Policy::default().plain);
    let Some(ring) = local(&policy) else { return };
    streams(ring, policy, 1, tcp_ends(4));
}

#[test]
fn tcp_all_zero_copied() {
    let policy = small_policy(Thresholds::always(), Thresholds::always());
    let Some(ring) = local(&policy) else { return };
    streams(ring, policy, 2, tcp_ends(4));
}

#[test]
fn tcp_on_a_ring_that_may_move() {
    let policy = small_policy(Thresholds::always(), Thresholds::always());
    let Some(ring) = skip_if_refused(OwnRing::new(8, 32)) else { return };
    let (near, far) = workload::tcp("127.0.0.1");
    let mut sender = Sender::new(ring, arena(), policy.clone()).expect("an arena and a ring are there");
    let key = sender.add(near).expect("it is a socket");
    let shapes = vec![Shape { header: 24, payload: 100_000, memory: 0 }; 2];
    let peer = workload::stream_peer(far, 0, shapes.clone());
    let mut book = Book::default();
    workload::queue(&mut sender, key, (0, 0), shapes[0], &mut book).expect("there is room");
    sender.flush().expect("the ring is there");
    let elsewhere = std::thread::spawn(move || {
        workload::queue(&mut sender, key, (0, 1), shapes[1], &mut book).expect("there is room");
        workload::settle(&mut sender, &mut book);
        assert_eq!(book.released.len(), 2);
    });
    elsewhere.join().expect("a sender goes on in another thread");
    peer.join().expect("every byte is right");
    let Some(ring) = skip_if_refused(OwnRing::new(8, 32)) else { return };
    streams(ring, policy, 3, tcp_ends(3));
}

#[test]
fn unix_sockets_are_copied_to() {
    let policy = small_policy(Thresholds::always(), Thresholds::always());
    let Some(ring) = local(&policy) else { return };
    let ends = (0..3).map(|_| UnixStream::pair().expect("sockets can be made"));
    let ends = ends.map(|(near, far)| (near.into(), Box::new(far) as Box<dyn std::io::Read + Send>));
    streams(ring, policy, 4, ends.collect());
}

/// Kernels from 5.10 on, as far as sends can tell; this one has all that the older ones have.
#[test]
fn tcp_as_on_older_kernels() {
    let Ok(profile) = probe() else { return eprintln!("skipped: no ring") };
    for (seed, name) in ["5.10", "6.0", "6.1", "6.2", "6.10", "6.15", "6.17"].into_iter().enumerate() {
        let older = named(name).expect("it is known");
        let features = older.features.intersection(&profile.features).copied().collect();
        let pretended = Profile { features, ..profile.clone() };
        let policy = small_policy(Thresholds::always(), Thresholds::always());
        let Some(ring) = local(&policy) else { return };
        streams(ring.pretend(pretended), policy, 10 + seed as u64, tcp_ends(2));
    }
}
