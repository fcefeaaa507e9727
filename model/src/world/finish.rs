//! Whether a step may end, and what is owed where one waits in vain.

use super::{Tally, World};
use crate::deviation::Deviation;
use crate::net::Holds;
use crate::notice::Stage;
use crate::program::{Amount, Lane, RingId, SocketId, Step, Until};
use crate::request::{Phase, Request, RequestId};
use crate::rules::Rule;
use crate::verdict::Promise;

impl World<'_> {
    /// The call of this step returned.
    pub(super) fn call_returns(&mut self, value: i64) -> Result<(), Rule> {
        let rule = self.state.returns_rule;
        let (expected, or) = (self.state.returns, self.state.returns_or);
        let told = or.filter(|_| expected == Some(value));
        let is_other = or.is_some_and(|(other, _)| other == value);
        self.hold_to(expected == Some(value) || is_other, rule)?;
        if let Some((_, Some(ring))) = told {
            self.state.rings[usize::from(ring.0)].queue.tell(1);
        }
        (self.state.returns, self.state.returns_or) = (None, None);
        Ok(())
    }

    /// What the call of this step may return, if that was not seen yet.
    pub(crate) fn owed_returns(&self) -> impl Iterator<Item = i64> {
        self.state.returns.into_iter().chain(self.state.returns_or.map(|(other, _)| other))
    }

    /// Ends the step, or names the rule that keeps it from ending here.
    pub fn finish(&mut self, step: &Step) -> Result<(), Rule> {
        if self.state.returns.is_some() {
            self.refuse(self.state.returns_rule)?;
        }
        if self.state.flag_owed.is_some() {
            self.refuse(Rule::RingOverflowFlag)?;
        }
        if self.state.fill.is_some() {
            self.refuse(Rule::ReadFills)?;
        }
        if self.state.words_owed.is_some() {
            self.refuse(Rule::RingNeedsWakeup)?;
        }
        (self.state.returns, self.state.flag_owed, self.state.fill) = (None, None, None);
        (self.state.returns_or, self.state.words_owed) = (None, None);
        match step {
            Step::Reap { ring, .. } | Step::Peek { ring } => {
                self.judge_taken(*ring)?;
                self.all_taken(*ring);
            }
            Step::Fence { ring } => {
                self.judge_taken(*ring)?;
                self.all_taken(*ring);
                self.judge_fence(*ring)?;
            }
            Step::Sleep { ring } => {
                // work of a request that is under way would wake it
                let is_idle = !self.state.requests.values().any(|request| request.ring == *ring);
                if let Some(state) = self.state.rings.get_mut(usize::from(ring.0)) {
                    state.is_asleep = is_idle;
                }
            }
            Step::Drain { socket, amount: Amount::Everything } => self.drained(*socket)?,
            Step::Drain { amount: Amount::Bytes(n), .. } => {
                self.hold_to(self.state.drained == *n, Rule::StreamNothingLost)?;
            }
            Step::Ack { socket, amount } => self.finish_ack(*socket, *amount)?,
            Step::Miss { socket, len_bytes } => self.finish_miss(*socket, *len_bytes)?,
            Step::Settle => {
                for i in 0..self.state.sockets.len() {
                    self.drained(SocketId(i as u16))?;
                    self.finish_ack(SocketId(i as u16), Amount::Everything)?;
                }
                self.hold_to(self.is_settled(None), Rule::ResultComes)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// All that stood in a queue was taken.
    fn all_taken(&mut self, ring: RingId) {
        if let Some(state) = self.state.rings.get_mut(usize::from(ring.0)) {
            state.queue.leave(false);
        }
    }

    /// Ends a step whose patience ran out.
    pub fn finish_in_vain(&mut self) {
        (self.state.returns, self.state.returns_or) = (None, None);
        (self.state.flag_owed, self.state.words_owed) = (None, None);
    }

    /// Whether the peer may have read all there is.
    pub(crate) fn judge_drained(&self, socket: SocketId) -> Result<(), Rule> {
        if let Some(queue) = self.datagrams(socket) {
            let lost = queue.queue.iter().any(|d| !d.unsure && !d.loose);
            self.hold_to(!lost, Rule::DatagramArrives)?;
        }
        if let Some(stream) = self.stream(socket).filter(|_| self.lane(socket) != Lane::RepairTcp) {
            if let Err(rule) = stream.judge_drained() {
                self.refuse(rule)?;
            }
            self.hit(Rule::StreamNothingLost);
        }
        Ok(())
    }

    fn drained(&mut self, socket: SocketId) -> Result<(), Rule> {
        self.judge_drained(socket)?;
        if let Some(queue) = self.datagrams_mut(socket) {
            queue.queue.retain(|d| d.loose);
        }
        if self.stream(socket).is_none() || self.lane(socket) == Lane::RepairTcp {
            return Ok(());
        }
        if let Some(stream) = self.stream_mut(socket) {
            stream.drained();
        }
        for id in self.unsettled_on(socket).collect::<Vec<_>>() {
            let read = self.writer(id).filter(|w| w.closed).map(|w| w.read);
            if let (Some(read), Some(counts)) = (read, &mut self.request_mut(id).may.bytes) {
                (counts.least, counts.most) = (counts.least.max(read), read.max(counts.least));
            }
        }
        Ok(())
    }

    /// Whether every request has its result, and its notification where one was announced.
    pub(crate) fn is_settled(&self, ring: Option<RingId>) -> bool {
        let open = |request: &Request| {
            let announced = request.notice.is_some_and(|n| n.stage != Stage::Posted) && !request.cut;
            request.phase != Phase::Done || announced
        };
        let mut requests = self.state.requests.values();
        !requests.any(|request| ring.is_none_or(|r| r == request.ring) && open(request))
    }

    /// Whether a reap may stop here.
    pub(crate) fn may_stop(&self, ring: RingId, until: &Until) -> bool {
        match until {
            Until::Now => true,
            Until::Settled => self.is_settled(Some(ring)),
            Until::Seen(wants) => wants.iter().all(|want| {
                let tally = self.state.tally.get(&want.user_data).copied().unwrap_or_default();
                let Tally { seen, announced, notified } = tally;
                seen >= want.count && (!want.last || notified >= announced)
            }),
        }
    }

    /// What the kernel owes on `ring`, or on all of them, although nobody does anything more.
    pub fn promises(&self, ring: Option<RingId>) -> Vec<Promise> {
        let here = |request: &&Request| ring.is_none_or(|r| r == request.ring);
        let mut owed = Vec::new();
        for (id, request) in self.state.requests.iter().filter(|(_, r)| here(r)) {
            if let Some((what, rule)) = self.owes(*id, request, ring.is_none()) {
                owed.push(Promise { user_data: request.user_data, what: what.into(), rule });
            }
        }
        owed
    }

    /// Whether the kernel owes anything on `ring`, although nobody does anything more.
    pub(crate) fn owes_anything(&self, ring: RingId) -> bool {
        let mut here = self.state.requests.iter().filter(|(_, request)| request.ring == ring);
        here.any(|(id, request)| self.owes(*id, request, false).is_some())
    }

    /// What one request owes although nobody does anything more.
    pub(super) fn owed_by(&self, id: RequestId) -> Option<Promise> {
        let request = self.request(id);
        let (what, rule) = self.owes(id, request, false)?;
        Some(Promise { user_data: request.user_data, what: what.into(), rule })
    }

    fn owes(&self, id: RequestId, request: &Request, settling: bool) -> Option<(&'static str, Rule)> {
        let first = request.before.is_none_or(|b| !self.state.requests.contains_key(&b));
        match request.phase {
            Phase::Issued if !request.may.waiting && self.awaits(request).is_none() => {
                Some(("result", Rule::ResultComes))
            }
            Phase::Issued | Phase::Armed if settling => Some(("result", Rule::ResultComes)),
            Phase::Queued if settling && first => Some(("result", Rule::ResultComes)),
            Phase::Queued | Phase::Issued | Phase::Armed => None,
            Phase::Done => {
                request.notice.filter(|n| n.stage != Stage::Posted)?;
                let kept = !request.cut
                    || (Deviation::OrphanNotif.applies_to(self.law.profile) && !self.law.contract);
                // what may have gone on unseen may be before it in the queue, or share its packets
                let unseen = |socket| self.queued_on(socket).next().is_some();
                let released =
                    settling || self.holds(id, request) == Holds::No && !request.socket.is_some_and(unseen);
                (kept && released).then_some(("notification", Rule::NotifComes))
            }
        }
    }

    /// Bytes that were surely accepted and that the peer has not read.
    pub(crate) fn owed_bytes(&self, socket: SocketId) -> Vec<Promise> {
        let writers = self.stream(socket).map_or(&[][..], |stream| &stream.writers);
        let owed = writers.iter().filter(|w| w.accepted.0 > w.read);
        owed.map(|w| Promise {
            user_data: self.state.requests.get(&w.request).map_or(0, |r| r.user_data),
            what: "bytes".into(),
            rule: Rule::StreamNothingLost,
        })
        .collect()
    }
}
