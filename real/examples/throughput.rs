//! How many small programs a second one worker runs, by kind and lane.
//!
//! `cargo run --release -p uringspec-real --example throughput`

use std::process::ExitCode;
use std::time::{Duration, Instant};

use uringspec_model::abi::op;
use uringspec_model::memory::{Contents, Protection, Region, WINDOW_BASE};
use uringspec_model::program::{
    Amount, End, Lane, Program, RingId, RingSetup, SocketId, SocketKind, SocketSetup, SocketState, Step,
    Until, fd_of,
};
use uringspec_model::sqe::Sqe;
use uringspec_real::{Options, Worker, WorkerCommand};

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("worker") {
        return uringspec_real::worker::serve();
    }
    let command = match WorkerCommand::current_exe(&["worker"]) {
        Ok(command) => command,
        Err(error) => {
            eprintln!("the path of this program cannot be found: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut worker = Worker::new(Options::new(command));
    for (name, kind, lane) in [
        ("tcp", SocketKind::Tcp4, Lane::Loopback),
        ("tcp gate", SocketKind::Tcp4, Lane::Gate),
        ("tcp gate full", SocketKind::Tcp4, Lane::GateFull),
        ("udp", SocketKind::Udp4, Lane::Loopback),
        ("unix", SocketKind::UnixStream, Lane::Loopback),
    ] {
        let program = program(kind, lane);
        let start = Instant::now();
        let mut programs = 0;
        while start.elapsed() < Duration::from_secs(2) {
            if let Err(error) = worker.run(&program) {
                eprintln!("{error}");
                return ExitCode::FAILURE;
            }
            programs += 1;
        }
        println!("{name:14} {:6.0} programs a second", f64::from(programs) / start.elapsed().as_secs_f64());
    }
    ExitCode::SUCCESS
}

/// A zero-copy send of one page and all that follows.
fn program(kind: SocketKind, lane: Lane) -> Program {
    let (ring, socket) = (RingId(0), SocketId(0));
    let send = Sqe {
        opcode: op::SEND_ZC,
        fd: fd_of(socket, End::Near),
        addr: WINDOW_BASE,
        len: 4000,
        user_data: 1,
        ..Sqe::default()
    };
    Program {
        rings: vec![RingSetup { entries: 8, ..RingSetup::default() }],
        sockets: vec![SocketSetup {
            kind,
            lane,
            state: SocketState::Connected,
            sndbuf_bytes: None,
            rcvbuf_bytes: None,
        }],
        regions: vec![Region {
            name: "K".into(),
            addr: WINDOW_BASE,
            len_bytes: 4096,
            protection: Protection::ReadWrite,
            contents: Contents::Stamped,
        }],
        steps: vec![
            Step::Submit { ring, sqes: vec![send] },
            Step::Fence { ring },
            Step::Drain { socket, amount: Amount::Everything },
            Step::Reap { ring, until: Until::Settled },
        ],
        ..Program::default()
    }
}
