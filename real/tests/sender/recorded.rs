//! What the sender and this kernel do together is a run that the model accepts.

use std::io::Read;
use std::os::fd::AsFd;

use uringspec_model::abi::{cqe_flag, setup};
use uringspec_model::check::check;
use uringspec_model::choices::{Choices, Seeded};
use uringspec_model::program::RingSetup;
use uringspec_model::trace::What;
use uringspec_model::verdict::Verdict;
use uringspec_real::mixed::{LocalRing, Outcome, OwnRing, Policy, Recorded, Sender, Thresholds};
use uringspec_real::{mixed::Kernel, probe};

use crate::workload::{self, Book, Shape};
use crate::{arena, held, lends, skip_if_refused, small_policy};

/// Random messages on two streams whose peers read all the time; false if nothing could be judged.
fn run<K: Kernel<Socket = std::os::fd::OwnedFd>>(kernel: K, flags: u32, seed: u64, policy: Policy) -> bool {
    let ring = RingSetup { entries: 8, cq_entries: Some(64), flags };
    let (kernel, recording) = Recorded::new(kernel, ring);
    let mut sender = Sender::new(kernel, arena(), policy).expect("an arena can be mapped");
    let mut choices = Seeded::new(seed);
    let (mut keys, mut peers) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let (near, mut far) = workload::tcp("127.0.0.1");
        keys.push(sender.add(near).expect("it is a socket"));
        peers.push(std::thread::spawn(move || {
            let mut got = Vec::new();
            far.read_to_end(&mut got).expect("the stream ends");
            got
        }));
    }
    let mut book = Book::default();
    for number in 0..20 {
        let at = choices.pick(2);
        let shape = Shape::draw(&mut choices, 300_000);
        workload::queue(&mut sender, keys[at], (at as u32, number), shape, &mut book)
            .expect("the peer reads");
        if choices.pick(4) == 0 {
            sender.flush().expect("the ring is there");
        }
    }
    workload::settle(&mut sender, &mut book);
    assert_eq!(book.ended.len(), 20);
    assert_eq!(recording.changed(), Vec::<String>::new());
    let profile = sender.kernel().profile().clone();
    keys.into_iter().for_each(|key| drop(sender.remove(key)));
    for (socket, peer) in peers.into_iter().enumerate() {
        recording.received(socket as u16, &peer.join().expect("reading does not panic"));
    }
    let (program, trace) = recording.program_and_trace();
    let verdict = check(&program, &profile, &trace);
    assert!(!matches!(verdict, Verdict::Rejected(_) | Verdict::Stuck { .. }), "seed {seed}: {verdict:?}");
    let mut wrong = trace;
    let result = wrong.seen.iter_mut().find_map(|seen| match &mut seen.what {
        What::Cqe(seen) if seen.cqe.flags & cqe_flag::NOTIF == 0 && seen.cqe.res > 0 => {
            Some(&mut seen.cqe.res)
        }
        _ => None,
    });
    *result.expect("something was sent") -= 1;
    assert!(!check(&program, &profile, &wrong).is_accepted(), "seed {seed}: a byte more than was claimed");
    verdict.is_accepted()
}

#[test]
fn runs_on_this_kernel_are_accepted() {
    if probe().is_err() {
        return eprintln!("skipped: no ring");
    }
    let (mut accepted, mut runs) = (0, 0);
    for seed in 0..20 {
        let thresholds = [Thresholds::always(), Thresholds::never(), Thresholds(vec![(1, 4096)])];
        let thresholds = thresholds[seed as usize % 3].clone();
        let policy = small_policy(thresholds.clone(), thresholds);
        let judged = if seed % 2 == 0 {
            let Some(ring) = skip_if_refused(LocalRing::new(8, 32)) else { return };
            let flags = setup::SINGLE_ISSUER | setup::DEFER_TASKRUN;
            run(ring, flags, seed, policy)
        } else {
            let Some(ring) = skip_if_refused(OwnRing::new(8, 32)) else { return };
            run(ring, 0, seed, policy)
        };
        accepted += usize::from(judged);
        runs += 1;
    }
    eprintln!("{accepted} of {runs} runs were accepted, the rest is not claimed");
    assert!(accepted * 10 >= runs * 9, "{accepted} of {runs} runs were accepted");
}

/// Lends to a peer that reads nothing and then resets the connection: what became of it.
fn reset(seed: u64, recording_is_told: bool) -> Option<(Verdict, Book)> {
    let ring =
        RingSetup { entries: 8, cq_entries: Some(64), flags: setup::SINGLE_ISSUER | setup::DEFER_TASKRUN };
    let (kernel, recording) = Recorded::new(skip_if_refused(LocalRing::new(8, 32))?, ring);
    let mut sender = Sender::new(kernel, arena(), crate::always()).expect("an arena can be mapped");
    let mut choices = Seeded::new(seed);
    let (near, far) = workload::tcp("127.0.0.1");
    held::set(near.as_fd(), libc::SO_SNDBUF, 400_000);
    held::set(far.as_fd(), libc::SO_RCVBUF, 4096);
    held::set_linger(far.as_fd());
    let key = sender.add(near).expect("it is a socket");
    let mut book = Book::default();
    for number in 0..2 + choices.pick(6) as u64 {
        let shape = Shape { memory: [0, 2, 3, 5][choices.pick(4)], ..Shape::draw(&mut choices, 300_000) };
        // what does not fit is not needed
        let _ = workload::try_queue(&mut sender, key, (0, number), shape, &mut book);
        if choices.pick(2) == 0 {
            sender.flush().expect("the ring is there");
            book.take(&mut sender);
        }
    }
    let last = Shape { header: 24, payload: 200_000, memory: 5 };
    let _ = workload::try_queue(&mut sender, key, (0, 99), last, &mut book);
    sender.flush().expect("the ring is there");
    book.take(&mut sender);
    assert!(book.released.len() < book.sent.len(), "something is lent");
    if recording_is_told {
        recording.reset_peer(0);
    }
    drop(far);
    workload::settle(&mut sender, &mut book);
    assert_eq!(recording.changed(), Vec::<String>::new());
    let profile = sender.kernel().profile().clone();
    drop(sender.remove(key).expect("nothing is under way"));
    let (program, trace) = recording.program_and_trace();
    Some((check(&program, &profile, &trace), book))
}

#[test]
fn a_reset_while_memory_is_lent_is_a_run_that_the_model_accepts() {
    if !lends() {
        return;
    }
    let (mut accepted, mut failed) = (0, 0);
    for seed in 0..20 {
        let Some((verdict, book)) = reset(seed, true) else { return };
        assert!(!matches!(verdict, Verdict::Rejected(_) | Verdict::Stuck { .. }), "seed {seed}: {verdict:?}");
        accepted += usize::from(verdict.is_accepted());
        assert_eq!(book.ended.len(), book.sent.len(), "every message has an end");
        assert_eq!(book.released.len(), book.sent.len(), "and all memory is back");
        failed += book.ended.values().filter(|end| matches!(end, Outcome::Failed { .. })).count();
    }
    assert!(failed > 0, "something failed");
    assert!(accepted >= 18, "{accepted} of 20 runs were accepted");
}

#[test]
fn a_reset_that_nobody_made_is_refused() {
    if !lends() {
        return;
    }
    let refused = (0..20).filter_map(|seed| reset(seed, false)).filter(|(verdict, _)| !verdict.is_accepted());
    assert!(refused.count() > 0, "a connection does not end by itself");
}
