//! A kernel that is asked step by step does what some kernel may do.

use uringspec_model::abi::{msg, op};
use uringspec_model::check::check;
use uringspec_model::choices::{Choices, Seeded};
use uringspec_model::cqe::{Res, Usage};
use uringspec_model::live::{Live, Way};
use uringspec_model::memory::{Contents, HexBytes, Region, RegionId, WINDOW_BASE};
use uringspec_model::profile::Profile;
use uringspec_model::program::*;
use uringspec_model::sqe::Sqe;
use uringspec_model::trace::What;
use uringspec_model::world::Decision;

fn setup(lane: Lane) -> Program {
    let region = |name: &str, addr, contents| Region {
        name: name.into(),
        addr,
        len_bytes: if contents == Contents::Stamped { 1 << 20 } else { 0 },
        protection: Default::default(),
        contents,
    };
    let socket = SocketSetup {
        kind: SocketKind::Tcp4,
        lane,
        state: SocketState::Connected,
        sndbuf_bytes: None,
        rcvbuf_bytes: None,
    };
    Program {
        rings: vec![RingSetup { entries: 8, ..RingSetup::default() }],
        sockets: vec![socket],
        regions: vec![
            region("D", WINDOW_BASE, Contents::Stamped),
            region("M", WINDOW_BASE + (1 << 24), Contents::Bytes(HexBytes::default())),
        ],
        ..Program::default()
    }
}

fn send(opcode: u8, offset: u64, len: u32, user_data: u64) -> Sqe {
    let (fd, addr) = (fd_of(SocketId(0), End::Near), WINDOW_BASE + offset);
    Sqe { opcode, fd, addr, len, op_flags: msg::NOSIGNAL, user_data, ..Sqe::default() }
}

#[test]
fn what_it_did_is_accepted() {
    for seed in 0..200 {
        let lane = if seed % 2 == 0 { Lane::Loopback } else { Lane::Gate };
        let mut choices = Seeded::new(seed);
        let mut kernel = Live::new(setup(lane), Profile::v6_18());
        for n in 0..6 {
            let opcode = [op::SEND, op::SEND_ZC][choices.pick(2)];
            let len = [1, 5000, 40_000][choices.pick(3)];
            let submit = Step::Submit { ring: RingId(0), sqes: vec![send(opcode, n << 16, len, n)] };
            let seen = kernel.step(submit, |ways| choices.pick(ways.len())).expect("sends are modelled");
            assert_eq!(seen.len(), 1);
            let reap = Step::Reap { ring: RingId(0), until: Until::Now };
            kernel.step(reap, |ways| choices.pick(ways.len())).expect("sends are modelled");
            if choices.pick(3) == 0 {
                let drain = Step::Drain { socket: SocketId(0), amount: Amount::Everything };
                kernel.step(drain, |ways| choices.pick(ways.len())).expect("sends are modelled");
            }
        }
        kernel.step(Step::Settle, |ways| choices.pick(ways.len())).expect("sends are modelled");
        let verdict = check(kernel.program(), kernel.profile(), kernel.trace());
        assert!(verdict.is_accepted(), "seed {seed}: {verdict:?}");
    }
}

#[test]
fn message_headers_may_be_written_on_the_way() {
    let mut kernel = Live::new(setup(Lane::Loopback), Profile::v6_18());
    let iovec = [WINDOW_BASE + 100, 50].map(u64::to_le_bytes).concat();
    let iovecs = kernel.append(RegionId(1), &iovec).expect("the region holds bytes");
    let header = [0, 0, iovecs, 1, 0, 0, 0].map(u64::to_le_bytes).concat();
    let addr = kernel.append(RegionId(1), &header).expect("the region holds bytes");
    assert_eq!(kernel.append(RegionId(0), &header), None, "a stamped region is not written");
    let sqe = Sqe { addr, len: 1, ..send(op::SENDMSG_ZC, 0, 1, 3) };
    let submit = Step::Submit { ring: RingId(0), sqes: vec![sqe] };
    kernel.step(submit, |_| 0).expect("sends are modelled");
    let wants_copied = |ways: &[Way]| {
        let copied = |way: &Way| matches!(way, Way::Take(Decision::Notify { usage: Usage::Copied, .. }));
        ways.iter().position(copied).unwrap_or(0)
    };
    let seen = kernel.step(Step::Settle, wants_copied).expect("sends are modelled");
    let sent = Res::Bytes(50).to_raw();
    assert!(seen.iter().any(|seen| matches!(seen.what, What::Cqe(cqe) if cqe.cqe.res == sent)), "{seen:?}");
}

#[test]
fn what_is_not_covered_ends_the_record() {
    let mut kernel = Live::new(setup(Lane::Loopback), Profile::v6_18());
    let read = Sqe { opcode: op::READ, fd: fd_of(SocketId(0), End::Near), user_data: 1, ..Sqe::default() };
    let step = || Step::Submit { ring: RingId(0), sqes: vec![read] };
    let silent = kernel.step(step(), |_| 0).expect_err("reads are not modelled");
    assert!(!silent.why.is_empty());
    assert!(kernel.step(step(), |_| 0).is_err(), "nothing is said from then on");
}
