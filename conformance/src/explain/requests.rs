//! What the completions of a typed log say of requests, before anything is assumed.
//!
//! A result is a request's, and so is the first notification behind it. Where the submissions of some
//! user data are known, there are no more requests with it than those.

use std::collections::BTreeMap;

use uringspec_model::cqe::{Completion, Res, Usage};

use super::typed::{Entry, Item, Typed};

/// A request of which something is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    /// What its completions carry.
    pub(crate) user_data: u64,
    /// Its submission and the item that it is, if that stands in the log.
    pub(crate) entry: Option<(usize, Entry)>,
    /// Its result, whether that has `MORE`, and the item that it is.
    pub(crate) result: Option<(usize, Res, bool)>,
    /// Its notification, and the item that it is.
    pub(crate) notif: Option<(usize, Usage)>,
}

impl Known {
    fn of(user_data: u64) -> Known {
        Known { user_data, entry: None, result: None, notif: None }
    }

    /// Whether it may have been submitted before this item.
    fn is_submitted(&self, at: usize) -> bool {
        self.entry.as_ref().is_none_or(|(submitted, _)| *submitted < at)
    }

    /// The item that shows it first.
    pub(crate) fn first(&self) -> usize {
        let entry = self.entry.as_ref().map(|(at, _)| *at);
        let result = self.result.map(|(at, ..)| at);
        let notif = self.notif.map(|(at, _)| at);
        [entry, result, notif].into_iter().flatten().min().unwrap_or(usize::MAX)
    }
}

/// The requests of a log, in the order in which they show, and the completions that are nobody's.
pub(crate) fn requests(typed: &Typed) -> (Vec<Known>, Vec<usize>) {
    let mut all: Vec<Known> = Vec::new();
    let mut by_user_data: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (at, item) in typed.items.iter().enumerate() {
        if let Item::Submit(entry) = item {
            by_user_data.entry(entry.user_data).or_default().push(all.len());
            all.push(Known { entry: Some((at, entry.clone())), ..Known::of(entry.user_data) });
        }
    }
    let mut strays = Vec::new();
    for (at, item) in typed.items.iter().enumerate() {
        let Item::Cqe(cqe, _) = item else { continue };
        let all_same = by_user_data.entry(cqe.user_data).or_default();
        // what is submitted later has not posted this
        let same: Vec<usize> = all_same.iter().copied().filter(|n| all[*n].is_submitted(at)).collect();
        let known = same.iter().any(|n| all[*n].entry.is_some());
        let taken = match cqe.completion() {
            Some(Completion::Result { res, more }) => {
                let next = same.iter().copied().find(|n| all[*n].result.is_none());
                next.or((!known).then_some(all.len())).map(|n| (n, Some((at, res, more)), None))
            }
            Some(Completion::Notification(usage)) => {
                let next = waiting(&all, &same).or((!known && same.is_empty()).then_some(all.len()));
                next.map(|n| (n, None, Some((at, usage))))
            }
            None => None,
        };
        let Some((n, result, notif)) = taken else {
            strays.push(at);
            continue;
        };
        if n == all.len() {
            all.push(Known::of(cqe.user_data));
            all_same.push(n);
        }
        all[n].result = all[n].result.or(result);
        all[n].notif = all[n].notif.or(notif);
    }
    all.sort_by_key(Known::first);
    (all, strays)
}

/// The request that a notification is most likely of: one that announced it, or has a result at least, or
/// is there.
fn waiting(all: &[Known], same: &[usize]) -> Option<usize> {
    let open = || same.iter().copied().filter(|n| all[*n].notif.is_none());
    let announced = open().find(|n| matches!(all[*n].result, Some((_, _, true))));
    let done = || open().find(|n| all[*n].result.is_some());
    announced.or_else(done).or_else(|| open().next())
}
