//! Sends with room: what the simplest promises look like.

use uringspec_model::abi::{cqe_flag, msg, op, send_flag, setup, sqe_flag};
use uringspec_model::cqe::{Completion, Res, Usage};
use uringspec_model::memory::{Contents, HexBytes, Region};
use uringspec_model::program::{
    Amount, End, Iovec, Lane, Register, RingSetup, SocketKind, SocketState, Step, Until, Want, fd_of,
};
use uringspec_model::sqe::Sqe;

use crate::build::*;

pub(crate) const TESTS: &[(&str, fn())] = &[
    ("zero_copy_send_is_noticed_and_received", zero_copy_send_is_noticed_and_received),
    ("every_kind_of_socket_carries_a_send", every_kind_of_socket_carries_a_send),
    ("datagrams_keep_their_borders", datagrams_keep_their_borders),
    ("a_large_send_is_short", a_large_send_is_short),
    ("fixed_buffers_are_sent", fixed_buffers_are_sent),
    ("a_message_gathers_its_iovecs", a_message_gathers_its_iovecs),
    ("own_ends_close_and_shut_down", own_ends_close_and_shut_down),
    ("a_table_keeps_a_closed_end_and_nobody_else_does", a_table_keeps_a_closed_end_and_nobody_else_does),
    ("what_is_cut_silently_is_not_waited_for", what_is_cut_silently_is_not_waited_for),
    ("descriptors_that_are_no_sockets", descriptors_that_are_no_sockets),
    ("entries_left_on_the_queue_stay_there", entries_left_on_the_queue_stay_there),
    ("deferred_work_runs_in_a_fence", deferred_work_runs_in_a_fence),
    ("a_reap_waits_for_what_it_was_told", a_reap_waits_for_what_it_was_told),
];

fn zero_copy_send_is_noticed_and_received() {
    let copied = Sqe { ioprio: send_flag::REPORT_USAGE, ..send_zc(1, at(0), 4096) };
    let program = program(SocketKind::Tcp4, Lane::Loopback, vec![submit([copied]), settled(), drain()]);
    let Some(trace) = run(&program) else { return };
    let expected =
        ["0: room", "0: returned 1", "1: #1 4096 MORE", "1: #1 COPIED NOTIF", "2: received R0.0 0..4096"];
    assert_eq!(lines(&trace), expected);
}

fn every_kind_of_socket_carries_a_send() {
    let mut worker = worker();
    for kind in
        [SocketKind::Tcp4, SocketKind::Tcp6, SocketKind::Udp4, SocketKind::Udp6, SocketKind::UnixStream]
    {
        let program = program(kind, Lane::Loopback, vec![submit([send(1, at(0) + 5, 1000)]), Step::Settle]);
        let Some(trace) = run_on(&mut worker, &program) else { continue };
        assert_eq!(of(&trace, 1), [Completion::Result { res: Res::Bytes(1000), more: false }], "{kind:?}");
        assert!(lines(&trace).contains(&"1: received R0.0 5..1005".into()), "{kind:?}: {:?}", lines(&trace));
    }
}

fn datagrams_keep_their_borders() {
    let sqes = [send(1, at(0), 100), send_zc(2, at(0) + 100, 0), send(3, at(0) + 200, 3)];
    let program = program(SocketKind::Udp4, Lane::Loopback, vec![submit(sqes), settled(), drain()]);
    let Some(trace) = run(&program) else { return };
    let received: Vec<_> = lines(&trace).into_iter().filter(|l| l.contains("received")).collect();
    assert_eq!(received, ["2: received R0.0 0..100", "2: received ", "2: received R0.0 200..203"]);
}

fn a_large_send_is_short() {
    let mut program = program(
        SocketKind::Tcp4,
        Lane::Loopback,
        vec![submit([send(1, at(0), 16 << 20)]), settled(), drain(), settled()],
    );
    program.regions = vec![region(0, 16 << 20)];
    program.sockets[0].sndbuf_bytes = Some(65536);
    let Some(trace) = run(&program) else { return };
    let [Completion::Result { res: Res::Bytes(sent), more: false }] = of(&trace, 1)[..] else {
        panic!("{:?}", lines(&trace));
    };
    assert!((1..16 << 20).contains(&sent), "{sent}");
    assert_eq!(received_bytes(&trace), sent);
}

fn fixed_buffers_are_sent() {
    let buffers = vec![Iovec { addr: at(0), len_bytes: 8192 }, Iovec { addr: at(0) + 8192, len_bytes: 100 }];
    let fixed = |user_data, addr, len, buf_index| Sqe {
        ioprio: send_flag::FIXED_BUF,
        buf_index,
        ..send_zc(user_data, addr, len)
    };
    let program = program(
        SocketKind::Tcp4,
        Lane::Loopback,
        vec![
            Step::Register { ring: RING, what: Register::Buffers(buffers) },
            submit([fixed(1, at(0) + 1, 5000, 0), fixed(2, at(0) + 8192, 101, 1)]),
            settled(),
            Step::Register { ring: RING, what: Register::UnregisterBuffers },
            Step::Register { ring: RING, what: Register::UnregisterBuffers },
            drain(),
        ],
    );
    let Some(trace) = run(&program) else { return };
    assert_eq!(of(&trace, 1)[0], Completion::Result { res: Res::Bytes(5000), more: true });
    assert_eq!(cqes(&trace).iter().find(|cqe| cqe.user_data == 2).map(|cqe| cqe.res), Some(-14));
    let lines = lines(&trace);
    for line in ["0: returned 0", "3: returned 0", "4: returned -6", "5: received R0.0 1..5001"] {
        assert!(lines.contains(&line.into()), "{line} is not in {lines:?}");
    }
}

fn a_message_gathers_its_iovecs() {
    let words = |words: &[u64]| words.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>();
    let iovecs = at(1) + 64;
    let bytes = words(&[0, 0, iovecs, 3, 0, 0, 0, 0, at(0) + 7, 20, at(0) + 100, 4, at(0) + 5000, 3000]);
    let mut program = program(
        SocketKind::Tcp4,
        Lane::Loopback,
        vec![
            submit([Sqe { opcode: op::SENDMSG_ZC, addr: at(1), len: 1, ..send(1, 0, 0) }]),
            settled(),
            Step::Drain { socket: A, amount: Amount::Bytes(10) },
            drain(),
        ],
    );
    program.regions.push(Region { contents: Contents::Bytes(HexBytes(bytes)), ..region(1, 4096) });
    let Some(trace) = run(&program) else { return };
    assert_eq!(of(&trace, 1)[0], Completion::Result { res: Res::Bytes(3024), more: true });
    let lines = lines(&trace);
    assert!(lines.contains(&"2: received R0.0 7..17".into()), "{lines:?}");
    assert_eq!(received_bytes(&trace), 3024);
}

fn own_ends_close_and_shut_down() {
    let steps = |end: Step| {
        vec![submit([send(1, at(0), 9)]), settled(), end, submit([send(2, at(0), 9)]), settled(), drain()]
    };
    let close = program(SocketKind::Tcp4, Lane::Loopback, steps(Step::CloseOwn { socket: A }));
    let Some(trace) = run(&close) else { return };
    let lines_of = |trace| lines(trace)[3..].to_vec();
    let end = "5: peer ended: EndOfFile";
    assert_eq!(lines_of(&trace), ["3: returned 1", "4: #2 -EBADF", "5: received R0.0 0..9", end]);
    let shut = program(SocketKind::Tcp4, Lane::Loopback, steps(Step::ShutdownOwn { socket: A }));
    let Some(trace) = run(&shut) else { return };
    assert_eq!(lines_of(&trace), ["3: returned 1", "4: #2 -EPIPE", "5: received R0.0 0..9", end]);
}

fn descriptors_that_are_no_sockets() {
    let mut program = program(SocketKind::Tcp4, Lane::Loopback, Vec::new());
    program.sockets = vec![
        socket(SocketKind::NotASocket, Lane::Loopback),
        uringspec_model::program::SocketSetup {
            state: SocketState::Unconnected,
            ..socket(SocketKind::Tcp4, Lane::Loopback)
        },
    ];
    let to = |user_data, fd| Sqe { fd, ..send(user_data, at(0), 1) };
    let sqes = [to(1, 600), to(2, 602), to(3, 603), to(4, -1), to(5, 1599), to(6, i32::MIN)];
    program.steps = vec![submit(sqes), settled()];
    let Some(trace) = run(&program) else { return };
    let expected = ["#1 -ENOTSOCK", "#2 -EPIPE", "#3 -EBADF", "#4 -EBADF", "#5 -EBADF", "#6 -EBADF"];
    assert_eq!(cqes(&trace).iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
}

/// What `MSG_MORE` holds back leaves although the end is closed, and the connection ends with the table.
fn a_table_keeps_a_closed_end_and_nobody_else_does() {
    let file = Sqe { fd: 0, flags: sqe_flag::FIXED_FILE, op_flags: msg::MORE, ..send(1, at(0), 7) };
    let register = |what| Step::Register { ring: RING, what };
    let program = program(
        SocketKind::Tcp4,
        Lane::Loopback,
        vec![
            register(Register::Files(vec![Some(0)])),
            Step::CloseOwn { socket: A },
            submit([file]),
            settled(),
            drain(),
            register(Register::UnregisterFiles),
            Step::Settle,
        ],
    );
    let Some(trace) = run(&program) else { return };
    let expected = [
        "0: room",
        "0: returned 0",
        "2: returned 1",
        "3: #1 7",
        "4: received R0.0 0..7",
        "5: returned 0",
        "6: peer ended: EndOfFile",
    ];
    assert_eq!(lines(&trace), expected);
}

fn what_is_cut_silently_is_not_waited_for() {
    let flags = sqe_flag::CQE_SKIP_SUCCESS | sqe_flag::LINK;
    let fails = Sqe { flags, ..send(1, 1 << 47, 1) };
    let rest = [send(2, at(0), 1), Sqe { user_data: 3, ..Sqe::default() }];
    let linked = rest.map(|sqe| Sqe { flags: sqe_flag::LINK, ..sqe });
    let steps = vec![submit([&[fails][..], &linked, &[send(4, at(0), 1)]].concat()), Step::Settle];
    let Some(trace) = run(&program(SocketKind::Tcp4, Lane::Loopback, steps)) else { return };
    assert_eq!(lines(&trace), ["0: room", "0: returned 4", "1: #1 -EFAULT"]);
}

fn entries_left_on_the_queue_stay_there() {
    let bad = Sqe { flags: 0x80, ..send(2, at(0), 1) };
    let nop = |user_data| Sqe { user_data, ..Sqe::default() };
    let program = program(
        SocketKind::Tcp4,
        Lane::Loopback,
        vec![
            submit([nop(1), bad, nop(3)]),
            now(),
            submit([nop(4)]),
            now(),
            submit([bad, nop(5), nop(6)]),
            Step::Fence { ring: RING },
            now(),
        ],
    );
    let Some(trace) = run(&program) else { return };
    let expected = [
        "0: room",
        "0: returned 2",
        "1: #1 0",
        "1: #2 -EINVAL",
        "2: returned 1",
        "3: #3 0",
        "4: returned 2",
        "5: #4 0",
        "5: #2 -EINVAL",
        "5: #5 0",
        "5: #6 0",
    ];
    assert_eq!(lines(&trace), expected);
}

fn deferred_work_runs_in_a_fence() {
    let mut program = program(
        SocketKind::Tcp4,
        Lane::Loopback,
        vec![submit([send_zc(1, at(0), 6000)]), drain(), Step::Fence { ring: RING }, now()],
    );
    let flags = setup::SINGLE_ISSUER | setup::DEFER_TASKRUN;
    program.rings = vec![RingSetup { entries: 4, flags, ..RingSetup::default() }];
    let Some(trace) = run(&program) else { return };
    assert_eq!(of(&trace, 1).last(), Some(&Completion::Notification(Usage::Clear)));
    assert!(trace.seen.iter().all(|seen| seen.step < 3), "the fence left something: {:?}", lines(&trace));
}

fn a_reap_waits_for_what_it_was_told() {
    let want = |user_data, last| Want { user_data, count: 1, last };
    let until = Until::Seen(vec![want(1, true), want(2, false)]);
    let mut program = program(
        SocketKind::Tcp6,
        Lane::Loopback,
        vec![submit([send_zc(1, at(0), 6000), send(2, at(0), 1)]), Step::Reap { ring: RING, until }],
    );
    program.sockets.push(socket(SocketKind::UnixStream, Lane::Loopback));
    program.steps.push(submit([Sqe {
        fd: fd_of(uringspec_model::program::SocketId(1), End::Near),
        ..send_zc(u64::MAX, at(0), 1)
    }]));
    program.steps.push(Step::Fence { ring: RING });
    let Some(trace) = run(&program) else { return };
    assert_eq!(of(&trace, 1).len(), 2);
    assert_eq!(of(&trace, 2).len(), 1);
    // User data that a fence would like to have is the program's.
    let of_unix: Vec<_> = cqes(&trace).into_iter().filter(|cqe| cqe.user_data == u64::MAX).collect();
    assert_eq!(
        of_unix.iter().map(|c| (c.res, c.flags)).collect::<Vec<_>>(),
        [(-95, cqe_flag::MORE), (0, cqe_flag::NOTIF)]
    );
}
