//! How often each alternative of a case was seen, and what of that is written down.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use uringspec_model::cqe::{Completion, Cqe, Res, Usage};

use crate::case::lowered::{Expected, Lowered};
use crate::case::print_witness::{alternative_words, sighting_words};
use crate::case::witness::{
    Alternative, Place, Seen, Sighting, Unseen, Witness, alternatives, digest, lanes, reason, seen_on,
};
use crate::case::{Case, ExpectLine, Mode, Noted, Pattern, ResPattern, UsagePattern};
use crate::marks::Mark;
use crate::outcome::{Block, Outcome};

/// What was seen of each alternative of a case.
#[derive(Clone, Debug)]
pub struct Sightings {
    /// The alternatives in the order of the case.
    pub counts: Vec<Count>,
}

/// What was seen of one.
#[derive(Clone, Debug)]
pub struct Count {
    /// The alternative.
    pub alternative: Alternative,
    /// In how many runs of each kind of ring.
    pub runs: BTreeMap<Mode, u64>,
    place: Place,
    /// The narrowest patterns into which all fits that was seen, one list for each request.
    hull: Vec<Vec<Pattern>>,
}

impl Sightings {
    /// Nothing was seen yet.
    pub fn none_of(case: &Case) -> Sightings {
        let count =
            |(alternative, place)| Count { alternative, runs: BTreeMap::new(), place, hull: Vec::new() };
        Sightings { counts: alternatives(case).into_iter().map(count).collect() }
    }

    /// Adds a run that was accepted.
    pub fn add(&mut self, lowered: &Lowered, marks: &BTreeSet<Mark>, outcome: &Outcome) {
        let steps: Vec<usize> = (0..lowered.expectations.len())
            .filter(|n| {
                matches!(lowered.expectations[*n].what, Expected::Completions(_) | Expected::Arrivals(_))
            })
            .collect();
        for count in &mut self.counts {
            let Some(index) = reached(&count.place, &steps, marks) else { continue };
            *count.runs.entry(lowered.mode).or_default() += 1;
            let step = index.and_then(|index| lowered.expectations.get(index)).map(|e| e.step);
            let block = step.and_then(|step| outcome.blocks.get(&step));
            let came = narrowed(&count.alternative, block.unwrap_or(&Block::default()));
            count.hull = if count.hull.is_empty() { came } else { hull(&count.hull, &came) };
        }
    }
}

impl Count {
    /// In how many runs it was seen.
    pub fn times(&self) -> u64 {
        self.runs.values().sum()
    }

    /// What was seen, as a case names it; of an alternative that leaves something open, what of it.
    pub fn sighting(&self) -> Sighting {
        let all = self.alternative.patterns();
        let only = if self.hull == all { Vec::new() } else { self.hull.clone() };
        Sighting { alternative: self.alternative.clone(), only }
    }
}

/// Whether a run reached a place; then, in which expectation, if it is in one.
fn reached(place: &Place, steps: &[usize], marks: &BTreeSet<Mark>) -> Option<Option<usize>> {
    let at = |step: &usize| steps.get(*step).copied();
    match place {
        Place::Whole => Some(None),
        Place::Member { step, request, alternative } => {
            let index = at(step)?;
            let chosen = |mark: &Mark| match mark {
                Mark::Combination { expectation, alternatives, .. } => {
                    *expectation == index && alternatives.get(*request) == Some(alternative)
                }
                Mark::End { .. } | Mark::Arrival { .. } => false,
            };
            marks.iter().any(chosen).then_some(Some(index))
        }
        Place::Joint { step, outcome, alternatives } => {
            let (expectation, alternatives) = (at(step)?, alternatives.clone());
            let mark = Mark::Combination { expectation, outcome: *outcome, alternatives };
            marks.contains(&mark).then_some(Some(expectation))
        }
        Place::Arrival { step, alternative } => {
            let mark = Mark::Arrival { expectation: at(step)?, alternative: *alternative };
            marks.contains(&mark).then_some(None)
        }
    }
}

/// The patterns of an alternative, with what came where they leave something open.
fn narrowed(alternative: &Alternative, block: &Block) -> Vec<Vec<Pattern>> {
    let Alternative::Lines { lines, .. } = alternative else { return Vec::new() };
    let none = Vec::new();
    let requests = lines.iter().filter_map(|line| match line {
        ExpectLine::Request(user_data, all) => {
            let came = block.by_request.get(user_data).unwrap_or(&none);
            let patterns = all.first().map(|first| first.what.as_slice()).unwrap_or_default();
            Some(patterns.iter().zip(came).map(|(pattern, cqe)| narrow(*pattern, *cqe)).collect())
        }
        ExpectLine::Never(..) | ExpectLine::Order(_) => None,
    });
    requests.collect()
}

fn narrow(pattern: Pattern, cqe: Cqe) -> Pattern {
    match (pattern, cqe.completion()) {
        (Pattern::Result(..), Some(Completion::Result { res: Res::Bytes(n), more })) => {
            Pattern::Result(ResPattern::Count(n), more)
        }
        (Pattern::Result(..), Some(Completion::Result { res: Res::Err(errno), more })) => {
            Pattern::Result(ResPattern::Errno(errno.0), more)
        }
        (Pattern::Notif(_), Some(Completion::Notification(Usage::Clear))) => {
            Pattern::Notif(UsagePattern::Clear)
        }
        (Pattern::Notif(_), Some(Completion::Notification(Usage::Copied))) => {
            Pattern::Notif(UsagePattern::Copied)
        }
        _ => pattern,
    }
}

fn hull(a: &[Vec<Pattern>], b: &[Vec<Pattern>]) -> Vec<Vec<Pattern>> {
    let both = |(a, b): (&Vec<Pattern>, &Vec<Pattern>)| {
        a.iter().zip(b).map(|(a, b)| a.hull(*b).unwrap_or(*a)).collect()
    };
    a.iter().zip(b).map(both).collect()
}

/// The witnesses of a case after runs on a kernel, and what of the old ones is dropped, in words.
///
/// A witness of this kernel that already says what was seen keeps its date. Reasons stay for what was not
/// seen here or elsewhere.
pub fn witnesses(
    case: &Case,
    sightings: &Sightings,
    release: &str,
    today: Date,
) -> (Vec<Noted<Witness>>, Vec<String>) {
    let (digest, lanes) = (digest(case), lanes(case));
    let mut dropped = Vec::new();
    let (mut blocks, mut reasons): (Vec<Noted<Seen>>, Vec<Noted<Unseen>>) = (Vec::new(), Vec::new());
    for witness in &case.witnesses {
        match &witness.what {
            Witness::Seen(seen) if seen.digest == digest => blocks.push(with(witness, seen.clone())),
            Witness::Seen(seen) => {
                dropped.push(format!("what was seen of another case on {}, {}", seen.release, seen.date));
            }
            Witness::Unseen(unseen) => reasons.push(with(witness, unseen.clone())),
        }
    }
    let mut now =
        Seen { release: release.into(), lanes: lanes.clone(), date: today, digest, sightings: Vec::new() };
    let mut whole = false;
    for count in sightings.counts.iter().filter(|count| count.times() > 0) {
        let here = |block: &&mut Noted<Seen>| block.what.release == release && block.what.lanes == lanes;
        let listed =
            |block: &Seen| block.sightings.iter().position(|s| s.what.alternative == count.alternative);
        if count.alternative == Alternative::Whole {
            whole = !blocks.iter_mut().any(|block| here(&block));
            continue;
        }
        let mut new = Noted::plain(count.sighting());
        let old = blocks.iter_mut().filter(here).find_map(|block| listed(&block.what).map(|n| (n, block)));
        if let Some((n, block)) = old {
            let known = &block.what.sightings[n].what;
            new.what = wider(known, &new.what);
            if new.what == *known {
                continue;
            }
            let before = block.what.sightings.remove(n);
            (new.above, new.note) = (before.above, before.note);
        }
        now.sightings.push(new);
    }
    if whole || !now.sightings.is_empty() {
        let same_day = |block: &&mut Noted<Seen>| {
            (&block.what.release, &block.what.lanes, block.what.date) == (&now.release, &now.lanes, now.date)
        };
        match blocks.iter_mut().find(same_day) {
            Some(block) => block.what.sightings.append(&mut now.sightings),
            None => blocks.push(Noted::plain(now)),
        }
    }
    let is_whole = sightings.counts.iter().any(|count| count.alternative == Alternative::Whole);
    blocks.retain(|block| is_whole || !block.what.sightings.is_empty());
    let place = |one: &Alternative| sightings.counts.iter().position(|count| count.alternative == *one);
    for block in &mut blocks {
        block.what.sightings.sort_by_key(|sighting| place(&sighting.what.alternative));
    }
    reasons.retain(|reason| {
        let alternative = &reason.what.alternative;
        let named = |s: &Noted<Sighting>| s.what.alternative == *alternative;
        let seen = blocks.iter().any(|block| is_whole || block.what.sightings.iter().any(named));
        let words = || format!("{}: {}", alternative_words(alternative), reason.what.why.join(" "));
        match place(alternative) {
            None => dropped.push(format!("the reason for what is not listed any more: {}", words())),
            Some(_) if seen => dropped.push(format!("the reason for what was seen now: {}", words())),
            Some(_) => return true,
        }
        false
    });
    let seen = blocks.into_iter().map(|block| with(&block, Witness::Seen(block.what.clone())));
    let unseen = reasons.into_iter().map(|reason| with(&reason, Witness::Unseen(reason.what.clone())));
    (seen.chain(unseen).collect(), dropped)
}

fn with<T, U>(noted: &Noted<T>, what: U) -> Noted<U> {
    Noted { above: noted.above.clone(), what, note: noted.note.clone(), at: noted.at }
}

/// What was seen then and now.
fn wider(then: &Sighting, now: &Sighting) -> Sighting {
    if then.only.is_empty() {
        return then.clone();
    }
    let all: Vec<Vec<Pattern>> = now.alternative.patterns().into_iter().map(<[Pattern]>::to_vec).collect();
    let now_seen = if now.only.is_empty() { &all } else { &now.only };
    let only = hull(&then.only, now_seen);
    Sighting { alternative: now.alternative.clone(), only: if only == all { Vec::new() } else { only } }
}

/// What is known of an alternative from its case: where it was seen last, or why not.
pub fn known(case: &Case, alternative: &Alternative) -> Option<String> {
    if let Some((seen, line)) = seen_on(case, alternative).next_back() {
        let only = line.filter(|line| !line.only.is_empty()).map(sighting_words);
        let only = only.map(|words| format!(", {words}")).unwrap_or_default();
        return Some(format!("seen on {}, {}{only}", seen.release, seen.date));
    }
    let Unseen { file, function, version, why, .. } = reason(case, alternative)?;
    Some(format!("{} ({file}, {function}, {version})", why.join(" ")))
}
