//! Tokens, finds and cases as what commands are given: run again, kept as a case, printed as C.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use uringspec::campaign;
use uringspec::catalog::{self, Loaded};
use uringspec::draft::{Draft, Features};
use uringspec::expect::within;
use uringspec::fuzzed::any_fields;
use uringspec::keep::{NoCase, keep};
use uringspec::log::{self, Log};
use uringspec::outcome::Outcome;
use uringspec::side_by_side::{Status, Terms, on_model};
use uringspec::{export, given, token};
use uringspec_model::check::check;
use uringspec_model::choices::Seeded;
use uringspec_model::profile::Profile;
use uringspec_model::program::{Lane, Program};
use uringspec_model::simulate::simulate;

fn uringspec(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_uringspec")).args(args).output().expect("the command was built")
}

/// So many are walked in no time.
const STATES_MAX: usize = 500;

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text is written as UTF-8")
}

#[track_caller]
fn last(output: &Output) -> serde_json::Value {
    let out = text(&output.stdout);
    let line = out.lines().last().unwrap_or_else(|| panic!("nothing came: {}", text(&output.stderr)));
    serde_json::from_str(line).expect("the last line is JSON")
}

fn case(name: &str) -> Loaded {
    let found = catalog::all().expect("the cases stand beside this test");
    found.into_iter().find(|found| found.name == name).expect("it is there").read().expect("it can be read")
}

/// The program of a case on its first kind of ring, as a token.
fn token_of(name: &str) -> String {
    token::encode(&case(name).lowered[0].program)
}

#[test]
fn tokens_of_all_cases_are_read_back() {
    for found in catalog::all().expect("the cases stand beside this test") {
        for lowered in found.read().expect("the cases can be read").lowered {
            assert_eq!(token::decode(&token::encode(&lowered.program)), Ok(lowered.program));
        }
    }
}

#[test]
fn what_is_given_is_a_token_a_log_or_a_case() {
    let token = token_of("ring/unordered");
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("find.jsonl");
    let program = token::decode(&token).expect("it was just made");
    let mut bytes = Vec::new();
    log::write(&mut bytes, &Log { program: Some(program.clone()), ..Log::default() })
        .expect("memory can be written");
    fs::write(&path, bytes).expect("the file can be written");
    for word in [token.as_str(), path.to_str().expect("a plain path"), "ring/unordered"] {
        let given = given::given(word, false).expect(word);
        assert_eq!(given.lowered[0].program, program, "{word}");
    }
}

#[test]
fn what_a_fuzz_target_found_is_a_draft() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("crash-1f3a");
    let bytes: Vec<u8> = (0..200).map(|n: u32| (n * 37 % 251) as u8).collect();
    fs::write(&path, &bytes).expect("the file can be written");
    let given = given::given(path.to_str().expect("a plain path"), false).expect("any bytes are a draft");
    assert_eq!(given.lowered[0].program, Draft::from_bytes(&bytes).resolve());
    // the target `sqe_fields` makes something else of the same bytes
    let folder = folder.path().join("sqe_fields");
    let found = folder.join("crash-1f3a");
    fs::create_dir(&folder).and_then(|()| fs::write(&found, &bytes)).expect("the file can be written");
    let given = given::given(found.to_str().expect("a plain path"), false).expect("any bytes are a draft");
    assert_eq!(given.lowered[0].program, any_fields(&bytes));
    fs::write(&path, []).expect("the file can be written");
    assert!(given::given(path.to_str().expect("a plain path"), false).is_ok());
}

#[test]
fn what_is_none_of_these_is_refused() {
    let token = token_of("ring/unordered");
    let cut = &token[..token.len() - 3];
    let mut changed = token.clone().into_bytes();
    changed[30] = if changed[30] == b'A' { b'B' } else { b'A' };
    let changed = text(&changed);
    let other = token.replace("d1:", "d2:");
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("the file can be written");
        path.to_str().expect("a plain path").to_string()
    };
    let no_log = file("x.jsonl", "what is this\n");
    let no_program = file("y.jsonl", "{\"v\":1,\"end\":\"complete\"}\n");
    let out = folder.path().to_str().expect("a plain path");
    for (word, says) in [
        (cut, "the token is cut off: "),
        (&changed, "the token was changed: its checksum is "),
        (&other, "the token is of version d2, expected d1:…"),
        ("d1:", "the token is cut off: 0 bytes of 8"),
        ("d1:é", "character 4 of the token cannot stand there"),
        (&no_log, "expected one of {\"v\":1,\"program\":…}"),
        (&no_program, "no program, expected a line {\"v\":1,\"program\":…}"),
        ("zc/no-such-case", "there is no such file, case or area, expected one of: "),
        ("ring", "cases, expected one, such as ring/"),
    ] {
        for args in [&["replay", word][..], &["keep", word, "zc/x", "--dir", out], &["export", word, "--c"]] {
            let output = uringspec(args);
            let error = text(&output.stderr);
            assert_eq!(output.status.code(), Some(64), "{args:?}: {error}");
            assert!(error.contains(says), "{args:?}: {error}");
            assert!(output.stdout.is_empty(), "{args:?}");
        }
    }
    for args in [
        &["replay", &token, "--times", "0"][..],
        &["replay", &token, "--profile", "7.9"],
        &["replay"],
        &["keep", &token],
        &["keep", &token, "Zc/x", "--dir", out],
        &["keep", &token, "x", "--dir", out],
        &["keep", &token, "../x/y", "--dir", out],
        &["keep", "zc/held", "zc/x", "--dir", out],
        &["keep", &token, "zc/x", "--dir", out, "--profile", "7.9"],
        &["export", &token],
        &["export", &token, "--c", "--ring", "round"],
        &["export", &token, "--c", "--ring", "defer"],
        &["export", &token, "--c", "--out", "/no/such/folder/x.c"],
    ] {
        assert_eq!(uringspec(args).status.code(), Some(64), "{args:?}");
    }
}

#[test]
fn a_replay_says_what_may_come_and_how_often_it_did() {
    let Ok(profile) = uringspec_real::probe() else { return };
    let token = token_of("zc/held");
    let output = uringspec(&["replay", &token, "--times", "5"]);
    let last = last(&output);
    assert_eq!(output.status.code(), Some(0), "{last}");
    assert_eq!((&last["runs"], &last["accepted"], &last["rejected"]), (&5.into(), &5.into(), &0.into()));
    assert_eq!(
        last["seen"].as_u64().zip(last["never"].as_u64()).map(|(a, b)| a + b),
        last["outcomes"].as_u64()
    );
    assert_eq!(last["kernel"], profile.release);
    // a case is run on each of its kinds of ring
    let output = uringspec(&["replay", "zc/held", "--times", "2"]);
    assert_eq!(self::last(&output)["runs"], 4);
}

#[test]
fn a_run_that_the_model_refuses_is_a_page_with_its_token() {
    // The judge that is told of another kernel refuses what this one does.
    if uringspec_real::probe().is_err() {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("old.jsonl");
    let mut old = Profile::v6_18();
    old.opcodes = 40;
    old.release = "without zero copy".into();
    let log = Log { profile: Some(old), ..Log::default() };
    let mut bytes = Vec::new();
    log::write(&mut bytes, &log).expect("memory can be written");
    fs::write(&path, bytes).expect("the file can be written");
    let token = token_of("zc/held");
    let output = uringspec(&["replay", &token, "--profile", path.to_str().expect("a plain path")]);
    let page = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{page}");
    assert!(page.contains("REJECTED  d1:") && page.contains("sqe.opcode-known"), "{page}");
    assert!(page.contains(&format!("  replay  uringspec replay {token}   (")), "{page}");
    assert!(page.contains(&format!("  keep    uringspec keep {token} AREA/NAME")), "{page}");
}

/// Cases are kept as cases: what is listed anew is accepted as what was listed by hand was.
#[test]
fn cases_come_out_as_cases() {
    let (mut kept, mut refused) = (0, Vec::new());
    let cases = catalog::all().expect("the cases stand beside this test");
    // no kernel has mixed sends
    for found in cases.into_iter().filter(|found| !found.name.starts_with("mixed/")) {
        let loaded = found.read().expect("the cases can be read");
        let lowered = given::lowered(loaded.lowered[0].program.clone());
        match keep("kept/again", &lowered, None, &Profile::v6_18(), STATES_MAX) {
            Ok(text) => {
                kept += 1;
                accepted(&loaded.found.name, &text);
            }
            Err(NoCase::TooMuch(_)) => {}
            Err(error) => refused.push(format!("{}: {error}", loaded.found.name)),
        }
    }
    println!("{kept} kept, {} refused:\n{}", refused.len(), refused.join("\n"));
    assert!(
        kept > 50 && kept > 9 * refused.len(),
        "{kept} kept, {} refused:\n{}",
        refused.len(),
        refused.join("\n")
    );
}

#[track_caller]
fn accepted(name: &str, text: &str) {
    let found = catalog::Found {
        name: "kept/again".into(),
        file: "again.case".into(),
        path: None,
        text: text.into(),
    };
    let loaded = found.read().unwrap_or_else(|error| panic!("{name}: {}\n{text}", error.page(false)));
    for report in on_model(&loaded, &Profile::v6_18(), Terms::default()) {
        assert!(
            matches!(report.status, Status::Accepted { .. } | Status::Skipped(_)),
            "{name}: {:?}\n{text}",
            report.status
        );
    }
}

#[test]
fn random_programs_are_kept_or_refused_with_a_reason() {
    let mut kept = 0;
    for number in 0..120 {
        let program = campaign::program(3, number, Features::DEFAULT);
        if program.steps.len() > 3 {
            continue;
        }
        match keep("kept/random", &given::lowered(program), None, &Profile::v6_18(), STATES_MAX) {
            Ok(text) => {
                kept += 1;
                accepted(&number.to_string(), &text);
            }
            Err(NoCase::Inexact(why)) => panic!("program {number}: {why}"),
            Err(_) => {}
        }
    }
    assert!(kept > 3, "only {kept} random programs are cases");
}

#[test]
fn a_kept_case_is_written_once() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let dir = folder.path().to_str().expect("a plain path");
    let token = token_of("zc/held");
    let output = uringspec(&["keep", &token, "zc/again", "--dir", dir]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let path = folder.path().join("zc/again.case");
    assert_eq!(last(&output)["file"], path.to_str().expect("a plain path"));
    let written = fs::read_to_string(&path).expect("it was written");
    assert!(written.starts_with("# TO BE WRITTEN: "), "{written}");
    let checked = uringspec(&["check", "--model-only", path.to_str().expect("a plain path")]);
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stdout));
    assert_eq!(uringspec(&["keep", &token, "zc/again", "--dir", dir]).status.code(), Some(64));
}

#[test]
fn what_the_case_form_cannot_say_is_no_case() {
    let twice = r#"{"rings":[{"entries":8}],"steps":[{"submit":{"ring":0,"sqes":[{"user_data":1},{"user_data":1}]}}]}"#;
    let program: Program = serde_json::from_str(twice).expect("it is one");
    let error = keep("x/y", &given::lowered(program), None, &Profile::v6_18(), STATES_MAX)
        .expect_err("two have the same user data");
    assert!(matches!(&error, NoCase::Form(why) if why.contains("#1 is taken")), "{error}");
}

/// Compiles what was exported; nothing where there is no compiler.
fn compiled(c: &str, folder: &Path) -> Option<std::path::PathBuf> {
    let (source, program) = (folder.join("x.c"), folder.join("x"));
    fs::write(&source, c).expect("the file can be written");
    let flags = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-o"];
    let output = Command::new("cc").args(flags).arg(&program).arg(&source).output();
    let output = match output {
        Ok(output) => output,
        Err(error) => {
            println!("skipped: cc: {error}");
            return None;
        }
    };
    assert!(output.status.success(), "{}", text(&output.stderr));
    Some(program)
}

#[test]
fn what_is_exported_does_what_the_case_lists() {
    let profile = match uringspec_real::probe() {
        Ok(profile) => profile,
        Err(skip) => return println!("skipped: {skip}"),
    };
    for name in EXPORTED {
        let loaded = case(name);
        for lowered in &loaded.lowered {
            let folder = tempfile::tempdir().expect("a temporary folder can be made");
            let c = export::c(name, lowered).expect(name);
            let Some(program) = compiled(&c, folder.path()) else { return };
            let output = Command::new(program).output().expect("it was compiled");
            assert_eq!(output.status.code(), Some(0), "{name}: {}", text(&output.stderr));
            let log = log::read("x.log", output.stdout.as_slice()).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(log.program.as_ref(), Some(&lowered.program), "{name}");
            let verdict = check(&lowered.program, &profile, &log.trace);
            assert!(verdict.is_accepted(), "{name}: {verdict:?}\n{}", text(&output.stdout));
            let outcome = Outcome::of(lowered, &log.trace);
            within(lowered, &outcome).unwrap_or_else(|m| panic!("{name}: {m:?}\n{}", text(&output.stdout)));
        }
    }
}

/// Between them: gates and loopback, TCP, UDP and Unix, chains, registered buffers, overflow, resets, vectors.
const EXPORTED: &[&str] = &[
    "zc/held",
    "dgram/whole",
    "unix/peer-gone",
    "ring/overflow-zero-copy",
    "link/orphan-notif",
    "lifetime/reset-while-waiting",
    "send/waitall",
];

#[test]
fn what_takes_more_than_system_calls_is_not_exported() {
    let with = |json: &str| given::lowered(serde_json::from_str::<Program>(json).expect("it is one"));
    let refused = |json: &str| export::c("x", &with(json)).expect_err("this must be refused").to_string();
    let polled = refused(r#"{"rings":[{"entries":8,"flags":3}]}"#);
    assert_eq!(polled, "a ring has IOPOLL|SQPOLL, expected flags that need no more than two mappings");
    let unlink = refused(r#"{"steps":[{"submit":{"ring":0,"sqes":[{"opcode":36}]}}]}"#);
    assert!(unlink.starts_with("an entry has opcode UNLINKAT, expected"), "{unlink}");
    let lane = refused(r#"{"sockets":[{"kind":"udp4","lane":"ifb_udp"}]}"#);
    assert!(lane.starts_with("a socket is on a lane that takes more than system calls"), "{lane}");
    let outside = refused(r#"{"regions":[{"name":"K","addr":4096,"len_bytes":1}]}"#);
    assert_eq!(outside, "region K lies outside of the window of addresses");
    assert_eq!(
        refused(&format!("{{\"rings\":[{}]}}", [r#"{"entries":1}"#; 9].join(","))),
        "there are more than 8 rings or 64 sockets"
    );
}

#[test]
fn c_has_no_warnings_whatever_the_program() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let mut all = 0;
    for number in 0..8 {
        let mut program = campaign::program(5, number, Features::DEFAULT);
        for socket in program.sockets.iter_mut().filter(|socket| socket.lane.has_device()) {
            socket.lane = Lane::Loopback;
        }
        program.regions.iter_mut().for_each(|region| region.name += "*/\n");
        let Ok(c) = export::c("*/ int x;", &given::lowered(program)) else { continue };
        if compiled(&c, folder.path()).is_none() {
            return;
        }
        all += 1;
    }
    assert!(all > 3);
}

#[test]
fn simulated_runs_of_a_token_are_those_of_its_program() {
    let program = token::decode(&token_of("zc/held")).expect("it was just made");
    let trace = simulate(&program, &Profile::v6_18(), &mut Seeded::new(1));
    assert!(check(&case("zc/held").lowered[0].program, &Profile::v6_18(), &trace).is_accepted());
}
