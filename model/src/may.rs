//! What the result of one request may still be.
//!
//! A choice that the kernel made unseen is kept here as a set and narrowed by what is seen next; it
//! is never enumerated ahead.

use crate::cqe::{Errno, Res};
use crate::rules::Rule;

/// The results that are possible, each with the rule that makes it so.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct May {
    /// Counts from the first to the second, both included.
    pub bytes: Option<Counts>,
    /// Errors.
    pub errors: Vec<(Errno, Rule)>,
    /// Whether there may be no result yet, since the request waits for room.
    pub waiting: bool,
}

/// A range of counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Counts {
    /// The smallest.
    pub least: u64,
    /// The largest.
    pub most: u64,
    /// Why none below the smallest.
    pub rule: Rule,
}

impl May {
    /// Exactly this count, and now.
    pub fn exactly(count: u64, rule: Rule) -> May {
        May { bytes: Some(Counts { least: count, most: count, rule }), ..May::default() }
    }

    /// Exactly this error, and now.
    pub fn fail(errno: u16, rule: Rule) -> May {
        May { errors: vec![(Errno(errno), rule)], ..May::default() }
    }

    /// Whether a result must be there.
    pub fn is_certain(&self) -> bool {
        !self.waiting
    }

    /// Allows these errors too.
    pub fn add_errors(&mut self, errors: impl IntoIterator<Item = (Errno, Rule)>) {
        for error in errors {
            if !self.errors.contains(&error) {
                self.errors.push(error);
            }
        }
    }

    /// The send may end in the middle, once it has taken so many bytes.
    pub fn cut_off(&mut self, least: u64) {
        if let Some(counts) = self.bytes.as_mut().filter(|counts| counts.least > least) {
            (counts.least, counts.rule) = (least, Rule::SendPartialOnFailure);
        }
    }

    /// Widens this to whatever `other` allows too.
    pub fn join(&mut self, other: May) {
        self.bytes = match (self.bytes, other.bytes) {
            (Some(a), Some(b)) => {
                Some(Counts { least: a.least.min(b.least), most: a.most.max(b.most), rule: a.rule })
            }
            (a, b) => a.or(b),
        };
        self.add_errors(other.errors);
        self.waiting |= other.waiting;
    }

    /// The rule that allows `res`, or the one that `res` breaks.
    pub fn judge(&self, res: Res) -> Result<Rule, Rule> {
        let nothing = self.bytes.filter(|counts| counts.most == 0).map(|counts| counts.rule);
        match (res, self.bytes) {
            (Res::Err(e), _) => match self.errors.iter().find(|(known, _)| *known == e) {
                Some((_, rule)) => Ok(*rule),
                None => {
                    let known = self.errors.first().map(|(_, rule)| *rule).or(nothing);
                    Err(known.unwrap_or(Rule::SendErrorNeedsCause))
                }
            },
            (Res::Bytes(n), Some(counts)) if n > counts.most => {
                Err(nothing.unwrap_or(Rule::SendShortNeverLong))
            }
            (Res::Bytes(n), Some(counts)) if n < counts.least => Err(counts.rule),
            (Res::Bytes(_), Some(counts)) => Ok(counts.rule),
            (Res::Bytes(_), None) => {
                Err(self.errors.first().map_or(Rule::SendWaitsForRoom, |(_, rule)| *rule))
            }
        }
    }

    /// Adds the results worth trying, some of them twice: every error, and of the counts the ends and
    /// the classes 1, inside and all but one.
    pub fn add_classes(&self, whole: u64, to: &mut Vec<Res>) {
        if let Some(Counts { least, most, .. }) = self.bytes {
            to.push(Res::Bytes(least));
            if least < most {
                let counts = [most, 0, 1, whole / 2, whole.saturating_sub(1), whole];
                to.extend(counts.into_iter().filter(|n| (least..=most).contains(n)).map(Res::Bytes));
            }
        }
        to.extend(self.errors.iter().map(|(error, _)| Res::Err(*error)));
    }
}
