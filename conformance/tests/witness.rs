//! What is written in a case about where its alternatives were seen.

use expect_test::{Expect, expect};
use uringspec::case::print::print;
use uringspec::case::print_witness::alternative_words;
use uringspec::case::witness::{alternatives, digest};
use uringspec::case::{self, Case, CaseError};

/// A case with every sort of choice.
const CASE: &str = "# Choices.

socket     A B tcp
socket     C D udp
buffer     K 4096

submit
  #1 send A K 0..100
  #2 send C K 0..100

expect
  #1  -EAGAIN
   or 1..100
  #2  100

submit
  #3 send A K 0..100

expect
  outcome
    #1  0 MORE then * NOTIF
    #2  1
     or 2
    order #1 #2
  or outcome
    #1  -*
    never #2 NOTIF
received   B  nothing  if #1 -EAGAIN
        or K 0..#1
received   D  K 0..100
received   D  K 0..100 | empty
        or nothing
";

fn parsed(text: &str) -> Case {
    case::parse("x.case", text).unwrap_or_else(|error| panic!("{}", error.page(false)))
}

fn with(lines: &str) -> String {
    format!("{CASE}\n{}", lines.replace("DIGEST", &format!("{:08x}", digest(&parsed(CASE)))))
}

fn words(text: &str) -> String {
    alternatives(&parsed(text)).iter().map(|(one, _)| alternative_words(one) + "\n").collect()
}

fn judged(text: &str) -> Result<(), CaseError> {
    case::check_witnesses("x.case", text, &parsed(text))
}

#[test]
fn every_choice_is_an_alternative() {
    expect![[r#"
        #1 -EAGAIN
        #1 1..100
        outcome #1 0 MORE then * NOTIF, #2 1, order #1 #2
        outcome #1 0 MORE then * NOTIF, #2 2, order #1 #2
        outcome #1 -*, never #2 NOTIF
        received B  nothing  if #1 -EAGAIN
        received B  K 0..#1
        received D  K 0..100 | empty
        received D  nothing
    "#]]
    .assert_eq(&words(CASE));
    assert_eq!(words("# One.\nsubmit\n  #1 nop\nexpect\n  #1 0\n"), "as listed\n");
}

#[test]
fn the_same_words_in_two_blocks_are_told_apart() {
    let twice =
        "# Twice.\nsocket A B tcp\nsubmit\n  #1 nop\nexpect\n  #1 0\n or nothing\nexpect\n  #1 0\n or nothing
received B nothing\n or nothing  if #1 0\nreceived B nothing\n or nothing  if #1 0\n";
    expect![[r#"
        expect 1 #1 0
        expect 1 #1 nothing
        expect 2 #1 0
        expect 2 #1 nothing
        received 1 B  nothing
        received 1 B  nothing  if #1 0
        received 2 B  nothing
        received 2 B  nothing  if #1 0
    "#]]
    .assert_eq(&words(twice));
}

const WITNESSES: &str = "# Above.
seen       6.18.44-fc-v657 loopback+gate 2026-11-22 case=DIGEST  # behind
  #1 -EAGAIN
  #1 1..100 as 7..100  # the kernel took some
  outcome #1 0 MORE then * NOTIF, #2 1, order #1 #2 as 0 MORE then COPIED NOTIF, 1
  # between
  outcome #1 -*, never #2 NOTIF
  received B  nothing  if #1 -EAGAIN
  received D  K 0..100 | empty
seen       7.1.0-rc3+ none 2027-01-02 case=DIGEST
  received B  K 0..#1
unseen     outcome #1 0 MORE then * NOTIF, #2 2, order #1 #2
  source   net/ipv4/tcp.c tcp_sendmsg_locked 6.18
  why      one reason
  why      and another #1
unseen     received D  nothing  # who knows
  source   include/net/sock.h sock_wspace 6.18
  why      it does not
# The end.
";

#[test]
fn what_is_printed_is_what_was_read() {
    let text = with(WITNESSES);
    assert_eq!(print(&parsed(&text)), text);
    judged(&text).unwrap_or_else(|error| panic!("{}", error.page(false)));
    let small =
        "# One.\n\nsubmit\n  #1 nop\n\nexpect\n  #1  0\n\nunseen\n  source   fs/x.c f 6.18\n  why      no\n";
    assert_eq!(print(&parsed(small)).replace("\n\n\n", "\n\n"), small);
    judged(small).unwrap_or_else(|error| panic!("{}", error.page(false)));
}

#[test]
fn comments_leave_the_digest_as_it_is_and_everything_else_changes_it() {
    let of = |from: &str, to: &str| {
        assert!(CASE.contains(from), "{from}");
        digest(&parsed(&CASE.replacen(from, to, 1)))
    };
    let before = digest(&parsed(CASE));
    assert_eq!(of("# Choices.", "# Others.\nrules life.one-result\nneeds SEND_ZC"), before);
    assert_eq!(of("  #1  -EAGAIN", "  # here\n  #1 -EAGAIN  # and there"), before);
    assert_eq!(digest(&parsed(&with(WITNESSES))), before);
    for (from, to) in [
        ("tcp", "tcp lane=gate"),
        ("4096", "4095"),
        ("K 0..100", "K 0..99"),
        ("-EAGAIN", "-EINTR"),
        ("order #1 #2", "order #2 #1"),
        ("socket     A", "ring       entries=4\nsocket     A"),
        ("socket     A", "rings      plain\nsocket     A"),
        ("received   D  K 0..100\n", ""),
    ] {
        assert_ne!(of(from, to), before, "{from} as {to}");
    }
}

/// The page of a refusal without the blank before every line.
#[track_caller]
fn refused(text: &str, expected: &Expect) {
    let error = case::parse("x.case", text)
        .and_then(|case| case::check_witnesses("x.case", text, &case))
        .expect_err("this must be refused");
    let page = error.page(false);
    let page: String = page.lines().map(|l| format!("{}\n", l.strip_prefix(' ').unwrap_or(l))).collect();
    expected.assert_eq(&page);
}

#[test]
fn a_witness_of_what_is_gone_says_so() {
    let text = with("seen 6.18.44 loopback 2026-11-22 case=DIGEST\n  #1 -EAGAIN\n");
    refused(
        &text.replacen("-EAGAIN", "-EINTR", 1),
        &expect![[r#"
         x the case does not list `#1 -EAGAIN` any more
           ,-[x.case:35:3]
        34 | seen 6.18.44 loopback 2026-11-22 case=71687334
        35 |   #1 -EAGAIN
           :   ^^^^^|^^^^
           :        `-- not accepted here
           `----
         help: expected one of: #1 -EINTR, #1 1..100, outcome #1 0 MORE then * NOTIF, #2 1, order #1 #2,
               outcome #1 0 MORE then * NOTIF, #2 2, order #1 #2, outcome #1 -*, never #2 NOTIF, received
               B  nothing  if #1 -EAGAIN, received B  K 0..#1, received D  K 0..100 | empty, received D
               nothing, what `uringspec run --write` puts here
    "#]],
    );
}

#[test]
fn a_witness_of_another_case_says_so() {
    let text = with("seen 6.18.44 loopback 2026-11-22 case=DIGEST\n  #1 -EAGAIN\n");
    refused(
        &text.replacen("#3 send A K 0..100", "#3 send A K 0..99", 1),
        &expect![[r#"
         x the case has changed since it was run on 2026-11-22
           ,-[x.case:34:1]
        33 | 
        34 | seen 6.18.44 loopback 2026-11-22 case=71687334
           : ^^^^^^^^^^^^^^^^^^^^^^^|^^^^^^^^^^^^^^^^^^^^^^
           :                        `-- not accepted here
        35 |   #1 -EAGAIN
           `----
         help: expected one of: what `uringspec run --write` puts here, no such line
    "#]],
    );
}

#[test]
fn a_reason_for_what_is_gone_says_so() {
    refused(
        &with("unseen #1 -EPIPE\n  source net/core/sock.c f 6.18\n  why so\n"),
        &expect![[r#"
         x the case does not list `#1 -EPIPE` any more
           ,-[x.case:34:1]
        33 | 
        34 | unseen #1 -EPIPE
           : ^^^^^^^^|^^^^^^^
           :         `-- not accepted here
        35 |   source net/core/sock.c f 6.18
           `----
         help: expected one of: #1 -EAGAIN, #1 1..100, outcome #1 0 MORE then * NOTIF, #2 1, order #1 #2,
               outcome #1 0 MORE then * NOTIF, #2 2, order #1 #2, outcome #1 -*, never #2 NOTIF, received
               B  nothing  if #1 -EAGAIN, received B  K 0..#1, received D  K 0..100 | empty, received D
               nothing, what `uringspec run --write` puts here
    "#]],
    );
}

#[test]
fn all_of_these_are_refused() {
    let (seen, of) = ("seen 6.18.44 loopback 2026-11-22 case=DIGEST", "case=DIGEST");
    let (source, why) = ("  source net/core/sock.c sock_wfree 6.18\n", "  why so\n");
    for lines in [
        "seen",
        "seen 6",
        "seen six loopback 2026-11-22 case=DIGEST",
        "seen 6.18.44",
        "seen 6.18.44 tcp 2026-11-22 case=DIGEST",
        "seen 6.18.44 loopback+loopback 2026-11-22 case=DIGEST",
        "seen 6.18.44 loopback 20261122 case=DIGEST",
        "seen 6.18.44 loopback 2026-02-30 case=DIGEST",
        "seen 6.18.44 loopback 2026-11-22",
        "seen 6.18.44 loopback 2026-11-22 case=12",
        "seen 6.18.44 loopback 2026-11-22 case=0123ABCD",
        &format!("seen 6.18.44 loopback 2026-11-22 {of} more"),
        // A case with choices says which of them.
        seen,
        &format!("{seen}\n  #1 -EAGAIN as"),
        &format!("{seen}\n  #1 -EAGAIN as -EPIPE"),
        &format!("{seen}\n  #1 1..100 as 0..7"),
        &format!("{seen}\n  #1 1..100 as 1..7 MORE"),
        &format!("{seen}\n  #1 1..100 as 1, 2"),
        &format!("{seen}\n  #1 1..100,"),
        &format!("{seen}\n  outcome"),
        &format!("{seen}\n  outcome #1 0 MORE then * NOTIF, #2 1"),
        &format!("{seen}\n  expect 7 #1 -EAGAIN"),
        &format!("{seen}\n  received C  nothing"),
        &format!("{seen}\n  #1 -EAGAIN\n{seen}\n  #1 -EAGAIN"),
        &format!("{seen}\n  #1 -EAGAIN\nfence"),
        &format!("{seen}\n  #1 -EAGAIN\nbuffer L 10"),
        &format!("{seen}\n  #1 -EAGAIN\nunseen #1 -EAGAIN\n{source}{why}"),
        &format!("unseen #1 -EAGAIN\n{source}{why}unseen #1 -EAGAIN\n{source}{why}"),
        &format!("unseen\n{source}{why}"),
        &format!("unseen nobody\n{source}{why}"),
        &format!("unseen #1 -EAGAIN\n{why}"),
        &format!("unseen #1 -EAGAIN\n{source}"),
        &format!("unseen #1 -EAGAIN\n{source}  why\n"),
        &format!("unseen #1 -EAGAIN\n{source}{why}  #1 -EAGAIN\n"),
        &format!("unseen #1 -EAGAIN\n  source sock_wfree 6.18\n{why}"),
        &format!("unseen #1 -EAGAIN\n  source a.c sock-wfree 6.18\n{why}"),
        &format!("unseen #1 -EAGAIN\n  source a.c sock_wfree new\n{why}"),
    ] {
        let text = with(&format!("{lines}\n"));
        let error = case::parse("x.case", &text)
            .and_then(|case| case::check_witnesses("x.case", &text, &case))
            .expect_err(lines);
        assert!(error.page(false).contains("x.case:"), "no place for {lines}:\n{}", error.page(false));
        assert!(!error.expected.is_empty(), "no help for {lines}:\n{}", error.page(false));
    }
}
