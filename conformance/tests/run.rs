//! `uringspec run`: how often each alternative is seen on this kernel, and what is written of it.
//!
//! Where no program can be run, the tests end at once.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;
use uringspec::case::witness::{Witness, digest};
use uringspec::case::{self, Case};

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_uringspec"))
        .arg("run")
        .args(args)
        .output()
        .expect("the command was built")
}

/// A case in a file of its own.
struct File {
    path: PathBuf,
    _folder: TempDir,
}

impl File {
    fn of(text: &str) -> File {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let path = folder.path().join("x.case");
        fs::write(&path, text).expect("the file can be written");
        File { path, _folder: folder }
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.path).expect("the file is there")
    }

    fn case(&self) -> Case {
        case::parse("x.case", &self.text()).unwrap_or_else(|error| panic!("{}", error.page(false)))
    }

    /// Runs the case; exit code, lines, and errors. `None` where nothing can be run.
    fn run(&self, args: &[&str]) -> Option<(i32, String, String)> {
        let output = run(&[args, &[self.path.to_str().expect("a plain path")]].concat());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let error = text(&output.stderr);
        if error.starts_with("nothing can be run") {
            assert_eq!(output.status.code(), Some(77));
            return None;
        }
        Some((output.status.code().expect("it ends by itself"), text(&output.stdout), error))
    }
}

/// A send of 100 bytes, with an alternative that no kernel can show: counts stand in for what may come.
const CHOICE: &str = "# A choice.

socket     A B tcp
buffer     K 4096

submit
  #1 send A K 0..100

expect
  #1  1..100
   or -EAGAIN
received   B  K 0..#1
";

fn last(text: &str) -> serde_json::Value {
    serde_json::from_str(text.lines().last().expect("there is a last line")).expect("JSON")
}

#[test]
fn each_alternative_is_counted_or_never_seen() {
    let Some((code, text, _)) = File::of(CHOICE).run(&["--times", "7", "--jobs", "3"]) else { return };
    assert_eq!(code, 0, "{text}");
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].ends_with("x  14 runs on plain and defer rings, lane loopback"), "{text}");
    assert_eq!(lines[1..3], ["      14  #1 1..100 as 100", "   never  #1 -EAGAIN"]);
    let last = last(&text);
    assert_eq!((last["runs"].as_u64(), last["alternatives"].as_u64()), (Some(14), Some(2)));
    assert_eq!((last["seen"].as_u64(), last["never"].as_u64()), (Some(1), Some(1)));
}

#[test]
fn each_alternative_is_an_object() {
    let Some((_, text, _)) = File::of(CHOICE).run(&["--times", "2", "--format", "json"]) else { return };
    let rows: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect();
    assert_eq!(rows.len(), 3);
    assert_eq!((&rows[0]["alternative"], &rows[0]["times"]), (&"#1 1..100".into(), &4.into()));
    assert_eq!(
        (&rows[0]["seen"], &rows[0]["rings"]),
        (&"100".into(), &serde_json::json!(["plain", "defer"]))
    );
    assert_eq!((&rows[1]["alternative"], &rows[1]["times"]), (&"#1 -EAGAIN".into(), &0.into()));
}

#[test]
fn a_file_is_written_when_asked_and_only_if_there_is_something_new() {
    let file = File::of(CHOICE);
    if file.run(&["--times", "1"]).is_none() {
        return;
    }
    assert_eq!(file.text(), CHOICE);
    let (_, text, _) = file.run(&["--times", "1", "--write"]).expect("it ran before");
    assert_eq!(last(&text)["written"].as_u64(), Some(1));
    let written = file.text();
    let lines: Vec<&str> = written.strip_prefix(CHOICE).expect("the case is as it was").lines().collect();
    assert!(lines[1].starts_with("seen ") && lines[1].contains(" loopback 20"), "{written}");
    assert_eq!(lines[2..], ["  #1 1..100 as 100"]);
    case::check_witnesses("x.case", &written, &file.case()).expect("what is written fits");
    let (_, text, _) = file.run(&["--times", "2", "--write"]).expect("it ran before");
    assert_eq!((last(&text)["written"].as_u64(), file.text()), (Some(0), written));
}

#[test]
fn older_witnesses_stay_and_those_of_another_case_go() {
    let of = digest(&case::parse("x.case", CHOICE).expect("it can be read"));
    let old = |release: &str, digest: u32, seen: &str| {
        format!("seen       {release} loopback 2020-02-02 case={digest:08x}\n  {seen}\n")
    };
    let reason = |what: &str| {
        format!("unseen     {what}\n  source   net/ipv4/tcp.c tcp_sendmsg 6.18\n  why      so\n")
    };
    let text = format!(
        "{CHOICE}\n{}{}{}{}{}",
        old("5.19.1", of, "#1 1..100 as 7"),
        old("5.18.1", of ^ 1, "#1 1..100 as 8"),
        reason("#1 1..100"),
        reason("#1 -EAGAIN"),
        reason("#1 -EPIPE")
    );
    let file = File::of(&text);
    let Some((code, out, error)) = file.run(&["--times", "1", "--write"]) else { return };
    assert_eq!(code, 0, "{out}{error}");
    for dropped in
        ["another case on 5.18.1, 2020-02-02", "seen now: #1 1..100: so", "any more: #1 -EPIPE: so"]
    {
        assert!(out.contains(dropped), "{dropped} is not in\n{out}");
    }
    let blocks: Vec<String> = file
        .case()
        .witnesses
        .iter()
        .map(|witness| match &witness.what {
            Witness::Seen(seen) if seen.release == "5.19.1" => format!("{} then", seen.date),
            Witness::Seen(seen) => format!("{} now", seen.sightings.len()),
            Witness::Unseen(unseen) => unseen.why.join(" "),
        })
        .collect();
    assert_eq!(blocks, ["2020-02-02 then", "1 now", "so"]);
    assert!(file.text().ends_with(&reason("#1 -EAGAIN")));
}

#[test]
fn what_is_seen_again_and_more_of_it_is_joined() {
    let Some((_, text, _)) = File::of(CHOICE).run(&["--times", "1"]) else { return };
    let release = last(&text)["kernel"].as_str().expect("it is named").to_string();
    let of = digest(&case::parse("x.case", CHOICE).expect("it can be read"));
    let file = File::of(&format!(
        "{CHOICE}\nseen {release} loopback 2020-02-02 case={of:08x}\n  #1 1..100 as 7  # luck\n  #1 -EAGAIN\n"
    ));
    file.run(&["--times", "1", "--write"]).expect("it ran before");
    let text = file.text();
    let lines: Vec<&str> = text.lines().rev().take(4).collect();
    assert_eq!(lines[0], "  #1 1..100 as 7..100  # luck");
    assert_eq!(lines[2], "  #1 -EAGAIN");
    assert!(lines[3].contains("2020-02-02") && !lines[1].contains("2020-02-02"), "{text}");
}

#[test]
fn a_case_that_is_not_accepted_is_rejected_once_and_not_written() {
    let text = "# Wrong.\nsubmit\n  #1 nop\nexpect\n  #1 1\n";
    let file = File::of(text);
    let Some((code, out, _)) = file.run(&["--times", "50", "--jobs", "1", "--write"]) else { return };
    assert_eq!((code, file.text().as_str()), (1, text), "{out}");
    // Once on each kind of ring, with its page.
    assert_eq!(last(&out)["rejected"].as_u64(), Some(2));
    assert_eq!(out.matches("REJECTED").count(), 2, "{out}");
}

#[test]
fn a_case_that_cannot_be_run_here_is_skipped() {
    let file = File::of("# Later.\nneeds NOTIF_USER_DATA\nrings plain\nsubmit\n  #1 nop\nexpect\n  #1 0\n");
    let Some((code, out, _)) = file.run(&["--write"]) else { return };
    if code != 0 {
        assert_eq!(code, 77, "{out}");
        assert!(out.contains("x  was not run") && out.contains("needs NOTIF_USER_DATA"), "{out}");
        assert!(!file.text().contains("seen"));
    }
}

#[test]
fn an_interruption_at_the_terminal_ends_with_what_was_counted() {
    let file = File::of(CHOICE);
    if file.run(&["--times", "1"]).is_none() {
        return;
    }
    // Far more than ever ends; a process group of its own is what a terminal interrupts.
    let child = Command::new(env!("CARGO_BIN_EXE_uringspec"))
        .args(["run", "--times", "1000000000", "--format", "json", "--jobs", "1"])
        .arg(&file.path)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .expect("the command was built");
    let group = format!("-{}", child.id());
    // Its workers are the children of one of its threads, once they have become what they are to be.
    let has_workers = || {
        let tasks = fs::read_dir(format!("/proc/{}/task", child.id())).into_iter().flatten().flatten();
        let children = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
        let children = children.collect::<Vec<_>>().join(" ");
        let is_worker = |id: &str| {
            let words = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            words.split(|b| *b == 0).any(|word| word == b"worker")
        };
        children.split_whitespace().any(is_worker)
    };
    while !has_workers() {
        std::thread::yield_now();
    }
    let killed = Command::new("kill").args(["-INT", "--", &group]).status().expect("kill is there");
    assert!(killed.success());
    let output = child.wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let last = last(&text);
    assert_eq!((last["rejected"].as_u64(), last["stuck"].as_u64()), (Some(0), Some(0)), "{text}");
}

#[test]
fn bad_arguments_are_usage() {
    for args in [
        &["zc/hold"][..],
        &["--times", "0"],
        &["--times", "x"],
        &["--jobs", "0"],
        &["--jobs", "257"],
        &["-x"],
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(64), "{args:?}");
        assert!(!output.stderr.is_empty(), "{args:?}");
    }
    assert!(String::from_utf8_lossy(&run(&["zc/hold"]).stderr).contains("zc/held"));
}
