//! What the sender and this kernel do together is a run that the model accepts.

use std::io::Read;

use uringspec_model::abi::{cqe_flag, setup};
use uringspec_model::check::check;
use uringspec_model::choices::{Choices, Seeded};
use uringspec_model::program::RingSetup;
use uringspec_model::trace::What;
use uringspec_model::verdict::Verdict;
use uringspec_real::mixed::{LocalRing, OwnRing, Policy, Recorded, Sender, Thresholds};
use uringspec_real::{mixed::Kernel, probe};

use crate::workload::{self, Book, Shape};
use crate::{arena, skip_if_refused, small_policy};

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
