//! Random mixed sends on this kernel, in every way that it has: the entries are judged by its rules, and
//! what is seen through the view by the contract, byte for byte.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Write, stdout};
use std::sync::Mutex;

use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence, RngAlgorithm, TestRng, TestRunner};
use uringspec::kernel::{Kernel, NoTrace};
use uringspec::mixed::draft::MixedDraft;
use uringspec::mixed::{Made, ways};
use uringspec_model::choices::{Choices, Seeded};
use uringspec_model::kernels;
use uringspec_model::mixed::lowering::Lowering;
use uringspec_model::mixed::plan::Mistake;
use uringspec_model::mixed::program::lower_mistaken;
use uringspec_model::profile::Profile;
use uringspec_model::simulate::simulate;
use uringspec_model::trace::{Trace, What};

/// Drafts that are run, each in every way that the kernel has; `PROPTEST_CASES` says another number.
const CASES: u32 = 150;

fn runner(name: &'static str) -> TestRunner {
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    let usual = Config::default();
    let config = Config {
        cases: if asked { usual.cases } else { CASES },
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(name))),
        ..usual
    };
    // the same drafts each time, and others where more are asked for
    match asked {
        true => TestRunner::new(config),
        false => TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha)),
    }
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..200)
}

#[test]
fn random_mixed_sends_keep_their_contract_on_this_kernel() {
    let command = std::path::PathBuf::from(env!("CARGO_BIN_EXE_uringspec"));
    let kernel = match Kernel::open(Some(command)) {
        Ok(kernel) => Mutex::new(kernel),
        Err(why) => {
            let _ = writeln!(stdout(), "skipped: {why}");
            return;
        }
    };
    let (mut runs, mut unclaimed, mut skipped) = (0, 0, 0);
    let counts = Mutex::new((&mut runs, &mut unclaimed, &mut skipped));
    let name = concat!(env!("CARGO_MANIFEST_DIR"), "/../proptest-regressions/mixed_kernel.txt");
    let tried = runner(name).run(&bytes(), |bytes| {
        let program = MixedDraft::of_bytes(&bytes).resolve();
        let mut kernel = kernel.lock().expect("no test panics with it");
        let profile = kernel.profile().clone();
        let mut counts = counts.lock().expect("no test panics with it");
        for made in ways(None, &program, &profile).unwrap_or_default() {
            let trace = match kernel.run(&made.done.program) {
                Ok(trace) => trace,
                Err(NoTrace::Skip(_)) => {
                    *counts.2 += 1;
                    continue;
                }
                Err(NoTrace::Broken(why)) => return Err(TestCaseError::fail(why)),
            };
            *counts.0 += 1;
            let judged = made.keeps(&profile, &trace).and_then(|_| made.judge(&profile, &trace));
            match judged {
                Err(failure) if failure.word() == "unclaimed" => *counts.1 += 1,
                Err(failure) => {
                    return Err(TestCaseError::fail(failure.find_page("random mixed sends", None)));
                }
                Ok(_) => {}
            }
        }
        Ok(())
    });
    if let Err(why) = tried {
        panic!("{why}");
    }
    // Not `println`, which a test that passes keeps to itself.
    let _ = writeln!(
        stdout(),
        "mixed sends on this kernel: {runs} runs, {unclaimed} unclaimed, {skipped} skipped"
    );
    assert!(unclaimed * 5 <= runs, "{unclaimed} of {runs} runs say nothing");
}

#[test]
fn random_mixed_sends_keep_their_contract_on_the_model_of_every_kernel() {
    let name = concat!(env!("CARGO_MANIFEST_DIR"), "/../proptest-regressions/mixed_model.txt");
    let tried = runner(name).run(&(bytes(), any::<u64>()), |(bytes, seed)| {
        let program = MixedDraft::of_bytes(&bytes).resolve();
        for kernel in kernels::names().filter_map(kernels::named) {
            for made in ways(None, &program, &kernel).unwrap_or_default() {
                let trace = simulate(&made.done.program, &kernel, &mut Seeded::new(seed));
                if let Err(failure) = made.keeps(&kernel, &trace) {
                    return Err(TestCaseError::fail(failure.find_page("random mixed sends", None)));
                }
            }
        }
        Ok(())
    });
    if let Err(why) = tried {
        panic!("{why}");
    }
}

/// Bytes that differ from seed to seed.
fn bytes_of(seed: u64) -> Vec<u8> {
    let mut random = Seeded::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    (0..160).map(|_| random.pick(256) as u8).collect()
}

#[test]
fn mixed_drafts_reach_every_way_and_path_and_what_may_become_of_a_send() {
    let kernel = kernels::named("7.3").expect("it has a name");
    let (mut ways_of, mut met) = (BTreeMap::<String, BTreeSet<&str>>::new(), BTreeSet::new());
    for seed in 0..1200u64 {
        let program = MixedDraft::of_bytes(&bytes_of(seed)).resolve();
        for made in ways(None, &program, &kernel).unwrap_or_default() {
            let trace = simulate(&made.done.program, &kernel, &mut Seeded::new(seed));
            met.extend(made.met(&made.done.view.read(&trace)).into_keys());
            ways_of.entry(made.lanes()).or_default().insert(made.way.name());
        }
    }
    let ways_of = ways_of.iter().map(|(lane, ways)| format!("{lane}: {ways:?}"));
    expect_test::expect![[r#"
        gate: {"contiguous", "linked", "staged", "staged-fixed", "vectorized", "vectorized-fixed"}
        gate-full: {"contiguous", "linked", "staged", "staged-fixed", "vectorized", "vectorized-fixed"}
        ifb-udp: {"contiguous", "linked", "staged", "staged-fixed", "vectorized", "vectorized-fixed"}
        ifb-udp-tap: {"linked", "staged", "staged-fixed", "vectorized", "vectorized-fixed"}
        loopback: {"contiguous", "linked", "staged", "staged-fixed", "vectorized", "vectorized-fixed"}
        repair-tcp: {"contiguous", "linked", "staged", "staged-fixed", "vectorized", "vectorized-fixed"}
        repair-tcp-tap: {"contiguous", "linked", "staged", "staged-fixed", "vectorized", "vectorized-fixed"}"#]].assert_eq(&ways_of.collect::<Vec<_>>().join("\n"));
    expect_test::expect![[r#"
        EAGAIN
        ECANCELED
        ECONNRESET
        EINTR
        EPIPE
        bytes acknowledged
        bytes read
        left again
        notified
        notified COPIED
        short
        whole"#]]
    .assert_eq(&met.into_iter().collect::<Vec<_>>().join("\n"));
}

/// A header and a payload over plain loopback, made `StagedFixed`, with this mistake.
fn made(mistake: Option<Mistake>) -> (Made, Profile) {
    let kernel = kernels::named("7.3").expect("it has a name");
    let seed = include_bytes!("../../fuzz/corpus/mixed/header-payload");
    let meant = MixedDraft::of_bytes(seed).resolve();
    let way = Lowering::StagedFixed;
    let done = lower_mistaken(&meant, &kernel, way, mistake).expect("7.3 has it");
    (Made { meant, way, done }, kernel)
}

/// The page of what is said of a run, without the tokens.
fn page(made: &Made, kernel: &Profile, trace: &Trace) -> String {
    let failure = made.judge(kernel, trace).expect_err("it is wrong");
    let page = failure.find_page("here", Some("here.jsonl"));
    let lines = page.lines().map(|line| line.split(" d1:").next().unwrap_or(line).trim_end());
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_mixed_send_that_breaks_its_contract_is_shown_beside_what_was_done() {
    let (made, kernel) = made(Some(Mistake::SegmentsSwapped));
    let trace = simulate(&made.done.program, &kernel, &mut Seeded::new(1));
    expect_test::expect![[r#"
        REJECTED  here   made staged-fixed, Linux 7.3 (named)
          mixed.prefix  The result counts the bytes that were accepted: a prefix of the segments, one after the other.
                        our own: mixed/PROPOSAL.md

          meant
            1  register  0=K 0..589824 1=L 0..589824
            2  submit    #1 mixed A [copy P 0..24, zc K 0..4096 reg 0] msg=WAITALL zc=REPORT_USAGE
            3  cqe       #1 4120 MORE
            4  cqe       #1 COPIED NOTIF
            5  settle
         >  6  received  B K 0..4096, 24 bytes f50dc8e18012cf61…
                         allowed: The result counts the bytes that were accepted: a prefix of the segments, one after the other.
          done: SENDMSG_ZC|FIXED_BUF, headers staged inside the registered buffer
            1  register  0=K 0..589848 1=L 0..589824
            2  submit    #1 sendmsg_zc A [K 0..4096, staged 0..24] msg=WAITALL zc=FIXED_BUF|REPORT_USAGE
            3  cqe       #1 4120 MORE
            4  cqe       #1 COPIED NOTIF
            5  settle
            6  received  B K 0..4096, staged 0..24

          meant   uringspec keep
          done    uringspec replay here.jsonl"#]].assert_eq(&page(&made, &kernel, &trace));
}

#[test]
fn an_entry_of_a_mixed_send_that_breaks_a_rule_is_shown_below_what_was_meant() {
    let (made, kernel) = made(None);
    let mut trace = simulate(&made.done.program, &kernel, &mut Seeded::new(1));
    let cqes = trace.seen.iter_mut().filter_map(|seen| match &mut seen.what {
        What::Cqe(cqe) => Some(&mut cqe.cqe),
        _ => None,
    });
    cqes.take(1).for_each(|cqe| cqe.res -= 1);
    expect_test::expect![[r#"
        REJECTED  here   made staged-fixed, Linux 7.3 (named)
          send.whole-when-room  A send that finds room enough for all of its bytes takes all of them.
                                net/ipv4/tcp.c tcp_sendmsg_locked, 6.18

          meant
            1  register  0=K 0..589824 1=L 0..589824
            2  submit    #1 mixed A [copy P 0..24, zc K 0..4096 reg 0] msg=WAITALL zc=REPORT_USAGE
            3  cqe       #1 4119 MORE
            4  cqe       #1 COPIED NOTIF
            5  settle
            6  received  B 24 bytes f50dc8e18012cf61…, K 0..4096
          done: SENDMSG_ZC|FIXED_BUF, headers staged inside the registered buffer
            1  register  0=K 0..589848 1=L 0..589824
            2  submit    #1 sendmsg_zc A [staged 0..24, K 0..4096] msg=WAITALL zc=FIXED_BUF|REPORT_USAGE
         >  3  cqe       #1 4119 MORE
                         allowed: #1 4120 MORE

          meant   uringspec keep
          done    uringspec replay here.jsonl"#]]
    .assert_eq(&page(&made, &kernel, &trace));
}

#[test]
fn mixed_explain_says_for_every_kernel_what_is_done_and_when_memory_is_yours_again() {
    let mut said: Vec<(String, String)> = Vec::new();
    for name in kernels::names() {
        let command = std::process::Command::new(env!("CARGO_BIN_EXE_uringspec"))
            .args(["mixed", "explain", "--profile", name, "copy 24, zc 65536 reg 0, copy 8"])
            .output()
            .expect("the command is there");
        assert_eq!(command.status.code(), Some(0), "{name}");
        let text = String::from_utf8(command.stdout).expect("it is text");
        let known = |line: &&str| !line.starts_with("  exist") && !line.starts_with("  not");
        let lines = text.lines().skip(1).filter(known).take_while(|line| !line.starts_with('{'));
        let lines = lines.collect::<Vec<_>>().join("\n");
        match said.iter_mut().find(|(_, known)| *known == lines) {
            Some((names, _)) => *names = format!("{names}, {name}"),
            None => said.push((name.to_string(), lines)),
        }
    }
    let said = said.iter().map(|(names, lines)| format!("{names}\n{lines}"));
    expect_test::expect![[r#"
        5.10, 5.15, 5.19
          SENDMSG of everything by address
          #1 sendmsg A [P 0..24, K0 0..65536, P 24..32] msg=WAITALL
          segment 1  copy 24                yours again at the result
          segment 2  zc 65536 reg 0         yours again at the result: it is copied
          segment 3  copy 8                 yours again at the result
          costs      bytes staged 0, copied by the kernel 65568; entries 1, completions 1, fragments 0
        6.0
          a chain of SEND and SEND_ZC with MSG_MORE
          #1 send A P 0..24 msg=WAITALL|MORE LINK
          #2 send_zc A K0 0..65536 msg=WAITALL|MORE zc=FIXED_BUF LINK
          #3 send A P 24..32 msg=WAITALL
          segment 1  copy 24                yours again at the result
          segment 2  zc 65536 reg 0         yours again at the notification
          segment 3  copy 8                 yours again at the result
          costs      bytes staged 0, copied by the kernel 32; entries 3, completions 4, fragments 16
        6.1, 6.2, 6.6, 6.10, 6.12, 6.13, 6.14
          SENDMSG_ZC by address, headers staged beside it
          #1 sendmsg_zc A [staged 0..24, K0 0..65536, staged 24..32] msg=WAITALL
          segment 1  copy 24                yours again at submission: it is staged
          segment 2  zc 65536 reg 0         yours again at the notification
          segment 3  copy 8                 yours again at submission: it is staged
          costs      bytes staged 32, copied by the kernel 0; entries 1, completions 2, fragments 18
        6.15, 6.16, 6.17, 6.18, 6.19, 7.0
          SENDMSG_ZC|FIXED_BUF, headers staged inside the registered buffer
          #1 sendmsg_zc A [staged 0..24, K0 0..65536, staged 24..32] msg=WAITALL zc=FIXED_BUF
          segment 1  copy 24                yours again at submission: it is staged
          segment 2  zc 65536 reg 0         yours again at the notification
          segment 3  copy 8                 yours again at submission: it is staged
          costs      bytes staged 32, copied by the kernel 0; entries 1, completions 2, fragments 18
        7.1, 7.2, 7.3
          SEND_ZC|VECTORIZED|FIXED_BUF, headers staged inside the registered buffer
          #1 send_zc A [staged 0..24, K0 0..65536, staged 24..32] msg=WAITALL zc=FIXED_BUF|VECTORIZED
          segment 1  copy 24                yours again at submission: it is staged
          segment 2  zc 65536 reg 0         yours again at the notification
          segment 3  copy 8                 yours again at submission: it is staged
          costs      bytes staged 32, copied by the kernel 0; entries 1, completions 2, fragments 18
        proposal
          one entry, as it is
          #1 mixed A [copy P 0..24, zc K0 0..65536 reg 0, copy P 24..32] msg=WAITALL
          segment 1  copy 24                yours again at the result
          segment 2  zc 65536 reg 0         yours again at the notification
          segment 3  copy 8                 yours again at the result
          costs      bytes staged 0, copied by the kernel 32; entries 1, completions 2, fragments 16"#]]
    .assert_eq(&said.collect::<Vec<_>>().join("\n"));
}
