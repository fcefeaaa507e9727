//! Reads wrong traces that were written by hand.
//!
//! A file is a list of programs, as text of cases, each with the traces that are right and those that
//! are not. A line of a trace begins with the number of the step in which it was seen, from 0.

use std::fs;
use std::path::Path;

use uringspec::case::lowered::Lowered;
use uringspec::case::{lower, parse};
use uringspec_model::abi::{ZC_COPIED, cqe_flag, errno};
use uringspec_model::cqe::Cqe;
use uringspec_model::memory::{Generation, HexBytes, RegionId};
use uringspec_model::program::{End, RingId, SocketId};
use uringspec_model::rules::Rule;
use uringspec_model::trace::{Ending, PeerEnd, Received, RingCqe, Run, Seen, Trace, What};

/// A trace and what the judge is to say of it.
pub(crate) struct ByHand {
    /// The file and the line, for messages.
    pub(crate) place: String,
    /// The program, on every kind of ring that it is for.
    pub(crate) lowered: Vec<Lowered>,
    /// What it is to say.
    pub(crate) answer: Answer,
    /// The trace.
    pub(crate) trace: Trace,
}

/// What the judge is to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A kernel may do this.
    Right,
    /// It may not, by this rule.
    Wrong(Rule),
    /// It owes something by this rule.
    Stuck(Rule),
    /// Nothing is said of it.
    Unclaimed,
}

/// Every trace that was written by hand.
pub(crate) fn all() -> Vec<ByHand> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wrong/traces");
    let entries = fs::read_dir(folder).expect("the traces stand beside this test");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("it can be listed").path()).collect();
    paths.sort();
    paths.iter().flat_map(|path| read(path)).collect()
}

fn read(path: &Path) -> Vec<ByHand> {
    let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let text = fs::read_to_string(path).expect("traces are text");
    let lines: Vec<&str> = text.lines().collect();
    let mut all = Vec::new();
    let mut lowered = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let head = lines[at];
        let place = format!("{file}:{}", at + 1);
        let rest = &lines[at + 1..];
        let body: Vec<&str> = rest.iter().copied().take_while(|line| line.starts_with("  ")).collect();
        at += 1 + body.len();
        if head.is_empty() || head.starts_with('#') {
            continue;
        }
        if head == "case" {
            let text: String = std::iter::once("# A program.\n".into())
                .chain(body.iter().map(|line| format!("{}\n", &line[2..])))
                .collect();
            let case = parse(&place, &text).unwrap_or_else(|error| panic!("{}", error.page(false)));
            lowered = lower(&place, &text, &case).unwrap_or_else(|error| panic!("{}", error.page(false)));
            continue;
        }
        let mut trace = Trace::default();
        for line in &body {
            let no_line = format!("{place}: expected a line of a trace: {line}");
            match line.trim().strip_suffix(" hung") {
                Some(step) => trace.end = Ending::Hung { step: step.parse().expect(&no_line) },
                None => trace.seen.push(seen(&lowered[0], line.trim()).expect(&no_line)),
            }
        }
        all.push(ByHand { answer: answer(head, &place), lowered: lowered.clone(), place, trace });
    }
    all
}

fn answer(head: &str, place: &str) -> Answer {
    let mut words = head.split_whitespace();
    let kind = words.next();
    let rule = || {
        let id = words.clone().next().unwrap_or("");
        Rule::from_id(id).unwrap_or_else(|| panic!("{place}: there is no rule {id}"))
    };
    match kind {
        Some("right") => Answer::Right,
        Some("wrong") => Answer::Wrong(rule()),
        Some("stuck") => Answer::Stuck(rule()),
        Some("unclaimed") => Answer::Unclaimed,
        _ => panic!("{place}: expected `case`, `right`, `wrong RULE`, `stuck RULE` or `unclaimed`"),
    }
}

/// One line of a trace, such as `1 #1 4096 MORE`, `2 B read K 0..4096, x00`, `2 B acked 4096` or
/// `2 B resent K@1 0..1000`.
fn seen(lowered: &Lowered, line: &str) -> Option<Seen> {
    let (step, rest) = line.split_once(' ')?;
    let what = match rest.split_once(' ') {
        _ if rest == "gave up" => What::GaveUp,
        _ if rest == "more waits" => What::Overflow { ring: RingId(0), set: true },
        _ if rest == "nothing waits" => What::Overflow { ring: RingId(0), set: false },
        Some(("returned", value)) => What::Returned(number(value)?.into()),
        Some((user_data, cqe)) if user_data.starts_with('#') => {
            let cqe = completion(user_data[1..].parse().ok()?, cqe)?;
            What::Cqe(RingCqe { ring: RingId(0), cqe })
        }
        Some((peer, read)) => {
            let is_peer = |id: &SocketId| lowered.names.socket_name(*id, End::Far) == Some(peer);
            let socket = (0..lowered.program.sockets.len() as u16).map(SocketId).find(is_peer)?;
            if let Some(bytes) = read.strip_prefix("acked ") {
                let what = What::Acked { socket, len_bytes: bytes.parse().ok()? };
                return Some(Seen { step: step.parse().ok()?, what });
            }
            let received = |pieces: &str| {
                let runs = pieces.split(", ").map(|piece| run(lowered, piece)).collect::<Option<_>>()?;
                Some(Received { socket, runs })
            };
            match read.split_once(' ')? {
                ("read", "the end") => What::PeerEnded { socket, how: PeerEnd::EndOfFile },
                ("read", pieces) => What::Received(received(pieces)?),
                ("resent", pieces) => What::SentAgain(received(pieces)?),
                _ => return None,
            }
        }
        None => return None,
    };
    Some(Seen { step: step.parse().ok()?, what })
}

/// A count, or an errno such as `-EBADF`.
fn number(word: &str) -> Option<i32> {
    match word.strip_prefix('-') {
        Some(name) => errno::NAMES.iter().find(|(known, _)| *known == name).map(|(_, e)| -i32::from(*e)),
        None => word.parse().ok(),
    }
}

fn completion(user_data: u64, words: &str) -> Option<Cqe> {
    let mut words = words.split_whitespace();
    let res = match words.next()? {
        "COPIED" => ZC_COPIED,
        word => number(word)?,
    };
    let mut flags = 0;
    for word in words {
        flags |= cqe_flag::NAMES.iter().find(|(known, _)| *known == word)?.1;
    }
    Some(Cqe { user_data, res, flags })
}

/// A piece of memory such as `K@1 0..100`, or a byte such as `x5a`.
fn run(lowered: &Lowered, piece: &str) -> Option<Run> {
    if let Some(byte) = piece.strip_prefix('x') {
        return Some(Run::Bytes(HexBytes(vec![u8::from_str_radix(byte, 16).ok()?])));
    }
    let (name, range) = piece.split_once(' ')?;
    let (name, generation) = match name.split_once('@') {
        Some((name, generation)) => (name, generation.parse().ok()?),
        None => (name, 0),
    };
    let region = lowered.program.regions.iter().position(|region| region.name == name)?;
    let (from, to) = range.split_once("..")?;
    let (offset, to): (u64, u64) = (from.parse().ok()?, to.parse().ok()?);
    let (region, generation) = (RegionId(region as u16), Generation(generation));
    Some(Run::Stamped { region, generation, offset, len_bytes: to.checked_sub(offset)? })
}
