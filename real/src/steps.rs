//! One program: what it has is made, then its steps are taken one by one.

use std::io;
use std::ops::Add;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use uringspec_model::abi::{op, sqe_flag};
use uringspec_model::cqe::Cqe;
use uringspec_model::memory::{Generation, RegionId};
use uringspec_model::program::{
    Amount, End, FD_BASE, Program, Register, RingId, SocketId, Step, Until, Want, fd_of,
};
use uringspec_model::sqe::Sqe;
use uringspec_model::trace::{Received, RingCqe, Run, Seen, What, Words};

use crate::admit::LIVE_OPCODES;
use crate::lanes::{close_gate, room};
use crate::limits::Credentials;
use crate::peer::{Haul, Live, Reader};
use crate::reads::Reads;
use crate::ring::{Ring, Waited};
use crate::runs::Origins;
use crate::skip::Skip;
use crate::sockets::{Listeners, Pair};
use crate::stage::{Observer, Stopped, high_user_data, make_and_close, make_rings};
use crate::sys;
use crate::tally::{Progress, Tally};
use crate::targets::{self, Aim};
use crate::window::Window;

/// A program while it runs.
pub(crate) struct Scene<'a, O> {
    program: &'a Program,
    patience: Duration,
    window: &'a mut Window,
    reader: &'a mut Reader,
    rings: Vec<Ring>,
    sockets: Vec<Live>,
    /// Sockets in the rings' tables of files.
    files: Vec<Vec<u16>>,
    generations: Vec<Generation>,
    /// Reads that are under way.
    reads: Reads,
    /// Found when first needed.
    aims: Option<Vec<Aim>>,
    observer: &'a mut O,
    step: u32,
    /// Something failed for want of memory.
    starved: bool,
}

impl<'a, O: Observer> Scene<'a, O> {
    /// A program for which nothing is made yet.
    pub(crate) fn new(
        program: &'a Program,
        patience: Duration,
        window: &'a mut Window,
        reader: &'a mut Reader,
        observer: &'a mut O,
    ) -> Scene<'a, O> {
        Scene {
            program,
            patience,
            window,
            reader,
            rings: Vec::with_capacity(program.rings.len()),
            sockets: Vec::with_capacity(program.sockets.len()),
            files: vec![Vec::new(); program.rings.len()],
            generations: vec![Generation(0); program.regions.len()],
            reads: Reads::default(),
            aims: None,
            observer,
            step: 0,
            starved: false,
        }
    }

    /// Makes all that the program has before its first step.
    pub(crate) fn make(
        &mut self,
        listeners: &mut Listeners,
        credentials: &mut Credentials,
    ) -> Result<(), Skip> {
        self.window.map(&self.program.regions)?;
        let pieces = targets::pieces_max(self.program);
        for (id, setup) in (0..).map(SocketId).zip(&self.program.sockets) {
            let pair = Pair::make(id, setup, listeners)?;
            let filler = close_gate(&pair, setup.lane)?;
            if let Some(report) = room(id, &pair, setup.lane, pieces)? {
                self.see(What::Room(report));
            }
            self.sockets.push(Live::new(pair, filler));
        }
        let taken = high_user_data(self.program);
        self.rings =
            credentials.under(&self.program.limits, || make_rings(&self.program.rings, &taken))??;
        Ok(())
    }

    /// Takes the steps.
    pub(crate) fn play(&mut self) -> Result<(), Stopped> {
        for (index, step) in self.program.steps.iter().enumerate() {
            self.step = index as u32;
            self.observer.step(self.step).map_err(|_| Stopped::Deaf)?;
            self.take(step)?;
        }
        Ok(())
    }

    fn take(&mut self, step: &Step) -> Result<(), Skip> {
        let patience = self.patience;
        match step {
            Step::Submit { ring, sqes } => {
                closed_or_own(sqes)?;
                self.reads.note(self.program, *ring, sqes);
                let ring = &mut self.rings[usize::from(ring.0)];
                let (returned, waited) = match ring.has_thread() {
                    true => ring.hand_to_thread(sqes, patience),
                    false => (ring.submit(sqes), Waited::Enough),
                };
                self.see(What::Returned(returned));
                self.gave_up_if(waited);
            }
            Step::Sleep { ring } => {
                let waited = self.rings[usize::from(ring.0)].wait_for_sleep(patience);
                self.gave_up_if(waited);
            }
            Step::Queue { ring, sqes, array } => {
                closed_or_own(sqes)?;
                self.reads.note(self.program, *ring, sqes);
                if !self.rings[usize::from(ring.0)].queue(sqes, array) {
                    return Err(Skip::Told("more entries than the queue has room for".into()));
                }
            }
            Step::Enter(call) => {
                let returned = self.rings[usize::from(call.ring.0)].call(call);
                self.see(What::Returned(returned));
            }
            Step::Look { ring } => {
                let (flags, dropped, queued) = self.rings[usize::from(ring.0)].words();
                self.see(What::Words(Words { ring: *ring, flags, dropped, queued }));
            }
            Step::Reap { ring, until } => {
                let waited = self.reap(*ring, until);
                self.gave_up_if(waited);
            }
            Step::Fence { ring } => {
                let waited = self.with_ring(*ring, |ring, see| ring.fence(patience, see));
                self.gave_up_if(waited);
            }
            Step::Peek { ring } => {
                let set = self.rings[usize::from(ring.0)].overflows();
                self.see(What::Overflow { ring: *ring, set });
                self.with_ring(*ring, |ring, see| ring.peek(see));
            }
            Step::EnterElsewhere { ring } => {
                let returned = self.rings[usize::from(ring.0)].enter_elsewhere();
                self.see(What::Returned(returned));
            }
            Step::Setup(asked) => {
                let returned = make_and_close(asked);
                self.see(What::Returned(returned));
            }
            Step::Register { ring, what } => {
                let returned = self.register(*ring, what);
                self.see(What::Returned(returned));
            }
            Step::Drain { socket, amount } => {
                let waited = self.drain(*socket, *amount, patience)?;
                self.gave_up_if(waited);
            }
            Step::Ack { socket, amount } => {
                let (acks, waited) = self.sockets[usize::from(socket.0)].acknowledge(*amount, patience);
                self.acked(*socket, acks);
                self.gave_up_if(waited);
            }
            Step::OfferWindow { socket, bytes } => {
                let waited = self.sockets[usize::from(socket.0)].offer_window(*bytes, patience);
                self.gave_up_if(waited);
            }
            Step::Miss { socket, len_bytes } => {
                let (again, waited) = self.sockets[usize::from(socket.0)].miss(*len_bytes, patience);
                if let Some(bytes) = again.filter(|bytes| !bytes.is_empty()) {
                    let runs = self.runs(&bytes);
                    self.see(What::SentAgain(Received { socket: *socket, runs }));
                }
                self.gave_up_if(waited);
            }
            Step::ResetPeer { socket } => {
                if !self.sockets[usize::from(socket.0)].pair.reset_far(patience) {
                    return Err(Skip::Told("a reset by a declared peer was not heard".into()));
                }
            }
            Step::CloseOwn { socket } => {
                let kept = self.files.iter().flatten().any(|file| *file == socket.0);
                self.sockets[usize::from(socket.0)].close_own(kept);
            }
            Step::ShutdownOwn { socket } => {
                if let Some(near) = &self.sockets[usize::from(socket.0)].pair.near {
                    // SAFETY: the call takes no pointers.
                    unsafe { libc::shutdown(near.as_fd().as_raw_fd(), libc::SHUT_WR) };
                }
            }
            Step::Cork { socket, on } => {
                if let Some(near) = &self.sockets[usize::from(socket.0)].pair.near {
                    sys::set_option(near.as_fd(), libc::IPPROTO_TCP, libc::TCP_CORK, i32::from(*on))
                        .map_err(|error| Skip::Told(format!("TCP_CORK: {error}")))?;
                }
            }
            Step::Rewrite { region } => self.rewrite(*region),
            Step::Settle => self.settle()?,
        }
        Ok(())
    }

    /// Asks for a table, or for its end; what the call returned.
    fn register(&mut self, id: RingId, what: &Register) -> i64 {
        let at = usize::from(id.0);
        let ring = &mut self.rings[at];
        match what {
            Register::Buffers(iovecs) => ring.register_buffers(iovecs),
            Register::SparseBuffers(count) => ring.register_sparse(*count),
            Register::UpdateBuffers { offset, iovecs } => ring.update_buffers(*offset, iovecs),
            Register::UnregisterBuffers => ring.unregister_buffers(),
            Register::Files(files) => {
                let near = |index: &u16| fd_of(SocketId(*index), End::Near);
                let numbers: Vec<i32> = files.iter().map(|f| f.as_ref().map_or(-1, near)).collect();
                let returned = ring.register_files(&numbers);
                if returned == 0 {
                    self.files[at] = files.iter().flatten().copied().collect();
                }
                returned
            }
            Register::Cancel(user_data) => ring.cancel(*user_data),
            Register::Restrict(list) => ring.restrict(list),
            Register::Enable => ring.enable(),
            Register::UnregisterFiles => {
                // Nothing of ours may keep open what the table kept open.
                let files = std::mem::take(&mut self.files[at]);
                for file in files.iter().filter(|file| !self.files.iter().flatten().any(|f| f == *file)) {
                    self.sockets[usize::from(*file)].let_go();
                }
                self.rings[at].unregister_files()
            }
        }
    }

    fn see(&mut self, what: What) {
        self.starved |= what == What::Returned(-i64::from(libc::ENOMEM));
        self.observer.see(Seen { step: self.step, what });
    }

    fn gave_up_if(&mut self, waited: Waited) {
        if waited == Waited::GaveUp {
            self.see(What::GaveUp);
        }
    }

    fn with_ring(
        &mut self,
        id: RingId,
        act: impl FnOnce(&mut Ring, &mut dyn FnMut(Cqe)) -> Waited,
    ) -> Waited {
        let aims = self.aims.get_or_insert_with(|| targets::aims(self.program));
        let Scene { rings, observer, step, starved, reads, window, sockets, .. } = self;
        let origins = Origins { regions: &self.program.regions, generations: &self.generations, aims };
        let mut see = |cqe: Cqe| {
            *starved |= cqe.res == -libc::ENOMEM;
            observer.see(Seen { step: *step, what: What::Cqe(RingCqe { ring: id, cqe }) });
            if let Some((socket, bytes)) = reads.ended(id, &cqe, window)
                && (!bytes.is_empty() || !sockets[usize::from(socket.0)].pair.is_stream())
            {
                let what = What::Received(Received { socket, runs: origins.runs(&bytes) });
                observer.see(Seen { step: *step, what });
            }
        };
        act(&mut rings[usize::from(id.0)], &mut see)
    }

    fn reap(&mut self, id: RingId, until: &Until) -> Waited {
        let patience = self.patience;
        match until {
            Until::Now => self.with_ring(id, |ring, see| ring.reap(&|_| true, patience, see)),
            Until::Settled => self.with_ring(id, |ring, see| ring.settle(patience, see)),
            Until::Seen(wants) => {
                // A user data counts wherever it was seen; on other rings nothing is taken meanwhile.
                let others = |(index, _): &(usize, &Ring)| *index != usize::from(id.0);
                let elsewhere = |want: &Want| {
                    let others = self.rings.iter().enumerate().filter(others);
                    let progress = others.map(|(_, ring)| ring.tally().progress(want.user_data));
                    progress.fold(Progress::default(), Progress::add)
                };
                let wants: Vec<(Want, Progress)> =
                    wants.iter().map(|want| (*want, elsewhere(want))).collect();
                let enough = |tally: &Tally| {
                    wants
                        .iter()
                        .all(|(want, elsewhere)| (tally.progress(want.user_data) + *elsewhere).reaches(want))
                };
                self.with_ring(id, |ring, see| ring.reap(&enough, patience, see))
            }
        }
    }

    fn rewrite(&mut self, id: RegionId) {
        let index = usize::from(id.0);
        let (Some(region), Some(generation)) =
            (self.program.regions.get(index), self.generations.get_mut(index))
        else {
            return;
        };
        generation.0 = generation.0.wrapping_add(1);
        self.window.rewrite(region, id, *generation);
    }

    fn drain(&mut self, id: SocketId, amount: Amount, patience: Duration) -> Result<Waited, Skip> {
        let mut haul = Haul::default();
        let live = &mut self.sockets[usize::from(id.0)];
        let waited = live.drain(amount, patience, self.reader, &mut haul);
        let stream = live.pair.is_stream();
        if haul.spoilt {
            return Err(Skip::Told("the gate's own bytes came back changed".into()));
        }
        if stream {
            if !haul.bytes.is_empty() {
                self.received(id, &haul.bytes);
            }
        } else {
            let mut start = 0;
            for end in haul.borders {
                self.received(id, &haul.bytes[start..end]);
                start = end;
            }
        }
        if let Some(how) = haul.ended {
            self.see(What::PeerEnded { socket: id, how });
        }
        Ok(waited)
    }

    fn acked(&mut self, socket: SocketId, acks: Vec<u64>) {
        acks.into_iter().for_each(|len_bytes| self.see(What::Acked { socket, len_bytes }));
    }

    fn received(&mut self, socket: SocketId, bytes: &[u8]) {
        let runs = self.runs(bytes);
        self.see(What::Received(Received { socket, runs }));
    }

    fn runs(&mut self, bytes: &[u8]) -> Vec<Run> {
        let aims = self.aims.get_or_insert_with(|| targets::aims(self.program));
        let origins = Origins { regions: &self.program.regions, generations: &self.generations, aims };
        origins.runs(bytes)
    }

    /// Lets what is on its way go on: the peer reads all, or acknowledges it.
    fn empty(&mut self, id: SocketId, patience: Duration) -> Result<Waited, Skip> {
        let waited = self.drain(id, Amount::Everything, patience)?;
        let live = &mut self.sockets[usize::from(id.0)];
        if !live.is_declared() {
            return Ok(waited);
        }
        let (acks, waited) = live.acknowledge_all(patience);
        self.acked(id, acks);
        // What was kept back has left now.
        self.drain(id, Amount::Everything, patience)?;
        Ok(waited)
    }

    /// Lets everything go on until nothing is owed, then reads what is still on its way.
    fn settle(&mut self) -> Result<(), Skip> {
        let deadline = Instant::now() + self.patience;
        let mut slice = Duration::ZERO;
        loop {
            // Rings first, so that what was posted is seen before what was read because of it.
            for id in (0..self.rings.len() as u8).map(RingId) {
                self.with_ring(id, |ring, see| ring.settle(slice, see));
            }
            if self.rings.iter().all(|ring| ring.tally().settled_but_for_doubts()) {
                break;
            }
            if sys::left(deadline).is_zero() {
                self.see(What::GaveUp);
                return self.drain_all();
            }
            for id in (0..self.sockets.len() as u16).map(SocketId) {
                self.empty(id, slice)?;
            }
            // The first round waits for nothing: mostly everything is there already.
            slice = Duration::from_millis(2);
        }
        self.drain_all()?;
        if self.rings.iter().all(|ring| ring.tally().settled()) {
            return Ok(());
        }
        for id in (0..self.rings.len() as u8).map(RingId) {
            let patience = self.patience;
            self.with_ring(id, |ring, see| ring.settle(patience, see));
        }
        self.drain_all()
    }

    fn drain_all(&mut self) -> Result<(), Skip> {
        for id in (0..self.sockets.len() as u16).map(SocketId) {
            let waited = self.empty(id, self.patience)?;
            self.gave_up_if(waited);
        }
        Ok(())
    }

    /// Whether something failed for want of memory.
    pub(crate) fn starved(&self) -> bool {
        self.starved
    }

    /// Ends everything. Connections are reset first, which gives lent memory back and leaves requests
    /// nothing to wait for; then rings; then memory.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        for live in &mut self.sockets {
            live.end();
        }
        for ring in self.rings.drain(..) {
            ring.close();
        }
        self.window.unmap()
    }
}

/// Refuses entries that name a descriptor which is open and not the program's.
fn closed_or_own(sqes: &[Sqe]) -> Result<(), Skip> {
    let foreign = |sqe: &&Sqe| {
        let ignores = sqe.opcode == op::NOP
            || sqe.opcode == op::ASYNC_CANCEL && !targets::names_file(sqe)
            || !LIVE_OPCODES.contains(&sqe.opcode);
        let is_looked_up = sqe.flags & sqe_flag::FIXED_FILE == 0 && !ignores;
        is_looked_up && (0..FD_BASE).contains(&sqe.fd) && !sys::is_closed(sqe.fd)
    };
    match sqes.iter().find(foreign) {
        Some(sqe) => Err(Skip::NotLive(format!("descriptor {} is the worker's own", sqe.fd))),
        None => Ok(()),
    }
}
