//! A log from elsewhere: what the model makes of it, and what it had to take for granted.
//!
//! The JSON form says what was done, so nothing is assumed but the kernel. Of completions that were typed by
//! hand the program is open: `search` finds the least that explains them, and each guess is named. Guesses
//! err on the side of the kernel: a log is refused only where no guess explains it.

mod build;
mod guess;
pub mod page;
mod requests;
mod search;
pub mod typed;

use uringspec_model::account::{Account, Record, account};
use uringspec_model::profile::Profile;
use uringspec_model::program::Program;
use uringspec_model::trace::{Trace, What};

use crate::case::names::Names;
use crate::case::parse_setup::kind_word;
use crate::log::Log;
use search::Search;
use typed::{Item, Typed};

/// What is said of a log.
#[derive(Clone, Debug)]
pub struct Explained {
    /// What was done, or may have been.
    pub program: Program,
    /// Names for what it acts on.
    pub names: Names,
    /// What was seen.
    pub trace: Trace,
    /// The line of each observation, where it has one.
    pub lines: Vec<Option<u32>>,
    /// What the model makes of it.
    pub account: Account,
    /// What was taken for granted.
    pub assumed: Vec<String>,
    /// The kernel that it is judged by.
    pub release: String,
}

/// What there is to explain.
#[derive(Clone, Debug)]
pub enum Subject {
    /// A program is known, and what was seen of it.
    Known(Program, Trace, Record),
    /// Only completions, and perhaps submissions.
    Open(Typed),
}

/// What a log has to explain, or what it lacks.
pub fn subject(log: Log, record: Record) -> Result<Subject, String> {
    if let Some(program) = log.program {
        return Ok(Subject::Known(program, log.trace, record));
    }
    let completions = log.trace.seen.iter().zip(1..).map(|(seen, line)| match seen.what {
        What::Cqe(taken) if taken.ring.0 == 0 => Some(Item::Cqe(taken.cqe, line)),
        _ => None,
    });
    let items: Option<Vec<Item>> = completions.collect();
    match items {
        Some(items) if !items.is_empty() => Ok(Subject::Open(Typed { items, ..Typed::default() })),
        Some(_) => Err("nothing was seen, expected a line {\"v\":1,\"seen\":…}".into()),
        None => Err("no program, expected a line {\"v\":1,\"program\":…}, or completions of one ring \
                     and nothing else"
            .into()),
    }
}

/// Judges what there is. `named`: the kernel was said, not assumed.
pub fn explain(subject: Subject, profile: &Profile, named: bool) -> Explained {
    let release = profile.release.clone();
    let kernel = format!("the kernel does as {release} does");
    let kernel = (!named).then_some(kernel);
    match subject {
        Subject::Known(program, trace, record) => {
            let names = Names::made_up(program.rings.len(), program.sockets.len());
            let account = account(&program, profile, &trace, record);
            let lines = vec![None; trace.seen.len()];
            Explained {
                program,
                names,
                trace,
                lines,
                account,
                assumed: kernel.into_iter().collect(),
                release,
            }
        }
        Subject::Open(typed) => open(&typed, profile, kernel),
    }
}

fn open(typed: &Typed, profile: &Profile, kernel: Option<String>) -> Explained {
    let (known, strays) = requests::requests(typed);
    let free = build::free_user_data(typed);
    let chosen = Search::new(typed, &known, profile, free).run();
    let choices: Vec<(usize, build::Choice<'_>)> = known.iter().zip(&chosen).enumerate().collect();
    let built = build::build(typed, &choices, &strays, free);
    let account = account(&built.program, profile, &built.trace, Record::Partial);
    let user_data = |n: usize| known[n].user_data;
    let words = known.iter().zip(&chosen).filter_map(|(known, guess)| guess.words(known, user_data));
    let ring = "nothing else was taken from the ring up to the last line".to_string();
    let fds = built.untold.iter().map(|(fd, kind, has_peer)| {
        let peer = if *has_peer { "with a peer" } else { "without a peer" };
        format!("fd {fd} is a {} socket {peer}, of whose path nothing is known", kind_word(*kind))
    });
    let assumed = fds.chain(words).chain([ring]).chain(kernel).collect();
    Explained {
        program: built.program,
        names: built.names,
        trace: built.trace,
        lines: built.lines,
        account,
        assumed,
        release: profile.release.clone(),
    }
}
