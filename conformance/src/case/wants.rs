//! What a reap waits for, from what an `expect` block lists.
//!
//! A want counts from the first step on, and a notification that `MORE` announces is asked for by
//! `last`, so that a kernel which announces none does not leave the reap waiting.

use std::collections::{BTreeMap, BTreeSet};

use uringspec_model::program::Want;

use super::{Expect, ExpectLine, Pattern};

/// What was listed so far of each request.
#[derive(Default)]
pub(super) struct Wants {
    seen: BTreeMap<u64, Seen>,
}

#[derive(Clone, Copy, Default)]
struct Seen {
    /// Completions other than announced notifications.
    count: u32,
    /// A result with `MORE` was listed.
    more: bool,
}

impl Wants {
    /// The wants of the next block.
    pub(super) fn of(&mut self, expect: &Expect) -> Vec<Want> {
        let mut wants: BTreeMap<u64, (Seen, bool)> = BTreeMap::new();
        for (user_data, patterns) in alternatives(expect) {
            let before = self.seen.get(&user_data).copied().unwrap_or_default();
            let (after, last) = advance(before, patterns);
            wants
                .entry(user_data)
                .and_modify(|(seen, any_last)| {
                    seen.count = seen.count.min(after.count);
                    seen.more |= after.more;
                    *any_last |= last;
                })
                .or_insert((after, last));
        }
        for (user_data, (seen, _)) in &wants {
            self.seen.insert(*user_data, *seen);
        }
        wants
            .into_iter()
            .filter(|(_, (seen, last))| seen.count > 0 || *last)
            .map(|(user_data, (seen, last))| Want { user_data, count: seen.count, last })
            .collect()
    }
}

fn advance(mut seen: Seen, patterns: &[Pattern]) -> (Seen, bool) {
    let mut last = false;
    for pattern in patterns {
        match pattern {
            Pattern::Notif(_) if seen.more => last = true,
            Pattern::Result(_, true) => {
                seen.more = true;
                seen.count += 1;
            }
            Pattern::Notif(_) | Pattern::Result(_, false) => seen.count += 1,
        }
    }
    (seen, last)
}

/// Every alternative of every request in every outcome.
fn alternatives(expect: &Expect) -> impl Iterator<Item = (u64, &[Pattern])> {
    let lines = expect.outcomes.iter().flat_map(|outcome| &outcome.lines);
    lines.flat_map(|line| match &line.what {
        ExpectLine::Request(user_data, alternatives) => {
            alternatives.iter().map(|a| (*user_data, a.what.as_slice())).collect::<Vec<_>>()
        }
        ExpectLine::Never(..) | ExpectLine::Order(_) => Vec::new(),
    })
}

/// The requests that a block names.
pub(super) fn mentioned(expect: &Expect) -> BTreeSet<u64> {
    let lines = expect.outcomes.iter().flat_map(|outcome| &outcome.lines);
    lines
        .flat_map(|line| match &line.what {
            ExpectLine::Request(user_data, _) | ExpectLine::Never(user_data, _) => vec![*user_data],
            ExpectLine::Order(order) => order.clone(),
        })
        .collect()
}
