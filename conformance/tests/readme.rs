//! What the README shows is what the command prints.
//!
//! Every ```console block is run: its `$ uringspec …` lines in order, in the folder of the README, each
//! compared with the lines below it. A line `…` stands for any lines. `UPDATE_EXPECT=1` writes what came.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Commands that give answers only where programs can be run.
const NEED_KERNEL: &[&str] = &["check", "run", "soak"];

/// What is run and what is shown below it.
#[derive(Debug, PartialEq, Eq)]
struct Example {
    /// The number of the line, from 1.
    line: usize,
    /// Behind `$ uringspec`.
    args: Vec<String>,
    /// The lines up to the next command or the end of the block.
    shown: Vec<String>,
}

fn readme() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace").join("README.md")
}

fn examples(text: &str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    let (mut in_block, mut open) = (false, false);
    for (n, line) in text.lines().enumerate() {
        if line.starts_with("```") {
            (in_block, open) = (line == "```console", false);
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| in_block) {
            open = command.split_whitespace().next() == Some("uringspec");
            let args = command.split_whitespace().skip(1).map(str::to_string).collect();
            if open {
                examples.push(Example { line: n + 1, args, shown: Vec::new() });
            }
        } else if let Some(example) = examples.last_mut().filter(|_| in_block && open) {
            example.shown.push(line.to_string());
        }
    }
    examples
}

/// The first two numbers of a release of a kernel such as `6.18.44`.
fn version(word: &str) -> Option<(u32, u32)> {
    let numbers: Vec<u32> = word.split('-').next()?.split('.').map_while(|n| n.parse().ok()).collect();
    if let [major, minor, _] = numbers[..] { Some((major, minor)) } else { None }
}

/// A line without what differs from day to day and from machine to machine: dates and releases of kernels
/// have a mark in their place. Where programs were `live`, a count at the beginning has one too, if it is
/// not zero.
fn settled(line: &str, live: bool) -> String {
    let digits = |word: &str, at: &[usize]| {
        word.split('-').map(str::len).eq(at.iter().copied())
            && word.bytes().all(|b| b == b'-' || b.is_ascii_digit())
    };
    let mut settled = String::new();
    for (n, word) in line.split_inclusive([' ', ',', '"']).enumerate() {
        let (bare, end) = match word.char_indices().next_back() {
            Some((at, ' ' | ',' | '"')) => word.split_at(at),
            _ => (word, ""),
        };
        let counts = live && line.starts_with(' ') && settled.trim().is_empty() && n > 0;
        settled += match bare {
            date if digits(date, &[4, 2, 2]) => "DATE",
            kernel if version(kernel).is_some() => "KERNEL",
            count if counts && !count.is_empty() && count != "0" && digits(count, &[count.len()]) => "COUNT",
            other => other,
        };
        settled += end;
    }
    // Blanks before a count depend on how long it is.
    if settled.trim_start().starts_with("COUNT") { settled.trim_start().to_string() } else { settled }
}

/// The first difference, or nothing.
fn difference(shown: &[String], came: &[String], live: bool) -> Option<String> {
    let Some((first, rest)) = shown.split_first() else {
        return came.first().map(|line| format!("more came: {line}"));
    };
    if first == "…" {
        let found = (0..=came.len()).any(|skipped| difference(rest, &came[skipped..], live).is_none());
        return (!found).then(|| format!("nothing behind `…` is as shown: {rest:?}"));
    }
    match came.split_first() {
        None => Some(format!("this did not come: {first}")),
        Some((line, more)) if settled(line, live) == settled(first, live) => difference(rest, more, live),
        Some((line, _)) => Some(format!("shown: {first}\n came: {line}")),
    }
}

fn output(example: &Example) -> Vec<String> {
    let folder = readme().parent().expect("it lies in a folder").to_path_buf();
    let output = Command::new(env!("CARGO_BIN_EXE_uringspec"))
        .args(&example.args)
        .current_dir(folder)
        .output()
        .expect("the command was built");
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).lines().map(str::to_string).collect()
}

#[test]
fn the_command_prints_what_the_readme_shows() {
    let text = fs::read_to_string(readme()).expect("the README is there");
    let examples = examples(&text);
    assert!(!examples.is_empty(), "the README shows no command");
    let kernel = uringspec_real::probe();
    let mut lines: Vec<String> = text.lines().map(str::to_string).collect();
    for example in examples.iter().rev() {
        let command = format!("README.md:{}: uringspec {}", example.line, example.args.join(" "));
        let name = example.args.first().map_or("check", String::as_str);
        if let (true, Err(skip)) = (NEED_KERNEL.contains(&name), &kernel) {
            eprintln!("skipped: {command}: {skip}");
            continue;
        }
        // What a kernel does is shown of one; another may do something else.
        let shown_on = example.shown.iter().flat_map(|line| line.split([' ', ',', '"'])).find_map(version);
        let here = kernel.as_ref().ok().and_then(|profile| version(&profile.release));
        if name == "run" && shown_on.is_some() && shown_on != here {
            eprintln!("skipped: {command}: it shows another kernel than this one");
            continue;
        }
        let came = output(example);
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            if difference(&example.shown, &came, name == "run").is_some() {
                lines.splice(example.line..example.line + example.shown.len(), came);
            }
        } else if let Some(difference) = difference(&example.shown, &came, name == "run") {
            panic!("{command}\n{difference}\n(UPDATE_EXPECT=1 writes what came)");
        }
    }
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(readme(), lines.join("\n") + "\n").expect("the README can be written");
    }
}

#[test]
fn examples_are_found_and_nothing_else() {
    let text = "```\n$ uringspec no\n```\n```console\n$ ls\nx\n$ uringspec rules zc.\na\nb\n```\nc\n";
    let args = vec!["rules".to_string(), "zc.".into()];
    assert_eq!(examples(text), [Example { line: 7, args, shown: vec!["a".into(), "b".into()] }]);
}

#[test]
fn only_dates_releases_and_counts_may_differ() {
    let same = |a: &str, b: &str| difference(&[a.into()], &[b.into()], true).is_none();
    assert!(same("Linux 6.18.44, 2026-07-29", "Linux 7.1.0-rc3+, 2027-01-02"));
    assert!(same("     371  #1 100", "      29  #1 100"));
    assert!(same(r#"{"kernel":"6.18.44-x"}"#, r#"{"kernel":"6.1.2"}"#));
    assert!(!same("     371  #1 100", "     371  #1 101"));
    assert!(!same("     371  #1 100", "   never  #1 100"));
    assert!(!same("     371  #1 100", "       0  #1 100"));
    assert!(difference(&["   371  x".into()], &["   29  x".into()], false).is_some());
    assert!(!same("400 runs", "200 runs"));
    assert!(!same("2026-07-29", "yesterday"));
    assert!(!same("6.18 (named)", "6.19 (named)"));
}

#[test]
fn lines_that_lack_or_are_too_many_are_differences() {
    let lines = |text: &str| text.lines().map(str::to_string).collect::<Vec<_>>();
    let differ = |shown: &str, came: &str| difference(&lines(shown), &lines(came), true).is_some();
    assert!(!differ("a\nb", "a\nb"));
    assert!(differ("a\nb", "a") && differ("a", "a\nb") && differ("", "a"));
    assert!(!differ("a\n…\nd", "a\nb\nc\nd") && !differ("a\n…", "a"));
    assert!(differ("a\n…\nd", "a\nb\nc"));
}
