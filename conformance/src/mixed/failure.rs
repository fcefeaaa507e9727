//! How a mixed send that was made in one way and is not as it should be prints: what was meant beside what was
//! done, with the arrow in the one of which something is said.

use std::fmt::Write;

use uringspec_model::program::Program;
use uringspec_model::trace::Trace;
use uringspec_model::verdict::{Unclaimed, Verdict};

use super::made::Made;
use crate::case::lowered::Lowered;
use crate::expect::Mismatch;
use crate::report::{arrow_at_step, judged, listed, trace_lines};
use crate::{given, token};

/// The longest of the two lists of a page.
const LINES_MAX: usize = 12;

/// A run of a program with mixed sends, made in one way, that is not as it should be.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What was meant and what was done.
    pub made: Made,
    /// The release of the kernel.
    pub release: String,
    /// What is wrong.
    pub fault: Fault,
    /// What was seen of the entries.
    pub trace: Trace,
    /// The same, as seen of the mixed sends.
    pub seen: Trace,
}

/// What is wrong, and who says so.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The rules of the entries, of what was done.
    Entries(Verdict),
    /// The contract, of the mixed sends.
    Contract(Verdict),
    /// The case lists something else.
    Listed(Mismatch),
}

impl Failure {
    /// What is said of it; nothing where only the case says something.
    pub fn verdict(&self) -> Option<&Verdict> {
        match &self.fault {
            Fault::Entries(verdict) | Fault::Contract(verdict) => Some(verdict),
            Fault::Listed(_) => None,
        }
    }

    /// What is said of it, where no case says anything.
    pub fn into_verdict(self) -> Verdict {
        match self.fault {
            Fault::Entries(verdict) | Fault::Contract(verdict) => verdict,
            Fault::Listed(mismatch) => Verdict::Unclaimed { reason: Unclaimed::NotModelled(mismatch.came) },
        }
    }

    /// One lower-case word for lists and counts.
    pub fn word(&self) -> &'static str {
        self.verdict().map_or("rejected", Verdict::word)
    }

    /// The page, with `name` for what was meant, and what is to be done about it below.
    pub fn page(&self, name: &str, meant: &Lowered, foot: &str) -> String {
        let Failure { made, release, seen, .. } = self;
        let (shown, trace) = made.shown(&self.trace);
        let (shown, trace) = (given::lowered(shown), &trace);
        let head =
            |word: &str, _| format!("{}  {name}   made {}, Linux {release}\n", word.to_uppercase(), made.way);
        let nothing = || (String::new(), None, None, Vec::new());
        let (page, arrows, below) = match &self.fault {
            Fault::Entries(verdict) => {
                let (page, _, arrow, below) = judged(&shown, verdict, trace, head).unwrap_or_else(nothing);
                (page, (None, arrow), below)
            }
            Fault::Contract(verdict) => {
                let (page, _, arrow, below) = judged(meant, verdict, seen, head).unwrap_or_else(nothing);
                (page, (arrow, None), below)
            }
            Fault::Listed(mismatch) => {
                let page = head("rejected", 0) + "  the case lists something else\n";
                let mut below = vec![format!("came:    {}", mismatch.came)];
                below.extend(listed("listed:", &mismatch.listed));
                (page, (arrow_at_step(seen, mismatch.step), None), below)
            }
        };
        let none = Vec::new();
        let below_of = |arrow: Option<usize>| if arrow.is_some() { &below } else { &none };
        let mut page = page + "\n  meant\n";
        let lines = |lowered: &Lowered, program: &Program, trace: &Trace, arrow: Option<usize>| {
            trace_lines((program, &lowered.names), trace, arrow, below_of(arrow), LINES_MAX, |_| {
                String::new()
            })
        };
        page += &lines(meant, &meant.program, seen, arrows.0);
        let _ = writeln!(page, "  done: {}", made.way.text());
        page += &lines(&shown, &shown.program, trace, arrows.1);
        page + "\n" + foot
    }

    /// The page of what is no case. `log` has what was done, or it is given as a token.
    pub fn find_page(&self, name: &str, log: Option<&str>) -> String {
        let meant = token::encode(&self.made.meant);
        let done = log.map_or_else(|| token::encode(&self.made.done.program), String::from);
        let foot =
            format!("  meant   uringspec keep {meant} mixed/NAME\n  done    uringspec replay {done}\n");
        self.page(name, &given::lowered(self.made.meant.clone()), &foot)
    }
}
