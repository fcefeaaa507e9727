//! `uringspec outcomes`: all that the model allows, and what it says where that is too much.

use std::process::{Command, Output};

use expect_test::{Expect, expect};

fn outcomes(args: &[&str]) -> Output {
    let command = Command::new(env!("CARGO_BIN_EXE_uringspec")).arg("outcomes").args(args).output();
    command.expect("the command was built")
}

/// The command on a case in a file of its own.
fn of_case(text: &str, args: &[&str]) -> (i32, String, String) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("x.case");
    std::fs::write(&path, text).expect("the file can be written");
    let output = outcomes(&[args, &[path.to_str().expect("a plain path")]].concat());
    let folder = folder.path().to_string_lossy().into_owned();
    let shown = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).replace(&folder, "");
        // The name of the temporary folder is the area of the case.
        let area = folder.rsplit('/').next().unwrap_or("").to_string();
        text.replace(&format!("{area}/"), "").replace("/x.case", "x.case")
    };
    (output.status.code().expect("it ends by itself"), shown(&output.stdout), shown(&output.stderr))
}

#[track_caller]
fn check(text: &str, expected: &Expect) {
    let (code, out, error) = of_case(text, &[]);
    assert_eq!((code, error.as_str()), (0, ""));
    expected.assert_eq(&out);
}

const FAULT: &str = "# A fault.
socket A B tcp
buffer K 4096
submit
  #1 send A K 4000..5000
expect
  #1 -EINVAL
received B  nothing
";

#[test]
fn every_outcome_has_a_line_whatever_the_case_expects() {
    check(
        FAULT,
        &expect![[r#"
            x  3 outcomes, plain and defer rings
                   1  #1 -EFAULT; received B  nothing
                   1  #1 1; received B  K 4000..4001
                   1  #1 96; received B  K 4000..4096
            {"cases":1,"outcomes":3,"runs":3,"states":26,"too_many":0,"unclaimed":0,"skipped":0,"kernel":"6.18 (named)"}
        "#]],
    );
}

#[test]
fn of_the_stated_orders_those_that_are_promised_are_named() {
    let two = |flag: &str| {
        format!(
            "# Two.\nrings plain\nsubmit\n  #1 nop{flag}\n  #2 nop\nexpect\n  #1 0\n  #2 0\n  order #1 #2\n"
        )
    };
    check(
        &two(" LINK"),
        &expect![[r#"
            x  1 outcome, plain ring
                   1  #1 0, #2 0, order #1 #2
            {"cases":1,"outcomes":1,"runs":1,"states":5,"too_many":0,"unclaimed":0,"skipped":0,"kernel":"6.18 (named)"}
        "#]],
    );
    check(
        &two(""),
        &expect![[r#"
            x  1 outcome, plain ring
                   1  #1 0, #2 0
            {"cases":1,"outcomes":1,"runs":1,"states":6,"too_many":0,"unclaimed":0,"skipped":0,"kernel":"6.18 (named)"}
        "#]],
    );
}

#[test]
fn what_comes_at_other_steps_is_not_left_out() {
    check(
        "# Late.\nsubmit\n  #1 nop ASYNC\nexpect\nfence\n",
        &expect![[r#"
            x  3 outcomes, plain and defer rings
                   1  no completion
                   1  no completion; fence #1 0
                   1  #1 0
            {"cases":1,"outcomes":3,"runs":3,"states":18,"too_many":0,"unclaimed":0,"skipped":0,"kernel":"6.18 (named)"}
        "#]],
    );
}

#[test]
fn each_outcome_is_an_object() {
    let (code, out, _) = of_case(FAULT, &["--format", "json"]);
    let rows: Vec<serde_json::Value> =
        out.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect();
    assert_eq!((code, rows.len()), (0, 4));
    assert_eq!(rows[2]["outcome"][0], serde_json::json!({ "line": 6, "seen": "#1 96" }));
    assert_eq!(rows[2]["rings"], serde_json::json!(["plain", "defer"]));
    assert_eq!(rows[3]["outcomes"], 3);
}

#[test]
fn a_case_that_is_too_wide_is_named_with_the_states_that_were_walked() {
    let (code, out, error) = of_case(FAULT, &["--states", "5"]);
    assert_eq!(code, 1, "{out}");
    expect![[r#"
        x.case, plain and defer rings: 5 states were walked and there are more; split the case, or give --states
    "#]]
    .assert_eq(&error);
}

#[test]
fn a_kernel_without_what_is_needed_has_no_outcomes() {
    let (code, out, _) = of_case(&format!("# Later.\nneeds NOTIF_USER_DATA\n{}", &FAULT[11..]), &[]);
    assert_eq!(code, 77);
    assert!(out.contains("skipped: needs NOTIF_USER_DATA, which 6.18 (named) lacks"), "{out}");
}

#[test]
fn bad_arguments_are_usage() {
    for args in [&[][..], &["zc/hold"], &["zc/held", "--states", "x"], &["zc/held", "--profile", "9.9"]] {
        let output = outcomes(args);
        assert_eq!(output.status.code(), Some(64), "{args:?}");
        assert!(!output.stderr.is_empty(), "{args:?}");
    }
    assert!(String::from_utf8_lossy(&outcomes(&["zc/hold"]).stderr).contains("zc/held"));
}

#[test]
fn pages_of_a_send_that_may_have_failed_may_be_free_again() {
    // another thread runs the first send, and takes EAGAIN as final
    let pages = |lane: &str, flags: &str| {
        format!(
            "# Pages.\nlimits memlock=24K uid=nobody\nrings plain\nsocket A B tcp lane={lane}\nbuffer K 4096\n\
             submit\n  #1 send_zc A K 0..4096 {flags}\nsubmit\n  #2 send_zc A K 0..4096\n\
             expect\n  #2 -ENOMEM MORE then 0 NOTIF\n"
        )
    };
    for lane in ["gate", "gate-full"] {
        let code = |flags| of_case(&pages(lane, flags), &[]).0;
        assert_eq!((code("zc=POLL_FIRST LINK"), code("LINK")), (3, 0), "{lane}");
    }
}
