//! The steps of a draft, and what has to be known on the way so that nothing waits in vain.
//!
//! It errs on the side of patience: where a wait might not end by itself, nothing is waited for, and the
//! last step, which lets everything go on, ends what is left.

use uringspec_model::abi::{self, msg, send_flag, sqe_flag};
use uringspec_model::memory::RegionId;
use uringspec_model::program::{
    Amount, Lane, Limits, Program, Register, RingId, RingSetup, SocketId, SocketKind, SocketSetup,
    SocketState, Step, Until, Want,
};
use uringspec_model::sqe::Sqe;

use super::entry::{Surroundings, entry};
use super::memory::{DATA_REGIONS, Memory};
use super::tables::Tables;
use super::{Draft, Features, StepDraft, setup};

/// More bytes than this may not leave a socket over loopback by themselves.
const LEAVES_BYTES: u64 = 24 << 10;
/// More bytes than this may not be accepted by a declared connection at once.
const ACCEPTS_BYTES: u64 = 64 << 10;
/// What a request counts for beside its bytes; as the lanes count.
const REQUEST_BYTES: u64 = 8192;

/// Submissions of which so much is said are made by hand.
const BY_HAND_FROM: u8 = 160;

/// Kinds of steps by the number in a draft; nearly half of them submit.
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
    Sparse,
    Update,
    Unregister,
    Files,
    UnregisterFiles,
    Setup,
}

fn kind(number: u8) -> Kind {
    match number % 32 {
        0..=12 => Kind::Submit,
        13 => Kind::Reap,
        14 => Kind::ReapSeen,
        15 => Kind::ReapNow,
        17 => Kind::Fence,
        18 => Kind::Drain,
        19 | 20 => Kind::DrainSome,
        21 if number >= 192 => Kind::Setup,
        21 => Kind::Settle,
        22 | 23 => Kind::Rewrite,
        16 | 24 => Kind::Reset,
        25 => Kind::Close,
        26 => Kind::Shutdown,
        27 => Kind::Register,
        28 => Kind::Sparse,
        29 => Kind::Update,
        30 => Kind::Unregister,
        _ if number < 128 => Kind::Files,
        _ => Kind::UnregisterFiles,
    }
}

/// Whether a step of this number has entries.
pub(super) fn submits(number: u8) -> bool {
    kind(number) == Kind::Submit
}

#[derive(Default)]
pub(super) struct RingState {
    /// Entries that may still be on the queue.
    pub(super) left: usize,
    pub(super) entries: usize,
    /// The last request, if it surely was consumed.
    last: Option<u64>,
    /// Requests that may not be over.
    alive: Vec<u64>,
    tables: Tables,
    /// Requests of other threads may look at the tables at any time.
    pub(super) asynchronous: bool,
    /// Nothing is left where an entry is refused.
    submits_all: bool,
    /// It has an array of indices.
    pub(super) has_array: bool,
    /// A thread takes its entries.
    has_thread: bool,
    /// An entry that drains was drawn.
    pub(super) drained: bool,
    /// Members of chains that may have been tried and were not seen.
    pub(super) chains: bool,
}

#[derive(Default)]
pub(super) struct Wire {
    /// Bytes that were sent since the peer last read all.
    pub(super) waiting: u64,
    /// Bytes that are surely there for the peer to read, or to acknowledge.
    pub(super) readable: u64,
    /// Something may be held back until more is sent.
    corked: bool,
    /// What is sent may have to wait for the peer.
    gated: bool,
    datagrams: bool,
    pub(super) reset: bool,
    closed: bool,
    pub(super) lane: Lane,
    /// A declared peer has no room, or missed something.
    pub(super) shaken: bool,
}

pub(super) struct Resolver<'a> {
    pub(super) features: Features,
    setups: &'a [SocketSetup],
    memory: Memory,
    pub(super) rings: Vec<RingState>,
    pub(super) sockets: Vec<Wire>,
    pub(super) steps: Vec<Step>,
    next_user_data: u64,
}

/// The program of a draft.
pub(super) fn resolve(draft: &Draft, features: Features) -> Program {
    let rings = setup::rings(draft, features);
    let sockets = setup::sockets(draft, features);
    let mut resolver = Resolver {
        features,
        setups: &sockets,
        memory: Memory::new(draft.regions, features),
        rings: rings.iter().map(RingState::of).collect(),
        sockets: sockets.iter().map(Wire::of).collect(),
        steps: Vec::new(),
        next_user_data: 1,
    };
    for ring in 0..rings.len() {
        resolver.change_tables(ring, Kind::Register, 0, draft.table);
        resolver.change_tables(ring, Kind::Files, 0, draft.table / 16);
    }
    for step in &draft.steps {
        resolver.step(step);
    }
    resolver.end();
    let Resolver { memory, mut steps, .. } = resolver;
    let limits = setup::limits(draft, features);
    if limits != Limits::default() {
        // nothing is said of a ring for which there may be no memory
        steps.retain(|step| !matches!(step, Step::Setup(_)));
    }
    Program { limits, rings, sockets, regions: memory.finish(), steps }
}

impl RingState {
    fn of(setup: &RingSetup) -> RingState {
        let submits_all = setup.flags & abi::setup::SUBMIT_ALL != 0;
        let has_thread = setup.flags & abi::setup::SQPOLL != 0;
        let has_array = setup.flags & abi::setup::NO_SQARRAY == 0;
        RingState {
            entries: setup.entries as usize,
            submits_all,
            has_array,
            has_thread,
            ..RingState::default()
        }
    }
}

impl Wire {
    fn of(setup: &SocketSetup) -> Wire {
        let peerless = setup.kind == SocketKind::NotASocket || setup.state == SocketState::Unconnected;
        let gated = !matches!(setup.lane, Lane::Loopback | Lane::IfbUdp | Lane::IfbUdpTap)
            || setup.sndbuf_bytes.is_some();
        let datagrams = matches!(setup.kind, SocketKind::Udp4 | SocketKind::Udp6);
        Wire { gated, datagrams, reset: peerless, lane: setup.lane, ..Wire::default() }
    }

    /// Whether what was sent leaves without anybody's doing.
    fn rests(&self) -> bool {
        let leaves = self.waiting == 0 || !self.gated && self.waiting <= LEAVES_BYTES;
        self.reset || leaves && !self.corked
    }

    /// The peer has read all there is.
    pub(super) fn drained(&mut self) {
        (self.readable, self.waiting, self.corked, self.shaken) = (0, 0, false, false);
    }

    fn can_close(&self) -> bool {
        !self.closed && !self.lane.is_declared()
    }

    /// Whether a send of so many bytes succeeds at once.
    fn is_sure(&self, len: u64) -> bool {
        let room = match self.lane.is_declared() {
            true => !self.shaken && self.waiting + len <= ACCEPTS_BYTES,
            false => !self.gated && self.waiting + len <= LEAVES_BYTES,
        };
        !self.closed && !self.reset && room
    }
}

impl Resolver<'_> {
    fn step(&mut self, draft: &StepDraft) {
        let ring = usize::from(draft.target) % self.rings.len();
        let socket = usize::from(draft.target) % self.sockets.len();
        let id = SocketId(socket as u16);
        let has = |feature| self.features.contains(feature);
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
            Kind::ReapNow if has(Features::CALLS) && draft.amount % 4 != 3 => self.look(ring, draft.amount),
            Kind::Fence => self.fence(ring),
            Kind::Drain | Kind::DrainSome if self.sockets[socket].lane.has_device() => {
                self.tell_peer(id, kind(draft.kind) == Kind::Drain, draft.amount);
            }
            Kind::Drain => self.drain(socket, Amount::Everything),
            Kind::DrainSome => {
                let readable = self.sockets[socket].readable;
                let amount = readable * (1 + u64::from(draft.amount)) / 256;
                self.drain(socket, Amount::Bytes(amount));
            }
            Kind::Setup if has(Features::SETUP) && draft.amount >= 240 => {
                self.steps.push(Step::Register { ring: RingId(ring as u8), what: Register::Enable });
            }
            Kind::Setup if has(Features::SETUP) && draft.amount >= 224 && self.rings[ring].left == 0 => {
                self.steps.push(Step::EnterElsewhere { ring: RingId(ring as u8) });
            }
            Kind::Setup if has(Features::SETUP) => {
                self.steps.push(Step::Setup(setup::attempt(draft.target, draft.amount)));
            }
            Kind::Settle | Kind::Setup => self.settle(),
            Kind::Rewrite if has(Features::REWRITE) => {
                let region = RegionId(u16::from(draft.target) % DATA_REGIONS as u16);
                self.steps.push(Step::Rewrite { region });
            }
            Kind::Reset
                if has(Features::RESET)
                    && !self.sockets[socket].reset
                    && self.sockets[socket].lane != Lane::IfbUdp =>
            {
                self.reset(socket, ring, draft);
            }
            Kind::Close if has(Features::CLOSE) && self.sockets[socket].can_close() => {
                self.steps.push(Step::CloseOwn { socket: id });
                self.sockets[socket].closed = true;
            }
            Kind::Shutdown if has(Features::CLOSE) && self.sockets[socket].can_close() => {
                self.steps.push(Step::ShutdownOwn { socket: id });
                self.sockets[socket].closed = true;
            }
            Kind::ReapNow | Kind::Rewrite | Kind::Reset | Kind::Close | Kind::Shutdown => {
                self.reap(ring, Until::Now);
            }
            kind => self.change_tables(ring, kind, draft.target, draft.amount),
        }
    }

    /// Changes a table, unless it would not be certain who sees what.
    fn change_tables(&mut self, ring: usize, kind: Kind, target: u8, choice: u8) {
        let has = |feature| self.features.contains(feature);
        let feature = match kind {
            Kind::Files | Kind::UnregisterFiles => Features::FILES,
            Kind::Register => Features::FIXED,
            _ => Features::FIXED | Features::TABLES,
        };
        if self.rings[ring].asynchronous || !has(feature) {
            return;
        }
        let odd = has(Features::FAULTS);
        let open: Vec<bool> = self.sockets.iter().map(|socket| !socket.closed).collect();
        let tables = &mut self.rings[ring].tables;
        let what = match kind {
            Kind::Sparse => tables.register_sparse(choice, odd),
            Kind::Update => tables.update(target / 2, choice, odd, &self.memory),
            Kind::Unregister => {
                tables.buffers = None;
                Register::UnregisterBuffers
            }
            Kind::Files => tables.register_files(choice, &open),
            Kind::UnregisterFiles => {
                tables.files = None;
                Register::UnregisterFiles
            }
            _ => tables.register(choice, odd, &self.memory),
        };
        self.steps.push(Step::Register { ring: RingId(ring as u8), what });
    }

    fn submit(&mut self, ring: usize, draft: &StepDraft) {
        if self.rings[ring].left + draft.entries.len() > self.rings[ring].entries {
            self.fence(ring);
        }
        let mut sqes: Vec<Sqe> = Vec::with_capacity(draft.entries.len());
        let mut may_stop = false;
        for entry_draft in &draft.entries {
            let alone = !self.rings[ring].has_thread && !may_stop && !sqes.last().is_some_and(Sqe::links);
            let sockets = &self.sockets;
            let is_sure = |socket: SocketId, len| sockets[usize::from(socket.0)].is_sure(len);
            let chain = sqes.iter().rev().take_while(|sqe| sqe.links());
            let lends = chain.clone().any(Sqe::is_zero_copy);
            let drained = self.rings[ring].drained;
            let made = entry(
                entry_draft,
                &mut Surroundings {
                    features: self.features,
                    sockets: self.setups,
                    memory: &mut self.memory,
                    tables: &self.rings[ring].tables,
                    alive: &self.rings[ring].alive,
                    user_data: self.next_user_data,
                    drained,
                    may_drain: !lends,
                    alone,
                    is_sure: &is_sure,
                },
            );
            self.next_user_data += 1;
            may_stop |= made.may_stop;
            self.rings[ring].drained |= made.sqe.flags & sqe_flag::DRAIN != 0;
            let alone = alone && !self.rings[ring].drained;
            if let Some((socket, len)) = made.sends {
                // one that waits to be told of room may not have been tried yet
                let polls = made.sqe.ioprio & send_flag::POLL_FIRST != 0;
                let alone = alone && !may_stop && !made.sqe.links() && !polls;
                self.sends(socket, len, alone);
                self.sockets[usize::from(socket.0)].corked |= made.sqe.op_flags & msg::MORE != 0;
            }
            self.rings[ring].alive.push(made.sqe.user_data);
            sqes.push(made.sqe);
        }
        if !self.features.contains(Features::OPEN)
            && let Some(last) = sqes.last_mut()
        {
            last.flags &= !(sqe_flag::LINK | sqe_flag::HARDLINK);
        }
        let is_async = |sqe: &Sqe| sqe.flags & sqe_flag::ASYNC != 0;
        let asynchronous = sqes.iter().any(is_async) || sqes.last().is_some_and(Sqe::links);
        let silent = sqes.last().is_some_and(|sqe| sqe.flags & sqe_flag::CQE_SKIP_SUCCESS != 0);
        let state = &mut self.rings[ring];
        state.asynchronous |= asynchronous || state.drained || state.has_thread;
        state.chains |= sqes.iter().any(|sqe| sqe.links() || sqe.ioprio & send_flag::POLL_FIRST != 0);
        // A batch that ends early leaves at most all but one; entries that were left before come first.
        if may_stop && state.submits_all && state.left == 0 {
            state.last = None;
        } else if may_stop || state.left > 0 {
            state.left += sqes.len().saturating_sub(1);
            state.last = None;
        } else {
            state.last = sqes.last().map(|sqe| sqe.user_data).filter(|_| !silent);
        }
        if self.features.contains(Features::CALLS)
            && draft.amount >= BY_HAND_FROM
            && !self.rings[ring].has_thread
        {
            self.hand_over(ring, sqes, draft.amount, may_stop);
        } else {
            self.steps.push(Step::Submit { ring: RingId(ring as u8), sqes });
        }
    }

    /// A send on a socket, `alone` if nothing but the socket decides what becomes of it.
    fn sends(&mut self, socket: SocketId, len: u64, alone: bool) {
        let state = &mut self.sockets[usize::from(socket.0)];
        if state.lane == Lane::IfbUdp {
            return;
        }
        let sure = alone && state.is_sure(len);
        state.waiting += len + if state.gated { REQUEST_BYTES } else { 0 };
        if sure && !state.datagrams {
            state.readable += len;
        }
    }

    pub(super) fn reap(&mut self, ring: usize, until: Until) {
        let rests = self.sockets.iter().all(Wire::rests) && self.rings[ring].left == 0;
        let until = if rests { until } else { Until::Now };
        self.steps.push(Step::Reap { ring: RingId(ring as u8), until });
    }

    /// The peer of this socket resets, or mostly that of one where something waits.
    fn reset(&mut self, socket: usize, ring: usize, draft: &StepDraft) {
        let waits = |at: &usize| self.sockets[*at].waiting > 0 && !self.sockets[*at].reset;
        let busy = (0..self.sockets.len()).find(waits).filter(|_| draft.amount >= 64);
        let socket = busy.unwrap_or(socket);
        if draft.amount % 2 == 1 {
            // what was sent before is known then
            self.reap(ring, Until::Now);
        }
        self.steps.push(Step::ResetPeer { socket: SocketId(socket as u16) });
        self.sockets[socket].reset = true;
    }

    pub(super) fn fence(&mut self, ring: usize) {
        if self.rings[ring].drained && !self.sockets.iter().all(Wire::rests) {
            // it would wait for all that waits
            return self.reap(ring, Until::Now);
        }
        self.rings[ring].left = 0;
        self.rings[ring].chains = false;
        self.rings[ring].last = None;
        self.steps.push(Step::Fence { ring: RingId(ring as u8) });
    }

    fn drain(&mut self, socket: usize, amount: Amount) {
        let state = &mut self.sockets[socket];
        if state.reset || state.datagrams && amount != Amount::Everything {
            return;
        }
        match amount {
            Amount::Everything => {
                state.drained();
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
            state.drained();
        }
        for ring in &mut self.rings {
            (ring.asynchronous, ring.chains) = (false, false);
            // what is over can be named as well, but not much of it
            ring.alive.drain(..ring.alive.len().saturating_sub(1));
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
}
