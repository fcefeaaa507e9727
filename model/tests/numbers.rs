//! Programs that name rings, sockets and regions which they do not have: the model claims nothing, or refuses what was
//! seen, and goes on.

mod programs;

use uringspec_model::abi::{op, send_flag, sqe_flag};
use uringspec_model::check::check;
use uringspec_model::choices::Seeded;
use uringspec_model::enter::{Argument, Enter};
use uringspec_model::memory::{RegionId, WINDOW_BASE};
use uringspec_model::profile::Profile;
use uringspec_model::program::{
    Amount, FD_BASE, Iovec, Lane, Program, Register, RingId, SocketId, Step, Until,
};
use uringspec_model::simulate::simulate;
use uringspec_model::sqe::Sqe;
use uringspec_model::trace::Trace;

/// The program loses what it names; neither driver minds.
fn without(program: &Program, trace: &Trace, seed: u64) {
    let profile = Profile::v6_18();
    let losses: [fn(&mut Program); 6] = [
        |program| _ = program.sockets.pop(),
        |program| program.sockets.clear(),
        |program| _ = program.rings.pop(),
        |program| program.rings.clear(),
        |program| program.regions.clear(),
        |program| *program = Program { steps: std::mem::take(&mut program.steps), ..Program::default() },
    ];
    for loss in losses {
        let mut less = program.clone();
        loss(&mut less);
        check(&less, &profile, trace);
        let own = simulate(&less, &profile, &mut Seeded::new(seed));
        check(&less, &profile, &own);
    }
}

#[test]
fn what_is_lost_is_no_panic() {
    for (_, program) in programs::tiny() {
        for seed in 0..20 {
            let trace = simulate(&program, &Profile::v6_18(), &mut Seeded::new(seed));
            without(&program, &trace, seed);
        }
    }
}

/// A send that polls first, whose socket is not there, and tables that change behind it.
#[test]
fn a_late_send_on_no_socket_is_no_panic() {
    let ring = RingId(0);
    let buffer = Iovec { addr: WINDOW_BASE, len_bytes: 4096 };
    for file in [FD_BASE, FD_BASE + 1, FD_BASE + 7, 0, -1, i32::MAX] {
        for flags in [0, sqe_flag::FIXED_FILE, sqe_flag::ASYNC] {
            let nop = Sqe { opcode: op::NOP, flags: sqe_flag::LINK, user_data: 1, ..Sqe::default() };
            let ioprio = send_flag::POLL_FIRST | send_flag::FIXED_BUF;
            let send = Sqe { opcode: op::SEND_ZC, flags, ioprio, fd: file, user_data: 2, ..Sqe::default() };
            let send = Sqe { addr: WINDOW_BASE, len: 1, ..send };
            let enter =
                Enter { ring, to_submit: 2, flags: 1, argument: Argument::NoTime, ..Enter::default() };
            let steps = vec![
                Step::Register { ring, what: Register::Files(vec![Some(0), None, Some(u16::MAX)]) },
                Step::Queue { ring, sqes: vec![nop, send], array: Vec::new() },
                Step::Enter(enter),
                Step::Register { ring, what: Register::Buffers(vec![buffer]) },
                Step::Register { ring, what: Register::UnregisterFiles },
                Step::Reap { ring, until: Until::Now },
                Step::Settle,
            ];
            let mut program = programs::deferring(programs::program(Lane::Loopback, steps));
            program.sockets.clear();
            for seed in 0..5 {
                let trace = simulate(&program, &Profile::v6_18(), &mut Seeded::new(seed));
                check(&program, &Profile::v6_18(), &trace);
            }
        }
    }
}

#[test]
fn steps_that_name_nothing_are_no_panic() {
    for number in [0u8, 1, 255] {
        let (ring, socket) = (RingId(number), SocketId(u16::from(number) * 257));
        let steps = [
            Step::Submit { ring, sqes: vec![Sqe::default()] },
            Step::Queue { ring, sqes: vec![Sqe::default()], array: vec![7] },
            Step::Enter(Enter { ring, to_submit: 1, flags: 1, wanted: 1, ..Enter::default() }),
            Step::Look { ring },
            Step::Sleep { ring },
            Step::Reap { ring, until: Until::Settled },
            Step::Peek { ring },
            Step::Fence { ring },
            Step::EnterElsewhere { ring },
            Step::Register { ring, what: Register::Enable },
            Step::Register { ring, what: Register::Files(vec![Some(socket.0)]) },
            Step::Drain { socket, amount: Amount::Everything },
            Step::Ack { socket, amount: Amount::Bytes(1) },
            Step::OfferWindow { socket, bytes: 1 },
            Step::Miss { socket, len_bytes: 1 },
            Step::ResetPeer { socket },
            Step::CloseOwn { socket },
            Step::ShutdownOwn { socket },
            Step::Cork { socket, on: true },
            Step::Rewrite { region: RegionId(u16::from(number)) },
            Step::Settle,
        ];
        for step in &steps {
            let program = Program { steps: vec![step.clone(), Step::Settle], ..Program::default() };
            let trace = simulate(&program, &Profile::v6_18(), &mut Seeded::new(1));
            check(&program, &Profile::v6_18(), &trace);
        }
    }
}
