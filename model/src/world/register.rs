//! The tables of a ring: what a call that changes one returns, and what is in it afterwards.
//!
//! Source: `io_uring/rsrc.c`, `io_uring/filetable.c`, 6.18.

use super::World;
use crate::abi::errno;
use crate::buffers::{Budget, Buffers};
use crate::cqe::Errno;
use crate::prepare::{Plan, SendPlan};
use crate::profile::Feature;
use crate::program::{Limits, Register, RingId, RingSetup, SocketId};
use crate::request::{Phase, Request, RequestId};
use crate::rules::Rule;
use crate::setup::{self, Refused};
use crate::space::Space;

/// What is registered with a ring.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tables {
    pub(crate) buffers: Buffers,
    /// The files; `None`: no table.
    pub(crate) files: Option<Vec<Option<SocketId>>>,
}

impl Tables {
    /// The socket that is registered at an index.
    pub(super) fn file(&self, index: i32) -> Option<SocketId> {
        self.files.as_ref()?.get(usize::try_from(index).ok()?).copied().flatten()
    }

    /// The error of a send that names registered memory which is not there.
    pub(super) fn judge(&self, plan: &SendPlan) -> Option<(Errno, Rule)> {
        if let Some(missing) = plan.missing(&self.buffers) {
            return Some(missing);
        }
        let index = plan.fixed?;
        if let Err(missing) = self.buffers.lookup(index) {
            return Some(missing);
        }
        let checks =
            plan.ranges.iter().map(|(addr, len)| self.buffers.check(index, *addr, *len, plan.is_vector));
        let (error, rule) = checks.filter_map(Result::err).next()?;
        let crosses = plan.ranges.len() > 1 && rule == Rule::BufRangeInside;
        Some((error, if crosses { Rule::BufVectorInOne } else { rule }))
    }
}

/// What a call returns: a count, or an errno and its rule.
type Returned = Result<i64, (Errno, Rule)>;

impl World<'_> {
    /// A ring is made and closed again. Where memory is limited it might not be had.
    pub(super) fn try_setup(&mut self, asked: &RingSetup) {
        let judged = setup::judge(asked, self.law.profile.version);
        (self.state.returns, self.state.returns_rule) = match judged {
            Ok(()) => (Some(0), Rule::SetupMakesRing),
            Err(Refused::By(error, rule)) => (Some(-i64::from(error.0)), rule),
            Err(Refused::NotModelled(what)) => return self.give_up(what),
        };
        if judged.is_ok() && self.law.program.limits != Limits::default() {
            self.give_up("a ring beside others where little memory may be locked");
        }
    }

    pub(super) fn register(&mut self, ring: RingId, what: &Register) {
        if self.ring_mut(ring).is_none() {
            return;
        }
        if self.forbids_call(ring, what) {
            (self.state.returns, self.state.returns_rule) =
                (Some(-i64::from(errno::EACCES)), Rule::RingRestrictsCalls);
            return;
        }
        let before = self.state.rings[usize::from(ring.0)].tables.clone();
        let (result, promised) = match what {
            Register::Files(files) => (self.register_files(ring, files), Rule::FilesRegisterOnce),
            Register::UnregisterFiles => {
                let had = self.state.rings[usize::from(ring.0)].tables.files.take().is_some();
                let result = if had { Ok(0) } else { Err((Errno(errno::ENXIO), Rule::FilesRegisterOnce)) };
                (result, Rule::FilesRegisterOnce)
            }
            Register::Cancel(target) => (self.cancel_in_call(ring, *target), Rule::CancelCallFound),
            Register::Restrict(list) => (self.restrict(ring, list), Rule::RingRestrictOnce),
            Register::Enable => {
                let state = &mut self.state.rings[usize::from(ring.0)];
                let result = match std::mem::take(&mut state.is_disabled) {
                    true => Ok(0),
                    false => Err((Errno(errno::EBADFD), Rule::RingEnableOnce)),
                };
                (result, Rule::RingEnableOnce)
            }
            Register::Buffers(_) => (self.change_buffers(ring, what), Rule::BufEntryValid),
            Register::SparseBuffers(_) => (self.change_buffers(ring, what), Rule::BufTableSize),
            Register::UpdateBuffers { .. } => (self.change_buffers(ring, what), Rule::BufUpdateCounts),
            Register::UnregisterBuffers => (self.change_buffers(ring, what), Rule::BufUnregisterNeedsTable),
        };
        if before != self.state.rings[usize::from(ring.0)].tables {
            self.keep_former(ring, before);
            self.look_up_again(ring);
        }
        (self.state.returns, self.state.returns_rule) = match result {
            Ok(count) => (Some(count), promised),
            Err((error, rule)) => (Some(-i64::from(error.0)), rule),
        };
        if matches!(what, Register::UnregisterBuffers | Register::UnregisterFiles)
            && !self.law.profile.has(Feature::UnregisterReturns)
            && self.state.requests.values().any(|r| r.ring == ring)
        {
            self.give_up("a table that is unregistered while requests may use it, which waits for them here");
        }
    }

    /// Keeps the tables that a ring had, while a request may have used them.
    fn keep_former(&mut self, ring: RingId, tables: Tables) {
        let open = self.state.requests.values().filter(|r| r.ring == ring && r.phase != Phase::Done);
        let oldest = open.map(|request| request.born_at).min();
        let until = self.state.begun;
        let former = &mut self.state.rings[usize::from(ring.0)].former;
        former.push((until, tables));
        former.retain(|(until, _)| oldest.is_some_and(|oldest| *until > oldest));
    }

    /// What a request may find where it looks up what is registered: the tables of now, and where it is not known when
    /// it looked, those since its submission.
    pub(super) fn tables_of(&self, id: RequestId) -> impl Iterator<Item = &Tables> {
        let request = self.request(id);
        let ring = &self.state.rings[usize::from(request.ring.0)];
        let may_have_used = move |until: u32| request.late && until > request.born_at;
        let former = ring.former.iter().filter(move |(until, _)| may_have_used(*until));
        std::iter::once(&ring.tables).chain(former.map(|(_, tables)| tables))
    }

    /// Whether the registered file that a request names was missing at a time at which it may have been looked up.
    pub(super) fn may_lack_file(&self, id: RequestId, plan: &SendPlan) -> bool {
        plan.fixed_file && self.tables_of(id).any(|tables| tables.file(plan.fd).is_none())
    }

    /// Tables have changed: requests of other threads, and deferred ones, may look them up only now.
    fn look_up_again(&mut self, ring: RingId) {
        let open = |r: &Request| {
            r.ring == ring && matches!(r.phase, Phase::Issued | Phase::Armed) && !r.cut && !r.has_ended
        };
        // where work is deferred, the poll and what comes behind it are done in different enters
        let defers = self.state.rings[usize::from(ring.0)].defers;
        let polls = |r: &Request| r.polls_first && (r.may.waiting || defers && r.late);
        let untimed =
            self.state.requests.iter().filter(|(_, r)| open(r) && (r.is_async || r.is_deferred || polls(r)));
        for (id, kept) in untimed.map(|(id, r)| (*id, r.looks_up.clone())).collect::<Vec<_>>() {
            let Some(plan) = kept else { continue };
            let tables = &self.state.rings[usize::from(ring.0)].tables;
            let mut errors = Vec::new();
            // whoever polls first looks up its file before, and its buffer behind that
            let names_file = plan.fixed_file && (self.request(id).is_async || self.request(id).is_deferred);
            if self.request(id).imported && !names_file {
                // nothing of it is looked up any more
                continue;
            }
            let missing = names_file && tables.file(plan.fd).is_none();
            errors.extend(missing.then_some((Errno(errno::EBADF), Rule::SendBadDescriptor)));
            errors.extend(tables.judge(&plan).filter(|_| !self.request(id).imported));
            let other = names_file && !missing && tables.file(plan.fd) != self.request(id).socket;
            // one that polls and whose memory was not there has yet to look it up
            let polls = self.request(id).may.waiting
                && (self.request(id).may.errors.is_empty() || self.writer(id).is_some());
            let request = self.request_mut(id);
            let hopeless = request.may.bytes.is_none() && !polls;
            if (errors.is_empty() && hopeless) || (other && request.socket.is_none()) {
                request.late = true;
                request.phase = Phase::Queued;
                request.plan = Some(Plan::Send(*plan));
                self.try_first(id);
            } else if other {
                self.give_up("a registered file that may be either of two sockets");
            } else {
                request.may.add_errors(errors);
            }
        }
    }

    fn register_files(&mut self, ring: RingId, files: &[Option<u16>]) -> Returned {
        let closed = |index: &u16| self.is_closed(SocketId(*index));
        let any_closed = files.iter().flatten().any(closed);
        let sockets = self.law.program.sockets.len();
        let table = &mut self.state.rings[usize::from(ring.0)].tables.files;
        if table.is_some() {
            return Err((Errno(errno::EBUSY), Rule::FilesRegisterOnce));
        }
        if files.is_empty() {
            return Err((Errno(errno::EINVAL), Rule::FilesRegisterOnce));
        }
        if any_closed {
            return Err((Errno(errno::EBADF), Rule::SendBadDescriptor));
        }
        let socket = |index: &u16| (usize::from(*index) < sockets).then_some(SocketId(*index));
        *table = Some(files.iter().map(|f| f.as_ref().and_then(socket)).collect());
        Ok(0)
    }

    /// Whether this is a socket of the program whose descriptor is closed.
    fn is_closed(&self, socket: SocketId) -> bool {
        usize::from(socket.0) < self.law.program.sockets.len() && !self.is_open(socket)
    }

    fn change_buffers(&mut self, ring: RingId, what: &Register) -> Returned {
        let lockable = self.lockable(false);
        // only who uses a registered buffer keeps it, and until when is not known (`io_find_buf_node` in `io_uring/rsrc.c`)
        let is_used = self.state.requests.values().any(|request| request.ring == ring && request.fixed);
        let table = &self.state.rings[usize::from(ring.0)].tables.buffers;
        let call = |pages, gives_back| {
            let mut after = table.clone();
            let result = change(&mut after, what, self.space(), Budget { pages, gives_back });
            (after, result)
        };
        let (after, result) = call(lockable.map(|(least, _)| least), !is_used);
        let clear = lockable.is_none_or(|(_, most)| call(Some(most), true) == (after.clone(), result));
        let freed = match (what, result) {
            (Register::UnregisterBuffers, Ok(_)) => table.pages(),
            (Register::UpdateBuffers { offset, .. }, Ok(count)) => table.pages_of_slots(*offset, count),
            _ => 0,
        };
        self.state.rings[usize::from(ring.0)].tables.buffers = after;
        if is_used {
            self.state.lingering_pages += freed;
        }
        if !clear {
            self.give_up("a table that may or may not be more than may be locked");
        }
        result
    }
}

fn change(table: &mut Buffers, what: &Register, space: Space<'_>, budget: Budget) -> Returned {
    match what {
        Register::Buffers(iovecs) => table.register(iovecs, space, budget).map(|()| 0),
        Register::SparseBuffers(count) => table.register_sparse(*count).map(|()| 0),
        Register::UpdateBuffers { offset, iovecs } => table.update(*offset, iovecs, space, budget),
        Register::UnregisterBuffers
        | Register::Files(_)
        | Register::UnregisterFiles
        | Register::Enable
        | Register::Restrict(_)
        | Register::Cancel(_) => table.unregister().map(|()| 0),
    }
}
