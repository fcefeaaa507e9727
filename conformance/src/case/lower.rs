//! Turns a case into programs, one for each kind of ring, with what is expected of each step.

use std::collections::BTreeMap;

use uringspec_model::abi::{op, setup};
use uringspec_model::deviation::Deviation;
use uringspec_model::memory::RegionId;
use uringspec_model::profile::Feature;
use uringspec_model::program::{
    Amount, End, Iovec, Lane, Program, Register, RingId, RingSetup, SocketId, SocketKind, SocketState,
    Step as Do, Until,
};
use uringspec_model::rules::Rule;
use uringspec_model::sqe::Sqe;
use winnow::Result;

use super::error::{CaseError, Refusal, near};
use super::names::Names;
use super::place::Memory;
use super::wants::Wants;
use super::{Arrival, Case, Data, Expect, LentUntil, Mode, Name, Noted, RawField, ResPattern, Slot, SqeLine};
use super::{Step, Target, Upto};

/// A descriptor above all that a program opens.
pub const CLOSED_FD: i32 = 999;

/// The most sockets of a case, so that their descriptors stay below `CLOSED_FD`.
const SOCKETS_MAX: usize = 64;
/// The most rings of a case.
const RINGS_MAX: usize = 8;
/// The most entries of a submission queue (`IORING_MAX_ENTRIES`).
const ENTRIES_MAX: u32 = 32768;

/// A case on one kind of ring.
#[derive(Clone, Debug)]
pub struct Lowered {
    /// The kind of ring.
    pub mode: Mode,
    /// What is done.
    pub program: Program,
    /// The line of each step in the case.
    pub lines: Vec<u32>,
    /// What is expected, in the order of the steps.
    pub expectations: Vec<Expectation>,
    /// The names of the case.
    pub names: Names,
}

/// What is expected of one step.
#[derive(Clone, Debug)]
pub struct Expectation {
    /// The index in `Program::steps`.
    pub step: u32,
    /// The line in the case.
    pub line: u32,
    /// What.
    pub what: Expected,
}

/// What is expected.
#[derive(Clone, Debug)]
pub enum Expected {
    /// The return value of the system call.
    Returned(i64),
    /// Completions.
    Completions(Expect),
    /// Bytes at the peer, in alternatives.
    Arrivals(Vec<PlacedArrival>),
}

/// An alternative of what a peer got.
#[derive(Clone, Debug)]
pub struct PlacedArrival {
    /// The bytes.
    pub pieces: Vec<PlacedPiece>,
    /// The result of a request for which this stands.
    pub given: Option<(u64, ResPattern)>,
    /// The alternative in the words of the case.
    pub words: String,
}

/// A `Piece` whose buffer is known.
#[derive(Clone, Copy, Debug)]
pub struct PlacedPiece {
    /// The buffer.
    pub region: RegionId,
    /// How often it had been rewritten.
    pub generation: u16,
    /// The first byte.
    pub from: u64,
    /// The byte behind the last.
    pub to: Upto,
}

/// Lowers a case that was read from `text`. There is at least one program.
pub fn lower(file: &str, text: &str, case: &Case) -> std::result::Result<Vec<Lowered>, CaseError> {
    let lower_all = || -> Result<Vec<Lowered>, Refusal> {
        let written = case.rings.iter().any(|ring| ring.what.flags != 0);
        let modes = match case.modes.as_slice() {
            [] if written => vec![Mode::AsWritten],
            [] => vec![Mode::Plain, Mode::Defer],
            _ if written => {
                let at = case.rings.first().map(|ring| ring.at).unwrap_or_default();
                return Err(Refusal::new(at, "a ring has flags although a `rings` line sets them")
                    .expecting(["a ring without `flags=`", "no `rings` line"]));
            }
            modes => modes.to_vec(),
        };
        modes.into_iter().map(|mode| Lowering::of(text, case, mode)?.run()).collect()
    };
    lower_all().map_err(|refusal| refusal.of(file, text))
}

/// Refuses ids of rules and deviations, and needs, that do not exist.
pub fn check_names(file: &str, text: &str, case: &Case) -> std::result::Result<(), CaseError> {
    let known = |name: &Name, what: &str, all: Vec<&str>| match all.contains(&name.text.as_str()) {
        true => Ok(()),
        false => Err(Refusal::new(name.at, format!("there is no {what} `{}`", name.text))
            .expecting(near(&name.text, all.into_iter().map(str::to_string)))
            .of(file, text)),
    };
    for rule in &case.rules {
        known(rule, "rule", Rule::ALL.iter().map(|r| r.id()).collect())?;
    }
    for deviation in &case.deviations {
        known(deviation, "deviation", Deviation::ALL.iter().map(|d| d.id()).collect())?;
    }
    for need in &case.needs {
        let opcodes = op::NAMES.iter().map(|(name, _)| *name);
        known(need, "opcode or feature", opcodes.chain(Feature::ALL.iter().map(|f| f.name())).collect())?;
    }
    Ok(())
}

struct Lowering<'a> {
    text: &'a str,
    case: &'a Case,
    memory: Memory,
    wants: Wants,
    out: Lowered,
    /// The line that took each user data.
    requests: BTreeMap<u64, u32>,
    /// How often each buffer was rewritten so far.
    rewritten: BTreeMap<String, u16>,
    /// Requests to which a buffer is said to be lent.
    lent: BTreeMap<String, (u64, LentUntil)>,
}

impl<'a> Lowering<'a> {
    fn of(text: &'a str, case: &'a Case, mode: Mode) -> Result<Lowering<'a>, Refusal> {
        let (names, sockets) = names_of(case)?;
        let program = Program { rings: rings(case, mode)?, sockets, ..Program::default() };
        Ok(Lowering {
            text,
            case,
            memory: Memory::of(&case.buffers)?,
            wants: Wants::default(),
            out: Lowered { mode, program, lines: Vec::new(), expectations: Vec::new(), names },
            requests: BTreeMap::new(),
            rewritten: BTreeMap::new(),
            lent: BTreeMap::new(),
        })
    }

    fn run(mut self) -> Result<Lowered, Refusal> {
        self.register_declared()?;
        for step in &self.case.steps {
            self.step(step)?;
        }
        self.out.program.regions = self.memory.finish();
        Ok(self.out)
    }

    /// Buffers with `register=` are registered before the first step; gaps stay empty slots.
    fn register_declared(&mut self) -> Result<(), Refusal> {
        let mut table = BTreeMap::new();
        let mut line = 0;
        for buffer in &self.case.buffers {
            let Some(index) = buffer.what.register else { continue };
            let iovec = self.memory.inside(&buffer.what.name, None, buffer.at)?;
            if table.insert(index, iovec).is_some() {
                return Err(Refusal::new(buffer.at, format!("slot {index} is taken")));
            }
            line = buffer.at.line(self.text);
        }
        if !table.is_empty() {
            let what = Register::Buffers(filled(&table));
            self.push(line, Do::Register { ring: RingId(0), what }, Some(Expected::Returned(0)));
        }
        Ok(())
    }

    fn push(&mut self, line: u32, step: Do, expected: Option<Expected>) {
        let index = self.out.program.steps.len() as u32;
        self.out.program.steps.push(step);
        self.out.lines.push(line);
        self.out.expectations.extend(expected.map(|what| Expectation { step: index, line, what }));
    }

    fn step(&mut self, step: &'a Noted<Step>) -> Result<(), Refusal> {
        let line = step.at.line(self.text);
        let (what, expected) = match &step.what {
            Step::Submit(submit) => {
                let ring = self.out.names.ring(submit.ring.as_ref())?;
                let room = self.out.program.rings[usize::from(ring.0)].entries.next_power_of_two() as usize;
                if submit.sqes.len() > room {
                    return Err(Refusal::new(step.at, format!("{} entries are too many", submit.sqes.len()))
                        .expecting([format!("at most {room}, the size of the queue")]));
                }
                let mut sqes = Vec::new();
                for sqe in &submit.sqes {
                    let line = sqe.at.line(self.text);
                    if let Some(before) = self.requests.insert(sqe.what.user_data, line) {
                        let taken = format!("#{} is taken by line {before}", sqe.what.user_data);
                        return Err(Refusal::new(sqe.at, taken).expecting(["other user data"]));
                    }
                    sqes.push(self.sqe(&sqe.what)?);
                }
                let returns = submit.returns.as_ref().map_or(sqes.len() as i64, |r| r.what.0);
                (Do::Submit { ring, sqes }, Some(Expected::Returned(returns)))
            }
            Step::Expect(expect) => {
                let ring = self.out.names.ring(expect.ring.as_ref())?;
                for user_data in super::wants::mentioned(expect) {
                    self.known_request(user_data, step)?;
                    self.lent.retain(|_, (owner, until)| {
                        *owner != user_data || !gives_back(expect, user_data, *until)
                    });
                }
                let wants = self.wants.of(expect);
                let until = if wants.is_empty() { Until::Now } else { Until::Seen(wants) };
                (Do::Reap { ring, until }, Some(Expected::Completions(expect.clone())))
            }
            Step::Fence(ring) => (Do::Fence { ring: self.out.names.ring(ring.as_ref())? }, None),
            Step::Settle => (Do::Settle, None),
            Step::Drain(peer, bytes) => {
                let amount = bytes.map_or(Amount::Everything, Amount::Bytes);
                (Do::Drain { socket: self.out.names.socket(peer, End::Far)?, amount }, None)
            }
            Step::Received(peer, arrivals) => {
                let socket = self.out.names.socket(peer, End::Far)?;
                let arrivals =
                    arrivals.iter().map(|arrival| self.arrival(arrival, step)).collect::<Result<_, _>>()?;
                (Do::Drain { socket, amount: Amount::Everything }, Some(Expected::Arrivals(arrivals)))
            }
            Step::Rewrite(buffer) => (self.rewrite(buffer, step)?, None),
            Step::Reset(peer) => (Do::ResetPeer { socket: self.out.names.socket(peer, End::Far)? }, None),
            Step::Close(socket) => (Do::CloseOwn { socket: self.out.names.socket(socket, End::Near)? }, None),
            Step::Shutdown(socket) => {
                (Do::ShutdownOwn { socket: self.out.names.socket(socket, End::Near)? }, None)
            }
            Step::Register(ring, slots, returns) => {
                let ring = self.out.names.ring(ring.as_ref())?;
                let what = self.table(slots, step)?;
                (Do::Register { ring, what }, Some(Expected::Returned(returns.map_or(0, |r| r.0))))
            }
            Step::Unregister(ring, returns) => {
                let ring = self.out.names.ring(ring.as_ref())?;
                let what = Register::UnregisterBuffers;
                (Do::Register { ring, what }, Some(Expected::Returned(returns.map_or(0, |r| r.0))))
            }
            Step::Lent(lent) => {
                self.memory.region(&lent.buffer)?;
                self.known_request(lent.user_data, step)?;
                self.lent.insert(lent.buffer.text.clone(), (lent.user_data, lent.until));
                return Ok(());
            }
        };
        self.push(line, what, expected);
        Ok(())
    }

    fn known_request(&self, user_data: u64, step: &Noted<Step>) -> Result<(), Refusal> {
        match self.requests.contains_key(&user_data) {
            true => Ok(()),
            false => Err(Refusal::new(step.at, format!("#{user_data} was not submitted before this"))
                .expecting(self.requests.keys().map(|u| format!("#{u}")))),
        }
    }

    fn rewrite(&mut self, buffer: &Name, step: &Noted<Step>) -> Result<Do, Refusal> {
        let region = self.memory.region(buffer)?;
        let commented = step.note.is_some() || !step.above.is_empty();
        if let Some((owner, _)) = self.lent.get(&buffer.text).filter(|_| !commented) {
            return Err(Refusal::new(step.at, format!("{} is lent to #{owner} here", buffer.text))
                .expecting(["a comment on this line that says why it is rewritten all the same"]));
        }
        let writable =
            |b: &&Noted<super::Buffer>| b.what.name.text == buffer.text && b.what.protection.is_read_write();
        if !self.case.buffers.iter().any(|b| writable(&b)) {
            return Err(Refusal::new(buffer.at, format!("{} cannot be written", buffer.text))
                .expecting(["a buffer without `prot=`"]));
        }
        *self.rewritten.entry(buffer.text.clone()).or_default() += 1;
        Ok(Do::Rewrite { region })
    }

    fn table(&self, slots: &[Slot], step: &Noted<Step>) -> Result<Register, Refusal> {
        let mut table = BTreeMap::new();
        for slot in slots {
            table.insert(slot.index, self.memory.inside(&slot.buffer, slot.range, step.at)?);
        }
        Ok(Register::Buffers(filled(&table)))
    }

    fn arrival(&self, arrival: &Noted<Arrival>, step: &Noted<Step>) -> Result<PlacedArrival, Refusal> {
        let mut pieces = Vec::new();
        for piece in &arrival.what.pieces {
            let region = self.memory.region(&piece.buffer)?;
            let name = &piece.buffer.text;
            let rewritten = self.rewritten.get(name).copied().unwrap_or(0);
            if piece.generation > rewritten {
                return Err(Refusal::new(
                    piece.buffer.at,
                    format!("{name} was rewritten {rewritten} times before this"),
                )
                .expecting([format!("a generation up to {rewritten}")]));
            }
            let last = match piece.to {
                Upto::Byte(to) => to,
                Upto::Result(user_data) => {
                    self.known_request(user_data, step)?;
                    piece.from
                }
            };
            if last > self.memory.len_bytes(region) {
                let bytes = self.memory.len_bytes(region);
                return Err(Refusal::new(piece.buffer.at, format!("{name} has {bytes} bytes"))
                    .expecting([format!("a range in 0..{bytes}")]));
            }
            pieces.push(PlacedPiece { region, generation: piece.generation, from: piece.from, to: piece.to });
        }
        if let Some((user_data, _)) = arrival.what.given {
            self.known_request(user_data, step)?;
        }
        let words = super::print::arrival_words(&arrival.what);
        Ok(PlacedArrival { pieces, given: arrival.what.given, words })
    }

    fn sqe(&mut self, line: &SqeLine) -> Result<Sqe, Refusal> {
        let mut sqe = Sqe {
            opcode: line.opcode,
            flags: line.flags,
            ioprio: line.zc,
            op_flags: line.msg,
            user_data: line.user_data,
            buf_index: line.index.unwrap_or(0),
            ..Sqe::default()
        };
        match &line.target {
            Target::None => {}
            Target::Socket(name) => sqe.fd = self.out.names.fd(name)?,
            Target::Closed => sqe.fd = CLOSED_FD,
        }
        match &line.data {
            Data::None => {}
            Data::Flat(segment) => {
                let iovec = self.memory.iovec(segment)?;
                sqe.addr = iovec.addr;
                sqe.len = u32::try_from(iovec.len_bytes).map_err(|_| {
                    Refusal::new(
                        segment.at,
                        format!("{} bytes are too many for a length field", iovec.len_bytes),
                    )
                    .expecting([format!("at most {} bytes", u32::MAX)])
                })?;
            }
            Data::Vector(segments) => {
                let iovecs = segments.iter().map(|s| self.memory.iovec(s)).collect::<Result<Vec<_>, _>>()?;
                if matches!(line.opcode, op::SENDMSG | op::SENDMSG_ZC) {
                    sqe.addr = self.memory.msghdr(&iovecs);
                    // liburing writes 1 here; nothing reads it but the check of its sign.
                    sqe.len = 1;
                } else {
                    sqe.addr = self.memory.array(&iovecs);
                    sqe.len = iovecs.len() as u32;
                }
            }
        }
        for (field, value) in &line.raw {
            set_raw(&mut sqe, *field, *value);
        }
        Ok(sqe)
    }
}

/// Sets a field; the parser kept the value within its width.
fn set_raw(sqe: &mut Sqe, field: RawField, value: u64) {
    match field {
        RawField::Opcode => sqe.opcode = value as u8,
        RawField::Flags => sqe.flags = value as u8,
        RawField::Ioprio => sqe.ioprio = value as u16,
        RawField::Fd => sqe.fd = value as u32 as i32,
        RawField::Off => sqe.off = value,
        RawField::Addr => sqe.addr = value,
        RawField::Len => sqe.len = value as u32,
        RawField::OpFlags => sqe.op_flags = value as u32,
        RawField::UserData => sqe.user_data = value,
        RawField::BufIndex => sqe.buf_index = value as u16,
        RawField::Personality => sqe.personality = value as u16,
        RawField::FileIndex => sqe.file_index = value as u32,
        RawField::Addr3 => sqe.addr3 = value,
        RawField::Pad2 => sqe.pad2 = value,
    }
}

fn filled(table: &BTreeMap<u16, Iovec>) -> Vec<Iovec> {
    let slots = table.keys().next_back().map_or(0, |last| last + 1);
    (0..slots).map(|index| table.get(&index).copied().unwrap_or_default()).collect()
}

fn gives_back(expect: &Expect, user_data: u64, until: LentUntil) -> bool {
    let lines = expect.outcomes.iter().flat_map(|o| &o.lines);
    lines
        .filter_map(|line| match &line.what {
            super::ExpectLine::Request(u, alternatives) if *u == user_data => Some(alternatives),
            _ => None,
        })
        .flatten()
        .any(|alternative| match (until, alternative.what.last()) {
            (LentUntil::Result, Some(_)) => true,
            (LentUntil::Last, Some(super::Pattern::Result(_, more))) => !more,
            (LentUntil::Last, Some(super::Pattern::Notif(_))) => true,
            (_, None) => false,
        })
}

fn rings(case: &Case, mode: Mode) -> Result<Vec<RingSetup>, Refusal> {
    let flags = |written| match mode {
        Mode::Plain => 0,
        Mode::Defer => setup::SINGLE_ISSUER | setup::DEFER_TASKRUN,
        Mode::AsWritten => written,
    };
    if let Some(extra) = case.rings.get(RINGS_MAX) {
        return Err(Refusal::new(extra.at, format!("a case has at most {RINGS_MAX} rings")));
    }
    if case.rings.is_empty() {
        return Ok(vec![RingSetup { entries: 8, cq_entries: None, flags: flags(0) }]);
    }
    let ring = |ring: &Noted<super::Ring>| {
        let what = &ring.what;
        let most = ENTRIES_MAX * 2;
        let entries = (1..=ENTRIES_MAX).contains(&what.entries);
        match entries && what.cq_entries.is_none_or(|cq| (1..=most).contains(&cq)) {
            true => {
                Ok(RingSetup { entries: what.entries, cq_entries: what.cq_entries, flags: flags(what.flags) })
            }
            false => Err(Refusal::new(ring.at, "no ring has so many entries")
                .expecting([format!("entries=1 to {ENTRIES_MAX}, cq=1 to {most}")])),
        }
    };
    case.rings.iter().map(ring).collect()
}

fn names_of(case: &Case) -> Result<(Names, Vec<uringspec_model::program::SocketSetup>), Refusal> {
    let mut names = Names::default();
    let mut setups = Vec::new();
    if let Some(extra) = case.sockets.get(SOCKETS_MAX) {
        return Err(Refusal::new(extra.at, format!("a case has at most {SOCKETS_MAX} sockets")));
    }
    for ring in &case.rings {
        names.add_ring(ring.what.name.as_ref(), ring.at)?;
    }
    for socket in &case.sockets {
        let setup = &socket.what.setup;
        let alone = setup.kind == SocketKind::NotASocket || setup.state == SocketState::Unconnected;
        if alone == socket.what.far.is_some() {
            let help =
                if alone { "one name: there is no peer" } else { "two names: the socket and its peer" };
            return Err(Refusal::new(socket.at, "the names do not fit this kind of socket").expecting([help]));
        }
        let tcp = matches!(setup.kind, SocketKind::Tcp4 | SocketKind::Tcp6);
        if setup.lane != Lane::Loopback && (!tcp || alone) {
            return Err(
                Refusal::new(socket.at, "only connected TCP has this lane").expecting(["lane=loopback"])
            );
        }
        names.add_socket(&socket.what.near, socket.what.far.as_ref())?;
        setups.push(setup.clone());
    }
    Ok((names, setups))
}

impl Lowered {
    /// The line of a step in the case.
    pub fn line_of(&self, step: u32) -> u32 {
        self.lines.get(step as usize).copied().unwrap_or(0)
    }

    /// The `received` line that speaks of what the peer of `socket` reads in `step`: the next one.
    pub fn received_at(&self, socket: SocketId, step: u32) -> Option<u32> {
        let drains = |s: u32| matches!(self.program.steps.get(s as usize), Some(Do::Drain { socket: drained, .. }) if *drained == socket);
        let lines = self.expectations.iter().filter(|e| matches!(e.what, Expected::Arrivals(_)));
        lines.map(|e| e.step).find(|s| *s >= step && drains(*s))
    }

    /// Whether a step is a `settle`.
    pub fn settles_at(&self, step: u32) -> bool {
        matches!(self.program.steps.get(step as usize), Some(Do::Settle))
    }
}
