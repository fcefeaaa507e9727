//! Judging: whether a kernel may do what a trace says it did.
//!
//! It errs on the side of the kernel: where a lane says nothing about room, any count is allowed,
//! and a promise counts as broken only where somebody waited for it. It never errs on memory: a
//! byte that no allowed contents explain is refused.

use crate::account::{Notes, Record};
use crate::frontier::Frontier;
use crate::mutation::Mutation;
use crate::profile::Profile;
use crate::program::{Program, RingId, SocketId, Step, Until};
use crate::rules::Rule;
use crate::trace::{Ending, Trace, What};
use crate::verdict::{Promise, Rejection, Unclaimed, Verdict};
use crate::words;
use crate::world::{Law, World};

/// Says whether the kernel of `profile` may do what `trace` says it did. Known deviations are
/// accepted and named.
pub fn check(program: &Program, profile: &Profile, trace: &Trace) -> Verdict {
    judge(Law::of(program, profile), trace)
}

/// As `check`, but refuses known deviations: only what the rules promise is accepted.
pub fn check_contract(program: &Program, profile: &Profile, trace: &Trace) -> Verdict {
    judge(Law { contract: true, ..Law::of(program, profile) }, trace)
}

/// As `check`, with a deliberate mistake; for tests.
#[doc(hidden)]
pub fn check_mutant(program: &Program, profile: &Profile, mutation: Mutation, trace: &Trace) -> Verdict {
    judge(Law { mutation: Some(mutation), ..Law::of(program, profile) }, trace)
}

/// The walk through a trace.
pub(crate) struct Judge<'a> {
    law: Law<'a>,
    pub(crate) frontier: Frontier<'a>,
    /// Steps that were begun.
    begun: usize,
    /// The step that was begun last waited in vain.
    in_vain: bool,
    /// Something was observed in the step that was begun last.
    observed: bool,
    /// Where what is said of each observation is written down.
    pub(crate) notes: Option<Notes<'a>>,
}

fn judge(law: Law<'_>, trace: &Trace) -> Verdict {
    let mut judge = Judge::new(law, None);
    match judge.walk(trace) {
        Err(verdict) => verdict,
        Ok(()) => judge.accept(),
    }
}

impl<'a> Judge<'a> {
    pub(crate) fn new(law: Law<'a>, notes: Option<Notes<'a>>) -> Judge<'a> {
        Judge { law, frontier: Frontier::new(law), begun: 0, in_vain: false, observed: false, notes }
    }

    pub(crate) fn walk(&mut self, trace: &Trace) -> Result<(), Verdict> {
        for (at, seen) in trace.seen.iter().enumerate() {
            let step = seen.step as usize;
            if step >= self.law.program.steps.len().max(1) {
                return Err(malformed(format!("observation {at} names step {step}, which is not there")));
            }
            if !matches!(seen.what, What::Room(_)) {
                if step + 1 < self.begun {
                    return Err(malformed(format!("observation {at} is of step {step}, which has ended")));
                }
                self.go_to(step + 1, at)?;
            }
            self.observe(&seen.what, at)?;
            self.is_claimed()?;
            self.observed = true;
            if let Some(notes) = &mut self.notes {
                notes.observed(&self.frontier.worlds()[0]);
            }
        }
        let at = trace.seen.len();
        match trace.end {
            Ending::Complete => {
                self.go_to(self.law.program.steps.len(), at)?;
                self.finish(at)?;
                self.is_claimed()
            }
            Ending::Cut => Ok(()),
            Ending::Hung { step } => {
                self.go_to((step as usize).min(self.law.program.steps.len().saturating_sub(1)) + 1, at)?;
                Err(self.hung(at, step))
            }
        }
    }

    fn is_claimed(&self) -> Result<(), Verdict> {
        if self.frontier.too_wide {
            return Err(Verdict::Unclaimed { reason: Unclaimed::TooWide });
        }
        match self.world().unclaimed() {
            Some(what) => Err(Verdict::Unclaimed { reason: Unclaimed::NotModelled(what.into()) }),
            None => Ok(()),
        }
    }

    fn world(&self) -> &World<'a> {
        &self.frontier.worlds()[0]
    }

    fn step(&self) -> Option<&'a Step> {
        self.law.program.steps.get(self.begun.checked_sub(1)?)
    }

    /// Ends and begins steps until `count` were begun.
    fn go_to(&mut self, count: usize, at: usize) -> Result<(), Verdict> {
        while self.begun < count {
            self.finish(at)?;
            let step = &self.law.program.steps[self.begun];
            self.begun += 1;
            (self.in_vain, self.observed) = (false, false);
            self.frontier.begin(step);
            if let Some(notes) = &mut self.notes {
                notes.began(step, &self.frontier.worlds()[0]);
            }
            self.is_claimed()?;
        }
        Ok(())
    }

    fn finish(&mut self, at: usize) -> Result<(), Verdict> {
        let Some(step) = self.step() else { return Ok(()) };
        if self.in_vain || self.is_unrecorded(step) {
            self.frontier.finish_in_vain();
            return Ok(());
        }
        // these change something before they may turn out to be refused
        let changes = matches!(step, Step::Ack { .. } | Step::Miss { .. } | Step::Settle);
        let before = changes.then(|| self.world().clone());
        if let Err(rule) = self.frontier.finish(step) {
            let got = format!("the step ended: {}", words::step(self.law.program, step));
            let allowed = self.allowed_in(before.as_ref().unwrap_or(self.world()));
            return Err(Verdict::Rejected(Rejection { at: at as u32, rule, got, allowed }));
        }
        // who waits sees what it waits for, or gives up: a whole record says which
        match step {
            Step::Reap { ring, until } if !self.law.partial && !self.may_stop(*ring, until) => {
                Err(malformed(format!(
                    "step {} ended although not all that it waits for had come",
                    self.begun - 1
                )))
            }
            _ => Ok(()),
        }
    }

    /// Whether a reap may stop in some world.
    fn may_stop(&self, ring: RingId, until: &Until) -> bool {
        self.frontier.worlds().iter().any(|world| world.may_stop(ring, until))
    }

    /// Whether the record may leave out how this step went, and does.
    fn is_unrecorded(&self, step: &Step) -> bool {
        let partial = self.notes.as_ref().is_some_and(|notes| notes.record == Record::Partial);
        partial
            && match step {
                Step::Submit { .. }
                | Step::Enter(_)
                | Step::Register { .. }
                | Step::Setup(_)
                | Step::EnterElsewhere { .. } => self.world().owed_returns().next().is_some(),
                Step::Look { .. } | Step::Drain { .. } => !self.observed,
                _ => false,
            }
    }

    fn observe(&mut self, what: &What, at: usize) -> Result<(), Verdict> {
        if let Err(why) = fits(self.law.program, what) {
            return Err(malformed(format!("observation {at}: {why}")));
        }
        if *what == What::GaveUp {
            if let Some(Step::Reap { ring, until }) = self.step()
                && self.frontier.worlds().iter().all(|world| world.may_stop(*ring, until))
            {
                return Err(malformed(format!("observation {at}: gave up although nothing was missing")));
            }
            self.in_vain = true;
            let mut promises = self.promises();
            match self.step() {
                Some(
                    Step::Reap { .. }
                    | Step::Drain { .. }
                    | Step::Ack { .. }
                    | Step::Miss { .. }
                    | Step::Settle,
                ) => {}
                Some(Step::Sleep { .. }) => {
                    promises = vec![Promise {
                        user_data: u64::MAX,
                        what: "sleep of the ring's thread".into(),
                        rule: Rule::RingNeedsWakeup,
                    }];
                }
                Some(Step::Submit { ring, .. })
                    if self.world().state.rings.get(usize::from(ring.0)).is_some_and(|r| r.has_thread) =>
                {
                    promises = vec![Promise {
                        user_data: u64::MAX,
                        what: "entries that the ring's thread takes".into(),
                        rule: Rule::ResultComes,
                    }];
                }
                Some(Step::Fence { ring })
                    if self.frontier.worlds().iter().any(|world| world.holds_fence(*ring)) => {}
                Some(Step::Fence { .. }) => promises.push(Promise {
                    user_data: u64::MAX,
                    what: "result of the fence's nop".into(),
                    rule: Rule::ResultComes,
                }),
                _ => {
                    return Err(malformed(format!("observation {at}: gave up in a step that does not wait")));
                }
            }
            let stuck = !promises.is_empty();
            return if stuck { Err(Verdict::Stuck { at: at as u32, promises }) } else { Ok(()) };
        }
        let rule = match self.frontier.observe(what) {
            Ok(()) => return Ok(()),
            Err(rule) => rule,
        };
        let got = words::what(self.law.program, what);
        Err(Verdict::Rejected(Rejection { at: at as u32, rule, got, allowed: self.allowed() }))
    }

    /// What every world promises to whoever waits in this step.
    fn promises(&self) -> Vec<Promise> {
        let owed = |world: &World<'a>| match self.step() {
            Some(Step::Reap { ring, .. } | Step::Fence { ring }) => world.promises(Some(*ring)),
            Some(Step::Drain { socket, .. }) => world.owed_bytes(*socket),
            Some(Step::Ack { socket, .. }) => world.owed_to_peer(*socket, 1, Rule::StreamNothingLost),
            Some(Step::Miss { socket, len_bytes }) => world.owed_again(*socket, *len_bytes),
            _ => world.promises(None),
        };
        let mut worlds = self.frontier.worlds().iter();
        let first = worlds.next().map(owed).unwrap_or_default();
        let rest: Vec<_> = worlds.map(owed).collect();
        first.into_iter().filter(|promise| rest.iter().all(|other| other.contains(promise))).collect()
    }

    fn hung(&self, at: usize, step: u32) -> Verdict {
        let mut promises = self.promises();
        if promises.is_empty() {
            let what = format!("return of step {step}");
            promises.push(Promise { user_data: 0, what, rule: Rule::CallsReturn });
        }
        Verdict::Stuck { at: at as u32, promises }
    }

    /// What could be seen now, in words.
    fn allowed(&self) -> Vec<String> {
        self.allowed_in(self.world())
    }

    fn allowed_in(&self, world: &World<'_>) -> Vec<String> {
        let program = self.law.program;
        if world.owed_returns().next().is_some() {
            return world.owed_returns().map(|value| format!("returned {value}")).collect();
        }
        let mut all = match self.step() {
            _ if world.fill().is_some() => {
                world.fill().map(|fill| world.deliveries(fill.socket)).unwrap_or_default()
            }
            Some(Step::Reap { ring, .. } | Step::Fence { ring } | Step::Peek { ring }) => {
                world.completions(Some(*ring))
            }
            Some(Step::Look { ring }) => world.possible_words(*ring),
            Some(Step::Drain { socket, .. }) => world.deliveries(*socket),
            Some(Step::Ack { socket, amount }) => world.acks(*socket, *amount),
            Some(Step::Miss { socket, len_bytes }) => world.resends(*socket, *len_bytes),
            Some(Step::Settle) => {
                let sockets = 0..program.sockets.len();
                let bytes = sockets.flat_map(|i| world.deliveries(SocketId(i as u16)));
                world.completions(None).into_iter().chain(bytes).collect()
            }
            _ => Vec::new(),
        };
        all.truncate(ALLOWED_MAX);
        all.iter().map(|decision| words::decision(world, decision)).collect()
    }

    pub(crate) fn accept(&self) -> Verdict {
        let world = self.world();
        Verdict::Accepted { rules: world.rules_hit(), deviations: world.deviations_met() }
    }
}

/// The most alternatives that a rejection lists.
const ALLOWED_MAX: usize = 12;

fn malformed(why: String) -> Verdict {
    Verdict::Unclaimed { reason: Unclaimed::Malformed(why) }
}

/// Whether an observation names rings and sockets that the program has.
fn fits(program: &Program, what: &What) -> Result<(), String> {
    let socket = match what {
        What::Cqe(seen) if usize::from(seen.ring.0) >= program.rings.len() => {
            return Err(format!("ring {} is not in the program", seen.ring.0));
        }
        What::Words(words) if usize::from(words.ring.0) >= program.rings.len() => {
            return Err(format!("ring {} is not in the program", words.ring.0));
        }
        What::Overflow { ring, .. } if usize::from(ring.0) >= program.rings.len() => {
            return Err(format!("ring {} is not in the program", ring.0));
        }
        What::Room(report) => report.socket,
        What::Received(received) | What::SentAgain(received) => received.socket,
        What::PeerEnded { socket, .. } | What::Acked { socket, .. } => *socket,
        What::Cqe(_) | What::Overflow { .. } | What::Words(_) | What::Returned(_) | What::GaveUp => {
            return Ok(());
        }
    };
    let known = usize::from(socket.0) < program.sockets.len();
    if known { Ok(()) } else { Err(format!("socket {} is not in the program", socket.0)) }
}
