//! The model as the kernel of a sender: it posts what some kernel may post, and makes trouble on demand.
//!
//! Peers read when nothing else can happen, or when they are told to. What was done is written down as a
//! program and a trace (`Outside::record`), to be judged like a run of a real kernel; memory is read when
//! the model says that the kernel reads it, so lent memory that changes meanwhile is found.
//!
//! Another runtime can be tested on `uringspec_model::live` in the same way: hand its entries over as
//! `Step::Submit`, hand it the completions that `Step::Reap` shows, and let `choose` take the way that it should
//! be able to stand.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;

use uringspec_model::abi::{errno, msg};
use uringspec_model::choices::{Choices, Seeded};
use uringspec_model::cqe::{Completion, Cqe, Res, Usage};
use uringspec_model::live::{Live, Way};
use uringspec_model::profile::Profile;
use uringspec_model::program::{
    Amount, End, Limits, Program, Register, RingId, RingSetup, SocketId, SocketKind, SocketSetup, Step,
    Until, fd_of,
};
use uringspec_model::sqe::Sqe;
use uringspec_model::trace::{RoomReport, Run, Trace, What};
use uringspec_model::world::Decision;

use super::kernel::{Kernel, SocketTraits, UDP4_BYTES_MAX, UDP6_BYTES_MAX};
use super::translation::{HEADERS, Range, Translation, regions, registered};

/// What a simulated kernel has.
#[derive(Clone, Debug)]
pub struct Simulation {
    /// What it can do.
    pub profile: Profile,
    /// The sockets, with their lanes.
    pub sockets: Vec<SocketSetup>,
    /// Room on some of them, other than their lanes' usual.
    pub rooms: Vec<RoomReport>,
    /// Under which limits it is used.
    pub limits: Limits,
    /// Entries of the queue of submissions.
    pub entries: u32,
    /// Entries of the queue of completions, if not twice as many.
    pub cq_entries: Option<u32>,
    /// What decides where nothing else does.
    pub seed: u64,
}

/// Trouble that it makes whenever it may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trouble {
    /// `MSG_WAITALL` is ignored, as by old kernels, and sends are as short as they can be.
    pub short: bool,
    /// Notifications say `COPIED`.
    pub copied: bool,
    /// Completions come one by one.
    pub slow: bool,
}

/// The model as a kernel, to be given to a sender.
///
/// Addresses of datagrams are left out: what is sent goes to the peer of its socket.
///
/// ```
/// use uringspec_model::profile::Profile;
/// use uringspec_model::program::{Amount, Lane, Limits, SocketId, SocketKind, SocketSetup, SocketState};
/// use uringspec_real::mixed::{
///     Arena, ArenaSize, Policy, Sender, Simulated, SimulatedSocket, Simulation, Trouble,
/// };
///
/// let (kind, lane, state) = (SocketKind::Tcp4, Lane::Loopback, SocketState::Connected);
/// let socket = SocketSetup { kind, lane, state, sndbuf_bytes: None, rcvbuf_bytes: None };
/// let (kernel, outside) = Simulated::new(Simulation {
///     profile: Profile::v6_18(),
///     sockets: vec![socket],
///     rooms: Vec::new(),
///     limits: Limits::default(),
///     entries: 8,
///     cq_entries: Some(2),
///     seed: 1,
/// });
/// outside.trouble(Trouble { short: true, ..Trouble::default() });
///
/// let mut sender = Sender::new(kernel, Arena::map(ArenaSize::default())?, Policy::default())?;
/// let peer = sender.add(SimulatedSocket(SocketId(0)))?;
/// sender.send(peer, b"header", vec![7; 9000]).expect("nothing is queued yet");
/// while sender.owed() > 0 || sender.has_work() {
///     sender.turn(1)?;
/// }
/// outside.read(SimulatedSocket(SocketId(0)), Amount::Everything);
/// let received = outside.received(SimulatedSocket(SocketId(0))).concat();
/// assert_eq!(received, [b"header".to_vec(), vec![7; 9000]].concat());
/// # std::io::Result::Ok(())
/// ```
pub struct Simulated {
    inner: Rc<RefCell<Inner>>,
    profile: Profile,
}

/// The same kernel from outside: its peers, its trouble, and its record.
#[derive(Clone)]
pub struct Outside(Rc<RefCell<Inner>>);

/// A socket of a simulated kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SimulatedSocket(pub SocketId);

struct Inner {
    live: Live,
    entries: usize,
    choices: Seeded,
    trouble: Trouble,
    translation: Translation,
    pushed: Vec<Sqe>,
    completions: VecDeque<Cqe>,
    received: Vec<Vec<Vec<u8>>>,
    is_gone: bool,
    /// Why the model has nothing to say.
    silent: Option<String>,
}

const RING: RingId = RingId(0);

impl Simulated {
    /// A kernel with nothing under way, and its outside.
    pub fn new(simulation: Simulation) -> (Simulated, Outside) {
        let Simulation { profile, sockets, rooms, limits, entries, cq_entries, seed } = simulation;
        let ring = RingSetup { entries, cq_entries, ..RingSetup::default() };
        let received = vec![Vec::new(); sockets.len()];
        let setup = Program { limits, rings: vec![ring], sockets, regions: regions(), steps: Vec::new() };
        let mut live = Live::new(setup, profile.clone());
        rooms.into_iter().for_each(|report| live.room(report));
        let inner = Rc::new(RefCell::new(Inner {
            live,
            entries: entries as usize,
            choices: Seeded::new(seed),
            trouble: Trouble::default(),
            translation: Translation::default(),
            pushed: Vec::new(),
            completions: VecDeque::new(),
            received,
            is_gone: false,
            silent: None,
        }));
        (Simulated { inner: Rc::clone(&inner), profile }, Outside(inner))
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        // who looks from outside must not look at memory any more
        self.inner.borrow_mut().translation.end();
    }
}

impl Outside {
    /// Makes trouble from now on, or no more.
    pub fn trouble(&self, trouble: Trouble) {
        self.0.borrow_mut().trouble = trouble;
    }

    /// The ring is gone: every call fails.
    pub fn lose_ring(&self) {
        self.0.borrow_mut().is_gone = true;
    }

    /// The peer of a socket reads: so many bytes at most, or everything.
    pub fn read(&self, socket: SimulatedSocket, amount: Amount) {
        self.0.borrow_mut().step(Step::Drain { socket: socket.0, amount });
    }

    /// The peer of a socket ends the connection with a reset.
    pub fn reset_peer(&self, socket: SimulatedSocket) {
        self.0.borrow_mut().step(Step::ResetPeer { socket: socket.0 });
    }

    /// The socket's descriptor is closed under whoever sends on it.
    pub fn close_under(&self, socket: SimulatedSocket) {
        self.0.borrow_mut().step(Step::CloseOwn { socket: socket.0 });
    }

    /// What the peer of a socket has read: the bytes of a stream, or of each datagram.
    pub fn received(&self, socket: SimulatedSocket) -> Vec<Vec<u8>> {
        self.0.borrow().received[usize::from(socket.0.0)].clone()
    }

    /// Lent memory that was changed before the kernel let go of it: a mistake of whoever lent it.
    pub fn changed(&self) -> Vec<String> {
        self.0.borrow().translation.changed.clone()
    }

    /// What was done and seen, and why the record ends early, if it does.
    pub fn record(&self) -> (Program, Trace, Option<String>) {
        let inner = self.0.borrow();
        (inner.live.program().clone(), inner.live.trace().clone(), inner.silent.clone())
    }
}

impl Inner {
    /// Takes a step; what is seen of it goes to where it belongs.
    fn step(&mut self, step: Step) {
        let Inner { live, choices, trouble, .. } = self;
        let result = live.step(step, |ways| choose(ways, *trouble, choices)).map(<[_]>::to_vec);
        match result {
            Ok(seen) => seen.into_iter().for_each(|seen| self.see(&seen.what)),
            Err(silent) => _ = self.silent.get_or_insert(silent.why),
        }
    }

    fn see(&mut self, what: &What) {
        match what {
            What::Cqe(seen) => {
                let is_last = !matches!(seen.cqe.completion(), Some(Completion::Result { more: true, .. }));
                if is_last {
                    self.translation.over(seen.cqe.user_data);
                }
                self.completions.push_back(seen.cqe);
            }
            What::Received(received) => {
                let bytes: Vec<u8> = received.runs.iter().flat_map(|run| self.bytes_of(run)).collect();
                self.received[usize::from(received.socket.0)].push(bytes);
            }
            _ => {}
        }
    }

    fn bytes_of(&self, run: &Run) -> Vec<u8> {
        match run {
            Run::Bytes(bytes) => bytes.0.clone(),
            // a run may go over several areas
            Run::Stamped { region, offset, len_bytes, .. } => {
                let (mut all, mut at, end) = (Vec::new(), *offset, offset + len_bytes);
                while at < end {
                    let part =
                        self.translation.bytes(Range { region: *region, offset: at, len_bytes: end - at });
                    if part.is_empty() {
                        break;
                    }
                    at += part.len() as u64;
                    all.extend(part);
                }
                all
            }
        }
    }

    /// Submits what was pushed, one entry a call: what a failed preparation leaves on the queue a program cannot
    /// hand over without another entry behind it.
    fn submit(&mut self) {
        for sqe in std::mem::take(&mut self.pushed) {
            self.step(Step::Submit { ring: RING, sqes: vec![sqe] });
        }
    }

    fn reap(&mut self, until: Until) {
        self.step(Step::Reap { ring: RING, until });
    }

    /// Lets everything happen that can, until so many completions are there.
    fn wait(&mut self, wanted: usize) -> io::Result<()> {
        for _ in 0..ROUNDS_MAX {
            if self.completions.len() >= wanted || self.silent.is_some() {
                return Ok(());
            }
            let socket = SocketId(self.choices.pick(self.received.len()) as u16);
            self.step(Step::Drain { socket, amount: Amount::Everything });
            self.reap(Until::Now);
        }
        Err(io::Error::from_raw_os_error(libc::EDEADLK))
    }
}

/// How often peers read before nothing more is expected of them.
const ROUNDS_MAX: usize = 1000;

/// Which of the ways to go: mostly one that is as much trouble as it should be.
fn choose(ways: &[Way], trouble: Trouble, choices: &mut Seeded) -> usize {
    let taken = ways.iter().enumerate().filter_map(|(index, way)| match way {
        Way::Take(Decision::Complete { res: Res::Bytes(n), .. }) if *n > 0 => Some((*n, index)),
        _ => None,
    });
    if let Some((_, shortest)) = taken.min()
        && trouble.short
        && choices.pick(2) == 0
    {
        return shortest;
    }
    let is_wanted = |way: &Way| match way {
        Way::Take(Decision::Notify { usage, .. }) => (*usage == Usage::Copied) == trouble.copied,
        Way::Take(_) => true,
        Way::End => trouble.slow,
        Way::GiveUp => false,
    };
    let wanted: Vec<usize> = (0..ways.len()).filter(|index| is_wanted(&ways[*index])).collect();
    if wanted.is_empty() || choices.pick(4) == 0 {
        choices.pick(ways.len())
    } else {
        wanted[choices.pick(wanted.len())]
    }
}

// SAFETY: completions are the model's: each request posts its result once, and its notification when no
// queue refers to its bytes. Memory is not read after a request's last completion.
unsafe impl Kernel for Simulated {
    type Socket = SimulatedSocket;

    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn descriptor(&self, socket: &SimulatedSocket) -> i32 {
        fd_of(socket.0, End::Near)
    }

    fn traits(&self, socket: &SimulatedSocket) -> io::Result<SocketTraits> {
        let inner = self.inner.borrow();
        let setup = inner.live.program().sockets.get(usize::from(socket.0.0));
        let kind = setup.ok_or_else(|| io::Error::from_raw_os_error(libc::EBADF))?.kind;
        Ok(SocketTraits {
            keeps_messages: matches!(kind, SocketKind::Udp4 | SocketKind::Udp6),
            zero_copy: !matches!(kind, SocketKind::UnixStream),
            // the model knows no control messages
            segments: false,
            bytes_max: match kind {
                SocketKind::Udp4 => UDP4_BYTES_MAX,
                SocketKind::Udp6 => UDP6_BYTES_MAX,
                _ => u64::MAX,
            },
        })
    }

    fn reset(&mut self, socket: &SimulatedSocket) -> io::Result<()> {
        self.inner.borrow_mut().step(Step::ResetPeer { socket: socket.0 });
        Ok(())
    }

    unsafe fn register(&mut self, _base: *const u8, _len_bytes: usize) -> io::Result<u16> {
        let mut inner = self.inner.borrow_mut();
        let what = Register::Buffers(vec![registered()]);
        inner.step(Step::Register { ring: RING, what });
        match inner.live.trace().seen.last().map(|seen| &seen.what) {
            Some(What::Returned(0)) => Ok(0),
            Some(What::Returned(refused)) => Err(io::Error::from_raw_os_error(-*refused as i32)),
            _ => Err(io::Error::from_raw_os_error(libc::EIO)),
        }
    }

    unsafe fn push(&mut self, sqe: &Sqe) -> bool {
        let mut inner = self.inner.borrow_mut();
        let inner = &mut *inner;
        if inner.pushed.len() >= inner.entries {
            return false;
        }
        let live = &mut inner.live;
        let append = |bytes: &[u8]| live.append(HEADERS, bytes).expect("the region of headers holds bytes");
        // SAFETY: the caller keeps what the entry names as it is until its last completion was handed out,
        // and `over` is called when that is seen.
        let mut sqe = unsafe { inner.translation.entry(sqe, append) };
        if inner.trouble.short {
            sqe.op_flags &= !msg::WAITALL;
        }
        inner.pushed.push(sqe);
        true
    }

    fn enter(&mut self, wanted: u32) -> io::Result<()> {
        let mut inner = self.inner.borrow_mut();
        if inner.is_gone {
            return Err(io::Error::from_raw_os_error(errno::EBADF.into()));
        }
        inner.submit();
        inner.reap(Until::Now);
        let result = inner.wait(wanted as usize);
        match &inner.silent {
            Some(why) => Err(io::Error::other(why.clone())),
            None => result,
        }
    }

    fn next(&mut self) -> Option<Cqe> {
        self.inner.borrow_mut().completions.pop_front()
    }
}
