//! The two machines in print: a change of meaning is a change of these tables.

use std::fmt::Debug;

use expect_test::{Expect, expect};
use uringspec_model::notice;
use uringspec_model::request;
use uringspec_model::rules::Rule;

/// Prints a line for each state: what every event leads to, or the rule that forbids it.
fn table<S: Copy + Debug, E: Copy + Debug>(
    states: &[S],
    events: &[E],
    after: impl Fn(S, E) -> Result<S, Rule>,
) -> String {
    let mut text = String::new();
    for state in states {
        for event in events {
            let to = match after(*state, *event) {
                Ok(next) => format!("{next:?}"),
                Err(rule) => format!("✗ {rule}"),
            };
            text += &format!("{:10}{:8}{to}\n", format!("{state:?}"), format!("{event:?}"));
        }
    }
    text
}

#[track_caller]
fn prints(text: &str, expected: &Expect) {
    expected.assert_eq(text);
}

#[test]
fn the_life_of_a_request() {
    prints(
        &table(&request::Phase::ALL, &request::Event::ALL, request::Phase::after),
        &expect![[r#"
            Queued    Issue   Issued
            Queued    Arm     ✗ link.starts-after-result
            Queued    Finish  Done
            Issued    Issue   ✗ send.waits-for-room
            Issued    Arm     Armed
            Issued    Finish  Done
            Armed     Issue   Issued
            Armed     Arm     ✗ send.waits-for-room
            Armed     Finish  Done
            Done      Issue   ✗ life.retired-is-silent
            Done      Arm     ✗ life.retired-is-silent
            Done      Finish  ✗ life.one-result
        "#]],
    );
}

#[test]
fn the_life_of_a_notice() {
    prints(
        &table(&notice::Stage::ALL, &notice::Event::ALL, notice::Stage::after),
        &expect![[r#"
        Allocated Attach  Attached
        Allocated Release Due
        Allocated Post    ✗ zc.notif-after-result
        Attached  Attach  Attached
        Attached  Release Due
        Attached  Post    ✗ zc.notif-waits-for-release
        Due       Attach  ✗ life.retired-is-silent
        Due       Release ✗ life.retired-is-silent
        Due       Post    Posted
        Posted    Attach  ✗ life.retired-is-silent
        Posted    Release ✗ life.retired-is-silent
        Posted    Post    ✗ zc.one-notif
    "#]],
    );
}
