//! `uringspec rules`: the table of promises, and the cases that show each.

use serde::Serialize;
use uringspec_model::deviation::Deviation;
use uringspec_model::rules::Rule;

use super::{complain, find, load};
use crate::cli::exit;
use crate::output::Output;

/// Prints the rules: id, text, source, and the cases that show each.
#[derive(Debug, Default, clap::Args)]
#[command(after_help = "Examples:
  uringspec rules                 every rule
  uringspec rules zc.             those of one area
  uringspec rules --format json   an object a line")]
pub struct Args {
    /// Only rules whose id begins so.
    prefix: Option<String>,
}

#[derive(Serialize)]
struct Row {
    id: &'static str,
    text: &'static str,
    source: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    breaks: Option<&'static str>,
    cases: Vec<String>,
}

/// Runs the command.
pub fn run(args: &Args, out: &mut Output) -> u8 {
    let found = match find(&[]) {
        Ok(found) => found,
        Err(error) => {
            complain(&error);
            return exit::USAGE;
        }
    };
    let Some(cases) = load(found) else { return exit::USAGE };
    let prefix = args.prefix.as_deref().unwrap_or("");
    let showing = |id: &str| {
        let shows = |names: &[crate::case::Name]| names.iter().any(|name| name.text == id);
        let cases = cases.iter().filter(|c| shows(&c.case.rules) || shows(&c.case.deviations));
        cases.map(|c| c.found.name.clone()).collect::<Vec<_>>()
    };
    let rules = Rule::ALL.iter().map(|rule| Row {
        id: rule.id(),
        text: rule.text(),
        source: rule.source().to_string(),
        breaks: None,
        cases: showing(rule.id()),
    });
    let deviations = Deviation::ALL.iter().map(|deviation| Row {
        id: deviation.id(),
        text: deviation.text(),
        source: deviation.evidence().to_string(),
        breaks: Some(deviation.rule().id()),
        cases: showing(deviation.id()),
    });
    let rows: Vec<Row> = rules.chain(deviations).filter(|row| row.id.starts_with(prefix)).collect();
    if rows.is_empty() {
        let areas: std::collections::BTreeSet<&str> = Rule::ALL.iter().map(|r| r.area()).collect();
        let areas: Vec<&str> = areas.into_iter().collect();
        complain(&format!("no rule begins with {prefix}, expected one of the areas {}", areas.join(", ")));
        return exit::USAGE;
    }
    for row in rows {
        let cases = if row.cases.is_empty() { "no case".to_string() } else { row.cases.join(" ") };
        let breaks = row.breaks.map(|id| format!("  (deviation from {id})")).unwrap_or_default();
        out.line(&format!("{:<28} {}{breaks}  [{}]  {cases}", row.id, row.text, row.source));
        out.object(&row);
    }
    0
}
