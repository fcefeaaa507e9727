//! A flush refines its messages: what is seen of it is a run of them one by one, and only the faulty fails.

use uringspec_model::cqe::{Completion, Errno, Res};
use uringspec_model::memory::{Contents, HexBytes};
use uringspec_model::mixed::contract::Contract;
use uringspec_model::mixed::entry::{self, Headers};
use uringspec_model::mixed::flush::{After, Flush, Outcome};
use uringspec_model::mixed::lowering::Lowering;
use uringspec_model::mixed::program::lower;
use uringspec_model::mixed::{Memory, MixedSend, Segment, Transfer};
use uringspec_model::profile::Profile;
use uringspec_model::program::*;
use uringspec_model::simulate::explore;
use uringspec_model::trace::{RingCqe, Trace, What};
use uringspec_model::{abi::errno, kernels};

use crate::space::{MEMORIES, address, bare, placed, region};

/// The user data of the one send.
const ALL: u64 = 100;

/// Messages of one segment each, those of one memory side by side.
fn flushes(count: usize) -> Vec<Flush> {
    let mut all = vec![Vec::new()];
    for _ in 0..count {
        let mut longer = Vec::new();
        for segments in &all {
            for memory in MEMORIES {
                for (transfer, len_bytes) in [(Transfer::Copy, 1), (Transfer::ZeroCopy, 2)] {
                    let mut segments: Vec<Segment> = segments.clone();
                    segments.push(Segment { addr: 0, len_bytes, memory, transfer });
                    longer.push(segments);
                }
            }
        }
        all = longer;
    }
    let flush = |segments: Vec<Segment>| {
        let placed = placed(segments);
        let message = |(i, segment): (usize, &Segment)| MixedSend {
            user_data: 1 + i as u64,
            segments: vec![*segment],
            ..placed.clone()
        };
        Flush { messages: placed.segments.iter().enumerate().map(message).collect() }
    };
    all.into_iter().map(flush).collect()
}

/// A program that submits the sends together on an unknown path, which the peer may reset.
fn batch(sends: &[MixedSend], reset: bool) -> Program {
    let mut program = bare(false);
    let mut headers = Headers::at(address(4, 0));
    let sqes = sends.iter().map(|send| entry::write(send, &mut headers)).collect();
    program.steps.push(Step::Submit { ring: RingId(0), sqes });
    program.steps.extend(reset.then_some(Step::ResetPeer { socket: SocketId(0) }));
    program.steps.push(Step::Reap { ring: RingId(0), until: Until::Settled });
    program.steps.push(Step::Drain { socket: SocketId(0), amount: Amount::Everything });
    let contents = Contents::Bytes(HexBytes(headers.bytes.clone()));
    program.regions.push(region("headers", headers.addr, headers.bytes.len() as u64, contents));
    program
}

/// Every run of the one send, on the proposal and in every lowering of the newest kernel, as one of its own.
fn runs(program: &Program) -> Vec<Trace> {
    let kernel = kernels::named("7.3").expect("it has a name");
    let mut all = explore(program, &Profile::proposal(), 100_000).expect("few states").traces;
    for lowering in Lowering::ALL {
        if let Ok(lowered) = lower(program, &kernel, lowering) {
            let runs = explore(&lowered.program, &kernel, 100_000).expect("few states").traces;
            all.extend(runs.iter().map(|run| lowered.view.read(run)));
        }
    }
    all
}

#[test]
fn a_flush_of_mixed_sends_is_a_run_of_its_messages() {
    let mut judged = 0;
    for flush in [flushes(1), flushes(2), flushes(3)].concat() {
        for reset in [false, true] {
            let one = batch(&[flush.send(ALL)], reset);
            let apart = batch(&flush.chain(), reset);
            let contract = Contract::of(&apart).expect("mixed sends");
            for run in runs(&one) {
                let read = flush.read(ALL, &run);
                judged += 1;
                if let Err(broken) = contract.judge(&read) {
                    panic!("{broken:?}\n{flush:#?}\n{run:#?}\nread as\n{read:#?}");
                }
            }
        }
    }
    assert!(judged > 1000, "{judged} runs");
}

/// A program that submits the sends together on a datagram socket, of whose path nothing is known.
fn datagrams(sends: &[MixedSend]) -> Program {
    let mut program = batch(sends, false);
    program.sockets[0].kind = SocketKind::Udp4;
    program
}

#[test]
fn a_flush_of_mixed_datagrams_is_its_messages_each_by_itself() {
    let mut judged = 0;
    for flush in [flushes(1), flushes(2), flushes(3)].concat() {
        let program = datagrams(&flush.datagrams());
        let contract = Contract::of(&program).expect("mixed sends");
        for run in runs(&program) {
            judged += 1;
            if let Err(broken) = contract.judge(&run) {
                panic!("{broken:?}\n{flush:#?}\n{run:#?}");
            }
            // on an unknown path one may wait for ever
            for (user_data, res) in results(&run) {
                let message = &flush.messages[user_data as usize - 1];
                assert_eq!(res, Res::Bytes(message.len_bytes()), "each is one datagram");
            }
        }
    }
    assert!(judged > 1000, "{judged} runs");
}

#[test]
fn of_a_flush_of_mixed_datagrams_only_the_faulty_message_fails() {
    for mut flush in flushes(3) {
        for faulty in 0..3 {
            let sound = flush.clone();
            let segment = &mut flush.messages[faulty].segments[0];
            (segment.addr, segment.memory) = (address(9, 0), Memory::Plain);
            let program = datagrams(&flush.datagrams());
            let contract = Contract::of(&program).expect("mixed sends");
            for run in runs(&program) {
                assert_eq!(contract.judge(&run), Ok(()));
                for (user_data, res) in results(&run) {
                    let i = user_data as usize - 1;
                    let whole = Res::Bytes(flush.messages[i].len_bytes());
                    let fault = Res::Err(Errno(errno::EFAULT));
                    assert_eq!(res, if i == faulty { fault } else { whole });
                }
            }
            flush = sound;
        }
    }
}

/// The results of a program's requests, by user data.
fn results(trace: &Trace) -> Vec<(u64, Res)> {
    let mut results: Vec<(u64, Res)> = trace
        .seen
        .iter()
        .filter_map(|seen| match &seen.what {
            What::Cqe(RingCqe { cqe, .. }) => match cqe.completion()? {
                Completion::Result { res, .. } => Some((cqe.user_data, res)),
                Completion::Notification(_) => None,
            },
            _ => None,
        })
        .collect();
    results.sort_unstable();
    results
}

#[test]
fn of_a_flush_of_mixed_sends_only_the_faulty_message_fails() {
    for mut flush in flushes(3) {
        for faulty in 0..3 {
            let sound = flush.clone();
            flush.messages[faulty].segments[0].addr = address(9, 0);
            let contract_of = |program: &Program| Contract::of(program).map(|_| ()).expect("mixed sends");
            let one = batch(&[flush.send(ALL)], false);
            contract_of(&one);
            for run in explore(&one, &Profile::proposal(), 100_000).expect("few states").traces {
                // on an unknown path it may wait for ever
                let Some((_, res)) = results(&run).first().copied() else { continue };
                let After::Again(chain) = flush.after(res) else {
                    // plain memory that ends on the way may have sent what lay before
                    assert!(faulty > 0 && !res.is_err(), "{res:?}");
                    continue;
                };
                let apart = batch(&chain, false);
                for run in explore(&apart, &Profile::proposal(), 100_000).expect("few states").traces {
                    assert_eq!(Contract::of(&apart).expect("mixed sends").judge(&run), Ok(()));
                    for (i, (_, res)) in results(&run).into_iter().enumerate() {
                        let whole = Res::Bytes(flush.messages[i].len_bytes());
                        let error = |number| Res::Err(Errno(number));
                        match i {
                            i if i < faulty => assert_eq!(res, whole),
                            i if i == faulty => assert_eq!(res, error(errno::EFAULT)),
                            _ => assert_eq!(res, error(errno::ECANCELED), "it was not sent"),
                        }
                    }
                }
            }
            flush = sound;
        }
    }
}

#[test]
fn a_mixed_flush_that_ends_short_says_which_messages_went() {
    let flush = &flushes(3)[0];
    let sent = |accepted| flush.after(Res::Bytes(accepted));
    use Outcome::*;
    assert_eq!(sent(3), After::Ended(vec![Whole, Whole, Whole]));
    assert_eq!(sent(1), After::Ended(vec![Whole, NotSent, NotSent]));
    let cancelled = Res::Err(Errno(errno::ECANCELED));
    assert_eq!(flush.after(cancelled), After::Ended(vec![Failed(Errno(errno::ECANCELED)); 3]));
    assert!(matches!(flush.after(Res::Err(Errno(errno::ENOMEM))), After::Again(_)));
}
