//! Cancels that name something else than one request: a file, an opcode, or all that is alike.
//!
//! It says nothing where another thread, or work that is yet to be done, decides what is found.
//!
//! Source: `io_async_cancel`, `io_cancel_req_match` in `io_uring/cancel.c`, `io_poll_cancel` in
//! `io_uring/poll.c`, 6.18.

use super::{Socket, World};
use crate::abi::errno;
use crate::may::May;
use crate::prepare::{Plan, Seek};
use crate::program::{End, SocketId, socket_of};
use crate::request::{Phase, Request, RequestId};
use crate::rules::Rule;

/// An open file: an end of a socket.
type File = (SocketId, End);

/// Whether a cancel that is tried now finds a request.
#[derive(PartialEq)]
enum Found {
    Surely,
    No,
    Unknown,
}

impl World<'_> {
    /// Whether a request cancels by something else than user data.
    pub(super) fn seeks(&self, id: RequestId) -> bool {
        self.request(id).seeks || matches!(self.request(id).plan, Some(Plan::Seek(_)))
    }

    /// What cancelling what is like this may come to.
    pub(super) fn try_seek(&mut self, id: RequestId, seek: &Seek) -> May {
        let request = self.request(id);
        if request.is_async || request.late || request.is_deferred || request.before.is_some() {
            self.give_up("a cancel of what is alike, not tried in its call");
            return May::default();
        }
        let file = match seek.fd.map(|fd| self.file_of(id, fd, seek.fixed_file)) {
            None => None,
            Some(Ok(Some(file))) => Some(file),
            Some(Ok(None)) => return May::fail(errno::EBADF, Rule::CancelDescriptor),
            Some(Err(what)) => {
                self.give_up(what);
                return May::default();
            }
        };
        let ring = request.ring;
        let alike = |(other, r): &(&RequestId, &Request)| {
            **other != id
                && r.ring == ring
                && seek.user_data.is_none_or(|user_data| r.user_data == user_data)
                && seek.opcode.is_none_or(|opcode| r.opcode == opcode)
                && file.is_none_or(|file| may_be_on(r, file))
        };
        let all = self.state.requests.iter().filter(alike);
        let all: Vec<_> = all.map(|(other, r)| (*other, self.is_found_now(id, *other, r))).collect();
        if all.iter().any(|(_, found)| *found == Found::Unknown) {
            self.give_up("a cancel of what is alike, where that may be under way");
            return May::default();
        }
        let found: Vec<RequestId> =
            all.into_iter().filter(|(_, found)| *found == Found::Surely).map(|(other, _)| other).collect();
        if !seek.counts && found.len() > 1 {
            self.give_up("a cancel of one of several that are alike");
            return May::default();
        }
        let defers = self.state.rings[usize::from(ring.0)].defers;
        for other in &found {
            self.mark_cancelled(*other, self.taken(*other), Some(id));
            // it can be found again until deferred work has ended it
            if defers {
                let begun = self.state.begun;
                self.request_mut(*other).woken_at.get_or_insert(begun);
            }
        }
        self.request_mut(id).seeks = true;
        match (seek.counts, found.len()) {
            (true, count) => May::exactly(count as u64, Rule::CancelCounts),
            (false, 0) => May::fail(errno::ENOENT, Rule::CancelMatches),
            (false, _) => May::exactly(0, Rule::CancelMatches),
        }
    }

    /// The file that a cancel names, if that is open; or why nothing can be said.
    fn file_of(&self, id: RequestId, fd: i32, fixed: bool) -> Result<Option<File>, &'static str> {
        if fixed {
            let file = self.tables_of(id).next().and_then(|tables| tables.file(fd));
            return Ok(file.map(|socket| (socket, End::Near)));
        }
        let Some((socket, end)) = socket_of(fd) else { return Ok(None) };
        let is_open = match self.state.sockets.get(usize::from(socket.0)) {
            None => return Ok(None),
            Some(_) if end == End::Far => return Err("a cancel by the far end"),
            Some(Socket::Stream(stream)) => stream.open,
            Some(Socket::Datagrams(queue)) => queue.is_open,
            Some(Socket::File { is_open }) => *is_open,
        };
        Ok(is_open.then_some((socket, end)))
    }

    /// Whether a cancel that is tried now finds what it looks for in this request.
    fn is_found_now(&self, id: RequestId, other: RequestId, request: &Request) -> Found {
        let cancelled = request.canceller.is_some_and(|c| self.state.requests.contains_key(&c));
        if request.awaits_cancel || cancelled || self.may_be_cancelled_unseen(other) {
            return Found::Unknown;
        }
        let over = match request.phase {
            Phase::Done => true,
            Phase::Issued => self.is_over(other),
            Phase::Queued | Phase::Armed => false,
        };
        // posted, or never tried: a member behind another, or one whose chain was cut
        let is_behind =
            request.phase == Phase::Queued && request.socket.is_none() && request.before.is_some();
        let begun = self.may_have_begun(request) && !self.comes_behind_batch(request);
        if over || request.has_ended || request.cut || is_behind && !begun {
            return Found::No;
        }
        let waits = request.phase == Phase::Armed && !request.is_deferred;
        let polls = request.phase == Phase::Queued && request.socket.is_some() && self.is_full(request);
        let sure =
            (waits || polls) && !request.is_async && request.woken_at.is_none() && !self.request(id).waited;
        if sure && !self.may_come_together(request) { Found::Surely } else { Found::Unknown }
    }

    /// A cancel of what is alike has its result: what it found was marked when it was tried.
    pub(super) fn seek_ended(&mut self, id: RequestId) {
        let sought = |other: &Request| other.canceller == Some(id);
        self.state.requests.change(RequestId(0), sought, |_, other| other.canceller = None);
    }
}

/// Whether a request has this file, or, where it was not tried, may have it.
fn may_be_on(request: &Request, file: File) -> bool {
    match (request.reads, request.socket) {
        (Some(read), _) => (read.socket, read.end) == file,
        (None, Some(socket)) => (socket, End::Near) == file,
        (None, None) => true,
    }
}
