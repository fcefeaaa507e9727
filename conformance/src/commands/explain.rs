//! `uringspec explain`: judges a log from elsewhere.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::PathBuf;

use serde::Serialize;
use uringspec_model::account::Record;
use uringspec_model::profile::Profile;
use uringspec_model::verdict::Verdict;

use super::{complain, profile};
use crate::cli::exit;
use crate::explain::page::{open_rows, page, seen_rows};
use crate::explain::{Explained, Subject, explain, subject, typed};
use crate::log;
use crate::output::{Format, Output};
use crate::side_by_side::Tally;

/// The most bytes of a log that was typed.
const TYPED_MAX_BYTES: u64 = 4 << 20;

/// Says what the model makes of a log from elsewhere: which rules had a say, what is open and may still
/// come, which memory is still lent, which rule is broken, and what had to be taken for granted.
///
/// A log is lines of the JSON form, as `soak` writes them, or completions typed by hand: the user data, the
/// result, the flags. What was submitted may stand there too; what does not is assumed, and named.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  uringspec explain found.jsonl        a log with its program
  uringspec explain -                  completions from standard input, such as
    # one zero-copy send
    submit #7 send_zc fd=5 len=4096 zc=REPORT_USAGE
    cqe 7 4096 MORE
    cqe 7 COPIED NOTIF
    cqe 8 -ECANCELED
  uringspec explain x.log --profile found.jsonl
  uringspec explain x.log --format json | jq 'select(.open)'

Lines that are typed: `cqe USER-DATA RESULT [MORE|NOTIF|flags=0x2]`; `submit #USER-DATA OPCODE [fd=] [len=]
[msg=] [zc=] [index=] [LINK …]`, those that follow one another being one call; `socket fd=5 udp`; `# comment`.

Exit codes: 0 accepted, 1 rejected, 2 stuck, 3 only unclaimed, 64 usage.")]
pub struct Args {
    /// The log; `-` for standard input.
    log: PathBuf,
    /// The kernel that it is judged by: `6.18`, or a file with a profile line; absent: the log's, or 6.18.
    #[arg(long, value_name = "NAME|FILE")]
    profile: Option<String>,
    /// A log with a program leaves out what calls returned and what peers read.
    #[arg(long)]
    partial: bool,
}

/// The last line.
#[derive(Serialize)]
struct Summary<'a> {
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    seen: usize,
    rules: usize,
    open: usize,
    lent_bytes: u64,
    assumed: usize,
    deviations: Vec<&'static str>,
    kernel: &'a str,
}

/// An assumption as an object.
#[derive(Serialize)]
struct Assumed<'a> {
    assumed: &'a str,
}

/// Runs the command.
pub fn run(args: &Args, out: &mut Output) -> u8 {
    let shown = match args.log.to_str() {
        Some("-") => "standard input".to_string(),
        _ => args.log.to_string_lossy().into_owned(),
    };
    match explained(args, &shown) {
        Ok(explained) => {
            show(&shown, &explained, out);
            let mut tally = Tally::default();
            tally.add(explained.account.verdict.word());
            tally.exit_code()
        }
        Err(error) => {
            complain(&error);
            exit::USAGE
        }
    }
}

fn explained(args: &Args, shown: &str) -> Result<Explained, String> {
    let named = args.profile.as_deref().map(|name| profile(Some(name))).transpose()?;
    let mut from: Box<dyn io::BufRead> = match args.log.to_str() {
        Some("-") => Box::new(io::stdin().lock()),
        _ => {
            let file = File::open(&args.log).map_err(|error| format!("{shown}: {error}"))?;
            Box::new(io::BufReader::new(file))
        }
    };
    // The first byte that is no blank tells the form.
    let mut blanks = String::new();
    let is_json = loop {
        let bytes = from.fill_buf().map_err(|error| format!("{shown}: {error}"))?;
        let Some(first) = bytes.first().copied() else { break false };
        if !first.is_ascii_whitespace() {
            break first == b'{';
        }
        blanks.push(char::from(first));
        from.consume(1);
    };
    let record = if args.partial { Record::Partial } else { Record::Whole };
    let (subject, known) = match is_json {
        true => {
            let log = log::read(shown, from).map_err(|error| error.to_string())?;
            let known = log.profile.clone();
            (subject(log, record).map_err(|lacks| format!("{shown}: {lacks}"))?, known)
        }
        false => (typed_log(shown, &blanks, from)?, None),
    };
    let named = named.or(known);
    let is_named = named.is_some();
    Ok(explain(subject, &named.unwrap_or_else(Profile::v6_18), is_named))
}

fn typed_log(shown: &str, blanks: &str, from: impl Read) -> Result<Subject, String> {
    let mut bytes = blanks.as_bytes().to_vec();
    let rest = from.take(TYPED_MAX_BYTES + 1).read_to_end(&mut bytes);
    rest.map_err(|error| format!("{shown}: {error}"))?;
    if bytes.len() as u64 > TYPED_MAX_BYTES {
        return Err(format!("{shown}: the log is too long, expected at most {TYPED_MAX_BYTES} bytes"));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + before.iter().filter(|b| **b == b'\n').count();
        format!("{shown}:{line}: not UTF-8 text")
    })?;
    let colours = io::stderr().is_terminal();
    typed::parse(shown, &text).map(Subject::Open).map_err(|error| error.page(colours))
}

fn show(shown: &str, explained: &Explained, out: &mut Output) {
    if out.format == Format::Json {
        seen_rows(explained).iter().for_each(|row| out.object(row));
        open_rows(explained).iter().for_each(|row| out.object(row));
        explained.assumed.iter().for_each(|assumed| out.object(&Assumed { assumed }));
    } else {
        out.line(page(shown, explained).trim_end());
    }
    let account = &explained.account;
    let (mut rule, mut at, mut reason, mut deviations) = (None, None, None, Vec::new());
    match &account.verdict {
        Verdict::Accepted { deviations: met, .. } => deviations = met.iter().map(|d| d.id()).collect(),
        Verdict::Rejected(rejection) => (rule, at) = (Some(rejection.rule.id()), Some(rejection.at)),
        Verdict::Stuck { at: end, promises } => {
            (rule, at) = (promises.first().map(|promise| promise.rule.id()), Some(*end));
        }
        Verdict::Unclaimed { reason: why } => reason = Some(why.to_string()),
    }
    let rules: std::collections::BTreeSet<_> = account.said.iter().flatten().collect();
    out.last(&Summary {
        verdict: account.verdict.word(),
        rule,
        line: at.and_then(|at| explained.lines.get(at as usize).copied().flatten()),
        reason,
        seen: explained.trace.seen.len(),
        rules: rules.len(),
        open: account.open.len(),
        lent_bytes: open_rows(explained).iter().map(|row| row.lent_bytes).sum(),
        assumed: explained.assumed.len(),
        deviations,
        kernel: &explained.release,
    });
}
