//! Sends behind a closed window: notifications are held until the peer reads or resets.

use uringspec_model::abi::{msg, send_flag};
use uringspec_model::cqe::{Completion, Errno, Res, Usage};
use uringspec_model::memory::RegionId;
use uringspec_model::program::{Amount, Lane, SocketKind, Step};
use uringspec_model::sqe::Sqe;

use crate::build::*;

pub(crate) const TESTS: &[(&str, fn())] = &[
    ("a_rewrite_shows_at_the_receiver", a_rewrite_shows_at_the_receiver),
    ("a_reset_releases_without_a_copy", a_reset_releases_without_a_copy),
    ("a_full_socket_takes_nothing", a_full_socket_takes_nothing),
    ("a_blocked_send_goes_on_when_the_peer_reads", a_blocked_send_goes_on_when_the_peer_reads),
    ("closing_the_own_end_releases_nothing", closing_the_own_end_releases_nothing),
    ("settling_opens_the_gate", settling_opens_the_gate),
];

const RESULT: Completion = Completion::Result { res: Res::Bytes(20_000), more: true };

fn reported(user_data: u64, addr: u64, len: u32) -> Sqe {
    Sqe { ioprio: send_flag::REPORT_USAGE, ..send_zc(user_data, addr, len) }
}

fn a_rewrite_shows_at_the_receiver() {
    let mut worker = worker();
    for kind in [SocketKind::Tcp4, SocketKind::Tcp6] {
        let program = program(
            kind,
            Lane::Gate,
            vec![
                submit([reported(1, at(0) + 10, 20_000)]),
                Step::Fence { ring: RING },
                Step::Rewrite { region: RegionId(0) },
                Step::Drain { socket: A, amount: Amount::Bytes(20_000) },
                settled(),
                drain(),
            ],
        );
        let Some(trace) = run_on(&mut worker, &program) else { return };
        let expected = [
            "0: room",
            "0: returned 1",
            "1: #1 20000 MORE",
            "3: received R0.1 10..20010",
            "4: #1 COPIED NOTIF",
        ];
        assert_eq!(lines(&trace), expected);
    }
}

fn a_reset_releases_without_a_copy() {
    let program = program(
        SocketKind::Tcp4,
        Lane::Gate,
        vec![
            submit([reported(1, at(0), 20_000)]),
            Step::Fence { ring: RING },
            Step::ResetPeer { socket: A },
            settled(),
            submit([send(2, at(0), 1)]),
            settled(),
        ],
    );
    let Some(trace) = run(&program) else { return };
    assert_eq!(of(&trace, 1), [RESULT, Completion::Notification(Usage::Clear)]);
    assert_eq!(lines(&trace)[3..], ["3: #1 0 NOTIF", "4: returned 1", "5: #2 -ECONNRESET"]);
}

fn a_full_socket_takes_nothing() {
    let mut worker = worker();
    let once = Sqe { op_flags: msg::DONTWAIT, ..send(1, at(0), 1) };
    let once_zc = Sqe { op_flags: msg::DONTWAIT, ..send_zc(2, at(0), 100_000) };
    let again = Completion::Result { res: Res::Err(Errno(11)), more: false };
    for _ in 0..20 {
        let program = program(
            SocketKind::Tcp4,
            Lane::GateFull,
            vec![submit([once, once_zc]), settled(), drain(), submit([once]), settled(), drain()],
        );
        let Some(trace) = run_on(&mut worker, &program) else { return };
        assert_eq!(lines(&trace)[0], "0: full");
        assert_eq!(of(&trace, 1), [again, Completion::Result { res: Res::Bytes(1), more: false }]);
        assert_eq!(of(&trace, 2)[0], Completion::Result { res: Res::Err(Errno(11)), more: true });
        assert_eq!(received_bytes(&trace), 1);
    }
}

fn a_blocked_send_goes_on_when_the_peer_reads() {
    let program = program(
        SocketKind::Tcp4,
        Lane::GateFull,
        vec![submit([send_zc(1, at(0), 30_000)]), Step::Fence { ring: RING }, drain(), settled(), drain()],
    );
    let Some(trace) = run(&program) else { return };
    let Completion::Result { res: Res::Bytes(sent), more: true } = of(&trace, 1)[0] else {
        panic!("{:?}", lines(&trace));
    };
    assert_eq!(received_bytes(&trace), sent);
}

fn closing_the_own_end_releases_nothing() {
    let program = program(
        SocketKind::Tcp4,
        Lane::Gate,
        vec![
            submit([reported(1, at(0), 20_000)]),
            Step::CloseOwn { socket: A },
            Step::Fence { ring: RING },
            drain(),
            settled(),
        ],
    );
    let Some(trace) = run(&program) else { return };
    assert_eq!(lines(&trace)[2..4], ["2: #1 20000 MORE", "3: received R0.0 0..20000"]);
    assert_eq!(lines(&trace)[4..], ["3: peer ended: EndOfFile", "4: #1 COPIED NOTIF"]);
}

fn settling_opens_the_gate() {
    let program =
        program(SocketKind::Tcp4, Lane::Gate, vec![submit([reported(1, at(0), 20_000)]), Step::Settle]);
    let Some(trace) = run(&program) else { return };
    assert_eq!(of(&trace, 1), [RESULT, Completion::Notification(Usage::Copied)]);
    assert_eq!(received_bytes(&trace), 20_000);
}
