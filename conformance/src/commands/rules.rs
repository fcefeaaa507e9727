//! `uringspec rules`: the table of promises, the cases that show each, and what of these was seen.

use std::collections::BTreeSet;

use serde::Serialize;
use uringspec_model::deviation::Deviation;
use uringspec_model::rules::Rule;

use super::{complain, find, load, witnesses_hold};
use crate::case::witness::{alternatives, seen_on};
use crate::case::{Name, near};
use crate::catalog::Loaded;
use crate::cli::exit;
use crate::output::Output;

/// Prints the rules: id, text, source, what was seen of the cases that show each, and these cases.
#[derive(Debug, Default, clap::Args)]
#[command(after_help = "Examples:
  uringspec rules                       every rule and every deviation
  uringspec rules zc link               those of two areas
  uringspec rules zc.one-notif          one
  uringspec rules --format json | jq 'select(.seen < .alternatives)'

Exit codes: 0 printed, 64 usage.")]
pub struct Args {
    /// Areas, ids, or how ids begin; none: all.
    #[arg(value_name = "AREA|ID")]
    which: Vec<String>,
}

#[derive(Serialize)]
struct Row {
    id: &'static str,
    text: &'static str,
    source: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    breaks: Option<&'static str>,
    cases: Vec<String>,
    /// Of these cases.
    alternatives: usize,
    seen: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<Last>,
}

/// When one of them was seen last.
#[derive(Serialize, PartialEq, Eq, PartialOrd, Ord)]
struct Last {
    date: String,
    kernel: String,
}

/// Runs the command.
pub fn run(args: &Args, out: &mut Output) -> u8 {
    if let Some(unknown) = args.which.iter().find(|which| !ids().any(|id| matches(id, which))) {
        let areas: BTreeSet<&str> = ids().filter_map(|id| id.split('.').next()).collect();
        let known = if unknown.contains('.') { ids().collect() } else { areas };
        let near = near(unknown, known.into_iter().map(str::to_string)).join(", ");
        complain(&format!("there is no rule or area {unknown}, expected one of: {near}"));
        return exit::USAGE;
    }
    let found = match find(&[]) {
        Ok(found) => found,
        Err(error) => {
            complain(&error);
            return exit::USAGE;
        }
    };
    let Some(cases) = load(found).filter(|cases| witnesses_hold(cases)) else { return exit::USAGE };
    let rules = Rule::ALL.iter().map(|rule| {
        let row = row(rule.id(), rule.text(), &cases);
        Row { source: rule.source().to_string(), ..row }
    });
    let deviations = Deviation::ALL.iter().map(|deviation| {
        let row = row(deviation.id(), deviation.text(), &cases);
        Row { source: deviation.evidence().to_string(), breaks: Some(deviation.rule().id()), ..row }
    });
    let asked = |row: &Row| args.which.is_empty() || args.which.iter().any(|which| matches(row.id, which));
    for row in rules.chain(deviations).filter(asked) {
        let cases = if row.cases.is_empty() { "no case".to_string() } else { row.cases.join(" ") };
        let breaks = row.breaks.map(|id| format!("  (deviation from {id})")).unwrap_or_default();
        let last = row.last.as_ref().map(|last| format!(", last on {}, {}", last.kernel, last.date));
        let seen = format!("seen {} of {}{}", row.seen, row.alternatives, last.unwrap_or_default());
        let Row { id, text, source, .. } = &row;
        out.line(&format!("{id:<28} {text}{breaks}  [{source}]  {seen}  {cases}"));
        out.object(&row);
    }
    0
}

fn ids() -> impl Iterator<Item = &'static str> {
    Rule::ALL.iter().map(|rule| rule.id()).chain(Deviation::ALL.iter().map(|deviation| deviation.id()))
}

/// Whether an id is of an area, or begins so.
fn matches(id: &str, which: &str) -> bool {
    id.split('.').next() == Some(which) || (which.contains('.') && id.starts_with(which))
}

/// What is known of an id from the cases that name it.
fn row(id: &'static str, text: &'static str, cases: &[Loaded]) -> Row {
    let names = |all: &[Name]| all.iter().any(|name| name.text == id);
    let naming: Vec<&Loaded> =
        cases.iter().filter(|c| names(&c.case.rules) || names(&c.case.deviations)).collect();
    let mut row = Row {
        id,
        text,
        source: String::new(),
        breaks: None,
        cases: naming.iter().map(|c| c.found.name.clone()).collect(),
        alternatives: 0,
        seen: 0,
        last: None,
    };
    for loaded in naming {
        for (alternative, _) in alternatives(&loaded.case) {
            let on = seen_on(&loaded.case, &alternative);
            let last =
                on.map(|(seen, _)| Last { date: seen.date.to_string(), kernel: seen.release.clone() }).max();
            row.alternatives += 1;
            row.seen += usize::from(last.is_some());
            row.last = row.last.take().max(last);
        }
    }
    row
}
