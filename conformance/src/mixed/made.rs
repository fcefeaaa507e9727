//! A program with mixed sends, made in one way: what is run in its place, and who judges what was seen of it.

use std::collections::{BTreeMap, BTreeSet};

use uringspec_model::check::check;
use uringspec_model::cqe::{Completion, Res, Usage};
use uringspec_model::deviation::Deviation;
use uringspec_model::memory::{Contents, RegionId};
use uringspec_model::mixed::contract::Contract;
use uringspec_model::mixed::lowering::{Lowering, Missing};
use uringspec_model::mixed::program::{self, Lowered};
use uringspec_model::profile::Profile;
use uringspec_model::program::{Lane, Program};
use uringspec_model::rules::Rule;
use uringspec_model::trace::{RingCqe, Run, Trace, What};
use uringspec_model::verdict::{Rejection, Unclaimed, Verdict};

use super::failure::{Failure, Fault};
use crate::case::parse_setup::lane_word;

/// A program with mixed sends, made in one way.
#[derive(Clone, Debug)]
pub struct Made {
    /// What is meant.
    pub meant: Program,
    /// The way.
    pub way: Lowering,
    /// What is done.
    pub done: Lowered,
}

/// What a run that is as it should be adds.
#[derive(Clone, Debug)]
pub struct Fine {
    /// The run as one of mixed sends.
    pub seen: Trace,
    /// The rules of the entries that had a say.
    pub rules: BTreeSet<Rule>,
    /// The known deviations that were seen.
    pub deviations: BTreeSet<Deviation>,
}

impl Made {
    /// Makes the mixed sends of a program in one way.
    pub fn of(meant: &Program, profile: &Profile, way: Lowering) -> Result<Made, Missing> {
        let done = program::lower(meant, profile, way)?;
        Ok(Made { meant: meant.clone(), way, done })
    }

    /// Judges what was seen: the entries by the kernel's rules, the mixed sends by their contract.
    pub fn judge(&self, profile: &Profile, trace: &Trace) -> Result<Fine, Box<Failure>> {
        let (rules, deviations) = match check(&self.done.program, profile, trace) {
            Verdict::Accepted { rules, deviations } => (rules, deviations),
            verdict => return Err(self.failure(profile, trace, Fault::Entries(verdict))),
        };
        let seen = self.keeps(profile, trace)?;
        Ok(Fine { seen, rules, deviations })
    }

    /// Judges the mixed sends alone; what was seen, as theirs.
    pub fn keeps(&self, profile: &Profile, trace: &Trace) -> Result<Trace, Box<Failure>> {
        let seen = self.done.view.read(trace);
        match keeps(&self.meant, &seen) {
            Ok(()) => Ok(seen),
            Err(verdict) => Err(self.failure(profile, trace, Fault::Contract(verdict))),
        }
    }

    /// What is wrong with a run.
    pub fn failure(&self, profile: &Profile, trace: &Trace, fault: Fault) -> Box<Failure> {
        let seen = self.done.view.read(trace);
        let release = profile.release.clone();
        Box::new(Failure { made: self.clone(), release, fault, trace: trace.clone(), seen })
    }

    /// What is done and what was seen of it, for showing: where headers are staged has a name, also where that
    /// is right before a buffer, which then counts from there.
    pub fn shown(&self, trace: &Trace) -> (Program, Trace) {
        let (mut program, mut trace) = (self.done.program.clone(), trace.clone());
        let given = self.done.view.added.0;
        // the last has message headers and vectors, which words look through
        let last = program.regions.len() - 1;
        let (given, added) = program.regions[..last].split_at_mut(given.min(last));
        for staged in added {
            (staged.name, staged.contents) = ("staged".into(), Contents::Stamped);
            let behind = given.iter().position(|region| region.addr == staged.end());
            let Some(behind) = behind.filter(|_| staged.len_bytes > 0) else { continue };
            let region = &mut given[behind];
            region.name = format!("staged+{}", region.name);
            region.addr = staged.addr;
            region.len_bytes += staged.len_bytes;
            count_from(&mut trace, RegionId(behind as u16), staged.len_bytes);
            staged.len_bytes = 0;
        }
        (program, trace)
    }

    /// Where its mixed sends go, in the words of cases.
    pub fn lanes(&self) -> String {
        let lanes: BTreeSet<Lane> = self.meant.sockets.iter().map(|socket| socket.lane).collect();
        lanes.into_iter().map(lane_word).collect::<Vec<_>>().join(" and ")
    }

    /// What became of mixed sends, each in a word, and how often.
    pub fn met(&self, seen: &Trace) -> BTreeMap<String, u64> {
        let mut met: BTreeMap<String, u64> = BTreeMap::new();
        let mut add = |what: &str, n: u64| *met.entry(what.to_string()).or_default() += n;
        let plans = self.done.plans.iter();
        let lengths: BTreeMap<u64, u64> =
            plans.filter_map(|plan| Some((plan.sqes.first()?.user_data, plan.shares.iter().sum()))).collect();
        for seen in &seen.seen {
            match &seen.what {
                What::Cqe(RingCqe { cqe, .. }) => {
                    let Some(len) = lengths.get(&cqe.user_data) else { continue };
                    match cqe.completion() {
                        Some(Completion::Result { res: Res::Bytes(n), .. }) => {
                            add(if n < *len { "short" } else { "whole" }, 1);
                        }
                        Some(Completion::Result { res: Res::Err(error), .. }) => add(&error.to_string(), 1),
                        Some(Completion::Notification(Usage::Copied)) => add("notified COPIED", 1),
                        Some(Completion::Notification(Usage::Clear)) => add("notified", 1),
                        None => {}
                    }
                }
                What::Received(received) => {
                    add("bytes read", received.runs.iter().map(Run::len_bytes).sum());
                }
                What::SentAgain(_) => add("left again", 1),
                What::Acked { len_bytes, .. } => add("bytes acknowledged", *len_bytes),
                _ => {}
            }
        }
        met
    }
}

/// Bytes of a region stand so much farther on in it.
fn count_from(trace: &mut Trace, of: RegionId, bytes: u64) {
    for seen in &mut trace.seen {
        let (What::Received(received) | What::SentAgain(received)) = &mut seen.what else { continue };
        for run in &mut received.runs {
            if let Run::Stamped { region, offset, .. } = run
                && *region == of
            {
                *offset += bytes;
            }
        }
    }
}

/// Whether what was seen of mixed sends keeps their contract.
pub fn keeps(program: &Program, seen: &Trace) -> Result<(), Verdict> {
    let contract =
        Contract::of(program).map_err(|what| Verdict::Unclaimed { reason: Unclaimed::NotModelled(what) })?;
    contract.judge(seen).map_err(|broken| {
        let allowed = vec![broken.rule.text().to_string()];
        Verdict::Rejected(Rejection { at: broken.at, rule: broken.rule, got: broken.got, allowed })
    })
}
