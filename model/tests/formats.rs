//! The examples that stand in the documentation of programs and traces can be read, and everything
//! that is written can be read back.

mod programs;

use uringspec_model::choices::Seeded;
use uringspec_model::profile::Profile;
use uringspec_model::program::Program;
use uringspec_model::simulate::simulate;
use uringspec_model::trace::{Line, Versioned};

/// The JSON lines between the fences of a module's documentation.
fn example(source: &str) -> String {
    let doc: Vec<&str> = source.lines().filter_map(|line| line.strip_prefix("//! ")).collect();
    let from = doc.iter().position(|line| *line == "```json").expect("the example starts");
    let to = doc.iter().rposition(|line| *line == "```").expect("the example ends");
    doc[from + 1..to].join("\n")
}

#[test]
fn the_example_program_is_read() {
    let text = example(include_str!("../src/program.rs"));
    let program: Program = serde_json::from_str(&text).unwrap();
    assert_eq!(program.steps.len(), 3);
}

#[test]
fn the_example_trace_is_read() {
    let text = example(include_str!("../src/trace.rs"));
    let lines: Vec<Versioned> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 4);
    assert!(matches!(lines[3].line, Line::End(_)));
}

#[test]
fn what_is_written_is_read_back() {
    let profile = Profile::v6_18();
    let profile_text = serde_json::to_string(&Versioned::now(Line::Profile(profile.clone()))).unwrap();
    assert_eq!(
        serde_json::from_str::<Versioned>(&profile_text).unwrap().line,
        Line::Profile(profile.clone())
    );
    for (_, program) in programs::tiny() {
        let text = serde_json::to_string(&Versioned::now(Line::Program(program.clone()))).unwrap();
        let back: Versioned = serde_json::from_str(&text).unwrap();
        assert_eq!(back.line, Line::Program(program.clone()));
        for seen in simulate(&program, &profile, &mut Seeded::new(1)).seen {
            let text = serde_json::to_string(&Versioned::now(Line::Seen(seen.clone()))).unwrap();
            assert_eq!(serde_json::from_str::<Versioned>(&text).unwrap().line, Line::Seen(seen), "{text}");
        }
    }
}
