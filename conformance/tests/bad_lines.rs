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
