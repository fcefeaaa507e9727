//! Workers that hang, die or cannot be had, and programs that are refused.

use std::time::{Duration, Instant};

use uringspec_model::abi::op;
use uringspec_model::memory::{Region, WINDOW_BASE};
use uringspec_model::program::{Amount, Lane, Program, SocketKind, Step};
use uringspec_model::sqe::Sqe;
use uringspec_model::trace::{Ending, What};
use uringspec_real::{Options, Pool, RunError, Skip, Worker, WorkerCommand};

use crate::build::*;

pub(crate) const TESTS: &[(&str, fn())] = &[
    (
        "a_step_that_hangs_is_named_and_the_worker_replaced",
        a_step_that_hangs_is_named_and_the_worker_replaced,
    ),
    ("a_killed_worker_is_told_and_replaced", a_killed_worker_is_told_and_replaced),
    ("a_step_without_hope_gives_up", a_step_without_hope_gives_up),
    ("a_worker_that_cannot_start_is_told", a_worker_that_cannot_start_is_told),
    ("what_is_not_for_live_kernels_is_refused_by_name", what_is_not_for_live_kernels_is_refused_by_name),
    ("a_pool_serves_many_threads", a_pool_serves_many_threads),
    ("a_worker_ends_with_its_input", a_worker_ends_with_its_input),
];

fn shell(script: &str) -> Options {
    let worker = WorkerCommand { program: "/bin/sh".into(), args: vec!["-c".into(), script.into()] };
    Options { patience_ms: 300, ..Options::new(worker) }
}

fn nop_program() -> Program {
    program(SocketKind::Tcp4, Lane::Loopback, vec![submit([Sqe::default()]), settled()])
}

/// A drain of bytes that never come holds a worker for as long as a step may take; this parent has less
/// patience than that.
fn a_step_that_hangs_is_named_and_the_worker_replaced() {
    let options = Options { patience_ms: 500, step_patience_ms: 60_000, ..options() };
    let mut worker = Worker::new(options);
    if run_on(&mut worker, &nop_program()).is_none() {
        return;
    }
    let first = worker.pid();
    let mut hanging = nop_program();
    hanging.steps.push(Step::Drain { socket: A, amount: Amount::Bytes(1) });
    let trace = worker.run(&hanging).expect("a hung step is part of a trace");
    assert_eq!(trace.end, Ending::Hung { step: 2 });
    assert_eq!(lines(&trace), ["0: room", "0: returned 1", "1: #0 0"]);
    assert_eq!(worker.pid(), None);
    let gone = std::fs::exists(format!("/proc/{}", first.unwrap_or(0)));
    assert!(gone.is_ok_and(|exists| !exists), "the hung worker is still there");
    assert!(run_on(&mut worker, &nop_program()).is_some());
    assert_ne!(worker.pid(), first);
}

fn a_killed_worker_is_told_and_replaced() {
    let seen = r#"{"v":1,"seen":{"step":3,"what":{"returned":1}}}"#;
    let mut worker = Worker::new(shell(&format!("read program; echo '{seen}'; kill -PIPE $$")));
    match worker.run(&nop_program()) {
        Err(RunError::Died { signal: Some(13), step: 3, seen }) => assert_eq!(seen.len(), 1),
        other => panic!("{other:?}"),
    }
    let mut leaving = Worker::new(shell("exit 7"));
    match leaving.run(&nop_program()) {
        Err(RunError::Died { signal: None, step: 0, .. }) => {}
        other => panic!("{other:?}"),
    }
    let mut mumbling = Worker::new(shell("read program; echo hello; read more"));
    assert!(matches!(mumbling.run(&nop_program()), Err(RunError::NoWorker(_))));
    let mut silent = Worker::new(shell("exec sleep 100"));
    let trace = silent.run(&nop_program()).expect("silence is a hung step");
    assert_eq!(trace.end, Ending::Hung { step: 0 });
}

fn a_step_without_hope_gives_up() {
    let options = Options { step_patience_ms: 20, ..options() };
    let mut program = program(
        SocketKind::Tcp4,
        Lane::Gate,
        vec![
            submit([send_zc(1, at(0), 5000)]),
            settled(),
            Step::Drain { socket: A, amount: Amount::Bytes(6000) },
            settled(),
        ],
    );
    program.rings[0].entries = 4;
    let Some(trace) = run_on(&mut Worker::new(options), &program) else { return };
    let gave_up = |step| trace.seen.iter().any(|seen| seen.step == step && seen.what == What::GaveUp);
    assert!(gave_up(1) && gave_up(2) && !gave_up(3), "{:?}", lines(&trace));
    assert_eq!(received_bytes(&trace), 5000);
}

fn a_worker_that_cannot_start_is_told() {
    let command = WorkerCommand { program: "/nowhere/uringspec".into(), args: Vec::new() };
    let error = uringspec_real::run(&nop_program(), &Options::new(command)).expect_err("nothing is there");
    assert!(error.to_string().starts_with("starting the worker /nowhere/uringspec: "), "{error}");
}

fn what_is_not_for_live_kernels_is_refused_by_name() {
    let mut worker = worker();
    let mut check = |program: &Program, part: &str| match worker.run(program) {
        Err(RunError::Skip(Skip::Told(reason))) => {
            assert!(reason.contains(part), "{reason:?} does not speak of {part:?}");
        }
        other => panic!("{other:?}"),
    };
    if run(&nop_program()).is_none() {
        return;
    }
    let with = |sqe| program(SocketKind::Tcp4, Lane::Loopback, vec![submit([sqe])]);
    check(&with(Sqe { opcode: op::UNLINKAT, ..Sqe::default() }), "opcode UNLINKAT (36)");
    check(&with(Sqe { fd: 1, ..send(1, at(0), 1) }), "descriptor 1;");
    check(&with(send(1, 0x5555_5555_0000, 1)), "step 0: data at 0x555555550000");
    let sized = |addr, len_bytes| {
        let mut program = nop_program();
        program.regions = vec![Region { addr, ..region(0, len_bytes) }];
        program
    };
    check(&sized(WINDOW_BASE, 1 << 60), "does not lie in");
    check(&sized(WINDOW_BASE, u64::MAX), "does not lie in");
    check(&sized(WINDOW_BASE, 1 << 32), "bytes of regions");
    let mut program = nop_program();
    program.rings[0].entries = 0;
    check(&program, "io_uring_setup failed with EINVAL");
    let mut program = nop_program();
    program.rings[0].flags = 1 << 30;
    check(&program, "ring flags");
    let mut program = nop_program();
    program
        .steps
        .push(Step::Drain { socket: uringspec_model::program::SocketId(9), amount: Amount::Everything });
    check(&program, "step 2: socket 9 of 1");
    // And the worker goes on.
    assert!(run_on(&mut worker, &nop_program()).is_some());
}

fn a_pool_serves_many_threads() {
    if run(&nop_program()).is_none() {
        return;
    }
    let pool = Pool::new(options());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20 {
                    assert_eq!(pool.run(&nop_program()).map(|trace| trace.end), Ok(Ending::Complete));
                }
            });
        }
    });
    // Workers outlive the threads that used them first.
    for _ in 0..4 {
        assert_eq!(pool.run(&nop_program()).map(|trace| trace.end), Ok(Ending::Complete));
    }
}

fn a_worker_ends_with_its_input() {
    use std::process::{Command, Stdio};
    let exe = std::env::current_exe().expect("a running test has a path");
    let mut child =
        Command::new(exe).arg("worker").stdin(Stdio::null()).spawn().expect("the test can be started again");
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            return assert!(status.success());
        }
        assert!(Instant::now() < deadline, "the worker is still there");
        std::thread::sleep(Duration::from_millis(2));
    }
}
