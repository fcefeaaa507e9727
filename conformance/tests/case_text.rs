//! What is read is what is printed, and what is printed is what is read.

use uringspec::case::lowered::{Expected, Lowered};
use uringspec::case::{self, Case, Data, Step, print};
use uringspec::{catalog, words};
use uringspec_model::program::Step as Do;

fn parsed(file: &str, text: &str) -> Case {
    case::parse(file, text).unwrap_or_else(|error| panic!("{}", error.page(false)))
}

#[test]
fn every_case_file_is_in_the_settled_layout() {
    for found in catalog::all().expect("the cases stand beside this test") {
        let case = parsed(&found.file, &found.text);
        let printed = print::print(&case);
        assert_eq!(parsed(&found.file, &printed), case, "{}", found.file);
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(
                catalog::checkout().expect("it is here").join(format!("{}.case", found.name)),
                &printed,
            )
            .expect("the case can be written");
        } else {
            assert_eq!(printed, found.text, "{} (UPDATE_EXPECT=1 rewrites it)", found.file);
        }
    }
}

#[test]
fn entries_are_read_back_from_the_program() {
    let mut read_back = 0;
    for found in catalog::all().expect("the cases stand beside this test") {
        let case = parsed(&found.file, &found.text);
        for lowered in case::lower(&found.file, &found.text, &case).expect("cases can be lowered") {
            read_back += check_read_back(&case, &lowered);
        }
    }
    assert!(read_back >= 20, "only {read_back} entries were compared");
}

fn check_read_back(case: &Case, lowered: &Lowered) -> usize {
    let written = case.steps.iter().filter_map(|step| match &step.what {
        Step::Submit(submit) => Some(submit.sqes.iter().map(|sqe| &sqe.what)),
        _ => None,
    });
    let sent = lowered.program.steps.iter().filter_map(|step| match step {
        Do::Submit { sqes, .. } => Some(sqes),
        _ => None,
    });
    let mut compared = 0;
    for (line, sqe) in written.flatten().zip(sent.flatten()) {
        // Nonsense is read back as `raw.` fields, maybe others than those that were written.
        let empty = matches!(&line.data, Data::Flat(segment) if segment.from == segment.to);
        if line.raw.is_empty() && !empty && line.index != Some(0) {
            assert_eq!(words::decode(&lowered.program, &lowered.names, sqe), *line);
            compared += 1;
        }
    }
    compared
}

#[test]
fn a_step_knows_its_line() {
    for found in catalog::all().expect("the cases stand beside this test") {
        let case = parsed(&found.file, &found.text);
        for lowered in case::lower(&found.file, &found.text, &case).expect("cases can be lowered") {
            assert_eq!(lowered.lines.len(), lowered.program.steps.len());
            let line = |n: u32| found.text.lines().nth(n as usize - 1).unwrap_or("");
            for expectation in &lowered.expectations {
                let keyword = match &expectation.what {
                    Expected::Completions(expect) if expect.peek.is_none() => "expect",
                    Expected::Completions(_) | Expected::Overflow(_) => "peek",
                    Expected::Arrivals(_) => "received",
                    Expected::Resent(_) => "resent",
                    Expected::Words(_) => "look",
                    Expected::Returned(_) => continue,
                };
                assert!(line(expectation.line).starts_with(keyword), "{}:{}", found.file, expectation.line);
            }
        }
    }
}
