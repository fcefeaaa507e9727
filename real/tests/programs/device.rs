//! Sends that nothing copies: through a device that drops them, acknowledged when the program says so.

use std::time::Duration;

use uringspec_model::abi::{msg, send_flag};
use uringspec_model::cqe::{Completion, Usage};
use uringspec_model::memory::RegionId;
use uringspec_model::net::WINDOW_UNIT_BYTES;
use uringspec_model::program::{Amount, Lane, Program, SocketKind, Step};
use uringspec_model::sqe::Sqe;
use uringspec_real::{Options, Worker, WorkerCommand};

use crate::build::*;
use crate::clean::Holdings;

pub(crate) const TESTS: &[(&str, fn())] = &[
    ("acknowledgements_release_one_by_one", acknowledgements_release_one_by_one),
    ("what_joined_is_released_with_the_last_byte", what_joined_is_released_with_the_last_byte),
    ("windows_open_and_close", windows_open_and_close),
    ("lent_memory_is_read_again", lent_memory_is_read_again),
    ("a_reset_releases_what_left_and_what_did_not", a_reset_releases_what_left_and_what_did_not),
    ("settling_acknowledges_all", settling_acknowledges_all),
    ("datagrams_are_gone_at_once", datagrams_are_gone_at_once),
    ("steps_that_do_not_suit_a_lane_are_refused", steps_that_do_not_suit_a_lane_are_refused),
    ("a_normal_user_has_the_lanes", a_normal_user_has_the_lanes),
    ("a_thousand_connections_leave_nothing", a_thousand_connections_leave_nothing),
];

fn reported(user_data: u64, addr: u64, len: u32) -> Sqe {
    Sqe { ioprio: send_flag::REPORT_USAGE, ..send_zc(user_data, addr, len) }
}

fn declared(steps: Vec<Step>) -> Program {
    program(SocketKind::Tcp4, Lane::RepairTcp, steps)
}

fn ack(bytes: u64) -> Step {
    Step::Ack { socket: A, amount: Amount::Bytes(bytes) }
}

fn ack_all() -> Step {
    Step::Ack { socket: A, amount: Amount::Everything }
}

fn offer(bytes: u64) -> Step {
    Step::OfferWindow { socket: A, bytes }
}

fn fence() -> Step {
    Step::Fence { ring: RING }
}

fn acknowledgements_release_one_by_one() {
    let sends = [reported(1, at(0), 5000), reported(2, at(0) + 5000, 6000)];
    let steps =
        vec![submit(sends), fence(), ack(4999), fence(), ack(1), fence(), ack(6000), fence(), ack_all()];
    let Some(trace) = run(&declared(steps)) else { return };
    let expected = [
        "0: room",
        "0: returned 2",
        "1: #1 5000 MORE",
        "1: #2 6000 MORE",
        "2: acked 4999",
        "4: acked 1",
        "5: #1 0 NOTIF",
        "6: acked 6000",
        "7: #2 0 NOTIF",
    ];
    assert_eq!(lines(&trace), expected);
}

fn what_joined_is_released_with_the_last_byte() {
    let sends = [reported(1, at(0), 100), reported(2, at(0) + 100, 100), reported(3, at(0) + 200, 100)];
    let steps = vec![offer(0), submit(sends), fence(), offer(65536), ack(299), fence(), ack(1), fence()];
    let Some(trace) = run(&declared(steps)) else { return };
    assert_eq!(lines(&trace)[5..7], ["4: acked 299", "6: acked 1"]);
    let told = |user_data| of(&trace, user_data)[1];
    let usages = [Usage::Clear, Usage::Copied, Usage::Copied].map(Completion::Notification);
    assert_eq!([told(1), told(2), told(3)], usages);
}

fn windows_open_and_close() {
    let narrow = 8 * WINDOW_UNIT_BYTES;
    let sends = [reported(1, at(0), narrow as u32), reported(2, at(0) + narrow, 8000)];
    let steps = vec![
        offer(narrow),
        submit(sends),
        fence(),
        offer(0),
        ack_all(),
        fence(),
        ack_all(),
        offer(narrow),
        ack_all(),
        offer(2 * narrow),
        offer(narrow),
        offer(u64::MAX),
        ack_all(),
        fence(),
    ];
    let Some(trace) = run(&declared(steps)) else { return };
    let expected = ["4: acked 1024", "5: #1 0 NOTIF", "12: acked 8000", "13: #2 0 NOTIF"];
    assert_eq!(lines(&trace)[4..], expected);
}

fn lent_memory_is_read_again() {
    let sends = [reported(1, at(0), 1000), reported(2, at(0) + 1000, 6000)];
    let miss = Step::Miss { socket: A, len_bytes: 1000 };
    let rewrite = Step::Rewrite { region: RegionId(0) };
    let steps = vec![submit(sends), fence(), drain(), rewrite, miss, ack_all(), fence()];
    let tapped = program(SocketKind::Tcp4, Lane::RepairTcpTap, steps.clone());
    let mut worker = worker();
    let Some(trace) = run_on(&mut worker, &tapped) else { return };
    let expected = [
        "2: received R0.0 0..7000",
        "4: sent again R0.1 0..1000",
        "5: acked 7000",
        "6: #1 COPIED NOTIF",
        "6: #2 COPIED NOTIF",
    ];
    assert_eq!(lines(&trace)[4..], expected);
    let untapped = declared(steps.into_iter().filter(|step| *step != drain()).collect());
    let Some(trace) = run_on(&mut worker, &untapped) else { return };
    assert_eq!(lines(&trace)[4..], ["4: acked 7000", "5: #1 0 NOTIF", "5: #2 0 NOTIF"]);
}

fn a_reset_releases_what_left_and_what_did_not() {
    let steps = vec![
        submit([reported(1, at(0), 8000)]),
        fence(),
        offer(0),
        submit([reported(2, at(0) + 8000, 20_000)]),
        fence(),
        Step::ResetPeer { socket: A },
        settled(),
        submit([send(3, at(0), 1)]),
        settled(),
        ack_all(),
    ];
    let Some(trace) = run(&declared(steps)) else { return };
    let mut notified = lines(&trace)[5..7].to_vec();
    notified.sort_unstable();
    assert_eq!(notified, ["6: #1 0 NOTIF", "6: #2 0 NOTIF"]);
    assert_eq!(lines(&trace)[7..], ["7: returned 1", "8: #3 -ECONNRESET"]);
}

fn settling_acknowledges_all() {
    let corked = Sqe { op_flags: msg::MORE, ..reported(1, at(0), 100) };
    let steps = vec![offer(0), submit([corked, reported(2, at(0), 300_000)]), fence(), Step::Settle];
    let Some(trace) = run(&declared(steps)) else { return };
    assert_eq!((of(&trace, 1).len(), of(&trace, 2).len()), (2, 2), "{:?}", lines(&trace));
}

fn datagrams_are_gone_at_once() {
    let steps = vec![submit([reported(1, at(0), 65_507), reported(2, at(0), 65_508)]), settled()];
    let Some(trace) = run(&program(SocketKind::Udp4, Lane::IfbUdp, steps)) else { return };
    let told = |user_data| of(&trace, user_data)[1];
    assert_eq!([told(1), told(2)], [Usage::Clear, Usage::Copied].map(Completion::Notification));
}

fn steps_that_do_not_suit_a_lane_are_refused() {
    let unsuited = [
        (SocketKind::Udp4, Lane::IfbUdp, ack_all()),
        (SocketKind::Tcp4, Lane::Loopback, ack_all()),
        (SocketKind::Tcp4, Lane::RepairTcp, drain()),
        (SocketKind::Udp4, Lane::IfbUdp, drain()),
        (SocketKind::Tcp4, Lane::RepairTcp, Step::CloseOwn { socket: A }),
        (SocketKind::Tcp6, Lane::RepairTcp, fence()),
        (SocketKind::Tcp4, Lane::IfbUdp, fence()),
    ];
    for (kind, lane, step) in unsuited {
        let program = program(kind, lane, vec![step.clone()]);
        assert!(uringspec_real::may_run(&program, 63).is_err(), "{kind:?} {lane:?} {step:?}");
    }
}

/// A worker that is started as somebody without rights has the lanes by a user namespace, or says what it
/// lacks.
fn a_normal_user_has_the_lanes() {
    let WorkerCommand { program: exe, .. } = options().worker;
    let args = vec!["as-nobody".into()];
    let options = Options { worker: WorkerCommand { program: exe, args }, ..options() };
    let mut worker = Worker::new(options);
    let steps = vec![submit([reported(1, at(0), 5000)]), fence(), ack_all(), fence()];
    let datagrams = vec![submit([reported(1, at(0), 5000)]), settled()];
    for program in [declared(steps), program(SocketKind::Udp4, Lane::IfbUdp, datagrams)] {
        let Some(trace) = run_on(&mut worker, &program) else { continue };
        assert_eq!(of(&trace, 1)[1], Completion::Notification(Usage::Clear));
    }
    let Some(pid) = worker.pid() else { return };
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().next());
    assert_ne!(uid, Some("0"), "the worker is not a normal user");
}

fn a_thousand_connections_leave_nothing() {
    let held = declared(vec![submit([send_zc(1, at(0), 20_000)]), now()]);
    let closed = declared(vec![offer(0), submit([send_zc(1, at(0), 20_000)]), now()]);
    let datagram = program(SocketKind::Udp4, Lane::IfbUdp, vec![submit([send_zc(1, at(0), 20_000)])]);
    let steps = vec![submit([send_zc(1, at(0), 20_000)]), now()];
    let tapped = program(SocketKind::Tcp4, Lane::RepairTcpTap, steps);
    let mut worker = worker();
    let programs = [held, closed, datagram, tapped];
    for program in &programs {
        if run_on(&mut worker, program).is_none() {
            return;
        }
    }
    let pid = worker.pid().expect("the worker has answered");
    std::thread::sleep(Duration::from_millis(50));
    let before = Holdings::of(pid);
    for program in programs.iter().cycle().take(1000) {
        run_on(&mut worker, program);
    }
    assert_eq!(worker.pid(), Some(pid), "the worker was replaced");
    before.come_back(pid);
}
