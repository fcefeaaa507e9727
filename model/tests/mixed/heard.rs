//! What a declared peer acknowledges and hears again, and what lies in one packet, each made wrong by hand.

use uringspec_model::abi::{errno, op};
use uringspec_model::cqe::{Completion, Cqe, Errno, Res, Usage};
use uringspec_model::memory::{Generation, RegionId};
use uringspec_model::mixed::contract::Contract;
use uringspec_model::mixed::{Memory, MixedSend, Segment, Transfer};
use uringspec_model::program::{Amount, FD_BASE, Lane, Program, RingId, SocketId, SocketKind, Step, Until};
use uringspec_model::rules::Rule;
use uringspec_model::sqe::Sqe;
use uringspec_model::trace::{Ending, Received, RingCqe, Run, Seen, Trace, What};

use crate::space::{Around, address, placed, program};

const SOCKET: SocketId = SocketId(0);
const TAKEN: [What; 2] = [What::Returned(0), What::Returned(1)];

/// A header of two bytes that is copied, and a payload of two that is lent.
fn header_and_payload() -> MixedSend {
    let segment = |transfer, memory| Segment { addr: 0, len_bytes: 2, memory, transfer };
    placed(vec![segment(Transfer::Copy, Memory::Plain), segment(Transfer::ZeroCopy, Memory::Registered(0))])
}

fn run(region: u16, generation: u16, offset: u64, len_bytes: u64) -> Run {
    Run::Stamped { region: RegionId(region), generation: Generation(generation), offset, len_bytes }
}

fn header(generation: u16) -> Run {
    run(0, generation, 64, 2)
}

fn payload(generation: u16) -> Run {
    run(1, generation, 0, 2)
}

fn cqe(completion: Completion) -> What {
    What::Cqe(RingCqe { ring: RingId(0), cqe: Cqe::of(1, completion) })
}

fn result(res: Res) -> What {
    cqe(Completion::Result { res, more: matches!(res, Res::Bytes(_)) })
}

fn notified() -> What {
    cqe(Completion::Notification(Usage::Copied))
}

fn received(runs: Vec<Run>) -> Received {
    Received { socket: SOCKET, runs }
}

fn refuses(program: &Program, seen: impl IntoIterator<Item = (u32, What)>) -> Option<Rule> {
    let begin = TAKEN.into_iter().enumerate().map(|(step, what)| (step as u32, what));
    let seen = begin.chain(seen).map(|(step, what)| Seen { step, what }).collect();
    let contract = Contract::of(program).expect("mixed sends only");
    let trace = Trace { seen, end: Ending::Complete };
    let rule = contract.judge(&trace).err().map(|broken| broken.rule)?;
    let without = contract.without(rule).judge(&trace).err().map(|broken| broken.rule);
    assert_ne!(without, Some(rule), "a rule that is off refuses");
    Some(rule)
}

/// The peer hears both, memory is rewritten, `again` leaves again, and so much is acknowledged.
fn declared(again: Vec<Run>, acked: u64) -> Option<Rule> {
    let mut declared = program(&header_and_payload(), Around::Unknown, false);
    declared.sockets[0].lane = Lane::RepairTcpTap;
    declared.steps.truncate(2);
    declared.steps.extend([
        Step::Reap { ring: RingId(0), until: Until::Now },
        Step::Drain { socket: SOCKET, amount: Amount::Everything },
        Step::Rewrite { region: RegionId(0) },
        Step::Rewrite { region: RegionId(1) },
        Step::Miss { socket: SOCKET, len_bytes: 1 },
        Step::Ack { socket: SOCKET, amount: Amount::Everything },
        Step::Settle,
    ]);
    let seen = [
        (2, result(Res::Bytes(4))),
        (3, What::Received(received(vec![header(0), payload(0)]))),
        (6, What::SentAgain(received(again))),
        (7, What::Acked { socket: SOCKET, len_bytes: acked }),
        (8, notified()),
    ];
    refuses(&declared, seen)
}

#[test]
fn what_leaves_again_from_a_mixed_send_is_refused_where_it_is_not_what_lies_there() {
    assert_eq!(declared(vec![header(0), payload(1)], 4), None);
    assert_eq!(declared(vec![header(0), payload(0)], 4), None, "a kernel may keep what it read first");
    assert_eq!(declared(vec![header(1)], 4), Some(Rule::MixedCopyIsYours));
    assert_eq!(declared(vec![payload(1)], 4), Some(Rule::MixedPrefix), "it begins with the first byte");
    assert_eq!(declared(vec![header(0), run(2, 0, 0, 1)], 4), Some(Rule::MixedPrefix));
}

#[test]
fn a_peer_of_mixed_sends_acknowledges_what_was_accepted() {
    let again = || vec![header(0), payload(1)];
    assert_eq!(declared(again(), 3), Some(Rule::MixedAcceptedArrives));
    assert_eq!(declared(again(), 5), Some(Rule::MixedPrefix));
}

#[test]
fn a_mixed_send_is_one_packet_of_datagrams() {
    let datagram = |send: &MixedSend, res, read: &[Vec<Run>]| {
        let program = program(send, Around::Datagram, false);
        assert_eq!(program.sockets[0].kind, SocketKind::Udp4);
        let taken = matches!(res, Res::Bytes(_)).then(notified);
        let read = read.iter().map(|runs| (3, What::Received(received(runs.clone()))));
        let completions = [result(res)].into_iter().chain(taken).map(|what| (2, what));
        refuses(&program, completions.chain(read))
    };
    let (send, whole) = (header_and_payload(), vec![header(0), payload(0)]);
    let too_long = Res::Err(Errno(errno::EMSGSIZE));
    assert_eq!(datagram(&send, Res::Bytes(4), std::slice::from_ref(&whole)), None);
    let halves = [vec![header(0)], vec![payload(0)]];
    assert_eq!(datagram(&send, Res::Bytes(4), &halves), Some(Rule::MixedOneDatagram));
    let doubled = [[whole.clone(), whole.clone()].concat()];
    assert_eq!(datagram(&send, Res::Bytes(4), &doubled), Some(Rule::MixedOneDatagram));
    assert_eq!(datagram(&send, Res::Bytes(4), &[whole.clone(), whole]), Some(Rule::MixedOneDatagram));
    // a packet has 17 fragments: what is lent of them fits, and is no cause to fail, or does not
    let lent = |count: u64| {
        let one = |i| Segment {
            addr: address(1, i * 16),
            len_bytes: 2,
            memory: Memory::Registered(0),
            transfer: Transfer::ZeroCopy,
        };
        MixedSend { segments: (0..count).map(one).collect(), ..send.clone() }
    };
    assert_eq!(datagram(&lent(17), too_long, &[]), Some(Rule::MixedErrorNeedsCause));
    assert_eq!(datagram(&lent(18), too_long, &[]), None);
}

#[test]
fn an_empty_datagram_is_that_of_a_send_which_went_well() {
    let mut tapped = program(&placed(Vec::new()), Around::Datagram, false);
    tapped.sockets[0].lane = Lane::IfbUdpTap;
    let cancel = Sqe { opcode: op::ASYNC_CANCEL, addr: 1, user_data: 9, ..Sqe::default() };
    let empty = Sqe { opcode: op::SEND, fd: FD_BASE, user_data: 2, ..Sqe::default() };
    tapped.steps.insert(2, Step::Submit { ring: RingId(0), sqes: vec![cancel, empty] });
    let done = |user_data, res| {
        let completion = Completion::Result { res, more: false };
        (3, What::Cqe(RingCqe { ring: RingId(0), cqe: Cqe::of(user_data, completion) }))
    };
    let (cancelled, sent) = (Res::Err(Errno(errno::ECANCELED)), Res::Bytes(0));
    let read = |count| (0..count).map(|_| (4, What::Received(received(Vec::new()))));
    let judged = |first, count| {
        let seen = [(2, What::Returned(2)), done(9, sent), done(1, first), done(2, sent)];
        refuses(&tapped, seen.into_iter().chain(read(count)))
    };
    assert_eq!(judged(cancelled, 1), None);
    assert_eq!(judged(cancelled, 0), Some(Rule::MixedAcceptedArrives));
    assert_eq!(judged(cancelled, 2), Some(Rule::MixedOneDatagram));
    assert_eq!(judged(sent, 2), None);
}
