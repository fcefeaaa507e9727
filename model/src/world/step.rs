//! What a step does for certain, before anything is seen of it.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::{Ends, Ring, Socket, Tally, World};
use crate::cqe::Errno;
use crate::memory::Generation;
use crate::mutation::Fault;
use crate::net::{Connection, Holds, Room, Stream};
use crate::notice::{Notice, Stage, Used};
use crate::program::{Amount, RingId, SocketId, Step};
use crate::request::{Event, Phase, Request, RequestId};
use crate::rules::Rule;
use crate::trace::RoomReport;
use crate::{abi::errno, may::Counts};

/// The least that a Unix socket takes at once of what is longer: half of the least send buffer, less a few bytes.
const UNIX_PACKET_BYTES: u64 = 4608 / 2 - 64;
/// Packets, each of at least a byte, that a TCP send makes before it looks at what has come.
const TCP_PACKETS: u64 = 16;

impl World<'_> {
    /// The lane says how much room a socket has.
    pub fn room(&mut self, report: RoomReport) {
        if let Some(stream) = self.stream_mut(report.socket) {
            stream.room = report;
        }
    }

    /// Does what the step does for certain.
    pub fn begin(&mut self, step: &Step) {
        self.check_reads(step);
        let polling = self.polling(step);
        self.take_step(step);
        for id in polling.into_iter().filter(|id| !self.is_full(self.request(*id))).collect::<Vec<_>>() {
            let begun = self.state.begun;
            self.request_mut(id).woken_at.get_or_insert(begun);
        }
        self.wake_reads();
    }

    /// What polls first, and waits as a step comes that may wake it; where work is deferred, that tells it later.
    fn polling(&self, step: &Step) -> Vec<RequestId> {
        let (Step::Drain { socket, .. } | Step::ResetPeer { socket } | Step::ShutdownOwn { socket }) = step
        else {
            return Vec::new();
        };
        let polls = |request: &Request| {
            request.phase == Phase::Queued && request.polls_first && request.socket == Some(*socket)
        };
        let defers = |request: &Request| self.state.rings[usize::from(request.ring.0)].defers;
        let waits = |request: &Request| polls(request) && defers(request) && self.is_full(request);
        self.state.requests.iter().filter(|(_, request)| waits(request)).map(|(id, _)| *id).collect()
    }

    fn take_step(&mut self, step: &Step) {
        self.state.drained = 0;
        self.note_untried();
        self.state.begun += 1;
        match step {
            Step::Submit { ring, sqes } => {
                if !self.put_on_queue(*ring, step) {
                    return;
                }
                if self.state.rings[usize::from(ring.0)].is_disabled {
                    let refused = -i64::from(errno::EBADFD);
                    (self.state.returns, self.state.returns_rule) =
                        (Some(refused), Rule::RingDisabledRefuses);
                    return;
                }
                if self.state.rings[usize::from(ring.0)].has_thread {
                    self.wake(*ring);
                    let asked = Some(sqes.len() as i64);
                    (self.state.returns, self.state.returns_rule) = (asked, Rule::RingThreadCount);
                    return;
                }
                self.state.returns_rule = Rule::RingSubmitCount;
                let consumed = self.submit(*ring, sqes.len());
                self.state.returns = Some(consumed as i64);
            }
            Step::Queue { ring, .. } => {
                if self.ring_mut(*ring).is_some_and(|ring| ring.has_thread && !ring.is_asleep) {
                    return self.give_up("entries for a thread that may be awake");
                }
                self.put_on_queue(*ring, step);
            }
            Step::Sleep { ring } => {
                if self.ring_mut(*ring).is_some_and(|ring| !ring.has_thread) {
                    self.give_up("a thread that is not there");
                }
            }
            Step::Enter(call) => self.call_enter(call),
            Step::Look { ring } => {
                if self.ring_mut(*ring).is_some() {
                    self.state.words_owed = Some(*ring);
                }
            }
            Step::Reap { ring, .. } => {
                if self.ring_mut(*ring).is_none() {
                    return;
                }
                self.run_work(*ring);
                self.flush(*ring);
            }
            Step::Peek { ring } => {
                if self.ring_mut(*ring).is_some() {
                    self.state.flag_owed = Some(*ring);
                }
            }
            Step::Fence { ring } => {
                if self.ring_mut(*ring).is_some_and(|ring| ring.is_disabled) {
                    return self.give_up("a fence on a ring that was not enabled");
                }
                while self.ring_mut(*ring).is_some_and(|r| !r.left.is_empty()) {
                    self.submit(*ring, usize::MAX);
                }
                if self.ring_mut(*ring).is_none() {
                    return;
                }
                self.drain_fence(*ring);
                self.run_work(*ring);
                self.flush(*ring);
            }
            Step::Setup(asked) => self.try_setup(asked),
            Step::EnterElsewhere { ring } => {
                let Some(state) = self.ring_mut(*ring) else { return };
                if state.has_thread || !state.has_single_issuer && !state.left.is_empty() {
                    return self.give_up("entries that another thread submits");
                }
                let (returned, rule) = match (state.is_disabled, state.has_single_issuer) {
                    (true, _) => (-i64::from(errno::EBADFD), Rule::RingDisabledRefuses),
                    (false, true) => (-i64::from(errno::EEXIST), Rule::RingSingleIssuer),
                    (false, false) => (0, Rule::RingSubmitCount),
                };
                (self.state.returns, self.state.returns_rule) = (Some(returned), rule);
            }
            Step::Register { ring, what } => self.register(*ring, what),
            Step::Drain { socket, .. } => self.peer_reads(*socket),
            Step::Ack { socket, amount } => {
                self.peer_speaks(*socket, |stream| match amount {
                    Amount::Everything => stream.uncork(),
                    Amount::Bytes(_) => {}
                });
            }
            Step::OfferWindow { socket, bytes } => {
                self.peer_speaks(*socket, |stream| stream.offer(*bytes));
            }
            Step::Miss { socket, .. } => self.peer_speaks(*socket, Stream::miss),
            Step::ResetPeer { socket } => self.peer_resets(*socket),
            Step::CloseOwn { socket } => self.close_own(*socket),
            Step::ShutdownOwn { socket } => self.shut_down(*socket),
            Step::Cork { socket, on } => match self.stream_mut(*socket) {
                Some(stream) if !stream.is_unix => stream.set_cork(*on),
                _ => self.give_up("a cork on what is no TCP socket"),
            },
            Step::Rewrite { region } => {
                let generations = Rc::make_mut(&mut self.state.generations);
                let Some(generation) = generations.get_mut(usize::from(region.0)) else {
                    return self.give_up("a region that the program does not have");
                };
                *generation = Generation(generation.0.saturating_add(1));
                let now = *generation;
                let unseen = self.has_fault(Fault::RewriteUnseen);
                for i in 0..self.state.sockets.len() {
                    if let Some(stream) = self.stream_mut(SocketId(i as u16)).filter(|_| !unseen) {
                        stream.rewritten(*region, now);
                    }
                    if let Some(queue) = self.datagrams_mut(SocketId(i as u16)) {
                        queue.rewritten(*region, now);
                    }
                }
            }
            Step::Settle => {
                for i in 0..self.state.rings.len() {
                    self.run_work(RingId(i as u8));
                }
                for socket in (0..self.state.sockets.len() as u16).map(SocketId) {
                    if self.lane(socket).is_declared() {
                        self.peer_speaks(socket, |stream| {
                            stream.uncork();
                            stream.offer(u64::MAX);
                        });
                    } else {
                        self.peer_reads(socket);
                    }
                }
                for i in 0..self.state.rings.len() {
                    self.run_work(RingId(i as u8));
                    self.flush(RingId(i as u8));
                }
            }
        }
    }

    /// What is queued behind a request that surely waits was not tried so far.
    fn note_untried(&mut self) {
        let mut held = BTreeSet::new();
        let mut untried = Vec::new();
        for (id, request) in self.state.requests.iter() {
            let behind = request.before.is_some_and(|before| held.contains(&before));
            if request.phase == Phase::Queued && behind {
                held.insert(*id);
                untried.push(*id);
            } else if request.phase == Phase::Armed
                && !request.is_async
                && request.canceller.is_none()
                && !self.may_be_cancelled_unseen(*id)
            {
                held.insert(*id);
            }
        }
        for id in untried {
            let (begun, drains) = (self.state.begun, self.state.drains);
            let born = Rc::clone(&self.state.generations);
            let request = self.request_mut(id);
            (request.born_at, request.born_drains, request.born) = (begun, drains, Some(born));
        }
    }

    pub(super) fn ring_mut(&mut self, ring: RingId) -> Option<&mut Ring> {
        if usize::from(ring.0) >= self.state.rings.len() {
            self.give_up("a ring that the program does not have");
        }
        self.state.rings.get_mut(usize::from(ring.0))
    }

    /// An enter that waits for completions: work that waited for it runs.
    pub(super) fn run_work(&mut self, ring: RingId) {
        let deferred = |request: &Request| request.ring == ring && request.is_deferred;
        self.state.requests.change(RequestId(0), deferred, |_, request| request.is_deferred = false);
        self.run_deferred(ring);
        self.state.rings[usize::from(ring.0)].worked = self.state.calls;
        let waiting: Vec<RequestId> = self.waiting_on(|request| request.0 == ring);
        for id in waiting {
            self.try_again(id);
        }
        if !self.state.rings[usize::from(ring.0)].defers {
            self.run_deferred(ring);
        }
        self.note_ran(ring);
        let woken = |request: &Request| request.ring == ring && request.woken_at.is_some();
        self.state.requests.change(RequestId(0), woken, |_, request| request.woken_at = None);
    }

    fn waiting_on(&self, wanted: impl Fn((RingId, Option<SocketId>)) -> bool) -> Vec<RequestId> {
        let requests = self.state.requests.iter();
        let waiting = requests.filter(|(_, r)| r.may.waiting && wanted((r.ring, r.socket)));
        waiting.map(|(id, _)| *id).collect()
    }

    /// A request that waits for room may have found some.
    pub(super) fn try_again(&mut self, id: RequestId) {
        let Some(socket) = self.request(id).socket else { return };
        let Some(stream) = self.stream_mut(socket) else { return };
        let room = stream.room_for_retry(id);
        if room == Room::None || stream.connection != Connection::Open {
            return;
        }
        stream.may_retry(id);
        let unseen = self.unseen_on(socket, id);
        // others that are tried unseen may take the room
        let whole = self.stream(socket).is_some_and(|stream| stream.has_room_besides(unseen));
        let room = if whole { room } else { Room::Unknown };
        let Some(stream) = self.stream(socket) else { return };
        let read = stream.writer(id).map_or(0, |w| w.read);
        let len = stream.writer(id).map_or(0, |w| w.send.len_bytes);
        let writable = self.stream(socket).is_some_and(|stream| stream.is_surely_writable(unseen));
        let request = self.request_mut(id);
        // for one that polls first, room is not enough
        let polls = request.polls_first && !writable;
        if request.phase == Phase::Armed {
            request.phase = request.phase.after(Event::Issue).unwrap_or(Phase::Issued);
        }
        let whole = Counts { least: len, most: len, rule: Rule::SendWaitallWhole };
        let some = Counts { least: read.max(1), most: len, rule: Rule::SendSomeWhenRoom };
        let counts = if request.retries && request.may.errors.is_empty() { whole } else { some };
        if len > 0 {
            request.may.bytes.get_or_insert(counts);
        }
        request.may.waiting = room != Room::Enough || polls;
    }

    /// The peer is about to read.
    fn peer_reads(&mut self, socket: SocketId) {
        let Some(stream) = self.stream_mut(socket) else { return };
        if stream.connection_is_reset() {
            return;
        }
        if stream.wire.is_some() {
            // whoever listens changes nothing
            return;
        }
        stream.open_window();
        self.ends_mut(socket).read = self.state.begun;
        self.state.drains += 1;
        for i in 0..self.state.rings.len() {
            if !self.state.rings[i].defers {
                self.run_deferred(RingId(i as u8));
            }
        }
        self.retry_on(socket);
    }

    /// What waits for room on a socket is tried again, where work is not deferred; where it is, room may wake it.
    pub(super) fn retry_on(&mut self, socket: SocketId) {
        for id in self.waiting_on(|(_, on)| on == Some(socket)) {
            let request = self.request(id);
            if request.is_async || !self.state.rings[usize::from(request.ring.0)].defers {
                self.try_again(id);
            } else if request.phase == Phase::Armed
                && self.stream(socket).is_some_and(|stream| stream.room_for_retry(id) != Room::None)
            {
                let begun = self.state.begun;
                self.request_mut(id).woken_at.get_or_insert(begun);
            }
        }
    }

    fn peer_resets(&mut self, socket: SocketId) {
        self.ends_mut(socket).reset = self.state.begun;
        if let Some(queue) = self.datagrams_mut(socket) {
            return queue.close_port();
        }
        let (unknown, declared) = (self.is_unknown(socket), self.lane(socket).is_declared());
        let is_unix = self.stream(socket).is_some_and(|stream| stream.is_unix);
        let broken = vec![(Errno(errno::EPIPE), Rule::SendBrokenPipe)];
        let errors = if is_unix { broken } else { super::attempt::after_reset().errors };
        self.fail_waiting(socket, &errors);
        self.reset_threads(socket);
        self.cut_off_threads(socket);
        // others that were tried unseen may have put bytes before these
        let others = self.queued_on(socket).any(|(_, request)| request.notice.is_some());
        let Some(stream) = self.stream_mut(socket) else { return };
        let fates: Vec<_> = stream.writers.iter().map(|w| (w.request, w.holds, w.joined || others)).collect();
        stream.reset();
        for (id, holds, joined) in fates {
            let at_end = self.way_at_end(holds, joined);
            let Some(request) = self.state.requests.get_mut(&id) else { continue };
            let is_over = request.phase == Phase::Done;
            // what is known to have ended with nothing taken says that, whatever its connection comes to
            let took = |notice: &&mut Notice| !(is_over && notice.stage == Stage::Allocated);
            let Some(notice) = request.notice.as_mut().filter(took) else { continue };
            notice.used = match (holds, joined) {
                _ if unknown || notice.used == Used::Unknown => Used::Unknown,
                _ if declared => at_end,
                (Holds::Surely, false) => Used::Untouched,
                (Holds::Surely, true) => Used::Joined,
                (Holds::Maybe, _) => Used::Unknown,
                (Holds::No, _) => Used::Copied,
            };
        }
        self.wake_polls();
    }

    /// A thread that waits in a send on a Unix socket, or is in the middle of one, is told that bytes which it had sent
    /// are lost (`unix_release_sock` in `net/unix/af_unix.c`); one that begins later finds only that the peer is gone.
    fn reset_threads(&mut self, socket: SocketId) {
        let Some(stream) = self.stream(socket).filter(|stream| stream.is_unix) else { return };
        let unread = stream.writers.iter().any(|w| w.accepted.1 > w.read);
        // also what was perhaps sent behind a member of a chain that went on unseen
        if !unread && self.queued_on(socket).all(|(_, request)| request.len_bytes == 0) {
            return;
        }
        self.ends_mut(socket).lost = self.state.begun;
        for id in self.unsettled_on(socket).collect::<Vec<_>>() {
            let request = self.request_mut(id);
            if request.is_async && !request.is_read_whole() {
                request.may.add_errors([(Errno(errno::ECONNRESET), Rule::SendResetOnce)]);
            }
        }
    }

    /// A thread that is in the middle of a long send as its connection ends reports the packets that it has made: over
    /// TCP it looks at a reset that has come meanwhile before every sixteenth (`tcp_sendmsg_locked` in
    /// `net/ipv4/tcp.c`), over a Unix socket before each at whether anybody reads (`unix_stream_sendmsg`).
    fn cut_off_threads(&mut self, socket: SocketId) {
        let Some(stream) = self.stream(socket) else { return };
        let least = if stream.is_unix { UNIX_PACKET_BYTES } else { TCP_PACKETS };
        for id in self.unsettled_on(socket).collect::<Vec<_>>() {
            let request = self.request_mut(id);
            if request.is_async && !request.has_ended && !request.is_read_whole() {
                request.may.cut_off(least);
            }
        }
    }

    pub(super) fn is_open(&self, socket: SocketId) -> bool {
        match self.state.sockets.get(usize::from(socket.0)) {
            Some(Socket::Stream(stream)) => stream.open,
            Some(Socket::Datagrams(queue)) => queue.is_open,
            Some(Socket::File { is_open }) => *is_open,
            None => false,
        }
    }

    /// When the socket ended; one that the program does not have is nobody's.
    pub(super) fn ends_mut(&mut self, socket: SocketId) -> &mut Ends {
        let index = usize::from(socket.0);
        if index >= self.state.ends.len() {
            self.give_up("a socket that the program does not have");
            self.state.ends.resize(index + 1, Ends::default());
        }
        &mut self.state.ends[index]
    }

    fn close_own(&mut self, socket: SocketId) {
        self.ends_mut(socket).closed = self.state.begun;
        match self.state.sockets.get_mut(usize::from(socket.0)) {
            Some(Socket::Stream(stream)) => stream.open = false,
            Some(Socket::Datagrams(queue)) => queue.is_open = false,
            Some(Socket::File { is_open }) => *is_open = false,
            None => {}
        }
        for id in self.unsettled_on(socket).collect::<Vec<_>>() {
            let request = self.request_mut(id);
            if !request.has_ended && (request.is_async || request.late || request.is_deferred) {
                // the descriptor is looked up when the other thread comes to it
                request.may.errors.push((Errno(errno::EBADF), Rule::SendBadDescriptor));
            }
        }
    }

    fn shut_down(&mut self, socket: SocketId) {
        self.ends_mut(socket).shut = self.state.begun;
        if let Some(queue) = self.datagrams_mut(socket) {
            queue.is_shut = true;
            return self.fail_waiting(socket, &[(Errno(errno::EPIPE), Rule::SendBrokenPipe)]);
        }
        let Some(stream) = self.stream_mut(socket) else { return };
        if stream.connection == Connection::Open {
            stream.connection = Connection::Broken;
        }
        let is_unix = stream.is_unix;
        self.fail_waiting(socket, &[(Errno(errno::EPIPE), Rule::SendBrokenPipe)]);
        if is_unix {
            // over TCP a shutdown waits for the thread
            self.cut_off_threads(socket);
        }
        self.wake_polls();
    }

    /// What waits for a socket to be writable is told of its end, where work is not deferred.
    fn wake_polls(&mut self) {
        for i in 0..self.state.rings.len() {
            if !self.state.rings[i].defers {
                self.run_deferred(RingId(i as u8));
            }
        }
    }

    /// Requests that wait for room find out that there will be none.
    fn fail_waiting(&mut self, socket: SocketId, errors: &[(Errno, Rule)]) {
        for id in self.unsettled_on(socket).collect::<Vec<_>>() {
            let defers = self.state.rings[usize::from(self.request(id).ring.0)].defers;
            let taken = self.taken(id);
            let begun = self.state.begun;
            let request = self.request_mut(id);
            // where work is deferred, it has not seen yet why it will fail
            let deferred = defers && request.waited && !request.may.errors.is_empty() || request.is_deferred;
            let ends_later = request.may.waiting || request.is_async || request.late || deferred;
            if request.has_ended || request.is_read_whole() || !ends_later {
                continue;
            }
            let waited = std::mem::take(&mut request.may.waiting);
            if waited && defers && !request.is_async {
                request.woken_at.get_or_insert(begun);
            }
            let tried_again = request.retries && waited;
            if tried_again && taken.1 > 0 {
                // what was taken before the end is what it reports
                request.may.bytes.get_or_insert(Counts {
                    least: 1,
                    most: taken.1,
                    rule: Rule::SendPartialOnFailure,
                });
            }
            if !tried_again || taken.0 == 0 {
                request.may.add_errors(errors.iter().copied());
            }
            if request.phase == Phase::Armed {
                request.phase = request.phase.after(Event::Issue).unwrap_or(Phase::Issued);
            }
            if let (Some(counts), true) = (&mut request.may.bytes, tried_again) {
                let least = counts.most.min(1);
                *counts = Counts { least, rule: Rule::SendPartialOnFailure, ..*counts };
            }
        }
    }

    /// A completion with this user data was seen.
    pub(super) fn count(&mut self, user_data: u64, announces: bool, notifies: bool) {
        if self.tallies {
            let Tally { seen, announced, notified } = self.state.tally.entry(user_data).or_default();
            *seen += 1;
            *announced += u32::from(announces);
            *notified += u32::from(notifies);
        }
    }
}
