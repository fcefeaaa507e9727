//! The sender on the model as its kernel, with trouble: every byte is accounted for, every ticket ends once,
//! lent memory is left alone, and what the sender did is a run that the model accepts.

use uringspec_model::check::check;
use uringspec_model::choices::{Choices, Seeded};
use uringspec_model::profile::{Feature, Profile};
use uringspec_model::program::{Amount, Lane, Limits, SocketId, SocketKind, SocketSetup, SocketState};
use uringspec_model::verdict::Verdict;
use uringspec_real::mixed::{
    Arena, ArenaSize, CopiedPolicy, Kernel, Outcome, Outside, Policy, Sender, Simulated, SimulatedSocket,
    Simulation, SocketKey, Thresholds, Trouble,
};

use crate::workload::{self, Book, Shape};

/// What a run came to.
#[derive(Default)]
struct Tally {
    runs: usize,
    unclaimed: usize,
    outcomes: [usize; 5],
    resumed: u64,
    fallbacks: u64,
    fixed: u64,
    copied: u64,
}

fn socket(kind: SocketKind, lane: Lane) -> SocketSetup {
    SocketSetup { kind, lane, state: SocketState::Connected, sndbuf_bytes: None, rcvbuf_bytes: None }
}

fn draw_simulation(choices: &mut Seeded, seed: u64) -> Simulation {
    let mut profile = Profile::v6_18();
    let lacks: [&[Feature]; 3] =
        [&[], &[Feature::SendmsgZcFixed], &[Feature::SendmsgZcFixed, Feature::SendmsgZc, Feature::SendZc]];
    let lacks = lacks[choices.pick(3)];
    profile.features.retain(|feature| !lacks.contains(feature));
    let count = 1 + choices.pick(3);
    let draw = |choices: &mut Seeded| match choices.pick(5) {
        0 => socket(SocketKind::UnixStream, Lane::Loopback),
        1 => socket(SocketKind::Tcp6, Lane::Loopback),
        2 => socket(SocketKind::Tcp4, Lane::Loopback),
        _ => socket(SocketKind::Tcp4, Lane::Gate),
    };
    let sockets = (0..count).map(|_| draw(choices)).collect();
    let limits = match choices.pick(4) {
        0 => Limits { memlock_bytes: Some(256 << 10), unprivileged: true },
        _ => Limits::default(),
    };
    let cq_entries = [None, Some(2), Some(4)][choices.pick(3)];
    Simulation { profile, sockets, rooms: Vec::new(), limits, entries: 4, cq_entries, seed }
}

fn draw_policy(choices: &mut Seeded) -> Policy {
    let thresholds =
        [Thresholds::always(), Thresholds::never(), Thresholds(vec![(1, 4096)])][choices.pick(3)].clone();
    Policy {
        fixed: thresholds.clone(),
        plain: thresholds,
        requests_max: 8,
        iovecs_max: [1024, 3][choices.pick(2)],
        lent_bytes_max: 400_000,
        socket_lent_bytes_max: 200_000,
        copied: CopiedPolicy { window: 4, percent: 95, copies: 3 },
        copies_after_enomem: 2,
        ..Policy::default()
    }
}

fn arena() -> Arena {
    let size = ArenaSize { header_slots: 64, small_bytes: 1 << 16, paged_bytes: 1 << 19, leases_max: 64 };
    Arena::map(size).expect("a few pages can be mapped")
}

/// One random run, to its end.
fn run(seed: u64, tally: &mut Tally) {
    let mut choices = Seeded::new(seed);
    let simulation = draw_simulation(&mut choices, seed);
    let profile = simulation.profile.clone();
    let count = simulation.sockets.len();
    let (inside, kernel) = Simulated::new(simulation);
    let mut sender = Sender::new(inside, arena(), draw_policy(&mut choices)).expect("a page can be mapped");
    let sockets: Vec<SimulatedSocket> = (0..count).map(|i| SimulatedSocket(SocketId(i as u16))).collect();
    let keys: Vec<SocketKey> = sockets.iter().map(|s| sender.add(*s).expect("it is a socket")).collect();
    let mut book = Book::default();
    let mut next = vec![0; count];
    let mut is_whole = vec![true; count];
    let has_faults = choices.pick(2) == 0;
    for _ in 0..30 {
        let at = choices.pick(count);
        match choices.pick(if has_faults { 40 } else { 30 }) {
            0..=19 => {
                let shape = Shape::draw(&mut choices, 70_000);
                if workload::queue(&mut sender, keys[at], (at as u32, next[at]), shape, &mut book).is_ok() {
                    next[at] += 1;
                }
            }
            20..=25 => _ = sender.flush(),
            26..=27 => kernel.read(sockets[at], Amount::Everything),
            28..=29 => kernel.trouble(Trouble {
                short: choices.pick(2) == 0,
                copied: choices.pick(2) == 0,
                slow: choices.pick(2) == 0,
            }),
            30..=32 => sender.abort(keys[at]),
            33..=34 => {
                kernel.reset_peer(sockets[at]);
                is_whole[at] = false;
            }
            35 => {
                kernel.close_under(sockets[at]);
                is_whole[at] = false;
            }
            36 => kernel.lose_ring(),
            _ => {}
        }
        book.take(&mut sender);
    }
    while sender.owed() > 0 || sender.has_work() {
        let failed = sender.turn(1).is_err();
        book.take(&mut sender);
        if failed {
            break;
        }
    }
    let silent = kernel.record().2;
    if silent.is_none() {
        sockets.iter().for_each(|s| kernel.read(*s, Amount::Everything));
        judge(seed, &kernel, &book, &is_whole, &profile, tally);
    }
    tally.runs += 1;
    tally.unclaimed += usize::from(silent.is_some());
    let counters = sender.counters();
    tally.resumed += counters.resumed;
    tally.fallbacks += counters.fallbacks;
    tally.fixed += counters.fixed_requests;
    tally.copied += counters.copied_notifications;
    for event in sender.close().events {
        book.note(event);
    }
    // what is still on its way arrives as it was lent, though its memory is gone
    sockets.iter().for_each(|s| kernel.read(*s, Amount::Everything));
    assert_eq!(book.ended.len(), book.sent.len(), "seed {seed}: every ticket ends");
    assert_eq!(kernel.changed(), Vec::<String>::new(), "seed {seed}: lent memory is left alone");
}

fn judge(seed: u64, kernel: &Outside, book: &Book, is_whole: &[bool], profile: &Profile, tally: &mut Tally) {
    for (at, whole) in is_whole.iter().enumerate() {
        let got = kernel.received(SimulatedSocket(SocketId(at as u16))).concat();
        let mut taken = Vec::new();
        let mut is_known = true;
        for (ticket, (_, number, shape)) in book.sent.iter().filter(|(_, sent)| sent.0 as usize == at) {
            let all = workload::bytes(at as u32, *number, shape.len());
            let (kind, sent_bytes) = match book.ended.get(ticket) {
                Some(Outcome::Whole) => (0, all.len()),
                Some(Outcome::Failed { sent_bytes, .. }) => (1, *sent_bytes as usize),
                Some(Outcome::Cancelled { sent_bytes }) => (2, *sent_bytes as usize),
                Some(Outcome::NotSent) => (3, 0),
                Some(Outcome::Lost) | None => (4, all.len()),
            };
            tally.outcomes[kind] += 1;
            is_known &= kind != 4;
            taken.extend_from_slice(&all[..sent_bytes]);
        }
        assert!(
            taken.starts_with(&got),
            "seed {seed}: socket {at} got {} bytes of {}",
            got.len(),
            taken.len()
        );
        assert!(!is_known || !whole || got.len() == taken.len(), "seed {seed}: socket {at} lacks bytes");
    }
    let (program, trace, _) = kernel.record();
    let verdict = check(&program, profile, &trace);
    let accepted = verdict.is_accepted() || matches!(verdict, Verdict::Unclaimed { .. });
    assert!(accepted, "seed {seed}: {verdict:?}");
    tally.unclaimed += usize::from(!verdict.is_accepted());
}

#[test]
fn random_runs_with_trouble_account_for_every_byte() {
    let mut tally = Tally::default();
    (0..150).for_each(|seed| run(seed, &mut tally));
    let Tally { runs, unclaimed, outcomes, resumed, fallbacks, fixed, copied } = tally;
    eprintln!(
        "{runs} runs, {unclaimed} unclaimed, {outcomes:?} whole, failed, cancelled, not sent, lost; \
         {resumed} resumed, {fallbacks} fallbacks, {fixed} fixed, {copied} copied"
    );
    assert!(unclaimed * 10 <= runs, "{unclaimed} of {runs} runs are not claimed");
    assert!(outcomes.iter().all(|n| *n > 0), "every outcome comes about: {outcomes:?}");
    assert!(
        [resumed, fallbacks, fixed, copied].iter().all(|n| *n > 0),
        "{resumed} {fallbacks} {fixed} {copied}"
    );
}

#[test]
fn short_sends_are_resumed_where_they_stopped() {
    let simulation = Simulation {
        profile: Profile::v6_18(),
        sockets: vec![socket(SocketKind::Tcp4, Lane::Gate)],
        rooms: Vec::new(),
        limits: Limits::default(),
        entries: 4,
        cq_entries: None,
        seed: 3,
    };
    let (inside, kernel) = Simulated::new(simulation);
    kernel.trouble(Trouble { short: true, ..Trouble::default() });
    let policy = Policy { fixed: Thresholds::always(), ..Policy::default() };
    let mut sender = Sender::new(inside, arena(), policy).expect("a page can be mapped");
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
