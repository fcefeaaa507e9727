//! One way through a program: the driver that simulation and exploration share.

use crate::cqe::{Completion, Cqe};
use crate::memory::{Generation, HexBytes, RegionId};
use crate::mutation::Fault;
use crate::program::{Amount, RingId, SocketId, Step};
use crate::received::cut_off;
use crate::request::RequestId;
use crate::rules::Rule;
use crate::trace::{Received, RingCqe, Run, Seen, What};
use crate::world::{Decision, Law, World};

/// A world, where in the program it is, and what was seen on the way.
#[derive(Clone)]
pub(crate) struct Walk<'a> {
    pub(crate) world: World<'a>,
    pub(crate) step: usize,
    pub(crate) seen: Vec<Seen>,
    /// Bytes read in this step and not written down yet, all from one socket.
    pub(crate) runs: Vec<(SocketId, Run)>,
    /// A settle takes completions also while there are bytes to read: the same, in other orders.
    pub(crate) eager: bool,
    /// Requests that were tried because a chain went on unseen; what is read next is of one of them.
    towards: Vec<(SocketId, RequestId)>,
    /// The request of which the last piece was read, if more of the same memory may follow, and what it held.
    broken_off: Option<(RequestId, Generation)>,
    /// Bytes of the same memory behind it.
    broken_rest: u64,
}

/// A piece of memory that is not read byte by byte.
const LONG_BYTES: u64 = 16;

/// What may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The kernel decides something.
    Take(Decision),
    /// The step ends.
    End,
    /// The step's patience runs out, though nothing was promised.
    GiveUp,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(law: Law<'a>) -> Walk<'a> {
        Walk::resume(World::new(law), 0)
    }

    /// Goes on in a world that has taken `step` steps, and begins the next one.
    pub(crate) fn resume(world: World<'a>, step: usize) -> Walk<'a> {
        let (seen, runs) = (Vec::new(), Vec::new());
        let (towards, broken_off) = (Vec::new(), None);
        let mut walk = Walk { world, step, seen, runs, eager: false, towards, broken_off, broken_rest: 0 };
        walk.enter();
        walk
    }

    fn current(&self) -> Option<&'a Step> {
        self.world.law.program.steps.get(self.step)
    }

    fn enter(&mut self) {
        if let Some(step) = self.current() {
            self.world.begin(step);
        }
    }

    /// What may happen next; empty when the program has ended or nothing can be said.
    pub(crate) fn ways(&self) -> Vec<Way> {
        let mut ways = Vec::new();
        self.find_ways(&mut ways);
        ways
    }

    /// As `ways`, into a list that was used before.
    pub(crate) fn find_ways(&self, ways: &mut Vec<Way>) {
        ways.clear();
        let Some(step) = self.current() else { return };
        if self.world.unclaimed().is_some() {
            return;
        }
        if self.world.state.returns.is_some() {
            return self.returns(ways);
        }
        if !self.towards.is_empty() {
            return self.onwards(step, ways);
        }
        if let Some(fill) = self.world.fill() {
            return self.each_delivery(fill.socket, |way| ways.push(way));
        }
        let mut waits = None;
        match step {
            Step::Reap { ring, until } => {
                self.world.each_completion(Some(*ring), |decision| ways.push(Way::Take(decision)));
                if !self.world.may_stop(*ring, until) {
                    waits = Some(*ring);
                } else if self.world.judge_taken(*ring).is_ok() {
                    ways.push(Way::End);
                }
            }
            Step::Peek { ring } if self.world.state.flag_owed.is_some() => {
                let flags = [true, false].map(|set| Decision::Overflow { ring: *ring, set });
                let allowed = flags.into_iter().filter(|d| self.world.clone().after(*d).is_ok());
                ways.extend(allowed.map(Way::Take));
            }
            Step::Look { ring } if self.world.state.words_owed.is_some() => {
                ways.extend(self.world.possible_words(*ring).into_iter().map(Way::Take));
            }
            Step::Peek { ring } | Step::Fence { ring } => {
                self.world.each_completion(Some(*ring), |decision| ways.push(Way::Take(decision)));
                if self.world.judge_taken(*ring).is_ok() {
                    ways.push(Way::End);
                }
            }
            Step::Drain { socket, amount } => {
                self.each_delivery(*socket, |way| ways.extend(self.fit(*amount, way)));
                ways.dedup();
                if self.may_end(step) {
                    ways.push(Way::End);
                } else if ways.is_empty() {
                    ways.push(Way::GiveUp);
                }
            }
            Step::Ack { socket, amount } => {
                ways.extend(self.world.acks(*socket, *amount).into_iter().map(Way::Take));
                if self.may_end(step) {
                    ways.push(Way::End);
                } else if ways.is_empty() {
                    ways.push(Way::GiveUp);
                }
            }
            Step::Miss { socket, len_bytes } => {
                ways.extend(self.world.resends(*socket, *len_bytes).into_iter().map(Way::Take));
                let (least, most) = self.world.in_flight(*socket);
                if most > *len_bytes && self.may_end(step) {
                    ways.push(Way::End);
                }
                if least <= *len_bytes && self.world.state.drained == 0 {
                    ways.push(Way::GiveUp);
                }
            }
            Step::Settle => {
                for socket in (0..self.world.law.program.sockets.len()).map(|i| SocketId(i as u16)) {
                    self.each_delivery(socket, |way| ways.push(way));
                    ways.extend(self.world.acks(socket, Amount::Everything).into_iter().map(Way::Take));
                }
                if ways.is_empty() || self.eager {
                    self.world.each_completion(None, |decision| ways.push(Way::Take(decision)));
                }
                if self.may_end(step) {
                    ways.push(Way::End);
                } else if ways.is_empty() {
                    ways.push(Way::GiveUp);
                }
            }
            _ => ways.push(Way::End),
        }
        if let Some(ring) = waits
            && (ways.is_empty() || !self.world.owes_anything(ring))
        {
            ways.push(Way::GiveUp);
        }
    }

    fn returns(&self, ways: &mut Vec<Way>) {
        let owed = self.world.owed_returns();
        if self.world.law.mutation.is_none() {
            return ways.extend(owed.map(|value| Way::Take(Decision::Return(value))));
        }
        let candidates = owed.flat_map(|value| [value, value - 1, value + 1]).map(Decision::Return);
        let allowed = candidates.filter(|d| self.world.clone().after(*d).is_ok());
        ways.extend(allowed.map(Way::Take));
    }

    fn each_delivery(&self, socket: SocketId, mut to: impl FnMut(Way)) {
        self.world.each_delivery(socket, |decision| to(Way::Take(decision)));
        let leads = |decision: &Decision| {
            self.world.senders_behind(socket).any(|sender| self.world.leads_to(*decision, sender, socket))
        };
        self.world.hidden(socket).into_iter().filter(leads).map(Way::Take).for_each(to);
    }

    /// What may come where a chain goes on unseen: more of that, and then bytes of whoever was tried.
    fn onwards(&self, step: &Step, ways: &mut Vec<Way>) {
        for (socket, sender) in &self.towards {
            let hidden = self.world.hidden_towards(*sender, *socket).into_iter();
            let leads = |decision: &Decision| self.world.leads_to(*decision, *sender, *socket);
            ways.extend(hidden.filter(leads).map(Way::Take));
            self.world.each_delivery(*socket, |decision| {
                if self.world.is_read_of(decision, *sender, *socket) {
                    let amount = match step {
                        Step::Drain { amount, .. } => *amount,
                        _ => Amount::Everything,
                    };
                    ways.extend(self.fit(amount, Way::Take(decision)));
                }
            });
        }
        ways.dedup();
    }

    /// The requests to whose bytes a decision leads that is not seen.
    fn led_to(&self, decision: Decision) -> Vec<(SocketId, RequestId)> {
        if !matches!(decision, Decision::Proceed { .. }) {
            return Vec::new();
        }
        let sockets = (0..self.world.law.program.sockets.len()).map(|i| SocketId(i as u16));
        let read = sockets.filter(|socket| match (self.world.fill(), self.current()) {
            (Some(fill), _) => fill.socket == *socket,
            (None, Some(Step::Drain { socket: drained, .. })) => drained == socket,
            _ => true,
        });
        let all =
            read.flat_map(|socket| self.world.senders_behind(socket).map(move |sender| (socket, sender)));
        let wanted = |to: &(SocketId, RequestId)| self.towards.is_empty() || self.towards.contains(to);
        all.filter(|to| wanted(to) && self.world.leads_to(decision, to.1, to.0)).collect()
    }

    /// The part of a delivery that the peer still wants, if it wants any.
    fn fit(&self, amount: Amount, way: Way) -> Option<Way> {
        let Amount::Bytes(n) = amount else { return Some(way) };
        let Way::Take(Decision::Deliver { request, len_bytes, generation }) = way else {
            let hidden = matches!(way, Way::Take(Decision::Proceed { .. }));
            return Some(way).filter(|_| !hidden || self.world.state.drained < n);
        };
        let len_bytes = len_bytes.min(n.saturating_sub(self.world.state.drained));
        (len_bytes > 0).then_some(Way::Take(Decision::Deliver { request, len_bytes, generation }))
    }

    fn may_end(&self, step: &Step) -> bool {
        match step {
            Step::Drain { socket, amount: Amount::Everything } => self.world.judge_drained(*socket).is_ok(),
            _ => self.world.clone().finish(step).is_ok(),
        }
    }

    /// Whether this way goes on reading where the last piece was broken off: a longer piece is the same.
    pub(crate) fn lengthens(&self, way: Way) -> bool {
        match way {
            Way::Take(Decision::Deliver { request, generation, .. }) => {
                self.broken_off == Some((request, generation))
            }
            _ => false,
        }
    }

    /// As `lengthens`, where there is so much more that it could go on for long.
    pub(crate) fn lengthens_much(&self, way: Way) -> bool {
        self.broken_rest > LONG_BYTES && self.lengthens(way)
    }

    /// Goes one way on, which `ways` has proposed or which has fewer bytes than that.
    pub(crate) fn take(&mut self, way: Way) -> Result<(), Rule> {
        self.broken_off = None;
        match way {
            Way::Take(decision) => {
                self.towards = self.led_to(decision);
                self.decide(decision)
            }
            Way::End => {
                self.write_runs();
                if let Some(step) = self.current() {
                    self.world.finish(step)?;
                }
                self.step += 1;
                self.enter();
                Ok(())
            }
            Way::GiveUp => {
                self.write_runs();
                self.note(What::GaveUp);
                self.world.finish_in_vain();
                self.step += 1;
                self.enter();
                Ok(())
            }
        }
    }

    fn decide(&mut self, decision: Decision) -> Result<(), Rule> {
        match decision {
            Decision::Return(value) => {
                self.world.after_proposed(decision)?;
                self.note(What::Returned(value));
            }
            Decision::Complete { request, res, more } => {
                let (ring, user_data) = self.name(request);
                self.world.after_proposed(decision)?;
                self.note_cqe(ring, Cqe::of(user_data, Completion::Result { res, more }));
            }
            Decision::Notify { request, usage } => {
                let (ring, user_data) = self.name(request);
                self.world.after_proposed(decision)?;
                self.note_cqe(ring, Cqe::of(user_data, Completion::Notification(usage)));
            }
            Decision::Overflow { ring, set } => {
                self.world.after_proposed(decision)?;
                self.note(What::Overflow { ring, set });
            }
            Decision::Words(words) => {
                self.world.after_proposed(decision)?;
                self.note(What::Words(words));
            }
            Decision::Deliver { request, len_bytes, generation } => {
                let Some(writer) = self.world.writer(request) else { return Ok(()) };
                let socket = writer.send.socket;
                let piece = writer.bytes_from(writer.read, len_bytes).next();
                let rest = writer.bytes_from(writer.read, u64::MAX).next();
                let left = rest.map_or(0, |rest| rest.len_bytes.saturating_sub(len_bytes));
                self.world.after_proposed(decision)?;
                self.broken_off = (left > 0).then_some((request, generation));
                self.broken_rest = left;
                // what two peers read is told in the order of reading: chains go over sockets
                if self.runs.last().is_some_and(|(last, _)| *last != socket) {
                    self.write_runs();
                }
                if let Some(piece) = piece {
                    let run = run_of(piece.region, generation, piece.offset, len_bytes);
                    self.runs.push((socket, run));
                }
            }
            Decision::Datagram { socket, index } => {
                let datagram = self.world.datagrams(socket).and_then(|queue| queue.queue.get(index));
                let most = self.world.fill().map_or(u64::MAX, |fill| fill.left);
                let segments = datagram.map(|d| cut_off(&d.segments, most)).unwrap_or_default();
                self.world.after_proposed(decision)?;
                self.write_runs();
                let mut runs = Vec::new();
                for s in segments {
                    push_run(&mut runs, run_of(s.region, s.oldest, s.offset, s.len_bytes));
                }
                self.note(What::Received(Received { socket, runs }));
            }
            Decision::Ack { socket, len_bytes } => {
                self.world.after_proposed(decision)?;
                self.write_runs();
                self.note(What::Acked { socket, len_bytes });
            }
            Decision::SendAgain { socket, len_bytes, generation } => {
                let segment = self.world.missed(socket).map(|(segment, _)| segment);
                self.world.after_proposed(decision)?;
                if let Some(segment) = segment {
                    self.runs.push((socket, run_of(segment.region, generation, segment.offset, len_bytes)));
                }
            }
            Decision::Proceed { .. } => self.world.after_proposed(decision)?,
        }
        Ok(())
    }

    fn name(&self, id: RequestId) -> (RingId, u64) {
        let request = self.world.request(id);
        (request.ring, request.user_data)
    }

    fn note_cqe(&mut self, ring: RingId, cqe: Cqe) {
        self.write_runs();
        self.note(What::Cqe(RingCqe { ring, cqe }));
    }

    fn note(&mut self, what: What) {
        if self.world.has_fault(Fault::Canary) {
            let wrong = all_wrong(what);
            self.seen.extend([wrong.clone(), wrong].map(|what| Seen { step: self.step as u32, what }));
            return;
        }
        self.seen.push(Seen { step: self.step as u32, what });
    }

    /// Writes down what was read.
    fn write_runs(&mut self) {
        let Some((socket, _)) = self.runs.first() else { return };
        let socket = *socket;
        let mut runs = Vec::with_capacity(self.runs.len());
        for (_, run) in self.runs.drain(..) {
            push_run(&mut runs, run);
        }
        let received = Received { socket, runs };
        let again = matches!(self.current(), Some(Step::Miss { .. }));
        self.note(if again { What::SentAgain(received) } else { What::Received(received) });
    }
}

/// An observation of `Fault::Canary`.
fn all_wrong(what: What) -> What {
    match what {
        What::Returned(value) => What::Returned(value + 1),
        What::Received(Received { socket, runs }) => {
            let later = |run| match run {
                Run::Stamped { region, generation, offset, len_bytes } => Run::Stamped {
                    region,
                    generation: Generation(generation.0.wrapping_add(1)),
                    offset,
                    len_bytes,
                },
                bytes => bytes,
            };
            What::Received(Received { socket, runs: runs.into_iter().map(later).collect() })
        }
        other => other,
    }
}

/// The run of bytes of a region, or of the zeros behind one.
fn run_of(region: Option<RegionId>, generation: Generation, offset: u64, len_bytes: u64) -> Run {
    match region {
        Some(region) => Run::Stamped { region, generation, offset, len_bytes },
        None => Run::Bytes(HexBytes(vec![0; len_bytes as usize])),
    }
}

/// Adds a run, as part of the last one where it continues that.
fn push_run(runs: &mut Vec<Run>, run: Run) {
    match (runs.last_mut(), run) {
        (
            Some(Run::Stamped { region, generation, offset, len_bytes }),
            Run::Stamped { region: r, generation: g, offset: o, len_bytes: n },
        ) if (*region, *generation, *offset + *len_bytes) == (r, g, o) => *len_bytes += n,
        (Some(Run::Bytes(bytes)), Run::Bytes(more)) => bytes.0.extend(more.0),
        (_, run) => runs.push(run),
    }
}
