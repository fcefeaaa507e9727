//! Logs: what is written is read, and what is no log is refused with its place.

use expect_test::{Expect, expect};
use uringspec::log::{self, Log};
use uringspec_model::profile::Profile;
use uringspec_model::program::Program;
use uringspec_model::trace::{Ending, Seen, Trace, What};
use uringspec_model::verdict::{Unclaimed, Verdict};

fn read(text: &str) -> Result<Log, log::LogError> {
    log::read("x.log", text.as_bytes())
}

/// The JSON of a module's documentation.
fn example(source: &str) -> String {
    let lines = source.lines().map_while(|line| line.strip_prefix("//!"));
    let inside = lines.skip_while(|line| line.trim() != "```json").skip(1);
    inside.take_while(|line| line.trim() != "```").map(|line| format!("{}\n", line.trim())).collect()
}

#[test]
fn the_documented_program_is_read() {
    let program = example(include_str!("../../model/src/program.rs"));
    let line = format!("{{\"v\":1,\"program\":{}}}\n", program.replace('\n', ""));
    let log = read(&line).expect("the example is fine");
    assert_eq!(log.program.expect("there is one").steps.len(), 3);
}

#[test]
fn the_documented_trace_is_read() {
    let log = read(&example(include_str!("../../model/src/trace.rs"))).expect("the example is fine");
    assert_eq!(log.trace.seen.len(), 3);
    assert_eq!(log.trace.end, Ending::Complete);
}

#[test]
fn what_is_written_is_read() {
    let log = Log {
        program: Some(Program::default()),
        profile: Some(Profile::v6_18()),
        trace: Trace {
            seen: vec![Seen { step: 0, what: What::Returned(-22) }, Seen { step: 1, what: What::GaveUp }],
            end: Ending::Hung { step: 1 },
        },
        skip: Some("no reason".into()),
        verdict: Some(Verdict::Unclaimed { reason: Unclaimed::TooWide }),
    };
    let mut bytes = Vec::new();
    log::write(&mut bytes, &log).expect("memory can be written");
    assert_eq!(log::read("x.log", bytes.as_slice()).expect("it was just written"), log);
}

#[test]
fn a_log_without_end_is_cut() {
    let whole = "{\"v\":1,\"seen\":{\"step\":0,\"what\":{\"returned\":1}}}\n";
    for cut in [whole.to_string(), format!("{whole}{}", &whole[..20]), format!("{whole}\n\n")] {
        let log = read(&cut).expect("what is there is fine");
        assert_eq!((log.trace.seen.len(), log.trace.end), (1, Ending::Cut));
    }
}

#[track_caller]
fn refused(text: &str, expected: &Expect) {
    expected.assert_eq(&read(text).expect_err("this must be refused").to_string());
}

#[test]
fn a_line_that_is_none_is_refused() {
    refused(
        "\n{\"v\":1,\"sene\":{}}\n",
        &expect![[
            r#"x.log:2:17: this is no line of a log; expected one of {"v":1,"program":…}, "profile", "seen", "end", "skip", "verdict""#
        ]],
    );
    refused(
        "{\"v\":1}\n",
        &expect![[
            r#"x.log:1:7: this is no line of a log; expected one of {"v":1,"program":…}, "profile", "seen", "end", "skip", "verdict""#
        ]],
    );
    refused(
        "[]\n",
        &expect![[
            r#"x.log:1:2: this is no line of a log; expected one of {"v":1,"program":…}, "profile", "seen", "end", "skip", "verdict""#
        ]],
    );
    refused(
        "{\"v\":1,\"seen\":{\"step\":0\n",
        &expect![[
            r#"x.log:1:1: EOF while parsing an object; expected one of {"v":1,"program":…}, "profile", "seen", "end", "skip", "verdict""#
        ]],
    );
    refused(
        "not json\n{}\n",
        &expect![[
            r#"x.log:1:2: expected ident; expected one of {"v":1,"program":…}, "profile", "seen", "end", "skip", "verdict""#
        ]],
    );
}

#[test]
fn another_version_is_refused_whatever_it_says() {
    refused(
        "{\"v\":2,\"whatever\":[1]}\n",
        &expect![[r#"x.log:1:1: version 2 of the format, expected "v":1"#]],
    );
}

#[test]
fn numbers_that_fit_no_field_are_refused() {
    refused(
        "{\"v\":1,\"seen\":{\"step\":4294967296,\"what\":\"gave_up\"}}\n",
        &expect![[
            r#"x.log:1:51: invalid value: integer `4294967296`, expected u32; expected one of {"v":1,"program":…}, "profile", "seen", "end", "skip", "verdict""#
        ]],
    );
    refused(
        "{\"v\":1,\"seen\":{\"step\":0,\"what\":{\"returned\":1e400}}}\n",
        &expect![[
            r#"x.log:1:48: number out of range; expected one of {"v":1,"program":…}, "profile", "seen", "end", "skip", "verdict""#
        ]],
    );
    refused(
        "{\"v\":123456789012345678901234567890}\n",
        &expect![[
            r#"x.log:1:35: invalid type: floating point `1.2345678901234568e+29`, expected u32; expected one of {"v":1,"program":…}, "profile", "seen", "end", "skip", "verdict""#
        ]],
    );
}

#[test]
fn deep_nesting_is_refused() {
    let deep = format!("{{\"v\":1,\"seen\":{}{}}}\n", "[".repeat(100_000), "]".repeat(100_000));
    refused(
        &deep,
        &expect![[
            r#"x.log:1:141: recursion limit exceeded; expected one of {"v":1,"program":…}, "profile", "seen", "end", "skip", "verdict""#
        ]],
    );
}

#[test]
fn lines_out_of_turn_are_refused() {
    let end = "{\"v\":1,\"end\":\"complete\"}\n";
    refused(
        &format!("{end}{end}"),
        &expect!["x.log:2:1: the trace had ended, expected a verdict or nothing"],
    );
    let skip = "{\"v\":1,\"program\":{}}\n";
    refused(&format!("{skip}{skip}"), &expect!["x.log:2:1: a second program, expected one program a log"]);
}

#[test]
fn a_line_without_end_is_bounded() {
    let endless = format!("{{\"v\":1,\"skip\":\"{}\"}}\n", "x".repeat(17 << 20));
    refused(&endless, &expect!["x.log:1:1: the line is too long, expected at most 16777216 bytes"]);
}
