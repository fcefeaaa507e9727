//! The random work of `faults` on the model as the kernel. What the sender did is a run that the model accepts.

use std::cell::Cell;

use uringspec_model::check::check;
use uringspec_model::choices::{Choices, Seeded};
use uringspec_model::kernels::{PROPOSAL, named, names};
use uringspec_model::profile::Profile;
use uringspec_model::program::{Amount, Lane, Limits, SocketId, SocketKind, SocketSetup, SocketState};
use uringspec_model::verdict::Verdict;
use uringspec_real::mixed::{
    Kernel, Outcome, Outside, Policy, Sender, Simulated, SimulatedSocket, Simulation, Thresholds, Trouble,
};

use crate::faults::{self, Tally, Work};
use crate::workload::{self, Book, Shape};

pub(crate) fn socket(kind: SocketKind, lane: Lane) -> SocketSetup {
    SocketSetup { kind, lane, state: SocketState::Connected, sndbuf_bytes: None, rcvbuf_bytes: None }
}

/// A kernel on which nothing is scarce.
pub(crate) fn simulation(sockets: Vec<SocketSetup>) -> Simulation {
    Simulation {
        profile: Profile::v6_18(),
        sockets,
        rooms: Vec::new(),
        limits: Limits::default(),
        entries: 4,
        cq_entries: None,
        seed: 3,
    }
}

fn draw(work: &Work) -> Simulation {
    let mut choices = Seeded::new(work.seed);
    let releases: Vec<&str> = names().filter(|name| *name != PROPOSAL).collect();
    let release = if choices.pick(2) == 0 { "6.18" } else { releases[choices.pick(releases.len())] };
    let draw = |choices: &mut Seeded| match choices.pick(7) {
        5 => socket(SocketKind::Udp4, Lane::Loopback),
        6 => socket(SocketKind::Udp6, Lane::Loopback),
        0 => socket(SocketKind::UnixStream, Lane::Loopback),
        1 => socket(SocketKind::Tcp6, Lane::Loopback),
        2 => socket(SocketKind::Tcp4, Lane::Loopback),
        _ => socket(SocketKind::Tcp4, Lane::Gate),
    };
    let sockets = (0..work.sockets).map(|_| draw(&mut choices)).collect();
    let limits = match choices.pick(3) {
        0 => Limits { memlock_bytes: Some(256 << 10), unprivileged: true },
        _ => Limits::default(),
    };
    Simulation {
        profile: named(release).expect("it was listed"),
        limits,
        cq_entries: Some(work.cq_entries.max(2)),
        entries: work.cq_entries.min(4),
        seed: work.seed,
        ..simulation(sockets)
    }
}

fn at(socket: usize) -> SimulatedSocket {
    SimulatedSocket(SocketId(socket as u16))
}

impl faults::Outside for Outside {
    fn read(&mut self, socket: usize, _bytes: usize) {
        // a program says how many bytes surely come, which nobody knows here
        Outside::read(self, at(socket), Amount::Everything);
    }

    fn trouble(&mut self, short: bool, copied: bool, slow: bool) {
        Outside::trouble(self, Trouble { short, copied, slow });
    }

    fn reset(&mut self, socket: usize) {
        self.reset_peer(at(socket));
    }

    fn close_under(&mut self, socket: usize) {
        Outside::close_under(self, at(socket));
    }

    fn lose_ring(&mut self) {
        Outside::lose_ring(self);
    }

    fn reads_all(&self) -> bool {
        self.record().2.is_none()
    }

    fn datagrams(&mut self, socket: usize) -> Option<Vec<Vec<u8>>> {
        let kind = self.record().0.sockets[socket].kind;
        let is_datagram = matches!(kind, SocketKind::Udp4 | SocketKind::Udp6);
        Outside::read(self, at(socket), Amount::Everything);
        is_datagram.then(|| Outside::received(self, at(socket)))
    }

    fn received(&mut self, socket: usize) -> Vec<u8> {
        Outside::read(self, at(socket), Amount::Everything);
        Outside::received(self, at(socket)).concat()
    }
}

/// One run; whether the model has claimed it.
fn run(work: &Work, tally: &mut Tally) -> bool {
    let simulation = draw(work);
    let profile = simulation.profile.clone();
    let (inside, mut kernel) = Simulated::new(simulation);
    let mut sender = Sender::new(inside, Work::arena(), work.policy()).expect("a page can be mapped");
    let keys: Vec<_> = (0..work.sockets).map(|i| sender.add(at(i)).expect("it is a socket")).collect();
    work.run(sender, &keys, &mut kernel, tally);
    assert_eq!(kernel.changed(), Vec::<String>::new(), "lent memory is left alone");
    let (program, trace, silent) = kernel.record();
    if silent.is_some() {
        return false;
    }
    let verdict = check(&program, &profile, &trace);
    assert!(verdict.is_accepted() || matches!(verdict, Verdict::Unclaimed { .. }), "{verdict:?}");
    verdict.is_accepted()
}

#[test]
fn random_work_on_the_model_accounts_for_every_byte() {
    let unclaimed = Cell::new(0);
    let tally = faults::check("sender", 200, |work, tally| {
        unclaimed.set(unclaimed.get() + u64::from(!run(work, tally)));
    });
    eprintln!("{} unclaimed of {tally:?}", unclaimed.get());
    assert!(unclaimed.get() * 10 <= tally.runs, "{} of {} runs are not claimed", unclaimed.get(), tally.runs);
    let Tally { outcomes, resumed, fallbacks, fixed, copied, overdue, withdrawn, datagrams, .. } = tally;
    assert!(outcomes.iter().all(|n| *n > 0), "every outcome comes about: {outcomes:?}");
    let seen = [resumed, fallbacks, fixed, copied, overdue, withdrawn, datagrams];
    assert!(seen.iter().all(|n| *n > 0), "{tally:?}");
}

#[test]
fn short_sends_are_resumed_where_they_stopped() {
    let (inside, kernel) = Simulated::new(simulation(vec![socket(SocketKind::Tcp4, Lane::Gate)]));
    kernel.trouble(Trouble { short: true, ..Trouble::default() });
    let policy = Policy { fixed: Thresholds::always(), ..Policy::default() };
    let mut sender = Sender::new(inside, Work::arena(), policy).expect("a page can be mapped");
    let socket = SimulatedSocket(SocketId(0));
    let key = sender.add(socket).expect("it is a socket");
    assert_eq!(sender.kernel().descriptor(&socket), 600);
    let mut book = Book::default();
    let shape = Shape { header: 24, payload: 70_000, memory: 0 };
    for number in 0..5 {
        workload::queue(&mut sender, key, (0, number), shape, &mut book).expect("the peer reads");
    }
    workload::settle(&mut sender, &mut book);
    kernel.read(socket, Amount::Everything);
    let all: Vec<u8> = (0..5).flat_map(|n| workload::bytes(0, n, shape.len())).collect();
    assert!(kernel.received(socket).concat() == all);
    assert!(sender.counters().resumed > 0);
    assert!(book.ended.values().all(|outcome| *outcome == Outcome::Whole));
}

#[test]
fn a_datagram_with_an_address_goes_to_the_peer_of_its_socket() {
    let (inside, kernel) = Simulated::new(simulation(vec![socket(SocketKind::Udp6, Lane::Loopback)]));
    let mut sender = Sender::new(inside, Work::arena(), Policy::default()).expect("a page can be mapped");
    let key = sender.add(at(0)).expect("it is a socket");
    for number in 0..3 {
        let message = sender.message(key).copy(&[number; 10]).lend(vec![number; 100]);
        message.to(([0, 0, 0, 0, 0, 0, 0, 1], 9).into()).queue().expect("nothing else is queued");
    }
    while sender.owed() > 0 || sender.has_work() {
        sender.turn(1).expect("the ring is there");
    }
    kernel.read(at(0), Amount::Everything);
    assert_eq!(kernel.received(at(0)), [0, 1, 2].map(|number| vec![number; 110]));
}
