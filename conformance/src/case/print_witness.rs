//! Writes what was seen of a case.

use std::fmt::Write;

use uringspec_model::program::Lane;

use super::Noted;
use super::parse_setup::lane_word;
use super::parse_witness::NO_LANE;
use super::print::{arrival_words, expect_words, line, patterns_words};
use super::witness::{Alternative, Seen, Sighting, Unseen, Witness};

pub(super) fn print_witness(out: &mut String, witness: &Noted<Witness>) {
    match &witness.what {
        Witness::Seen(seen) => {
            line(out, "", witness, &seen_words(seen));
            for sighting in &seen.sightings {
                line(out, "  ", sighting, &sighting_words(&sighting.what));
            }
        }
        Witness::Unseen(unseen) => {
            let Unseen { alternative, file, function, version, why } = unseen;
            line(out, "", witness, format!("{:<10} {}", "unseen", name(alternative)).trim_end());
            let _ = writeln!(out, "  source   {file} {function} {version}");
            for why in why {
                let _ = writeln!(out, "  why      {why}");
            }
        }
    }
}

/// A `seen` line.
pub fn seen_words(seen: &Seen) -> String {
    let Seen { release, date, digest, .. } = seen;
    format!("{:<10} {release} {} {date} case={digest:08x}", "seen", lanes_words(&seen.lanes))
}

/// The lanes of a witness.
pub fn lanes_words(lanes: &[Lane]) -> String {
    let lanes: Vec<&str> = lanes.iter().map(|lane| lane_word(*lane)).collect();
    if lanes.is_empty() { NO_LANE.into() } else { lanes.join("+") }
}

/// An alternative, and what was seen of it.
pub fn sighting_words(sighting: &Sighting) -> String {
    let only: Vec<String> = sighting.only.iter().map(|patterns| patterns_words(patterns)).collect();
    let alternative = name(&sighting.alternative);
    if only.is_empty() { alternative } else { format!("{alternative} as {}", only.join(", ")) }
}

/// An alternative for people.
pub fn alternative_words(alternative: &Alternative) -> String {
    match alternative {
        Alternative::Whole => "as listed".into(),
        other => name(other),
    }
}

/// An alternative as a witness names it.
fn name(alternative: &Alternative) -> String {
    let numbered = |keyword: &str, nth: &Option<u32>| match nth {
        Some(nth) => format!("{keyword} {nth} "),
        None => String::new(),
    };
    match alternative {
        Alternative::Whole => String::new(),
        Alternative::Lines { nth, joint, lines } => {
            let words: Vec<String> = lines.iter().map(expect_words).collect();
            let outcome = if *joint { "outcome " } else { "" };
            format!("{}{outcome}{}", numbered("expect", nth), words.join(", "))
        }
        Alternative::Arrival { nth, peer, arrival } => {
            let nth = nth.map_or(String::new(), |nth| format!("{nth} "));
            format!("received {nth}{}  {}", peer.text, arrival_words(arrival))
        }
    }
}
