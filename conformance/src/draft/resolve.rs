//! The steps of a draft, and what has to be known on the way so that nothing waits in vain.
//!
//! It errs on the side of patience: where a wait might not end by itself, nothing is waited for, and the
//! last step, which lets everything go on, ends what is left.

use uringspec_model::abi::{setup, sqe_flag};
use uringspec_model::memory::RegionId;
use uringspec_model::program::{
    Amount, Iovec, Lane, Program, Register, RingId, RingSetup, SocketId, SocketKind, SocketSetup,
    SocketState, Step, Until, Want,
};

use uringspec_model::sqe::Sqe;

use super::entry::{Surroundings, entry};
use super::memory::{DATA_REGIONS, Memory};
use super::{Draft, Features, StepDraft};

/// Entries of submission queues.
const SQ_ENTRIES: &[u32] = &[8, 16, 64, 8, 16, 32];
/// Fewer, where completions are to overflow: as many as one batch has.
const SQ_ENTRIES_FEW: u32 = 8;
/// More bytes than this may not leave a socket over loopback by themselves.
const LEAVES_BYTES: u64 = 24 << 10;
/// What a request counts for beside its bytes; as the lanes count.
const REQUEST_BYTES: u64 = 8192;

/// Kinds of steps by the number in a draft; about half of them submit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Submit,
    Reap,
    ReapSeen,
    ReapNow,
    Fence,
    Drain,
    DrainSome,
    Settle,
    Rewrite,
    Reset,
    Close,
    Shutdown,
    Register,
    Unregister,
}

fn kind(number: u8) -> Kind {
    match number % 28 {
        0..=11 => Kind::Submit,
        12 => Kind::Reap,
        13 => Kind::ReapSeen,
        14 | 15 => Kind::ReapNow,
        16 => Kind::Fence,
        17 => Kind::Drain,
        18 | 19 => Kind::DrainSome,
        20 => Kind::Settle,
        21 | 22 => Kind::Rewrite,
        23 => Kind::Reset,
        24 => Kind::Close,
        25 => Kind::Shutdown,
        26 => Kind::Register,
        _ => Kind::Unregister,
    }
}

/// Whether a step of this number has entries.
pub(super) fn submits(number: u8) -> bool {
    kind(number) == Kind::Submit
}

#[derive(Default)]
struct RingState {
    /// Entries that may still be on the queue.
    left: usize,
    entries: usize,
    /// The last request, if it surely was consumed.
    last: Option<u64>,
    table: Vec<Iovec>,
    has_table: bool,
    /// Requests of other threads may look at the tables at any time.
    asynchronous: bool,
}

#[derive(Default)]
struct Wire {
    /// Bytes that were sent since the peer last read all.
    waiting: u64,
    /// Bytes that are surely there for the peer to read.
    readable: u64,
    gated: bool,
    reset: bool,
    closed: bool,
}

struct Resolver {
    features: Features,
    memory: Memory,
    rings: Vec<RingState>,
    sockets: Vec<Wire>,
    steps: Vec<Step>,
    next_user_data: u64,
}

/// The program of a draft.
pub(super) fn resolve(draft: &Draft, features: Features) -> Program {
    let rings = ring_setups(draft, features);
    let sockets = socket_setups(draft, features);
    let mut resolver = Resolver {
        features,
        memory: Memory::new(draft.regions, features),
        rings: rings.iter().map(RingState::of).collect(),
        sockets: sockets.iter().map(Wire::of).collect(),
        steps: Vec::new(),
        next_user_data: 1,
    };
    if features.contains(Features::FIXED) {
        for ring in 0..rings.len() {
            resolver.register(ring, draft.table);
        }
    }
    for step in &draft.steps {
        resolver.step(step);
    }
    resolver.end();
    let Resolver { memory, steps, .. } = resolver;
    Program { rings, sockets, regions: memory.finish(), steps, ..Program::default() }
}

fn ring_setups(draft: &Draft, features: Features) -> Vec<RingSetup> {
    let overflows = features.contains(Features::OVERFLOW) && draft.entries & 0xc0 == 0xc0;
    let entries = match overflows {
        true => SQ_ENTRIES_FEW,
        false => SQ_ENTRIES[usize::from(draft.entries) % SQ_ENTRIES.len()],
    };
    let count = if features.contains(Features::RINGS) { 1 + draft.rings % 2 } else { 1 };
    (0..count)
        .map(|index| {
            let defers = features.contains(Features::DEFER) && draft.rings >> (2 + index) & 1 != 0;
            RingSetup {
                entries,
                cq_entries: overflows.then_some(SQ_ENTRIES_FEW),
                flags: if defers { setup::SINGLE_ISSUER | setup::DEFER_TASKRUN } else { 0 },
            }
        })
        .collect()
}

fn socket_setups(draft: &Draft, features: Features) -> Vec<SocketSetup> {
    let count = if features.contains(Features::SOCKETS) { 1 + draft.sockets % 2 } else { 1 };
    (0..count)
        .map(|index| {
            let byte = draft.sockets >> (1 + 3 * index);
            let lane = match byte % 8 {
                1..=3 if features.contains(Features::GATE) => Lane::Gate,
                4 | 5 if features.contains(Features::GATE_FULL) => Lane::GateFull,
                _ => Lane::Loopback,
            };
            let odd = index > 0 && features.contains(Features::DESCRIPTORS);
            let (kind, state) = match byte % 8 {
                6 if odd => (SocketKind::NotASocket, SocketState::Connected),
                7 if odd => (SocketKind::Tcp4, SocketState::Unconnected),
                _ => (SocketKind::Tcp4, SocketState::Connected),
            };
            SocketSetup { kind, lane, state, sndbuf_bytes: None, rcvbuf_bytes: None }
        })
        .collect()
}

impl RingState {
    fn of(setup: &RingSetup) -> RingState {
        RingState { entries: setup.entries as usize, ..RingState::default() }
    }
}

impl Wire {
    fn of(setup: &SocketSetup) -> Wire {
        let peerless = setup.kind == SocketKind::NotASocket || setup.state == SocketState::Unconnected;
        Wire { gated: setup.lane != Lane::Loopback, reset: peerless, ..Wire::default() }
    }

    /// Whether what was sent leaves without anybody's doing.
    fn rests(&self) -> bool {
        self.reset || self.waiting == 0 || !self.gated && self.waiting <= LEAVES_BYTES
    }
}

impl Resolver {
    /// Whether the tables of a ring may change, so that it is certain who sees what.
    fn may_change_tables(&self, ring: usize) -> bool {
        self.features.contains(Features::FIXED) && !self.rings[ring].asynchronous
    }

    fn step(&mut self, draft: &StepDraft) {
        let ring = usize::from(draft.target) % self.rings.len();
        let socket = usize::from(draft.target) % self.sockets.len();
        let id = SocketId(socket as u16);
        match kind(draft.kind) {
            Kind::Submit => self.submit(ring, draft),
            Kind::Reap => self.reap(ring, Until::Settled),
            Kind::ReapSeen => match self.rings[ring].last {
                Some(user_data) => {
                    let last = draft.amount % 2 == 1;
                    self.reap(ring, Until::Seen(vec![Want { user_data, count: 1, last }]));
                }
                None => self.reap(ring, Until::Now),
            },
            Kind::ReapNow if draft.amount.is_multiple_of(4) => {
                self.steps.push(Step::Peek { ring: RingId(ring as u8) });
            }
            Kind::ReapNow => self.reap(ring, Until::Now),
            Kind::Fence => self.fence(ring),
            Kind::Drain => self.drain(socket, Amount::Everything),
            Kind::DrainSome => {
                let readable = self.sockets[socket].readable;
                let amount = readable * (1 + u64::from(draft.amount)) / 256;
                self.drain(socket, Amount::Bytes(amount));
            }
            Kind::Settle => self.settle(),
            Kind::Rewrite if self.features.contains(Features::REWRITE) => {
                self.steps
                    .push(Step::Rewrite { region: RegionId(u16::from(draft.target) % DATA_REGIONS as u16) });
            }
            Kind::Reset if self.features.contains(Features::RESET) && !self.sockets[socket].reset => {
                self.steps.push(Step::ResetPeer { socket: id });
                self.sockets[socket].reset = true;
            }
            Kind::Close if self.features.contains(Features::CLOSE) && !self.sockets[socket].closed => {
                self.steps.push(Step::CloseOwn { socket: id });
                self.sockets[socket].closed = true;
            }
            Kind::Shutdown if self.features.contains(Features::CLOSE) && !self.sockets[socket].closed => {
                self.steps.push(Step::ShutdownOwn { socket: id });
                self.sockets[socket].closed = true;
            }
            Kind::Register if self.may_change_tables(ring) => self.register(ring, draft.amount),
            Kind::Unregister if self.may_change_tables(ring) => {
                let what = Register::UnregisterBuffers;
                self.steps.push(Step::Register { ring: RingId(ring as u8), what });
                self.rings[ring].has_table = false;
                self.rings[ring].table.clear();
            }
            Kind::Rewrite
            | Kind::Reset
            | Kind::Close
            | Kind::Shutdown
            | Kind::Register
            | Kind::Unregister => {
                self.reap(ring, Until::Now);
            }
        }
    }

    fn submit(&mut self, ring: usize, draft: &StepDraft) {
        if self.rings[ring].left + draft.entries.len() > self.rings[ring].entries {
            self.fence(ring);
        }
        let mut sqes = Vec::with_capacity(draft.entries.len());
        let mut may_stop = false;
        for entry_draft in &draft.entries {
            let mut around = Surroundings {
                features: self.features,
                sockets: self.sockets.len(),
                memory: &mut self.memory,
                table: &self.rings[ring].table,
                user_data: self.next_user_data,
            };
            let made = entry(entry_draft, &mut around);
            self.next_user_data += 1;
            may_stop |= made.may_stop;
            if let Some((socket, len)) = made.sends {
                let alone = !may_stop && !made.sqe.links() && !sqes.last().is_some_and(Sqe::links);
                self.sends(socket, len, alone);
            }
            sqes.push(made.sqe);
        }
        if !self.features.contains(Features::OPEN)
            && let Some(last) = sqes.last_mut()
        {
            last.flags &= !(sqe_flag::LINK | sqe_flag::HARDLINK);
        }
        let is_async = |sqe: &Sqe| sqe.flags & sqe_flag::ASYNC != 0;
        let asynchronous = sqes.iter().any(is_async) || sqes.last().is_some_and(Sqe::links);
        let state = &mut self.rings[ring];
        state.asynchronous |= asynchronous;
        // A batch that ends early leaves at most all but one; entries that were left before come first.
        if may_stop || state.left > 0 {
            state.left += sqes.len().saturating_sub(1);
            state.last = None;
        } else {
            state.last = sqes.last().map(|sqe| sqe.user_data);
        }
        self.steps.push(Step::Submit { ring: RingId(ring as u8), sqes });
    }

    /// A send on a socket, `alone` if nothing but the socket decides what becomes of it.
    fn sends(&mut self, socket: SocketId, len: u64, alone: bool) {
        let state = &mut self.sockets[usize::from(socket.0)];
        let sure = alone && !state.closed && !state.gated && state.waiting + len <= LEAVES_BYTES;
        state.waiting += len + if state.gated { REQUEST_BYTES } else { 0 };
        if sure {
            state.readable += len;
        }
    }

    fn reap(&mut self, ring: usize, until: Until) {
        let rests = self.sockets.iter().all(Wire::rests) && self.rings[ring].left == 0;
        let until = if rests { until } else { Until::Now };
        self.steps.push(Step::Reap { ring: RingId(ring as u8), until });
    }

    fn fence(&mut self, ring: usize) {
        self.rings[ring].left = 0;
        self.rings[ring].last = None;
        self.steps.push(Step::Fence { ring: RingId(ring as u8) });
    }

    fn drain(&mut self, socket: usize, amount: Amount) {
        let state = &mut self.sockets[socket];
        if state.reset {
            return;
        }
        match amount {
            Amount::Everything => {
                (state.readable, state.waiting) = (0, 0);
            }
            Amount::Bytes(n) => {
                state.readable -= n;
                state.waiting = state.waiting.saturating_sub(n);
            }
        }
        self.steps.push(Step::Drain { socket: SocketId(socket as u16), amount });
    }

    /// Lets everything go on until nothing is owed.
    fn settle(&mut self) {
        for state in &mut self.sockets {
            (state.readable, state.waiting) = (0, 0);
        }
        for ring in &mut self.rings {
            ring.asynchronous = false;
        }
        self.steps.push(Step::Settle);
    }

    fn end(&mut self) {
        for ring in 0..self.rings.len() {
            if self.rings[ring].left > 0 {
                self.fence(ring);
            }
        }
        self.settle();
    }

    fn register(&mut self, ring: usize, choice: u8) {
        let region = |index: usize| {
            let region = &self.memory.regions[index];
            Iovec { addr: region.addr, len_bytes: region.len_bytes }
        };
        let (all, more) = (region(0), region(1));
        let half = Iovec { addr: all.addr + 100, len_bytes: all.len_bytes / 2 };
        let odd = self.features.contains(Features::FAULTS);
        let (table, valid) = match choice % 16 {
            1 => (vec![more, half], true),
            2 => (vec![all, Iovec::default(), more], true),
            3 => (vec![half], true),
            9 if odd => (vec![], false),
            10 if odd => (vec![all, Iovec { addr: 0, len_bytes: 1 }], false),
            11 if odd => (vec![region(2)], false),
            12 if odd => (vec![region(3), all], false),
            13 if odd => (vec![Iovec { len_bytes: (1 << 30) + 1, ..all }], false),
            14 if odd => (vec![Iovec { addr: 1 << 47, len_bytes: 4096 }], false),
            15 if odd => (vec![Iovec { len_bytes: 0, ..all }], false),
            _ => (vec![all, more], true),
        };
        if valid && !self.rings[ring].has_table {
            self.rings[ring].has_table = true;
            self.rings[ring].table.clone_from(&table);
        }
        let what = Register::Buffers(table);
        self.steps.push(Step::Register { ring: RingId(ring as u8), what });
    }
}
