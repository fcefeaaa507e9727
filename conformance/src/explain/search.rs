//! Finds the least that must be taken for granted so that the model allows a log.
//!
//! Requests that have nothing to do with each other are judged apart, so the work grows with the log and
//! not with the product of all guesses. Where no guess is allowed, the one that came furthest stays.

use std::collections::{BTreeMap, BTreeSet};

use uringspec_model::abi::errno;
use uringspec_model::account::{Record, account};
use uringspec_model::cqe::Res;
use uringspec_model::profile::Profile;
use uringspec_model::verdict::Verdict;

use super::build::{Choice, build, head};
use super::guess::{Cause, Guess, Head, guess, guesses};
use super::requests::Known;
use super::typed::{Entry, Typed};

/// The most combinations of guesses that are tried for requests that hang together.
const COMBINATIONS_MAX: usize = 256;
/// The most requests before a cancelled one that are tried as the head of its chain.
const HEADS_MAX: usize = 4;

/// How far back its head is looked for.
const FAR_MAX: usize = 64;

/// How well a guess explains what is known; the least is best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// As promised.
    Clean,
    /// With a known deviation.
    Deviates,
    /// The model says nothing of it.
    Unclaimed,
    /// Not allowed; so many observations from the end of what is known.
    Refused(usize),
}

pub(crate) struct Search<'a> {
    pub(crate) typed: &'a Typed,
    pub(crate) known: &'a [Known],
    pub(crate) profile: &'a Profile,
    pub(crate) free: u64,
    chosen: Vec<Guess>,
    /// The tails of each head that is no known submission.
    tails: BTreeMap<usize, Vec<usize>>,
}

impl<'a> Search<'a> {
    pub(crate) fn new(typed: &'a Typed, known: &'a [Known], profile: &'a Profile, free: u64) -> Search<'a> {
        // every request has a guess at least: that nothing in particular happened
        let chosen = known.iter().map(|known| guesses(known).swap_remove(0)).collect();
        Search { typed, known, profile, free, chosen, tails: BTreeMap::new() }
    }

    /// What is taken for granted of each request.
    pub(crate) fn run(mut self) -> Vec<Guess> {
        for group in self.submitted_together() {
            self.choose_for_group(&group);
        }
        let unknown = |n: &usize| self.known[*n].entry.is_none();
        for n in (0..self.known.len()).filter(unknown).collect::<Vec<_>>() {
            self.choose(n);
        }
        self.chosen
    }

    /// The known submissions that share a call or a descriptor.
    fn submitted_together(&self) -> Vec<Vec<usize>> {
        let mut groups: Vec<(BTreeSet<u32>, Vec<usize>)> = Vec::new();
        let mut last: Option<usize> = None;
        for (n, known) in self.known.iter().enumerate() {
            let Some((at, entry)) = &known.entry else { continue };
            let same_call = last == at.checked_sub(1) && last.is_some();
            last = Some(*at);
            let mut merged: (BTreeSet<u32>, Vec<usize>) = (entry.fd.into_iter().collect(), vec![n]);
            let mut rest = Vec::new();
            let count = groups.len();
            for (i, group) in groups.into_iter().enumerate() {
                let shares = entry.fd.is_some_and(|fd| group.0.contains(&fd));
                if shares || (same_call && i + 1 == count) {
                    merged.0.extend(group.0);
                    merged.1.extend(group.1);
                } else {
                    rest.push(group);
                }
            }
            merged.1.sort_unstable();
            rest.push(merged);
            groups = rest;
        }
        groups.into_iter().map(|(_, group)| group).collect()
    }

    /// Tries combinations, the plainest first.
    fn choose_for_group(&mut self, group: &[usize]) {
        let all: Vec<Vec<Guess>> = group.iter().map(|n| guesses(&self.known[*n])).collect();
        let mut best: Option<(Fit, Vec<Guess>)> = None;
        for combination in combinations(&all) {
            let chosen: Vec<Guess> =
                combination.iter().zip(&all).map(|(pick, guesses)| guesses[*pick].clone()).collect();
            let fit = self.fit(group.iter().copied().zip(&chosen));
            if best.as_ref().is_none_or(|(known, _)| fit < *known) {
                best = Some((fit, chosen));
            }
            if matches!(best, Some((Fit::Clean, _))) {
                break;
            }
        }
        for (n, guess) in group.iter().zip(best.into_iter().flat_map(|(_, chosen)| chosen)) {
            self.chosen[*n] = guess;
        }
    }

    fn choose(&mut self, n: usize) {
        let known = &self.known[n];
        let mut all = self.as_tail(n);
        let rest = guesses(known);
        // a chain in the log explains more than a cancel that is not in it
        let at = rest.len() - rest.iter().filter(|g| g.cause == Cause::Cancelled).count();
        let (plain, cancelled) = rest.split_at(at);
        let short = all.iter().position(|g| !matches!(g.cause, Cause::Behind(Head::Failed(_))));
        let behind = all.split_off(short.unwrap_or(all.len()));
        let all: Vec<Guess> = [plain, &all, cancelled, &behind].concat();
        let mut best: Option<(Fit, Guess)> = None;
        for guess in all {
            let fit = match head(&guess) {
                Some(head) => {
                    let cut = self.as_head(head, &guess);
                    let chain = self.chain(head).map(|(m, guess)| (m, if m == head { &cut } else { guess }));
                    self.fit(chain.chain([(n, &guess)]))
                }
                None => self.fit([(n, &guess)]),
            };
            if best.as_ref().is_none_or(|(known, _)| fit < *known) {
                best = Some((fit, guess));
            }
            if matches!(best, Some((Fit::Clean, _))) {
                break;
            }
        }
        let Some((_, guess)) = best else { return };
        if let Some(head) = head(&guess) {
            self.chosen[head] = self.as_head(head, &guess);
            self.tails.entry(head).or_default().push(n);
        }
        self.chosen[n] = guess;
    }

    /// A request that another's failure may have ended: behind which.
    fn as_tail(&self, n: usize) -> Vec<Guess> {
        let known = &self.known[n];
        let Some((at, Res::Err(error), more)) = known.result else { return Vec::new() };
        // a notification that nobody announced comes of what a chain has ended
        let refuses = error.0 == errno::EINVAL && !more && known.notif.is_some();
        if error.0 != errno::ECANCELED && !refuses {
            return Vec::new();
        }
        let before = |other: &usize| {
            let other = &self.known[*other];
            other.entry.is_none() && other.result.is_some_and(|(result, ..)| result < at)
        };
        let heads = (0..n).rev().take(FAR_MAX).filter(before);
        let is_tail = |n: usize| matches!(self.chosen[n].cause, Cause::Behind(_));
        let heads: Vec<usize> = heads.filter(|n| !is_tail(*n)).collect();
        let failed =
            heads.iter().copied().filter(|n| matches!(self.known[*n].result, Some((_, Res::Err(_), _))));
        let short = heads.iter().copied().filter(|n| self.chosen[*n].sends() && !self.tails.contains_key(n));
        let short = short.filter(|n| matches!(self.known[*n].result, Some((_, Res::Bytes(1..), _))));
        let causes = failed.take(HEADS_MAX).map(Head::Failed).chain(short.take(HEADS_MAX).map(Head::Short));
        let opcode = self.chosen[n].entry.opcode;
        let as_tail = |head| guess(known, Entry { opcode, ..Entry::default() }, Cause::Behind(head));
        if refuses {
            let cut = |n: &usize| self.chosen[*n].cause == Cause::Cancelled && !self.tails.contains_key(n);
            return heads.iter().copied().filter(cut).map(Head::Refuses).map(as_tail).collect();
        }
        causes.chain([Head::Unlisted]).map(as_tail).collect()
    }

    /// What is taken for granted of a head with this tail: one that is cut by its tail was not cancelled.
    fn as_head(&self, head: usize, tail: &Guess) -> Guess {
        let mut guess = self.chosen[head].clone();
        if matches!(tail.cause, Cause::Behind(Head::Refuses(_))) {
            guess.cause = Cause::Plain;
        }
        guess
    }

    /// A head with the tails that were found so far.
    fn chain(&self, head: usize) -> impl Iterator<Item = (usize, &Guess)> {
        let tails = self.tails.get(&head).into_iter().flatten().copied();
        [head].into_iter().chain(tails).map(|n| (n, &self.chosen[n]))
    }

    fn fit<'g>(&self, chosen: impl IntoIterator<Item = (usize, &'g Guess)>) -> Fit {
        let chosen: Vec<(usize, Choice<'_>)> =
            chosen.into_iter().map(|(n, guess)| (n, (&self.known[n], guess))).collect();
        let built = build(self.typed, &chosen, &[], self.free);
        let account = account(&built.program, self.profile, &built.trace, Record::Partial);
        match account.verdict {
            Verdict::Accepted { deviations, .. } if deviations.is_empty() => Fit::Clean,
            Verdict::Accepted { .. } => Fit::Deviates,
            Verdict::Unclaimed { .. } => Fit::Unclaimed,
            Verdict::Rejected(rejection) => {
                Fit::Refused(built.trace.seen.len().saturating_sub(rejection.at as usize))
            }
            Verdict::Stuck { at, .. } => Fit::Refused(built.trace.seen.len().saturating_sub(at as usize)),
        }
    }
}

/// Picks of one of each, ordered by how far they are from the first of each; not too many.
fn combinations(all: &[Vec<Guess>]) -> Vec<Vec<usize>> {
    let mut found = vec![vec![0; all.len()]];
    let mut from = 0;
    while from < found.len() && found.len() < COMBINATIONS_MAX {
        for n in 0..all.len() {
            let mut next = found[from].clone();
            // only upwards from the last one that was changed, so that each comes once
            let is_last = next[n + 1..].iter().all(|pick| *pick == 0);
            if is_last && next[n] + 1 < all[n].len() {
                next[n] += 1;
                found.push(next);
            }
        }
        from += 1;
    }
    found
}
