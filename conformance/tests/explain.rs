//! Logs from elsewhere: what is said of them, and what had to be taken for granted.

use expect_test::{Expect, expect};
use uringspec::catalog;
use uringspec::explain::page::{open_rows, page};
use uringspec::explain::{Explained, Subject, explain, subject, typed};
use uringspec::log;
use uringspec::mixed::has_mixed;
use uringspec_model::account::Record;
use uringspec_model::choices::Seeded;
use uringspec_model::cqe::{Completion, Cqe};
use uringspec_model::profile::Profile;
use uringspec_model::program::{Program, Register, Step};
use uringspec_model::simulate::simulate;
use uringspec_model::trace::{Trace, What};
use uringspec_model::verdict::Verdict;

fn explained(text: &str) -> Explained {
    let typed = typed::parse("x.log", text).unwrap_or_else(|error| panic!("{}", error.page(false)));
    explain(Subject::Open(typed), &Profile::v6_18(), true)
}

/// What is said of the verdict, what is open, what is lent, and what was assumed.
#[track_caller]
fn check(text: &str, expected: &Expect) {
    let explained = explained(text);
    let mut said = match &explained.account.verdict {
        Verdict::Rejected(rejection) => {
            let line = explained.lines.get(rejection.at as usize).copied().flatten().unwrap_or(0);
            format!("rejected at line {line}: {}\n", rejection.rule.id())
        }
        Verdict::Accepted { deviations, .. } => {
            let deviations: Vec<String> = deviations.iter().map(ToString::to_string).collect();
            format!(
                "{}\n",
                ["accepted"]
                    .into_iter()
                    .chain(deviations.iter().map(String::as_str))
                    .collect::<Vec<_>>()
                    .join(" ")
            )
        }
        other => format!("{}\n", other.word()),
    };
    for row in open_rows(&explained) {
        said += &format!("open #{} {}\n", row.open, row.may_come);
        if let Some(lent) = row.lent {
            said += &format!("lent {lent}\n");
        }
    }
    for assumed in explained.assumed.iter().filter(|words| !words.starts_with("nothing else")) {
        said += &format!("{assumed}\n");
    }
    expected.assert_eq(&said);
}

#[test]
fn a_zero_copy_send_is_the_least_that_explains_two_completions() {
    check(
        "cqe 7 4096 MORE\ncqe 7 COPIED NOTIF\n",
        &expect![[r#"
        accepted
        #7 is one zero-copy send of at least 4096 bytes on a connected stream socket, with REPORT_USAGE
    "#]],
    );
    check(
        "cqe 7 4096 MORE\ncqe 7 0 NOTIF\n",
        &expect![[r#"
        accepted
        #7 is one zero-copy send of at least 4096 bytes on a connected stream socket
    "#]],
    );
    check(
        "cqe 7 4096 MORE\n",
        &expect![[r#"
        accepted
        open #7 0 NOTIF; once nothing refers to the memory any more
        lent m7 0..4096
        #7 is one zero-copy send of at least 4096 bytes on a connected stream socket
    "#]],
    );
}

#[test]
fn two_sends_may_share_user_data() {
    check(
        "cqe 7 10 MORE\ncqe 7 20 MORE\ncqe 7 0 NOTIF\n",
        &expect![[r#"
        accepted
        open #7 0 NOTIF; once nothing refers to the memory any more
        lent m7 0..10
        open #7 0 NOTIF; once nothing refers to the memory any more
        lent m7 0..20
        #7 is one zero-copy send of at least 10 bytes on a connected stream socket
        #7 is one zero-copy send of at least 20 bytes on a connected stream socket
    "#]],
    );
}

#[test]
fn what_nothing_explains_is_refused() {
    check(
        "cqe 7 4096 MORE\ncqe 7 COPIED NOTIF\ncqe 7 0 NOTIF\n",
        &expect![[r#"
        rejected at line 3: life.retired-is-silent
        #7 is one zero-copy send of at least 4096 bytes on a connected stream socket, with REPORT_USAGE
    "#]],
    );
    check(
        "cqe 7 0 NOTIF\ncqe 7 1 MORE\n",
        &expect![[r#"
            rejected at line 1: zc.notif-after-result
            open #7 1 MORE, then 0 NOTIF; when is not promised, it may wait for room
            lent m7 0..1
            #7 is one zero-copy send of at least 1 byte on a connected stream socket
        "#]],
    );
    check(
        "cqe 7 -EIO\n",
        &expect![[r#"
        rejected at line 1: send.error-needs-cause
        open #7 1; when is not promised, it may wait for room
        lent m7 0..1
        #7 is one send on a connected stream socket
    "#]],
    );
    check(
        "cqe 7 100 flags=0x10001\n",
        &expect![[r#"
        rejected at line 1: life.cqe-makes-sense
    "#]],
    );
    check(
        "cqe 7 100\ncqe 7 0 NOTIF\n",
        &expect![[r#"
        rejected at line 1: zc.more-announces
        open #7 1..100 MORE, then 0 NOTIF; when is not promised, it may wait for room
        lent m7 0..100
        #7 is one zero-copy send of at least 100 bytes on a connected stream socket
    "#]],
    );
}

#[test]
fn what_is_known_to_be_submitted_binds() {
    check(
        "submit #7 send len=10\ncqe 7 11\n",
        &expect![[r#"
        rejected at line 2: send.short-never-long
        open #7 1..10; when is not promised, it may wait for room
        lent m7 0..10
        #7 is on a connected stream socket
    "#]],
    );
    check(
        "submit #7 send len=10\ncqe 7 10\ncqe 7 10\n",
        &expect![[r#"
        rejected at line 3: life.retired-is-silent
        #7 is on a connected stream socket
    "#]],
    );
    check(
        "submit #7 send_zc len=10\ncqe 7 10 MORE\ncqe 7 COPIED NOTIF\n",
        &expect![[r#"
        rejected at line 3: zc.usage-when-asked
        open #7 0 NOTIF; once nothing refers to the memory any more
        lent m7 0..10
        #7 is on a connected stream socket
    "#]],
    );
    check(
        "submit #7 send len=10\ncqe 8 0\n",
        &expect![[r#"
        accepted
        open #7 1..10; when is not promised, it may wait for room
        lent m7 0..10
        #7 is on a connected stream socket
        #8 is one nop
    "#]],
    );
    check(
        "submit #1 send fd=5 len=9 msg=WAITALL LINK\nsubmit #2 send fd=5 len=9\ncqe 1 4\ncqe 2 -ECANCELED\n",
        &expect![[r#"
            accepted
            fd 5 is a tcp socket with a peer, of whose path nothing is known
            #1 is on a stream socket that was shut down before its result
        "#]],
    );
    check(
        "submit #1 send fd=5 len=9 LINK\nsubmit #2 send fd=5 len=9\ncqe 1 4\ncqe 2 -ECANCELED\n",
        &expect![[r#"
            accepted
            open #3 0; it comes by itself (life.result-comes)
            fd 5 is a tcp socket with a peer, of whose path nothing is known
            #2 is, cancelled by a request whose completion is not in the log
        "#]],
    );
    check(
        "submit #1 nop LINK\nsubmit #2 nop\ncqe 2 0\ncqe 1 0\n",
        &expect![[r#"
        rejected at line 3: link.order
        open #1 0; it comes by itself (life.result-comes)
        open #2 0; it comes by itself (life.result-comes)
    "#]],
    );
    check(
        "socket fd=5 tcp lane=loopback\nsubmit #1 send_zc fd=5 len=9 zc=REPORT_USAGE\ncqe 1 9 MORE\ncqe 1 0 NOTIF\n",
        &expect![[r#"
            rejected at line 4: zc.loopback-copies
            open #1 COPIED NOTIF; it comes by itself (zc.notif-comes)
            lent m1 0..9
        "#]],
    );
    check(
        "submit #1 sendmsg_zc fd=5 len=9\nsubmit #2 writev fd=5\nsubmit #3 write_fixed fd=5 len=7 index=2\ncqe 3 7\ncqe 1 9 MORE\n",
        &expect![[r#"
            accepted
            open #1 0 NOTIF; once nothing refers to the memory any more
            lent m1 0..9
            open #2 1; when is not promised, it may wait for room
            lent m2 0..1
            fd 5 is a tcp socket with a peer, of whose path nothing is known
        "#]],
    );
}

#[test]
fn errors_have_causes() {
    for (error, more) in [
        ("EINVAL", ""),
        ("EINVAL", " MORE"),
        ("EBADF", ""),
        ("EBADF", " MORE"),
        ("ENOTSOCK", ""),
        ("ENOTSOCK", " MORE"),
        ("EFAULT", ""),
        ("EFAULT", " MORE"),
        ("EPIPE", ""),
        ("EPIPE", " MORE"),
        ("ECONNRESET", ""),
        ("ECONNRESET", " MORE"),
        ("EAGAIN", ""),
        ("EAGAIN", " MORE"),
        ("EOPNOTSUPP", ""),
        ("EOPNOTSUPP", " MORE"),
        ("ENOTCONN", ""),
        ("EMSGSIZE", ""),
        ("EMSGSIZE", " MORE"),
        ("EDESTADDRREQ", ""),
        ("EDESTADDRREQ", " MORE"),
        ("ECONNREFUSED", ""),
        ("ENOMEM", " MORE"),
        ("ECANCELED", ""),
        ("ECANCELED", " MORE"),
        ("EINTR", ""),
        ("ENOENT", ""),
        ("EALREADY", ""),
        ("ENOBUFS", ""),
        ("ENOBUFS", " MORE"),
        ("ESPIPE", ""),
    ] {
        let explained = explained(&format!("cqe 1 -{error}{more}\n"));
        let verdict = &explained.account.verdict;
        assert!(verdict.is_accepted(), "{error}{more}\n{}", page("x.log", &explained));
        let causes = explained.assumed.iter().filter(|words| words.starts_with("#1 is")).count();
        assert_eq!(causes, 1, "{error}{more}: {:?}", explained.assumed);
    }
}

#[test]
fn errors_of_one_log_have_a_cause_each() {
    check(
        "cqe 1 -EPIPE\ncqe 2 -ECONNRESET\ncqe 3 -EFAULT\ncqe 4 -EINVAL\ncqe 5 0\ncqe 6 -EAGAIN\ncqe 7 -ENOMEM MORE\ncqe 8 -EINVAL\ncqe 9 1\n",
        &expect![[r#"
            accepted
            open #7 0 NOTIF; it comes by itself (zc.notif-comes)
            #1 is one send on a stream socket that can send no more: shut down, or never connected
            #2 is one send on a stream socket whose peer had reset the connection
            #3 is one send on a connected stream socket with memory that cannot be read
            #4 is one send on a connected stream socket with something in its entry that is refused
            #5 is one nop
            #6 is one send on a connected stream socket with MSG_DONTWAIT
            #7 is one zero-copy send on a connected stream socket, and no more memory may be locked (RLIMIT_MEMLOCK)
            #8 is one send on a connected stream socket with something in its entry that is refused
            #9 is one send of at least 1 byte on a connected stream socket
        "#]],
    );
}

#[test]
fn a_cancelled_request_is_behind_one_that_failed_or_was_cancelled() {
    check(
        "cqe 1 -EPIPE\ncqe 2 -ECANCELED\ncqe 3 -ECANCELED\n",
        &expect![[r#"
        accepted
        #1 is one send on a stream socket that can send no more: shut down, or never connected
        #2 is one send on a connected stream socket, linked behind #1, which failed
        #3 is one send on a connected stream socket, linked behind #1, which failed
    "#]],
    );
    check(
        "cqe 1 100\ncqe 2 -ECANCELED\n",
        &expect![[r#"
        accepted
        open #3 0; it comes by itself (life.result-comes)
        #1 is one send of at least 100 bytes on a connected stream socket
        #2 is one send on a connected stream socket, cancelled by a request whose completion is not in the log
    "#]],
    );
    check(
        "cqe 1 100\ncqe 2 -ECANCELED\ncqe 2 0 NOTIF\n",
        &expect![[r#"
            accepted link.orphan-notif
            #1 is one send of at least 100 bytes on a connected stream socket
            #2 is one zero-copy send on a connected stream socket, linked behind #1, which had MSG_WAITALL and more bytes when its socket was shut down
        "#]],
    );
    check(
        "cqe 1 -EPIPE\ncqe 2 -ECANCELED\ncqe 2 0 NOTIF\n",
        &expect![[r#"
        accepted link.orphan-notif
        #1 is one send on a stream socket that can send no more: shut down, or never connected
        #2 is one zero-copy send on a connected stream socket, linked behind #1, which failed
    "#]],
    );
    check(
        "cqe 2 -ECANCELED\ncqe 2 0 NOTIF\n",
        &expect![[r#"
        accepted link.orphan-notif
        #2 is one zero-copy send on a connected stream socket, linked behind a request that failed and whose completion is not in the log
    "#]],
    );
    check(
        "cqe 1 -ECANCELED\ncqe 2 -EINVAL\ncqe 2 0 NOTIF\n",
        &expect![[r#"
        accepted link.orphan-notif
        #1 is one send on a connected stream socket
        #2 is one zero-copy send on a connected stream socket, linked behind #1, with something in its entry that is refused
    "#]],
    );
    check(
        "cqe 2 -ECANCELED MORE\ncqe 2 0 NOTIF\n",
        &expect![[r#"
        accepted
        open #3 0; it comes by itself (life.result-comes)
        #2 is one zero-copy send on a connected stream socket, cancelled by a request whose completion is not in the log
    "#]],
    );
}

/// The completions of runs of the model, over all cases with one ring.
fn simulated() -> Vec<(String, Vec<Cqe>)> {
    let mut all = Vec::new();
    for found in catalog::all().expect("the cases stand beside this test") {
        let loaded = found.read().expect("the cases can be read");
        // no log has the completions of a send that no kernel takes
        let plain = loaded.lowered.iter().filter(|lowered| !has_mixed(&lowered.program));
        // nor does one say what its ring was forbidden
        let plain = plain.filter(|lowered| !is_restricted(&lowered.program));
        for lowered in plain.filter(|lowered| lowered.program.rings.len() == 1) {
            for seed in 0..3 {
                let trace = simulate(&lowered.program, &Profile::v6_18(), &mut Seeded::new(seed));
                let cqe = |what: &What| if let What::Cqe(taken) = what { Some(taken.cqe) } else { None };
                let cqes: Vec<Cqe> = trace.seen.iter().filter_map(|seen| cqe(&seen.what)).collect();
                if !cqes.is_empty() {
                    all.push((loaded.found.name.clone(), cqes));
                }
            }
        }
    }
    all
}

fn is_restricted(program: &Program) -> bool {
    let restricts = |step: &Step| matches!(step, Step::Register { what: Register::Restrict(_), .. });
    program.steps.iter().any(restricts)
}

fn typed_text(cqes: &[Cqe]) -> String {
    let line = |cqe: &Cqe| format!("cqe {} {} flags={:#x}\n", cqe.user_data, cqe.res, cqe.flags);
    cqes.iter().map(line).collect()
}

#[test]
fn completions_alone_of_what_the_model_does_are_explained() {
    for (name, cqes) in simulated() {
        let explained = explained(&typed_text(&cqes));
        assert!(explained.account.verdict.is_accepted(), "{}", page(&name, &explained));
    }
}

#[test]
fn a_notification_too_many_or_too_early_is_never_explained() {
    let mut tried = 0;
    for (name, cqes) in simulated() {
        let is_notif = |cqe: &Cqe| matches!(cqe.completion(), Some(Completion::Notification(_)));
        let Some(at) = cqes.iter().position(is_notif) else { continue };
        let mut twice = cqes.clone();
        twice.push(cqes[at]);
        let mut early = cqes.clone();
        let notif = early.remove(at);
        early.insert(0, notif);
        for wrong in [twice, early] {
            let explained = explained(&typed_text(&wrong));
            assert_eq!(explained.account.verdict.word(), "rejected", "{}", page(&name, &explained));
            tried += 1;
        }
    }
    assert!(tried > 100, "only {tried} logs have a notification");
}

#[test]
fn a_log_with_its_program_is_judged_as_check_does() {
    let text = "{\"v\":1,\"program\":{\"rings\":[{\"entries\":8}],\"steps\":[{\"submit\":{\"ring\":0,\"sqes\":[{\"user_data\":1}]}},{\"reap\":{\"ring\":0,\"until\":\"now\"}}]}}\n\
        {\"v\":1,\"seen\":{\"step\":1,\"what\":{\"cqe\":{\"ring\":0,\"user_data\":1,\"res\":0}}}}\n{\"v\":1,\"end\":\"complete\"}\n";
    let judged = |record| {
        let log = log::read("x.log", text.as_bytes()).expect("it is one");
        explain(subject(log, record).expect("it has a program"), &Profile::v6_18(), false).account.verdict
    };
    assert!(judged(Record::Partial).is_accepted());
    let Verdict::Rejected(rejection) = judged(Record::Whole) else {
        panic!("what the call returned is left out")
    };
    assert_eq!((rejection.at, rejection.rule.id()), (0, "ring.submit-count"));
}

#[test]
fn a_log_of_completions_alone_is_open() {
    let seen = |res: i32, flags: u32| {
        format!(
            "{{\"v\":1,\"seen\":{{\"step\":0,\"what\":{{\"cqe\":{{\"ring\":0,\"user_data\":1,\"res\":{res},\"flags\":{flags}}}}}}}}}\n"
        )
    };
    let log = log::read("x.log", (seen(10, 2) + &seen(0, 8)).as_bytes()).expect("it is one");
    let explained =
        explain(subject(log, Record::Whole).expect("it has completions"), &Profile::v6_18(), true);
    assert!(explained.account.verdict.is_accepted());
    assert_eq!(
        explained.assumed[0],
        "#1 is one zero-copy send of at least 10 bytes on a connected stream socket"
    );

    let lacks = |trace: Trace| {
        subject(log::Log { trace, ..log::Log::default() }, Record::Whole).expect_err("it lacks a program")
    };
    assert_eq!(lacks(Trace::default()), "nothing was seen, expected a line {\"v\":1,\"seen\":…}");
}

#[test]
fn many_completions_are_no_burden() {
    let text: String = (0..4096)
        .map(|n| match n % 4 {
            0 => format!("cqe {n} 100 MORE\n"),
            1 => format!("cqe {} 0 NOTIF\n", n - 1),
            2 => format!("cqe {n} 0\n"),
            _ => format!("cqe {n} -ECANCELED\n"),
        })
        .collect();
    assert!(explained(&text).account.verdict.is_accepted());
}
