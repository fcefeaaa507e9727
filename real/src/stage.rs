//! One program after another: everything is made fresh, and nothing is left behind.

use std::collections::BTreeSet;
use std::io;
use std::time::{Duration, Instant};

use uringspec_model::program::{Limits, Program, RingSetup, Step};
use uringspec_model::trace::Seen;

use crate::admit::{Ground, admit};
use crate::limits::Credentials;
use crate::peer::Reader;
use crate::raw_ring::RawRing;
use crate::ring::Ring;
use crate::skip::Skip;
use crate::sockets::Listeners;
use crate::steps::Scene;
use crate::sys;
use crate::window::Window;

/// How long a ring is tried again while memory of closed rings comes back.
const RING_MEMORY_PATIENCE: Duration = Duration::from_secs(1);

/// Where observations go, in order.
pub(crate) trait Observer {
    /// Something was seen.
    fn see(&mut self, seen: Seen);
    /// A step is about to be taken; what was seen before it is safe with whoever asked.
    fn step(&mut self, index: u32) -> io::Result<()>;
}

/// What a worker keeps from program to program.
pub(crate) struct Stage {
    window: Window,
    listeners: Listeners,
    reader: Reader,
    credentials: Credentials,
    ground: Ground,
    step_patience: Duration,
}

/// Why a program did not come to its end.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// It cannot be run here.
    Skip(Skip),
    /// Nobody listens any more.
    Deaf,
}

impl From<Skip> for Stopped {
    fn from(skip: Skip) -> Stopped {
        Stopped::Skip(skip)
    }
}

impl Stage {
    /// Reserves the window.
    pub(crate) fn new(
        credentials: Credentials,
        ground: Ground,
        step_patience: Duration,
    ) -> Result<Stage, Skip> {
        let window = Window::reserve()?;
        let listeners = Listeners::new(ground.network);
        let reader = Reader::new().map_err(Skip::setup("making datagram sockets"))?;
        Ok(Stage { window, listeners, reader, credentials, ground, step_patience })
    }

    /// Runs a program.
    pub(crate) fn run(&mut self, program: &Program, observer: &mut impl Observer) -> Result<(), Stopped> {
        admit(program, self.ground)?;
        let mut scene = Scene::new(program, self.step_patience, &mut self.window, &mut self.reader, observer);
        let result = scene.make(&mut self.listeners, &mut self.credentials).map_err(Stopped::from);
        let result = result.and_then(|()| scene.play());
        let starved = scene.starved();
        let ended = scene.end().map_err(Skip::setup("unmapping the regions"));
        self.credentials.restore(&program.limits);
        result?;
        ended?;
        if starved && program.limits == Limits::default() && !self.credentials.privileged {
            return Err(Skip::Missing(
                "lockable memory: something failed with ENOMEM; raise RLIMIT_MEMLOCK (ulimit -l), run fewer \
                 workers at a time, or be root"
                    .into(),
            )
            .into());
        }
        Ok(())
    }
}

/// Makes the rings; the highest user data that are free are those of their fences.
pub(crate) fn make_rings(setups: &[RingSetup], taken: &BTreeSet<u64>) -> Result<Vec<Ring>, Skip> {
    let mut free = (0..=u64::MAX).rev().filter(|user_data| !taken.contains(user_data));
    let mut rings = Vec::with_capacity(setups.len());
    let deadline = Instant::now() + RING_MEMORY_PATIENCE;
    for setup in setups {
        let fence = free.next().expect("a program has fewer entries than there are numbers");
        let ring = once_there_is_memory(deadline, || Ring::new(setup, fence));
        rings.push(ring.map_err(|error| Skip::of_ring_setup(&error))?);
    }
    Ok(rings)
}

/// Makes a ring and closes it: zero, or a negated errno.
pub(crate) fn make_and_close(asked: &RingSetup) -> i64 {
    let deadline = Instant::now() + RING_MEMORY_PATIENCE;
    match once_there_is_memory(deadline, || RawRing::attempt(asked)) {
        Ok(()) => 0,
        Err(error) => -i64::from(error.raw_os_error().unwrap_or(libc::EIO)),
    }
}

/// Tries again after `ENOMEM`: rings of earlier programs give their memory back only after they are closed.
fn once_there_is_memory<T>(deadline: Instant, mut make: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match make() {
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) && !sys::left(deadline).is_zero() => {
                std::thread::sleep(Duration::from_millis(1));
            }
            result => return result,
        }
    }
}

/// User data of the program that are as high as those of fences.
pub(crate) fn high_user_data(program: &Program) -> BTreeSet<u64> {
    let entries = program.steps.iter().flat_map(Step::entries);
    entries
        .flat_map(|sqe| [sqe.user_data, sqe.addr3])
        .filter(|user_data| *user_data >> 32 == u64::MAX >> 32)
        .collect()
}
