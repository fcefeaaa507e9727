//! Turns a case into programs, one for each kind of ring, with what is expected of each step.

use std::collections::BTreeMap;

use uringspec_model::abi::setup as flag;
use uringspec_model::enter as model;
use uringspec_model::net::WINDOW_UNIT_BYTES;
use uringspec_model::program::{
    Amount, End, Program, Register, RingId, RingSetup, SocketId, Step as Do, Until,
};
use uringspec_model::sqe::Sqe;
use uringspec_model::trace::Words;
use winnow::Result;

use super::error::{CaseError, Refusal};
use super::lowered::{Expectation, Expected, Lowered, PlacedArrival, PlacedPiece};
use super::place::Memory;
use super::wants::{self, Wants};
use super::{
    Arrival, Case, Expect, LentUntil, Mode, Name, Noted, Piece, Ring, Setup, SqeLine, Step, Upto, entry,
    setup, table,
};

/// Lowers a case that was read from `text`. There is at least one program.
pub fn lower(file: &str, text: &str, case: &Case) -> std::result::Result<Vec<Lowered>, CaseError> {
    let lower_all = || -> Result<Vec<Lowered>, Refusal> {
        setup::modes(case)?.into_iter().map(|mode| Lowering::of(text, case, mode)?.run()).collect()
    };
    lower_all().map_err(|refusal| refusal.of(file, text))
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
        let (names, sockets) = setup::sockets(case)?;
        let limits = case.limits.as_ref().map(|limits| limits.what.clone()).unwrap_or_default();
        let rings = setup::rings(case, mode)?;
        let program = Program { limits, rings, sockets, ..Program::default() };
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
            if table.insert(u32::from(index), iovec).is_some() {
                return Err(Refusal::new(buffer.at, format!("slot {index} is taken")));
            }
            line = buffer.at.line(self.text);
        }
        if !table.is_empty() {
            let what = Register::Buffers(table::filled(&table));
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
                let sqes = self.entries(ring, &submit.sqes, step)?;
                let returns = submit.returns.as_ref().map_or(sqes.len() as i64, |r| r.what.0);
                (Do::Submit { ring, sqes }, Some(Expected::Returned(returns)))
            }
            Step::Queue(queue) => {
                let ring = self.out.names.ring(queue.ring.as_ref())?;
                let sqes = self.entries(ring, &queue.sqes, step)?;
                let array = queue.array.as_ref().map_or(&[][..], |array| &array.what);
                self.check_array(ring, sqes.len(), array, step)?;
                (Do::Queue { ring, sqes, array: array.to_vec() }, None)
            }
            Step::Enter(call) => {
                let super::Enter { on, to_submit, wanted, flags, argument, .. } = *call;
                let ring = self.out.names.ring(call.ring.as_ref())?;
                let returned = call.returns.map_or(i64::from(to_submit), |returns| returns.0);
                let call = model::Enter { ring, on, to_submit, wanted, flags, argument };
                (Do::Enter(call), Some(Expected::Returned(returned)))
            }
            Step::Sleep(ring) => {
                let ring = self.out.names.ring(ring.as_ref())?;
                if self.out.program.rings[usize::from(ring.0)].flags & flag::SQPOLL == 0 {
                    return Err(Refusal::new(step.at, "this ring has no thread that could sleep")
                        .expecting(["a ring with flags=SQPOLL"]));
                }
                (Do::Sleep { ring }, None)
            }
            Step::Look(look) => {
                let super::Look { flags, dropped, queued, .. } = *look;
                let ring = self.out.names.ring(look.ring.as_ref())?;
                (Do::Look { ring }, Some(Expected::Words(Words { ring, flags, dropped, queued })))
            }
            Step::Expect(expect) => {
                let ring = self.out.names.ring(expect.ring.as_ref())?;
                for user_data in wants::mentioned(expect) {
                    self.known_request(user_data, step)?;
                    self.lent.retain(|_, (owner, until)| {
                        *owner != user_data || !gives_back(expect, user_data, *until)
                    });
                }
                let wants = self.wants.of(expect);
                if let Some(overflow) = expect.peek {
                    let (step, line) = (self.out.program.steps.len() as u32, step.at.line(self.text));
                    let what = Expected::Overflow(overflow);
                    self.out.expectations.push(Expectation { step, line, what });
                    self.push(line, Do::Peek { ring }, Some(Expected::Completions(expect.clone())));
                    return Ok(());
                }
                let until = if wants.is_empty() { Until::Now } else { Until::Seen(wants) };
                (Do::Reap { ring, until }, Some(Expected::Completions(expect.clone())))
            }
            Step::Fence(ring) => (Do::Fence { ring: self.out.names.ring(ring.as_ref())? }, None),
            Step::Settle => (Do::Settle, None),
            Step::Elsewhere(ring, returns) => {
                let ring = self.out.names.ring(ring.as_ref())?;
                let returned = returns.map_or(0, |returns| returns.0);
                (Do::EnterElsewhere { ring }, Some(Expected::Returned(returned)))
            }
            Step::Setup(Setup { ring, returns }) => {
                let Ring { entries, cq_entries, flags, .. } = *ring;
                let asked = RingSetup { entries, cq_entries, flags };
                (Do::Setup(asked), Some(Expected::Returned(returns.map_or(0, |returns| returns.0))))
            }
            Step::Drain(peer, bytes) => {
                let amount = bytes.map_or(Amount::Everything, Amount::Bytes);
                (Do::Drain { socket: self.reading(peer)?, amount }, None)
            }
            Step::Received(peer, arrivals) => {
                let socket = self.reading(peer)?;
                let arrivals = arrivals
                    .iter()
                    .map(|arrival| self.arrival(socket, arrival, step))
                    .collect::<Result<_, _>>()?;
                (Do::Drain { socket, amount: Amount::Everything }, Some(Expected::Arrivals(arrivals)))
            }
            Step::Ack(peer, bytes) => {
                let amount = bytes.map_or(Amount::Everything, Amount::Bytes);
                (Do::Ack { socket: self.declared(peer)?, amount }, None)
            }
            Step::Window(peer, bytes) => {
                if bytes % WINDOW_UNIT_BYTES != 0 {
                    return Err(Refusal::new(step.at, "a window is offered in whole units")
                        .expecting([format!("a multiple of {WINDOW_UNIT_BYTES}")]));
                }
                (Do::OfferWindow { socket: self.declared(peer)?, bytes: *bytes }, None)
            }
            Step::Miss(peer, bytes) => (Do::Miss { socket: self.declared(peer)?, len_bytes: *bytes }, None),
            Step::Resent(peer, arrival) => {
                let socket = self.declared(peer)?;
                self.reading(peer)?;
                let arrival = self.arrival(socket, &Noted::plain(arrival.clone()), step)?;
                let lens = arrival.parts.iter().flatten().map(|piece| match piece.to {
                    Upto::Byte(to) => to.saturating_sub(piece.from),
                    Upto::Result(_) => 0,
                });
                let len_bytes = lens.fold(0, u64::saturating_add);
                (Do::Miss { socket, len_bytes }, Some(Expected::Resent(arrival)))
            }
            Step::Rewrite(buffer) => (self.rewrite(buffer, step)?, None),
            Step::Reset(peer) => (Do::ResetPeer { socket: self.out.names.socket(peer, End::Far)? }, None),
            Step::Close(socket) => (Do::CloseOwn { socket: self.out.names.socket(socket, End::Near)? }, None),
            Step::Shutdown(socket) => {
                (Do::ShutdownOwn { socket: self.out.names.socket(socket, End::Near)? }, None)
            }
            Step::Cork(socket, on) => {
                (Do::Cork { socket: self.out.names.socket(socket, End::Near)?, on: *on }, None)
            }
            Step::Register(register) => {
                let ring = self.out.names.ring(register.ring.as_ref())?;
                let (what, usual) = table::call(register, &self.out.names, &self.memory)?;
                let returns = register.returns.map_or(usual, |r| r.0);
                (Do::Register { ring, what }, Some(Expected::Returned(returns)))
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

    /// The entries of a block.
    fn entries(
        &mut self,
        ring: RingId,
        lines: &[Noted<SqeLine>],
        step: &Noted<Step>,
    ) -> Result<Vec<Sqe>, Refusal> {
        let room = self.out.program.rings[usize::from(ring.0)].entries.next_power_of_two() as usize;
        if lines.len() > room {
            return Err(Refusal::new(step.at, format!("{} entries are too many", lines.len()))
                .expecting([format!("at most {room}, the size of the queue")]));
        }
        let mut sqes = Vec::new();
        for sqe in lines {
            let line = sqe.at.line(self.text);
            if let Some(before) = self.requests.insert(sqe.what.user_data, line) {
                let taken = format!("#{} is taken by line {before}", sqe.what.user_data);
                return Err(Refusal::new(sqe.at, taken).expecting(["other user data"]));
            }
            sqes.push(entry::sqe(&sqe.what, &self.out.names, &mut self.memory)?);
        }
        Ok(sqes)
    }

    /// Refuses indices of entries that are not those of the same block.
    fn check_array(
        &self,
        ring: RingId,
        entries: usize,
        array: &[u32],
        step: &Noted<Step>,
    ) -> Result<(), Refusal> {
        let made = &self.out.program.rings[usize::from(ring.0)];
        let slots = made.entries.next_power_of_two() as usize;
        let of_none = |index: &u32| (entries..slots).contains(&(*index as usize));
        let refuse = |why: &str, help: String| Err(Refusal::new(step.at, why).expecting([help]));
        match array {
            [] => Ok(()),
            _ if made.flags & flag::NO_SQARRAY != 0 => {
                refuse("this ring has no array of indices", "a ring without NO_SQARRAY".into())
            }
            _ if array.len() < entries || array.len() > slots => refuse(
                "the array leaves entries out, or is too long",
                format!("{entries} to {slots} indices"),
            ),
            _ if array.iter().any(of_none) => {
                refuse("an index is of no entry above", format!("0 to {}, or {slots} on", entries.max(1) - 1))
            }
            _ => Ok(()),
        }
    }

    /// The socket whose peer reads.
    fn reading(&self, peer: &Name) -> Result<SocketId, Refusal> {
        let socket = self.out.names.socket(peer, End::Far)?;
        let lane = self.out.program.sockets[usize::from(socket.0)].lane;
        match !lane.is_heard() {
            true => Err(Refusal::new(peer.at, format!("{} is not there and reads nothing", peer.text))
                .expecting(["a socket with lane=ifb-udp-tap or lane=repair-tcp-tap"])),
            false => Ok(socket),
        }
    }

    /// The socket whose peer does what it is told.
    fn declared(&self, peer: &Name) -> Result<SocketId, Refusal> {
        let socket = self.out.names.socket(peer, End::Far)?;
        let lane = self.out.program.sockets[usize::from(socket.0)].lane;
        match lane.is_declared() {
            true => Ok(socket),
            false => Err(Refusal::new(peer.at, format!("{} does not do what it is told", peer.text))
                .expecting(["a socket with lane=repair-tcp"])),
        }
    }

    fn known_request(&self, user_data: u64, step: &Noted<Step>) -> Result<(), Refusal> {
        match self.requests.contains_key(&user_data) {
            true => Ok(()),
            false => Err(Refusal::new(step.at, format!("#{user_data} was not submitted before this"))
                .expecting(match self.requests.is_empty() {
                    true => vec!["a submit block above".to_string()],
                    false => self.requests.keys().map(|u| format!("#{u}")).collect(),
                })),
        }
    }

    fn rewrite(&mut self, buffer: &Name, step: &Noted<Step>) -> Result<Do, Refusal> {
        let region = self.memory.region(buffer)?;
        let commented = step.note.is_some() || !step.above.is_empty();
        if let Some((owner, _)) = self.lent.get(&buffer.text).filter(|_| !commented) {
            return Err(Refusal::new(step.at, format!("{} is lent to #{owner} here", buffer.text))
                .expecting(["a comment on this line that says why it is rewritten all the same"]));
        }
        let writable = |b: &&Noted<super::Buffer>| {
            b.what.name.text == buffer.text && b.what.protection.is_read_write() && !b.what.sink
        };
        if !self.case.buffers.iter().any(|b| writable(&b)) {
            return Err(Refusal::new(buffer.at, format!("{} cannot be written", buffer.text))
                .expecting(["a buffer without `prot=`"]));
        }
        *self.rewritten.entry(buffer.text.clone()).or_default() += 1;
        Ok(Do::Rewrite { region })
    }

    fn arrival(
        &self,
        socket: SocketId,
        arrival: &Noted<Arrival>,
        step: &Noted<Step>,
    ) -> Result<PlacedArrival, Refusal> {
        let datagrams = arrival.what.parts.len() > 1 || arrival.what.parts.iter().any(Vec::is_empty);
        if datagrams && !self.out.is_datagram(socket) {
            return Err(
                Refusal::new(step.at, "a stream has no parts").expecting(["pieces with commas", "nothing"])
            );
        }
        let place = |part: &Vec<Piece>| part.iter().map(|piece| self.piece(piece, step)).collect();
        let parts = arrival.what.parts.iter().map(place).collect::<Result<_, Refusal>>()?;
        if let Some((user_data, _)) = arrival.what.given {
            self.known_request(user_data, step)?;
        }
        let words = super::print::arrival_words(&arrival.what);
        Ok(PlacedArrival { parts, given: arrival.what.given, words })
    }

    fn piece(&self, piece: &Piece, step: &Noted<Step>) -> Result<PlacedPiece, Refusal> {
        let region = self.memory.region(&piece.buffer)?;
        let name = &piece.buffer.text;
        let rewritten = self.rewritten.get(name).copied().unwrap_or(0);
        if piece.generation > rewritten {
            let message = format!("{name} was rewritten {rewritten} times before this");
            return Err(
                Refusal::new(piece.buffer.at, message).expecting([format!("a generation up to {rewritten}")])
            );
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
        Ok(PlacedPiece { region, generation: piece.generation, from: piece.from, to: piece.to })
    }
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
            (LentUntil::Last, Some(super::Pattern::Result(_, more))) => !more,
            (_, Some(_)) => true,
            (_, None) => false,
        })
}
