//! The order of the house: rules and cases name each other, files stay short, nothing is left undone.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Write, stdout};
use std::path::{Path, PathBuf};

use uringspec::case::check_witnesses;
use uringspec::case::print_witness::alternative_words;
use uringspec::case::witness::{Alternative, alternatives, reason, seen_on};
use uringspec::catalog;
use uringspec_model::deviation::Deviation;
use uringspec_model::mixed::entry;
use uringspec_model::program::{Program, Step};
use uringspec_model::rules::Rule;
use uringspec_model::space::Space;
use uringspec_model::sqe::Sqe;

/// The longest file.
const LINES_MAX: usize = 500;

/// The least share of the alternatives of all cases that was seen on some kernel.
const SEEN_MIN_PERCENT: usize = 80;

/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &["utils", "util", "common", "types", "prelude", "helpers", "misc"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace").to_path_buf()
}

/// Every Rust file of the project with its path from the root.
fn sources() -> Vec<(String, String)> {
    let mut sources = Vec::new();
    let mut folders: Vec<PathBuf> =
        ["model", "real", "conformance", "fuzz"].map(|name| root().join(name)).into();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the folder is there").map(|e| e.expect("it can be listed"))
        {
            let path = entry.path();
            let name = entry.file_name();
            if path.is_dir() && name != "target" && name != "corpus" && name != "cases" {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).expect("sources are text");
                let shown = path.strip_prefix(root()).expect("it lies below").to_string_lossy().into_owned();
                sources.push((shown, text));
            }
        }
    }
    assert!(sources.len() > 50, "only {} sources were found", sources.len());
    sources
}

/// Lines of code with what is forbidden in them. This file names the words, so it is left out.
fn lines_with(wrong: impl Fn(&str, &str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for (file, text) in sources().into_iter().filter(|(file, _)| !file.ends_with("tests/tidy.rs")) {
        for (n, line) in text.lines().enumerate() {
            let code = line.trim_start();
            if !code.starts_with("//") && wrong(&file, code) {
                found.push(format!("{file}:{}: {code}", n + 1));
            }
        }
    }
    found
}

#[test]
fn cases_name_rules_that_exist() {
    for found in catalog::all().expect("the cases stand beside this test") {
        if let Err(error) = found.read() {
            panic!("{}", error.page(false));
        }
    }
}

#[test]
fn every_rule_is_named_by_a_case() {
    let mut named = BTreeSet::new();
    for found in catalog::all().expect("the cases stand beside this test") {
        let case = uringspec::case::parse(&found.file, &found.text).expect("cases can be read");
        named.extend(case.rules.iter().chain(&case.deviations).map(|name| name.text.clone()));
    }
    let ids = Rule::ALL.iter().map(|r| r.id()).chain(Deviation::ALL.iter().map(|d| d.id()));
    let unnamed: Vec<&str> = ids.filter(|id| !named.contains(*id)).collect();
    assert!(unnamed.is_empty(), "no case names {unnamed:?}");
}

/// What is done, without how much, where, and by what name.
fn shape(program: &Program) -> String {
    let one = |sqe: &Sqe| {
        let Sqe { opcode, flags, ioprio, op_flags, .. } = sqe;
        // mixed sends differ in what their segments are
        let space = Space { regions: &program.regions, generations: &[] };
        let segments = entry::read(sqe, &space).map(|send| {
            let kinds = send.segments.iter().map(|s| (s.transfer, s.memory, s.len_bytes > 0));
            format!("{} {:?}", send.segments.len(), kinds.collect::<BTreeSet<_>>())
        });
        format!("{opcode} {flags:x} {ioprio:x} {op_flags:x} {segments:?}")
    };
    let step = |step: &Step| match step {
        Step::Submit { ring, sqes } => format!("{ring:?} {:?}", sqes.iter().map(one).collect::<Vec<_>>()),
        Step::Reap { ring, .. } => format!("reap {ring:?}"),
        Step::Drain { socket, .. } => format!("drain {socket:?}"),
        Step::Register { ring, what } => format!("{ring:?} {:?}", std::mem::discriminant(what)),
        other => format!("{other:?}"),
    };
    let steps: Vec<String> = program.steps.iter().map(step).collect();
    format!("{:?} {:?} {:?} {steps:?}", program.limits.unprivileged, program.rings, program.sockets)
}

#[test]
fn cases_do_not_repeat_each_other() {
    let mut seen: Vec<(String, String)> = Vec::new();
    for found in catalog::all().expect("the cases stand beside this test") {
        let name = found.name.clone();
        let loaded = found.read().expect("cases can be read");
        let rules: BTreeSet<&str> =
            loaded.case.rules.iter().chain(&loaded.case.deviations).map(|rule| rule.text.as_str()).collect();
        let shape = format!("{rules:?} {}", shape(&loaded.lowered[0].program));
        if let Some((_, other)) = seen.iter().find(|(known, _)| *known == shape) {
            panic!("{name} is {other} again: a program of the same shape for the same rules");
        }
        seen.push((shape, name));
    }
}

#[test]
fn alternatives_were_seen_or_it_is_said_why_not() {
    let (mut all, mut seen, mut excused, mut choices, mut chosen) = (0, 0, 0, 0, 0);
    let (mut unknown, mut names) = (Vec::new(), BTreeSet::new());
    for found in catalog::all().expect("the cases stand beside this test") {
        let case = uringspec::case::parse(&found.file, &found.text).expect("cases can be read");
        if let Err(error) = check_witnesses(&found.file, &found.text, &case) {
            unknown.push(error.page(false));
            names.insert(found.name.clone());
            continue;
        }
        for (alternative, _) in alternatives(&case) {
            all += 1;
            let choice = usize::from(alternative != Alternative::Whole);
            choices += choice;
            if seen_on(&case, &alternative).next().is_some() {
                seen += 1;
                chosen += choice;
            } else if reason(&case, &alternative).is_some() {
                excused += 1;
            } else {
                unknown.push(format!("{}: {}", found.file, alternative_words(&alternative)));
                names.insert(found.name.clone());
            }
        }
    }
    let names: Vec<String> = names.into_iter().collect();
    assert!(
        unknown.is_empty(),
        "it is not known whether these can be seen:\n{}\nWrite what this kernel does:\n\n    \
         cargo run --release -- run --times 200 --write {}\n\nand for what it never does, at the end of the case:\n\n\
         unseen     ALTERNATIVE\n  source   FILE FUNCTION RELEASE\n  why      REASON\n",
        unknown.join("\n"),
        names.join(" ")
    );
    let share = 100 * seen / all;
    // Not `println`, which a test that passes keeps to itself.
    let _ = writeln!(
        stdout(),
        "{seen} of {all} alternatives were seen ({share} %), {excused} have a reason; \
         where a case leaves a choice, {chosen} of {choices} were seen"
    );
    assert!(
        share >= SEEN_MIN_PERCENT,
        "{seen} of {all} alternatives were seen, {SEEN_MIN_PERCENT} % must be"
    );
}

#[test]
fn files_are_short() {
    let long: Vec<String> = sources()
        .into_iter()
        .filter(|(_, text)| text.lines().count() > LINES_MAX)
        .map(|(file, text)| format!("{file}: {} lines", text.lines().count()))
        .collect();
    assert!(long.is_empty(), "files of more than {LINES_MAX} lines: {long:#?}");
}

#[test]
fn files_say_what_they_are_for() {
    let says =
        |text: &str| text.lines().find(|line| !line.starts_with("#![")).is_some_and(|l| l.starts_with("//!"));
    let silent: Vec<String> =
        sources().into_iter().filter(|(_, text)| !says(text)).map(|(file, _)| file).collect();
    assert!(silent.is_empty(), "files without a module comment: {silent:#?}");
}

#[test]
fn unsafe_code_is_in_real_alone() {
    let found = lines_with(|file, code| {
        !file.starts_with("real/")
            && code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|w| w == "unsafe")
    });
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn nothing_is_left_undone() {
    let words = ["todo!", "unimplemented!", "#[ignore", "dbg!", "FIXME", "XXX"];
    let found = lines_with(|_, code| words.iter().any(|word| code.contains(word)));
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn modules_have_names_that_say_something() {
    let found: Vec<String> = sources()
        .into_iter()
        .map(|(file, _)| file)
        .filter(|file| {
            Path::new(file).iter().any(|part| {
                let stem = Path::new(part).file_stem().map(|s| s.to_string_lossy().into_owned());
                stem.is_some_and(|stem| EMPTY_NAMES.contains(&stem.as_str()))
            })
        })
        .collect();
    assert!(found.is_empty(), "{found:#?}");
}
