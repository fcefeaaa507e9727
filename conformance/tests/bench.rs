//! `bench mixed` with a few messages: the lines that it prints, and what it counts, which does not depend on
//! time.

use std::process::Command;

use serde_json::Value;

const KEYS: [&str; 18] = [
    "allocations",
    "batch",
    "copied_bytes",
    "copied_notifications",
    "cqes",
    "enters",
    "high",
    "lane",
    "low",
    "messages",
    "notifications",
    "ns_per_message",
    "pairs",
    "ratio",
    "size",
    "source",
    "sqes",
    "strategy",
];
const PAIRS: u64 = 2;
const MESSAGES: u64 = 64;
/// Messages of a turn that are not timed.
const WARMING: u64 = 16;
const HEADER_BYTES: u64 = 24;

/// What one run printed: the lines, and the last one; nothing if this machine cannot measure.
fn bench(args: &[&str]) -> Option<(Vec<Value>, Value)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_uringspec"));
    command.args(["bench", "mixed", "--format", "json", "--quick"]).args(args);
    let (pairs, messages) = (PAIRS.to_string(), MESSAGES.to_string());
    command.args(["--pairs", &pairs, "--messages", &messages]);
    let output = command.output().expect("the command was built");
    let errors = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(77) {
        eprintln!("skipped: {errors}");
        return None;
    }
    assert_eq!(output.status.code(), Some(0), "{errors}");
    let text = String::from_utf8(output.stdout).expect("text is written as UTF-8");
    let mut lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect();
    let last = lines.pop().expect("there is a last line");
    Some((lines, last))
}

fn number(line: &Value, key: &str) -> u64 {
    line[key].as_u64().unwrap_or_else(|| panic!("{key} of {line}"))
}

#[track_caller]
fn counts(line: &Value, enters: u64, sqes: u64, cqes: u64, copied_bytes: u64) {
    let wanted = [("enters", enters), ("sqes", sqes), ("cqes", cqes), ("copied_bytes", copied_bytes)];
    for (key, value) in wanted {
        assert_eq!(number(line, key), value, "{key} of {line}");
    }
}

#[test]
fn lines_have_what_is_promised() {
    let args = ["--lane", "loopback", "--size", "0,mixed", "--batch", "8"];
    let Some((lines, last)) = bench(&args) else { return };
    let strategies = 9;
    assert_eq!(lines.len(), 2 * strategies);
    for line in &lines {
        let keys: Vec<&str> = line.as_object().expect("an object").keys().map(String::as_str).collect();
        let mut sorted = keys.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, KEYS);
        assert_eq!((line["lane"].as_str(), line["source"].as_str()), (Some("loopback"), Some("cached")));
        assert!(line["ns_per_message"].as_f64() > Some(0.0), "{line}");
        assert!(line["low"].as_f64() <= line["ratio"].as_f64(), "{line}");
        assert!(line["ratio"].as_f64() <= line["high"].as_f64(), "{line}");
        // the sender has a turn of its own, and one between any two
        let between = 1 + PAIRS * strategies as u64;
        let turns = PAIRS + if line["strategy"] == "sender" { between } else { 0 };
        let messages = turns * (MESSAGES + WARMING);
        assert_eq!((number(line, "pairs"), number(line, "messages")), (PAIRS, messages));
    }
    assert_eq!((number(&last, "cells"), number(&last, "skipped")), (2, 0));
    for key in ["sender_over_best_max", "sender_over_bound_median", "sender_over_linked_median"] {
        assert_eq!(last[key], Value::Null, "everything is copied on loopback");
    }
    assert!(number(&last, "unresolved") <= 2);
}

#[test]
fn what_is_counted_is_what_each_way_does() {
    let args = ["--lane", "ifb-udp,repair-tcp", "--size", "0,4K", "--batch", "1,8"];
    let Some((lines, _)) = bench(&args) else { return };
    for line in &lines {
        let (batch, size, all) = (number(line, "batch"), number(line, "size"), number(line, "messages"));
        let is_stream = line["lane"] == "repair-tcp";
        // on a stream a flush is one request, and each request is one call
        let requests = if is_stream { all / batch } else { all };
        let headers = all * HEADER_BYTES;
        match line["strategy"].as_str().expect("a name") {
            "writev" | "sendmsg" => counts(line, all / batch, requests, requests, headers + all * size),
            "sendmsg(2)" => counts(line, requests, 0, 0, headers + all * size),
            // how many notifications one call takes is the kernel's affair, so on a stream calls are not counted
            "sendmsg-zc" | "sendmsg-zc-fixed" | "contiguous" => {
                let enters = if is_stream { number(line, "enters") } else { all / batch };
                let copied = if line["strategy"] == "contiguous" { 0 } else { headers };
                counts(line, enters, requests, 2 * requests, copied);
                assert_eq!(number(line, "notifications"), requests, "{line}");
            }
            // each entry is begun when the one before it is over
            "linked" => {
                let enters = number(line, "enters");
                let (sqes, cqes) = if size == 0 { (all, all) } else { (2 * all, 3 * all) };
                counts(line, enters, sqes, cqes, headers);
            }
            "sender" if size == 0 && is_stream => counts(line, requests, requests, requests, 2 * headers),
            "sender" if is_stream => {
                counts(line, number(line, "enters"), requests, 2 * requests, headers);
            }
            "sender" => assert_eq!(number(line, "enters"), all / batch, "{line}"),
            "msg-zerocopy(2)" => assert_eq!(number(line, "notifications"), requests, "{line}"),
            other => panic!("{other}"),
        }
        // nothing is queued behind what waits to leave, so nothing is joined
        if size > 0 && line["strategy"] != "linked" {
            assert_eq!(number(line, "copied_notifications"), 0, "{line}");
        }
        if line["strategy"] == "sender" {
            assert_eq!(number(line, "allocations"), 0, "{line}");
        }
    }
}

#[test]
fn what_is_not_there_is_said() {
    let wrong = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_uringspec"));
        let output = command.args(["bench", "mixed"]).args(args).output().expect("the command was built");
        assert_eq!(output.status.code(), Some(64));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(wrong(&["--lane", "moon"]).contains("expected loopback, ifb-udp, repair-tcp"));
    assert!(wrong(&["--batch", "3"]).contains("expected 1, 2, 4, 8, 16, 32 or 64"));
    assert!(wrong(&["--size", "2G"]).contains("expected mixed or bytes"));
}
