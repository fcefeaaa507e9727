//! Judges what was seen of mixed sends: completions one by one, received bytes at the end.

use std::collections::BTreeMap;

use super::arrival;
use super::contract::{Broken, Contract, Kind, Request, Send};
use crate::abi::errno;
use crate::cqe::{Completion, Errno, Res, Usage};
use crate::program::{Amount, RingId, SocketId, SocketKind, Step, Until};
use crate::rules::Rule;
use crate::trace::{Ending, Received, RingCqe, Run, Trace, What};

/// What was seen of one entry.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// The observation and the step at which it was taken.
    pub(super) taken: Option<At>,
    pub(super) result: Option<(At, Res)>,
    pub(super) announced: bool,
    pub(super) notified: Option<At>,
}

/// When something was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At {
    pub(super) seen: usize,
    pub(super) step: usize,
}

/// Bytes that a peer read.
pub(super) struct Read<'a> {
    pub(super) at: At,
    pub(super) received: &'a Received,
}

/// Bytes that left once more.
pub(super) struct Resent<'a> {
    pub(super) at: At,
    pub(super) received: &'a Received,
    /// Where in the stream they lie.
    pub(super) place: u64,
}

impl Resent<'_> {
    fn len_bytes(&self) -> u64 {
        self.received.runs.iter().map(Run::len_bytes).sum()
    }
}

/// What was seen so far.
pub(super) struct Judge<'c, 'a> {
    pub(super) contract: &'c Contract<'a>,
    pub(super) seen: Vec<Seen>,
    pub(super) reads: Vec<Read<'c>>,
    pub(super) resent: Vec<Resent<'c>>,
    /// Bytes that each peer acknowledged.
    pub(super) acked: BTreeMap<SocketId, u64>,
    /// Entries on each ring's queue that were not taken yet, and the first of them.
    queued: BTreeMap<RingId, std::collections::VecDeque<usize>>,
    by_name: BTreeMap<(RingId, u64), usize>,
    /// The sockets whose peer has had all, and when.
    pub(super) drained: BTreeMap<SocketId, At>,
    gave_up: bool,
}

pub(super) fn judge(contract: &Contract<'_>, trace: &Trace) -> Result<(), Broken> {
    let by_name = contract.requests.iter().enumerate().map(|(i, r)| ((r.ring, r.user_data), i)).collect();
    let mut judge = Judge {
        contract,
        seen: vec![Seen::default(); contract.requests.len()],
        reads: Vec::new(),
        resent: Vec::new(),
        acked: BTreeMap::new(),
        queued: BTreeMap::new(),
        by_name,
        drained: BTreeMap::new(),
        gave_up: false,
    };
    let mut begun = 0;
    for (index, seen) in trace.seen.iter().enumerate() {
        judge.begin_until(&mut begun, seen.step as usize + 1, index)?;
        let at = At { seen: index, step: seen.step as usize };
        match &seen.what {
            What::Returned(count) => judge.taken(at, *count),
            What::Cqe(cqe) => judge.completion(at, *cqe)?,
            What::Received(received) => judge.reads.push(Read { at, received }),
            What::GaveUp => judge.gave_up = true,
            What::Room(_) | What::Overflow { .. } | What::Words(_) | What::PeerEnded { .. } => {}
            What::Acked { socket, len_bytes } => *judge.acked.entry(*socket).or_default() += len_bytes,
            What::SentAgain(received) => {
                // a peer misses what it has not acknowledged, from the first byte on
                let acked = judge.acked.get(&received.socket).copied().unwrap_or_default();
                let before = judge.resent.iter().filter(|r| r.at.step == at.step).map(Resent::len_bytes);
                let place = acked + before.sum::<u64>();
                judge.resent.push(Resent { at, received, place });
            }
        }
    }
    if trace.end == Ending::Complete {
        let at = trace.seen.len();
        judge.begin_until(&mut begun, contract.program.steps.len() + 1, at)?;
    }
    arrival::judge(&judge, trace.end == Ending::Complete)
}

impl Judge<'_, '_> {
    /// Ends and begins steps until `count` were begun.
    fn begin_until(&mut self, begun: &mut usize, count: usize, at: usize) -> Result<(), Broken> {
        while *begun < count {
            if let Some(ended) = begun.checked_sub(1) {
                self.end(At { seen: at, step: ended })?;
            }
            let step = self.contract.program.steps.get(*begun);
            if let Some(Step::Submit { ring, .. }) = step {
                self.queued.entry(*ring).or_default().extend(&self.contract.submitted[*begun]);
            }
            if let Some(Step::Fence { ring }) = step {
                let rest = self.queued.remove(ring).unwrap_or_default();
                rest.into_iter().for_each(|i| self.seen[i].taken = Some(At { seen: at, step: *begun }));
            }
            *begun += 1;
            self.gave_up = false;
        }
        Ok(())
    }

    /// A step ends: what it waits for has come, unless patience ran out.
    fn end(&mut self, at: At) -> Result<(), Broken> {
        let ring = match self.contract.program.steps.get(at.step) {
            Some(Step::Drain { socket, amount: Amount::Everything }) if !self.gave_up => {
                // what a declared peer has not acknowledged may not have left
                if !self.contract.is_declared(*socket) {
                    self.drained.insert(*socket, at);
                }
                return Ok(());
            }
            Some(Step::Settle) if !self.gave_up => {
                for socket in 0..self.contract.program.sockets.len() {
                    self.drained.insert(SocketId(socket as u16), at);
                }
                None
            }
            Some(Step::Reap { ring, until: Until::Settled }) if !self.gave_up => Some(*ring),
            _ => return Ok(()),
        };
        for (request, seen) in self.contract.requests.iter().zip(&self.seen) {
            if seen.taken.is_none() || ring.is_some_and(|ring| ring != request.ring) {
                continue;
            }
            let came = seen.result.is_some() && (!seen.announced || seen.notified.is_some());
            let got = format!("a wait for all ended without all of #{}", request.user_data);
            self.contract.hold(came, at.seen, Rule::MixedCompletionsCome, &got)?;
        }
        Ok(())
    }

    fn taken(&mut self, at: At, count: i64) {
        let Some(Step::Submit { ring, .. }) = self.contract.program.steps.get(at.step) else { return };
        let queue = self.queued.entry(*ring).or_default();
        for _ in 0..count.max(0) {
            let Some(index) = queue.pop_front() else { break };
            self.seen[index].taken = Some(at);
        }
    }

    fn completion(&mut self, at: At, cqe: RingCqe) -> Result<(), Broken> {
        let got = cqe.cqe.to_string();
        let hold = |holds, rule| self.contract.hold(holds, at.seen, rule, &got);
        let known = self.by_name.get(&(cqe.ring, cqe.cqe.user_data)).copied();
        let (Some(index), Some(completion)) = (known, cqe.cqe.completion()) else {
            return hold(false, Rule::MixedOneResult);
        };
        let (request, seen) = (&self.contract.requests[index], self.seen[index]);
        match completion {
            Completion::Result { res, more } => {
                hold(seen.result.is_none() && seen.taken.is_some(), Rule::MixedOneResult)?;
                if let Kind::Send(send) = &request.what {
                    self.result(at, index, send, res, more, &got)?;
                }
                self.seen[index].result.get_or_insert((at, res));
                self.seen[index].announced = more;
            }
            Completion::Notification(usage) => {
                let Kind::Send(send) = &request.what else { return hold(false, Rule::MixedNotifiesIffLent) };
                hold(seen.announced || seen.result.is_none(), Rule::MixedNotifiesIffLent)?;
                hold(seen.result.is_some() && seen.notified.is_none(), Rule::MixedOneNotif)?;
                hold(send.reports || usage == Usage::Clear, Rule::MixedUsageWhenAsked)?;
                self.seen[index].notified = Some(at);
            }
        }
        Ok(())
    }

    fn result(
        &self,
        at: At,
        index: usize,
        send: &Send,
        res: Res,
        more: bool,
        got: &str,
    ) -> Result<(), Broken> {
        let hold = |holds, rule| self.contract.hold(holds, at.seen, rule, got);
        self.in_chain(at, index, res, got)?;
        let lends = match res {
            Res::Bytes(n) => send.lends_from.is_some_and(|before| n > before),
            Res::Err(_) => false,
        };
        match res {
            Res::Bytes(n) => {
                hold(!send.is_refused && !send.is_outside, Rule::MixedRefusedWhole)?;
                hold(n <= send.len_bytes, Rule::MixedPrefix)?;
                hold(n > 0 || send.len_bytes == 0, Rule::MixedZeroIsEmpty)?;
                if let Some(socket) = send.socket.filter(|socket| self.contract.is_datagram(*socket)) {
                    let fits = n == send.len_bytes && n <= self.contract.longest(socket);
                    hold(fits, Rule::MixedOneDatagram)?;
                }
                let stopped = self.causes(at, index, send).any(|cause| cause != errno::EAGAIN);
                let short = n < send.len_bytes && send.waits_for_all;
                hold(!short || stopped || send.never_waits, Rule::MixedWaitallWhole)?;
            }
            Res::Err(Errno(error)) => {
                let caused = self.causes(at, index, send).any(|cause| cause == error);
                hold(caused, Rule::MixedErrorNeedsCause)?;
            }
        }
        hold(more == lends, Rule::MixedNotifiesIffLent)
    }

    /// What the chain of a request says of its result.
    fn in_chain(&self, at: At, index: usize, res: Res, got: &str) -> Result<(), Broken> {
        let hold = |holds, rule| self.contract.hold(holds, at.seen, rule, got);
        let request = &self.contract.requests[index];
        let cancelled = res == Res::Err(Errno(errno::ECANCELED));
        let untried = request.chain.iter().any(|member| self.is_refused(*member));
        let Some(before) = request.before else { return Ok(()) };
        let Some((_, ended)) = self.seen[before].result else { return hold(false, Rule::MixedInOrder) };
        if self.cuts(before, ended) {
            hold(cancelled || self.is_refused(index), Rule::MixedFailureCuts)
        } else {
            hold(!cancelled || untried || self.is_cancelled(at, request), Rule::MixedGoesOn)
        }
    }

    /// Whether the result of a member cuts the chain behind it.
    fn cuts(&self, index: usize, res: Res) -> bool {
        let request = &self.contract.requests[index];
        let before = request.before.and_then(|before| Some((before, self.seen[before].result?.1)));
        let was_cut = before.is_some_and(|(before, res)| self.cuts(before, res));
        let fails = match (&request.what, res) {
            (_, Res::Err(_)) => true,
            (Kind::Send(send), Res::Bytes(n)) => send.waits_for_all && n < send.len_bytes,
            (Kind::Cancel(_) | Kind::Other, Res::Bytes(_)) => false,
        };
        was_cut || (fails && !request.hard)
    }

    fn is_refused(&self, index: usize) -> bool {
        let what = &self.contract.requests[index].what;
        matches!(what, Kind::Send(send) if send.is_refused || send.is_outside)
    }

    /// Whether a cancel of the request was taken before.
    fn is_cancelled(&self, at: At, request: &Request) -> bool {
        self.contract.requests.iter().zip(&self.seen).any(|(other, seen)| {
            let aims = matches!(other.what, Kind::Cancel(target) if target == request.user_data);
            aims && other.ring == request.ring && seen.taken.is_some_and(|taken| taken < at)
        })
    }

    /// The errnos for which there is a cause.
    fn causes(&self, at: At, index: usize, send: &Send) -> impl Iterator<Item = u16> {
        let request = &self.contract.requests[index];
        let mut causes = Vec::new();
        let mut when = |applies: bool, errors: &[u16]| {
            if applies {
                causes.extend_from_slice(errors);
            }
        };
        let cut = request.before.and_then(|before| Some((before, self.seen[before].result?.1)));
        when(cut.is_some_and(|(before, res)| self.cuts(before, res)), &[errno::ECANCELED]);
        when(
            request.chain.iter().any(|m| self.is_refused(*m)) && request.chain.len() > 1,
            &[errno::ECANCELED],
        );
        when(self.is_cancelled(at, request), &[errno::ECANCELED, errno::EINTR]);
        when(send.is_refused, &[errno::EINVAL, errno::EFAULT, errno::EMSGSIZE]);
        when(send.is_outside || send.readable_bytes < send.len_bytes, &[errno::EFAULT]);
        when(send.never_waits, &[errno::EAGAIN]);
        let limits = &self.contract.program.limits;
        when(send.is_charged && limits.unprivileged, &[errno::ENOMEM]);
        let Some(socket) = send.socket else {
            when(true, &[errno::EBADF]);
            return causes.into_iter();
        };
        let until = |wanted: fn(&Step, SocketId) -> bool| {
            self.contract.program.steps[..=at.step.min(self.contract.program.steps.len() - 1)]
                .iter()
                .any(|step| wanted(step, socket))
        };
        when(until(|step, of| *step == Step::CloseOwn { socket: of }), &[errno::EBADF]);
        when(until(|step, of| *step == Step::ShutdownOwn { socket: of }), &[errno::EPIPE]);
        let reset = until(|step, of| *step == Step::ResetPeer { socket: of });
        when(reset, &[errno::ECONNRESET, errno::EPIPE, errno::ECONNREFUSED]);
        match self.contract.socket(socket) {
            Some((SocketKind::NotASocket, _)) => when(true, &[errno::ENOTSOCK]),
            Some((SocketKind::UnixStream, connected)) => {
                when(send.lends_from.is_some(), &[errno::EOPNOTSUPP]);
                when(!connected, &[errno::ENOTCONN, errno::EPIPE]);
            }
            Some((SocketKind::Tcp4 | SocketKind::Tcp6, connected)) => when(!connected, &[errno::EPIPE]),
            Some((SocketKind::Udp4 | SocketKind::Udp6, connected)) => {
                when(!connected, &[errno::EDESTADDRREQ]);
                let long = send.len_bytes > self.contract.longest(socket);
                when(long || send.is_scattered, &[errno::EMSGSIZE]);
            }
            None => {}
        }
        causes.into_iter()
    }
}
