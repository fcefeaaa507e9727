//! What the model says of a trace.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::deviation::Deviation;
use crate::rules::Rule;

/// The answer of `check`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The kernel may do this.
    Accepted {
        /// The rules that had a say.
        rules: BTreeSet<Rule>,
        /// Where the kernel breaks a promise in a way that is known.
        deviations: BTreeSet<Deviation>,
    },
    /// The kernel may not do this.
    Rejected(Rejection),
    /// A promise was not kept although it was waited for.
    Stuck {
        /// The index in `Trace::seen` at which the wait ended; its length if a step never returned.
        at: u32,
        /// What is owed.
        promises: Vec<Promise>,
    },
    /// The model says nothing about this.
    Unclaimed {
        /// Why.
        reason: Unclaimed,
    },
}

/// An observation that no state explains.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// The index in `Trace::seen`.
    pub at: u32,
    /// The rule it breaks; where states differ, the one that the state which came furthest names.
    pub rule: Rule,
    /// What was seen, in words.
    pub got: String,
    /// What could have been seen there, in words, most likely first.
    pub allowed: Vec<String>,
}

/// Something that the kernel owes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Promise {
    /// The request's user data.
    pub user_data: u64,
    /// What is owed, in words: `result`, `notification`.
    pub what: String,
    /// The rule that promises it.
    pub rule: Rule,
}

/// Why nothing is said.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unclaimed {
    /// More states explain the trace than are followed.
    TooWide,
    /// The program uses something that the model does not cover.
    NotModelled(String),
    /// The trace and the program do not fit together.
    Malformed(String),
}

impl Verdict {
    /// One lower-case word: `accepted`, `rejected`, `stuck`, `unclaimed`.
    pub fn word(&self) -> &'static str {
        match self {
            Verdict::Accepted { .. } => "accepted",
            Verdict::Rejected(_) => "rejected",
            Verdict::Stuck { .. } => "stuck",
            Verdict::Unclaimed { .. } => "unclaimed",
        }
    }

    /// Whether the kernel may do what was seen.
    pub fn is_accepted(&self) -> bool {
        matches!(self, Verdict::Accepted { .. })
    }
}

impl fmt::Display for Unclaimed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unclaimed::TooWide => write!(f, "more states explain the trace than are followed"),
            Unclaimed::NotModelled(what) => write!(f, "not modelled: {what}"),
            Unclaimed::Malformed(why) => write!(f, "trace and program do not fit: {why}"),
        }
    }
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} of #{}", self.what, self.user_data)
    }
}
