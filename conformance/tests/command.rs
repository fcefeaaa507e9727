//! The command as a user meets it: exit codes, last lines, pipes.

use std::path::Path;
use std::process::{Command, Output, Stdio};

fn uringspec(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_uringspec")).args(args).output().expect("the command was built")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text is written as UTF-8")
}

/// A case in a file of its own, on the model alone.
#[track_caller]
fn judged(text: &str, code: i32) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("x.case");
    std::fs::write(&path, text).expect("the file can be written");
    let output = uringspec(&["check", "--model-only", path.to_str().expect("a plain path")]);
    assert_eq!(
        output.status.code(),
        Some(code),
        "{}{}",
        stdout(&output),
        String::from_utf8_lossy(&output.stderr)
    );
    stdout(&output)
}

#[test]
fn what_is_listed_is_accepted() {
    let text = judged("# Fine.\nsubmit\n  #1 nop\nexpect\n  #1 0\n", 0);
    let last: serde_json::Value =
        serde_json::from_str(text.lines().last().expect("there is a last line")).expect("JSON");
    assert_eq!((last["cases"].as_u64(), last["accepted"].as_u64()), (Some(1), Some(2)));
}

#[test]
fn a_result_that_is_not_listed_is_rejected() {
    judged("# Wrong.\nsubmit\n  #1 nop\nexpect\n  #1 1\n", 1);
}

#[test]
fn an_alternative_that_is_never_reached_is_rejected() {
    let text = judged("# Too much.\nsubmit\n  #1 nop\nexpect\n  #1 0\n   or -EINVAL\n", 1);
    assert!(text.contains("#1 -EINVAL"), "{text}");
}

#[test]
fn a_completion_that_is_not_listed_is_rejected() {
    judged("# Too little.\nsubmit\n  #1 nop\n  #2 nop\nexpect\n  #1 0\nfence\n", 1);
}

#[test]
fn a_completion_at_a_fence_is_rejected() {
    let text = judged("# Late.\nsubmit\n  #1 nop\nfence\n", 1);
    assert!(text.contains("listed:  no completion at this step"), "{text}");
}

#[test]
fn an_order_that_nobody_promises_is_rejected() {
    // Exploration shows one order of the two; the other must be found by asking the judge.
    for order in ["#1 #2", "#2 #1"] {
        let case =
            format!("# No chain.\nsubmit\n  #1 nop\n  #2 nop\nexpect\n  #1 0\n  #2 0\n  order {order}\n");
        let text = judged(&case, 1);
        assert!(text.contains("another order"), "{text}");
    }
}

#[test]
fn a_range_is_reached_at_both_ends() {
    let text = judged("# Too wide.\nsubmit\n  #1 nop\nexpect\n  #1 0..5\n", 1);
    assert!(text.contains("#1 5, an end of its range"), "{text}");
}

#[test]
fn unmet_needs_leave_nothing_to_judge() {
    let text = judged("# Later.\nneeds NOTIF_USER_DATA\nsubmit\n  #1 nop\nexpect\n  #1 0\n", 77);
    assert!(text.contains("needs NOTIF_USER_DATA"), "{text}");
}

#[test]
fn a_witness_of_another_case_is_usage() {
    let case = "# Changed.\nsubmit\n  #1 nop\nexpect\n  #1 0\nseen 6.18.44 none 2026-11-22 case=01234567\n";
    judged(case, 64);
}

#[test]
fn what_cannot_be_read_is_usage() {
    judged("# Nonsense.\nwhat is this\n", 64);
    assert_eq!(uringspec(&["check", "/no/such/file"]).status.code(), Some(64));
    assert_eq!(uringspec(&["chekc"]).status.code(), Some(64));
    assert_eq!(uringspec(&["check", "--profile", "7.9"]).status.code(), Some(64));
    assert_eq!(uringspec(&["rules", "nothing."]).status.code(), Some(64));
    assert_eq!(uringspec(&["--help"]).status.code(), Some(0));
}

#[test]
fn rules_are_asked_for_by_area_and_by_id() {
    let rows = |args: &[&str]| -> Vec<serde_json::Value> {
        let output = uringspec(&[&["rules", "--format", "json"], args].concat());
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        stdout(&output).lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
    };
    let ids = |args: &[&str]| rows(args).iter().map(|row| row["id"].to_string()).collect::<Vec<_>>();
    assert_eq!(ids(&["zc.one-notif"]), ["\"zc.one-notif\""]);
    assert!(ids(&["zc"]).len() > 5 && ids(&["zc"]).iter().all(|id| id.starts_with("\"zc.")));
    assert_eq!(ids(&["zc", "link"]).len(), ids(&["zc."]).len() + ids(&["link."]).len());
    assert!(ids(&[]).len() > ids(&["zc", "link"]).len());

    let row = &rows(&["send.poll-first-async-again"])[0];
    assert_eq!(
        (&row["breaks"], &row["cases"][0]),
        (&"send.error-needs-cause".into(), &"send/poll-first-async".into())
    );
    assert_eq!((row["alternatives"].as_u64(), row["seen"].as_u64()), (Some(4), Some(3)));
    assert!(row["last"]["kernel"].as_str().is_some_and(|kernel| kernel.starts_with("6.")), "{row}");
    assert!(row["last"]["date"].as_str().is_some_and(|date| date.starts_with("20")), "{row}");
}

#[test]
fn an_unknown_rule_is_answered_with_those_that_look_alike() {
    for (name, near) in [("zc.one-notifs", "zc.one-notif"), ("lnk", "link"), ("zc.xyz", "zc.")] {
        let output = uringspec(&["rules", name]);
        assert_eq!(output.status.code(), Some(64));
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(error.contains(&format!("no rule or area {name}, expected one of: ")), "{error}");
        assert!(error.split("one of: ").nth(1).is_some_and(|names| names.contains(near)), "{error}");
    }
}

#[test]
fn every_command_has_examples_and_says_its_exit_codes() {
    use clap::CommandFactory;
    for command in uringspec::cli::Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
        let name = command.get_name();
        let output = uringspec(&[name, "--help"]);
        let text = stdout(&output);
        assert_eq!(output.status.code(), Some(0));
        assert!(text.contains(&format!("Examples:\n  uringspec {name}")), "{name} has no examples:\n{text}");
        assert!(text.contains("Exit codes: 0 "), "{name} does not say how it exits:\n{text}");
    }
}

#[test]
fn json_is_one_object_a_line() {
    let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/ring");
    let output =
        uringspec(&["check", "--format", "json", "--model-only", case.to_str().expect("a plain path")]);
    let text = stdout(&output);
    assert!(text.lines().count() > 2);
    for line in text.lines() {
        let object: serde_json::Value = serde_json::from_str(line).expect("each line is JSON");
        assert!(object.is_object());
    }
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_uringspec"))
        .arg("rules")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command was built");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends by itself");
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_built_in_cases_are_those_of_the_checkout() {
    let disk: Vec<String> =
        uringspec::catalog::all().expect("a checkout").into_iter().map(|f| f.text).collect();
    let built: Vec<String> = uringspec::catalog::embedded().into_iter().map(|f| f.text).collect();
    assert!(disk == built);
}

#[test]
fn cases_and_areas_of_the_project_are_known_by_name() {
    let count = |args: &[&str]| {
        let output = uringspec(&[&["check", "--model-only"], args].concat());
        let text = stdout(&output);
        let last: serde_json::Value =
            serde_json::from_str(text.lines().last().expect("there is a last line")).expect("JSON");
        last["cases"].as_u64()
    };
    assert_eq!(count(&["zc/held"]), Some(1));
    assert_eq!(count(&["zc/held", "ring/unordered.case"]), Some(2));
    assert!(count(&["zc/"]) > Some(5));
}

#[test]
fn an_unknown_case_is_answered_with_those_that_look_alike() {
    for (name, near) in
        [("zc/hold", "zc/held"), ("held", "zc/held"), ("link/held", "zc/held"), ("rnig", "ring")]
    {
        let output = uringspec(&["check", name]);
        assert_eq!(output.status.code(), Some(64));
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(error.starts_with(&format!("{name}: there is no such")) && error.contains(near), "{error}");
    }
    let error = String::from_utf8_lossy(&uringspec(&["check", "/no/such"]).stderr).into_owned();
    let areas = error.trim_end().rsplit(": ").next().unwrap_or("");
    let areas: Vec<&str> = areas.split(", ").collect();
    assert!(areas.contains(&"ring") && areas.contains(&"zc") && !error.contains("zc/held"), "{error}");
}
