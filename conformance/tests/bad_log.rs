//! Logs that were typed wrongly: an error with a place and with what would be accepted, never a panic.

mod refusal;

use std::panic::catch_unwind;
use std::process::{Command, Output, Stdio};

use expect_test::{Expect, expect};
use refusal::shown;
use uringspec::explain::{Subject, explain, page::page, typed};
use uringspec_model::choices::{Choices, Seeded};
use uringspec_model::profile::Profile;

#[track_caller]
fn check(text: &str, expected: &Expect) {
    let error = typed::parse("x.log", text).expect_err("this must be refused");
    expected.assert_eq(&shown(&error));
}

#[test]
fn a_line_begins_with_its_keyword() {
    check(
        "# fine\ncqee 7 1\n",
        &expect![[r#"
         x `cqee` is no line of a log
          ,-[x.log:2:1]
        1 | # fine
        2 | cqee 7 1
          : ^^|^
          :   `-- not accepted here
          `----
         help: expected one of: a completion such as `cqe 7 4096 MORE`, a submission such as `submit #7
               send_zc len=4096`, a descriptor such as `socket fd=5 udp`, a comment such as `# what I
               did`, a line of the JSON form such as {"v":1,"seen":…}
    "#]],
    );
}

#[test]
fn a_completion_has_user_data_a_result_and_flags() {
    check(
        "cqe seven 1\n",
        &expect![[r#"
         x `seven` is no user data
          ,-[x.log:1:5]
        1 | cqe seven 1
          :     ^^|^^
          :       `-- not accepted here
          `----
         help: expected user data: a number up to 18446744073709551615, in digits or as 0x and
               hexadecimal digits
    "#]],
    );
    check(
        "cqe 7\n",
        &expect![[r#"
         x the end of the line is no result
          ,-[x.log:1:6]
        1 | cqe 7
          :      ^
          :      `-- not accepted here
          `----
         help: expected one of: a count such as 4096, an errno such as -ECANCELED or -125, COPIED, 32
               bits such as 0x80000000
    "#]],
    );
    check(
        "cqe 7 -ECANCELLED\n",
        &expect![[r#"
         x `-ECANCELLED` is no errno
          ,-[x.log:1:7]
        1 | cqe 7 -ECANCELLED
          :       ^^^^^|^^^^^
          :            `-- not accepted here
          `----
         help: expected -ECANCELED
    "#]],
    );
    check(
        "cqe 7 4294967296\n",
        &expect![[r#"
         x `4294967296` is no result
          ,-[x.log:1:7]
        1 | cqe 7 4294967296
          :       ^^^^^|^^^^
          :            `-- not accepted here
          `----
         help: expected one of: a count such as 4096, an errno such as -ECANCELED or -125, COPIED, 32
               bits such as 0x80000000
    "#]],
    );
    check(
        "cqe 7 1 MOER\n",
        &expect![[r#"
         x `MOER` is no flag of a completion
          ,-[x.log:1:9]
        1 | cqe 7 1 MOER
          :         ^^|^
          :           `-- not accepted here
          `----
         help: expected one of: BUFFER, MORE, SOCK_NONEMPTY, NOTIF, BUF_MORE, SKIP, CQE_32, bits such as
               0x40
    "#]],
    );
    check(
        "cqe 7 1 flags=x\n",
        &expect![[r#"
         x `x` is no flags of a completion
          ,-[x.log:1:15]
        1 | cqe 7 1 flags=x
          :               |
          :               `-- not accepted here
          `----
         help: expected flags of a completion: a number up to 4294967295, in digits or as 0x and
               hexadecimal digits
    "#]],
    );
}

#[test]
fn a_submission_has_an_opcode() {
    check(
        "submit #7 sendzc\n",
        &expect![[r#"
             x `sendzc` is no opcode
              ,-[x.log:1:11]
            1 | submit #7 sendzc
              :           ^^^|^^
              :              `-- not accepted here
              `----
             help: expected one of: nop, send, sendmsg, send_zc, sendmsg_zc, write, writev, write_fixed,
                   writev_fixed, readv, cancel
        "#]],
    );
    check(
        "submit 7 send\n",
        &expect![[r#"
         x `7` is no user data
          ,-[x.log:1:8]
        1 | submit 7 send
          :        |
          :        `-- not accepted here
          `----
         help: expected user data such as #1
    "#]],
    );
    check(
        "submit #7 send length=5\n",
        &expect![[r#"
         x `length=5` has no place in a submission
          ,-[x.log:1:16]
        1 | submit #7 send length=5
          :                ^^^^|^^^
          :                    `-- not accepted here
          `----
         help: expected one of: fd=, len=, msg=, zc=, index=, LINK, HARDLINK, DRAIN, ASYNC, SKIP_SUCCESS,
               BUFFER_SELECT
    "#]],
    );
    check(
        "submit #7 cancel\n",
        &expect![[r#"
         x the end of the line is no user data
          ,-[x.log:1:17]
        1 | submit #7 cancel
          :                 ^
          :                 `-- not accepted here
          `----
         help: expected user data such as #1
    "#]],
    );
}

#[test]
fn a_socket_has_a_descriptor_and_a_kind() {
    check(
        "socket 5 tcp\n",
        &expect![[r#"
         x `5` is no descriptor
          ,-[x.log:1:8]
        1 | socket 5 tcp
          :        |
          :        `-- not accepted here
          `----
         help: expected fd=5
    "#]],
    );
    check(
        "socket fd=5 sctp\n",
        &expect![[r#"
         x `sctp` is no kind of socket
          ,-[x.log:1:13]
        1 | socket fd=5 sctp
          :             ^^|^
          :               `-- not accepted here
          `----
         help: expected one of: tcp, tcp6, udp, udp6, unix, not-a-socket
    "#]],
    );
    check(
        "socket fd=5 tcp lane=wifi\n",
        &expect![[r#"
             x `wifi` is no lane
              ,-[x.log:1:22]
            1 | socket fd=5 tcp lane=wifi
              :                      ^^|^
              :                        `-- not accepted here
              `----
             help: expected one of: loopback, gate, gate-full, ifb-udp, ifb-udp-tap, repair-tcp, repair-tcp-
                   tap, unknown
        "#]],
    );
    check(
        "socket fd=5 tcp fast\n",
        &expect![[r#"
         x `fast` has no place in a socket line
          ,-[x.log:1:17]
        1 | socket fd=5 tcp fast
          :                 ^^|^
          :                   `-- not accepted here
          `----
         help: expected one of: lane=, unconnected
    "#]],
    );
}

#[test]
fn a_log_has_completions_but_not_too_many() {
    check(
        "# nothing\nsubmit #1 nop\n",
        &expect![[r#"
         x the log has no completion
          ,-[x.log:3:1]
        2 | submit #1 nop
          `----
         help: expected one of: a completion such as `cqe 7 4096 MORE`, a submission such as `submit #7
               send_zc len=4096`, a descriptor such as `socket fd=5 udp`, a comment such as `# what I
               did`, a line of the JSON form such as {"v":1,"seen":…}
    "#]],
    );
    assert_eq!(
        typed::parse("x.log", "").expect_err("this must be refused").message,
        "the log has no completion"
    );
    let error = typed::parse("x.log", &"cqe 1 0\n".repeat(5000)).expect_err("this must be refused");
    assert_eq!(
        (error.message.as_str(), &error.expected[..]),
        ("the log is too long", &["at most 4096 lines that say something".to_string()][..])
    );
}

#[test]
fn changed_logs_never_panic() {
    const WORDS: &[&str] = &[
        "cqe",
        "submit",
        "socket",
        "#7",
        "7",
        "18446744073709551615",
        "#18446744073709551615",
        "0",
        "4096",
        "2147483647",
        "-1",
        "-4095",
        "-4096",
        "-EINVAL",
        "-ECANCELED",
        "-ECONNRESET",
        "-ENOMEM",
        "-EALREADY",
        "COPIED",
        "NOTIF",
        "MORE",
        "MORE|NOTIF",
        "flags=0xffffffff",
        "0x80000000",
        "send",
        "send_zc",
        "sendmsg_zc",
        "writev_fixed",
        "write",
        "nop",
        "cancel",
        "fd=5",
        "fd=2147483647",
        "len=0",
        "len=4294967295",
        "len=1",
        "msg=WAITALL",
        "msg=0x7fffffff",
        "zc=FIXED_BUF|REPORT_USAGE",
        "zc=0xffff",
        "index=1023",
        "LINK",
        "HARDLINK",
        "DRAIN",
        "ASYNC",
        "SKIP_SUCCESS",
        "BUFFER_SELECT",
        "tcp",
        "udp",
        "unix",
        "not-a-socket",
        "lane=gate-full",
        "lane=loopback",
        "unconnected",
        "# x",
        "é",
        "\r",
    ];
    let heads = [
        "cqe 7 4096 MORE",
        "cqe 7 0 NOTIF",
        "cqe 8 -ECANCELED",
        "submit #7 send_zc fd=5 len=4096",
        "submit #8 cancel #7",
        "socket fd=5 tcp",
    ];
    let mut choices = Seeded::new(7);
    let (mut judged, mut refused) = (0, 0);
    for round in 0..3000 {
        let mut text = String::new();
        for _ in 0..1 + choices.pick(6) {
            let mut words: Vec<&str> = heads[choices.pick(heads.len())].split(' ').collect();
            for _ in 0..choices.pick(2) {
                let place = choices.pick(words.len() + 1);
                let word = WORDS[choices.pick(WORDS.len())];
                if place == words.len() { words.push(word) } else { words[place] = word }
            }
            text += &format!("{}\n", words.join(" "));
        }
        let outcome = catch_unwind(|| match typed::parse("x.log", &text) {
            Ok(typed) => Some(page("x.log", &explain(Subject::Open(typed), &Profile::v6_18(), true))),
            Err(error) => {
                assert!(error.page(false).contains("x.log:"), "no place");
                None
            }
        });
        match outcome {
            Ok(Some(_)) => judged += 1,
            Ok(None) => refused += 1,
            Err(_) => panic!("round {round} panics:\n{text}"),
        }
    }
    assert!(judged > 200 && refused > 200, "{judged} judged, {refused} refused");
}

fn uringspec(args: &[&str], input: &str) -> Output {
    use std::io::Write;
    let mut child = Command::new(env!("CARGO_BIN_EXE_uringspec"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command was built");
    // One that refuses its arguments may not read.
    let _ = child.stdin.take().expect("it is piped").write_all(input.as_bytes());
    child.wait_with_output().expect("it ends by itself")
}

#[test]
fn the_command_says_by_its_code_how_a_log_is_judged() {
    let code = |input: &str| uringspec(&["explain", "-"], input).status.code();
    assert_eq!(code("cqe 7 4096 MORE\n"), Some(0));
    assert_eq!(code("\n\n  cqe 7 0 NOTIF\n"), Some(1));
    assert_eq!(code("submit #7 cancel #1 DRAIN\ncqe 7 -ENOENT\n"), Some(3));
    assert_eq!(code("cqe 7\n"), Some(64));
    assert_eq!(code(""), Some(64));
    assert_eq!(code("{\"v\":1,\"end\":\"complete\"}\n"), Some(64));
    assert_eq!(code("{\"v\":2}\n"), Some(64));
    assert_eq!(code("\u{0}\u{ff}"), Some(64));
    assert_eq!(uringspec(&["explain", "/no/such/file"], "").status.code(), Some(64));
    assert_eq!(uringspec(&["explain", "-", "--profile", "7.9"], "cqe 7 0\n").status.code(), Some(64));
    assert_eq!(uringspec(&["explain"], "").status.code(), Some(64));
    let stuck = "{\"v\":1,\"program\":{\"rings\":[{\"entries\":8}],\"steps\":[{\"submit\":{\"ring\":0,\"sqes\":[{\"user_data\":1}]}},{\"reap\":{\"ring\":0,\"until\":\"settled\"}}]}}\n\
        {\"v\":1,\"seen\":{\"step\":0,\"what\":{\"returned\":1}}}\n{\"v\":1,\"seen\":{\"step\":1,\"what\":\"gave_up\"}}\n{\"v\":1,\"end\":\"complete\"}\n";
    assert_eq!(code(stuck), Some(2));
}

#[test]
fn every_object_is_one_line_and_says_what_it_is() {
    let output =
        uringspec(&["explain", "-", "--format", "json"], "cqe 7 4096 MORE\ncqe 8 0\ncqe 8 0 NOTIF\n");
    let text = String::from_utf8(output.stdout).expect("text is written as UTF-8");
    let rows: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect();
    let of = |key: &str| rows.iter().filter(|row| row.get(key).is_some()).count();
    let last = rows.last().expect("there is a last line");
    assert_eq!(last["open"], of("may_come"));
    assert_eq!(of("rules") - 1, 1, "the second line is refused: {text}");
    assert_eq!((&last["verdict"], &last["line"]), (&"rejected".into(), &2.into()));
    assert_eq!(last["lent_bytes"], 4096);
}
