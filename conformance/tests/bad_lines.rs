//! Lines that are refused, by keyword, each with what would be accepted in its place.

mod refusal;

use expect_test::expect;
use refusal::check;

#[test]
fn limits_are_two_and_said_once() {
    check(
        "limits",
        &expect![[r#"
         x the end of the line has no place in a limits line
          ,-[bad.case:4:7]
        3 | buffer K 4096
        4 | limits
          :       ^
          :       `-- not accepted here
          `----
         help: expected one of: memlock=64K, uid=nobody
    "#]],
    );
    check(
        "limits memlock=64G",
        &expect![[r#"
             x `64G` is no number of bytes
              ,-[bad.case:4:16]
            3 | buffer K 4096
            4 | limits memlock=64G
              :                ^|^
              :                 `-- not accepted here
              `----
             help: expected one of: a number up to 1099511627776, a number with K or M such as 64K
        "#]],
    );
    check(
        "limits uid=root",
        &expect![[r#"
         x `root` is no user
          ,-[bad.case:4:12]
        3 | buffer K 4096
        4 | limits uid=root
          :            ^^|^
          :              `-- not accepted here
          `----
         help: expected nobody
    "#]],
    );
    check(
        "limits uid=nobody\nlimits memlock=8M",
        &expect![[r#"
         x limits are said once
          ,-[bad.case:5:1]
        4 | limits uid=nobody
        5 | limits memlock=8M
          : ^^^^^^^^|^^^^^^^^
          :         `-- not accepted here
          `----
         help: expected one `limits` line
    "#]],
    );
}

#[test]
fn a_peek_says_at_most_that_more_waits() {
    check(
        "peek full",
        &expect![[r#"
         x there is no ring `full`
          ,-[bad.case:4:6]
        3 | buffer K 4096
        4 | peek full
          :      ^^|^
          :        `-- not accepted here
          `----
         help: expected a ring with a name
    "#]],
    );
    check(
        "peek overflow again",
        &expect![[r#"
         x nothing more is expected here
          ,-[bad.case:4:15]
        3 | buffer K 4096
        4 | peek overflow again
          :               ^^|^^
          :                 `-- not accepted here
          `----
         help: expected the end of the line
    "#]],
    );
    check(
        "ring overflow entries=8",
        &expect![[r#"
         x `overflow` has a meaning of its own
          ,-[bad.case:4:6]
        3 | buffer K 4096
        4 | ring overflow entries=8
          :      ^^^^|^^^
          :          `-- not accepted here
          `----
         help: expected another name for the ring
    "#]],
    );
}

#[test]
fn only_a_declared_peer_is_told_what_to_do() {
    check(
        "ack B 10",
        &expect![[r#"
         x B does not do what it is told
          ,-[bad.case:4:5]
        3 | buffer K 4096
        4 | ack B 10
          :     |
          :     `-- not accepted here
          `----
         help: expected a socket with lane=repair-tcp
    "#]],
    );
    check(
        "ack A all",
        &expect![[r#"
         x there is no peer `A`
          ,-[bad.case:4:5]
        3 | buffer K 4096
        4 | ack A all
          :     |
          :     `-- not accepted here
          `----
         help: expected B
    "#]],
    );
    check(
        "ack B some",
        &expect![[r#"
         x `some` is no a number of bytes, or `all`
          ,-[bad.case:4:7]
        3 | buffer K 4096
        4 | ack B some
          :       ^^|^
          :         `-- not accepted here
          `----
         help: expected a number of bytes, or `all`: a number up to 18446744073709551615, in digits or as
               0x and hexadecimal digits
    "#]],
    );
    check(
        "window B 0",
        &expect![[r#"
         x B does not do what it is told
          ,-[bad.case:4:8]
        3 | buffer K 4096
        4 | window B 0
          :        |
          :        `-- not accepted here
          `----
         help: expected a socket with lane=repair-tcp
    "#]],
    );
    check(
        "window B 100",
        &expect![[r#"
         x a window is offered in whole units
          ,-[bad.case:4:1]
        3 | buffer K 4096
        4 | window B 100
          : ^^^^^^|^^^^^
          :       `-- not accepted here
          `----
         help: expected a multiple of 128
    "#]],
    );
    check(
        "miss B",
        &expect![[r#"
         x the end of the line is no a number of bytes
          ,-[bad.case:4:7]
        3 | buffer K 4096
        4 | miss B
          :       ^
          :       `-- not accepted here
          `----
         help: expected a number of bytes: a number up to 18446744073709551615, in digits or as 0x and
               hexadecimal digits
    "#]],
    );
    check(
        "resent B  K 0..10",
        &expect![[r#"
         x B does not do what it is told
          ,-[bad.case:4:8]
        3 | buffer K 4096
        4 | resent B  K 0..10
          :        |
          :        `-- not accepted here
          `----
         help: expected a socket with lane=repair-tcp
    "#]],
    );
    check(
        "socket C D tcp lane=repair-tcp\nresent D  K 0..10",
        &expect![[r#"
         x D is not there and reads nothing
          ,-[bad.case:5:8]
        4 | socket C D tcp lane=repair-tcp
        5 | resent D  K 0..10
          :        |
          :        `-- not accepted here
          `----
         help: expected a socket with lane=ifb-udp-tap or lane=repair-tcp-tap
    "#]],
    );
    check(
        "socket C D udp lane=ifb-udp\nreceived D  nothing",
        &expect![[r#"
         x D is not there and reads nothing
          ,-[bad.case:5:10]
        4 | socket C D udp lane=ifb-udp
        5 | received D  nothing
          :          |
          :          `-- not accepted here
          `----
         help: expected a socket with lane=ifb-udp-tap or lane=repair-tcp-tap
    "#]],
    );
    check(
        "resent B  nothing",
        &expect![[r#"
         x bytes leave again in one way
          ,-[bad.case:4:11]
        3 | buffer K 4096
        4 | resent B  nothing
          :           ^^^|^^^
          :              `-- not accepted here
          `----
         help: expected pieces such as K 0..1000
    "#]],
    );
    check(
        "resent B  K 0..10 | K 10..20",
        &expect![[r#"
         x bytes leave again in one way
          ,-[bad.case:4:11]
        3 | buffer K 4096
        4 | resent B  K 0..10 | K 10..20
          :           |
          :           `-- not accepted here
          `----
         help: expected pieces such as K 0..1000
    "#]],
    );
}

#[test]
fn lanes_suit_their_kinds() {
    check(
        "socket C D tcp lane=ifb-udp",
        &expect![[r#"
         x this kind of socket does not have this lane
          ,-[bad.case:4:1]
        3 | buffer K 4096
        4 | socket C D tcp lane=ifb-udp
          : ^^^^^^^^^^^^^|^^^^^^^^^^^^^
          :              `-- not accepted here
          `----
         help: expected one of: lane=ifb-udp and lane=ifb-udp-tap for udp, lane=repair-tcp and
               lane=repair-tcp-tap for tcp
    "#]],
    );
    check(
        "socket C D tcp6 lane=repair-tcp",
        &expect![[r#"
         x this kind of socket does not have this lane
          ,-[bad.case:4:1]
        3 | buffer K 4096
        4 | socket C D tcp6 lane=repair-tcp
          : ^^^^^^^^^^^^^^^|^^^^^^^^^^^^^^^
          :                `-- not accepted here
          `----
         help: expected one of: lane=ifb-udp and lane=ifb-udp-tap for udp, lane=repair-tcp and
               lane=repair-tcp-tap for tcp
    "#]],
    );
    check(
        "socket C udp lane=ifb-udp unconnected",
        &expect![[r#"
         x this kind of socket does not have this lane
          ,-[bad.case:4:1]
        3 | buffer K 4096
        4 | socket C udp lane=ifb-udp unconnected
          : ^^^^^^^^^^^^^^^^^^|^^^^^^^^^^^^^^^^^^
          :                   `-- not accepted here
          `----
         help: expected one of: lane=ifb-udp and lane=ifb-udp-tap for udp, lane=repair-tcp and
               lane=repair-tcp-tap for tcp
    "#]],
    );
    check(
        "socket C D tcp lane=repair",
        &expect![[r#"
         x `repair` is no lane
          ,-[bad.case:4:21]
        3 | buffer K 4096
        4 | socket C D tcp lane=repair
          :                     ^^^|^^
          :                        `-- not accepted here
          `----
         help: expected one of: loopback, gate, gate-full, ifb-udp, ifb-udp-tap, repair-tcp, repair-tcp-
               tap, unknown
    "#]],
    );
}

#[test]
fn a_setup_has_no_name_and_returns_once() {
    check(
        "setup R entries=4",
        &expect![[r#"
         x `R` has no place in a setup line
          ,-[bad.case:4:7]
        3 | buffer K 4096
        4 | setup R entries=4
          :       |
          :       `-- not accepted here
          `----
         help: expected one of: entries=, cq=, flags=, returns
    "#]],
    );
    check(
        "setup entries=4294967296",
        &expect![[r#"
         x 4294967296 is too much for a number of entries
          ,-[bad.case:4:15]
        3 | buffer K 4096
        4 | setup entries=4294967296
          :               ^^^^^|^^^^
          :                    `-- not accepted here
          `----
         help: expected a number up to 4294967295
    "#]],
    );
    check(
        "setup entries=4 flags=DEFER",
        &expect![[r#"
         x `DEFER` is no set-up flag
          ,-[bad.case:4:23]
        3 | buffer K 4096
        4 | setup entries=4 flags=DEFER
          :                       ^^|^^
          :                         `-- not accepted here
          `----
         help: expected one of: IOPOLL, SQPOLL, SQ_AFF, CQSIZE, CLAMP, ATTACH_WQ, R_DISABLED, SUBMIT_ALL,
               COOP_TASKRUN, TASKRUN_FLAG, SQE128, CQE32, SINGLE_ISSUER, DEFER_TASKRUN, NO_MMAP,
               REGISTERED_FD_ONLY, NO_SQARRAY, HYBRID_IOPOLL, CQE_MIXED, SQE_MIXED, SQ_REWIND, bits such
               as 0x40
    "#]],
    );
    check(
        "setup entries=4 returns EINVAL",
        &expect![[r#"
         x `EINVAL` is no a count or an errno such as -EINVAL
          ,-[bad.case:4:25]
        3 | buffer K 4096
        4 | setup entries=4 returns EINVAL
          :                         ^^^|^^
          :                            `-- not accepted here
          `----
         help: expected a count or an errno such as -EINVAL: a number up to 4294967295, in digits or as
               0x and hexadecimal digits
    "#]],
    );
    check(
        "setup entries=4 returns 0 flags=CLAMP",
        &expect![[r#"
         x nothing more is expected here
          ,-[bad.case:4:27]
        3 | buffer K 4096
        4 | setup entries=4 returns 0 flags=CLAMP
          :                           ^^^^^|^^^^^
          :                                `-- not accepted here
          `----
         help: expected the end of the line
    "#]],
    );
}

#[test]
fn a_ring_is_enabled_without_a_table() {
    check(
        "register enable 0=K",
        &expect![[r#"
         x nothing more is expected here
          ,-[bad.case:4:17]
        3 | buffer K 4096
        4 | register enable 0=K
          :                 ^|^
          :                  `-- not accepted here
          `----
         help: expected the end of the line
    "#]],
    );
    check(
        "update enable",
        &expect![[r#"
         x there is no ring `enable`
          ,-[bad.case:4:8]
        3 | buffer K 4096
        4 | update enable
          :        ^^^|^^
          :           `-- not accepted here
          `----
         help: expected a ring with a name
    "#]],
    );
}

#[test]
fn another_thread_submits_nothing_of_its_own() {
    check(
        "elsewhere Q",
        &expect![[r#"
         x there is no ring `Q`
          ,-[bad.case:4:11]
        3 | buffer K 4096
        4 | elsewhere Q
          :           |
          :           `-- not accepted here
          `----
         help: expected a ring with a name
    "#]],
    );
    check(
        "elsewhere returns",
        &expect![[r#"
         x the end of the line is no a count or an errno such as -EINVAL
          ,-[bad.case:4:18]
        3 | buffer K 4096
        4 | elsewhere returns
          :                  ^
          :                  `-- not accepted here
          `----
         help: expected a count or an errno such as -EINVAL: a number up to 4294967295, in digits or as
               0x and hexadecimal digits
    "#]],
    );
}

#[test]
fn a_cancel_names_what_it_looks_for() {
    check(
        "submit\n  #1 cancel #2 by=SOME",
        &expect![[r#"
         x `SOME` is no way to cancel
          ,-[bad.case:5:19]
        4 | submit
        5 |   #1 cancel #2 by=SOME
          :                   ^^|^
          :                     `-- not accepted here
          `----
         help: expected one of: ALL, FD, ANY, FD_FIXED, USERDATA, OP, bits such as 0x40
    "#]],
    );
    check(
        "submit\n  #1 cancel #2 msg=WAITALL",
        &expect![[r#"
             x `msg=WAITALL` has no place in an entry
              ,-[bad.case:5:16]
            4 | submit
            5 |   #1 cancel #2 msg=WAITALL
              :                ^^^^^|^^^^^
              :                     `-- not accepted here
              `----
             help: expected one of: by=, index=, LINK, HARDLINK, DRAIN, ASYNC, SKIP_SUCCESS, BUFFER_SELECT,
                   raw.opcode=, raw.flags=, raw.ioprio=, raw.fd=, raw.off=, raw.addr=, raw.len=,
                   raw.op_flags=, raw.user_data=, raw.buf_index=, raw.personality=, raw.file_index=,
                   raw.addr3=, raw.pad2=, msg.name=, msg.namelen=, msg.iovlen=, msg.control=, msg.controllen=
        "#]],
    );
}
