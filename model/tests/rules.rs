//! `RULES.md` is the rule table in print.

use std::fmt::Write;

use uringspec_model::deviation::Deviation;
use uringspec_model::rules::{Rule, Source};

fn printed() -> String {
    let mut text = String::from(
        "# Rules\n\nPrinted from `src/rules.rs` and `src/deviation.rs`; `BLESS=1 cargo test -p uringspec-model \
         --test rules` prints it again.\nRules that stand on observation or on an assumption are listed apart \
         at the end.\n",
    );
    let mut area = "";
    for rule in Rule::ALL {
        if rule.area() != area {
            area = rule.area();
            write!(text, "\n## {area}\n\n| rule | promise | source |\n|---|---|---|\n").unwrap();
        }
        writeln!(text, "| `{}` | {} | {} |", rule.id(), rule.text(), rule.source()).unwrap();
    }
    text += "\n## Deviations\n\n| deviation | what happens | breaks | from | evidence | so |\n|---|---|---|---|---|---|\n";
    for deviation in Deviation::ALL {
        let (from, before) = deviation.kernels();
        let kernels = before.map_or(format!("{from}"), |b| format!("{from}, before {b}"));
        let (text_of, rule) = (deviation.text(), deviation.rule());
        let (evidence, so) = (deviation.evidence(), deviation.consequence());
        writeln!(text, "| `{deviation}` | {text_of} | `{rule}` | {kernels} | {evidence} | {so} |").unwrap();
    }
    text += "\n## On observation or assumption\n\n";
    for rule in Rule::ALL {
        if matches!(rule.source(), Source::Observed(_) | Source::Assumed(_)) {
            writeln!(text, "* `{}`: {}", rule.id(), rule.source()).unwrap();
        }
    }
    text
}

#[test]
fn the_printed_table_is_fresh() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/RULES.md");
    let printed = printed();
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, &printed).expect("RULES.md can be written in a checkout");
    }
    let stored = std::fs::read_to_string(path).unwrap_or_default();
    assert!(stored == printed, "RULES.md is stale: run with BLESS=1");
}

#[test]
fn ids_are_unique_and_well_formed() {
    let mut seen = std::collections::BTreeSet::new();
    for rule in Rule::ALL {
        let id = rule.id();
        assert!(seen.insert(id), "{id} stands twice");
        assert!(id.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c)), "{id}");
        assert!(rule.text().ends_with('.'), "{id} is a sentence");
        assert_eq!(Rule::from_id(id), Some(*rule));
    }
}
