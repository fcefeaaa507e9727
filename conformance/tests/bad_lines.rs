//! Lines that are refused, by keyword, each with what would be accepted in its place.

mod refusal;

use expect_test::expect;
use refusal::check;

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
