//! Whatever the bytes are: an error with a place and with what would be accepted, never a panic.

mod refusal;

use std::panic::catch_unwind;

use expect_test::expect;
use refusal::{HEAD, check, read, shown};
use uringspec::case::{self, print};
use uringspec::catalog::{self, Found};
use uringspec_model::choices::{Choices, Seeded};

#[test]
fn a_keyword_position_lists_the_keywords() {
    check(
        "submitt\n  #1 nop",
        &expect![[r#"
             x `submitt` is no keyword
              ,-[bad.case:4:1]
            3 | buffer K 4096
            4 | submitt
              : ^^^|^^^
              :    `-- not accepted here
            5 |   #1 nop
              `----
             help: expected one of: rules, deviation, thread, needs, via, rings, limits, ring, socket,
                   buffer, submit, queue, enter, sleep, look, expect, peek, received, drain, ack, window,
                   miss, resent, fence, settle, rewrite, reset, close, shutdown, cork, uncork, register,
                   update, unregister, setup, elsewhere, lent, seen, unseen
        "#]],
    );
}

#[test]
fn an_opcode_position_lists_the_opcodes() {
    check(
        "submit\n  #1 sendzc A K 0..10",
        &expect![[r#"
             x `sendzc` is no opcode
              ,-[bad.case:5:6]
            4 | submit
            5 |   #1 sendzc A K 0..10
              :      ^^^|^^
              :         `-- not accepted here
              `----
             help: expected one of: nop, send, sendmsg, send_zc, sendmsg_zc, write, writev, write_fixed,
                   writev_fixed, readv, cancel
        "#]],
    );
}

#[test]
fn an_option_position_lists_the_options() {
    check(
        "submit\n  #1 send A K 0..10 LINKED",
        &expect![[r#"
             x `LINKED` has no place in an entry
              ,-[bad.case:5:21]
            4 | submit
            5 |   #1 send A K 0..10 LINKED
              :                     ^^^|^^
              :                        `-- not accepted here
              `----
             help: expected one of: msg=, zc=, index=, LINK, HARDLINK, DRAIN, ASYNC, SKIP_SUCCESS,
                   BUFFER_SELECT, raw.opcode=, raw.flags=, raw.ioprio=, raw.fd=, raw.off=, raw.addr=,
                   raw.len=, raw.op_flags=, raw.user_data=, raw.buf_index=, raw.personality=,
                   raw.file_index=, raw.addr3=, raw.pad2=, msg.name=, msg.namelen=, msg.iovlen=,
                   msg.control=, msg.controllen=
        "#]],
    );
}

#[test]
fn flags_are_listed() {
    check(
        "submit\n  #1 send A K 0..10 msg=WAIT",
        &expect![[r#"
              x `WAIT` is no message flag
               ,-[bad.case:5:25]
             4 | submit
             5 |   #1 send A K 0..10 msg=WAIT
               :                         ^^|^
               :                           `-- not accepted here
               `----
              help: expected one of: OOB, DONTROUTE, DONTWAIT, EOR, WAITALL, CONFIRM, NOSIGNAL, MORE,
                    ZEROCOPY, FASTOPEN, bits such as 0x40
        "#]],
    );
}

#[test]
fn numbers_beyond_64_bits_are_refused() {
    check(
        "submit\n  #1 send A K 0..18446744073709551616",
        &expect![[r#"
              x 18446744073709551616 is too much for the byte behind the last
               ,-[bad.case:5:18]
             4 | submit
             5 |   #1 send A K 0..18446744073709551616
               :                  ^^^^^^^^^^|^^^^^^^^^
               :                            `-- not accepted here
               `----
              help: expected a number up to 18446744073709551615
        "#]],
    );
}

#[test]
fn a_length_beyond_32_bits_is_refused() {
    check(
        "submit\n  #1 send A K 0..4294967296",
        &expect![[r#"
              x 4294967296 bytes are too many for a length field
               ,-[bad.case:5:13]
             4 | submit
             5 |   #1 send A K 0..4294967296
               :             ^^^^^^^|^^^^^^^
               :                    `-- not accepted here
               `----
              help: expected at most 4294967295 bytes
        "#]],
    );
}

#[test]
fn a_buffer_is_bounded() {
    check(
        "buffer L 1152921504606846976",
        &expect![[r#"
              x a buffer of 1152921504606846976 bytes is not possible
               ,-[bad.case:4:1]
             3 | buffer K 4096
             4 | buffer L 1152921504606846976
               : ^^^^^^^^^^^^^^|^^^^^^^^^^^^^
               :               `-- not accepted here
               `----
              help: expected 1 to 67108864 bytes (64 MiB)
        "#]],
    );
}

#[test]
fn an_unknown_buffer_is_refused_where_it_stands() {
    check(
        "submit\n  #1 sendmsg A [K 0..10, KK 0..10]",
        &expect![[r#"
              x there is no buffer `KK`
               ,-[bad.case:5:26]
             4 | submit
             5 |   #1 sendmsg A [K 0..10, KK 0..10]
               :                          ^|
               :                           `-- not accepted here
               `----
              help: expected K
        "#]],
    );
}

#[test]
fn an_unknown_rule_lists_those_that_look_alike() {
    check(
        "rules zc.notif-after-results",
        &expect![[r#"
              x there is no rule `zc.notif-after-results`
               ,-[bad.case:4:7]
             3 | buffer K 4096
             4 | rules zc.notif-after-results
               :       ^^^^^^^^^^^|^^^^^^^^^^
               :                  `-- not accepted here
               `----
              help: expected zc.notif-after-result
        "#]],
    );
}

#[test]
fn user_data_is_taken_once() {
    check(
        "submit\n  #1 nop\n  #1 nop",
        &expect![[r#"
              x #1 is taken by line 5
               ,-[bad.case:6:3]
             5 |   #1 nop
             6 |   #1 nop
               :   ^^^|^^
               :      `-- not accepted here
               `----
              help: expected other user data
        "#]],
    );
}

#[test]
fn an_errno_lists_those_that_look_alike() {
    check(
        "submit\n  #1 nop\nexpect\n  #1 -EINVALID",
        &expect![[r#"
              x `-EINVALID` is no errno
               ,-[bad.case:7:6]
             6 | expect
             7 |   #1 -EINVALID
               :      ^^^^|^^^^
               :          `-- not accepted here
               `----
              help: expected -EINVAL
        "#]],
    );
}

#[test]
fn a_notification_carries_no_count() {
    check(
        "submit\n  #1 nop\nexpect\n  #1 10 NOTIF",
        &expect![[r#"
              x a notification carries no count and no errno
               ,-[bad.case:7:6]
             6 | expect
             7 |   #1 10 NOTIF
               :      ^|
               :       `-- not accepted here
               `----
              help: expected one of: 0 NOTIF, COPIED NOTIF, * NOTIF
        "#]],
    );
}

#[test]
fn an_alternative_needs_a_request() {
    check(
        "expect\n  or 0",
        &expect![[r#"
              x there is nothing to which this is an alternative
               ,-[bad.case:5:3]
             4 | expect
             5 |   or 0
               :   ^^|^
               :     `-- not accepted here
               `----
              help: expected one of: a request such as `#1 4100 MORE then 0 NOTIF`, or outcome
        "#]],
    );
}

#[test]
fn lent_memory_is_rewritten_only_with_a_reason() {
    check(
        "submit\n  #1 send_zc A K 0..10\nlent K until #1 last\nrewrite K",
        &expect![[r#"
              x K is lent to #1 here
               ,-[bad.case:7:1]
             6 | lent K until #1 last
             7 | rewrite K
               : ^^^^|^^^^
               :     `-- not accepted here
               `----
              help: expected a comment on this line that says why it is rewritten all the same
        "#]],
    );
}

#[test]
fn a_comment_comes_first() {
    let error = read("ring entries=8\n").expect_err("this must be refused");
    expect![[r#"
          x a case begins with a comment that says what a reader learns
           ,-[bad.case:1:1]
         1 | ring entries=8
           : ^^^^^^^|^^^^^^
           :        `-- not accepted here
           `----
          help: expected a line such as `# A send never reports more bytes than it was given.`
    "#]]
    .assert_eq(&shown(&error));
}

/// Lines that must be refused; what they say is in the snapshots above, or the like of it.
#[test]
fn all_of_these_are_refused() {
    for lines in [
        "ring entries=0",
        "ring entries=99999999999",
        "ring entries=8 cq=0",
        "ring entries=8\nring entries=8",
        "rings plain\nring entries=8 flags=DEFER_TASKRUN|SINGLE_ISSUER",
        "rings",
        "rings both",
        "socket C D tcp lane=fast",
        "socket C D unix lane=gate",
        "socket C tcp",
        "socket C D not-a-socket",
        "socket A C tcp",
        "socket C C tcp",
        "buffer K 10",
        "buffer headers 10",
        "buffer NULL 10",
        "buffer L 0",
        "buffer L 10 at=4096",
        "buffer L 10 register=64",
        "buffer L 10 register=0\nbuffer M 10 register=0",
        "buffer L 100\nbuffer M 100 after=L",
        "buffer L 4096 after=X",
        "submit\n  #1",
        "submit\n  #-1 nop",
        "submit\n  #x nop",
        "submit\n  #18446744073709551616 nop",
        "submit\n  #1 nop raw.ioprio=0x10000",
        "submit\n  #1 nop raw.what=1",
        "submit\n  #1 send A K",
        "submit\n  #1 send A K 5..4",
        "submit\n  #1 send A K 0...4",
        "submit\n  #1 send A [K 0..4",
        "submit\n  #1 sendmsg A K 0..4",
        "submit\n  #1 send B2 K 0..4",
        "submit\n  #1 send",
        "submit\n  #1 nop\n  returns x",
        "submit\n  #1 nop\n  returns -EWHAT",
        "submit R\n  #1 nop",
        "submit\n  #1 nop\n  #2 nop\n  #3 nop\n  #4 nop\n  #5 nop\n  #6 nop\n  #7 nop\n  #8 nop\n  #9 nop",
        "expect\n  #1 0",
        "submit\n  #1 nop\nexpect\n  #1 0\n  #1 0",
        "submit\n  #1 nop\nexpect\n  #1 4294967296",
        "submit\n  #1 nop\nexpect\n  #1 0 MORE NOTIF",
        "submit\n  #1 nop\nexpect\n  #1 0 then",
        "submit\n  #1 nop\nexpect\n  or outcome\n    #1 0",
        "submit\n  #1 nop\nexpect\n  #1 0\n  outcome\n    #1 0",
        "submit\n  #1 nop\nexpect\n  order #1",
        "received B  K 0..5000",
        "received B  K@1 0..10",
        "received B  K 0..#9",
        "received A  nothing",
        "received B  nothing if",
        "drain B some",
        "reset A",
        "close B",
        "rewrite L",
        "register 0",
        "register 0=K 0..5000",
        "unregister returns",
        "lent K until #9 last",
        "#1 nop",
        "fence # one blank is too few before a comment",
        "submit\n  #1 nop\nsocket C D tcp",
        "needs SEND_ZCC",
        "deviation link.orphan",
        "thread",
        ", ]",
    ] {
        let error = read(&format!("{HEAD}{lines}\n")).expect_err(lines);
        let page = error.page(false);
        assert!(page.contains("bad.case:"), "no place for {lines}:\n{page}");
        let says = !error.expected.is_empty()
            || error.message.contains("at most")
            || error.message.contains("taken");
        assert!(says, "no help for {lines}:\n{page}");
        assert!(
            !error.message.starts_with(|c: char| c.is_uppercase() && !c.is_ascii_uppercase()),
            "{}",
            error.message
        );
    }
}

#[test]
fn changed_cases_never_panic_and_print_as_they_read() {
    let cases = catalog::all().expect("the cases stand beside this test");
    let mut choices = Seeded::new(7);
    let (mut read_well, mut refused) = (0, 0);
    for round in 0..4000 {
        let text = changed(&cases, &mut choices);
        let outcome = catch_unwind(|| {
            let case = case::parse("changed.case", &text).map_err(|error| error.page(false))?;
            let printed = print::print(&case);
            let again = case::parse("printed.case", &printed)
                .unwrap_or_else(|error| panic!("what was printed is refused: {}", error.page(false)));
            assert_eq!(again, case, "round {round}:\n{text}\nis printed as\n{printed}");
            case::lower("changed.case", &text, &case).map(|_| ()).map_err(|error| error.page(false))
        });
        match outcome {
            Ok(Ok(())) => read_well += 1,
            Ok(Err(_)) => refused += 1,
            Err(_) => panic!("round {round} panics:\n{text}"),
        }
    }
    assert!(read_well > 200 && refused > 200, "{read_well} read well, {refused} were refused");
}

/// A case with some of its words, lines or bytes changed, left out, or taken from another case.
fn changed(cases: &[Found], choices: &mut Seeded) -> String {
    const WORDS: &[&str] = &[
        "#1",
        "#18446744073709551615",
        "0..0",
        "18446744073709551615",
        "0x",
        "-1",
        "-*",
        "NULL",
        "kernel",
        "[",
        "]",
        ",",
        "[]",
        "outcome",
        "or",
        "then",
        "MORE",
        "NOTIF",
        "*",
        "nothing",
        "K@65536",
        "#",
        "# x",
        "  # x",
        "=",
        "..",
        "\u{e9}",
        "\r",
        "\t",
        "raw.len=0xffffffff",
        "index=65535",
        "returns",
        "-E4095",
        "returns -E4096",
        "LINK",
        "K 0..#1",
        "as",
        "expect 2",
        "seen 6.18.44 loopback+gate 2026-11-22 case=01234567",
        "unseen",
        "source a.c f 6.18",
        "why",
    ];
    let mut lines: Vec<String> = cases[choices.pick(cases.len())].text.lines().map(str::to_string).collect();
    for _ in 0..1 + choices.pick(3) {
        let at = choices.pick(lines.len());
        match choices.pick(6) {
            0 => _ = lines.remove(at),
            1 => lines.insert(at, pick_line(cases, choices)),
            2 => lines[at] = pick_line(cases, choices),
            3 => {
                let mut words: Vec<&str> = lines[at].split(' ').collect();
                let place = choices.pick(words.len());
                words[place] = WORDS[choices.pick(WORDS.len())];
                lines[at] = words.join(" ");
            }
            4 => lines[at] = format!("{} {}", lines[at], WORDS[choices.pick(WORDS.len())]),
            _ => {
                let mut bytes = lines[at].clone().into_bytes();
                if !bytes.is_empty() {
                    let place = choices.pick(bytes.len());
                    bytes[place] = 0x20 + choices.pick(0x5f) as u8;
                }
                lines[at] = String::from_utf8_lossy(&bytes).into_owned();
            }
        }
        if lines.is_empty() {
            break;
        }
    }
    lines.join("\n") + "\n"
}

fn pick_line(cases: &[Found], choices: &mut Seeded) -> String {
    let lines: Vec<&str> = cases[choices.pick(cases.len())].text.lines().collect();
    lines[choices.pick(lines.len())].to_string()
}

#[test]
fn bytes_that_are_no_text_are_refused_with_their_line() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("x.case");
    std::fs::write(&path, b"# fine\n\xff\xfe\n").expect("the file can be written");
    let error = catalog::named(&path).expect_err("this is no text");
    assert_eq!(error.to_string(), "line 2 is not UTF-8 text");
}
