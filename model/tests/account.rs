//! What is said of each observation, and what is open behind the last.

mod programs;

use expect_test::{Expect, expect};
use programs::*;
use uringspec_model::abi::{cqe_flag, op};
use uringspec_model::account::{Account, Record, account};
use uringspec_model::cqe::Cqe;
use uringspec_model::net::Holds;
use uringspec_model::profile::Profile;
use uringspec_model::program::*;
use uringspec_model::trace::{Ending, RingCqe, Seen, Trace, What};
use uringspec_model::verdict::Verdict;

fn cqe(step: u32, user_data: u64, res: i32, flags: u32) -> Seen {
    Seen { step, what: What::Cqe(RingCqe { ring: RingId(0), cqe: Cqe { user_data, res, flags } }) }
}

fn judged(program: &Program, record: Record, seen: &[Seen]) -> Account {
    let trace = Trace { seen: seen.to_vec(), end: Ending::Complete };
    account(program, &Profile::v6_18(), &trace, record)
}

/// One open request a line.
#[track_caller]
fn check(program: &Program, seen: &[Seen], expected: &Expect) {
    let account = judged(program, Record::Partial, seen);
    let mut text = format!("{}\n", account.verdict.word());
    for (rules, seen) in account.said.iter().zip(seen) {
        let ids: Vec<&str> = rules.iter().map(|rule| rule.id()).collect();
        text += &format!("{:?}: {}\n", seen.step, ids.join(" "));
    }
    for (open, lent) in &account.open {
        let memory: Vec<String> =
            lent.iter().map(|s| format!("{}..{}", s.offset, s.offset + s.len_bytes)).collect();
        text += &format!(
            "#{} {:?} {:?} announces {} says {:?} holds {:?} owed {} lent {memory:?}\n",
            open.user_data,
            open.phase,
            open.result.as_ref().map(|may| may.bytes.map(|c| (c.least, c.most))),
            open.announces,
            open.usages,
            open.holds,
            open.owed.as_ref().map_or("nothing", |promise| promise.rule.id()),
        );
    }
    for (ring, user_data) in &account.unconsumed {
        text += &format!("#{user_data} on the queue of ring {}\n", ring.0);
    }
    expected.assert_eq(&text);
}

#[test]
fn a_notification_is_open_behind_its_result() {
    let sends = vec![submit([reporting(zc(1, 0, 100)), send(op::SEND, 2, 1, 7)]), reap_now()];
    check(
        &program(Lane::Unknown, sends.clone()),
        &[cqe(1, 1, 60, cqe_flag::MORE)],
        &expect![[r#"
        accepted
        1: life.one-result send.some-when-room zc.more-announces
        #1 Done None announces true says [Clear, Copied] holds Maybe owed nothing lent ["0..100"]
        #2 Issued Some(Some((1, 7))) announces false says [] holds Maybe owed nothing lent ["0..7"]
    "#]],
    );
    check(
        &program(Lane::Loopback, sends),
        &[cqe(1, 1, 100, cqe_flag::MORE)],
        &expect![[r#"
        accepted
        1: life.one-result send.whole-when-room zc.more-announces
        #1 Done None announces true says [Copied] holds No owed zc.notif-comes lent ["0..100"]
        #2 Issued Some(Some((7, 7))) announces false says [] holds No owed life.result-comes lent ["0..7"]
    "#]],
    );
}

#[test]
fn a_chain_is_open_behind_its_first_member() {
    let sends = vec![submit([linked(zc(1, 0, 100)), zc(2, 1, 7)]), reap_now()];
    check(
        &program(Lane::Unknown, sends),
        &[],
        &expect![[r#"
        accepted
        #1 Issued Some(Some((1, 100))) announces true says [Clear] holds Maybe owed nothing lent ["0..100"]
        #2 Queued None announces true says [Clear] holds No owed nothing lent ["0..7"]
    "#]],
    );
}

#[test]
fn what_no_call_consumed_is_named() {
    let refused = uringspec_model::sqe::Sqe { ioprio: 0x80, ..zc(1, 0, 1) };
    check(
        &program(Lane::Unknown, vec![submit([refused, nop(2)]), reap_now()]),
        &[],
        &expect![[r#"
        accepted
        #1 Issued Some(None) announces true says [Clear] holds No owed life.result-comes lent []
        #2 on the queue of ring 0
    "#]],
    );
}

#[test]
fn a_copy_is_known_on_loopback_and_nowhere_else() {
    let program = |lane| program(lane, vec![submit([reporting(zc(1, 0, 100))]), reap_now()]);
    let seen = [cqe(1, 1, 100, cqe_flag::MORE), cqe(1, 1, 0, cqe_flag::NOTIF)];
    assert!(judged(&program(Lane::Unknown), Record::Partial, &seen).verdict.is_accepted());
    assert!(!judged(&program(Lane::Loopback), Record::Partial, &seen).verdict.is_accepted());
}

#[test]
fn a_whole_record_leaves_out_no_return() {
    let program = program(Lane::Unknown, vec![submit([nop(1)]), reap_now()]);
    let seen = [cqe(1, 1, 0, 0)];
    assert!(judged(&program, Record::Partial, &seen).verdict.is_accepted());
    assert!(matches!(judged(&program, Record::Whole, &seen).verdict, Verdict::Rejected(_)));
}

#[test]
fn the_account_is_what_check_says() {
    let profile = Profile::v6_18();
    for (name, program) in tiny() {
        for seed in 0..20 {
            let choices = &mut uringspec_model::choices::Seeded::new(seed);
            let trace = uringspec_model::simulate::simulate(&program, &profile, choices);
            let verdict = uringspec_model::check::check(&program, &profile, &trace);
            let account = account(&program, &profile, &trace, Record::Whole);
            assert_eq!(account.verdict, verdict, "{name}");
            assert_eq!(account.said.len(), trace.seen.len(), "{name}");
            assert!(account.open.iter().all(|(open, _)| open.holds != Holds::Surely || open.lends), "{name}");
        }
    }
}
