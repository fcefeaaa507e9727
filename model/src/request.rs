//! The life of a request.
//!
//! ```text
//!            issue            finish
//!  Queued ──────────▶ Issued ────────▶ Done
//!    │                 │  ▲              ▲
//!    │             arm ▼  │ issue        │
//!    │                Armed ─────────────┤ finish (error, cancel)
//!    └──────── finish (cancelled) ───────┘
//! ```
//! A request that is `Done` may still have a `Notice`: its memory is the kernel's until that is
//! posted.

use std::rc::Rc;

use crate::abi::errno;
use crate::cqe::{Errno, Res};
use crate::may::{Counts, May};
use crate::memory::Generation;
use crate::notice::Notice;
use crate::prepare::{Plan, SendPlan};
use crate::program::{End, RingId, SocketId};
use crate::rules::Rule;

/// A number given in the order of submission, over all rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u32);

/// Where a request is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Behind another member of its chain.
    Queued,
    /// Tried; the result is made or may be.
    Issued,
    /// Tried, and surely waiting for room.
    Armed,
    /// Its result was seen.
    Done,
}

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The kernel tries it.
    Issue,
    /// There was no room: it waits.
    Arm,
    /// Its result is posted.
    Finish,
}

impl Phase {
    /// Every phase, for tables.
    pub const ALL: [Phase; 4] = [Phase::Queued, Phase::Issued, Phase::Armed, Phase::Done];

    /// The next phase, or the rule that forbids it.
    pub fn after(self, event: Event) -> Result<Phase, Rule> {
        use {Event::*, Phase::*};
        match (self, event) {
            (Queued | Armed, Issue) => Ok(Issued),
            (Issued, Arm) => Ok(Armed),
            (Queued | Issued | Armed, Finish) => Ok(Done),

            (Queued, Arm) => Err(Rule::LinkStartsAfterResult),
            (Issued, Issue) | (Armed, Arm) => Err(Rule::SendWaitsForRoom),
            (Done, Issue | Arm) => Err(Rule::RetiredIsSilent),
            (Done, Finish) => Err(Rule::OneResult),
        }
    }
}

impl Event {
    /// Every event, for tables.
    pub const ALL: [Event; 3] = [Event::Issue, Event::Arm, Event::Finish];
}

/// What a request reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Read {
    /// The socket.
    pub socket: SocketId,
    /// Which end of it.
    pub end: End,
    /// The most bytes that it takes.
    pub len_bytes: u64,
    /// Bytes of its memory before the first that cannot be written.
    pub room_bytes: u64,
    /// A cancel has ended it.
    pub cancelled: bool,
}

/// What may have ended a request besides its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Swept {
    /// The user data of the target.
    pub target: u64,
    /// A cancel was seen to have found that.
    pub is_known: bool,
}

/// An entry that the ring took.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Request {
    /// The ring it was submitted to.
    pub ring: RingId,
    /// What its completions carry.
    pub user_data: u64,
    /// Where it is in its life.
    pub phase: Phase,
    /// What its result may be, once it was issued.
    pub may: May,
    /// The second half of a zero-copy request that got as far as allocating it.
    pub notice: Option<Notice>,
    /// What it will do, while it is queued behind another.
    pub plan: Option<Plan>,
    /// What it looks up among what is registered, once it was tried.
    pub looks_up: Option<Box<SendPlan>>,
    /// The socket it sends on, once it was tried.
    pub socket: Option<SocketId>,
    /// What it reads, once its descriptor was looked up.
    pub reads: Option<Read>,
    /// The memory that it fills.
    pub fills: Vec<(u64, u64)>,
    /// The first member of its chain, which may be done; those between come one after the other.
    pub first: RequestId,
    /// The member of its chain before it, while that is not done.
    pub before: Option<RequestId>,
    /// The member of its chain behind it.
    pub behind: Option<RequestId>,
    /// It ends without having been tried, because another member of its chain failed.
    pub cut: bool,
    /// `IOSQE_IO_HARDLINK`: a failed result does not cut the chain behind it.
    pub hard: bool,
    /// A short count is a failure for its chain (`MSG_WAITALL`, writes).
    pub short_is_failure: bool,
    /// It is tried again until all is taken (`MSG_WAITALL`).
    pub retries: bool,
    /// It fails where there is no room (`MSG_DONTWAIT`).
    pub never_waits: bool,
    /// It came by a write, whose failure is posted by work that may be deferred (`io_complete_rw`).
    pub is_write: bool,
    /// Its success posts nothing (`IOSQE_CQE_SKIP_SUCCESS`).
    pub silent: bool,
    /// Another thread runs it, at any time until its result is seen (`IOSQE_ASYNC`).
    pub is_async: bool,
    /// Another thread may run it without `IOSQE_ASYNC`: it is the head of a chain that its batch leaves
    /// open, or behind a member that such a thread runs.
    pub is_led_away: bool,
    /// All earlier requests of its ring before this one must be over before it is tried, by this rule.
    pub waits_for: Option<(RequestId, Rule)>,
    /// The request that tries to cancel it, while the result of that was not seen.
    pub canceller: Option<RequestId>,
    /// A cancel that has ended found it, or may have.
    pub is_found: bool,
    /// A cancel that has ended with `ENOENT` may have interrupted it.
    pub is_missed: bool,
    /// A cancel that another thread ran has found it, or what else has its user data.
    pub is_found_elsewhere: bool,
    /// A cancel that found the member of its chain before it may have ended it too.
    pub swept: Option<Swept>,
    /// It surely has its result, though that was not seen: the next in its chain was tried.
    pub has_ended: bool,
    /// It was ended by a cancel that is queued behind others.
    pub awaits_cancel: bool,
    /// What it cancels was interrupted, which it may not report.
    pub misses: bool,
    /// What it cancels may not have been tried when it looked for that.
    pub may_be_early: bool,
    /// When what it waited for may first have come, in steps begun, if deferred work has yet to tell it.
    pub woken_at: Option<u32>,
    /// It cancels by something else than user data, and what it found is marked.
    pub seeks: bool,
    /// Its opcode.
    pub opcode: u8,
    /// It may have cancelled any request with this user data.
    pub cancels: Option<u64>,
    /// The one request that it can find, if there is one and no more.
    pub only_target: Option<RequestId>,
    /// `POLL_FIRST`.
    pub polls_first: bool,
    /// What memory held when it was submitted, for a member of a chain: when it is tried may not show.
    pub born: Option<Rc<Vec<Generation>>>,
    /// When it was submitted, in steps begun.
    pub born_at: u32,
    /// It names registered memory.
    pub fixed: bool,
    /// Its registered vector was looked up and is kept, whatever becomes of the table.
    pub imported: bool,
    /// How often peers had read when it was submitted.
    pub born_drains: u32,
    /// The call that took it from the submission queue, counted over all rings.
    pub born_call: u32,
    /// The call that surely posted its result, while that was not taken.
    pub posted: Option<u32>,
    /// Pages that its user is charged until its notification.
    pub locks_pages: u32,
    /// It was tried at some time between its submission and now.
    pub late: bool,
    /// Bytes of it that its peer has read: its result counts no fewer.
    pub read: u64,
    /// Deferred work may come to it only at a later enter.
    pub is_deferred: bool,
    /// It may have waited for room, so when it ended is not known; nor, behind such a member of a
    /// chain, when it was first tried.
    pub waited: bool,
    /// Bytes it was asked to move.
    pub len_bytes: u64,
    /// A mixed send announces its notification only if it took more bytes than these, those before
    /// the first that is lent.
    pub lends_from: Option<u64>,
}

impl Request {
    /// A cancel found it, or may have: it may end with `ECANCELED`; if another thread was running it, with what was
    /// taken, or with `EINTR` (`io_wq_submit_work`).
    pub fn may_stop_short(&mut self) {
        self.is_found = true;
        if self.is_async && self.socket.is_some() && self.phase != Phase::Queued && self.may_wait() {
            self.may.add_errors([(Errno(errno::EINTR), Rule::CancelInterrupts)]);
        }
        self.may_be_interrupted();
    }

    /// Whether it may come to wait for room: it gets that far.
    pub fn may_wait(&self) -> bool {
        self.phase == Phase::Queued || self.waited || self.may.waiting || self.may.bytes.is_some()
    }

    /// A cancel may have interrupted the thread that runs it.
    pub fn may_be_interrupted(&mut self) {
        if self.is_async && self.is_led_away && self.phase != Phase::Queued {
            // it waits in the send itself, so the interruption ends it
            self.may.waiting = false;
            self.phase = self.phase.after(Event::Issue).unwrap_or(self.phase);
        }
        // a datagram is whole or not at all
        let may_be_short = |counts: &&mut Counts| counts.rule != Rule::DatagramWhole;
        let runs = self.retries || self.is_async;
        if let Some(counts) = self.may.bytes.as_mut().filter(may_be_short).filter(|_| runs) {
            counts.least = counts.least.min(1);
        }
    }

    /// Whether `res` announces a notification.
    pub fn announces(&self, res: Res) -> bool {
        let lends = match (self.lends_from, res) {
            (None, _) => true,
            (Some(before), Res::Bytes(n)) => n > before,
            (Some(_), Res::Err(_)) => false,
        };
        self.notice.is_some() && !self.cut && lends
    }

    /// Whether its peer has read all of it, so that nothing ended it before, whenever its result is seen.
    pub fn is_read_whole(&self) -> bool {
        self.read > 0 && self.read >= self.len_bytes
    }

    /// A cancel did not find it. If it surely waited in another thread, that was interrupted all the same; behind
    /// others the thread need not have come to it.
    pub fn may_be_missed(&mut self) {
        self.is_missed |= self.is_async;
        if self.is_async && !self.late && self.phase == Phase::Armed {
            self.may.waiting = false;
            self.phase = self.phase.after(Event::Issue).unwrap_or(self.phase);
        }
    }

    /// Whether `res` cuts the chain behind it.
    pub fn fails_chain(&self, res: Res) -> bool {
        match res {
            Res::Err(_) => true,
            Res::Bytes(n) => self.short_is_failure && n < self.len_bytes,
        }
    }

    /// Whether work that may be deferred posts its result.
    pub fn fails_later(&self) -> bool {
        self.is_write && !self.may.errors.is_empty()
    }

    /// Whether its result is made, and the next in its chain is tried whatever it is.
    pub fn surely_goes_on(&self) -> bool {
        let over = self.phase == Phase::Issued && self.may.is_certain() && !self.cut;
        let unseen = !self.is_async && self.canceller.is_none() && !self.is_found;
        self.surely_succeeds() || (over && unseen && self.hard)
    }

    /// Whether its result is made, or surely will be, and does not cut the chain behind it.
    pub fn surely_succeeds(&self) -> bool {
        let counts_only = self.may.errors.is_empty() && self.may.is_certain();
        let least = self.may.bytes.map(|counts| Res::Bytes(counts.least));
        self.phase == Phase::Issued
            && !self.is_async
            && self.canceller.is_none()
            && !self.is_found
            && !self.cut
            && counts_only
            && least.is_some_and(|res| !self.fails_chain(res))
    }
}
