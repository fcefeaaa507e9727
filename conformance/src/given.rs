//! What a command is given to run: a token, a log with its program, bytes that a fuzz target found, or a case.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use uringspec_model::program::{Amount, Program, Register, Step};
use uringspec_model::trace::Words;
use uringspec_model::verdict::Verdict;

use crate::case::lowered::{Expectation, Expected, Lowered};
use crate::case::names::Names;
use crate::case::print::mode_word;
use crate::case::{Expect, Mode};
use crate::catalog::{self, Loaded};
use crate::draft::{BYTES_MAX, Draft};
use crate::{fuzzed, log, token};

/// Characters of a token that are shown where it only names something.
const SHORT: usize = 16;

/// A program that was given, with what is known of it.
#[derive(Clone, Debug)]
pub struct Given {
    /// How a message names it.
    pub name: String,
    /// How a command names it.
    pub word: String,
    /// What is done, once for each kind of ring.
    pub lowered: Vec<Lowered>,
    /// The case that it is from.
    pub case: Option<Loaded>,
    /// What was said of it.
    pub verdict: Option<Verdict>,
}

/// Why nothing was given, as a page.
pub type Refused = String;

/// Looks what `word` stands for.
pub fn given(word: &str, colours: bool) -> Result<Given, Refused> {
    if token::is_token(word) {
        let program = token::decode(word).map_err(|error| error.to_string())?;
        return Ok(Given::program(short(word), word, program, None));
    }
    let path = Path::new(word);
    if path.is_file() && is_artifact(path) {
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(|error| format!("{word}: {error}"))?;
        let read = file.take(BYTES_MAX as u64).read_to_end(&mut bytes);
        read.map_err(|error| format!("{word}: {error}"))?;
        let any_fields = path.iter().any(|part| part == "sqe_fields");
        let program =
            if any_fields { fuzzed::any_fields(&bytes) } else { Draft::from_bytes(&bytes).resolve() };
        return Ok(Given::program(word.into(), word, program, None));
    }
    if path.is_file() && path.extension().is_none_or(|extension| extension != "case") {
        let file = File::open(path).map_err(|error| format!("{word}: {error}"))?;
        let log = log::read(word, io::BufReader::new(file)).map_err(|error| error.to_string())?;
        let lacks = || format!("{word}: no program, expected a line {{\"v\":1,\"program\":…}}");
        let program = log.program.ok_or_else(lacks)?;
        return Ok(Given::program(word.into(), word, program, log.verdict));
    }
    let mut found = catalog::named(path)
        .map_err(|error| format!("{word}: {error}; a token d1:… or a log with its program would do too"))?;
    if found.len() != 1 {
        let names: Vec<&str> = found.iter().map(|found| found.name.as_str()).take(5).collect();
        return Err(format!("{word}: {} cases, expected one, such as {}", found.len(), names.join(", ")));
    }
    let loaded = found.swap_remove(0).read().map_err(|error| error.page(colours))?;
    let (name, lowered) = (loaded.found.name.clone(), loaded.lowered.clone());
    Ok(Given { word: name.clone(), name, lowered, case: Some(loaded), verdict: None })
}

/// Whether this has a name that libFuzzer gives to what it found; such bytes are a draft, that of the target whose
/// folder it lies in.
fn is_artifact(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
    let sorts = ["crash-", "timeout-", "oom-", "slow-unit-", "leak-", "minimized-from-"];
    path.extension().is_none() && sorts.iter().any(|sort| name.starts_with(sort))
}

/// A token as far as it names something.
pub fn short(token: &str) -> String {
    match token.char_indices().nth(SHORT) {
        Some((end, _)) => format!("{}…", &token[..end]),
        None => token.into(),
    }
}

impl Given {
    fn program(name: String, word: &str, program: Program, verdict: Option<Verdict>) -> Given {
        Given { name, word: word.into(), lowered: vec![lowered(program)], case: None, verdict }
    }

    /// The kinds of ring it is run on, in words; nothing where it says itself what they are.
    pub fn ring(lowered: &Lowered) -> &'static str {
        match lowered.mode {
            Mode::AsWritten => "as written",
            mode => mode_word(mode),
        }
    }
}

/// A program that is no case, with all that is seen of its steps counting as an outcome. Steps are numbered
/// as lines.
pub fn lowered(program: Program) -> Lowered {
    let nothing = Expect { ring: None, peek: None, outcomes: Vec::new() };
    let expected = |step: &Step| match step {
        Step::Submit { sqes, .. } => Some(Expected::Returned(sqes.len() as i64)),
        Step::Register { what: Register::UpdateBuffers { iovecs, .. }, .. } => {
            Some(Expected::Returned(iovecs.len() as i64))
        }
        Step::Enter(call) => Some(Expected::Returned(call.to_submit.into())),
        Step::Look { ring } => Some(Expected::Words(Words { ring: *ring, ..Words::default() })),
        Step::Register { .. } | Step::Setup(_) | Step::EnterElsewhere { .. } => Some(Expected::Returned(0)),
        Step::Reap { .. } | Step::Peek { .. } => Some(Expected::Completions(nothing.clone())),
        Step::Drain { amount: Amount::Everything | Amount::Bytes(_), .. } => {
            Some(Expected::Arrivals(Vec::new()))
        }
        _ => None,
    };
    let steps = program.steps.iter().zip(0..);
    let expectations = steps.filter_map(|(step, number)| {
        expected(step).map(|what| Expectation { step: number, line: number + 1, what })
    });
    Lowered {
        mode: Mode::AsWritten,
        expectations: expectations.collect(),
        lines: (1..=program.steps.len() as u32).collect(),
        names: Names::made_up(program.rings.len(), program.sockets.len()),
        program,
    }
}
