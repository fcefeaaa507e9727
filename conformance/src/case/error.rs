//! Why a case is refused, with the place and what would be accepted there.

use std::fmt;

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};

use super::text::At;

/// A case that cannot be read.
#[derive(Debug)]
pub struct CaseError {
    /// Where.
    pub at: At,
    /// What is wrong there.
    pub message: String,
    /// What would be accepted there; empty where the message says it.
    pub expected: Vec<String>,
    source: Box<NamedSource<String>>,
}

/// A refusal before the text it is about is known.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) at: At,
    pub(crate) message: String,
    pub(crate) expected: Vec<String>,
}

impl Refusal {
    pub(crate) fn new(at: At, message: impl Into<String>) -> Refusal {
        Refusal { at, message: message.into(), expected: Vec::new() }
    }

    pub(crate) fn expecting<S: Into<String>>(mut self, words: impl IntoIterator<Item = S>) -> Refusal {
        self.expected = words.into_iter().map(Into::into).collect();
        self
    }

    pub(crate) fn of(self, file: &str, text: &str) -> CaseError {
        // A place at the very end has no character to point at, so it points at the last one.
        let start = self.at.start.min(text.len());
        let end = self.at.end.clamp(start, text.len());
        CaseError {
            at: At { start, end },
            message: self.message,
            expected: self.expected,
            source: Box::new(NamedSource::new(file, text.to_string())),
        }
    }
}

impl CaseError {
    /// The error as a page: the place, the line, what would be accepted. Plain text unless `colours`.
    pub fn page(&self, colours: bool) -> String {
        let theme = if colours { GraphicalTheme::unicode() } else { GraphicalTheme::none() };
        let mut page = String::new();
        let handler = GraphicalReportHandler::new_themed(theme).with_width(100).with_links(false);
        if handler.render_report(&mut page, self).is_err() {
            page = format!("{self}\n");
        }
        page
    }
}

impl fmt::Display for CaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CaseError {}

impl Diagnostic for CaseError {
    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&*self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = (self.at.start, self.at.end - self.at.start);
        let label = if self.expected.is_empty() { "here" } else { "not accepted here" };
        Some(Box::new(std::iter::once(LabeledSpan::new_primary_with_span(Some(label.into()), span))))
    }

    fn help(&self) -> Option<Box<dyn fmt::Display + '_>> {
        match self.expected.as_slice() {
            [] => None,
            [one] => Some(Box::new(format!("expected {one}"))),
            many => Some(Box::new(format!("expected one of: {}", many.join(", ")))),
        }
    }
}

/// Names that were declared and look like `word`, or what to declare where nothing was.
pub(super) fn near_or(word: &str, names: impl Iterator<Item = String>, declare: &str) -> Vec<String> {
    let near = near(word, names);
    if near.is_empty() { vec![declare.into()] } else { near }
}

/// Names that look like `word`, best first; all of them if none does.
pub fn near(word: &str, names: impl Iterator<Item = String>) -> Vec<String> {
    let mut ranked: Vec<(usize, String)> = names.map(|name| (distance(word, &name), name)).collect();
    let close = 1 + word.len() / 3;
    if ranked.iter().any(|(far, _)| *far <= close) {
        ranked.retain(|(far, _)| *far <= close);
        ranked.sort();
        ranked.truncate(5);
    }
    ranked.into_iter().map(|(_, name)| name).collect()
}

/// How many letters must be changed, added or left out to turn one word into the other. Words are
/// cut at 64 letters, so the work is bounded.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(64).enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = corner + usize::from(x != *y);
            corner = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}
