//! Campaigns that are stopped, gently and not: nothing that was found or counted is lost, and they go on.
//!
//! The test runs itself as the campaign that is killed, with a profile that makes the model wrong about
//! most programs, so that there is something to find.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use serde_json::Value;
use uringspec::campaign::{self, Kind, Plan, Totals};
use uringspec::draft::Features;
use uringspec::log;
use uringspec_model::verdict::Verdict;
use uringspec_real::{Options, WorkerCommand, probe};

/// How long something may take that needs some milliseconds.
const PATIENCE: Duration = Duration::from_secs(60);

type Test = fn() -> Result<(), Failed>;

fn main() {
    let mut args = std::env::args().skip(1);
    if args.next().as_deref() == Some("campaign") {
        let dir = args.next().expect("the folder is named");
        run(Path::new(&dir), Duration::from_secs(3600));
        return;
    }
    let tests: [(&str, Test); 3] = [
        ("a_kill_loses_nothing", a_kill_loses_nothing),
        ("an_interruption_ends_in_order", an_interruption_ends_in_order),
        (
            "a_mixed_campaign_sums_up_where_sends_went_and_how",
            a_mixed_campaign_sums_up_where_sends_went_and_how,
        ),
    ];
    let trials = tests.map(|(name, test)| {
        Trial::ignorable_test(name, move || match probe() {
            Ok(_) => test().map(|()| Completion::Completed),
            Err(skip) => Ok(Completion::ignored_with(skip.to_string())),
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit();
}

/// A campaign whose model knows no opcode but the first.
fn run(dir: &Path, duration: Duration) -> Totals {
    let mut profile = probe().expect("it was probed before");
    profile.opcodes = 1;
    let worker =
        WorkerCommand { program: env!("CARGO_BIN_EXE_uringspec").into(), args: vec!["worker".into()] };
    let plan = Plan {
        seed: 1,
        jobs: 2,
        duration,
        kind: Kind::Programs(Features::DEFAULT),
        dir: dir.into(),
        profile,
        options: Options::new(worker),
    };
    campaign::run(&plan, &Arc::new(AtomicBool::new(false)), |_| {}).expect("the folder can be written to")
}

fn a_kill_loses_nothing() -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let mut child = Command::new(std::env::current_exe()?).arg("campaign").arg(dir.path()).spawn()?;
    until("a find", || Ok(!files(dir.path(), "found-")?.is_empty() && written(dir.path())?.is_some()))?;
    let workers = children(&child);
    holds(workers.len() >= 2, "there are no workers")?;
    child.kill()?;
    child.wait()?;
    until("the workers' end", || Ok(workers.iter().all(|pid| !Path::new(&format!("/proc/{pid}")).exists())))?;

    let ledger = written(dir.path())?.ok_or("the ledger is there")?;
    every_program_is_counted_once(&ledger)?;
    let finds = files(dir.path(), "found-")?;
    for find in &finds {
        let found = log::read("", BufReader::new(File::open(find)?)).map_err(|error| error.to_string())?;
        let whole = found.program.is_some() && matches!(found.verdict, Some(Verdict::Rejected(_)));
        holds(whole, &format!("{} is not whole", find.display()))?;
    }

    let before = number(&ledger["totals"]["programs"])?;
    let totals = run(dir.path(), Duration::from_secs(1));
    holds(totals.programs > before, &format!("{} programs after {before}", totals.programs))?;
    holds(totals.rejected >= number(&ledger["totals"]["rejected"])?, "finds are counted no more")?;
    let ledger = written(dir.path())?.ok_or("the ledger is there")?;
    every_program_is_counted_once(&ledger)?;
    holds(ledger["open"] == Value::Array(Vec::new()), "the end leaves programs in work")?;
    holds(finds.iter().all(|find| find.exists()), "finds have gone")
}

fn an_interruption_ends_in_order() -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let soak = |seconds: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_uringspec"));
        command.args(["soak", "--format", "json", "--jobs", "2", "--seed", "3", "--seconds", seconds]);
        command.arg("--dir").arg(dir.path()).stdout(Stdio::piped());
        command
    };
    let child = soak("3600").spawn()?;
    until("counts", || Ok(written(dir.path())?.is_some_and(|l| l["totals"]["programs"].as_u64() > Some(0))))?;
    // what a terminal sends for Ctrl-C
    let sent = Command::new("sh").args(["-c", &format!("kill -INT {}", child.id())]).status()?;
    holds(sent.success(), "the interruption was not sent")?;
    let output = child.wait_with_output()?;
    holds(output.status.code().is_some(), "the interruption ended it in the middle")?;

    let last = last_line(&output.stdout)?;
    let ledger = written(dir.path())?.ok_or("the ledger is there")?;
    every_program_is_counted_once(&ledger)?;
    holds(ledger["open"] == Value::Array(Vec::new()), "the end leaves programs in work")?;
    for count in ["programs", "rejected", "stuck", "unclaimed"] {
        holds(last[count] == ledger["totals"][count], &format!("{count} were lost"))?;
    }
    for name in ["programs_per_s", "judge_ns_per_completion", "rules_reached"] {
        holds(number(&last[name])? > 0, &format!("{name} is nothing"))?;
    }
    let again = last_line(&soak("0").output()?.stdout)?;
    holds(again["programs"] == last["programs"], "what was counted is counted no more")
}

fn a_mixed_campaign_sums_up_where_sends_went_and_how() -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("summary.json");
    let soak = |seconds: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_uringspec"));
        command.args(["soak", "--mixed", "--format", "json", "--jobs", "2", "--seconds", seconds]);
        command.arg("--dir").arg(dir.path()).arg("--summary").arg(&path).output()
    };
    let output = soak("1")?;
    let last = last_line(&output.stdout)?;
    holds(output.status.code() == Some(0), &format!("something was found: {last}"))?;
    let ledger = written(dir.path())?.ok_or("the ledger is there")?;
    every_program_is_counted_once(&ledger)?;

    let written: Value = serde_json::from_slice(&fs::read(&path)?)?;
    holds(written == last, "the file says something else than the last line")?;
    let ways = last["ways"].as_object().ok_or("ways are counted")?;
    let programs = ways.values().map(|met| number(&met["programs"])).sum::<Result<u64, _>>()?;
    holds(programs > 0 && programs == number(&last["programs"])?, "a program was not counted for its way")?;
    holds(ways.keys().any(|way| way == "loopback copy"), "a path or a way is not named")?;

    let again = last_line(&soak("0")?.stdout)?;
    holds(again["ways"] == last["ways"], "what was counted is counted no more")
}

/// Each program below `next` is either counted or in work.
fn every_program_is_counted_once(ledger: &Value) -> Result<(), Failed> {
    let open = ledger["open"].as_array().ok_or("a list of programs in work")?.len() as u64;
    let totals: Totals = serde_json::from_value(ledger["totals"].clone())?;
    let next = number(&ledger["next"])?;
    holds(totals.done() + open == next, &format!("{} done and {open} in work of {next}", totals.done()))
}

fn holds(it: bool, otherwise: &str) -> Result<(), Failed> {
    if it { Ok(()) } else { Err(otherwise.into()) }
}

fn number(value: &Value) -> Result<u64, Failed> {
    value.as_u64().ok_or_else(|| format!("{value} is no number").into())
}

fn last_line(output: &[u8]) -> Result<Value, Failed> {
    let text = String::from_utf8_lossy(output);
    Ok(serde_json::from_str(text.lines().last().ok_or("nothing was written")?)?)
}

/// Waits for something that comes.
fn until(what: &str, mut there: impl FnMut() -> Result<bool, Failed>) -> Result<(), Failed> {
    let deadline = Instant::now() + PATIENCE;
    while !there()? {
        holds(Instant::now() < deadline, &format!("{what} did not come"))?;
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn files(dir: &Path, prefix: &str) -> Result<Vec<PathBuf>, Failed> {
    let all =
        fs::read_dir(dir)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
    let named = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix))
            && path.extension().is_some_and(|extension| extension == "jsonl" || extension == "json")
    };
    Ok(all.into_iter().filter(named).collect())
}

/// The ledger, once it is there.
fn written(dir: &Path) -> Result<Option<Value>, Failed> {
    let Some(path) = files(dir, "campaign-")?.pop() else { return Ok(None) };
    Ok(Some(serde_json::from_slice(&fs::read(path)?)?))
}

/// Processes that the child started.
fn children(child: &Child) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", child.id())).into_iter().flatten().flatten();
    let of = |task: fs::DirEntry| fs::read_to_string(task.path().join("children")).unwrap_or_default();
    tasks.map(of).collect::<String>().split_whitespace().map(String::from).collect()
}
