//! The set of worlds that still explain a trace.
//!
//! Almost always there is one, and it is changed in place. Several arise where an observation has
//! more than one explanation: requests with the same user data, bytes that two requests could have
//! sent. More than `WIDTH_MAX` are not followed: the answer is then that nothing is claimed.

use crate::abi::sqe_flag;
use crate::cqe::{Completion, Cqe};
use crate::program::{Lane, Program, RingId, Step};
use crate::received;
use crate::request::RequestId;
use crate::rules::Rule;
use crate::trace::{Received, What};
use crate::world::{Decision, Law, World};

/// The most worlds that are followed.
pub const WIDTH_MAX: usize = 64;

/// The worlds that explain what was seen so far; never empty.
pub struct Frontier<'a> {
    law: Law<'a>,
    worlds: Vec<World<'a>>,
    /// More worlds than are followed explained it.
    pub too_wide: bool,
}

impl<'a> Frontier<'a> {
    /// Before the first step.
    pub fn new(law: Law<'a>) -> Frontier<'a> {
        Frontier { law, worlds: vec![World::new(law)], too_wide: false }
    }

    /// The worlds.
    pub fn worlds(&self) -> &[World<'a>] {
        &self.worlds
    }

    /// Begins a step in every world.
    pub fn begin(&mut self, step: &Step) {
        self.worlds.iter_mut().for_each(|world| world.begin(step));
    }

    /// Ends a step; the rule of the last world where none can.
    pub fn finish(&mut self, step: &Step) -> Result<(), Rule> {
        self.keep(|world| world.finish(step))
    }

    /// Ends a step whose patience ran out.
    pub fn finish_in_vain(&mut self) {
        self.worlds.iter_mut().for_each(World::finish_in_vain);
    }

    /// Keeps the worlds that explain `what`, or names the rule that it breaks in the last of them.
    pub fn observe(&mut self, what: &What) -> Result<(), Rule> {
        match what {
            What::Room(report) => {
                self.worlds.iter_mut().for_each(|world| world.room(*report));
                Ok(())
            }
            What::Returned(value) => self.keep(|world| world.after(Decision::Return(*value))),
            What::Overflow { ring, set } => {
                self.keep(|world| world.after(Decision::Overflow { ring: *ring, set: *set }))
            }
            What::Words(words) => self.keep(|world| world.after(Decision::Words(*words))),
            What::Cqe(seen) => self.completion(seen.ring, seen.cqe),
            What::Received(received) => self.received(received),
            What::Acked { socket, len_bytes } => {
                let ack = Decision::Ack { socket: *socket, len_bytes: *len_bytes };
                self.keep(|world| world.after(ack))
            }
            What::SentAgain(received) => self.keep(|world| received::explain_again(world, received)),
            What::PeerEnded { socket, how } => self.keep(|world| world.peer_ends(*socket, *how)),
            What::GaveUp => Ok(()),
        }
    }

    /// Changes each world in place and keeps those where that went well.
    fn keep(&mut self, mut change: impl FnMut(&mut World<'a>) -> Result<(), Rule>) -> Result<(), Rule> {
        if let [world] = &mut self.worlds[..] {
            return change(world);
        }
        let before = self.worlds.clone();
        let mut broken = None;
        self.worlds.retain_mut(|world| match change(world) {
            Ok(()) => true,
            Err(rule) => {
                broken = Some(rule);
                false
            }
        });
        match broken {
            Some(rule) if self.worlds.is_empty() => {
                self.worlds = before;
                Err(rule)
            }
            _ => Ok(()),
        }
    }

    fn completion(&mut self, ring: RingId, cqe: Cqe) -> Result<(), Rule> {
        let Some(completion) = cqe.completion() else {
            return self.worlds[0].refuse(Rule::CqeMakesSense);
        };
        let decide = |request: RequestId| match completion {
            Completion::Result { res, more } => Decision::Complete { request, res, more },
            Completion::Notification(usage) => Decision::Notify { request, usage },
        };
        if let [world] = &mut self.worlds[..] {
            let mut candidates = world.requests_with(ring, cqe.user_data);
            let first = candidates.next();
            if let (Some(request), None) = (first, candidates.next()) {
                drop(candidates);
                return world.after(decide(request));
            }
        }
        let program = self.law.program;
        self.branch(|world| {
            let candidates: Vec<_> = world.requests_with(ring, cqe.user_data).collect();
            if candidates.is_empty() {
                let rule = nobody(program, ring, cqe);
                return (world.refuse(rule).map(|()| world.clone()).into_iter().collect(), Some(rule));
            }
            // those that owe their notification come first, so the rule named is the closest one
            let mut explained = Vec::new();
            let mut broken = None;
            for request in candidates {
                let mut next = world.clone();
                match next.after(decide(request)) {
                    Ok(()) => explained.push(next),
                    Err(rule) => broken = Some(rule),
                }
            }
            (explained, broken)
        })
    }

    /// Replaces each world by those that explain something.
    fn branch(&mut self, explain: impl Fn(&World<'a>) -> (Vec<World<'a>>, Option<Rule>)) -> Result<(), Rule> {
        let mut survivors: Vec<World<'a>> = Vec::new();
        let mut broken = None;
        for world in &self.worlds {
            let (explained, rule) = explain(world);
            broken = rule.or(broken);
            for next in explained {
                if !survivors.iter().any(|known| known.state == next.state) {
                    survivors.push(next);
                }
            }
        }
        if survivors.is_empty() {
            return Err(broken.unwrap_or(Rule::StreamNothingInvented));
        }
        if survivors.len() > WIDTH_MAX {
            self.too_wide = true;
            survivors.truncate(WIDTH_MAX);
        }
        self.worlds = survivors;
        Ok(())
    }

    fn received(&mut self, received: &Received) -> Result<(), Rule> {
        if self.worlds[0].datagrams(received.socket).is_some() {
            return self.branch(|world| received::explain_datagram(world, received));
        }
        if self.worlds[0].lane(received.socket) == Lane::RepairTcp {
            // behind a device that nobody listens to, nobody reads, not even nothing
            return self.keep(|world| world.refuse(Rule::StreamNothingInvented));
        }
        if received.runs.iter().all(|run| run.len_bytes() == 0) {
            // a stream says by no bytes that it has ended, and that is another observation
            return self.worlds[0].refuse(Rule::StreamEndsWhenClosed);
        }
        if let [world] = &mut self.worlds[..]
            && let Some(()) = received::read_plainly(world, received)
        {
            return Ok(());
        }
        let exhausted = std::cell::Cell::new(false);
        let result = self.branch(|world| {
            let explained = received::explain(world, received);
            exhausted.set(exhausted.get() || explained.gave_up);
            (explained.worlds, explained.broken)
        });
        if exhausted.get() {
            self.too_wide = true;
            return Ok(());
        }
        result
    }
}

/// The rule that a completion nobody waits for breaks.
fn nobody(program: &Program, ring: RingId, cqe: Cqe) -> Rule {
    let entries = program.steps.iter().filter_map(|step| match step {
        Step::Submit { ring: r, sqes } | Step::Queue { ring: r, sqes, .. } if *r == ring => Some(sqes),
        _ => None,
    });
    match entries.flatten().find(|sqe| sqe.user_data == cqe.user_data) {
        None => Rule::NobodyAsked,
        Some(sqe) if sqe.flags & sqe_flag::CQE_SKIP_SUCCESS != 0 && cqe.res >= 0 => Rule::SkipSuccessIsSilent,
        Some(_) => Rule::RetiredIsSilent,
    }
}
