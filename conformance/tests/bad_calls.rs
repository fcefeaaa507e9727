//! Lines of calls by hand that are refused, each with what would be accepted in its place.

mod refusal;

use expect_test::expect;
use refusal::check;

#[test]
fn a_queue_has_entries_and_an_array_of_them() {
    check(
        "queue Q",
        &expect![[r#"
         x there is no ring `Q`
          ,-[bad.case:4:7]
        3 | buffer K 4096
        4 | queue Q
          :       |
          :       `-- not accepted here
          `----
         help: expected a ring with a name
    "#]],
    );
    check(
        "queue submit=1",
        &expect![[r#"
         x nothing more is expected here
          ,-[bad.case:4:7]
        3 | buffer K 4096
        4 | queue submit=1
          :       ^^^^|^^^
          :           `-- not accepted here
          `----
         help: expected the end of the line
    "#]],
    );
    check(
        "queue\n  array",
        &expect![[r#"
         x the end of the line is no an index, counted from the first entry above
          ,-[bad.case:5:8]
        4 | queue
        5 |   array
          :        ^
          :        `-- not accepted here
          `----
         help: expected an index, counted from the first entry above: a number up to 4294967295, in
               digits or as 0x and hexadecimal digits
    "#]],
    );
    check(
        "queue\n  #1 nop\n  array zero",
        &expect![[r#"
         x `zero` is no an index, counted from the first entry above
          ,-[bad.case:6:9]
        5 |   #1 nop
        6 |   array zero
          :         ^^|^
          :           `-- not accepted here
          `----
         help: expected an index, counted from the first entry above: a number up to 4294967295, in
               digits or as 0x and hexadecimal digits
    "#]],
    );
    check(
        "queue\n  #1 nop\n  array 0 3",
        &expect![[r#"
         x an index is of no entry above
          ,-[bad.case:4:1]
        3 | buffer K 4096
        4 | queue
          : ^^|^^
          :   `-- not accepted here
        5 |   #1 nop
          `----
         help: expected 0 to 0, or 8 on
    "#]],
    );
    check(
        "queue\n  #1 nop\n  #2 nop\n  array 1",
        &expect![[r#"
         x the array leaves entries out, or is too long
          ,-[bad.case:4:1]
        3 | buffer K 4096
        4 | queue
          : ^^|^^
          :   `-- not accepted here
        5 |   #1 nop
          `----
         help: expected 2 to 8 indices
    "#]],
    );
    check(
        "queue\n  #1 nop\n  returns 1",
        &expect![[r#"
             x `returns` is no keyword
              ,-[bad.case:6:3]
            5 |   #1 nop
            6 |   returns 1
              :   ^^^|^^^
              :      `-- not accepted here
              `----
             help: expected one of: rules, deviation, thread, needs, via, rings, limits, ring, socket,
                   buffer, submit, queue, enter, sleep, look, expect, peek, received, drain, ack, window,
                   miss, resent, fence, settle, rewrite, reset, close, shutdown, cork, uncork, register,
                   update, unregister, setup, elsewhere, lent, seen, unseen
        "#]],
    );
}

#[test]
fn an_enter_says_what_the_call_is_given() {
    check(
        "enter Q",
        &expect![[r#"
         x there is no ring `Q`
          ,-[bad.case:4:7]
        3 | buffer K 4096
        4 | enter Q
          :       |
          :       `-- not accepted here
          `----
         help: expected a ring with a name
    "#]],
    );
    check(
        "enter entries=1",
        &expect![[r#"
         x `entries=1` has no place in a line of enter
          ,-[bad.case:4:7]
        3 | buffer K 4096
        4 | enter entries=1
          :       ^^^^|^^^^
          :           `-- not accepted here
          `----
         help: expected one of: submit=, wait=, flags=, argument=, on=, returns
    "#]],
    );
    check(
        "enter submit=4294967296",
        &expect![[r#"
         x 4294967296 is too much for a number of entries
          ,-[bad.case:4:14]
        3 | buffer K 4096
        4 | enter submit=4294967296
          :              ^^^^^|^^^^
          :                   `-- not accepted here
          `----
         help: expected a number up to 4294967295
    "#]],
    );
    check(
        "enter flags=GETEVENT",
        &expect![[r#"
         x `GETEVENT` is no flag of enter
          ,-[bad.case:4:13]
        3 | buffer K 4096
        4 | enter flags=GETEVENT
          :             ^^^^|^^^
          :                 `-- not accepted here
          `----
         help: expected one of: GETEVENTS, SQ_WAKEUP, SQ_WAIT, EXT_ARG, REGISTERED_RING, ABS_TIMER,
               EXT_ARG_REG, NO_IOWAIT, bits such as 0x40
    "#]],
    );
    check(
        "enter argument=long",
        &expect![[r#"
         x `long` is no argument of a wait
          ,-[bad.case:4:16]
        3 | buffer K 4096
        4 | enter argument=long
          :                ^^|^
          :                  `-- not accepted here
          `----
         help: expected one of: none, no-time, bad-time, unreadable, short
    "#]],
    );
    check(
        "enter on=file",
        &expect![[r#"
         x `file` is no descriptor
          ,-[bad.case:4:10]
        3 | buffer K 4096
        4 | enter on=file
          :          ^^|^
          :            `-- not accepted here
          `----
         help: expected one of: ring, closed, no-ring
    "#]],
    );
    check(
        "enter submit=1 returns",
        &expect![[r#"
         x the end of the line is no a count or an errno such as -EINVAL
          ,-[bad.case:4:23]
        3 | buffer K 4096
        4 | enter submit=1 returns
          :                       ^
          :                       `-- not accepted here
          `----
         help: expected a count or an errno such as -EINVAL: a number up to 4294967295, in digits or as
               0x and hexadecimal digits
    "#]],
    );
}

#[test]
fn only_a_thread_of_the_kernel_sleeps() {
    check(
        "sleep",
        &expect![[r#"
         x this ring has no thread that could sleep
          ,-[bad.case:4:1]
        3 | buffer K 4096
        4 | sleep
          : ^^|^^
          :   `-- not accepted here
          `----
         help: expected a ring with flags=SQPOLL
    "#]],
    );
    check(
        "sleep Q",
        &expect![[r#"
         x there is no ring `Q`
          ,-[bad.case:4:7]
        3 | buffer K 4096
        4 | sleep Q
          :       |
          :       `-- not accepted here
          `----
         help: expected a ring with a name
    "#]],
    );
}

#[test]
fn restrictions_are_of_four_kinds() {
    check(
        "register restrict",
        &expect![[r#"
         x the end of the line has no place in a line of restrictions
          ,-[bad.case:4:18]
        3 | buffer K 4096
        4 | register restrict
          :                  ^
          :                  `-- not accepted here
          `----
         help: expected one of: op=, flags=, must=, call=
    "#]],
    );
    check(
        "register restrict op=connect",
        &expect![[r#"
         x `connect` is no opcode
          ,-[bad.case:4:22]
        3 | buffer K 4096
        4 | register restrict op=connect
          :                      ^^^|^^^
          :                         `-- not accepted here
          `----
         help: expected one of: nop, send, sendmsg, send_zc, sendmsg_zc, write, writev, write_fixed,
               writev_fixed, readv, cancel
    "#]],
    );
    check(
        "register restrict flags=WAITALL",
        &expect![[r#"
         x `WAITALL` is no flag of an entry
          ,-[bad.case:4:25]
        3 | buffer K 4096
        4 | register restrict flags=WAITALL
          :                         ^^^|^^^
          :                            `-- not accepted here
          `----
         help: expected one of: FIXED_FILE, DRAIN, LINK, HARDLINK, ASYNC, BUFFER_SELECT,
               CQE_SKIP_SUCCESS, bits such as 0x40
    "#]],
    );
    check(
        "register restrict must=0x100",
        &expect![[r#"
         x an entry has no such flags
          ,-[bad.case:4:24]
        3 | buffer K 4096
        4 | register restrict must=0x100
          :                        ^^|^^
          :                          `-- not accepted here
          `----
         help: expected bits up to 0x80
    "#]],
    );
    check(
        "register restrict call=256",
        &expect![[r#"
         x 256 is too much for a number of a call to register
          ,-[bad.case:4:24]
        3 | buffer K 4096
        4 | register restrict call=256
          :                        ^|^
          :                         `-- not accepted here
          `----
         help: expected a number up to 255
    "#]],
    );
    check(
        "register restrict buffers=1",
        &expect![[r#"
         x `buffers=1` has no place in a line of restrictions
          ,-[bad.case:4:19]
        3 | buffer K 4096
        4 | register restrict buffers=1
          :                   ^^^^|^^^^
          :                       `-- not accepted here
          `----
         help: expected one of: op=, flags=, must=, call=
    "#]],
    );
}

#[test]
fn a_call_cancels_one_request() {
    check(
        "register cancel",
        &expect![[r#"
         x the end of the line is no user data
          ,-[bad.case:4:16]
        3 | buffer K 4096
        4 | register cancel
          :                ^
          :                `-- not accepted here
          `----
         help: expected user data such as #1
    "#]],
    );
    check(
        "register cancel 1",
        &expect![[r#"
         x `1` is no user data
          ,-[bad.case:4:17]
        3 | buffer K 4096
        4 | register cancel 1
          :                 |
          :                 `-- not accepted here
          `----
         help: expected user data such as #1
    "#]],
    );
    check(
        "register cancel #1 #2",
        &expect![[r#"
         x nothing more is expected here
          ,-[bad.case:4:20]
        3 | buffer K 4096
        4 | register cancel #1 #2
          :                    ^|
          :                     `-- not accepted here
          `----
         help: expected the end of the line
    "#]],
    );
}

#[test]
fn a_look_lists_what_the_ring_says() {
    check(
        "look Q",
        &expect![[r#"
         x there is no ring `Q`
          ,-[bad.case:4:6]
        3 | buffer K 4096
        4 | look Q
          :      |
          :      `-- not accepted here
          `----
         help: expected a ring with a name
    "#]],
    );
    check(
        "look flags=OVERFLOW",
        &expect![[r#"
         x `OVERFLOW` is no flag of a queue
          ,-[bad.case:4:12]
        3 | buffer K 4096
        4 | look flags=OVERFLOW
          :            ^^^^|^^^
          :                `-- not accepted here
          `----
         help: expected one of: NEED_WAKEUP, CQ_OVERFLOW, TASKRUN, bits such as 0x40
    "#]],
    );
    check(
        "look ready=1",
        &expect![[r#"
         x `ready=1` has no place in a line of look
          ,-[bad.case:4:6]
        3 | buffer K 4096
        4 | look ready=1
          :      ^^^|^^^
          :         `-- not accepted here
          `----
         help: expected one of: flags=, dropped=, queued=
    "#]],
    );
    check(
        "look dropped=-1",
        &expect![[r#"
         x `-1` is no a number of indices
          ,-[bad.case:4:14]
        3 | buffer K 4096
        4 | look dropped=-1
          :              ^|
          :               `-- not accepted here
          `----
         help: expected a number of indices: a number up to 4294967295, in digits or as 0x and
               hexadecimal digits
    "#]],
    );
    check(
        "look queued=1 returns 0",
        &expect![[r#"
         x `returns` has no place in a line of look
          ,-[bad.case:4:15]
        3 | buffer K 4096
        4 | look queued=1 returns 0
          :               ^^^|^^^
          :                  `-- not accepted here
          `----
         help: expected one of: flags=, dropped=, queued=
    "#]],
    );
}
