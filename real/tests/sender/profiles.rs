//! The same work on every kernel that has a name: by other means, and with the same end.

use uringspec_model::check::check;
use uringspec_model::choices::Seeded;
use uringspec_model::kernels::{PROPOSAL, named, names};
use uringspec_model::mixed::lowering::Lowering;
use uringspec_model::profile::Profile;
use uringspec_model::program::{Amount, Lane, Limits, SocketId, SocketKind, SocketSetup, SocketState};
use uringspec_model::verdict::Verdict;
use uringspec_real::mixed::{
    Arena, ArenaSize, Counters, Outcome, Policy, Sender, Simulated, SimulatedSocket, Simulation, Thresholds,
    lowerings,
};

use crate::workload::{self, Book, Shape};

const SOCKETS: [(SocketKind, Lane); 6] = [
    (SocketKind::Tcp4, Lane::Loopback),
    (SocketKind::Tcp4, Lane::Gate),
    (SocketKind::Tcp6, Lane::Loopback),
    (SocketKind::UnixStream, Lane::Loopback),
    (SocketKind::Udp4, Lane::Loopback),
    (SocketKind::Udp6, Lane::Loopback),
];

/// Sends the same messages on one socket of each kind; what was counted.
fn work(profile: &Profile) -> Counters {
    let name = profile.release.clone();
    let socket = |(kind, lane)| SocketSetup {
        kind,
        lane,
        state: SocketState::Connected,
        sndbuf_bytes: None,
        rcvbuf_bytes: None,
    };
    let (inside, kernel) = Simulated::new(Simulation {
        profile: profile.clone(),
        sockets: SOCKETS.map(socket).into(),
        rooms: Vec::new(),
        limits: Limits::default(),
        entries: 8,
        cq_entries: None,
        seed: 1,
    });
    let policy = Policy { fixed: Thresholds::always(), plain: Thresholds::always(), ..Policy::default() };
    let size = ArenaSize { header_slots: 512, small_bytes: 1 << 18, paged_bytes: 4 << 20, leases_max: 256 };
    let arena = Arena::map(size).expect("a few megabytes can be mapped");
    let mut sender = Sender::new(inside, arena, policy).expect("a page can be mapped");
    let mut choices = Seeded::new(1);
    let (mut book, mut expected) = (Book::default(), Vec::new());
    for at in 0..SOCKETS.len() as u16 {
        let key = sender.add(SimulatedSocket(SocketId(at))).expect("it is a socket");
        let is_datagram = matches!(SOCKETS[usize::from(at)].0, SocketKind::Udp4 | SocketKind::Udp6);
        let mut messages = Vec::new();
        for number in 0..30 {
            let shape = Shape::draw(&mut choices, if is_datagram { 5000 } else { 70_000 });
            workload::queue(&mut sender, key, (at.into(), number), shape, &mut book).expect("peers read");
            messages.push(workload::bytes(at.into(), number, shape.len()));
            if is_datagram {
                // before its peer's queue is full, and datagrams are dropped
                workload::settle(&mut sender, &mut book);
                kernel.read(SimulatedSocket(SocketId(at)), Amount::Everything);
            } else if number % 7 == 0 {
                sender.flush().expect("the ring is there");
            }
        }
        expected.push((SimulatedSocket(SocketId(at)), is_datagram, messages));
    }
    workload::settle(&mut sender, &mut book);
    for (socket, is_datagram, messages) in expected {
        kernel.read(socket, Amount::Everything);
        let got = kernel.received(socket);
        if is_datagram {
            assert!(got == messages, "{name}: {socket:?} has all datagrams, each whole");
        } else {
            assert!(got.concat() == messages.concat(), "{name}: {socket:?} has every byte once");
        }
    }
    assert_eq!(book.ended.len(), 30 * SOCKETS.len(), "{name}");
    assert!(book.ended.values().all(|outcome| *outcome == Outcome::Whole), "{name}: {:?}", book.ended);
    assert_eq!(book.released.len(), book.ended.len(), "{name}: all memory is back");
    assert_eq!(kernel.changed(), Vec::<String>::new(), "{name}: lent memory is left alone");
    let (program, trace, silent) = kernel.record();
    assert_eq!(silent, None, "{name}");
    let verdict = check(&program, profile, &trace);
    let Verdict::Accepted { deviations, .. } = verdict else { panic!("{name}: {verdict:?}") };
    assert!(deviations.is_empty(), "{name}: {deviations:?}");
    sender.counters()
}

#[test]
fn every_named_kernel_sends_the_same() {
    let mut seen = Vec::new();
    for name in names().filter(|name| *name != PROPOSAL) {
        let profile = named(name).expect("it was listed");
        let ways = lowerings(&profile);
        let counters = work(&profile);
        let copies_only = ways == [Lowering::Copy];
        assert_eq!(counters.zero_copy_requests == 0, copies_only, "{name}: {counters:?}");
        assert_eq!(
            counters.fixed_requests == 0,
            copies_only,
            "{name}: one range can be lent out of an arena"
        );
        assert!(counters.copied_bytes > 0, "{name}: Unix sockets are copied to");
        assert_eq!(counters.strays, 0, "{name}");
        seen.push((name, counters.zero_copy_requests, counters.copied_bytes));
    }
    // 6.0 lends what is one range, 6.1 all: fewer bytes are copied
    let copied = |name| seen.iter().find(|s| s.0 == name).expect("it was listed").2;
    assert!(copied("5.19") > copied("6.0") && copied("6.0") > copied("6.1"), "{seen:?}");
}
