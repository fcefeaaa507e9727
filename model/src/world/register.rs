//! The tables of a ring: what a call that changes one returns, and what is in it afterwards.
//!
//! Source: `io_uring/rsrc.c`, `io_uring/filetable.c`, 6.18.

use super::World;
use crate::abi::errno;
use crate::buffers::{Budget, Buffers};
use crate::cqe::Errno;
use crate::profile::Feature;
use crate::program::{Register, RingId, SocketId};
use crate::request::{Phase, Request};
use crate::rules::Rule;
use crate::space::Space;

/// What a call returns: a count, or an errno and its rule.
type Returned = Result<i64, (Errno, Rule)>;

impl World<'_> {
    pub(super) fn register(&mut self, ring: RingId, what: &Register) {
        if self.ring_mut(ring).is_none() {
            return;
        }
        let (result, promised) = match what {
            Register::Files(files) => (self.register_files(ring, files), Rule::FilesRegisterOnce),
            Register::UnregisterFiles => {
                let had = self.state.rings[usize::from(ring.0)].files.take().is_some();
                let result = if had { Ok(0) } else { Err((Errno(errno::ENXIO), Rule::FilesRegisterOnce)) };
                (result, Rule::FilesRegisterOnce)
            }
            Register::Buffers(_) => (self.change_buffers(ring, what), Rule::BufEntryValid),
            Register::SparseBuffers(_) => (self.change_buffers(ring, what), Rule::BufTableSize),
            Register::UpdateBuffers { .. } => (self.change_buffers(ring, what), Rule::BufUpdateCounts),
            Register::UnregisterBuffers => (self.change_buffers(ring, what), Rule::BufUnregisterNeedsTable),
        };
        if result.is_ok() {
            self.state.rings[usize::from(ring.0)].changed_at = self.state.begun;
        }
        (self.state.returns, self.state.returns_rule) = match result {
            Ok(count) => (Some(count), promised),
            Err((error, rule)) => (Some(-i64::from(error.0)), rule),
        };
        self.unless_others_look(ring, what);
    }

    /// Tables that change under requests are not followed everywhere.
    fn unless_others_look(&mut self, ring: RingId, what: &Register) {
        if matches!(what, Register::UnregisterBuffers | Register::UnregisterFiles)
            && !self.law.profile.has(Feature::UnregisterReturns)
            && self.state.requests.values().any(|r| r.ring == ring)
        {
            self.give_up("a table that is unregistered while requests may use it, which waits for them here");
        }
        let is_gain = matches!(what, Register::Buffers(_) | Register::SparseBuffers(_) | Register::Files(_));
        let open = |r: &&mut Request| r.ring == ring && r.phase != Phase::Done && !r.imported;
        let looks_up = |r: &Request| r.is_async || r.late || r.may.waiting;
        let mut gained = false;
        for request in self.state.requests.values_mut().filter(open).filter(|r| looks_up(r)) {
            gained |= is_gain && (request.is_async || (request.late && request.fixed));
            if request.fixed && !is_gain && (request.is_async || request.late || request.polls_first) {
                // when it is tried the table may be another one
                request.may.errors.push((Errno(errno::EFAULT), Rule::BufIndexFilled));
            }
        }
        if gained || (self.has_async(ring) && matches!(what, Register::UnregisterFiles)) {
            self.give_up("a table that changes under a request of another thread");
        }
    }

    fn has_async(&self, ring: RingId) -> bool {
        self.state.requests.values().any(|r| r.ring == ring && r.is_async && r.phase != Phase::Done)
    }

    fn register_files(&mut self, ring: RingId, files: &[Option<u16>]) -> Returned {
        let closed = |index: &u16| self.is_closed(SocketId(*index));
        let any_closed = files.iter().flatten().any(closed);
        let sockets = self.law.program.sockets.len();
        let table = &mut self.state.rings[usize::from(ring.0)].files;
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
        let gives_back = !self.state.requests.values().any(|request| request.ring == ring);
        let table = &self.state.rings[usize::from(ring.0)].buffers;
        let call = |pages| {
            let mut after = table.clone();
            let result = change(&mut after, what, self.space(), Budget { pages, gives_back });
            (after, result)
        };
        let (after, result) = call(lockable.map(|(least, _)| least));
        let clear = lockable.is_none_or(|(_, most)| call(Some(most)) == (after.clone(), result));
        let freed = match (what, result) {
            (Register::UnregisterBuffers, Ok(_)) => table.pages(),
            (Register::UpdateBuffers { offset, .. }, Ok(count)) => table.pages_of_slots(*offset, count),
            _ => 0,
        };
        self.state.rings[usize::from(ring.0)].buffers = after;
        if !gives_back {
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
        Register::UnregisterBuffers | Register::Files(_) | Register::UnregisterFiles => {
            table.unregister().map(|()| 0)
        }
    }
}
