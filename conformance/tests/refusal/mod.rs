#![allow(dead_code, reason = "each test file uses some of these")]
//! Text that is refused, and the page that says so.

use expect_test::Expect;
use uringspec::case::CaseError;
use uringspec::catalog::Found;

/// A case that is fine, so that one bad line in it is the only one.
pub(crate) const HEAD: &str = "# A sentence.\nsocket A B tcp\nbuffer K 4096\n";

/// Reads a case as the command does.
pub(crate) fn read(text: &str) -> Result<(), CaseError> {
    let found = Found { name: "bad".into(), file: "bad.case".into(), path: None, text: text.into() };
    found.read().map(|_| ())
}

/// Lines behind the head are refused with this page.
#[track_caller]
pub(crate) fn check(lines: &str, expected: &Expect) {
    let error = read(&format!("{HEAD}{lines}\n")).expect_err("this must be refused");
    expected.assert_eq(&shown(&error));
}

/// The page without the blank before every line, which a snapshot would take for indentation.
pub(crate) fn shown(error: &CaseError) -> String {
    error.page(false).lines().map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(line))).collect()
}
