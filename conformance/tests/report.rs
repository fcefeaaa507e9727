//! The pages that a reader sees when something is wrong. Traces are made by hand, so they stay as they
//! are whatever the model or this kernel does.

use expect_test::{Expect, expect};
use uringspec::case::Mode;
use uringspec::case::lowered::Lowered;
use uringspec::catalog::{Found, Loaded};
use uringspec::expect::within;
use uringspec::outcome::Outcome;
use uringspec::report::{self, Find};
use uringspec::side_by_side::{Report, Side, Status};
use uringspec::token;
use uringspec_model::cqe::{Completion, Cqe, Errno, Res, Usage};
use uringspec_model::deviation::Deviation;
use uringspec_model::memory::{Generation, RegionId};
use uringspec_model::program::{RingId, SocketId};
use uringspec_model::rules::Rule;
use uringspec_model::trace::{Received, RingCqe, Run, Seen, Trace, What};
use uringspec_model::verdict::{Promise, Rejection, Unclaimed, Verdict};

const MIXED: &str = "\
# The two halves of a zero-copy send.
rules      life.retired-is-silent

socket     A B tcp
buffer     K 4096 register=0
buffer     P 100

submit
  #1 sendmsg_zc A [K 0..4000, P 0..100] msg=WAITALL zc=REPORT_USAGE
  #2 nop

expect
  #1  4100 MORE then COPIED NOTIF
  #2  0
received   B  K 0..4000, P 0..100
";

fn loaded(text: &str) -> Loaded {
    let found =
        Found { name: "zc/mixed".into(), file: "cases/zc/mixed.case".into(), path: None, text: text.into() };
    found.read().unwrap_or_else(|error| panic!("{}", error.page(false)))
}

/// Observations at the step with this keyword.
fn seen(lowered: &Lowered, text: &str, keyword: &str, what: Vec<What>) -> Vec<Seen> {
    let line = |n: u32| text.lines().nth(n as usize - 1).unwrap_or("");
    let step = (0..).find(|step| line(lowered.line_of(*step)).starts_with(keyword)).expect("the case has it");
    what.into_iter().map(|what| Seen { step, what }).collect()
}

fn cqe(user_data: u64, completion: Completion) -> What {
    What::Cqe(RingCqe { ring: RingId(0), cqe: Cqe::of(user_data, completion) })
}

fn result(user_data: u64, bytes: u64, more: bool) -> What {
    cqe(user_data, Completion::Result { res: Res::Bytes(bytes), more })
}

fn notif(user_data: u64, usage: Usage) -> What {
    cqe(user_data, Completion::Notification(usage))
}

#[track_caller]
fn page(loaded: &Loaded, side: Side, mode: Mode, status: Status, expected: &Expect) {
    let report = Report { side, mode, release: "6.14.0".into(), status };
    let page = report::page(loaded, &report).expect("a failure has a page");
    assert!(page.lines().count() <= 25, "the page is too long:\n{page}");
    assert!(page.is_ascii() || page.contains('…'), "plain text only:\n{page}");
    expected.assert_eq(&page);
}

#[test]
fn a_rejection_has_one_arrow_the_rule_and_what_was_allowed() {
    let case = loaded(MIXED);
    let taken = vec![result(1, 4100, true), notif(1, Usage::Copied), notif(1, Usage::Clear)];
    let trace = Trace { seen: seen(&case.lowered[0], MIXED, "expect", taken), ..Trace::default() };
    let verdict = Verdict::Rejected(Rejection {
        at: 2,
        rule: Rule::RetiredIsSilent,
        got: "#1 0 NOTIF".into(),
        allowed: vec!["#2 0".into()],
    });
    page(
        &case,
        Side::Kernel,
        Mode::Plain,
        Status::Judged { verdict, trace },
        &expect![[r#"
            REJECTED  cases/zc/mixed.case:12   kernel, Linux 6.14.0, plain ring
              life.retired-is-silent  Once its last completion is posted, a request posts nothing more.
                                      io_uring_prep_send_zc(3), DESCRIPTION

                1  register  0=K 0..4096
                2  submit    #1 sendmsg_zc A [K 0..4000, P 0..100] msg=WAITALL zc=REPORT_USAGE
                3  submit    #2 nop
                4  cqe       #1 4100 MORE
                5  cqe       #1 COPIED NOTIF
             >  6  cqe       #1 0 NOTIF
                             allowed: #2 0

              check with  uringspec check cases/zc/mixed.case
              replay      uringspec replay cases/zc/mixed.case --times 100
        "#]],
    );
}

#[test]
fn a_long_trace_loses_its_middle_and_keeps_its_arrow() {
    let mut text = "# Many nops.\nring entries=64\nsubmit\n".to_string();
    for n in 1..=40 {
        text += &format!("  #{n} nop\n");
    }
    text += "expect\n  #1 0\nsettle\n";
    let case = loaded(&text);
    let taken = (1..=41).map(|n| result(n, 0, false)).collect();
    let trace = Trace { seen: seen(&case.lowered[1], &text, "expect", taken), ..Trace::default() };
    let verdict = Verdict::Rejected(Rejection {
        at: 40,
        rule: Rule::NobodyAsked,
        got: "#41 0".into(),
        allowed: (0..9).map(|n| format!("#{n} 0")).collect(),
    });
    page(
        &case,
        Side::Model,
        Mode::Defer,
        Status::Judged { verdict, trace },
        &expect![[r#"
            REJECTED  cases/zc/mixed.case:44   model, 6.14.0, defer ring
              life.nobody-asked  A completion carries the user data of an entry that was submitted on that ring.
                                 io_uring(7), Completion queue entries

                1  submit  #1 nop
                2  submit  #2 nop
                3  submit  #3 nop
                4  submit  #4 nop
                   … 69 lines …
               74  cqe     #34 0
               75  cqe     #35 0
               76  cqe     #36 0
               77  cqe     #37 0
               78  cqe     #38 0
               79  cqe     #39 0
               80  cqe     #40 0
             > 81  cqe     #41 0
                           allowed: #0 0
                                    #1 0
                                    #2 0
                                    #3 0
                                    and 5 more

              check with  uringspec check cases/zc/mixed.case
              replay      uringspec replay cases/zc/mixed.case --times 100
        "#]],
    );
}

#[test]
fn a_long_line_is_cut() {
    let list = vec!["K 0..1"; 1024].join(", ");
    let text =
        format!("# Long.\nsocket A B tcp\nbuffer K 1\nsubmit\n  #1 sendmsg A [{list}]\nexpect\n  #1 1024\n");
    let case = loaded(&text);
    let trace =
        Trace { seen: seen(&case.lowered[0], &text, "expect", vec![What::GaveUp]), ..Trace::default() };
    let verdict = Verdict::Stuck { at: 0, promises: Vec::new() };
    let status = Status::Judged { verdict, trace };
    let report = Report { side: Side::Kernel, mode: Mode::Plain, release: "6.14.0".into(), status };
    let page = report::page(&case, &report).expect("a failure has a page");
    assert!(page.lines().all(|line| line.chars().count() < 200), "{page}");
}

#[test]
fn what_is_owed_is_named() {
    let case = loaded(MIXED);
    let taken = vec![result(2, 0, false), result(1, 4100, true), What::GaveUp];
    let trace = Trace { seen: seen(&case.lowered[0], MIXED, "expect", taken), ..Trace::default() };
    let promise = Promise { user_data: 1, what: "notification".into(), rule: Rule::NotifComes };
    let verdict = Verdict::Stuck { at: 2, promises: vec![promise] };
    page(
        &case,
        Side::Kernel,
        Mode::Plain,
        Status::Judged { verdict, trace },
        &expect![[r#"
            STUCK  cases/zc/mixed.case:12   kernel, Linux 6.14.0, plain ring
              zc.notif-comes  Once nothing refers to the memory any more, the notification comes.
                              io_uring_prep_send_zc(3), DESCRIPTION

                1  register  0=K 0..4096
                2  submit    #1 sendmsg_zc A [K 0..4000, P 0..100] msg=WAITALL zc=REPORT_USAGE
                3  submit    #2 nop
                4  cqe       #2 0
                5  cqe       #1 4100 MORE
             >  6  gave up   what was waited for did not come
                             owed:    the notification of #1

              check with  uringspec check cases/zc/mixed.case
              replay      uringspec replay cases/zc/mixed.case --times 100
        "#]],
    );
}

#[test]
fn no_answer_says_why() {
    let case = loaded(MIXED);
    let trace = Trace {
        seen: seen(&case.lowered[0], MIXED, "expect", vec![result(2, 0, false)]),
        ..Trace::default()
    };
    let verdict = Verdict::Unclaimed { reason: Unclaimed::NotModelled("opcode SPLICE".into()) };
    page(
        &case,
        Side::Kernel,
        Mode::Plain,
        Status::Judged { verdict, trace },
        &expect![[r#"
            UNCLAIMED  cases/zc/mixed.case:5   kernel, Linux 6.14.0, plain ring
              not modelled: opcode SPLICE

                1  register  0=K 0..4096
                2  submit    #1 sendmsg_zc A [K 0..4000, P 0..100] msg=WAITALL zc=REPORT_USAGE
                3  submit    #2 nop
                4  cqe       #2 0
                5  drain     B all

              check with  uringspec check cases/zc/mixed.case
              replay      uringspec replay cases/zc/mixed.case --times 100
        "#]],
    );
}

#[test]
fn another_outcome_stands_beside_what_was_listed() {
    let case = loaded(MIXED);
    let lowered = &case.lowered[0];
    let failed = cqe(1, Completion::Result { res: Res::Err(Errno(14)), more: true });
    let mut all = seen(lowered, MIXED, "submit", vec![What::Returned(2)]);
    all.extend(seen(lowered, MIXED, "expect", vec![failed, result(2, 0, false), notif(1, Usage::Clear)]));
    all.insert(0, Seen { step: 0, what: What::Returned(0) });
    let trace = Trace { seen: all, ..Trace::default() };
    let mismatch = within(lowered, &Outcome::of(lowered, &trace)).expect_err("an error was not listed");
    page(
        &case,
        Side::Kernel,
        Mode::Plain,
        Status::Mismatched { mismatch, trace },
        &expect![[r#"
            REJECTED  cases/zc/mixed.case:12   kernel, Linux 6.14.0, plain ring
              the case lists something else

                1  register  0=K 0..4096
                2  submit    #1 sendmsg_zc A [K 0..4000, P 0..100] msg=WAITALL zc=REPORT_USAGE
                3  submit    #2 nop
                4  cqe       #1 -EFAULT MORE
                5  cqe       #2 0
             >  6  cqe       #1 0 NOTIF
                             came:    #1 -EFAULT MORE, #1 0 NOTIF, #2 0
                             listed:  #1 4100 MORE then COPIED NOTIF; #2 0

              check with  uringspec check cases/zc/mixed.case
              replay      uringspec replay cases/zc/mixed.case --times 100
        "#]],
    );
}

#[test]
fn other_bytes_stand_beside_what_was_listed() {
    let case = loaded(MIXED);
    let lowered = &case.lowered[0];
    let run = |region, generation, len_bytes| Run::Stamped {
        region: RegionId(region),
        generation: Generation(generation),
        offset: 0,
        len_bytes,
    };
    let received = Received { socket: SocketId(0), runs: vec![run(0, 1, 4000), run(1, 0, 100)] };
    let mut all = vec![Seen { step: 0, what: What::Returned(0) }];
    all.extend(seen(lowered, MIXED, "submit", vec![What::Returned(2)]));
    let taken = vec![result(1, 4100, true), result(2, 0, false), notif(1, Usage::Copied)];
    all.extend(seen(lowered, MIXED, "expect", taken));
    all.extend(seen(lowered, MIXED, "received", vec![What::Received(received)]));
    let trace = Trace { seen: all, ..Trace::default() };
    let mismatch = within(lowered, &Outcome::of(lowered, &trace)).expect_err("K was not rewritten");
    page(
        &case,
        Side::Kernel,
        Mode::Plain,
        Status::Mismatched { mismatch, trace },
        &expect![[r#"
            REJECTED  cases/zc/mixed.case:15   kernel, Linux 6.14.0, plain ring
              the case lists something else

                1  register  0=K 0..4096
                2  submit    #1 sendmsg_zc A [K 0..4000, P 0..100] msg=WAITALL zc=REPORT_USAGE
                3  submit    #2 nop
                4  cqe       #1 4100 MORE
                5  cqe       #2 0
                6  cqe       #1 COPIED NOTIF
                7  drain     B all
             >  8  received  B K@1 0..4000, P 0..100
                             came:    received K@1 0..4000, P 0..100
                             listed:  K 0..4000, P 0..100

              check with  uringspec check cases/zc/mixed.case
              replay      uringspec replay cases/zc/mixed.case --times 100
        "#]],
    );
}

#[test]
fn what_the_model_never_does_is_listed() {
    let status = Status::Unreached(vec![(12, "#1 4100 MORE then 0 NOTIF, #2 0".into())]);
    page(
        &loaded(MIXED),
        Side::Model,
        Mode::Plain,
        status,
        &expect![[r#"
            REJECTED  cases/zc/mixed.case:12   model, 6.14.0, plain ring
              the case lists what the model never does
                never:   line 12: #1 4100 MORE then 0 NOTIF, #2 0

              check with  uringspec check cases/zc/mixed.case
              replay      uringspec replay cases/zc/mixed.case --times 100
        "#]],
    );
}

#[test]
fn a_deviation_that_is_not_named_says_what_it_means() {
    let case = loaded(MIXED);
    let taken = vec![result(1, 4100, false), notif(1, Usage::Clear)];
    let trace = Trace { seen: seen(&case.lowered[0], MIXED, "expect", taken), ..Trace::default() };
    let status = Status::Deviated { deviation: Deviation::OrphanNotif, trace };
    page(
        &case,
        Side::Kernel,
        Mode::Plain,
        status,
        &expect![[r#"
            REJECTED  cases/zc/mixed.case:1   kernel, Linux 6.14.0, plain ring
              link.orphan-notif  A zero-copy send that a failed chain cancels posts its result without MORE, and a notification all the same.
              it breaks life.retired-is-silent: Once its last completion is posted, a request posts nothing more.

                1  register  0=K 0..4096
                2  submit    #1 sendmsg_zc A [K 0..4000, P 0..100] msg=WAITALL zc=REPORT_USAGE
                3  submit    #2 nop
                4  cqe       #1 4100
                5  cqe       #1 0 NOTIF
                6  drain     B all
                             so: a notification may arrive for a request that looked finished: keep its slot until the ring is idle

              check with  uringspec check cases/zc/mixed.case
              replay      uringspec replay cases/zc/mixed.case --times 100
        "#]],
    );
}

#[test]
fn a_lost_worker_is_a_failure() {
    let status = Status::Broken("signal 11 in step 3".into());
    page(
        &loaded(MIXED),
        Side::Kernel,
        Mode::Defer,
        status,
        &expect![[r#"
            REJECTED  cases/zc/mixed.case:1   kernel, Linux 6.14.0, defer ring
              the worker was lost: signal 11 in step 3

              check with  uringspec check cases/zc/mixed.case
              replay      uringspec replay cases/zc/mixed.case --times 100
        "#]],
    );
}

#[test]
fn what_is_fine_has_no_page() {
    let case = loaded(MIXED);
    for status in [Status::Skipped("no".into()), Status::Accepted { rules: [].into(), deviations: [].into() }]
    {
        let report = Report { side: Side::Model, mode: Mode::Plain, release: "6.14.0".into(), status };
        assert!(report::page(&case, &report).is_none());
    }
}

#[test]
fn a_find_has_its_token_and_what_to_do_with_it() {
    let case = loaded(MIXED);
    let lowered = &case.lowered[0];
    let token = token::encode(&lowered.program);
    let taken = vec![result(1, 4100, true), notif(1, Usage::Copied), notif(1, Usage::Clear)];
    let trace = Trace { seen: seen(lowered, MIXED, "expect", taken), ..Trace::default() };
    let rejection = |rule| Rejection { at: 2, rule, got: "#1 0 NOTIF".into(), allowed: vec!["#2 0".into()] };
    let verdict = Verdict::Rejected(rejection(Rule::RetiredIsSilent));
    let (file, release) = ("target/soak/x.jsonl", "6.14.0");
    let find = Find {
        file,
        lowered,
        release,
        verdict: &verdict,
        trace: &trace,
        shrunk_from: Some(37),
        is_case: false,
    };
    let page = report::find_page(&find).expect("a failure has a page");
    assert!(page.lines().count() <= 25, "the page is too long:\n{page}");
    expect![[r#"
        REJECTED  target/soak/x.jsonl   kernel, Linux 6.14.0
          life.retired-is-silent  Once its last completion is posted, a request posts nothing more.
                                  io_uring_prep_send_zc(3), DESCRIPTION

            1  register  0=K 0..4096
            2  submit    #1 sendmsg_zc A [K 0..4000, P 0..100] msg=WAITALL zc=REPORT_USAGE
            3  submit    #2 nop
            4  cqe       #1 4100 MORE
            5  cqe       #1 COPIED NOTIF
         >  6  cqe       #1 0 NOTIF
                         allowed: #2 0

          replay  uringspec replay TOKEN   (4 steps, shrunk from 37)
          keep    uringspec keep TOKEN AREA/NAME
          export  uringspec export TOKEN --c
    "#]]
    .assert_eq(&page.replace(&token, "TOKEN"));
    let page =
        report::find_page(&Find { shrunk_from: None, is_case: true, ..find }).expect("a failure has a page");
    assert!(page.ends_with(&format!("\n\n  replay  uringspec replay {token}   (4 steps)\n")), "{page}");
    let accepted = Verdict::Accepted { rules: [].into(), deviations: [].into() };
    assert!(report::find_page(&Find { verdict: &accepted, ..find }).is_none());
}
