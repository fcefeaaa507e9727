//! Witnesses: where and when each alternative of a case was seen, or why none was.
//!
//! An alternative is what a kernel can choose: an `or` line or a joint outcome of an `expect` block, an `or`
//! line of a `received` step, and a pattern that leaves something open, such as a range, which says what was
//! seen of it. A case that leaves no choice is one alternative as a whole.

use std::collections::BTreeSet;

use jiff::civil::Date;
use uringspec_model::program::Lane;
use winnow::Result;

use super::error::{CaseError, Refusal, near};
use super::print::print;
use super::print_witness::alternative_words;
use super::text::At;
use super::{Arrival, Case, Expect, ExpectLine, Name, Noted, Pattern, ResPattern, Step, UsagePattern, lines};

/// What is known of some alternatives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Witness {
    /// They were seen.
    Seen(Seen),
    /// One was not, for a reason.
    Unseen(Unseen),
}

/// A `seen` block: when and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The kernel, as `uname -r` prints it.
    pub release: String,
    /// The lanes of its sockets, none twice.
    pub lanes: Vec<Lane>,
    /// The day, in UTC.
    pub date: Date,
    /// The `digest` of the case that was run.
    pub digest: u32,
    /// What was seen; empty for a case that leaves no choice.
    pub sightings: Vec<Noted<Sighting>>,
}

/// An alternative that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The alternative.
    pub alternative: Alternative,
    /// What was seen of it, where it leaves something open: patterns for each of its requests. Empty: all of it.
    pub only: Vec<Vec<Pattern>>,
}

/// An `unseen` block: an alternative that cannot be seen, or is not easily.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unseen {
    /// The alternative.
    pub alternative: Alternative,
    /// The file of the kernel's source that has it.
    pub file: String,
    /// The function there.
    pub function: String,
    /// The release of the kernel whose source was read.
    pub version: String,
    /// Why it was not seen, a line each.
    pub why: Vec<String>,
}

/// One thing that a kernel can choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Alternative {
    /// All that the case lists.
    Whole,
    /// Lines of an `expect` block, each with one alternative.
    Lines {
        /// The number of the block from 1, where the same words stand in several.
        nth: Option<u32>,
        /// These are a joint outcome; otherwise it is one line of a request.
        joint: bool,
        /// The lines.
        lines: Vec<ExpectLine>,
    },
    /// An alternative of a `received` step.
    Arrival {
        /// The number of the step from 1, where the same words stand in several.
        nth: Option<u32>,
        /// Who reads.
        peer: Name,
        /// What it got.
        arrival: Arrival,
    },
}

/// Where an alternative stands. `step` counts the `expect` and `received` steps from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Everywhere.
    Whole,
    /// One alternative of a line of an outcome.
    Member {
        /// The step.
        step: usize,
        /// The line among those of requests.
        request: usize,
        /// The alternative.
        alternative: usize,
    },
    /// A joint outcome.
    Joint {
        /// The step.
        step: usize,
        /// The outcome.
        outcome: usize,
        /// The alternative of each line of a request.
        alternatives: Vec<usize>,
    },
    /// An alternative of a `received` step.
    Arrival {
        /// The step.
        step: usize,
        /// The alternative.
        alternative: usize,
    },
}

impl Alternative {
    /// The patterns of its requests.
    pub fn patterns(&self) -> Vec<&[Pattern]> {
        let Alternative::Lines { lines, .. } = self else { return Vec::new() };
        let patterns = lines.iter().filter_map(|line| match line {
            ExpectLine::Request(_, alternatives) => alternatives.first().map(|a| a.what.as_slice()),
            ExpectLine::Never(..) | ExpectLine::Order(_) => None,
        });
        patterns.collect()
    }

    fn number(&mut self, number: u32) {
        match self {
            Alternative::Whole => {}
            Alternative::Lines { nth, .. } | Alternative::Arrival { nth, .. } => *nth = Some(number),
        }
    }
}

/// A number that changes with whatever a case does or lists, and not with its comments.
pub fn digest(case: &Case) -> u32 {
    let bare = Case {
        comment: Vec::new(),
        rules: Vec::new(),
        deviations: Vec::new(),
        thread: None,
        needs: Vec::new(),
        witnesses: Vec::new(),
        tail: Vec::new(),
        ..case.clone()
    };
    let text = print(&bare);
    let contents = lines::split(&text).into_iter().map(|line| line.content).filter(|c| !c.is_empty());
    crc32fast::hash(contents.collect::<Vec<_>>().join("\n").as_bytes())
}

/// The lanes of the case's sockets.
pub fn lanes(case: &Case) -> Vec<Lane> {
    let mut lanes = Vec::new();
    for socket in &case.sockets {
        if !lanes.contains(&socket.what.setup.lane) {
            lanes.push(socket.what.setup.lane);
        }
    }
    lanes
}

/// Every alternative of a case; there is at least one.
pub fn alternatives(case: &Case) -> Vec<(Alternative, Place)> {
    let mut found: Vec<(u32, Alternative, Place)> = Vec::new();
    let (mut expects, mut receiveds) = (0, 0);
    for step in &case.steps {
        let nth = (expects + receiveds) as usize;
        match &step.what {
            Step::Expect(expect) => {
                expects += 1;
                found.extend(of_expect(expect, nth).into_iter().map(|(a, place)| (expects, a, place)));
            }
            Step::Received(peer, arrivals) => {
                receiveds += 1;
                // What is read follows from the completions where a single way is listed.
                for (n, arrival) in arrivals.iter().enumerate().filter(|_| arrivals.len() > 1) {
                    let (peer, arrival) = (peer.clone(), arrival.what.clone());
                    let alternative = Alternative::Arrival { nth: None, peer, arrival };
                    found.push((receiveds, alternative, Place::Arrival { step: nth, alternative: n }));
                }
            }
            _ => {}
        }
    }
    let words: Vec<Alternative> = found.iter().map(|(_, alternative, _)| alternative.clone()).collect();
    for (number, alternative, _) in &mut found {
        if words.iter().filter(|other| *other == alternative).count() > 1 {
            alternative.number(*number);
        }
    }
    let mut alternatives: Vec<(Alternative, Place)> = Vec::new();
    for (_, alternative, place) in found {
        // The same words twice in one block say nothing more.
        if !alternatives.iter().any(|(known, _)| *known == alternative) {
            alternatives.push((alternative, place));
        }
    }
    if alternatives.is_empty() { vec![(Alternative::Whole, Place::Whole)] } else { alternatives }
}

/// The blocks that say where an alternative was seen, each with the line about it where there are several.
pub fn seen_on<'a>(
    case: &'a Case,
    alternative: &'a Alternative,
) -> impl DoubleEndedIterator<Item = (&'a Seen, Option<&'a Sighting>)> {
    case.witnesses.iter().filter_map(move |witness| {
        let Witness::Seen(seen) = &witness.what else { return None };
        let line = seen.sightings.iter().find(|sighting| sighting.what.alternative == *alternative);
        let whole = seen.sightings.is_empty() && *alternative == Alternative::Whole;
        (whole || line.is_some()).then_some((seen, line.map(|line| &line.what)))
    })
}

/// Why an alternative was not seen.
pub fn reason<'a>(case: &'a Case, alternative: &Alternative) -> Option<&'a Unseen> {
    case.witnesses.iter().find_map(|witness| match &witness.what {
        Witness::Unseen(unseen) if unseen.alternative == *alternative => Some(unseen),
        Witness::Unseen(_) | Witness::Seen(_) => None,
    })
}

fn of_expect(expect: &Expect, step: usize) -> Vec<(Alternative, Place)> {
    let mut found = Vec::new();
    let joint = expect.outcomes.len() > 1;
    for (number, outcome) in expect.outcomes.iter().enumerate() {
        let requests: Vec<(u64, &[Noted<Vec<Pattern>>])> =
            crate::marks::requests(outcome).map(|(_, user_data, all)| (user_data, all)).collect();
        if joint {
            let choices: Vec<Vec<usize>> = requests.iter().map(|(_, all)| (0..all.len()).collect()).collect();
            for alternatives in crate::marks::product(&choices).unwrap_or_default() {
                let mut chosen = alternatives.iter();
                let line = |line: &Noted<ExpectLine>| match &line.what {
                    ExpectLine::Request(user_data, all) => {
                        let n = chosen.next().copied().unwrap_or(0);
                        ExpectLine::Request(*user_data, vec![Noted::plain(all[n].what.clone())])
                    }
                    other => other.clone(),
                };
                let lines = outcome.lines.iter().map(line).collect();
                let place = Place::Joint { step, outcome: number, alternatives: alternatives.clone() };
                found.push((Alternative::Lines { nth: None, joint, lines }, place));
            }
            continue;
        }
        for (request, (user_data, all)) in requests.into_iter().enumerate() {
            let open = |alternative: &Noted<Vec<Pattern>>| alternative.what.iter().any(Pattern::is_open);
            for (n, one) in all.iter().enumerate().filter(|(_, one)| all.len() > 1 || open(one)) {
                let lines = vec![ExpectLine::Request(user_data, vec![Noted::plain(one.what.clone())])];
                let place = Place::Member { step, request, alternative: n };
                found.push((Alternative::Lines { nth: None, joint, lines }, place));
            }
        }
    }
    found
}

impl Pattern {
    /// Whether several completions fit.
    pub fn is_open(&self) -> bool {
        match self {
            Pattern::Result(ResPattern::Range(from, to), _) => from < to,
            Pattern::Result(ResPattern::AnyErrno, _) | Pattern::Notif(UsagePattern::Any) => true,
            Pattern::Result(ResPattern::Count(_) | ResPattern::Errno(_), _) | Pattern::Notif(_) => false,
        }
    }

    /// The narrowest pattern into which both fit, if they are of one kind.
    pub fn hull(self, other: Pattern) -> Option<Pattern> {
        use ResPattern::{AnyErrno, Count, Errno, Range};
        let ends = |res| match res {
            Count(n) => Some((n, n)),
            Range(from, to) => Some((from, to)),
            Errno(_) | AnyErrno => None,
        };
        match (self, other) {
            (same, other) if same == other => Some(same),
            (Pattern::Notif(_), Pattern::Notif(_)) => Some(Pattern::Notif(UsagePattern::Any)),
            (Pattern::Result(a, more), Pattern::Result(b, b_more)) if more == b_more => {
                let res = match (ends(a), ends(b)) {
                    (Some((a, b)), Some((c, d))) if a.min(c) == b.max(d) => Count(a),
                    (Some((a, b)), Some((c, d))) => Range(a.min(c), b.max(d)),
                    (None, None) => AnyErrno,
                    _ => return None,
                };
                Some(Pattern::Result(res, more))
            }
            _ => None,
        }
    }
}

/// Refuses witnesses of what the case does not list, or of a case that was another one when it was run.
pub fn check_witnesses(file: &str, text: &str, case: &Case) -> std::result::Result<(), CaseError> {
    check(case).map_err(|refusal| refusal.of(file, text))
}

fn check(case: &Case) -> Result<(), Refusal> {
    let listed: Vec<Alternative> =
        alternatives(case).into_iter().map(|(alternative, _)| alternative).collect();
    let known = |alternative: &Alternative, at: At| {
        if listed.contains(alternative) {
            return Ok(());
        }
        let names = listed.iter().map(alternative_words);
        if *alternative == Alternative::Whole {
            let choice = "the case leaves a choice, so it is to be said what was seen";
            return Err(Refusal::new(at, choice).expecting(names));
        }
        let words = alternative_words(alternative);
        let near = near(&words, names).into_iter().chain([REWRITE.to_string()]);
        Err(Refusal::new(at, format!("the case does not list `{words}` any more")).expecting(near))
    };
    let (mut seen, mut unseen): (Vec<&Alternative>, Vec<&Alternative>) = (Vec::new(), Vec::new());
    let mut when = BTreeSet::new();
    for witness in &case.witnesses {
        match &witness.what {
            Witness::Seen(block) => {
                if block.sightings.is_empty() {
                    known(&Alternative::Whole, witness.at)?;
                    seen.push(&Alternative::Whole);
                }
                for sighting in &block.sightings {
                    known(&sighting.what.alternative, sighting.at)?;
                    fits(&sighting.what, sighting.at)?;
                    seen.push(&sighting.what.alternative);
                    let words = alternative_words(&sighting.what.alternative);
                    let lanes: Vec<String> = block.lanes.iter().map(|lane| format!("{lane:?}")).collect();
                    if !when.insert((words, block.release.clone(), lanes)) {
                        let twice = "this was seen on the same kernel and lane above";
                        return Err(Refusal::new(sighting.at, twice).expecting(["one line for both"]));
                    }
                }
                if block.digest != digest(case) {
                    let changed = format!("the case has changed since it was run on {}", block.date);
                    return Err(Refusal::new(witness.at, changed).expecting([REWRITE, "no such line"]));
                }
            }
            Witness::Unseen(block) => {
                known(&block.alternative, witness.at)?;
                if unseen.contains(&&block.alternative) {
                    return Err(Refusal::new(witness.at, "a reason for this stands above")
                        .expecting(["one `unseen` line for an alternative"]));
                }
                unseen.push(&block.alternative);
            }
        }
    }
    for witness in &case.witnesses {
        if let Witness::Unseen(block) = &witness.what
            && seen.contains(&&block.alternative)
        {
            let both = "this was seen, so there is no reason why not";
            return Err(Refusal::new(witness.at, both).expecting(["either `seen` or `unseen`"]));
        }
    }
    Ok(())
}

/// How witnesses are made to fit the case.
const REWRITE: &str = "what `uringspec run --write` puts here";

/// Refuses an `as` that is not part of the alternative.
fn fits(sighting: &Sighting, at: At) -> Result<(), Refusal> {
    if sighting.only.is_empty() {
        return Ok(());
    }
    let listed = sighting.alternative.patterns();
    let inside = |(only, listed): (&Vec<Pattern>, &&[Pattern])| {
        let narrower = |(a, b): (&Pattern, &Pattern)| a.hull(*b) == Some(*b);
        only.len() == listed.len() && only.iter().zip(*listed).all(narrower)
    };
    match sighting.only.len() == listed.len() && sighting.only.iter().zip(&listed).all(inside) {
        true => Ok(()),
        false => Err(Refusal::new(at, "what is said to be seen does not fit the alternative")
            .expecting(["completions as listed, with counts inside of its ranges"])),
    }
}
