//! The parent's side: workers are started, given programs, watched, and replaced.

use std::fmt;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use uringspec_model::program::Program;
use uringspec_model::trace::{Ending, Line, Seen, Trace, Versioned};

use crate::skip::Skip;
use crate::spawner;
use crate::sys::{self, check};
use crate::worker::{STEP_NAME, STEP_PATIENCE_MS, STEP_PATIENCE_VARIABLE};

/// How a worker process is started; what is started must call `worker::serve`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerCommand {
    /// The executable.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
}

/// How programs are run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How workers are started.
    pub worker: WorkerCommand,
    /// How long a worker may say nothing before the step it is in counts as hung. It should be more than
    /// `step_patience_ms`, after which a worker says something by itself.
    pub patience_ms: u64,
    /// How long one step may wait for what it waits for.
    pub step_patience_ms: u64,
}

/// Why there is no trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunError {
    /// The program cannot be run here.
    Skip(Skip),
    /// The worker ended in the middle of it.
    Died {
        /// The signal that ended it, if one did.
        signal: Option<i32>,
        /// The step it was in.
        step: u32,
        /// What had been seen.
        seen: Vec<Seen>,
    },
    /// There is no worker to talk to.
    NoWorker(String),
}

/// A worker process, which is replaced when it is lost.
#[derive(Debug)]
pub struct Worker {
    options: Options,
    running: Option<Running>,
}

/// Workers for as many threads as there are.
#[derive(Debug)]
pub struct Pool {
    options: Options,
    idle: Mutex<Vec<Worker>>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
    /// Bytes that were read and belong to no finished line yet.
    pending: Vec<u8>,
    /// Where in `pending` nothing was searched yet.
    searched: usize,
}

/// Why no line came.
enum Silence {
    /// Patience ran out.
    Hung,
    /// The worker closed its end.
    Ended,
    /// It wrote what is no line.
    Nonsense(String),
}

/// Runs one program in a worker of its own.
pub fn run(program: &Program, options: &Options) -> Result<Trace, RunError> {
    Worker::new(options.clone()).run(program)
}

impl WorkerCommand {
    /// The executable that is running, with these arguments.
    pub fn current_exe(args: &[&str]) -> io::Result<WorkerCommand> {
        let args = args.iter().map(ToString::to_string).collect();
        Ok(WorkerCommand { program: std::env::current_exe()?, args })
    }
}

impl Options {
    /// The usual patience.
    pub fn new(worker: WorkerCommand) -> Options {
        Options { worker, patience_ms: 5000, step_patience_ms: STEP_PATIENCE_MS }
    }
}

impl Worker {
    /// A worker that is started with its first program.
    pub fn new(options: Options) -> Worker {
        Worker { options, running: None }
    }

    /// Starts a worker with the usual patience.
    pub fn spawn(command: &WorkerCommand) -> Result<Worker, RunError> {
        let options = Options::new(command.clone());
        let running = Some(Running::start(&options)?);
        Ok(Worker { options, running })
    }

    /// The process id, while there is a process.
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.child.id())
    }

    /// Runs one program. A worker that is lost over it is replaced with the next.
    pub fn run(&mut self, program: &Program) -> Result<Trace, RunError> {
        let mut running = match self.running.take() {
            Some(running) => running,
            None => Running::start(&self.options)?,
        };
        let patience = Duration::from_millis(self.options.patience_ms);
        let mut line = serde_json::to_vec(&Versioned::now(Line::Program(program.clone())))
            .expect("a program has string keys only, and memory takes any bytes");
        line.push(b'\n');
        let mut seen = Vec::new();
        let outcome = running.write(&line, patience).and_then(|()| running.listen(&mut seen, patience));
        match outcome {
            Ok(Line::Skip(reason)) => {
                self.running = Some(running);
                Err(RunError::Skip(Skip::Told(reason)))
            }
            Ok(Line::End(end)) => {
                self.running = Some(running);
                Ok(Trace { seen, end })
            }
            Ok(_) => Err(RunError::NoWorker("the worker answered with what is no answer".into())),
            Err(Silence::Hung) => {
                let step = running.step(&seen);
                drop(running);
                Ok(Trace { seen, end: Ending::Hung { step } })
            }
            Err(Silence::Ended) => {
                let step = running.step(&seen);
                let signal = running.reap().and_then(|status| status.signal());
                Err(RunError::Died { signal, step, seen })
            }
            Err(Silence::Nonsense(what)) => Err(RunError::NoWorker(what)),
        }
    }
}

impl Pool {
    /// A pool without workers; they are started as they are needed.
    pub fn new(options: Options) -> Pool {
        Pool { options, idle: Mutex::new(Vec::new()) }
    }

    /// Runs one program on an idle worker, or on a new one if all are busy. Call it from as many threads
    /// as workers are wanted.
    pub fn run(&self, program: &Program) -> Result<Trace, RunError> {
        // A thread that panicked while it held the list cannot have left it half changed.
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = idle().pop();
        let mut worker = taken.unwrap_or_else(|| Worker::new(self.options.clone()));
        let result = worker.run(program);
        idle().push(worker);
        result
    }
}

impl Running {
    fn start(options: &Options) -> Result<Running, RunError> {
        let no_worker = |doing: &str, error: &io::Error| {
            let path = options.worker.program.display();
            RunError::NoWorker(format!("{doing} the worker {path}: {error}"))
        };
        let mut command = Command::new(&options.worker.program);
        command
            .args(&options.worker.args)
            .env(STEP_PATIENCE_VARIABLE, options.step_patience_ms.to_string())
            // An interruption at the terminal is for the parent, which ends its workers as it likes.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = spawner::spawn(command).map_err(|error| no_worker("starting", &error))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            unreachable!("both were asked to be pipes");
        };
        let running = Running { child, input, output, pending: Vec::new(), searched: 0 };
        for fd in [running.input.as_fd(), running.output.as_fd()] {
            set_nonblocking(fd).map_err(|error| no_worker("talking to", &error))?;
        }
        Ok(running)
    }

    fn write(&mut self, mut bytes: &[u8], patience: Duration) -> Result<(), Silence> {
        while !bytes.is_empty() {
            match self.input.write(bytes) {
                Ok(n) => bytes = &bytes[n..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !sys::wait(self.input.as_fd(), libc::POLLOUT, patience) {
                        return Err(Silence::Hung);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(Silence::Ended),
            }
        }
        Ok(())
    }

    /// Collects what is seen, up to the line that ends the run.
    fn listen(&mut self, seen: &mut Vec<Seen>, patience: Duration) -> Result<Line, Silence> {
        loop {
            match self.line(patience)? {
                Line::Seen(one) => seen.push(one),
                last => return Ok(last),
            }
        }
    }

    fn line(&mut self, patience: Duration) -> Result<Line, Silence> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(end) = self.pending[self.searched..].iter().position(|b| *b == b'\n') {
                let start = self.searched;
                self.searched += end + 1;
                let line = &self.pending[start..start + end];
                return serde_json::from_slice::<Versioned>(line)
                    .map(|versioned| versioned.line)
                    .map_err(|error| Silence::Nonsense(format!("the worker wrote no line: {error}")));
            }
            self.pending.drain(..self.searched);
            self.searched = 0;
            self.fill(deadline)?;
        }
    }

    /// Reads more.
    fn fill(&mut self, deadline: Instant) -> Result<(), Silence> {
        let mut chunk = [0; 64 << 10];
        loop {
            match self.output.read(&mut chunk) {
                Ok(0) => return Err(Silence::Ended),
                Ok(n) => {
                    self.pending.extend_from_slice(&chunk[..n]);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let left = sys::left(deadline);
                    if left.is_zero() {
                        return Err(Silence::Hung);
                    }
                    sys::wait(self.output.as_fd(), libc::POLLIN, left);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(Silence::Ended),
            }
        }
    }

    /// The step that the worker is in, by its name; otherwise the last in which something was seen.
    fn step(&self, seen: &[Seen]) -> u32 {
        let name = std::fs::read_to_string(format!("/proc/{}/comm", self.child.id())).unwrap_or_default();
        let named = name.trim_end().strip_prefix(STEP_NAME).and_then(|number| number.parse().ok());
        named.unwrap_or_else(|| seen.last().map_or(0, |one| one.step))
    }

    /// Ends the process and waits for its end, which a process in the kernel may put off.
    fn reap(&mut self) -> Option<std::process::ExitStatus> {
        let deadline = Instant::now() + Duration::from_secs(2);
        // Its pipe is closed or about to be, so it ends by itself; give it the time to say how.
        let mut killed = false;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if !killed && sys::left(deadline) < Duration::from_millis(1900) => {
                    let _ = self.child.kill();
                    killed = true;
                }
                Ok(None) if sys::left(deadline).is_zero() => return None,
                Ok(None) => std::thread::sleep(Duration::from_micros(200)),
                Err(_) => return None,
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A worker keeps nothing that would have to be saved.
        let _ = self.child.kill();
        self.reap();
    }
}

fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the calls take no pointers; the flags of our end of a pipe are ours.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) })?;
    Ok(())
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Skip(skip) => skip.fmt(f),
            RunError::Died { signal: Some(signal), step, .. } => {
                write!(f, "the worker was ended by signal {signal} in step {step}")
            }
            RunError::Died { signal: None, step, .. } => write!(f, "the worker ended in step {step}"),
            RunError::NoWorker(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for RunError {}
