//! Logs: one JSON object a line, each with the version of the format.
//!
//! A log may come from anywhere, so nothing in it is believed: lines are bounded, a line that is no
//! line of this format is refused with its place, and a log whose last line is cut off, or that has
//! no end, is a trace of which the rest is not known.

use std::io::{self, BufRead, Read, Write};

use miette::Diagnostic;
use thiserror::Error;
use uringspec_model::profile::Profile;
use uringspec_model::program::{FORMAT_VERSION, Program};
use uringspec_model::trace::{Ending, Line, Trace, Versioned};
use uringspec_model::verdict::Verdict;

/// The longest line; a program with the most memory that a case can have takes less.
const LINE_MAX_BYTES: u64 = 16 << 20;

/// The most lines: two completions for each of 10^6 requests, and as much again.
const LINES_MAX: u64 = 4_000_000;

/// What a log says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Log {
    /// What was done, if it is known.
    pub program: Option<Program>,
    /// The kernel it was done on, if it is known.
    pub profile: Option<Profile>,
    /// What was seen.
    pub trace: Trace,
    /// Why nothing was seen.
    pub skip: Option<String>,
    /// What was said of it.
    pub verdict: Option<Verdict>,
}

/// Why a log cannot be read.
#[derive(Debug, Error, Diagnostic)]
pub enum LogError {
    /// A line that is none of this format.
    #[error("{file}:{line}:{column}: {message}; expected one of {EXPECTED}")]
    Line {
        /// The file.
        file: String,
        /// The line, from 1.
        line: u64,
        /// The column, from 1.
        column: usize,
        /// What is wrong.
        message: String,
    },
    /// A line of another version.
    #[error("{file}:{line}:1: version {found} of the format, expected \"v\":{FORMAT_VERSION}")]
    Version {
        /// The file.
        file: String,
        /// The line, from 1.
        line: u64,
        /// The version it has.
        found: u32,
    },
    /// A line that stands twice, or behind the end.
    #[error("{file}:{line}:1: {message}")]
    Order {
        /// The file.
        file: String,
        /// The line, from 1.
        line: u64,
        /// What is wrong, and what is expected.
        message: String,
    },
    /// More than is read.
    #[error("{file}:{line}:1: {message}")]
    Limit {
        /// The file.
        file: String,
        /// The line, from 1.
        line: u64,
        /// Which limit.
        message: String,
    },
    /// The file could not be read.
    #[error("{file}: {source}")]
    Io {
        /// The file.
        file: String,
        /// Why.
        source: io::Error,
    },
}

/// The kinds of lines, for messages.
const EXPECTED: &str = r#"{"v":1,"program":…}, "profile", "seen", "end", "skip", "verdict""#;

/// Reads a log. `file` is only for messages.
pub fn read(file: &str, mut from: impl BufRead) -> Result<Log, LogError> {
    let mut log = Log::default();
    let mut ended = false;
    let mut number = 0;
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        let io_error = |source| LogError::Io { file: file.into(), source };
        let taken = from.by_ref().take(LINE_MAX_BYTES + 1).read_until(b'\n', &mut bytes).map_err(io_error)?;
        if taken == 0 {
            break;
        }
        number += 1;
        let whole = bytes.last() == Some(&b'\n');
        let limit = |message: String| LogError::Limit { file: file.into(), line: number, message };
        if taken as u64 > LINE_MAX_BYTES {
            return Err(limit(format!("the line is too long, expected at most {LINE_MAX_BYTES} bytes")));
        }
        if number > LINES_MAX {
            return Err(limit(format!("the log is too long, expected at most {LINES_MAX} lines")));
        }
        if bytes.trim_ascii().is_empty() {
            continue;
        }
        match parse_line(file, number, &bytes) {
            Ok(line) => ended = add(&mut log, line, ended, file, number)?,
            // The writer was stopped in the middle of its last line.
            Err(_) if !whole => break,
            Err(error) => return Err(error),
        }
    }
    if !ended {
        log.trace.end = Ending::Cut;
    }
    Ok(log)
}

fn parse_line(file: &str, line: u64, bytes: &[u8]) -> Result<Line, LogError> {
    // The version is looked at first: what another version means is not guessed.
    #[derive(serde::Deserialize)]
    struct Version {
        v: u32,
    }
    let refuse = |error: serde_json::Error| LogError::Line {
        file: file.into(),
        line,
        column: error.column().max(1),
        message: message_of(&error),
    };
    let version: Version = serde_json::from_slice(bytes).map_err(refuse)?;
    if version.v != FORMAT_VERSION {
        return Err(LogError::Version { file: file.into(), line, found: version.v });
    }
    serde_json::from_slice::<Versioned>(bytes).map(|line| line.line).map_err(refuse)
}

/// What serde says, without the place, which stands before it.
fn message_of(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message);
    // What serde calls our own types says nothing to somebody who wrote the log.
    match text.contains("enum Line") || text.contains("struct Version") {
        true => "this is no line of a log".into(),
        false => text.chars().take(200).collect(),
    }
}

/// Adds a line; says whether the trace has ended.
fn add(log: &mut Log, line: Line, ended: bool, file: &str, number: u64) -> Result<bool, LogError> {
    let refuse =
        |message: &str| Err(LogError::Order { file: file.into(), line: number, message: message.into() });
    match line {
        Line::Program(_) if log.program.is_some() => {
            return refuse("a second program, expected one program a log");
        }
        Line::Profile(_) if log.profile.is_some() => {
            return refuse("a second profile, expected one profile a log");
        }
        Line::Seen(_) | Line::End(_) if ended => {
            return refuse("the trace had ended, expected a verdict or nothing");
        }
        Line::Program(program) => log.program = Some(program),
        Line::Profile(profile) => log.profile = Some(profile),
        Line::Seen(seen) => log.trace.seen.push(seen),
        Line::Skip(reason) => log.skip = Some(reason),
        Line::Verdict(verdict) => log.verdict = Some(verdict),
        Line::End(end) => {
            log.trace.end = end;
            return Ok(true);
        }
    }
    Ok(ended)
}

/// Writes a log.
pub fn write(to: &mut impl Write, log: &Log) -> io::Result<()> {
    let mut put = |line: Line| -> io::Result<()> {
        serde_json::to_writer(&mut *to, &Versioned::now(line))?;
        to.write_all(b"\n")
    };
    if let Some(program) = &log.program {
        put(Line::Program(program.clone()))?;
    }
    if let Some(profile) = &log.profile {
        put(Line::Profile(profile.clone()))?;
    }
    for seen in &log.trace.seen {
        put(Line::Seen(seen.clone()))?;
    }
    if let Some(reason) = &log.skip {
        put(Line::Skip(reason.clone()))?;
    }
    put(Line::End(log.trace.end))?;
    if let Some(verdict) = &log.verdict {
        put(Line::Verdict(verdict.clone()))?;
    }
    Ok(())
}
