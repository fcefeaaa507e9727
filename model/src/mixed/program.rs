//! A program with mixed sends as one without: every mixed send lowered, in the same steps.
//!
//! What is staged stands in regions of its own, so that a peer reads the very bytes: a staging area
//! behind everything, or a strip right behind or before the registered buffer that it belongs to, whose
//! registration is widened by it. When it was staged is known, so is what was copied.

use std::collections::BTreeMap;

use super::entry::{self, Headers, NotMixed};
use super::lowering::{Lowering, Missing, Staging};
use super::plan::{self, Mistake, Plan};
use super::view::{Entry, View};
use super::{Memory, MixedSend, Segment, Transfer};
use crate::abi::{PAGE_BYTES, UIO_MAXIOV, op, sqe_flag};
use crate::buffers::{Budget, Buffers};
use crate::memory::{Contents, Generation, HexBytes, Protection, Region, WINDOW_BASE};
use crate::profile::Profile;
use crate::program::{End, Iovec, Program, Register, RingId, SocketKind, Step, socket_of};
use crate::space::{Space, UserMemory};
use crate::sqe::Sqe;

/// A program that was lowered.
#[derive(Clone, Debug)]
pub struct Lowered {
    /// What is run in its place; steps and sockets are the same, regions come behind the given ones.
    pub program: Program,
    /// How what is seen of it is read.
    pub view: View,
    /// Each mixed send as it was lowered, in order.
    pub plans: Vec<Plan>,
}

/// A mixed send where it stands in a program.
struct Found {
    step: usize,
    send: MixedSend,
    staging: Staging,
    staged_at: u64,
}

/// Lowers every mixed send of `program` in the same way. A send that lends nothing is a plain `SENDMSG`
/// in any of them.
pub fn lower(program: &Program, profile: &Profile, lowering: Lowering) -> Result<Lowered, Missing> {
    lower_mistaken(program, profile, lowering, None)
}

/// As `lower`, with a mistake; for tests.
#[doc(hidden)]
pub fn lower_mistaken(
    program: &Program,
    profile: &Profile,
    lowering: Lowering,
    mistake: Option<Mistake>,
) -> Result<Lowered, Missing> {
    let mut work = Work::of(program, profile, lowering, mistake)?;
    work.place()?;
    work.build()
}

struct Work<'a> {
    program: &'a Program,
    lowering: Lowering,
    mistake: Option<Mistake>,
    found: Vec<Found>,
    /// Regions that are added: first byte and contents.
    added: Vec<(u64, Vec<u8>)>,
    /// Registered buffers that are widened: first byte and end, and those they get.
    widened: BTreeMap<(u64, u64), (u64, u64)>,
    /// How often each region was rewritten when a step begins.
    generations: Vec<Vec<Generation>>,
}

impl<'a> Work<'a> {
    fn of(
        program: &'a Program,
        profile: &Profile,
        lowering: Lowering,
        mistake: Option<Mistake>,
    ) -> Result<Work<'a>, Missing> {
        let mut work = Work {
            program,
            lowering,
            mistake,
            found: Vec::new(),
            added: Vec::new(),
            widened: BTreeMap::new(),
            generations: Vec::new(),
        };
        let mut generations = vec![Generation(0); program.regions.len()];
        let space = Space { regions: &program.regions, generations: &[] };
        let mut tables = vec![Buffers::default(); program.rings.len()];
        for (step, what) in program.steps.iter().enumerate() {
            match what {
                Step::Rewrite { region } => {
                    generations.get_mut(usize::from(region.0)).into_iter().for_each(|g| g.0 += 1);
                }
                Step::Register { ring, what } => {
                    if let Some(table) = tables.get_mut(usize::from(ring.0)) {
                        replay(table, what, space);
                    }
                }
                Step::Submit { ring, sqes } => {
                    let table = tables.get(usize::from(ring.0)).cloned().unwrap_or_default();
                    for sqe in sqes {
                        work.find(step, sqe, profile, &table, space)?;
                    }
                }
                _ => {}
            }
            work.generations.push(generations.clone());
        }
        Ok(work)
    }

    fn find(
        &mut self,
        step: usize,
        sqe: &Sqe,
        profile: &Profile,
        table: &Buffers,
        space: Space<'_>,
    ) -> Result<(), Missing> {
        let mut send = match entry::read(sqe, &space) {
            Ok(send) => send,
            Err(NotMixed::Another) => return Ok(()),
            Err(NotMixed::Refused) => return self.too_many(step, sqe, space),
        };
        let kept = sqe_flag::FIXED_FILE | sqe_flag::LINK | sqe_flag::HARDLINK | sqe_flag::ASYNC;
        let inside = |s: &Segment| match s.memory {
            Memory::Registered(index) => table.check(index, s.addr, s.len_bytes.into(), false).is_ok(),
            Memory::Plain => true,
        };
        if send.flags & !kept != 0 || !send.filled().all(inside) {
            return Err(Missing::Refused);
        }
        if self.mistake == Some(Mistake::SegmentsSwapped) && send.segments.len() > 1 {
            send.segments.swap(0, 1);
        }
        let datagram = socket_of(send.fd).filter(|(_, end)| *end == End::Near).is_some_and(|(socket, _)| {
            let setup = self.program.sockets.get(usize::from(socket.0));
            setup.is_some_and(|s| matches!(s.kind, SocketKind::Udp4 | SocketKind::Udp6))
        });
        let staging = match self.lowering.staging(&send, profile, datagram) {
            Err(Missing::NothingLent) => Staging::None,
            Err(Missing::TwoMemories) if self.mistake == Some(Mistake::FixedAcrossTwo) => {
                Staging::Inside(0, send.copied_bytes())
            }
            staging => staging?,
        };
        let readable =
            |s: &Segment| space.readable_prefix(s.addr, s.len_bytes.into()) == u64::from(s.len_bytes);
        if staging != Staging::None && !send.copied().all(readable) {
            return Err(Missing::Unreadable);
        }
        if let Staging::Inside(index, bytes) | Staging::Before(Some(index), _, bytes) = staging
            && bytes > 0
        {
            let (addr, len) = table.lookup(index).map_err(|_| Missing::Refused)?;
            self.widened.entry((addr, addr + len)).or_insert((addr, addr + len));
        }
        self.found.push(Found { step, send, staging, staged_at: 0 });
        Ok(())
    }

    /// An array that is too long is left to the kernel, which refuses it as the proposal does.
    fn too_many(&mut self, step: usize, sqe: &Sqe, space: Space<'_>) -> Result<(), Missing> {
        let mut word = [0; 8];
        let readable = space.read(sqe.addr.saturating_add(24), &mut word).is_ok();
        if self.lowering != Lowering::Copy || !readable || u64::from_le_bytes(word) <= UIO_MAXIOV {
            return Err(Missing::Refused);
        }
        let nothing = Segment { addr: 0, len_bytes: 0, memory: Memory::Plain, transfer: Transfer::Copy };
        let send = MixedSend {
            user_data: sqe.user_data,
            fd: sqe.fd,
            flags: sqe.flags,
            msg: sqe.op_flags,
            reports: false,
            segments: vec![nothing; UIO_MAXIOV as usize + 1],
        };
        self.found.push(Found { step, send, staging: Staging::None, staged_at: 0 });
        Ok(())
    }

    /// Finds addresses for what is staged.
    fn place(&mut self) -> Result<(), Missing> {
        let mut anywhere = Area::at(self.end());
        let mut behind: BTreeMap<u64, Area> = BTreeMap::new();
        for i in 0..self.found.len() {
            let Found { staging, .. } = self.found[i];
            self.found[i].staged_at = match staging {
                Staging::None => 0,
                Staging::Anywhere(bytes) => anywhere.take(bytes),
                Staging::Before(_, start, bytes) => start - bytes,
                Staging::Inside(index, bytes) => {
                    let end = self.buffer_of(i, index).map_or(0, |(_, end)| end);
                    behind.entry(end).or_insert_with(|| Area::at(ceil(end))).take(bytes)
                }
            };
            if let Staging::Before(index, start, bytes) = staging
                && bytes > 0
            {
                let whole = index.and_then(|index| self.buffer_of(i, index)).ok_or(Missing::NoRoom)?;
                let strip = start - bytes..start;
                if whole.0 != start || !start.is_multiple_of(PAGE_BYTES) || strip.start < WINDOW_BASE {
                    return Err(Missing::NoRoom);
                }
                let wide = self.widened.entry(whole).or_insert(whole);
                if wide.0 != start {
                    return Err(Missing::NoRoom);
                }
                wide.0 = strip.start;
                self.add(strip.start, strip.end)?;
            }
        }
        if anywhere.next > anywhere.start {
            self.add(anywhere.start, anywhere.next)?;
        }
        for (end, area) in behind {
            if area.next > area.start {
                self.add(area.start, area.next)?;
                let buffers = self.widened.iter_mut().filter(|((_, e), _)| *e == end);
                buffers.for_each(|(_, wide)| wide.1 = area.next);
            }
        }
        Ok(())
    }

    /// The registered buffer that holds what a send lends.
    fn buffer_of(&self, found: usize, index: u16) -> Option<(u64, u64)> {
        let send = &self.found[found].send;
        let lent = send.lent().find(|s| s.memory == Memory::Registered(index))?;
        let holds = |(start, end): &&(u64, u64)| *start <= lent.addr && lent.addr < *end;
        self.widened.keys().find(holds).copied()
    }

    /// The first page behind all regions, with a page between.
    fn end(&self) -> u64 {
        let ends = self.program.regions.iter().map(Region::end);
        let added = self.added.iter().map(|(addr, bytes)| addr + bytes.len() as u64);
        ceil(ends.chain(added).max().unwrap_or(WINDOW_BASE)) + 16 * PAGE_BYTES
    }

    /// Adds a region, which must share no page with another.
    fn add(&mut self, start: u64, end: u64) -> Result<(), Missing> {
        let overlaps = |addr: u64, len: u64| {
            let (a, b) = (addr / PAGE_BYTES * PAGE_BYTES, ceil(addr + len));
            len > 0 && a < ceil(end) && start / PAGE_BYTES * PAGE_BYTES < b
        };
        let taken = self.program.regions.iter().any(|r| overlaps(r.addr, r.len_bytes))
            || self.added.iter().any(|(addr, bytes)| overlaps(*addr, bytes.len() as u64));
        if taken {
            return Err(Missing::NoRoom);
        }
        self.added.push((start, vec![0; (end - start) as usize]));
        Ok(())
    }

    fn build(mut self) -> Result<Lowered, Missing> {
        let mut headers = Headers::at(self.end());
        let mut extra = self.first_free();
        let mut plans = Vec::new();
        let found = std::mem::take(&mut self.found);
        for Found { step, send, staging, staged_at } in &found {
            let lowering = if send.lends_from().is_none() { Lowering::Copy } else { self.lowering };
            let plan = plan::lower(send, lowering, *staging, *staged_at, extra, &mut headers);
            extra += plan.sqes.len() as u64 - 1;
            self.stage(*step, &plan);
            plans.push(plan);
        }
        let mut view = View { mistake: self.mistake, ..View::default() };
        let mut next = found.iter().zip(&plans);
        let mut steps = Vec::new();
        for step in &self.program.steps {
            let lowered = match step {
                Step::Submit { ring, sqes } => {
                    let mut lowered = Vec::new();
                    let before = view.entries.len();
                    for sqe in sqes {
                        match entry::read(sqe, &self.space()) {
                            Err(NotMixed::Another) => {
                                lowered.extend(others(sqe, *ring, &mut view, &mut extra));
                            }
                            Ok(_) | Err(NotMixed::Refused) => {
                                let (found, plan) = next.next().ok_or(Missing::Refused)?;
                                view.entries.push(Entry::send(*ring, &found.send, plan));
                                lowered.extend(&plan.sqes);
                            }
                        }
                    }
                    view.submitted.push(before..view.entries.len());
                    Step::Submit { ring: *ring, sqes: lowered }
                }
                Step::Register { ring, what } => {
                    view.submitted.push(0..0);
                    Step::Register { ring: *ring, what: self.widen(what) }
                }
                Step::Reap { ring, until } => {
                    view.submitted.push(0..0);
                    Step::Reap { ring: *ring, until: view.until(*ring, until) }
                }
                other => {
                    view.submitted.push(0..0);
                    other.clone()
                }
            };
            steps.push(lowered);
        }
        if !headers.bytes.is_empty() {
            self.added.push((headers.addr, headers.bytes));
        }
        let first = self.program.regions.len();
        let program = self.program_with(steps);
        view.added = (first, program.regions[first..].to_vec());
        Ok(Lowered { program, view, plans })
    }

    fn space(&self) -> Space<'a> {
        Space { regions: &self.program.regions, generations: &[] }
    }

    /// Copies what a plan stages, as it is when its step begins.
    fn stage(&mut self, step: usize, plan: &Plan) {
        let last = self.generations.len() - 1;
        let when = if self.mistake == Some(Mistake::StagedLate) { last } else { step };
        let program = self.program;
        let space = Space { regions: &program.regions, generations: &self.generations[when] };
        for copy in &plan.copies {
            let area = self.added.iter_mut().find(|(addr, bytes)| {
                *addr <= copy.to && copy.to + copy.len_bytes <= addr + bytes.len() as u64
            });
            if let Some((addr, bytes)) = area {
                let at = (copy.to - *addr) as usize;
                // unreadable memory was refused
                let _ = space.read(copy.from, &mut bytes[at..at + copy.len_bytes as usize]);
            }
        }
    }

    /// User data that no entry has.
    fn first_free(&self) -> u64 {
        let submits = self.program.steps.iter().filter_map(|step| match step {
            Step::Submit { sqes, .. } => Some(sqes),
            _ => None,
        });
        submits.flatten().map(|sqe| sqe.user_data).filter(|u| *u < 1 << 48).max().unwrap_or(0) + 1
    }

    fn widen(&self, what: &Register) -> Register {
        let wide =
            |iovec: &Iovec| match self.widened.get(&(iovec.addr, iovec.addr.wrapping_add(iovec.len_bytes))) {
                Some((start, end)) => Iovec { addr: *start, len_bytes: end - start },
                None => *iovec,
            };
        match what {
            Register::Buffers(iovecs) => Register::Buffers(iovecs.iter().map(wide).collect()),
            Register::UpdateBuffers { offset, iovecs } => {
                Register::UpdateBuffers { offset: *offset, iovecs: iovecs.iter().map(wide).collect() }
            }
            other => other.clone(),
        }
    }

    fn program_with(self, steps: Vec<Step>) -> Program {
        let most = |ring: usize| {
            let sizes = steps.iter().filter_map(|step| match step {
                Step::Submit { ring: on, sqes } if usize::from(on.0) == ring => Some(sqes.len() as u32),
                _ => None,
            });
            sizes.max().unwrap_or(0)
        };
        let mut program = self.program.clone();
        for (i, ring) in program.rings.iter_mut().enumerate() {
            ring.entries = ring.entries.max(most(i));
        }
        program.regions.extend(self.added.into_iter().enumerate().map(|(i, (addr, bytes))| Region {
            name: format!("lowered {i}"),
            addr,
            len_bytes: bytes.len() as u64,
            protection: Protection::ReadWrite,
            contents: Contents::Bytes(HexBytes(bytes)),
        }));
        program.steps = steps;
        program
    }
}

/// An entry that is no mixed send; a cancel of one that became several cancels each of them.
fn others(sqe: &Sqe, ring: RingId, view: &mut View, extra: &mut u64) -> Vec<Sqe> {
    let several = view.shares_of(ring, sqe.addr).filter(|_| sqe.opcode == op::ASYNC_CANCEL);
    let targets = several.filter(|shares| shares.len() > 1).unwrap_or_else(|| vec![sqe.addr]);
    let cancels = targets.iter().enumerate().map(|(i, target)| {
        let user_data = if i == 0 { sqe.user_data } else { *extra + i as u64 - 1 };
        Sqe { addr: *target, user_data, ..*sqe }
    });
    let cancels: Vec<Sqe> = cancels.collect();
    *extra += targets.len() as u64 - 1;
    view.entries.push(Entry::other(ring, sqe, &cancels));
    cancels
}

/// A staging area while it is filled: what one send stages crosses as few pages as it can.
struct Area {
    start: u64,
    next: u64,
}

impl Area {
    fn at(start: u64) -> Area {
        Area { start, next: start }
    }

    fn take(&mut self, bytes: u64) -> u64 {
        let from = self.next.next_multiple_of(8);
        let crosses = from / PAGE_BYTES != (from + bytes.max(1) - 1) / PAGE_BYTES;
        let from = if crosses { ceil(from) } else { from };
        if bytes > 0 {
            self.next = from + bytes;
        }
        from
    }
}

fn ceil(addr: u64) -> u64 {
    addr.next_multiple_of(PAGE_BYTES)
}

fn replay(table: &mut Buffers, what: &Register, space: Space<'_>) {
    let budget = Budget::default();
    // a call that fails leaves the table as it was
    let _ = match what {
        Register::Buffers(iovecs) => table.register(iovecs, space, budget),
        Register::SparseBuffers(count) => table.register_sparse(*count),
        Register::UpdateBuffers { offset, iovecs } => {
            table.update(*offset, iovecs, space, budget).map(|_| ())
        }
        Register::UnregisterBuffers => table.unregister(),
        Register::Files(_)
        | Register::UnregisterFiles
        | Register::Enable
        | Register::Restrict(_)
        | Register::Cancel(_) => Ok(()),
    };
}
