//! Guesses as a program, and what was typed as a trace of it.
//!
//! What is not known to have been submitted later is submitted before the first completion, each send on
//! a socket and from memory of its own.

use std::collections::BTreeMap;

use uringspec_model::abi::{PAGE_BYTES, msg, op, send_flag, sqe_flag};
use uringspec_model::cqe::{Completion, Cqe, Errno, Res};
use uringspec_model::memory::{Contents, HexBytes, Protection, Region, WINDOW_BASE};
use uringspec_model::program::{
    End, Iovec, Lane, Limits, Program, Register, RingId, RingSetup, SocketId, SocketKind, SocketSetup,
    SocketState, Step, Until, fd_of,
};
use uringspec_model::sqe::Sqe;
use uringspec_model::trace::{Ending, RingCqe, Seen, Trace, What};

use super::guess::{Cause, Guess, Head, When};
use super::requests::Known;
use super::typed::{Item, Typed};
use crate::case::names::Names;
use crate::case::parse_sqe::takes_array;
use crate::case::place::{HEADERS, MSGHDR_BYTES};

/// What nobody may lock all of, where somebody was refused: longer sends are refused, others not.
const LOCKED_BYTES: u64 = 1 << 30;
/// A send that is longer than that.
const TOO_LONG_BYTES: u64 = (1 << 31) - PAGE_BYTES;
/// A descriptor above all that a program opens.
const CLOSED: i32 = i32::MAX;
/// A flag in `ioprio` that no send takes.
const UNKNOWN_FLAG: u16 = 0x80;
/// The ring: no log is longer than its queue.
const ENTRIES: u32 = 32768;

/// A request of the log with what is taken for granted of it.
pub(crate) type Choice<'a> = (&'a Known, &'a Guess);

/// A program that may have led to a log.
#[derive(Clone, Debug)]
pub(crate) struct Built {
    pub(crate) program: Program,
    pub(crate) trace: Trace,
    pub(crate) names: Names,
    /// The line of the log that each observation is; none for what the log leaves out.
    pub(crate) lines: Vec<Option<u32>>,
    /// The descriptors of which no line says what they are.
    pub(crate) untold: Vec<(u32, SocketKind, bool)>,
}

/// Something that happens, in the order of the log.
enum Piece {
    Do(Step),
    Enter(Vec<Sqe>),
    Take(Cqe, Option<u32>),
}

struct Builder<'a> {
    typed: &'a Typed,
    chosen: &'a [(usize, Choice<'a>)],
    regions: Vec<Region>,
    next_addr: u64,
    headers: Vec<u8>,
    sockets: Vec<SocketSetup>,
    names: Vec<(String, Option<String>)>,
    by_fd: BTreeMap<u32, SocketId>,
    untold: Vec<(u32, SocketKind, bool)>,
    fixed: BTreeMap<u16, u64>,
    /// User data that nobody has.
    free: u64,
    /// What happens, with its place: before the first line, or at one; then before or behind it.
    pieces: Vec<((usize, u8), Piece)>,
}

/// User data above all in a log, for what is not in it.
pub(crate) fn free_user_data(typed: &Typed) -> u64 {
    let user_data = |item: &Item| match item {
        Item::Submit(entry) => entry.user_data,
        Item::Cqe(cqe, _) => cqe.user_data,
    };
    // addresses are often used as user data, and somebody may use the greatest number
    1 + typed.items.iter().map(user_data).filter(|u| *u < u64::MAX / 2).max().unwrap_or(0)
}

/// The program of some of the requests, and the trace of their completions and of those that are nobody's.
/// The numbers are those that heads of chains are named by; `free` and above are nobody's user data.
pub(crate) fn build(typed: &Typed, chosen: &[(usize, Choice<'_>)], strays: &[usize], free: u64) -> Built {
    let mut builder = Builder {
        typed,
        chosen,
        regions: Vec::new(),
        next_addr: WINDOW_BASE,
        headers: Vec::new(),
        sockets: Vec::new(),
        names: Vec::new(),
        by_fd: BTreeMap::new(),
        untold: Vec::new(),
        fixed: BTreeMap::new(),
        free,
        pieces: Vec::new(),
    };
    builder.fixed_buffers();
    builder.submissions();
    builder.known_submissions();
    builder.completions(strays);
    builder.finish()
}

impl Builder<'_> {
    /// The tables of registered buffers that entries speak of.
    fn fixed_buffers(&mut self) {
        let mut lens: BTreeMap<u16, u64> = BTreeMap::new();
        for (_, (_, guess)) in self.chosen.iter().filter(|(_, (_, guess))| is_fixed(guess)) {
            let len = lens.entry(guess.entry.index).or_default();
            *len = (*len).max(guess.entry.len_bytes.unwrap_or(1)).max(1);
        }
        let mut table = vec![Iovec::default(); lens.keys().next_back().map_or(0, |last| *last as usize + 1)];
        for (index, len_bytes) in lens {
            let addr = self.memory(format!("r{index}"), len_bytes);
            self.fixed.insert(index, addr);
            table[usize::from(index)] = Iovec { addr, len_bytes };
        }
        if !table.is_empty() {
            let step = Step::Register { ring: RingId(0), what: Register::Buffers(table) };
            self.pieces.push(((0, 0), Piece::Do(step)));
        }
    }

    /// The submissions that are assumed, in as few calls as can be.
    fn submissions(&mut self) {
        let mut call: Vec<Sqe> = Vec::new();
        let mut tails: BTreeMap<usize, Vec<Choice<'_>>> = BTreeMap::new();
        for (_, choice) in self.chosen {
            if let Some(head) = head(choice.1) {
                tails.entry(head).or_default().push(*choice);
            }
        }
        for (n, (known, guess)) in self.chosen {
            if known.entry.is_some() || head(guess).is_some() {
                continue;
            }
            let tails = tails.remove(n).unwrap_or_default();
            let short = tails.iter().any(|(_, tail)| matches!(tail.cause, Cause::Behind(Head::Short(_))));
            let mut sqe = self.sqe(known, guess, short);
            self.fate(guess, &sqe, (0, 0), known);
            if short && let Some((at, ..)) = known.result {
                self.shut_down(&sqe, at);
            }
            if guess.cause == Cause::FoundRunning {
                self.running(&sqe, &mut call);
            }
            if guess.cause == Cause::Behind(Head::Unlisted) {
                call.push(self.unlisted_head(known));
            }
            let mut ends = guess.ends_batch();
            for (tail_known, tail) in &tails {
                sqe.flags |= sqe_flag::LINK;
                call.push(sqe);
                sqe = self.sqe(tail_known, tail, false);
                ends |= tail.ends_batch();
            }
            call.push(sqe);
            self.cancel(guess, 0);
            if ends {
                self.pieces.push(((0, 1), Piece::Enter(std::mem::take(&mut call))));
            }
        }
        if !call.is_empty() {
            self.pieces.push(((0, 1), Piece::Enter(call)));
        }
    }

    /// The submissions that stand in the log: lines that follow one another are one call.
    fn known_submissions(&mut self) {
        let mut last: Option<usize> = None;
        let mut call: Option<(usize, Vec<Sqe>)> = None;
        for (_, (known, guess)) in self.chosen {
            let Some((at, _)) = known.entry else { continue };
            let sqe = self.sqe(known, guess, false);
            if last.is_some_and(|last| self.typed.items[last..at].iter().any(is_cqe))
                && let Some((at, sqes)) = call.take()
            {
                self.pieces.push(((at + 1, 1), Piece::Enter(sqes)));
            }
            let call = call.get_or_insert((at, Vec::new()));
            call.1.push(sqe);
            let first = call.0;
            self.cancel(guess, first + 1);
            self.fate(guess, &sqe, (first + 1, 0), known);
            last = Some(at);
        }
        if let Some((at, sqes)) = call {
            self.pieces.push(((at + 1, 1), Piece::Enter(sqes)));
        }
    }

    fn completions(&mut self, strays: &[usize]) {
        let own = self.chosen.iter().flat_map(|(_, (known, _))| {
            let result = known.result.map(|(at, ..)| at);
            [result, known.notif.map(|(at, _)| at)].into_iter().flatten()
        });
        for at in own.chain(strays.iter().copied()) {
            if let Item::Cqe(cqe, line) = self.typed.items[at] {
                self.pieces.push(((at + 1, 3), Piece::Take(cqe, Some(line))));
            }
        }
    }

    /// The head of a chain that the log leaves out, and its completion.
    fn unlisted_head(&mut self, known: &Known) -> Sqe {
        let user_data = self.free();
        let at = known.result.map_or(known.first(), |(at, ..)| at);
        let bad = Res::Err(Errno(uringspec_model::abi::errno::EBADF));
        let cqe = Cqe::of(user_data, Completion::Result { res: bad, more: false });
        self.pieces.push(((at + 1, 2), Piece::Take(cqe, None)));
        Sqe { opcode: op::SEND, fd: CLOSED, flags: sqe_flag::LINK, user_data, ..Sqe::default() }
    }

    /// A cancel of the request behind its submission, of which no completion was seen.
    fn cancel(&mut self, guess: &Guess, submitted: usize) {
        if matches!(guess.cause, Cause::Cancelled | Cause::Interrupted) {
            let (addr, user_data) = (guess.entry.user_data, self.free());
            let cancel = Sqe { opcode: op::ASYNC_CANCEL, addr, user_data, ..Sqe::default() };
            self.pieces.push(((submitted, 2), Piece::Enter(vec![cancel])));
        }
    }

    /// A send that another thread runs, for a cancel to find.
    fn running(&mut self, cancel: &Sqe, call: &mut Vec<Sqe>) {
        let socket = self.add_socket(format!("s{}", cancel.addr), SocketKind::Tcp4, Lane::Unknown, true);
        let addr = self.memory(format!("m{}", cancel.addr), 1);
        let (fd, user_data) = (fd_of(socket, End::Near), cancel.addr);
        let flags = sqe_flag::ASYNC;
        call.push(Sqe { opcode: op::SEND, fd, addr, len: 1, flags, user_data, ..Sqe::default() });
    }

    /// What becomes of the request's socket, before its submission at `submitted` or its result.
    fn fate(&mut self, guess: &Guess, sqe: &Sqe, submitted: (usize, u8), known: &Known) {
        let Some((socket, End::Near)) = uringspec_model::program::socket_of(sqe.fd) else { return };
        let (step, when) = match guess.cause {
            Cause::Broken(when) => (Step::ShutdownOwn { socket }, when),
            Cause::Reset(when) => (Step::ResetPeer { socket }, when),
            Cause::PortClosed => (Step::ResetPeer { socket }, When::BeforeResult),
            _ => return,
        };
        let place = match (when, known.result) {
            (When::BeforeResult, Some((at, ..))) => (at + 1, 2),
            _ => submitted,
        };
        self.pieces.push((place, Piece::Do(step)));
    }

    /// The socket of a send that took less than it asked for is shut down before its result.
    fn shut_down(&mut self, sqe: &Sqe, result: usize) {
        if let Some((socket, End::Near)) = uringspec_model::program::socket_of(sqe.fd) {
            self.pieces.push(((result + 1, 2), Piece::Do(Step::ShutdownOwn { socket })));
        }
    }

    /// The entry of a request; `short`: it takes less than it asks for.
    fn sqe(&mut self, known: &Known, guess: &Guess, short: bool) -> Sqe {
        let entry = &guess.entry;
        let mut sqe = Sqe {
            opcode: entry.opcode,
            flags: entry.flags,
            ioprio: entry.zc,
            op_flags: entry.msg,
            user_data: entry.user_data,
            buf_index: entry.index,
            ..Sqe::default()
        };
        match guess.cause {
            // what is found behind the allocation of the notification
            Cause::Behind(Head::Refuses(_)) => sqe.ioprio |= UNKNOWN_FLAG,
            Cause::Refused if known.result.is_some_and(|(_, _, more)| more) => sqe.ioprio |= UNKNOWN_FLAG,
            Cause::Refused => sqe.flags |= 0x80,
            Cause::Selects => sqe.flags |= sqe_flag::BUFFER_SELECT,
            Cause::Seeks => sqe.off = 1,
            _ => {}
        }
        if entry.opcode == op::ASYNC_CANCEL {
            sqe.addr = if known.entry.is_some() { entry.target } else { self.free() };
        }
        if !guess.sends() {
            return sqe;
        }
        sqe.fd = if guess.cause == Cause::Closed { CLOSED } else { self.socket(known, guess) };
        let mut len = entry.len_bytes.unwrap_or(1);
        if short {
            (len, sqe.op_flags) = (len + 1, sqe.op_flags | msg::WAITALL);
        }
        if guess.cause == Cause::Locked {
            len = TOO_LONG_BYTES;
        }
        let addr = match (guess.cause, self.fixed.get(&entry.index).filter(|_| is_fixed(guess))) {
            (Cause::Unreadable, _) => 0,
            (_, Some(addr)) => *addr,
            (_, None) => self.memory(format!("m{}", entry.user_data), len),
        };
        if takes_array(entry.opcode) {
            let iovec = Iovec { addr, len_bytes: len };
            let control = if guess.cause == Cause::LongControl { u64::from(u32::MAX) } else { 0 };
            (sqe.addr, sqe.len) = (self.array(entry.opcode, iovec, control), 1);
        } else {
            (sqe.addr, sqe.len) = (addr, u32::try_from(len).unwrap_or(u32::MAX));
        }
        sqe
    }

    /// The descriptor of its socket.
    fn socket(&mut self, known: &Known, guess: &Guess) -> i32 {
        let entry_fd = guess.entry.fd;
        if let Some(id) = entry_fd.and_then(|fd| self.by_fd.get(&fd)) {
            return fd_of(*id, End::Near);
        }
        let line = entry_fd.and_then(|fd| self.typed.sockets.iter().find(|line| line.fd == fd));
        // what any request on the descriptor needs it to be
        let same = self.chosen.iter().filter(|(_, (_, g))| g.entry.fd.is_some() && g.entry.fd == entry_fd);
        let needed = same.map(|(_, (_, g))| g.socket()).find(|s| *s != (SocketKind::Tcp4, true));
        let (kind, has_peer) = match line {
            Some(line) => (line.kind, !line.unconnected),
            None => needed.unwrap_or(guess.socket()),
        };
        let name = match entry_fd {
            Some(fd) => format!("fd{fd}"),
            None => format!("s{}", known.user_data),
        };
        let lane = line.map_or(Lane::Unknown, |line| line.lane);
        let id = self.add_socket(name, kind, lane, has_peer);
        if let Some(fd) = entry_fd {
            self.untold.extend(line.is_none().then_some((fd, kind, has_peer)));
            self.by_fd.insert(fd, id);
        }
        fd_of(id, End::Near)
    }

    fn add_socket(&mut self, name: String, kind: SocketKind, lane: Lane, has_peer: bool) -> SocketId {
        let id = SocketId(self.sockets.len() as u16);
        let state = if has_peer { SocketState::Connected } else { SocketState::Unconnected };
        self.sockets.push(SocketSetup { kind, lane, state, sndbuf_bytes: None, rcvbuf_bytes: None });
        let peer = has_peer.then(|| format!("peer-of-{name}"));
        self.names.push((name, peer));
        id
    }

    fn memory(&mut self, name: String, len_bytes: u64) -> u64 {
        let (addr, len_bytes) = (self.next_addr, len_bytes.max(1));
        self.next_addr += len_bytes.next_multiple_of(PAGE_BYTES) + PAGE_BYTES;
        let contents = Contents::Stamped;
        self.regions.push(Region { name, addr, len_bytes, protection: Protection::ReadWrite, contents });
        addr
    }

    /// An array of one iovec, and before it the header of a message where the opcode takes one.
    fn array(&mut self, opcode: u8, iovec: Iovec, control: u64) -> u64 {
        // Below all other memory, so that its place is known before its length is.
        let at = HEADERS_ADDR + self.headers.len() as u64;
        if matches!(opcode, op::SENDMSG | op::SENDMSG_ZC) {
            let mut header = [0; MSGHDR_BYTES as usize];
            header[16..24].copy_from_slice(&(at + MSGHDR_BYTES).to_le_bytes());
            header[24..32].copy_from_slice(&1u64.to_le_bytes());
            header[40..48].copy_from_slice(&control.to_le_bytes());
            self.headers.extend(header);
        }
        self.headers.extend(iovec.addr.to_le_bytes());
        self.headers.extend(iovec.len_bytes.to_le_bytes());
        at
    }

    fn free(&mut self) -> u64 {
        self.free += 1;
        self.free - 1
    }

    fn finish(mut self) -> Built {
        self.pieces.sort_by_key(|(place, _)| *place);
        let ring = RingId(0);
        let (mut steps, mut seen, mut lines) = (Vec::new(), Vec::new(), Vec::new());
        for (_, piece) in std::mem::take(&mut self.pieces) {
            match piece {
                Piece::Do(step) => steps.push(step),
                Piece::Enter(sqes) => steps.push(Step::Submit { ring, sqes }),
                Piece::Take(cqe, line) => {
                    if !matches!(steps.last(), Some(Step::Reap { .. })) {
                        steps.push(Step::Reap { ring, until: Until::Now });
                    }
                    let step = steps.len() as u32 - 1;
                    seen.push(Seen { step, what: What::Cqe(RingCqe { ring, cqe }) });
                    lines.push(line);
                }
            }
        }
        if !self.headers.is_empty() {
            self.regions.push(Region {
                name: HEADERS.into(),
                addr: HEADERS_ADDR,
                len_bytes: self.headers.len() as u64,
                protection: Protection::ReadWrite,
                contents: Contents::Bytes(HexBytes(self.headers)),
            });
        }
        let locked = self.chosen.iter().any(|(_, (_, guess))| guess.cause == Cause::Locked);
        let limits = match locked {
            true => Limits { memlock_bytes: Some(LOCKED_BYTES), unprivileged: true },
            false => Limits::default(),
        };
        let rings = vec![RingSetup { entries: ENTRIES, cq_entries: None, flags: 0 }];
        let program = Program { limits, rings, sockets: self.sockets, regions: self.regions, steps };
        let trace = Trace { seen, end: Ending::Complete };
        Built { program, trace, names: Names::of_sockets(self.names), lines, untold: self.untold }
    }
}

/// Where message headers and arrays lie: below all other memory.
const HEADERS_ADDR: u64 = WINDOW_BASE / 2;

/// The head of its chain that stands in the log.
pub(crate) fn head(guess: &Guess) -> Option<usize> {
    match guess.cause {
        Cause::Behind(Head::Failed(head) | Head::Short(head) | Head::Refuses(head)) => Some(head),
        _ => None,
    }
}

fn is_fixed(guess: &Guess) -> bool {
    let fixed = guess.entry.zc & send_flag::FIXED_BUF != 0;
    fixed || matches!(guess.entry.opcode, op::WRITE_FIXED | op::WRITEV_FIXED)
}

fn is_cqe(item: &Item) -> bool {
    matches!(item, Item::Cqe(..))
}
