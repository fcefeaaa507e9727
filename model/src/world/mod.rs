//! The relation: one possible state of the kernel, and what may happen in it.
//!
//! A `World` is what is known of the kernel after a part of a program and of its trace. `begin` does
//! what a step does for certain; `after` takes one `Decision`, or names the rule it breaks; `finish`
//! says whether the step may end here. Simulation proposes decisions, each judged by what `after` asks
//! as well; checking reads them from a trace and asks `after`. So a rule is written once.

mod attempt;
mod beside;
mod cancel;
mod cancel_call;
mod datagram;
mod decision;
mod drain;
mod enter;
mod finish;
mod locked;
mod notify;
mod options;
mod queue;
mod read;
mod register;
mod requests;
mod restrict;
mod result;
mod seek;
mod standing;
mod step;
mod stream;
mod submit;
mod sweep;
mod wire;

pub use decision::Decision;
pub use standing::Open;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use crate::abi::setup as flag;
use crate::deviation::Deviation;
use crate::memory::{Contents, Generation};
use crate::mutation::{Fault, Mutation};
use crate::net::{Datagrams, Stream, UDP4_LONGEST, UDP6_LONGEST, Wire, usual_room};
use crate::profile::Profile;
use crate::program::{Lane, Program, RingId, SocketId, SocketKind, SocketState, Until};
use crate::request::{Request, RequestId};
use crate::rules::Rule;
use crate::space::Space;
use crate::sqe::Sqe;

/// What a run is judged by.
#[derive(Clone, Copy)]
pub struct Law<'a> {
    /// What the user does.
    pub program: &'a Program,
    /// On which kernel.
    pub profile: &'a Profile,
    /// Whether known deviations are refused.
    pub contract: bool,
    /// A deliberate mistake, for tests.
    pub mutation: Option<Mutation>,
    /// The record may leave things out: a step may have taken several calls, or not all that was there.
    pub partial: bool,
}

impl<'a> Law<'a> {
    /// Whether any memory is for reads.
    fn has_sinks(&self) -> bool {
        self.program.regions.iter().any(|region| region.contents == Contents::Sink)
    }

    /// Whole records, known deviations accepted, no mistakes.
    pub fn of(program: &'a Program, profile: &'a Profile) -> Law<'a> {
        Law { program, profile, contract: false, mutation: None, partial: false }
    }
}

/// A set of small numbers that grows while it is looked at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hits([Cell<u64>; 4]);

impl Hits {
    fn add(&self, index: usize) {
        let word = &self.0[index / 64];
        word.set(word.get() | 1 << (index % 64));
    }

    fn has(&self, index: usize) -> bool {
        self.0[index / 64].get() & 1 << (index % 64) != 0
    }
}

/// One ring.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ring {
    pub(crate) tables: register::Tables,
    /// Tables that it had, each with when it was changed, in steps begun; as far as a request may have used them.
    pub(crate) former: Vec<(u32, register::Tables)>,
    /// Entries on the queue that no enter has consumed, and indices of none.
    pub(crate) left: VecDeque<Option<Sqe>>,
    /// Deferred work runs only in an enter that waits for completions.
    pub(crate) defers: bool,
    /// A batch goes on behind an entry that is refused.
    pub(crate) submits_all: bool,
    /// Only one thread may submit.
    pub(crate) has_single_issuer: bool,
    /// It was not enabled yet.
    pub(crate) is_disabled: bool,
    /// It polls for completions (`IOPOLL`).
    pub(crate) polls: bool,
    /// Completions of 32 bytes have a place (`CQE32`, `CQE_MIXED`).
    pub(crate) has_large_completions: bool,
    /// What it may still do once it is enabled.
    pub(crate) restrictions: Option<Rc<restrict::Restrictions>>,
    /// There is no array of indices (`NO_SQARRAY`).
    pub(crate) has_no_array: bool,
    /// A thread of the kernel's takes entries (`SQPOLL`).
    pub(crate) has_thread: bool,
    /// It surely sleeps, until it is woken.
    pub(crate) is_asleep: bool,
    /// Indices were put on the queue out of their order.
    pub(crate) permuted: bool,
    /// Indices of no entry that were passed over.
    pub(crate) dropped: u32,
    /// It says whether work waits for a call (`TASKRUN_FLAG`).
    pub(crate) has_taskrun_flag: bool,
    /// Requests whose notification the last such call has posted, where it says so.
    pub(crate) ran: BTreeSet<RequestId>,
    pub(crate) sq_entries: usize,
    /// What entries with `IOSQE_IO_DRAIN` have made of it.
    pub(crate) drains: drain::Drains,
    /// The completions.
    pub(crate) queue: queue::Queue,
    /// The number of calls before the last enter with `GETEVENTS`, which runs deferred work.
    pub(crate) worked: u32,
}

/// What a descriptor of the program is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Socket {
    Stream(Stream),
    Datagrams(Datagrams),
    File { is_open: bool },
}

/// Completions seen with one user data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tally {
    seen: u32,
    announced: u32,
    notified: u32,
}

/// When a descriptor was closed, its connection shut down or reset, and its peer last read; 0: not yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ends {
    closed: u32,
    shut: u32,
    reset: u32,
    /// With bytes that the peer had not read.
    lost: u32,
    read: u32,
    /// By acknowledgements while something was lent, or may have been.
    lent: u32,
}

/// All that changes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct State {
    pub(crate) rings: Vec<Ring>,
    pub(crate) sockets: Vec<Socket>,
    /// Of each region; shared with the requests that keep what they were.
    pub(crate) generations: Rc<Vec<Generation>>,
    pub(crate) requests: requests::Requests,
    pub(crate) next_id: u32,
    /// What the completions of requests carried that another thread ran: it may still be seen to run them.
    pub(crate) ran_elsewhere: BTreeSet<(RingId, u64)>,
    /// What the call of this step must return, until it was seen.
    pub(crate) returns: Option<i64>,
    /// What it may return in place of that; `returns` then tells that something is to be taken from this ring.
    pub(crate) returns_or: Option<(i64, Option<RingId>)>,
    /// The rule behind `returns`.
    pub(crate) returns_rule: Rule,
    /// Completions by user data, where a step waits for them.
    pub(crate) tally: BTreeMap<u64, Tally>,
    /// When each socket ended, in steps begun.
    pub(crate) ends: Vec<Ends>,
    /// How often peers have read.
    pub(crate) drains: u32,
    /// Bytes read by the peer in this step.
    pub(crate) drained: u64,
    /// The first request of the batch that was submitted last.
    pub(crate) batch: RequestId,
    /// Calls that took entries, so far.
    pub(crate) calls: u32,
    /// Pages of tables that were given up while requests could still use them.
    pub(crate) lingering_pages: u64,
    /// Steps that were begun.
    pub(crate) begun: u32,
    /// The ring that has not said yet whether completions wait outside its queue.
    pub(crate) flag_owed: Option<RingId>,
    /// The ring whose words were not told yet.
    pub(crate) words_owed: Option<RingId>,
    /// Requests that are tried together with the present one, in no promised order.
    pub(crate) beside: Vec<RequestId>,
    /// Those that the work which runs now comes to, before any that it queues in turn.
    pub(crate) round: Vec<RequestId>,
    /// Reads whose result was not seen.
    pub(crate) readers: BTreeSet<RequestId>,
    /// What a read has put into its memory, while that was not looked at.
    pub(crate) fill: Option<read::Fill>,
    /// Why nothing can be said.
    pub(crate) unclaimed: Option<String>,
}

/// One possible state of the kernel.
#[derive(Clone)]
pub struct World<'a> {
    pub(crate) law: Law<'a>,
    pub(crate) state: State,
    /// Whether any step waits for particular user data; otherwise they are not counted.
    tallies: bool,
    /// Whether any memory is for reads.
    has_sinks: bool,
    hits: Hits,
    deviations: Hits,
}

/// A world without the law it stands under, so that the program may grow meanwhile.
pub(crate) struct Paused {
    state: State,
    tallies: bool,
    hits: Hits,
    deviations: Hits,
}

impl<'a> World<'a> {
    /// Stops; `resume` goes on under a law whose program has more steps and otherwise is the same.
    pub(crate) fn pause(self) -> Paused {
        let World { state, tallies, hits, deviations, .. } = self;
        Paused { state, tallies, hits, deviations }
    }

    /// Goes on where `pause` stopped.
    pub(crate) fn resume(law: Law<'a>, paused: Paused) -> World<'a> {
        let Paused { state, tallies, hits, deviations } = paused;
        World { law, state, tallies, has_sinks: law.has_sinks(), hits, deviations }
    }

    /// The kernel before the first step.
    pub fn new(law: Law<'a>) -> World<'a> {
        let program = law.program;
        let rings = program.rings.iter().map(|setup| {
            let sq_entries = setup.entries.clamp(1, 32768).next_power_of_two() as usize;
            let has = |flag: u32| setup.flags & flag != 0;
            Ring {
                defers: has(flag::DEFER_TASKRUN),
                submits_all: has(flag::SUBMIT_ALL),
                has_single_issuer: has(flag::SINGLE_ISSUER),
                is_disabled: has(flag::R_DISABLED),
                polls: has(flag::IOPOLL),
                has_large_completions: has(flag::CQE32 | flag::CQE_MIXED),
                has_no_array: has(flag::NO_SQARRAY),
                has_thread: has(flag::SQPOLL),
                has_taskrun_flag: has(flag::TASKRUN_FLAG),
                sq_entries,
                queue: queue::Queue::new(setup.cq_entries, sq_entries),
                ..Ring::default()
            }
        });
        let sockets = program.sockets.iter().enumerate().map(|(i, setup)| {
            let connected = setup.state == SocketState::Connected;
            let room = usual_room(SocketId(i as u16), setup.lane);
            let gated = matches!(setup.lane, Lane::Gate | Lane::GateFull);
            match setup.kind {
                SocketKind::Tcp4 | SocketKind::Tcp6 => {
                    let mut stream = Stream::new(room, gated, connected, false);
                    let tapped = setup.lane.is_tapped();
                    stream.wire = setup.lane.is_declared().then(|| Wire::new(tapped));
                    Socket::Stream(stream)
                }
                SocketKind::UnixStream => Socket::Stream(Stream::new(room, gated, connected, true)),
                SocketKind::Udp4 | SocketKind::Udp6 => {
                    let longest = if setup.kind == SocketKind::Udp4 { UDP4_LONGEST } else { UDP6_LONGEST };
                    Socket::Datagrams(Datagrams::new(room, connected, longest, setup.sndbuf_bytes))
                }
                SocketKind::NotASocket => Socket::File { is_open: true },
            }
        });
        let state = State {
            rings: rings.collect(),
            sockets: sockets.collect(),
            generations: Rc::new(vec![Generation(0); program.regions.len()]),
            requests: requests::Requests::default(),
            ran_elsewhere: BTreeSet::new(),
            next_id: 0,
            returns: None,
            returns_or: None,
            returns_rule: Rule::RingSubmitCount,
            tally: BTreeMap::new(),
            ends: vec![Ends::default(); program.sockets.len()],
            drains: 0,
            drained: 0,
            batch: RequestId(0),
            calls: 0,
            lingering_pages: 0,
            begun: 0,
            flag_owed: None,
            words_owed: None,
            beside: Vec::new(),
            round: Vec::new(),
            readers: BTreeSet::new(),
            fill: None,
            unclaimed: None,
        };
        let tallies = program
            .steps
            .iter()
            .any(|step| matches!(step, crate::program::Step::Reap { until: Until::Seen(_), .. }));
        let (hits, deviations) = Default::default();
        let mut world = World { law, state, tallies, has_sinks: law.has_sinks(), hits, deviations };
        world.check_rings_fit();
        world
    }

    /// Takes one decision, or names the rule that it breaks; then nothing has changed.
    pub fn after(&mut self, decision: Decision) -> Result<(), Rule> {
        self.judge_fill(decision)?;
        self.decide(decision)?;
        self.looked_at(decision);
        self.wake_reads();
        Ok(())
    }

    /// Takes a decision that this state has proposed, so what comes often need not be judged again.
    pub(crate) fn after_proposed(&mut self, decision: Decision) -> Result<(), Rule> {
        match decision {
            Decision::Complete { request, res, more } => self.completed(request, res, more),
            Decision::Notify { request, usage } => self.notified(request, usage),
            Decision::Deliver { request, len_bytes, .. } => self.delivered(request, len_bytes),
            other => return self.after(other),
        }
        self.looked_at(decision);
        self.wake_reads();
        Ok(())
    }

    fn decide(&mut self, decision: Decision) -> Result<(), Rule> {
        match decision {
            Decision::Return(value) => self.call_returns(value),
            Decision::Complete { request, res, more } => self.complete(request, res, more),
            Decision::Notify { request, usage } => self.notify(request, usage),
            Decision::Overflow { ring, set } => self.overflow_is(ring, set),
            Decision::Words(words) => self.words_are(words),
            Decision::Deliver { request, len_bytes, generation } => {
                self.deliver(request, len_bytes, generation)
            }
            Decision::Ack { socket, len_bytes } => self.acked(socket, len_bytes),
            Decision::SendAgain { socket, len_bytes, generation } => {
                self.sent_again(socket, len_bytes, generation)
            }
            Decision::Datagram { socket, index } => self.deliver_datagram(socket, index),
            Decision::Proceed { request, failed } => self.proceed(request, failed),
        }
    }

    /// Why nothing can be said any more, if so.
    pub fn unclaimed(&self) -> Option<&str> {
        self.state.unclaimed.as_deref()
    }

    /// The rules that had a say so far.
    pub fn rules_hit(&self) -> BTreeSet<Rule> {
        Rule::ALL.iter().copied().filter(|rule| self.hits.has(*rule as usize)).collect()
    }

    /// The rules that had a say since this was last asked.
    pub(crate) fn take_rules_hit(&self) -> BTreeSet<Rule> {
        let hit = self.rules_hit();
        self.hits.0.iter().for_each(|word| word.set(0));
        hit
    }

    /// The deviations met so far.
    pub fn deviations_met(&self) -> BTreeSet<Deviation> {
        Deviation::ALL.iter().copied().filter(|d| self.deviations.has(*d as usize)).collect()
    }

    pub(crate) fn hit(&self, rule: Rule) {
        self.hits.add(rule as usize);
    }

    pub(crate) fn met(&self, deviation: Deviation) {
        self.deviations.add(deviation as usize);
    }

    /// The rule has a say: it refuses what does not hold, unless it is switched off.
    pub(crate) fn hold_to(&self, holds: bool, rule: Rule) -> Result<(), Rule> {
        if holds {
            self.hit(rule);
            Ok(())
        } else {
            self.refuse(rule)
        }
    }

    /// The rule refuses, unless it is switched off.
    pub(crate) fn refuse(&self, rule: Rule) -> Result<(), Rule> {
        if self.law.mutation == Some(Mutation::Off(rule)) { Ok(()) } else { Err(rule) }
    }

    pub(crate) fn has_fault(&self, fault: Fault) -> bool {
        self.law.mutation == Some(Mutation::Fault(fault))
    }

    pub(crate) fn space(&self) -> Space<'_> {
        Space { regions: &self.law.program.regions, generations: &self.state.generations }
    }

    /// Whether nothing is known of the path of a socket's bytes.
    pub(crate) fn is_unknown(&self, socket: SocketId) -> bool {
        let setup = self.law.program.sockets.get(usize::from(socket.0));
        setup.is_some_and(|setup| setup.lane == Lane::Unknown)
    }

    pub(crate) fn stream(&self, socket: SocketId) -> Option<&Stream> {
        match self.state.sockets.get(usize::from(socket.0)) {
            Some(Socket::Stream(stream)) => Some(stream),
            _ => None,
        }
    }

    pub(crate) fn stream_mut(&mut self, socket: SocketId) -> Option<&mut Stream> {
        match self.state.sockets.get_mut(usize::from(socket.0)) {
            Some(Socket::Stream(stream)) => Some(stream),
            _ => None,
        }
    }

    pub(crate) fn datagrams(&self, socket: SocketId) -> Option<&Datagrams> {
        match self.state.sockets.get(usize::from(socket.0)) {
            Some(Socket::Datagrams(queue)) => Some(queue),
            _ => None,
        }
    }

    pub(crate) fn datagrams_mut(&mut self, socket: SocketId) -> Option<&mut Datagrams> {
        match self.state.sockets.get_mut(usize::from(socket.0)) {
            Some(Socket::Datagrams(queue)) => Some(queue),
            _ => None,
        }
    }

    /// The requests that may still post on `ring` under this user data, oldest first.
    pub(crate) fn requests_with(&self, ring: RingId, user_data: u64) -> impl Iterator<Item = RequestId> {
        let named = move |request: &Request| request.user_data == user_data && request.ring == ring;
        self.state.requests.iter().filter(move |(_, request)| named(request)).map(|(id, _)| *id)
    }

    pub(crate) fn give_up(&mut self, why: impl Into<String>) {
        self.state.unclaimed.get_or_insert(why.into());
    }
}
