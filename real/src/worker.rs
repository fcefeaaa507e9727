//! The body of a worker process: programs come in as lines, observations go out as lines.
//!
//! Before each step everything that was seen is written, so that a step that never returns leaves the
//! rest of the trace with the parent. Which step it is stands in the thread's name.

use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::time::Duration;

use uringspec_model::program::{FD_BASE, FORMAT_VERSION};
use uringspec_model::trace::{Ending, Line, Seen, Versioned};

use crate::admit::Ground;
use crate::limits::{Credentials, die_with_parent};
use crate::skip::Skip;
use crate::stage::{Observer, Stage, Stopped};
use crate::{namespace, probe, raw_ring, sys};

/// The environment variable with the patience of a step, in milliseconds.
pub(crate) const STEP_PATIENCE_VARIABLE: &str = "URINGSPEC_STEP_PATIENCE_MS";
/// The patience of a step where nothing else is said, in milliseconds.
pub(crate) const STEP_PATIENCE_MS: u64 = 2000;
/// What a thread's name begins with while a step is taken.
pub(crate) const STEP_NAME: &str = "step ";
/// Seen lines are written at the latest when so many bytes have come together.
const BUFFER_BYTES: usize = 64 << 10;

/// Serves programs until the input ends. Call it from a process that has done nothing else and has one
/// thread; it changes limits, namespaces and memory of that process.
pub fn serve() -> ExitCode {
    die_with_parent();
    let mut stage = prepare();
    let mut input = io::stdin().lock();
    let mut output = Output { bytes: Vec::with_capacity(2 * BUFFER_BYTES), broken: false };
    let mut line = Vec::new();
    loop {
        line.clear();
        match input.read_until(b'\n', &mut line) {
            Ok(0) => return ExitCode::SUCCESS,
            Ok(_) => {}
            Err(_) => return ExitCode::FAILURE,
        }
        let last = match answer(&line, &mut stage, &mut output) {
            Ok(()) => Line::End(Ending::Complete),
            Err(Stopped::Skip(skip)) => Line::Skip(skip.to_string()),
            Err(Stopped::Deaf) => return ExitCode::FAILURE,
        };
        output.line(last);
        if output.flush().is_err() {
            return ExitCode::FAILURE;
        }
    }
}

fn answer(line: &[u8], stage: &mut Result<Stage, Skip>, output: &mut Output) -> Result<(), Stopped> {
    let told = |text: String| Stopped::Skip(Skip::Told(text));
    let read: Versioned = serde_json::from_slice(line)
        .map_err(|error| told(format!("a line with a program is expected: {error}")))?;
    if read.v != FORMAT_VERSION {
        return Err(told(format!("format version {FORMAT_VERSION} is expected, not {}", read.v)));
    }
    let Line::Program(program) = read.line else {
        return Err(told("a line with a program is expected".into()));
    };
    match stage {
        Ok(stage) => stage.run(&program, output),
        Err(skip) => Err(Stopped::Skip(skip.clone())),
    }
}

/// Makes this process what a worker is. What fails is told to whoever asks for a run.
fn prepare() -> Result<Stage, Skip> {
    // SAFETY: nothing in a process that has done nothing else owns a descriptor in that range; whatever
    // is open there was inherited, and programs expect those numbers to be free.
    unsafe { libc::syscall(libc::SYS_close_range, FD_BASE, u32::MAX, 0) };
    // SAFETY: the call takes no pointers. Huge pages would make fragments of a send a matter of luck.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
    raise_descriptor_limit();
    raw_ring::ask_for_threads();
    let credentials = Credentials::read();
    let network = namespace::enter()?;
    die_with_parent();
    let ground = Ground { opcodes: probe::opcodes()?, network };
    let patience = std::env::var(STEP_PATIENCE_VARIABLE).ok().and_then(|text| text.parse().ok());
    Stage::new(credentials, ground, Duration::from_millis(patience.unwrap_or(STEP_PATIENCE_MS)))
}

/// Descriptors of programs begin at `FD_BASE`, and the usual soft limit is not far above it.
fn raise_descriptor_limit() {
    const WANTED: u64 = 4096;
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` has room for the one structure that the call writes.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } == 0;
    if known && limit.rlim_cur < WANTED {
        limit.rlim_cur = WANTED.min(limit.rlim_max);
        // SAFETY: `limit` is one valid structure, which the call reads.
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    }
}

/// Lines on their way to the parent.
struct Output {
    bytes: Vec<u8>,
    broken: bool,
}

impl Output {
    fn line(&mut self, line: Line) {
        serde_json::to_writer(&mut self.bytes, &Versioned::now(line))
            .expect("a line has string keys only, and memory takes any bytes");
        self.bytes.push(b'\n');
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if !self.bytes.is_empty() {
            let mut stdout = io::stdout().lock();
            let written = stdout.write_all(&self.bytes).and_then(|()| stdout.flush());
            self.bytes.clear();
            self.broken = written.is_err();
            written?;
        }
        Ok(())
    }
}

impl Observer for Output {
    fn see(&mut self, seen: Seen) {
        self.line(Line::Seen(seen));
        if self.bytes.len() >= BUFFER_BYTES {
            // The next step reports a broken pipe.
            let _ = self.flush();
        }
    }

    fn step(&mut self, index: u32) -> io::Result<()> {
        self.flush()?;
        let mut name = [0u8; 16];
        // The prefix and ten digits are fifteen bytes, which leaves the zero at the end alone.
        let _ = write!(&mut name[..15], "{STEP_NAME}{index}");
        if let Ok(name) = std::ffi::CStr::from_bytes_until_nul(&name) {
            sys::set_thread_name(name);
        }
        Ok(())
    }
}
