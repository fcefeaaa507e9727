//! How what is seen of a lowered program is read as a trace of its mixed sends.
//!
//! * The result of a mixed send is known with the last result of its entries: what they took together,
//!   or the first error if that is nothing.
//! * It announces a notification exactly if a byte was accepted that is lent. What a kernel announces
//!   beside that is dropped, with the notification.
//! * The notification stands behind the result, and behind the last of those that are waited for; where
//!   the kernel copied and has none, it stands right behind the result.

use std::collections::BTreeMap;
use std::ops::Range;

use super::MixedSend;
use super::lowering::Lowering;
use super::plan::{Mistake, Plan};
use crate::abi::{errno, op};
use crate::cqe::{Completion, Cqe, Errno, Res, Usage};
use crate::memory::{HexBytes, Region};
use crate::program::{RingId, Until, Want};
use crate::sqe::Sqe;
use crate::trace::{Received, RingCqe, Run, Seen, Trace, What};

/// How a trace is read.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// What the program submits, in order.
    pub entries: Vec<Entry>,
    /// The entries of each step.
    pub submitted: Vec<Range<usize>>,
    /// The regions that were added, behind the first so many: what is read from there are the bytes of others.
    pub added: (usize, Vec<Region>),
    /// A mistake, for tests.
    pub mistake: Option<Mistake>,
}

/// One entry of the program, and those that stand for it.
#[derive(Clone, Debug)]
pub struct Entry {
    ring: RingId,
    /// What its completions carry, and what those of the entries carry that stand for it.
    user_data: u64,
    shares: Vec<u64>,
    what: Means,
}

#[derive(Clone, Debug)]
enum Means {
    /// It stands for itself.
    Itself,
    /// A cancel: it found its target if any of them did.
    Cancel,
    /// A mixed send.
    Mixed {
        lends_from: Option<u64>,
        reports: bool,
        /// The kernel copies, so there is nothing to wait for.
        is_copied: bool,
    },
}

impl Entry {
    /// A mixed send.
    pub(super) fn send(ring: RingId, send: &MixedSend, plan: &Plan) -> Entry {
        let what = Means::Mixed {
            lends_from: send.lends_from(),
            reports: send.reports,
            is_copied: plan.lowering == Lowering::Copy,
        };
        let shares = plan.sqes.iter().map(|sqe| sqe.user_data).collect();
        Entry { ring, user_data: send.user_data, shares, what }
    }

    /// Anything else.
    pub(super) fn other(ring: RingId, sqe: &Sqe, stand_for: &[Sqe]) -> Entry {
        let what = if sqe.opcode == op::ASYNC_CANCEL { Means::Cancel } else { Means::Itself };
        let shares = stand_for.iter().map(|sqe| sqe.user_data).collect();
        Entry { ring, user_data: sqe.user_data, shares, what }
    }
}

/// What was seen of one entry.
#[derive(Clone, Debug, Default)]
struct Heard {
    results: BTreeMap<usize, Res>,
    /// Those that announced a notification, and what it said.
    announced: BTreeMap<usize, Option<Usage>>,
    /// The result was told, and whether it announces.
    told: Option<bool>,
    notified: bool,
}

impl View {
    /// What the entries carry that stand for the one with this user data.
    pub(super) fn shares_of(&self, ring: RingId, user_data: u64) -> Option<Vec<u64>> {
        let entry = self.entries.iter().find(|e| e.ring == ring && e.user_data == user_data)?;
        Some(entry.shares.clone())
    }

    /// What a reap of the lowered program waits for.
    pub(super) fn until(&self, ring: RingId, until: &Until) -> Until {
        let Until::Seen(wants) = until else { return until.clone() };
        let lowered = wants.iter().flat_map(|want| {
            let shares = self.shares_of(ring, want.user_data).unwrap_or_else(|| vec![want.user_data]);
            let is_one = shares.len() == 1;
            shares.into_iter().map(move |user_data| Want {
                user_data,
                count: if is_one { want.count } else { want.count.min(1) },
                last: want.last,
            })
        });
        Until::Seen(lowered.collect())
    }

    /// What was read, with runs of added regions as their bytes.
    fn as_bytes(&self, received: &Received) -> Received {
        let runs = received.runs.iter().map(|run| self.run_as_bytes(run)).collect();
        Received { socket: received.socket, runs }
    }

    fn run_as_bytes(&self, run: &Run) -> Run {
        let Run::Stamped { region, generation, offset, len_bytes } = run else { return run.clone() };
        let added = usize::from(region.0).checked_sub(self.added.0).and_then(|i| self.added.1.get(i));
        let Some(added) = added else { return run.clone() };
        let bytes = (0..*len_bytes).map(|i| added.byte(*region, *generation, offset + i));
        Run::Bytes(HexBytes(bytes.collect()))
    }

    /// The trace as one of the mixed sends.
    pub fn read(&self, trace: &Trace) -> Trace {
        let mut names = BTreeMap::new();
        for (entry, one) in self.entries.iter().enumerate() {
            names.extend(one.shares.iter().enumerate().map(|(s, u)| ((one.ring, *u), (entry, s))));
        }
        let mut reader = Reader {
            view: self,
            names,
            heard: vec![Heard::default(); self.entries.len()],
            queued: BTreeMap::new(),
            begun: 0,
            seen: Vec::new(),
        };
        for seen in &trace.seen {
            reader.take(seen);
        }
        Trace { seen: reader.seen, end: trace.end }
    }
}

struct Reader<'v> {
    view: &'v View,
    names: BTreeMap<(RingId, u64), (usize, usize)>,
    heard: Vec<Heard>,
    /// Entries that were not taken yet: which, and whether it is the last that stands for its own.
    queued: BTreeMap<RingId, Vec<bool>>,
    begun: usize,
    seen: Vec<Seen>,
}

impl Reader<'_> {
    fn take(&mut self, seen: &Seen) {
        while self.begun <= seen.step as usize {
            let range = self.view.submitted.get(self.begun).cloned().unwrap_or(0..0);
            for entry in &self.view.entries[range] {
                let last = entry.shares.len() - 1;
                self.queued.entry(entry.ring).or_default().extend((0..=last).map(|i| i == last));
            }
            self.begun += 1;
        }
        match &seen.what {
            What::Returned(count) if *count > 0 => {
                let submits = self.view.submitted.get(seen.step as usize).is_some_and(|r| !r.is_empty());
                let ring =
                    self.view.submitted.get(seen.step as usize).and_then(|r| self.view.entries.get(r.start));
                let count = match ring.filter(|_| submits).and_then(|entry| self.queued.get_mut(&entry.ring))
                {
                    Some(queue) => {
                        let taken = (*count as usize).min(queue.len());
                        queue.drain(..taken).filter(|last| *last).count() as i64
                    }
                    None => *count,
                };
                self.seen.push(Seen { step: seen.step, what: What::Returned(count) });
            }
            What::Cqe(cqe) => self.completion(seen.step, *cqe),
            What::Received(received) => {
                let what = What::Received(self.view.as_bytes(received));
                self.seen.push(Seen { step: seen.step, what });
            }
            What::SentAgain(again) => {
                let what = What::SentAgain(self.view.as_bytes(again));
                self.seen.push(Seen { step: seen.step, what });
            }
            other => self.seen.push(Seen { step: seen.step, what: other.clone() }),
        }
    }

    fn completion(&mut self, step: u32, cqe: RingCqe) {
        let known = self.names.get(&(cqe.ring, cqe.cqe.user_data)).copied();
        let (Some((entry, share)), Some(completion)) = (known, cqe.cqe.completion()) else {
            self.seen.push(Seen { step, what: What::Cqe(cqe) });
            return;
        };
        if matches!(self.view.entries[entry].what, Means::Itself) {
            self.seen.push(Seen { step, what: What::Cqe(cqe) });
            return;
        }
        let heard = &mut self.heard[entry];
        match completion {
            Completion::Result { res, more } => {
                heard.results.insert(share, res);
                if more {
                    heard.announced.insert(share, None);
                }
            }
            Completion::Notification(usage) => {
                if let Some(said) = heard.announced.get_mut(&share) {
                    *said = Some(usage);
                }
            }
        }
        self.tell(step, entry);
    }

    /// Tells what is known of an entry and was not told yet.
    fn tell(&mut self, step: u32, entry: usize) {
        let one = &self.view.entries[entry];
        let heard = &self.heard[entry];
        if heard.told.is_none() && heard.results.len() == one.shares.len() {
            let res = self.result(entry);
            let more = match (&one.what, res) {
                (Means::Mixed { lends_from: Some(before), .. }, Res::Bytes(n)) => n > *before,
                _ => false,
            };
            let more =
                more || self.view.mistake == Some(Mistake::NotificationKept) && !heard.announced.is_empty();
            self.post(step, entry, Completion::Result { res, more });
            self.heard[entry].told = Some(more);
        }
        let heard = &self.heard[entry];
        if heard.told == Some(true) && !heard.notified {
            let Some(usage) = self.usage(entry) else { return };
            self.heard[entry].notified = true;
            if self.view.mistake != Some(Mistake::NotificationDropped) {
                self.post(step, entry, Completion::Notification(usage));
            }
        }
    }

    fn post(&mut self, step: u32, entry: usize, completion: Completion) {
        let one = &self.view.entries[entry];
        let cqe = Cqe::of(one.user_data, completion);
        self.seen.push(Seen { step, what: What::Cqe(RingCqe { ring: one.ring, cqe }) });
    }

    /// What the entries came to together.
    fn result(&self, entry: usize) -> Res {
        let results = &self.heard[entry].results;
        let errors: Vec<Errno> = results
            .values()
            .filter_map(|res| match res {
                Res::Err(error) => Some(*error),
                Res::Bytes(_) => None,
            })
            .collect();
        if matches!(self.view.entries[entry].what, Means::Cancel) {
            let found = errors.len() < results.len();
            let running = errors.iter().find(|e| e.0 == errno::EALREADY).or(errors.first());
            return running.filter(|_| !found).map_or(Res::Bytes(0), |error| Res::Err(*error));
        }
        if self.view.mistake == Some(Mistake::SecondResult) {
            return *results.values().last().unwrap_or(&Res::Bytes(0));
        }
        let taken = results.values().map(|res| match res {
            Res::Bytes(n) => *n,
            Res::Err(_) => 0,
        });
        let taken: u64 = taken.sum();
        // members behind the first that failed say only that they were cut
        let error = errors.iter().find(|e| e.0 != errno::ECANCELED).or(errors.first());
        match error {
            Some(error) if taken == 0 => Res::Err(*error),
            _ => Res::Bytes(taken),
        }
    }

    /// What the notification says, once all has come that it waits for.
    fn usage(&self, entry: usize) -> Option<Usage> {
        let heard = &self.heard[entry];
        let Means::Mixed { reports, is_copied, .. } = self.view.entries[entry].what else { return None };
        if is_copied {
            return Some(if reports { Usage::Copied } else { Usage::Clear });
        }
        let mut all = Usage::Clear;
        for (share, said) in &heard.announced {
            let usage = (*said)?;
            // one that took nothing has nothing to say
            if !matches!(heard.results.get(share), Some(Res::Bytes(0) | Res::Err(_))) {
                all = all.max(usage);
            }
        }
        Some(all)
    }
}
